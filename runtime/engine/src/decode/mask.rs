//! Masks from logits.

use super::sigmoid;
use graph::Placement;

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

/// Logits `[rows, columns]` over the network's whole input → mask of the source image that lies there as `placed`: as
/// [`mask_of_probabilities`].
///
/// # Panics
/// If `logits` is not `[rows, columns]`, or a side is zero.
pub fn mask(
    name: &str,
    logits: &[f32],
    cells: [usize; 2],
    placed: &Placement,
    threshold: f32,
) -> Mask {
    let probability: Vec<f32> = logits.iter().map(|&x| sigmoid(x)).collect();
    mask_of_probabilities(name, &probability, cells, placed, threshold)
}

/// Inside where the probability, interpolated between cell centres, is at least `threshold`; what the network does not
/// see is not inside.
///
/// # Panics
/// If `probability` is not `[rows, columns]`, or a side is zero.
pub fn mask_of_probabilities(
    name: &str,
    probability: &[f32],
    [rows, columns]: [usize; 2],
    placed: &Placement,
    threshold: f32,
) -> Mask {
    let [height, width] = placed.source;
    assert_eq!(probability.len(), rows * columns, "probabilities");
    let [visible_rows, visible_columns] = [0, 1].map(|axis| placed.visible(axis));
    let first = placed.cut[1] + visible_columns.start;
    let across: Vec<(usize, usize, f32)> =
        visible_columns.map(|x| between(x, columns, placed, 1)).collect();
    let mut data = vec![0; height * width];
    for y in visible_rows {
        let (top, bottom, down) = between(y, rows, placed, 0);
        let row = |at: usize| &probability[at * columns..][..columns];
        let (top, bottom) = (row(top), row(bottom));
        let to = &mut data[(placed.cut[0] + y) * width + first..][..across.len()];
        for (to, &(left, right, fraction)) in to.iter_mut().zip(&across) {
            let upper = top[left] * (1.0 - fraction) + top[right] * fraction;
            let lower = bottom[left] * (1.0 - fraction) + bottom[right] * fraction;
            *to = u8::from(upper * (1.0 - down) + lower * down >= threshold);
        }
    }
    Mask { name: name.to_owned(), height, width, data }
}

/// Pixel `at` of what is resized, one that the network sees, along an axis, between the centres of `cells` over the
/// input: lower, upper, how far from the lower.
fn between(at: usize, cells: usize, placed: &Placement, axis: usize) -> (usize, usize, f32) {
    let [source, input, offset, size, skipped] =
        [placed.seen, placed.input, placed.offset, placed.size, placed.skipped]
            .map(|pair| pair[axis]);
    // The pixel's centre is (offset − skipped + (at + ½)·size/source)·cells/input − ½ cells along, here over `whole`.
    let whole = 2 * source * input;
    let along = 2 * offset * source + (2 * at + 1) * size - 2 * skipped * source;
    let place = (along * cells).saturating_sub(source * input);
    let lower = (place / whole).min(cells - 1);
    // In f64, exact to its last digit, so that a common factor of both changes nothing.
    (lower, (lower + 1).min(cells - 1), ((place % whole) as f64 / whole as f64) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::{Fit, Preprocess};

    fn placed(fit: Fit, input: [usize; 2], source: [usize; 2]) -> Placement {
        Preprocess { height: input[0], width: input[1], fit, ..Preprocess::PRIOR }.place(source)
    }

    #[test]
    fn a_mask_of_the_same_size_is_the_logits_sign() {
        let placed = placed(Fit::Stretch, [4, 4], [2, 2]);
        let found = mask("lung", &[-1.0, 2.0, 0.0, -3.0], [2, 2], &placed, 0.5);
        assert_eq!(found.data, [0, 1, 1, 0]);
        assert_eq!(found.area_fraction(), 0.5);
    }

    #[test]
    fn upsampling_puts_the_border_between_cell_centres() {
        // Left cell surely inside, right surely outside: the border is in the middle.
        let placed = placed(Fit::Stretch, [2, 4], [2, 8]);
        let found = mask("lung", &[50.0, -50.0], [1, 2], &placed, 0.5);
        assert_eq!(found.data, [1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn what_lies_beside_a_padded_picture_is_not_in_its_mask() {
        // The picture takes the middle two of four columns of cells; of it, only the left half is inside.
        let placed = placed(Fit::Pad, [8, 8], [80, 40]);
        let found = mask("lung", &[50.0, 50.0, -50.0, 50.0], [1, 4], &placed, 0.5);
        assert_eq!((found.height, found.width), (80, 40));
        assert_eq!(found.data.len(), 80 * 40);
        for row in found.data.chunks_exact(40) {
            let inside: Vec<usize> = (0..40).filter(|&x| row[x] == 1).collect();
            assert_eq!(inside, (0..20).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_cut_off_is_not_in_the_mask() {
        let placed = placed(Fit::CentreCrop, [8, 8], [40, 80]); // columns 20 to 60
        let found = mask("lung", &[50.0, 50.0, 50.0, -50.0], [1, 4], &placed, 0.5);
        for row in found.data.chunks_exact(80) {
            let inside: Vec<usize> = (0..80).filter(|&x| row[x] == 1).collect();
            assert_eq!(inside, (20..50).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_cut_off_after_resizing_is_not_in_the_mask() {
        // Of 10x20 the middle 8x8: columns 24 to 56 of 80, rows 4 to 36 of 40; of those, all but the last quarter.
        let fit = Fit::ResizeCrop(graph::Side::new(10).unwrap());
        let placed = placed(fit, [8, 8], [40, 80]);
        let found = mask("lung", &[50.0, 50.0, 50.0, -50.0], [1, 4], &placed, 0.5);
        for (y, row) in found.data.chunks_exact(80).enumerate() {
            let inside: Vec<usize> = (0..80).filter(|&x| row[x] == 1).collect();
            let expected = if (4..36).contains(&y) { 24..48 } else { 0..0 };
            assert_eq!(inside, expected.collect::<Vec<_>>(), "row {y}");
        }
    }
}
