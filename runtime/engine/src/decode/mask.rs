//! Masks from logits.

use super::sigmoid;

/// Where one finding is, in pixels of the source image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    pub name: String,
    pub height: usize,
    pub width: usize,
    /// `[height, width]`, 1 = inside.
    pub data: Vec<u8>,
}

impl Mask {
    /// Share of the image that is inside.
    pub fn area_fraction(&self) -> f64 {
        let inside = self.data.iter().filter(|&&inside| inside == 1).count();
        inside as f64 / self.data.len().max(1) as f64
    }
}

/// Probabilities from which a place may be inside: what operating points of regions are chosen from.
pub const MASK_THRESHOLDS: [f32; 9] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/// Logits `[rows, columns]` over the whole image → mask of `height x width`, inside where the
/// probability, interpolated between cell centres, is at least `threshold`.
///
/// # Panics
/// If `logits` is not `[rows, columns]`, or a side is zero.
pub fn mask(
    name: &str,
    logits: &[f32],
    [rows, columns]: [usize; 2],
    [height, width]: [usize; 2],
    threshold: f32,
) -> Mask {
    assert_eq!(logits.len(), rows * columns, "logits");
    let probability: Vec<f32> = logits.iter().map(|&x| sigmoid(x)).collect();
    let across: Vec<(usize, usize, f32)> = (0..width).map(|x| between(x, columns, width)).collect();
    let mut data = Vec::with_capacity(height * width);
    for y in 0..height {
        let (top, bottom, down) = between(y, rows, height);
        let row = |at: usize| &probability[at * columns..][..columns];
        let (top, bottom) = (row(top), row(bottom));
        data.extend(across.iter().map(|&(left, right, fraction)| {
            let upper = top[left] * (1.0 - fraction) + top[right] * fraction;
            let lower = bottom[left] * (1.0 - fraction) + bottom[right] * fraction;
            u8::from(upper * (1.0 - down) + lower * down >= threshold)
        }));
    }
    Mask { name: name.to_owned(), height, width, data }
}

/// Output `o` of `to` between the centres of `from` cells: lower, upper, how far from the lower.
fn between(o: usize, from: usize, to: usize) -> (usize, usize, f32) {
    let twice = ((2 * o + 1) * from).saturating_sub(to);
    let lower = (twice / (2 * to)).min(from - 1);
    (lower, (lower + 1).min(from - 1), (twice % (2 * to)) as f32 / (2 * to) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_of_the_same_size_is_the_logits_sign() {
        let found = mask("lung", &[-1.0, 2.0, 0.0, -3.0], [2, 2], [2, 2], 0.5);
        assert_eq!(found.data, [0, 1, 1, 0]);
        assert_eq!(found.area_fraction(), 0.5);
    }

    #[test]
    fn upsampling_puts_the_border_between_cell_centres() {
        // Left cell surely inside, right surely outside: the border is in the middle.
        let found = mask("lung", &[50.0, -50.0], [1, 2], [2, 8], 0.5);
        assert_eq!(found.data, [1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]);
    }
}
