//! Pixels, rectangles and text.

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use std::{ops::Range, sync::LazyLock};

/// Red, green, blue.
pub(super) type Colour = [u8; 3];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Regular,
    Bold,
}

/// A picture being drawn; whatever lies outside is cut off.
#[derive(Clone, Debug)]
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    /// `[height, width, 3]`
    pub(super) pixels: Vec<u8>,
}

static REGULAR: LazyLock<FontRef<'static>> = LazyLock::new(|| font(notosans::REGULAR_TTF));
static BOLD: LazyLock<FontRef<'static>> = LazyLock::new(|| font(notosans::BOLD_TTF));

fn font(bytes: &'static [u8]) -> FontRef<'static> {
    FontRef::try_from_slice(bytes).expect("the font is compiled in, and a test draws with it")
}

impl Weight {
    fn font(self) -> &'static FontRef<'static> {
        match self {
            Self::Regular => &REGULAR,
            Self::Bold => &BOLD,
        }
    }
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize, ground: Colour) -> Self {
        Self { width, height, pixels: ground.repeat(width * height) }
    }

    #[cfg(test)]
    pub(super) fn get(&self, x: usize, y: usize) -> Colour {
        let at = (y * self.width + x) * 3;
        [self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]]
    }

    /// Lays `colour` over a pixel; `cover` from 0 (nothing) to 1.
    pub(super) fn blend(&mut self, x: usize, y: usize, colour: Colour, cover: f32) {
        if x < self.width {
            self.blend_run(x..x + 1, y, colour, cover);
        }
    }

    /// Lays `colour` over the pixels of a row.
    pub(super) fn blend_run(&mut self, xs: Range<usize>, y: usize, colour: Colour, cover: f32) {
        if y >= self.height || xs.is_empty() {
            return;
        }
        let row = y * self.width;
        let (pixels, _) =
            self.pixels[(row + xs.start) * 3..(row + xs.end) * 3].as_chunks_mut::<3>();
        if cover >= 1.0 {
            pixels.fill(colour);
            return;
        }
        for (below, above) in pixels.as_flattened_mut().iter_mut().zip(colour.into_iter().cycle()) {
            let below_now = f32::from(*below);
            // Rounds: `f32::round` is a call into a library on most processors.
            *below = (below_now + (f32::from(above) - below_now) * cover + 0.5) as u8;
        }
    }

    /// Grey pixels from `(0, y)` on.
    pub(super) fn grey_row(&mut self, y: usize, grey: &[u8]) {
        let (pixels, _) = self.pixels[y * self.width * 3..].as_chunks_mut::<3>();
        for (pixel, grey) in pixels.iter_mut().zip(grey) {
            *pixel = [*grey; 3];
        }
    }

    /// A filled rectangle.
    pub(super) fn fill(
        &mut self,
        x: f32,
        y: f32,
        width: f32,
        height: f32,
        colour: Colour,
        cover: f32,
    ) {
        for y in span(y, height, self.height) {
            self.blend_run(span(x, width, self.width), y, colour, cover);
        }
    }

    /// The edge of a rectangle, `thick` pixels inwards.
    pub(super) fn outline(
        &mut self,
        x: f32,
        y: f32,
        width: f32,
        height: f32,
        thick: f32,
        colour: Colour,
    ) {
        self.fill(x, y, width, thick, colour, 1.0);
        self.fill(x, y + height - thick, width, thick, colour, 1.0);
        self.fill(x, y, thick, height, colour, 1.0);
        self.fill(x + width - thick, y, thick, height, colour, 1.0);
    }

    /// One line of text, `size` pixels high, its upper left corner at `(x, y)`.
    pub(super) fn text(
        &mut self,
        x: f32,
        y: f32,
        text: &str,
        size: f32,
        weight: Weight,
        colour: Colour,
    ) {
        let base = y + weight.font().as_scaled(PxScale::from(size)).ascent();
        for mut glyph in glyphs(text, size, weight).0 {
            glyph.position += point(x, base);
            let Some(outline) = weight.font().outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            outline.draw(|dx, dy, cover| {
                let (x, y) = (corner.x + dx as f32, corner.y + dy as f32);
                if x >= 0.0 && y >= 0.0 {
                    self.blend(x as usize, y as usize, colour, cover.min(1.0));
                }
            });
        }
    }
}

/// Pixels that a line of text takes from left to right.
pub(super) fn text_width(text: &str, size: f32, weight: Weight) -> f32 {
    glyphs(text, size, weight).1
}

/// Glyphs of a line from `(0, 0)`, and its width.
fn glyphs(text: &str, size: f32, weight: Weight) -> (Vec<Glyph>, f32) {
    let font = weight.font().as_scaled(PxScale::from(size));
    let (mut x, mut last, mut glyphs) = (0.0, None, Vec::new());
    for letter in text.chars().take(200) {
        let id = font.glyph_id(letter);
        if let Some(last) = last {
            x += font.kern(last, id);
        }
        glyphs.push(id.with_scale_and_position(size, point(x, 0.0)));
        x += font.h_advance(id);
        last = Some(id);
    }
    (glyphs, x)
}

/// The pixels from `start` on, as far as they are on the canvas.
fn span(start: f32, length: f32, limit: usize) -> Range<usize> {
    let pixel = |x: f32| (x.round().max(0.0) as usize).min(limit);
    pixel(start)..pixel(start + length)
}
