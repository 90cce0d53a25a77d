//! Where a picture lies in the network's input, and back from places of the input to places of the picture.

use crate::Fit;
use std::ops::Range;

/// Where a picture lies in the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Rows and columns of the picture.
    pub source: [usize; 2],
    /// Rows above and columns left that are cut off before anything is resized, in pixels of the picture.
    pub cut: [usize; 2],
    /// Rows and columns of what is resized, in pixels of the picture; at least 1.
    pub seen: [usize; 2],
    /// Rows and columns of the input.
    pub input: [usize; 2],
    /// Rows above and columns left of the picture, in pixels of the input.
    pub offset: [usize; 2],
    /// Rows and columns of the resized picture, in pixels of the input; at least 1.
    pub size: [usize; 2],
    /// Rows above and columns left that are cut off the resized picture.
    pub skipped: [usize; 2],
    /// Rows and columns of it in the input; at least 1.
    pub shown: [usize; 2],
}

impl Placement {
    pub(crate) fn new(fit: Fit, source: [usize; 2], input: [usize; 2]) -> Self {
        let size = match fit {
            Fit::Stretch | Fit::CentreCrop => input,
            Fit::Pad => contained(source, input),
            // The longer side's fraction of a pixel is dropped, as torchvision does.
            Fit::ResizeCrop(side) => {
                let shorter = source[0].min(source[1]);
                source.map(|length| side.pixels() * length / shorter)
            }
        };
        let seen = match fit {
            Fit::Stretch | Fit::Pad | Fit::ResizeCrop(_) => source,
            Fit::CentreCrop => contained(input, source),
        };
        let offset = [0, 1].map(|axis| input[axis].saturating_sub(size[axis]) / 2);
        // As TorchXRayVision's crop: of an odd side, the half pixel goes to the end.
        let cut = [0, 1].map(|axis| source[axis] / 2 - seen[axis] / 2);
        // Half of what is cut off; of an odd number Python's `round` takes the even neighbour.
        let skipped = [0, 1].map(|axis| {
            let more = size[axis].saturating_sub(input[axis]);
            more / 2 + usize::from(more % 4 == 3)
        });
        let shown = [0, 1].map(|axis| size[axis].min(input[axis]));
        Self { source, cut, seen, input, offset, size, skipped, shown }
    }

    /// Whether all of the picture is resized.
    pub fn is_whole(&self) -> bool {
        self.seen == self.source
    }

    /// Of the pixels that are resized, those whose middle the network sees, along an axis (0 rows, 1 columns).
    pub fn visible(&self, axis: usize) -> Range<usize> {
        let (seen, size, skipped) = (self.seen[axis], self.size[axis], self.skipped[axis]);
        // The first whose middle, (at + ½)·size/seen, is no less than `edge`.
        let first = |edge: usize| (2 * edge * seen).saturating_sub(size).div_ceil(2 * size);
        first(skipped)..first(skipped + self.shown[axis]).min(seen)
    }

    /// `[source]`, row by row → `[seen]`.
    ///
    /// # Panics
    /// If `pixels` is not `[source]`.
    pub fn cropped<T: Copy>(&self, pixels: &[T]) -> Vec<T> {
        assert_eq!(pixels.len(), self.source[0] * self.source[1], "pixels");
        let rows = pixels.chunks_exact(self.source[1]).skip(self.cut[0]).take(self.seen[0]);
        rows.flat_map(|row| &row[self.cut[1]..][..self.seen[1]]).copied().collect()
    }

    /// `[shown]`, row by row → `[input]`, with `outside` where no picture is.
    ///
    /// # Panics
    /// If `pixels` is not `[shown]`.
    pub fn embed<T: Copy>(&self, pixels: Vec<T>, outside: T) -> Vec<T> {
        assert_eq!(pixels.len(), self.shown[0] * self.shown[1], "pixels");
        if self.shown == self.input {
            return pixels;
        }
        let mut all = vec![outside; self.input[0] * self.input[1]];
        let rows = all.chunks_exact_mut(self.input[1]).skip(self.offset[0]);
        for (to, from) in rows.zip(pixels.chunks_exact(self.shown[1])) {
            to[self.offset[1]..][..self.shown[1]].copy_from_slice(from);
        }
        all
    }

