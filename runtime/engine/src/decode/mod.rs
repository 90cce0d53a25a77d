//! From the network's numbers to what they say: probabilities, masks, boxes.
//!
//! Scalar code in a fixed order and pure-Rust `libm`: the same bits on every CPU. The evaluations of trainer and
//! exporter use these functions too, so what is judged is what runs on the box.

mod boxes;
pub(crate) mod dense;
mod detect;
mod heat;
mod mask;
pub(crate) mod yolo;

pub(crate) use boxes::{Candidate, strongest};
pub use boxes::{Cells, Detection, boxes, suppress};
pub(crate) use detect::best;
pub use detect::{Detector, Level, detect};
pub use heat::Heat;
pub use language::sigmoid;
pub use mask::{MASK_THRESHOLDS, Mask, mask, mask_of_probabilities};
pub use yolo::anchored_boxes;

/// `e^x / Σ e^x`, from the first to the last.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut shares: Vec<f32> = logits.iter().map(|&x| libm::expf(x - most)).collect();
    let total = shares.iter().fold(0.0, |sum, x| sum + x);
    shares.iter_mut().for_each(|x| *x /= total);
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_softmax_adds_up_to_one_whatever_the_size_of_its_logits() {
        let [a, b] = softmax(&[1000.0, 1000.0 - 3_f32.ln()])[..] else { panic!("two shares") };
        assert!((a - 0.75).abs() < 1e-4 && (b - 0.25).abs() < 1e-4, "{a} {b}");
    }

    #[test]
    fn the_sigmoid_is_symmetric_and_saturates() {
        assert_eq!(sigmoid(0.0), 0.5);
        assert_eq!((sigmoid(200.0), sigmoid(-200.0)), (1.0, 0.0));
        for x in [0.1_f32, 1.0, 3.5, 9.0] {
            assert!((sigmoid(x) + sigmoid(-x) - 1.0).abs() < 1e-7, "{x}");
            let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(sigmoid(x)) - exact).abs() < 1e-7, "{x}");
        }
    }
}
