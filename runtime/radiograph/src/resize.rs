//! Resizing as two one-dimensional passes with weights computed once.
//!
//! The vertical pass comes first: it adds whole rows, which compilers vectorise without changing
//! the order of additions of any pixel. So the result has the same bits on every CPU.

/// Resizes `[h, w]` to `[H, W]` with the triangle filter, widened when shrinking (antialiasing).
pub(crate) fn triangle(pixels: &[f32], from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let [from_height, from_width] = from;
    let [to_height, to_width] = to;
    let mut tall = Vec::with_capacity(to_height * from_width); // [H, w]
    for taps in Taps::all(from_height, to_height) {
        let mut sum = vec![0.0; from_width];
        let rows = pixels[taps.first * from_width..].chunks_exact(from_width);
        for (row, weight) in rows.zip(&taps.weights) {
            for (sum, x) in sum.iter_mut().zip(row) {
                *sum += weight * x;
            }
        }
        tall.extend_from_slice(&sum);
    }
    let taps = Taps::all(from_width, to_width);
    let mut out = Vec::with_capacity(to_height * to_width); // [H, W]
    for row in tall.chunks_exact(from_width) {
        out.extend(taps.iter().map(|taps| taps.dot(row)));
    }
    out
}

/// The source pixels that make one destination pixel, and their weights, which add up to 1.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

impl Taps {
    /// One for each of `to` pixels made from `from` pixels.
    fn all(from: usize, to: usize) -> Vec<Self> {
        let scale = from as f64 / to as f64; // source pixels per destination pixel
        (0..to).map(|i| Self::at((i as f64 + 0.5) * scale, scale.max(1.0), from)).collect()
    }

    /// Around `center` (source coordinates), reaching `support` pixels to either side.
    fn at(center: f64, support: f64, from: usize) -> Self {
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let raw: Vec<f64> = (first..end)
            .map(|x| (1.0 - ((x as f64 + 0.5 - center) / support).abs()).max(0.0))
            .collect();
        let total: f64 = raw.iter().sum();
        Self { first, weights: raw.iter().map(|w| (w / total) as f32).collect() }
    }

    fn dot(&self, row: &[f32]) -> f32 {
        let mut sum = 0.0;
        for (x, weight) in row[self.first..].iter().zip(&self.weights) {
            sum += weight * x;
        }
        sum
    }
}
