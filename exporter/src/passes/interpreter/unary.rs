//! Functions of one number, as ONNX defines them.

use graph::Unary;

/// `function(x)`, in f64 and rounded once.
pub(super) fn apply(function: Unary, x: f32) -> f32 {
    let wide = f64::from(x);
    let y = match function {
        Unary::Sigmoid => sigmoid(wide),
        Unary::Tanh => wide.tanh(),
        Unary::Silu => wide * sigmoid(wide),
        Unary::HardSigmoid { alpha, beta } => hard_sigmoid(wide, alpha.into(), beta.into()),
        Unary::HardSwish => wide * hard_sigmoid(wide, 1.0 / 6.0, 0.5),
        Unary::Gelu => 0.5 * wide * (1.0 + libm::erf(wide * std::f64::consts::FRAC_1_SQRT_2)),
        Unary::GeluTanh => {
            let inner =
                (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044715 * wide * wide * wide);
            0.5 * wide * (1.0 + inner.tanh())
        }
        Unary::Elu { alpha } if wide < 0.0 => f64::from(alpha) * wide.exp_m1(),
        Unary::Elu { .. } => wide,
        Unary::Softplus => softplus(wide),
        Unary::Mish => wide * softplus(wide).tanh(),
        Unary::Clip { lo, hi } => return x.max(lo).min(hi),
    };
    y as f32
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn hard_sigmoid(x: f64, alpha: f64, beta: f64) -> f64 {
    (alpha * x + beta).clamp(0.0, 1.0)
}

/// `ln(1 + e^x)`, which for large `x` is `x`.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
