//! How images looked when the network was calibrated: the section of a bundle.

use crate::{
    DriftError, Gathered, Looks, Seen,
    axes::Axes,
    charts::{PAIR, SLACKS},
    directions::{DIRECTIONS, Directions},
    pixels::{FIRST, Frame, PIXELS},
    simulate::{Effort, Limits, Origin, limits},
    table::{MOST_IMAGES, Table, rank},
};
use serde::{Deserialize, Serialize};

/// Images of the calibration, each by its features, and the limits that follow from them.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    stored: Stored,
    /// What version 2 adds.
    directions: Option<Directions>,
    /// `[feature]`, ascending.
    sorted: Vec<Vec<f32>>,
    pub(crate) table: Table,
}

/// Postcard. Never changed: what a later version adds stands after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stored {
    version: u8,
    frame: Frame,
    axes: Axes,
    scores: Vec<String>,
    images: Vec<Looks>,
    limits: Limits,
}

/// What is written. Both are read: version 1 is judged as ever, by the numbers that it has.
const VERSION: u8 = 2;
/// Those of version 1.
const OLD_SLACKS: [f32; PAIR] = [0.25, 0.75];

/// Fewer do not say how images vary.
pub const LEAST_IMAGES: usize = 100;

impl Reference {
    /// Of the images of a calibration; of many, some at equal distances. The same images give the same bytes.
    pub fn build(frame: Frame, images: &[Gathered], effort: Effort) -> Result<Self, DriftError> {
        // At most so many, at equal distances.
        let limit = images.len().min(MOST_IMAGES);
        let images: Vec<&Gathered> =
            (0..limit).map(|at| &images[at * images.len() / limit]).collect();
        if images.len() < LEAST_IMAGES {
            return Err(DriftError::TooFew { found: images.len(), expected: LEAST_IMAGES });
        }
        let embeddings: Vec<&[f32]> = images.iter().map(|image| &image.embedding[..]).collect();
        let axes = Axes::of(&embeddings)?;
        let coarse: Vec<&[f32]> = images.iter().map(|image| &image.coarse[..]).collect();
        let (directions, places) = Directions::of(&coarse)?;
        let scores = images[0].names();
        let looks = images
            .iter()
            .zip(&places)
            .map(|(image, place)| looks(image, image.pixels.iter().chain(place), &axes, &scores));
        let images: Vec<Looks> = looks.collect::<Result<_, _>>()?;
        let origin = Origin {
            orders: (0..images[0].features.len()).map(|at| orders(&images, at)).collect(),
            greys: images.iter().map(|image| &image.greys).collect(),
        };
        let limits = limits(&origin, SLACKS, effort);
        let stored = Stored { version: VERSION, frame, axes, scores, images, limits };
        Ok(Self::of(stored, Some(directions)))
    }

    /// The bytes of the section.
    pub fn to_bytes(&self) -> Result<Vec<u8>, DriftError> {
        let bytes = postcard::to_allocvec(&self.stored);
        let bytes = bytes.and_then(|bytes| match &self.directions {
            Some(directions) => postcard::to_extend(directions, bytes),
            None => Ok(bytes),
        });
        bytes.map_err(|error| damaged(error.to_string()))
    }