    /// A rectangle `x1, y1, x2, y2` of the picture, in shares of its sides → of the input, in shares of its sides.
    pub fn into_input(&self, corners: [f64; 4]) -> [f64; 4] {
        let share = |share: f64, axis: usize| {
            if !self.is_whole() {
                let of_seen = share * self.source[axis] as f64 - self.cut[axis] as f64;
                return of_seen / self.seen[axis] as f64; // all of the input is picture
            }
            if self.size[axis] == self.input[axis] {
                return share;
            }
            let before = self.offset[axis] as f64 - self.skipped[axis] as f64;
            (before + share * self.size[axis] as f64) / self.input[axis] as f64
        };
        let [x1, y1, x2, y2] = corners;
        [share(x1, 1), share(y1, 0), share(x2, 1), share(y2, 0)]
    }

    /// A rectangle of the input → of the picture, both `x, y, width, height` in their pixels, cut to the picture;
    /// `None` where it lies beside it.
    pub fn into_source(&self, rectangle: [f32; 4]) -> Option<[f32; 4]> {
        let [x, y, width, height] = rectangle;
        let (x, width) = self.along(1, x, width)?;
        let (y, height) = self.along(0, y, height)?;
        Some([x, y, width, height])
    }

    fn along(&self, axis: usize, first: f32, length: f32) -> Option<(f32, f32)> {
        let scale = self.seen[axis] as f32 / self.size[axis] as f32;
        if self.size[axis] == self.input[axis] {
            return Some((self.cut[axis] as f32 + first * scale, length * scale));
        }
        let (offset, size) =
            (self.offset[axis] as f32 - self.skipped[axis] as f32, self.size[axis] as f32);
        let begin = (first - offset).clamp(0.0, size);
        let end = (first + length - offset).clamp(0.0, size);
        (end > begin).then_some((begin * scale, (end - begin) * scale))
    }
}

