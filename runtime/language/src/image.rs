//! An image as an int8 network embeds it.

use crate::section::Space;

/// The network's codes for places: `x = (q − zero) · scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Codes {
    pub scale: f32,
    pub zero: u8,
}

impl Codes {
    /// `q − zero` of a value that such a code was dequantized to, −255 to 255.
    pub fn steps(&self, value: f32) -> i16 {
        // Each of the two roundings moves the quotient by less than one in ten million: the nearest is the code.
        (value / self.scale).round_ties_even().clamp(-255.0, 255.0) as i16
    }

    /// The code that a value was dequantized from.
    pub fn code(&self, value: f32) -> u8 {
        (self.steps(value) + i16::from(self.zero)).clamp(0, 255) as u8
    }
}

/// The codes of both maps of a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MapCodes {
    pub places: Codes,
    /// Of a network that tells what its places add to the global score.
    pub global_places: Option<Codes>,
}

impl From<Codes> for MapCodes {
    fn from(places: Codes) -> Self {
        Self { places, global_places: None }
    }
}

/// An embedded image, as the network's integers.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// `v [D]` as `q − zero`, −255 to 255. Its scale does not matter: `v` is brought to length 1.
    pub global: &'a [i16],
    /// `V [P, D]`, one place after the other, of [`Codes`].
    pub places: &'a [u8],
    /// `G [P, D]`, one place after the other, of [`MapCodes::global_places`].
    pub global_places: Option<&'a [u8]>,
}

impl Image<'_> {
    /// # Panics
    /// If it is not of this space.
    pub(crate) fn check(&self, space: &Space) {
        let expected = (space.width as usize, space.places() * space.width as usize);
        assert_eq!((self.global.len(), self.places.len()), expected, "embedding and places");
        assert!(self.global_places.is_none_or(|own| own.len() == expected.1), "shares of places");
    }
}