    /// Reads untrusted bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DriftError> {
        let broken = |error: postcard::Error| damaged(error.to_string());
        let version = bytes.first();
        if !matches!(version, Some(1 | &VERSION)) {
            return Err(damaged(format!("version {version:?}, expected 1 or {VERSION}")));
        }
        let (stored, rest) = postcard::take_from_bytes::<Stored>(bytes).map_err(broken)?;
        let (directions, rest) = if stored.version == VERSION {
            let (directions, rest) = postcard::take_from_bytes(rest).map_err(broken)?;
            (Some(directions), rest)
        } else {
            (None, rest)
        };
        if !rest.is_empty() {
            return Err(damaged(format!("{} bytes follow it", rest.len())));
        }
        stored.check(directions.as_ref())?;
        Ok(Self::of(stored, directions))
    }

    /// Names of the features, in their order.
    pub fn features(&self) -> Vec<String> {
        self.stored.features()
    }

    /// Images it consists of.
    pub fn images(&self) -> usize {
        self.stored.images.len()
    }

    /// How its inputs are read.
    pub fn frame(&self) -> &Frame {
        &self.stored.frame
    }

    /// The numbers of an image that this network was shown.
    pub fn looks(&self, seen: Seen) -> Result<Looks, DriftError> {
        self.looks_of(&Gathered::of(seen, &self.stored.frame)?)
    }

    /// As [`Self::looks`], of an image that was measured before.
    pub fn looks_of(&self, gathered: &Gathered) -> Result<Looks, DriftError> {
        let Stored { axes, scores, .. } = &self.stored;
        match &self.directions {
            Some(directions) => {
                let places = directions.place(&gathered.coarse);
                looks(gathered, gathered.pixels.iter().chain(&places), axes, scores)
            }
            None => looks(gathered, gathered.pixels[..FIRST].iter(), axes, scores),
        }
    }

    /// Where each feature stands among the reference's; refuses what another reference gave.
    pub(crate) fn ranks(&self, looks: &Looks) -> Result<Vec<u16>, DriftError> {
        let (found, expected) = (looks.features.len(), self.sorted.len());
        if found != expected {
            return Err(DriftError::Length { what: "an image", found, expected });
        }
        Ok(looks.features.iter().zip(&self.sorted).map(|(x, sorted)| rank(*x, sorted)).collect())
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.stored.limits
    }

    pub(crate) fn slacks(&self) -> [f32; PAIR] {
        if self.stored.version == 1 { OLD_SLACKS } else { SLACKS }
    }

    fn of(stored: Stored, directions: Option<Directions>) -> Self {
        let features = stored.images[0].features.len();
        let column = |at: usize| stored.images.iter().map(move |image| image.features[at]);
        let sorted: Vec<Vec<f32>> = (0..features)
            .map(|at| {
                let mut column: Vec<f32> = column(at).collect();
                column.sort_unstable_by(f32::total_cmp);
                column
            })
            .collect();
        let ranks = |at: usize| column(at).map(|x| rank(x, &sorted[at])).collect();
        let greys = stored.images.iter().map(|image| &image.greys);
        let table = Table::new(stored.images.len(), features, ranks, greys);
        Self { stored, directions, sorted, table }
    }
}

impl Stored {
    /// Their names.
    fn features(&self) -> Vec<String> {
        let pixels: Vec<&str> = if self.version == 1 {
            PIXELS[..FIRST].to_vec()
        } else {
            [&PIXELS[..], &DIRECTIONS].concat()
        };
        let pixels = pixels.into_iter().map(str::to_owned);
        pixels.chain(self.axes.names()).chain(self.scores.iter().cloned()).collect()
    }

    fn check(&self, directions: Option<&Directions>) -> Result<(), DriftError> {
        let (images, features) = (self.images.len(), self.features().len());
        let Frame { height, width, black, white } = self.frame;
        let finite =
            |image: &Looks| image.features.iter().chain(&image.greys).all(|x| x.is_finite());
        let limits = self.limits.windows.iter().flat_map(|w| [w.ks, w.psi, w.greys]);
        let mut limits = limits.chain(self.limits.charts.map(f64::from));
        let reason = if !(LEAST_IMAGES..=MOST_IMAGES).contains(&images) {
            format!("{images} images, expected {LEAST_IMAGES} to {MOST_IMAGES}")
        } else if self.images.iter().any(|image| image.features.len() != features) {
            format!("an image has not {features} features")
        } else if !self.images.iter().all(finite) {
            "a feature is not finite".into()
        } else if height == 0
            || width == 0
            || !(black.is_finite() && white > black && white.is_finite())
        {
            "its frame is empty".into()
        } else if !self.axes.is_whole() {
            "its axes do not fit together".into()
        } else if !limits.all(|limit| limit.is_finite() && limit > 0.0) {
            "a limit is not positive".into()
        } else if directions.is_some_and(|directions| !directions.is_whole()) {
            "its directions do not fit together".into()
        } else {
            return Ok(());
        };
        Err(damaged(reason))
    }
}

fn damaged(reason: String) -> DriftError {
    DriftError::Damaged { reason }
}

/// `pixels` are the numbers of the image's pixels, as this version has them.
fn looks<'a>(
    image: &Gathered,
    pixels: impl Iterator<Item = &'a f32>,
    axes: &Axes,
    scores: &[String],
) -> Result<Looks, DriftError> {
    let names = image.names();
    if names != scores {
        return Err(DriftError::Scores { found: names, expected: scores.to_vec() });
    }
    let said = image.scores.iter().map(|(_, score)| *score);
    let features: Vec<f32> =
        pixels.copied().chain(axes.place(&image.embedding)?).chain(said).collect();
    Ok(Looks { features, greys: image.greys })
}

/// Equal numbers for equal values of a feature.
fn orders(images: &[Looks], feature: usize) -> Vec<u16> {
    let mut values: Vec<f32> = images.iter().map(|image| image.features[feature]).collect();
    values.sort_unstable_by(f32::total_cmp);
    values.dedup();
    let order = |image: &Looks| values.partition_point(|value| *value < image.features[feature]);
    images.iter().map(|image| order(image) as u16).collect()
}
