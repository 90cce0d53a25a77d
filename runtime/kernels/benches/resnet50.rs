//! Times every convolution of ResNet-50 or ResNet-18 (1x1x224x224, batch 1, one thread) and compares each with the
//! machine's int8 peak, measured beside it.
//!
//! ```text
//! cargo bench -p kernels                            the best instruction set
//! CXR_ISA=avx2 cargo bench -p kernels -- resnet18 2 another one, ResNet-18, two threads
//! LAYER=stem cargo bench -p kernels                 only layers with this in their name
//! WEIGHTS=even cargo bench -p kernels               weights spread evenly, as random networks have them
//! ROUNDS=1 cargo bench -p kernels                   as many rounds, no peak: for counting instructions under an emulator
//! ```
//!
//! Other programs only ever make a layer slower, so the minimum of many rounds is what the kernel can do.

use std::time::Instant;

use kernels::{
    Buffer, Conv, ConvSpec, ConvWeights, Isa, Pool, Residual, Scratch, peak_macs_per_second,
};

struct Layer {
    name: &'static str,
    /// One for each time the network has the layer: weights of their own, which come from far away as they do there.
    convs: Vec<Conv>,
    /// Bytes of the largest tensor.
    bytes: usize,
    add: bool,
}

/// name, how many in the network, channels in, out, kernel, stride, input size, followed by an addition
type Row = (&'static str, usize, usize, usize, usize, usize, usize, bool);

const RESNET50: &[Row] = &[
    ("stem 7x7", 1, 1, 64, 7, 2, 224, false),
    ("layer1 1x1 64-64", 1, 64, 64, 1, 1, 56, false),
    ("layer1 1x1 256-64", 2, 256, 64, 1, 1, 56, false),
    ("layer1 3x3 64-64", 3, 64, 64, 3, 1, 56, false),
    ("layer1 1x1 64-256 shortcut", 1, 64, 256, 1, 1, 56, false),
    ("layer1 1x1 64-256 + add", 3, 64, 256, 1, 1, 56, true),
    ("layer2 1x1 256-128", 1, 256, 128, 1, 1, 56, false),
    ("layer2 3x3 128-128 /2", 1, 128, 128, 3, 2, 56, false),
    ("layer2 1x1 256-512 /2 shortcut", 1, 256, 512, 1, 2, 56, false),
    ("layer2 1x1 512-128", 3, 512, 128, 1, 1, 28, false),
    ("layer2 3x3 128-128", 3, 128, 128, 3, 1, 28, false),
    ("layer2 1x1 128-512 + add", 4, 128, 512, 1, 1, 28, true),
    ("layer3 1x1 512-256", 1, 512, 256, 1, 1, 28, false),
    ("layer3 3x3 256-256 /2", 1, 256, 256, 3, 2, 28, false),
    ("layer3 1x1 512-1024 /2 shortcut", 1, 512, 1024, 1, 2, 28, false),
    ("layer3 1x1 1024-256", 5, 1024, 256, 1, 1, 14, false),
    ("layer3 3x3 256-256", 5, 256, 256, 3, 1, 14, false),
    ("layer3 1x1 256-1024 + add", 6, 256, 1024, 1, 1, 14, true),
    ("layer4 1x1 1024-512", 1, 1024, 512, 1, 1, 14, false),
    ("layer4 3x3 512-512 /2", 1, 512, 512, 3, 2, 14, false),
    ("layer4 1x1 1024-2048 /2 shortcut", 1, 1024, 2048, 1, 2, 14, false),
    ("layer4 1x1 2048-512", 2, 2048, 512, 1, 1, 7, false),
    ("layer4 3x3 512-512", 2, 512, 512, 3, 1, 7, false),
    ("layer4 1x1 512-2048 + add", 3, 512, 2048, 1, 1, 7, true),
];

const RESNET18: &[Row] = &[
    ("stem 7x7", 1, 1, 64, 7, 2, 224, false),
    ("layer1 3x3 64-64", 2, 64, 64, 3, 1, 56, false),
    ("layer1 3x3 64-64 + add", 2, 64, 64, 3, 1, 56, true),
    ("layer2 3x3 64-128 /2", 1, 64, 128, 3, 2, 56, false),
    ("layer2 1x1 64-128 /2 shortcut", 1, 64, 128, 1, 2, 56, false),
    ("layer2 3x3 128-128", 1, 128, 128, 3, 1, 28, false),
    ("layer2 3x3 128-128 + add", 2, 128, 128, 3, 1, 28, true),
    ("layer3 3x3 128-256 /2", 1, 128, 256, 3, 2, 28, false),
    ("layer3 1x1 128-256 /2 shortcut", 1, 128, 256, 1, 2, 28, false),
    ("layer3 3x3 256-256", 1, 256, 256, 3, 1, 14, false),
    ("layer3 3x3 256-256 + add", 2, 256, 256, 3, 1, 14, true),
    ("layer4 3x3 256-512 /2", 1, 256, 512, 3, 2, 14, false),
    ("layer4 1x1 256-512 /2 shortcut", 1, 256, 512, 1, 2, 14, false),
    ("layer4 3x3 512-512", 1, 512, 512, 3, 1, 7, false),
    ("layer4 3x3 512-512 + add", 2, 512, 512, 3, 1, 7, true),
];

/// Depthwise layers of MobileNetV2 (groups follow from the name).
const DEPTHWISE: &[Row] = &[
    ("depthwise 32 112", 1, 32, 32, 3, 1, 112, false),
    ("depthwise 96 /2", 1, 96, 96, 3, 2, 112, false),
    ("depthwise 144", 1, 144, 144, 3, 1, 56, false),
    ("depthwise 192", 2, 192, 192, 3, 1, 28, false),
    ("depthwise 384", 4, 384, 384, 3, 1, 14, false),
    ("depthwise 960", 3, 960, 960, 3, 1, 7, false),
];

const USUAL_ROUNDS: usize = 60;

#[expect(clippy::print_stdout, reason = "a benchmark's output")]
fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let network = match arguments.first().map(String::as_str) {
        Some("resnet18") => RESNET18,
        Some("depthwise") => DEPTHWISE,
        _ => RESNET50,
    };
    let threads = arguments.iter().find_map(|a| a.parse().ok()).unwrap_or(1);
    let isa = Isa::from_env().expect("CXR_ISA names an instruction set of this machine");
    let pool = Pool::new(threads);
    let only = std::env::var("LAYER").unwrap_or_default();
    let layers: Vec<Layer> =
        network.iter().filter(|row| row.0.contains(&only)).map(|row| layer(isa, row)).collect();
    let scratch = layers
        .iter()
        .map(|l| l.convs[0].scratch_bytes(threads))
        .max()
        .expect("a network has layers");
    let mut scratch = Scratch::with_bytes(scratch);

    let bytes = layers.iter().map(|l| l.bytes).max().expect("a network has layers");
    let mut buffers = [(); 3].map(|()| Buffer::zeroed(bytes));
    buffers[0].iter_mut().zip(noise()).for_each(|(x, b)| *x = b);

    let mut best = vec![(f64::INFINITY, 0.0f64); layers.len()];
    let mut rounds = Vec::new();
    let few: Option<usize> = std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok());
    for _ in 0..few.unwrap_or(USUAL_ROUNDS) {
        let peak =
            if few.is_some() { f64::NAN } else { peak_macs_per_second(isa) * threads as f64 };
        let mut total = 0.0;
        for (layer, (least, near)) in layers.iter().zip(&mut best) {
            for conv in &layer.convs {
                // Tensors change places as in a network: one layer's output, still in the cache, is the next one's input.
                buffers.rotate_right(1);
                let [y, x, r] = &mut buffers;
                let start = Instant::now();
                if layer.add {
                    conv.run_in_place(x, r, &pool, &mut scratch);
                } else {
                    conv.run(x, None, y, &pool, &mut scratch);
                }
                let seconds = start.elapsed().as_secs_f64();
                if layer.add {
                    buffers.swap(0, 2); // what was added to is the newest
                }
                *least = least.min(seconds);
                total += seconds;
            }
            *near = near.max(peak);
        }
        rounds.push((total, peak));
    }

    println!("{} with {threads} threads; peak {:.1} GMAC/s", isa.name(), best[0].1 / 1e9);
    println!("{:34} {:>5} {:>9} {:>8} {:>6}", "layer", "count", "us", "GMAC/s", "peak");
    let (mut seconds, mut macs) = (0.0, 0.0);
    for (layer, (least, peak)) in layers.iter().zip(&best) {
        let rate = layer.convs[0].macs() as f64 / least;
        let line = (layer.name, layer.convs.len(), least * 1e6, rate / 1e9, 100.0 * rate / peak);
        println!("{:34} {:>5} {:>9.1} {:>8.1} {:>5.1}%", line.0, line.1, line.2, line.3, line.4);
        seconds += least * layer.convs.len() as f64;
        macs += layer.convs[0].macs() as f64 * layer.convs.len() as f64;
    }
    println!(
        "sum of minima {:.3} ms, {:.1}% of peak",
        seconds * 1e3,
        100.0 * macs / seconds / best[0].1
    );
    rounds.sort_by(|a, b| (a.0 * a.1).total_cmp(&(b.0 * b.1)));
    let share = |(time, peak): (f64, f64)| 100.0 * macs / time / peak;
    let (fastest, median) = (rounds[0], rounds[rounds.len() / 2]);
    println!("best round {:.3} ms, {:.1}% of the peak beside it", fastest.0 * 1e3, share(fastest));
    println!("median round {:.3} ms, {:.1}% of the peak beside it", median.0 * 1e3, share(median));
}

