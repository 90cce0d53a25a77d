//! A random convolution beside what the definition makes of it.

use kernels::{Buffer, Conv, ConvSpec, ConvWeights, Isa, Pool, Residual, Scratch, scalar};

use crate::random::Random;

/// A convolution with everything it needs, and what the definition makes of it.
pub(crate) struct Case {
    pub(crate) spec: ConvSpec,
    pub(crate) weight: Vec<i8>,
    pub(crate) bias: Vec<i32>,
    pub(crate) scale: Vec<f32>,
    pub(crate) zeros: [u8; 2],
    pub(crate) clamp: [u8; 2],
    pub(crate) residual: Option<Residual>,
    pub(crate) x: Buffer,
    pub(crate) r: Vec<u8>,
}

impl Case {
    pub(crate) fn new(random: &mut Random, spec: ConvSpec, with_residual: bool) -> Self {
        let n = spec.out_channels;
        let per_channel = spec.in_channels / spec.groups * spec.kernel[0] * spec.kernel[1];
        // -128 only now and then: our exporter never writes it, but the file format has it.
        let lowest = random.pick(&[-127, -127, -128]);
        let extreme = random.below(6) == 0;
        // Of one byte weights are spread evenly, of more they lie in a bell, as trained ones do.
        let bytes = random.pick(&[1, 2, 3, 4]);
        let weight = (0..n * per_channel)
            .map(|_| {
                if extreme {
                    random.pick(&[lowest, 127, lowest])
                } else {
                    let sum: i32 = (0..bytes).map(|_| i32::from(random.byte() as i8)).sum();
                    (sum / bytes).clamp(lowest.into(), 127) as i8
                }
            })
            .collect();
        let bias = (0..n).map(|_| random.next() as i32 % 20_000).collect();
        // Scales that use the range of the output well, and sometimes one that throws everything out of it.
        let typical = 2.0 / (per_channel as f32).sqrt() / 128.0;
        let scale = (0..n)
            .map(|_| random.unit() * typical * if random.below(40) == 0 { 1e6 } else { 1.0 })
            .collect();
        let (lo, hi) = (random.pick(&[0, 0, 128, 3]), random.pick(&[255, 255, 200]));
        let residual = with_residual.then(|| Residual {
            conv_ratio: random.unit() * 2.0,
            ratio: random.unit() * 2.0,
            zero: random.byte(),
            out_zero: random.byte(),
            lo: random.pick(&[0, 77]),
            hi: random.pick(&[255, 201]),
            stride: n + random.below(3),
        });
        let len = (spec.in_h * spec.in_w - 1) * spec.in_stride + spec.in_channels;
        let mut x = Buffer::zeroed(len);
        x[..len].copy_from_slice(&random.bytes(len));
        x[len..].fill(0xa5); // what lies behind must not matter
        let r = random.bytes(spec.out_pixels() * (n + 3));
        let any = random.byte();
        let zeros = [random.pick(&[0, 255, 128, any]), random.byte()];
        Self { spec, weight, bias, scale, zeros, clamp: [lo, hi], residual, x, r }
    }

