//! The networks that ship, with weights drawn from a seed, on small images: the cost of an emulator sets the size.

use crate::qdq::{Layer, Qdq, Real, Rectify};

type Network = (Vec<u8>, [usize; 3]);

const IMAGE: [usize; 3] = [1, 64, 64];

/// The image that belongs to a shape.
pub(crate) fn image(shape: [usize; 3]) -> Vec<f32> {
    let mut dice = Qdq::new(0xabcd, false, [1, 1, 1]).0;
    (0..shape.iter().product()).map(|_| 4.0 * dice.unit() - 2.0).collect()
}

/// An empty network and its quantized image.
fn calm(seed: u64, signed: bool) -> (Qdq, Real) {
    let (mut net, x) = Qdq::new(seed, signed, IMAGE);
    net.calm = true;
    (net, x)
}

pub(crate) fn resnet_50() -> Network {
    let (mut net, x) = calm(50, false);
    let features = resnet(&mut net, &x, [3, 4, 6, 3], true);
    classify(net, &features[4])
}

pub(crate) fn resnet_18() -> Network {
    let (mut net, x) = calm(18, false);
    let features = resnet(&mut net, &x, [2; 4], false);
    classify(net, &features[4])
}

/// ResNet-50 and CLIP's attention pool: PRIOR's encoder.
pub(crate) fn prior() -> Network {
    let (mut net, x) = calm(51, false);
    let features = resnet(&mut net, &x, [3, 4, 6, 3], true);
    let pooled = net.attention_pool(&features[4], 8);
    net.output(&pooled);
    (net.bytes(), IMAGE)
}

/// ResNet-18 and a decoder that joins what it upsamples with the encoder's features.
pub(crate) fn segmentation() -> Network {
    let (mut net, x) = calm(181, false);
    let features = resnet(&mut net, &x, [2; 4], false);
    let mut y = features[4].clone();
    for (level, width) in [(3, 128), (2, 64), (1, 32), (0, 16)] {
        let reduced = net.conv(&y, Layer::square(width, 1, 1, Rectify::Relu));
        let larger = net.upsample(&reduced, 2, level % 2 == 0);
        let joined = net.concat(&[&larger, &features[level]]);
        y = net.conv(&joined, Layer::square(width, 3, 1, Rectify::Relu));
    }
    let logits = net.bare_conv(&y, Layer::square(2, 1, 1, Rectify::None));
    net.output(&Real { name: logits, ..y });
    (net.bytes(), IMAGE)
}

/// ResNet-18 and a head on three levels.
pub(crate) fn detection() -> Network {
    let (mut net, x) = calm(182, false);
    let features = resnet(&mut net, &x, [2; 4], false);
    for level in &features[2..] {
        let reduced = net.conv(level, Layer::square(128, 1, 1, Rectify::Relu));
        let seen = net.conv(&reduced, Layer::square(128, 3, 1, Rectify::Relu));
        let cells = net.bare_conv(&seen, Layer::square(7, 1, 1, Rectify::None));
        net.output(&Real { name: cells, ..seen });
    }
    (net.bytes(), IMAGE)
}

/// Inverted residuals as in MobileNetV2, with int8 activations.
pub(crate) fn mobile() -> Network {
    let (mut net, x) = calm(2, true);
    let mut y = net.conv(&x, Layer::square(16, 3, 2, Rectify::Relu6));
    for (width, stride) in [(24, 2), (24, 1), (40, 2), (40, 1), (96, 1), (160, 2)] {
        let wide = net.conv(&y, Layer::square(6 * y.shape[0], 1, 1, Rectify::Relu6));
        let depthwise = Layer {
            groups: wide.shape[0],
            ..Layer::square(wide.shape[0], 3, stride, Rectify::Relu6)
        };
        let seen = net.conv(&wide, depthwise);
        let narrow = net.conv(&seen, Layer::square(width, 1, 1, Rectify::None));
        y = if narrow.shape == y.shape { net.add(&narrow, &y, false) } else { narrow };
    }
    classify(net, &y)
}

/// Features of five levels, the finest first.
fn resnet(net: &mut Qdq, x: &Real, blocks: [usize; 4], bottleneck: bool) -> Vec<Real> {
    let stem = net.conv(x, Layer::square(64, 7, 2, Rectify::Relu));
    let mut y = net.pool("MaxPool", &stem, 3, 2);
    let mut features = vec![stem];
    for (stage, &count) in blocks.iter().enumerate() {
        for block in 0..count {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            y = residual(net, &y, 64 << stage, stride, bottleneck);
        }
        features.push(y.clone());
    }
    features
}

fn residual(net: &mut Qdq, x: &Real, width: usize, stride: usize, bottleneck: bool) -> Real {
    let out = if bottleneck { 4 * width } else { width };
    let inner = if bottleneck {
        let narrow = net.conv(x, Layer::square(width, 1, 1, Rectify::Relu));
        let seen = net.conv(&narrow, Layer::square(width, 3, stride, Rectify::Relu));
        net.conv(&seen, Layer::square(out, 1, 1, Rectify::None))
    } else {
        let seen = net.conv(x, Layer::square(width, 3, stride, Rectify::Relu));
        net.conv(&seen, Layer::square(out, 3, 1, Rectify::None))
    };
    let shortcut = if x.shape == inner.shape {
        x.clone()
    } else {
        net.conv(x, Layer::square(out, 1, stride, Rectify::None))
    };
    net.add(&inner, &shortcut, true)
}

/// The mean over the image as embedding, and five logits.
fn classify(mut net: Qdq, x: &Real) -> Network {
    let mean = net.global_pool(x);
    net.output(&mean);
    let logits = net.linear(&mean, 5, true);
    net.output(&Real { name: logits, ..mean });
    (net.bytes(), IMAGE)
}
