//! An image in the joint space, in the integers of an int8 network: what a box scores findings in words on.

use crate::passes::interpreter::Outputs;
use anyhow::{Context, Result, ensure};
use bundle::Manifest;
use graph::{LANGUAGE_GLOBAL, LANGUAGE_GLOBAL_PLACES, LANGUAGE_PLACES};
use language::{Codes, Image, MapCodes, Space};

/// Nodes of the outputs, by which the manifest knows their quantization.
const NODES: [&str; 3] =
    ["global_image_projection", "local_image_projection", "global_places_projection"];

/// How a network rounds its outputs in the joint space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rounding {
    global: Scale,
    places: Scale,
    /// Where the pool is the mean.
    global_places: Option<Scale>,
}

/// `x = (q − zero)·scale`
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scale {
    scale: f32,
    zero: i32,
}

/// `v`, `V` and, where the network tells it, `G` of one image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Embedded {
    global: Vec<i16>,
    places: Vec<u8>,
    global_places: Option<Vec<u8>>,
}

impl Rounding {
    /// As calibration found them.
    pub(crate) fn of(manifest: &Manifest) -> Result<Self> {
        let find = |node: &str| {
            let tensor = manifest.calibration.tensors.iter().find(|tensor| tensor.name == node)?;
            Some(Scale { scale: tensor.scale, zero: tensor.zero })
        };
        let of = |node: &str| {
            find(node).with_context(|| {
                format!("the manifest has no range of `{node}`, expected that of a language head")
            })
        };
        Ok(Self { global: of(NODES[0])?, places: of(NODES[1])?, global_places: find(NODES[2]) })
    }

    /// Of both maps, as a scorer packs phrases for.
    pub(crate) fn codes(&self) -> Result<MapCodes> {
        let codes = |own: Scale| -> Result<Codes> {
            Ok(Codes { scale: own.scale, zero: own.unsigned(own.zero)? })
        };
        let global_places = self.global_places.map(codes).transpose()?;
        Ok(MapCodes { places: codes(self.places)?, global_places })
    }

    /// The outputs as the integers they were rounded to.
    pub(crate) fn embedded(&self, outputs: &Outputs, space: &Space) -> Result<Embedded> {
        let width = space.width as usize;
        let global =
            self.global.codes(LANGUAGE_GLOBAL, output(outputs, LANGUAGE_GLOBAL)?, width)?;
        let zero = self.global.zero;
        let of = |name: &str, own: Scale| own.map(name, output(outputs, name)?, space);
        let global_places = self.global_places.map(|own| of(LANGUAGE_GLOBAL_PLACES, own));
        Ok(Embedded {
            global: global.iter().map(|q| (q - zero) as i16).collect(),
            places: of(LANGUAGE_PLACES, self.places)?,
            global_places: global_places.transpose()?,
        })
    }
}

impl Scale {
    /// Refuses numbers that are not exactly what codes stand for: such an output is not on integers.
    fn codes(self, name: &str, values: &[f32], count: usize) -> Result<Vec<i32>> {
        ensure!(values.len() == count, "`{name}` has {} values, expected {count}", values.len());
        let code = |&x: &f32| {
            let q = (x / self.scale).round_ties_even() as i32 + self.zero;
            let again = (q - self.zero) as f32 * self.scale;
            ensure!(
                again.to_bits() == x.to_bits() || (again == 0.0 && x == 0.0),
                "`{name}` holds {x}, expected a multiple of {}: it is not on integers",
                self.scale
            );
            Ok(q)
        };
        values.iter().map(code).collect()
    }

    /// `values [D, P]` → `[P, D]`
    fn map(self, name: &str, values: &[f32], space: &Space) -> Result<Vec<u8>> {
        let (width, places) = (space.width as usize, space.places());
        let by_channel = self.codes(name, values, width * places)?;
        let mut by_place = vec![0; by_channel.len()];
        for (channel, row) in by_channel.chunks_exact(places).enumerate() {
            for (place, &code) in row.iter().enumerate() {
                by_place[place * width + channel] = self.unsigned(code)?;
            }
        }
        Ok(by_place)
    }

    /// Signed codes begin at −128.
    fn unsigned(self, code: i32) -> Result<u8> {
        u8::try_from(code).with_context(|| format!("a code of places is {code}, expected 0 to 255"))
    }
}

/// Values of a network's output.
pub(crate) fn output<'a>(outputs: &'a Outputs, name: &str) -> Result<&'a [f32]> {
    let found = outputs.iter().find(|(own, _)| own == name);
    let (_, values) = found.with_context(|| format!("the network has no output `{name}`"))?;
    Ok(values)
}

impl Embedded {
    pub(crate) fn image(&self) -> Image<'_> {
        let global_places = self.global_places.as_deref();
        Image { global: &self.global, places: &self.places, global_places }
    }
}
