//! Losses that pull matching things together.

use tch::{Kind, Reduction, Tensor};
use torch_ext::Group;

/// InfoNCE both ways between `a` and `b` `[B, D]`: row `i` of one belongs to row `i` of the other, all other
/// rows (of every process of the group) are negatives.
pub(super) fn info_nce(a: &Tensor, b: &Tensor, scale: &Tensor, group: Option<&Group>) -> Tensor {
    let (a, b) = (unit(a), unit(b));
    let rows = a.size()[0];
    let (all_a, all_b, first) = match group {
        None => (a.shallow_clone(), b.shallow_clone(), 0),
        Some(group) => {
            let gather = |t| group.gather(t).expect("the group is alive");
            (gather(&a), gather(&b), group.rank * rows)
        }
    };
    let label = Tensor::arange(rows, (Kind::Int64, a.device())) + first;
    let one_way = |x: &Tensor, y: &Tensor| {
        let logits = scale * x.matmul(&y.transpose(0, 1)); // [B, world · B]
        logits.cross_entropy_loss(&label, None::<Tensor>, Reduction::Mean, -100, 0.0)
    };
    (one_way(&a, &all_b) + one_way(&b, &all_a)) / 2.0
}

/// InfoNCE both ways inside each report: sentence `i` `[B, S, D]` against what the image shows of it.
///
/// `present [B, S]` is 1 for sentences, 0 for padding.
pub(super) fn info_nce_within(a: &Tensor, b: &Tensor, scale: &Tensor, present: &Tensor) -> Tensor {
    let (a, b) = (unit(a), unit(b));
    let absent = present.eq(0); // [B, S]
    let logits = scale * a.matmul(&b.transpose(1, 2)); // [B, S, S]
    let one_way = |logits: &Tensor| {
        let logits = logits.masked_fill(&absent.unsqueeze(1), f64::NEG_INFINITY);
        let own = logits.log_softmax(-1, None).diagonal(0, 1, 2); // [B, S]
        -own.masked_fill(&absent, 0.0)
    };
    let both = (one_way(&logits) + one_way(&logits.transpose(1, 2))) / 2.0;
    let per_report = both.sum_dim_intlist(1, false, None) / present.sum_dim_intlist(1, false, None);
    per_report.mean(None)
}

/// SimSiam (Chen & He 2021) between `x` and `y` `[…, D]`: each is predicted from the other, targets are fixed.
pub(super) fn simsiam(x: &Tensor, y: &Tensor, predict: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let similarity = |from: &Tensor, to: &Tensor| {
        Tensor::cosine_similarity(&predict(from), &to.detach(), -1, 1e-8).mean(None)
    };
    -(similarity(x, y) + similarity(y, x)) / 2.0
}

/// Rows of length 1.
pub(super) fn unit(x: &Tensor) -> Tensor {
    let norm = x.norm_scalaropt_dim(2, [-1_i64].as_slice(), true);
    x / norm.clamp_min(1e-12)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    const O: (Kind, Device) = (Kind::Double, Device::Cpu);

    /// Numbers without libtorch's generator, which tests in one process share.
    fn waves(seed: i64, shape: [i64; 3]) -> Tensor {
        (Tensor::arange(shape.iter().product::<i64>(), O) * (seed as f64 + 0.7)).sin().view(shape)
    }

    #[test]
    fn padding_does_not_change_the_loss_within_reports() {
        let (a, b, scale) = (waves(1, [1, 3, 8]), waves(2, [1, 3, 8]), Tensor::from(5.0_f64));
        let whole = info_nce_within(&a, &b, &scale, &Tensor::ones([1, 3], O));
        let pad = |t: &Tensor| Tensor::cat(&[t.shallow_clone(), waves(3, [1, 2, 8])], 1);
        let present = Tensor::from_slice(&[1.0, 1.0, 1.0, 0.0, 0.0]).unsqueeze(0);
        let padded = info_nce_within(&pad(&a), &pad(&b), &scale, &present);
        let (whole, padded) = (whole.double_value(&[]), padded.double_value(&[]));
        assert!((whole - padded).abs() < 1e-12, "{whole} {padded}");
        assert!(whole > 0.0);
    }

    #[test]
    fn a_single_sentence_has_no_negatives_and_no_loss() {
        let a = waves(1, [2, 1, 4]);
        let scale = Tensor::from(100.0_f64);
        let loss = info_nce_within(&a, &a, &scale, &Tensor::ones([2, 1], O));
        assert_eq!(loss.double_value(&[]), 0.0);
    }
}
