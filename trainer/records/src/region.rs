//! Where something is in an image: pictures somebody drew, or the inside of boxes.

use super::IndexError;
use std::path::Path;

/// Where something is.
#[derive(Clone, Debug, PartialEq)]
pub enum Region<'a> {
    /// Pictures of which any may show it; none = it is not there.
    Drawn(Vec<&'a Path>),
    /// Corners `x1, y1, x2, y2`, in pixels of the image; none = it is not there.
    Boxed(Vec<[f32; 4]>),
}

impl Region<'_> {
    /// `[height, width]`, true inside, for an image of that size. Pictures of another size are refused.
    pub fn mask(&self, [height, width]: [usize; 2]) -> Result<Vec<bool>, IndexError> {
        let mut mask = vec![false; height * width];
        match self {
            Self::Boxed(boxes) => boxes.iter().for_each(|&corners| fill(&mut mask, width, corners)),
            Self::Drawn(paths) => {
                for path in paths {
                    let picture = match radiograph::read_file(path) {
                        Ok(radiograph) => radiograph.image,
                        Err(source) => return Err(IndexError::Mask { path: path.into(), source }),
                    };
                    if [picture.height, picture.width] != [height, width] {
                        let (found, expected) = ([picture.width, picture.height], [width, height]);
                        return Err(IndexError::MaskSize { path: path.into(), found, expected });
                    }
                    for (inside, x) in mask.iter_mut().zip(&*picture.pixels()) {
                        *inside |= *x >= 0.5;
                    }
                }
            }
        }
        Ok(mask)
    }
}

fn fill(mask: &mut [bool], width: usize, [x1, y1, x2, y2]: [f32; 4]) {
    let height = mask.len() / width.max(1);
    let place = |x: f32, side: usize| (x.round().max(0.0) as usize).min(side);
    for y in place(y1, height)..place(y2, height) {
        mask[y * width + place(x1, width)..y * width + place(x2, width)].fill(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_filled_to_the_nearest_pixel_and_cut_at_the_edge() {
        let mask = Region::Boxed(vec![[0.6, 1.4, 2.4, 9.0], [-3.0, 0.0, 1.0, 0.6]]).mask([3, 4]);
        let rows = ["#...", ".#..", ".#.."];
        let drawn = rows.concat().chars().map(|c| c == '#').collect::<Vec<bool>>();
        assert_eq!(mask.unwrap(), drawn);
        assert_eq!(Region::Boxed(vec![]).mask([2, 2]).unwrap(), [false; 4]);
    }

    #[test]
    fn a_region_drawn_in_several_pictures_is_their_union() {
        let folder = tempfile::tempdir().unwrap();
        let draw = |name: &str, grey: [u8; 4]| {
            let path = folder.path().join(name);
            image::save_buffer(&path, &grey, 2, 2, image::ColorType::L8).unwrap();
            path
        };
        let (a, b) = (draw("a.png", [255, 0, 0, 0]), draw("b.png", [0, 0, 200, 90]));
        let mask = Region::Drawn(vec![&a, &b]).mask([2, 2]).unwrap();
        assert_eq!(mask, [true, false, true, false]);
        let error = Region::Drawn(vec![&a]).mask([2, 3]).unwrap_err().to_string();
        assert!(error.contains("a.png: mask is 2x2, expected the image's 3x2"), "{error}");
    }
}