    pub(crate) fn weights(&self) -> ConvWeights<'_> {
        ConvWeights {
            weight: &self.weight,
            bias: &self.bias,
            scale: &self.scale,
            x_zero: self.zeros[0],
            y_zero: self.zeros[1],
            lo: self.clamp[0],
            hi: self.clamp[1],
        }
    }

    fn output_len(&self) -> usize {
        (self.spec.out_pixels() - 1) * self.spec.out_stride + self.spec.out_channels
    }

    pub(crate) fn expected(&self) -> Vec<u8> {
        let mut y = vec![0x5a; self.output_len() + 40];
        let residual = self.residual.as_ref().map(|add| (add, &self.r[..]));
        scalar::conv(&self.spec, &self.weights(), &self.x, residual, &mut y);
        y
    }

    pub(crate) fn pack(&self, isa: Isa) -> Conv {
        Conv::pack(isa, &self.spec, self.weights(), self.residual).expect("a valid convolution")
    }

    fn run(&self, conv: &Conv, pool: &Pool) -> Vec<u8> {
        let mut scratch = Scratch::with_bytes(conv.scratch_bytes(pool.threads()));
        let mut y = vec![0x5a; self.output_len() + 40];
        conv.run(&self.x, self.residual.map(|_| &self.r[..]), &mut y, pool, &mut scratch);
        y
    }

    /// The same where the result is written over the residual, if their pixels are equally far apart.
    fn run_in_place(&self, conv: &Conv, pool: &Pool) -> Option<Vec<u8>> {
        self.residual.filter(|add| add.stride == self.spec.out_stride)?;
        let mut scratch = Scratch::with_bytes(conv.scratch_bytes(pool.threads()));
        let mut y = vec![0x5a; self.output_len() + 40];
        let channels = self.spec.out_channels;
        let pixels = y.chunks_mut(self.spec.out_stride).zip(self.r.chunks(self.spec.out_stride));
        pixels.take(self.spec.out_pixels()).for_each(|(y, r)| {
            y[..channels].copy_from_slice(&r[..channels]);
        });
        conv.run_in_place(&self.x, &mut y, pool, &mut scratch);
        Some(y)
    }

    pub(crate) fn run_f32(&self, conv: &Conv, pool: &Pool) -> Vec<f32> {
        let mut scratch = Scratch::with_bytes(conv.scratch_bytes(pool.threads()));
        let mut y = vec![-7.0; self.spec.out_channels * self.spec.out_pixels() + 3];
        conv.run_f32(&self.x, &mut y, pool, &mut scratch);
        y
    }

    /// Pixel by pixel, brought into the order of the other.
    pub(crate) fn run_f32_by_pixel(&self, conv: &Conv, pool: &Pool) -> Vec<f32> {
        let (channels, pixels) = (self.spec.out_channels, self.spec.out_pixels());
        let mut scratch = Scratch::with_bytes(conv.scratch_bytes(pool.threads()));
        let mut y = vec![-7.0; channels * pixels + 3];
        conv.run_f32_by_pixel(&self.x, &mut y, pool, &mut scratch);
        let by_channel = (0..channels * pixels).map(|at| y[at % pixels * channels + at / pixels]);
        by_channel.chain(y[channels * pixels..].iter().copied()).collect()
    }

    pub(crate) fn check(&self, isa: Isa, pool: &Pool) {
        self.check_packed(&self.pack(isa), isa.name(), pool);
    }

    /// `how` it was packed is told if it is wrong.
    pub(crate) fn check_packed(&self, conv: &Conv, how: &str, pool: &Pool) {
        let expected = self.expected();
        let found = [Some(self.run(conv, pool)), self.run_in_place(conv, pool)];
        if let Some(found) = found.into_iter().flatten().find(|found| *found != expected) {
            let at = found.iter().zip(&expected).position(|(f, e)| f != e);
            let at = at.expect("lengths are equal");
            let (stride, threads) = (self.spec.out_stride, pool.threads());
            panic!(
                "{how}, {threads} threads: pixel {}, channel {} is {}, expected {}; {:?}, zeros {:?}, {:?}",
                at / stride,
                at % stride,
                found[at],
                expected[at],
                self.spec,
                self.zeros,
                self.residual
            );
        }
    }
}

/// A square image and kernel, dense rows.
pub(crate) fn square(channels: [usize; 2], size: usize, kernel: usize, stride: usize) -> ConvSpec {
    ConvSpec {
        in_channels: channels[0],
        out_channels: channels[1],
        groups: 1,
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [kernel / 2; 4],
        dilation: [1, 1],
        in_h: size,
        in_w: size,
        in_stride: channels[0],
        out_stride: channels[1],
    }
}

/// Any convolution that is quickly computed.
pub(crate) fn random_spec(random: &mut Random) -> ConvSpec {
    let groups = random.pick(&[1, 1, 1, 2, 3]);
    let channel_counts: &[usize] =
        &[1, 2, 3, 4, 5, 7, 8, 12, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 70, 100];
    // An interpreter is ten thousand times slower.
    let channel_counts = if cfg!(miri) { &channel_counts[..9] } else { channel_counts };
    let in_channels = random.pick(channel_counts) * groups;
    let out_channels = random.pick(channel_counts) * groups;
    let kernel =
        random.pick(&[[1, 1], [1, 1], [3, 3], [3, 3], [5, 5], [7, 7], [1, 3], [2, 2], [4, 1]]);
    let stride = random.pick(&[[1, 1], [1, 1], [2, 2], [1, 2], [3, 2]]);
    let dilation = random.pick(&[[1, 1], [1, 1], [2, 2], [1, 3]]);
    let mut side = |axis: usize| random.below(kernel[axis] + 1);
    let padding = [side(0), side(1), side(0), side(1)];
    let least =
        |axis: usize| ((kernel[axis] - 1) * dilation[axis] + 1usize).saturating_sub(padding[axis]);
    let in_h = least(0).max(1) + random.below(9);
    let in_w = least(1).max(1) + random.below(20);
    let in_stride = in_channels + random.pick(&[0, 0, 1, 5]);
    let out_stride = out_channels + random.pick(&[0, 0, 1, 5]);
    ConvSpec {
        in_channels,
        out_channels,
        groups,
        kernel,
        stride,
        padding,
        dilation,
        in_h,
        in_w,
        in_stride,
        out_stride,
    }
}
