//! Weights on signed eight bits, one scale for each output channel.

use crate::QuantParams;

/// Biases stay below this, so that bias and products of one output fit in i32 together.
pub const MAX_BIAS: f64 = (1_u32 << 30) as f64;

/// Largest code of weights: eight bits, as many below 0 as above.
pub const MOST: i8 = 127;

/// Quantized weights of one layer, in the layout of the float ones.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantWeights {
    /// `[O, …]`, −127…127.
    pub values: Vec<i8>,
    /// `[O]`; `w = value · scale`.
    pub scales: Vec<f32>,
}

/// Symmetric weights with a scale for each of `bias.len()` output channels, in codes of −`most` to `most`.
///
/// A channel's scale also grows until its bias fits on 30 bits of `input.scale · scale`: a channel
/// of (nearly) no weights would otherwise lose its bias.
pub fn quantize_weights(
    weights: &[f32],
    bias: &[f32],
    input: QuantParams,
    most: i8,
) -> QuantWeights {
    let most = f32::from(most);
    let per_channel = weights.len() / bias.len().max(1);
    let mut quantized =
        QuantWeights { values: Vec::with_capacity(weights.len()), scales: Vec::new() };
    for (channel, &bias) in weights.chunks(per_channel.max(1)).zip(bias) {
        let reach = channel.iter().fold(0.0_f32, |reach, w| reach.max(w.abs()));
        let for_bias = f64::from(bias.abs()) / (f64::from(input.scale) * MAX_BIAS);
        let scale = (f64::from(reach) / f64::from(most)).max(for_bias) as f32;
        let scale = if scale.is_normal() { scale } else { 1.0 };
        quantized.scales.push(scale);
        quantized
            .values
            .extend(channel.iter().map(|w| (w / scale).round_ties_even().clamp(-most, most) as i8));
    }
    quantized
}

/// Biases in units of `input.scale · scales[channel]`.
pub fn quantize_bias(bias: &[f32], scales: &[f32], input: QuantParams) -> Vec<i32> {
    bias.iter()
        .zip(scales)
        .map(|(&bias, &scale)| {
            let step = f64::from(input.scale * scale);
            (f64::from(bias) / step).round_ties_even().clamp(-MAX_BIAS, MAX_BIAS) as i32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: QuantParams = QuantParams { scale: 0.02, zero: 3 };

    #[test]
    fn each_channel_is_at_most_half_its_own_step_off() {
        let weights = [0.5, -1.0, 0.25, 100.0, -3.0, 7.0];
        let quantized = quantize_weights(&weights, &[0.0, 0.0], INPUT, MOST);
        assert_eq!(quantized.values[1], -127);
        assert_eq!(quantized.values[3], 127);
        for (at, w) in weights.iter().enumerate() {
            let scale = quantized.scales[at / 3];
            assert!((w - f32::from(quantized.values[at]) * scale).abs() <= scale * 0.5001);
        }
    }

    #[test]
    fn a_channel_without_weights_keeps_its_bias() {
        let quantized = quantize_weights(&[0.0, 0.0, 1e-30, 0.0], &[0.7, -0.3], INPUT, MOST);
        let bias = quantize_bias(&[0.7, -0.3], &quantized.scales, INPUT);
        for (found, (q, scale)) in [0.7, -0.3].iter().zip(bias.iter().zip(&quantized.scales)) {
            let back = f64::from(*q) * f64::from(scale * INPUT.scale);
            assert!((back - found).abs() < 1e-3, "{back} {found}");
        }
    }
}
