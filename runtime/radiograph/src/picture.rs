//! A displayed picture.

use crate::{RadiographError, resize, size};

/// A grey picture: `[height, width]`, row by row, 0 = black … 1 = white.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Image {
    pub height: usize,
    pub width: usize,
    pub pixels: Vec<f32>,
}

impl Image {
    /// A picture of `height * width > 0` pixels.
    pub fn new(height: usize, width: usize, pixels: Vec<f32>) -> Result<Self, RadiographError> {
        size::check_frame(height as u64, width as u64, 1)?;
        if pixels.len() != height * width {
            return Err(RadiographError::ImageSize { height, width, pixels: pixels.len() });
        }
        Ok(Self { height, width, pixels })
    }

    /// This picture at another size, antialiased.
    ///
    /// Triangle filter as in Pillow's `BILINEAR` and torchvision's `antialias=True`; the aspect is
    /// not kept.
    ///
    /// # Panics
    /// If `height` or `width` is 0.
    pub fn resize(&self, height: usize, width: usize) -> Self {
        assert!(height > 0 && width > 0, "a picture has at least one pixel");
        if (height, width) == (self.height, self.width) {
            return self.clone();
        }
        let pixels = resize::triangle(&self.pixels, [self.height, self.width], [height, width]);
        Self { height, width, pixels }
    }

    /// 8-bit grey for writing pictures: 0 = black … 255 = white.
    pub fn to_gray8(&self) -> Vec<u8> {
        self.pixels.iter().map(|x| (x.clamp(0.0, 1.0) * 255.0 + 0.5) as u8).collect()
    }
}
