//! An image as an int8 network embeds it.

use crate::LanguageError;
use crate::check::MOST_SCALE;
use crate::section::Space;
use graph::{LANGUAGE_GLOBAL, LANGUAGE_GLOBAL_PLACES, LANGUAGE_PLACES};

/// The network's codes for places: `x = (q − zero) · scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Codes {
    pub scale: f32,
    pub zero: u8,
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

/// How a network rounds its outputs of language, [`LANGUAGE_GLOBAL`], [`LANGUAGE_PLACES`] and, if it has that,
/// [`LANGUAGE_GLOBAL_PLACES`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounding {
    pub global: Codes,
    pub maps: MapCodes,
}

/// The integers that these outputs of one image were dequantized from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// `[D]`
    global: Vec<i16>,
    /// `[P, D]`
    places: Vec<u8>,
    global_places: Option<Vec<u8>>,
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

impl Rounding {
    /// Whether every code stands for a number.
    pub fn check(&self) -> Result<(), LanguageError> {
        self.global.check("embedding")?;
        self.maps.places.check("places")?;
        self.maps.global_places.map_or(Ok(()), |codes| codes.check("shares of places"))
    }

    /// Of an image's outputs by name, `[D]` and `[D, P]`. Refuses numbers that no code stands for: such an output is not
    /// on integers.
    pub fn embedded<'a, E: From<LanguageError>>(
        &self,
        space: &Space,
        output: impl Fn(&'static str) -> Result<&'a [f32], E>,
    ) -> Result<Embedded, E> {
        let global = output(LANGUAGE_GLOBAL)?;
        let global = self.global.steps(LANGUAGE_GLOBAL, global, space.width as usize)?;
        // Codes `[P, D]`: channels come first as ONNX has them, and are innermost as products want them.
        let map = |name, codes: Codes| {
            let (width, sites) = (space.width as usize, space.places());
            let planes = codes.steps(name, output(name)?, width * sites)?;
            let mut map = vec![0; planes.len()];
            for (channel, plane) in planes.chunks_exact(sites).enumerate() {
                for (site, step) in plane.iter().enumerate() {
                    map[site * width + channel] = (step + i16::from(codes.zero)) as u8;
                }
            }
            Ok::<_, E>(map)
        };
        let shares = self.maps.global_places.map(|codes| map(LANGUAGE_GLOBAL_PLACES, codes));
        let places = map(LANGUAGE_PLACES, self.maps.places)?;
        Ok(Embedded { global, places, global_places: shares.transpose()? })
    }
}

impl Codes {
    pub(crate) fn check(&self, what: &str) -> Result<(), LanguageError> {
        if self.scale.is_normal() && self.scale > 0.0 && self.scale <= MOST_SCALE {
            return Ok(());
        }
        let what = format!("the scale of the network's {what}");
        let expected = format!("a positive scale up to {MOST_SCALE}");
        Err(LanguageError::invalid(what, self.scale, expected))
    }

    /// `q − zero` of each of `count` values.
    fn steps(&self, output: &str, values: &[f32], count: usize) -> Result<Vec<i16>, LanguageError> {
        if values.len() != count {
            let (what, found) = (format!("output `{output}`"), format!("{} values", values.len()));
            return Err(LanguageError::invalid(what, found, count.to_string()));
        }
        let (mut steps, mut exact) = (vec![0; count], true);
        for (step, &x) in steps.iter_mut().zip(values) {
            let (nearest, same) = self.step(x);
            *step = nearest;
            exact &= same;
        }
        if exact {
            return Ok(steps);
        }
        let inexact = values.iter().find(|x| !self.step(**x).1);
        Err(LanguageError::NotOnIntegers {
            output: output.to_owned(),
            found: inexact.copied().unwrap_or(f32::NAN),
            scale: self.scale,
            zero: self.zero,
        })
    }

    /// `q − zero` of the code nearest to a value, and whether the code stands for just this value.
    #[inline(always)]
    fn step(&self, x: f32) -> (i16, bool) {
        /// Adding it leaves the nearest integer in the lowest bits.
        const MAGIC: f32 = 12_582_912.0;
        // Each of the two roundings moves the quotient by less than one in ten million: the nearest is the code.
        let shifted = (x / self.scale + MAGIC).to_bits();
        let step = shifted.wrapping_sub(MAGIC.to_bits()).cast_signed();
        let is_code = (0..=255).contains(&step.wrapping_add(i32::from(self.zero)));
        (step as i16, is_code & (step as f32 * self.scale == x))
    }
}