fn layer(isa: Isa, &(name, count, c_in, c_out, kernel, stride, size, add): &Row) -> Layer {
    let groups = if name.starts_with("depthwise") { c_in } else { 1 };
    let spec = ConvSpec {
        in_channels: c_in,
        out_channels: c_out,
        groups,
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [kernel / 2; 4],
        dilation: [1, 1],
        in_h: size,
        in_w: size,
        in_stride: c_in,
        out_stride: c_out,
    };
    let weights = c_out * c_in / groups * kernel * kernel;
    // Bell-shaped as trained weights are: Winograd's form asks how large sums can get, AVX2's which may lie side by side.
    let of_one = if std::env::var("WEIGHTS").is_ok_and(|w| w == "even") { 1 } else { 4 };
    let mut bytes = noise().map(|b| i16::from(b as i8));
    let mut bell = || bytes.by_ref().take(of_one).sum::<i16>() / of_one as i16;
    let weight: Vec<i8> = (0..weights).map(|_| bell().max(-127) as i8).collect();
    let scale = vec![1e-4; c_out];
    let bias = vec![0; c_out];
    let weights = ConvWeights {
        weight: &weight,
        bias: &bias,
        scale: &scale,
        x_zero: 7,
        y_zero: 9,
        lo: 9,
        hi: 255,
    };
    let residual = add.then_some(Residual {
        conv_ratio: 0.7,
        ratio: 0.9,
        zero: 3,
        out_zero: 0,
        lo: 0,
        hi: 255,
        stride: c_out,
    });
    let pack = |_| Conv::pack(isa, &spec, weights, residual).expect("a layer of a ResNet");
    let bytes = (c_in * size * size).max(spec.out_pixels() * c_out);
    Layer { name, convs: (0..count).map(pack).collect(), bytes, add }
}

fn noise() -> impl Iterator<Item = u8> {
    (0usize..).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8)
}
