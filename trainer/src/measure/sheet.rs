//! Pictures of single cases: truth outlined in green, what the network says in orange.

use crate::metrics::detection::Rect;
use anyhow::{Context, Result};
use image::{Rgb, RgbImage};
use std::path::{Path, PathBuf};

/// One case of the sheet.
pub(crate) struct Case {
    pub(crate) image: PathBuf,
    pub(crate) caption: String,
    pub(crate) truth: Vec<Drawing>,
    pub(crate) ours: Vec<Drawing>,
}

/// Something to outline, in pixels of the image.
pub(crate) enum Drawing {
    Mask { inside: Vec<bool>, height: usize, width: usize },
    Rectangle(Rect),
}

/// Told apart by people who do not see all colours (Okabe & Ito).
const TRUTH: Rgb<u8> = Rgb([0, 200, 150]);
const OURS: Rgb<u8> = Rgb([240, 130, 0]);
/// Rows of a case's picture.
const HEIGHT: usize = 320;

impl Drawing {
    pub(crate) fn mask(inside: Vec<bool>, [height, width]: [usize; 2]) -> Self {
        Self::Mask { inside, height, width }
    }
}

/// The three best, the three in the middle and the three worst by `value`; fewer where there are not nine.
pub(crate) fn pick<T>(all: &[T], value: impl Fn(&T) -> f64) -> Vec<(&'static str, &T)> {
    let mut sorted: Vec<&T> = all.iter().collect();
    sorted.sort_by(|a, b| value(b).total_cmp(&value(a)));
    let n = sorted.len();
    if n < 9 {
        return sorted.into_iter().map(|case| ("all", case)).collect();
    }
    let middle = n / 2 - 1;
    let ranks = [("best", 0), ("median", middle), ("worst", n - 3)];
    ranks
        .iter()
        .flat_map(|&(rank, from)| (from..from + 3).map(move |at| (rank, at)))
        .map(|(rank, at)| (rank, sorted[at]))
        .collect()
}

/// Writes `case-1.png`, … and returns their names with the captions.
pub(crate) fn write(cases: &[Case], folder: &Path) -> Result<Vec<(String, String)>> {
    let mut names = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let name = format!("case-{}.png", at + 1);
        let path = folder.join(&name);
        let image = radiograph::read_file(&case.image)
            .with_context(|| format!("cannot use {}", case.image.display()))?
            .image;
        let width = (image.width * HEIGHT / image.height).max(1);
        let grey = image.resize(HEIGHT, width).to_gray8();
        let mut picture = RgbImage::from_fn(width as u32, HEIGHT as u32, |x, y| {
            Rgb([grey[y as usize * width + x as usize]; 3])
        });
        for (drawings, colour) in [(&case.truth, TRUTH), (&case.ours, OURS)] {
            for drawing in drawings {
                drawing.outline(&mut picture, [image.height, image.width], colour);
            }
        }
        picture.save(&path).with_context(|| format!("cannot write {}", path.display()))?;
        names.push((name, case.caption.clone()));
    }
    Ok(names)
}

impl Drawing {
    fn outline(&self, picture: &mut RgbImage, source: [usize; 2], colour: Rgb<u8>) {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let inside = |x: usize, y: usize| self.holds(x, y, [height, width], source);
        for y in 0..height {
            for x in 0..width {
                let edge = x == 0 || y == 0 || x + 1 == width || y + 1 == height;
                let border = || {
                    edge || !inside(x - 1, y)
                        || !inside(x + 1, y)
                        || !inside(x, y - 1)
                        || !inside(x, y + 1)
                };
                if inside(x, y) && border() {
                    picture.put_pixel(x as u32, y as u32, colour);
                }
            }
        }
    }

    /// Whether a pixel of the small picture lies in it.
    fn holds(&self, x: usize, y: usize, small: [usize; 2], source: [usize; 2]) -> bool {
        let place =
            |at: usize, small: usize, size: usize| (at as f64 + 0.5) * size as f64 / small as f64;
        match self {
            Self::Mask { inside, height, width } => {
                let row = (place(y, small[0], *height) as usize).min(height - 1);
                let column = (place(x, small[1], *width) as usize).min(width - 1);
                inside[row * width + column]
            }
            Self::Rectangle(rect) => {
                let (px, py) = (place(x, small[1], source[1]), place(y, small[0], source[0]));
                (rect.x1..rect.x2).contains(&px) && (rect.y1..rect.y2).contains(&py)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_cases_are_picked_from_the_ends_and_the_middle() {
        let values: Vec<f64> = (0..21).map(f64::from).collect();
        let picked: Vec<(&str, f64)> =
            pick(&values, |&x| x).into_iter().map(|(rank, x)| (rank, *x)).collect();
        let expected = [20.0, 19.0, 18.0, 11.0, 10.0, 9.0, 2.0, 1.0, 0.0];
        assert_eq!(picked.iter().map(|p| p.1).collect::<Vec<_>>(), expected);
        assert_eq!((picked[0].0, picked[4].0, picked[8].0), ("best", "median", "worst"));
        assert_eq!(pick(&values[..4], |&x| x).len(), 4);
    }

    #[test]
    fn outlines_are_hollow_and_where_they_belong() {
        let mut picture = RgbImage::new(40, 20);
        let rect = Rect { x1: 20.0, y1: 10.0, x2: 60.0, y2: 30.0 };
        Drawing::Rectangle(rect).outline(&mut picture, [40, 80], TRUTH);
        let drawn = |x, y| *picture.get_pixel(x, y) == TRUTH;
        assert!(drawn(10, 5) && drawn(29, 14) && drawn(20, 5));
        assert!(!drawn(9, 5) && !drawn(20, 10) && !drawn(30, 14));
    }
}
