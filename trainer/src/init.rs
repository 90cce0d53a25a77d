//! How weights begin: as PyTorch, torchvision and Hugging Face draw them.
//!
//! tch's own default for linear layers and convolutions is He's uniform for ReLU, √6 times as wide as PyTorch's `nn.Linear`
//! and `nn.Conv2d` are. So layers are made here and nowhere else: `.clippy.toml` forbids tch's makers of layers.
//! `tests/initial.rs` holds every parameter of an untrained network to what the Python libraries draw.
//!
//! | what | weights | biases |
//! |---|---|---|
//! | `nn.Linear`, `nn.Conv2d` | U(±1/√fan-in) | U(±1/√fan-in) |
//! | image encoders (torchvision) | N(0, √(2/fan-out)) | none |
//! | BERT (Hugging Face) | N(0, 0.02); `[PAD]` 0 | 0 |
//! | projections and the predictor's first layer (PRIOR) | N(0, 1/√fan-in) | as `nn.Linear` |
//! | U-Net (segmentation-models-pytorch) | U(±√(6/fan-in)); last layer U(±√(6/(fan-in + fan-out))) | 0 |
//! | anchor-free detector (torchvision's FCOS) | N(0, 0.01) | 0 |
//! | YOLOv3 (MGCA), classifier | as `nn.Conv2d`, `nn.Linear` | as `nn.Conv2d`, `nn.Linear` |

#![expect(clippy::disallowed_methods, reason = "the one place that makes layers")]

use tch::{Tensor, nn, nn::Init};

/// PyTorch's `nn.Linear(from, to)`.
pub fn linear(p: &nn::Path<'_>, from: i64, to: i64) -> nn::Linear {
    let init = default(from);
    linear_of(p, [from, to], init, init)
}

/// PyTorch's `nn.Linear` whose weights were drawn anew from N(0, 1/√from): the published projections.
pub fn projection(p: &nn::Path<'_>, from: i64, to: i64) -> nn::Linear {
    linear_of(p, [from, to], normal((from as f64).powf(-0.5)), default(from))
}

/// PyTorch's `nn.Conv2d(from, to, kernel, padding=kernel // 2)`: `[B, from, H, W]` → `[B, to, H, W]` for an odd `kernel`.
pub fn conv2d(p: &nn::Path<'_>, [from, to]: [i64; 2], kernel: i64, bias: bool) -> nn::Conv2D {
    let init = default(from * kernel * kernel);
    let config = nn::ConvConfig {
        padding: kernel / 2,
        bias,
        ws_init: init,
        bs_init: init,
        ..Default::default()
    };
    nn::conv2d(p, from, to, kernel, config)
}

/// A linear layer of Hugging Face's BERT.
pub(crate) fn bert_linear(p: &nn::Path<'_>, from: i64, to: i64) -> nn::Linear {
    linear_of(p, [from, to], normal(BERT), Init::Const(0.0))
}

/// `n` vectors of Hugging Face's BERT; that of `padding` is zero.
pub(crate) fn bert_embedding(
    p: &nn::Path<'_>,
    n: i64,
    width: i64,
    padding: Option<i64>,
) -> nn::Embedding {
    let config = nn::EmbeddingConfig { ws_init: normal(BERT), ..Default::default() };
    let embedding = nn::embedding(p, n, width, config);
    if let Some(row) = padding {
        tch::no_grad(|| {
            let _ = embedding.ws.get(row).zero_();
        });
    }
    embedding
}

/// Weights and biases of a convolution of the deployed network, `[out, in / groups, h, w]`, by the part it belongs to.
pub(crate) fn of_convolution(node: &str, shape: [i64; 4]) -> [Init; 2] {
    let [out, own, height, width] = shape;
    let (fan_in, fan_out) = (own * height * width, out * height * width);
    let zero = Init::Const(0.0);
    let of_densenet = ["features.conv0", "features.denseblock", "features.transition"]
        .iter()
        .any(|part| node.starts_with(part));
    match node.split('.').next() {
        Some("seg") if node == "seg.out" => [uniform(fan_in + fan_out), zero],
        Some("seg") => [uniform(fan_in), zero],
        Some("det") => [normal(0.01), zero],
        Some("yolo") => [default(fan_in); 2],
        // torchvision's DenseNets alone go by the fan-in.
        Some("features") if of_densenet => [normal((2.0 / fan_in as f64).sqrt()), zero],
        _ => [normal((2.0 / fan_out as f64).sqrt()), zero],
    }
}

/// N(0, `stdev`).
pub(crate) fn normal(stdev: f64) -> Init {
    Init::Randn { mean: 0.0, stdev }
}

const BERT: f64 = 0.02;

/// What PyTorch's layers draw weights and biases from: He's uniform with a = √5, which is U(±1/√fan-in).
fn default(fan_in: i64) -> Init {
    let bound = (fan_in as f64).powf(-0.5);
    Init::Uniform { lo: -bound, up: bound }
}

/// U(±√(6/fan)): He's uniform for ReLU over the fan-in, Xavier's over fan-in and fan-out together.
fn uniform(fan: i64) -> Init {
    let bound = (6.0 / fan as f64).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}

fn linear_of(p: &nn::Path<'_>, [from, to]: [i64; 2], weight: Init, bias: Init) -> nn::Linear {
    let ws: Tensor = p.var("weight", &[to, from], weight);
    nn::Linear { ws, bs: Some(p.var("bias", &[to], bias)) }
}