impl Embedded {
    pub fn image(&self) -> Image<'_> {
        let global_places = self.global_places.as_deref();
        Image { global: &self.global, places: &self.places, global_places }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: Space = Space { id: [0; 32], width: 256, grid: [2, 1] };

    /// Every code there is, of scales whose products round.
    fn all(scale: f32, zero: u8) -> (Rounding, Vec<f32>) {
        let codes = Codes { scale, zero };
        let value = |q: i16| f32::from(q - i16::from(zero)) * scale;
        let maps = MapCodes { places: codes, global_places: Some(codes) };
        (Rounding { global: codes, maps }, (0..256).map(value).collect())
    }

    fn embedded(
        rounding: &Rounding,
        global: &[f32],
        [places, shares]: [&[f32]; 2],
    ) -> Result<Embedded, LanguageError> {
        rounding.embedded(&SPACE, |name| {
            Ok(match name {
                LANGUAGE_GLOBAL => global,
                LANGUAGE_PLACES => places,
                _ => shares,
            })
        })
    }

    #[test]
    fn every_code_is_recovered_from_its_value() {
        for scale in [0.1, 1.0 / 64.0, 3.0e-5, 7.7, 1.175_494_4e-38] {
            for zero in [0, 1, 127, 255] {
                let (rounding, values) = all(scale, zero);
                // Channel `c` has code `c` at one place, and 255 − c at the other.
                let planes: Vec<f32> =
                    (0..256).flat_map(|c| [values[c], values[255 - c]]).collect();
                let turned: Vec<f32> = planes.iter().rev().copied().collect();
                let embedded = embedded(&rounding, &values, [&planes, &turned]).unwrap();
                let image = embedded.image();
                let steps = (0..256).map(|q| q - i16::from(zero)).collect::<Vec<i16>>();
                assert_eq!(image.global, steps, "{scale} {zero}");
                let codes: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
                assert_eq!(image.places, codes, "{scale} {zero}");
                assert_eq!(image.global_places, Some(&codes[..]), "{scale} {zero}");
            }
        }
    }

    #[test]
    fn a_scale_that_is_no_number_is_refused_by_name() {
        let (rounding, _) = all(0.1, 3);
        assert_eq!(rounding.check(), Ok(()));
        for scale in [0.0, -0.1, f32::NAN, f32::INFINITY, 1e-40] {
            let global = Codes { scale, zero: 3 };
            let error = Rounding { global, ..rounding }.check().unwrap_err().to_string();
            assert!(error.starts_with("the scale of the network's embedding is"), "{error}");
        }
    }

    #[test]
    fn what_is_not_on_integers_is_refused_by_name() {
        let (rounding, values) = all(0.1, 3);
        let planes = [&values[..], &values].concat();
        let (beside, above) = (f32::from_bits(values[200].to_bits() + 1), values[255] + 0.1);
        for wrong in [beside, above, values[0] - 0.1, f32::NAN, f32::INFINITY, -1e30, 1e-30] {
            let mut global = values.clone();
            global[7] = wrong;
            let error = embedded(&rounding, &global, [&planes; 2]).unwrap_err().to_string();
            let expected = format!("output `language.global` holds {wrong}, expected");
            assert!(error.starts_with(&expected), "{error}");
            let mut map = planes.clone();
            map[300] = wrong;
            for (maps, name) in [([&map, &planes], "places"), ([&planes, &map], "global_places")] {
                let maps = maps.map(Vec::as_slice);
                let error = embedded(&rounding, &values, maps).unwrap_err().to_string();
                let expected = format!("output `language.{name}` holds {wrong}, expected");
                assert!(error.starts_with(&expected), "{error}");
            }
        }
        let error = embedded(&rounding, &values, [&values, &planes]).unwrap_err().to_string();
        assert_eq!(error, "output `language.places` is 256 values, expected 512");
    }
}
