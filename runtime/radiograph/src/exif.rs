//! Which way up a photograph is: the Orientation of its EXIF data (TIFF 6.0, EXIF 2.32).

use crate::{Image, RadiographError};

/// How the stored rows and columns become the displayed ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Orientation {
    /// Rows become columns, before any flip.
    transposed: bool,
    flipped_horizontally: bool,
    flipped_vertically: bool,
}

impl Orientation {
    pub(crate) const UPRIGHT: Self =
        Self { transposed: false, flipped_horizontally: false, flipped_vertically: false };

    /// From EXIF data, which begins with the TIFF header. What is damaged says nothing: upright, as
    /// every viewer shows it.
    pub(crate) fn of_exif(exif: &[u8]) -> Self {
        Self::parse(exif).unwrap_or(Self::UPRIGHT)
    }

    fn parse(exif: &[u8]) -> Option<Self> {
        let big_endian = match exif.first_chunk()? {
            b"MM\0*" => true,
            b"II*\0" => false,
            _ => return None,
        };
        let u16_at = |at: usize| {
            let bytes = *exif.get(at..)?.first_chunk()?;
            Some(if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
        };
        let u32_at = |at: usize| {
            let bytes = *exif.get(at..)?.first_chunk()?;
            Some(if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
        };
        let directory = u32_at(4)? as usize;
        let entries = usize::from(u16_at(directory)?);
        let mut places = (0..entries).map(|i| directory + 2 + ENTRY_BYTES * i);
        let entry = places.find(|at| u16_at(*at) == Some(ORIENTATION))?;
        let value = match u16_at(entry + 2)? {
            BYTE => u16::from(*exif.get(entry + 8)?),
            SHORT => u16_at(entry + 8)?,
            LONG => u16::try_from(u32_at(entry + 8)?).ok()?,
            _ => return None,
        };
        let of = |transposed, flipped_horizontally, flipped_vertically| Self {
            transposed,
            flipped_horizontally,
            flipped_vertically,
        };
        Some(match value {
            1 => of(false, false, false),
            2 => of(false, true, false),
            3 => of(false, true, true),
            4 => of(false, false, true),
            5 => of(true, false, false),
            6 => of(true, true, false), // a quarter turn clockwise
            7 => of(true, true, true),
            8 => of(true, false, true),
            _ => return None,
        })
    }

    /// Displayed `[height, width]` of a stored picture.
    pub(crate) fn size(self, [height, width]: [usize; 2]) -> [usize; 2] {
        if self.transposed { [width, height] } else { [height, width] }
    }

    /// The picture as displayed.
    pub(crate) fn apply(self, stored: Image<'_>) -> Result<Image<'_>, RadiographError> {
        if self == Self::UPRIGHT {
            return Ok(stored);
        }
        let [height, width] = self.size([stored.height, stored.width]);
        let greys = stored.pixels();
        let mut pixels = Vec::with_capacity(height * width);
        for y in 0..height {
            let y = if self.flipped_vertically { height - 1 - y } else { y };
            for x in 0..width {
                let x = if self.flipped_horizontally { width - 1 - x } else { x };
                let (row, column) = if self.transposed { (x, y) } else { (y, x) };
                pixels.push(greys[row * stored.width + column]);
            }
        }
        Image::new(height, width, pixels)
    }
}

const ENTRY_BYTES: usize = 12;
const ORIENTATION: u16 = 0x0112;
const BYTE: u16 = 1;
const SHORT: u16 = 3;
const LONG: u16 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of one other entry and the orientation.
    fn exif(big_endian: bool, value: u16) -> Vec<u8> {
        let two = |x: u16| if big_endian { x.to_be_bytes() } else { x.to_le_bytes() };
        let four = |x: u32| if big_endian { x.to_be_bytes() } else { x.to_le_bytes() };
        let mut bytes = if big_endian { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        bytes.extend(four(8));
        bytes.extend(two(2));
        for (tag, kind, value) in [(0x0100, LONG, 7), (ORIENTATION, SHORT, value)] {
            bytes.extend([two(tag), two(kind)].concat());
            bytes.extend(four(1));
            bytes.extend([two(value), [0, 0]].concat());
        }
        bytes
    }

    /// Stored 2 rows x 3 columns; what EXIF 2.32 (figure 14) says of row 0 and column 0.
    #[test]
    fn every_orientation_shows_the_first_row_and_column_where_exif_says() {
        let stored = Image::new(2, 3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let displayed: [(usize, usize, [f32; 6]); 8] = [
            (2, 3, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            (2, 3, [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]),
            (2, 3, [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]),
            (2, 3, [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]),
            (3, 2, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]),
            (3, 2, [4.0, 1.0, 5.0, 2.0, 6.0, 3.0]),
            (3, 2, [6.0, 3.0, 5.0, 2.0, 4.0, 1.0]),
            (3, 2, [3.0, 6.0, 2.0, 5.0, 1.0, 4.0]),
        ];
        for (value, (height, width, pixels)) in (1..).zip(displayed) {
            for big_endian in [false, true] {
                let orientation = Orientation::of_exif(&exif(big_endian, value));
                assert_eq!(orientation.size([2, 3]), [height, width], "{value}");
                let shown = orientation.apply(stored.clone()).unwrap();
                assert_eq!((shown.height, shown.width), (height, width), "{value}");
                assert_eq!(*shown.pixels(), pixels, "{value}");
            }
        }
    }

    #[test]
    fn what_is_no_orientation_is_upright() {
        for value in [0, 9, 600] {
            assert_eq!(Orientation::of_exif(&exif(false, value)), Orientation::UPRIGHT);
        }
        let whole = exif(true, 6);
        for end in 0..whole.len() - 2 {
            assert_eq!(Orientation::of_exif(&whole[..end]), Orientation::UPRIGHT, "{end}");
        }
    }
}