/// The largest size of `source`'s aspect within `within`, to the nearest pixel.
fn contained(source: [usize; 2], within: [usize; 2]) -> [usize; 2] {
    let [height, width] = source.map(|side| side as u64);
    let [rows, columns] = within.map(|side| side as u64);
    let share = |side: u64, of: u64, whole: u64| ((2 * side * whole + of) / (2 * of)).max(1);
    let size = if height * columns <= width * rows {
        [share(height, width, columns), columns]
    } else {
        [rows, share(width, height, rows)]
    };
    size.map(|side| side as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Preprocess, Side};

    fn place(fit: Fit, source: [usize; 2]) -> Placement {
        Preprocess { height: 8, width: 12, fit, ..Preprocess::PRIOR }.place(source)
    }

    #[test]
    fn a_stretched_picture_is_all_of_the_input() {
        let at = place(Fit::Stretch, [100, 30]);
        assert_eq!((at.offset, at.size), ([0, 0], [8, 12]));
        assert_eq!(at.into_source([3.0, 2.0, 6.0, 4.0]), Some([7.5, 25.0, 15.0, 50.0]));
        assert_eq!(at.into_input([0.25, 0.5, 1.0, 1.0]), [0.25, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn a_padded_picture_keeps_its_aspect_in_the_middle() {
        for (source, offset, size) in [
            ([16, 24], [0, 0], [8, 12]),
            ([400, 400], [0, 2], [8, 8]),
            ([100, 300], [2, 0], [4, 12]),
            ([4, 3], [0, 3], [8, 6]),
            ([1, 100_000], [3, 0], [1, 12]),
            ([100_000, 1], [0, 5], [8, 1]),
        ] {
            let at = place(Fit::Pad, source);
            assert_eq!((at.offset, at.size), (offset, size), "{source:?}");
        }
    }

    #[test]
    fn pixels_beside_a_padded_picture_are_outside() {
        let at =
            Preprocess { height: 3, width: 4, fit: Fit::Pad, ..Preprocess::PRIOR }.place([6, 4]);
        assert_eq!((at.offset, at.size), ([0, 1], [3, 2]));
        assert_eq!(at.embed(vec![1, 2, 3, 4, 5, 6], 0), [0, 1, 2, 0, 0, 3, 4, 0, 0, 5, 6, 0]);
    }

    #[test]
    fn a_cropped_picture_loses_both_ends_of_its_longer_side() {
        for (source, cut, seen) in [
            ([16, 24], [0, 0], [16, 24]),
            ([400, 401], [67, 0], [267, 401]),
            ([8, 100], [0, 44], [8, 12]),
            ([1, 1], [0, 0], [1, 1]),
        ] {
            let at = place(Fit::CentreCrop, source);
            assert_eq!((at.cut, at.seen), (cut, seen), "{source:?}");
            assert_eq!((at.offset, at.size), ([0, 0], [8, 12]), "{source:?}");
        }
        let at = Preprocess { height: 2, width: 2, fit: Fit::CentreCrop, ..Preprocess::PRIOR }
            .place([2, 5]);
        assert_eq!(at.cropped(&[0, 1, 2, 3, 4, 10, 11, 12, 13, 14]), [1, 2, 11, 12]);
    }

    /// Rows and columns, size, what is skipped: by torchvision's `_compute_resized_output_size` and `center_crop`.
    #[test]
    fn a_picture_is_resized_and_cropped_to_the_pixel_as_torchvision_does() {
        let fit = Fit::ResizeCrop(Side::new(10).unwrap());
        for (source, size, skipped) in [
            ([100, 100], [10, 10], [1, 1]),
            ([100, 157], [10, 15], [1, 4]), // 15.7; (15 - 8) / 2 is 3.5, the even one is 4
            ([133, 100], [13, 10], [2, 1]), // 13.3; 2.5, the even one is 2
            ([5, 5], [10, 10], [1, 1]),
            ([1, 1000], [10, 10_000], [1, 4996]),
        ] {
            let at = Preprocess { height: 8, width: 8, fit, ..Preprocess::PRIOR }.place(source);
            assert_eq!((at.size, at.skipped), (size, skipped), "{source:?}");
            assert_eq!((at.shown, at.offset, at.is_whole()), ([8, 8], [0, 0], true));
        }
        // A side below the input's gets black, as torchvision's crop gives it.
        let at = place(fit, [50, 50]); // 8x12
        assert_eq!((at.size, at.skipped, at.shown), ([10, 10], [1, 0], [8, 10]));
        assert_eq!(at.offset, [0, 1]);
    }

    #[test]
    fn of_a_resized_and_cropped_picture_the_middle_is_seen() {
        let fit = Fit::ResizeCrop(Side::new(10).unwrap());
        let at = Preprocess { height: 8, width: 8, fit, ..Preprocess::PRIOR }.place([100, 100]);
        assert_eq!([at.visible(0), at.visible(1)], [10..90, 10..90]);
        assert_eq!(at.into_source([0.0, 2.0, 8.0, 4.0]), Some([10.0, 30.0, 80.0, 40.0]));
        let [x1, y1, x2, y2] = at.into_input([0.1, 0.3, 0.9, 0.7]).map(|x| (x * 1e6).round() / 1e6);
        assert_eq!([x1, y1, x2, y2], [0.0, 0.25, 1.0, 0.75]);
        let whole = place(Fit::Stretch, [100, 30]);
        assert_eq!([whole.visible(0), whole.visible(1)], [0..100, 0..30]);
        assert_eq!(place(Fit::Pad, [400, 300]).visible(1), 0..300);
    }

    #[test]
    fn boxes_of_a_cropped_picture_come_back_to_where_they_were() {
        let at = place(Fit::CentreCrop, [8, 100]);
        assert_eq!(at.into_source([3.0, 2.0, 6.0, 4.0]), Some([47.0, 2.0, 6.0, 4.0]));
        assert_eq!(
            at.into_input([0.44, 0.0, 0.56, 1.0]).map(|x| (x * 1e6).round()),
            [0.0, 0.0, 1e6, 1e6]
        );
    }

    #[test]
    fn boxes_come_back_to_where_they_were_and_are_cut_to_the_picture() {
        let at = place(Fit::Pad, [400, 400]); // columns 2 to 10 of 12
        let shares = at.into_input([0.25, 0.5, 0.75, 1.0]);
        let [x1, y1, x2, y2] = shares.map(|share| share as f32);
        let pixels = [x1 * 12.0, y1 * 8.0, (x2 - x1) * 12.0, (y2 - y1) * 8.0];
        let found = at.into_source(pixels).unwrap();
        for (found, expected) in found.into_iter().zip([100.0, 200.0, 200.0, 200.0]) {
            assert!((found - expected).abs() < 1e-3, "{found} {expected}");
        }
        assert_eq!(at.into_source([0.0, 0.0, 6.0, 8.0]), Some([0.0, 0.0, 200.0, 400.0]));
        assert_eq!(at.into_source([0.0, 0.0, 2.0, 8.0]), None);
        assert_eq!(at.into_source([10.5, 0.0, 1.0, 8.0]), None);
    }
}
