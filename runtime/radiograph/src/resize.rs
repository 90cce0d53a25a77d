//! Resizing as two one-dimensional passes with weights computed once.
//!
//! The vertical pass comes first: it adds whole rows, which compilers vectorise without changing
//! the order of additions of any pixel. So the result has the same bits on every CPU.

/// Resizes `[h, w]` to `[H, W]` with the triangle filter, widened when shrinking (antialiasing).
pub(crate) fn triangle(pixels: &[f32], from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let taps = [0, 1].map(|axis| Taps::triangles(from[axis], to[axis]));
    separable(pixels, from[1], &taps, 0.0)
}

/// As scikit-image's `resize`: where it shrinks, blurred by a Gaussian of `(factor − 1) / 2` pixels, then linear between
/// pixels, with `outside` beside the picture; no pixel is darker or lighter than the picture's.
pub(crate) fn gaussian(pixels: &[f32], from: [usize; 2], to: [usize; 2], outside: f32) -> Vec<f32> {
    if from == to {
        return pixels.to_vec();
    }
    // Where one side shrinks, both have their own sigma; where none does, there is no blur.
    let taps = [0, 1].map(|axis| Taps::gaussians(from[axis], to[axis]));
    let mut resized = separable(pixels, from[1], &taps, outside);
    let [mut low, mut high] = ends(pixels);
    let [darkest, lightest] = ends(&resized);
    if (darkest..=lightest).contains(&outside) {
        (low, high) = (low.min(outside), high.max(outside));
    }
    resized.iter_mut().for_each(|x| *x = x.clamp(low, high));
    resized
}

/// The least and the largest.
fn ends(pixels: &[f32]) -> [f32; 2] {
    let all = pixels.iter().copied();
    [all.clone().fold(f32::INFINITY, f32::min), all.fold(f32::NEG_INFINITY, f32::max)]
}

/// Rows first, then columns, of a picture `from_width` wide.
fn separable(pixels: &[f32], from_width: usize, taps: &[Vec<Taps>; 2], outside: f32) -> Vec<f32> {
    let [down, across] = taps;
    let mut tall = Vec::with_capacity(down.len() * from_width); // [H, w]
    for taps in down {
        let mut sum = vec![taps.beyond * outside; from_width];
        let rows = pixels[taps.first * from_width..].chunks_exact(from_width);
        for (row, weight) in rows.zip(&taps.weights) {
            for (sum, x) in sum.iter_mut().zip(row) {
                *sum += weight * x;
            }
        }
        tall.extend_from_slice(&sum);
    }
    let mut out = Vec::with_capacity(down.len() * across.len()); // [H, W]
    for row in tall.chunks_exact(from_width) {
        out.extend(across.iter().map(|taps| taps.dot(row, outside)));
    }
    out
}

/// The source pixels that make one destination pixel, and their weights, which with `beyond` add up to 1.
struct Taps {
    first: usize,
    weights: Vec<f32>,
    /// Weight of what lies beside the picture.
    beyond: f32,
}

impl Taps {
    /// One for each of `to` pixels made from `from` pixels.
    fn triangles(from: usize, to: usize) -> Vec<Self> {
        let scale = from as f64 / to as f64; // source pixels per destination pixel
        (0..to).map(|i| Self::triangle((i as f64 + 0.5) * scale, scale.max(1.0), from)).collect()
    }

    /// Around `center` (source coordinates), reaching `support` pixels to either side.
    fn triangle(center: f64, support: f64, from: usize) -> Self {
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let raw: Vec<f64> = (first..end)
            .map(|x| (1.0 - ((x as f64 + 0.5 - center) / support).abs()).max(0.0))
            .collect();
        let total: f64 = raw.iter().sum();
        Self { first, weights: raw.iter().map(|w| (w / total) as f32).collect(), beyond: 0.0 }
    }

    fn gaussians(from: usize, to: usize) -> Vec<Self> {
        let scale = from as f64 / to as f64;
        let kernel = kernel(((scale - 1.0) / 2.0).max(0.0));
        (0..to).map(|i| Self::gaussian((i as f64 + 0.5) * scale - 0.5, &kernel, from)).collect()
    }

    /// Linear between the blurred pixels on either side of `place`, a pixel's centre being a whole number.
    fn gaussian(place: f64, kernel: &[f64], from: usize) -> Self {
        let radius = (kernel.len() / 2) as i64;
        let (lower, fraction) = (place.floor() as i64, place - place.floor());
        let weight = |x: i64| {
            let of = |at: i64| usize::try_from(at).ok().and_then(|at| kernel.get(at));
            let [left, right] = [x - lower + radius, x - lower - 1 + radius].map(of);
            left.map_or(0.0, |w| w * (1.0 - fraction)) + right.map_or(0.0, |w| w * fraction)
        };
        let reach = lower - radius..=lower + 1 + radius;
        let inside = 0..from as i64;
        let first = (*reach.start()).clamp(0, from as i64);
        let beyond: f64 = reach.clone().filter(|x| !inside.contains(x)).map(weight).sum();
        let weights = reach.filter(|x| inside.contains(x)).map(|x| weight(x) as f32).collect();
        Self { first: first as usize, weights, beyond: beyond as f32 }
    }

    fn dot(&self, row: &[f32], outside: f32) -> f32 {
        let mut sum = self.beyond * outside;
        for (x, weight) in row[self.first..].iter().zip(&self.weights) {
            sum += weight * x;
        }
        sum
    }
}

/// A Gaussian cut off at four deviations, which adds up to 1.
fn kernel(sigma: f64) -> Vec<f64> {
    if sigma <= 1e-15 {
        return vec![1.0];
    }
    let radius = (4.0 * sigma + 0.5) as i64;
    let raw: Vec<f64> =
        (-radius..=radius).map(|x| libm::exp(-0.5 / (sigma * sigma) * (x * x) as f64)).collect();
    let total: f64 = raw.iter().sum();
    raw.iter().map(|w| w / total).collect()
}
