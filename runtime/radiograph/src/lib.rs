//! Bytes of DICOM, PNG or JPEG → pixels → network input: the only preprocessing of the product.
//!
//! ```text
//! read           bytes      → Radiograph   picture [H, W], 0 = black … 1 = white, and its source
//! gate           Radiograph → ()           or why the network must not see it
//! probe          bytes      → Probe        kind, size and header, without decoding pixels
//! network_input  Image      → [C, H, W]    resized (stretched, padded or cropped), antialiased, normalised
//! ```
//!
//! For DICOM, [`read`] is: structure checked within limits (`elements`) → header
//! (`dicom/header.rs`) → samples (`dicom/pixels.rs`) → modality LUT, VOI LUT and inversion as one table
//! (`dicom/display.rs`). Start reading in `dicom/mod.rs`. A picture is then cells and that table
//! (`cells.rs`): whoever resizes it (`resize.rs`) looks its rows up one by one, so that stored values
//! become the network's input in one pass, without a picture in f32 between them.
//!
//! Trainer, exporter and runtime all call these functions, so that a network sees at work what it
//! saw in training. Only IEEE additions, multiplications and divisions in a fixed order are used,
//! and decoders without CPU-specific code: the same bytes give the same bits on every CPU.
//!
//! ```
//! use graph::Preprocess;
//!
//! # let mut png = std::io::Cursor::new(Vec::new());
//! # image::GrayImage::from_pixel(80, 60, image::Luma([128])).write_to(&mut png, image::ImageFormat::Png)?;
//! # let bytes = png.into_inner();
//! let radiograph = radiograph::read(&bytes)?; // of a DICOM, PNG or JPEG file
//! assert_eq!([radiograph.image.height, radiograph.image.width], [60, 80]);
//!
//! let preprocess = Preprocess { height: 32, width: 32, mean: 0.5, std: 0.25, ..Preprocess::PRIOR };
//! let input = radiograph::network_input(&radiograph.image, &preprocess);
//! assert_eq!(input.len(), 32 * 32);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cells;
mod contain;
mod dicom;
pub mod elements;
mod error;
mod exif;
mod gate;
mod jpeg;
mod limits;
mod listing;
mod markers;
mod picture;
mod png;
mod probe;
mod raster;
mod resize;
mod rows;
mod size;
mod taps;
mod words;

pub use dicom::{
    Attribute, AttributeValue, Header, StoredValues, TransferSyntax, attributes, header,
    stored_values,
};
pub use error::RadiographError;
pub use gate::{NotAnalysed, gate, gate_header};
pub use listing::{Listing, has_picture_ending};
pub use picture::Image;
pub use probe::{Kind, Probe, probe, probe_file};

use graph::PictureFilter;
use resize::Window;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A decoded picture and where it came from.
///
/// Pixels that are not compressed stay in the bytes they were read from.
#[derive(Clone, Debug)]
pub struct Radiograph<'a> {
    pub image: Image<'a>,
    pub source: Source,
}

impl Radiograph<'_> {
    /// Without the bytes it was read from.
    pub fn into_owned(self) -> Radiograph<'static> {
        Radiograph { image: self.image.into_owned(), source: self.source }
    }
}

/// What the bytes were.
#[derive(Clone, Debug)]
pub enum Source {
    Dicom(Box<Header>),
    Png {
        /// The highest bits of 16-bit samples that none of them uses; 0 of other samples.
        unused_bits: u32,
    },
    Jpeg,
}

/// Decodes a DICOM, PNG or JPEG file held in memory; the content decides which it is.
///
/// The picture is as a viewer displays it: what EXIF says about the orientation of a photograph has
/// been done. Pixels of the source image are those of this picture.
pub fn read(bytes: &[u8]) -> Result<Radiograph<'_>, RadiographError> {
    match Kind::of(bytes)? {
        Kind::Dicom => dicom::read(bytes),
        Kind::Png => {
            let (image, unused_bits) = png::read(bytes)?;
            Ok(Radiograph { image, source: Source::Png { unused_bits } })
        }
        Kind::Jpeg => Ok(Radiograph { image: jpeg::read(bytes)?, source: Source::Jpeg }),
    }
}

/// As [`read`]; a file whose name claims DICOM must be DICOM. Errors name the file.
pub fn read_file(path: &Path) -> Result<Radiograph<'static>, RadiographError> {
    Ok(File::open(path)?.read()?.into_owned())
}

/// A picture's file in memory: whoever hashes the bytes hashes what was seen.
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl File {
    /// As for [`read_file`]; nothing is decoded yet.
    pub fn open(path: &Path) -> Result<Self, RadiographError> {
        let read = || {
            size::check_file(fs::metadata(path).map_err(RadiographError::Io)?.len())?;
            let bytes = fs::read(path).map_err(RadiographError::Io)?;
            Kind::of(&bytes)?.check_name(path)?;
            Ok(Self { path: path.to_owned(), bytes })
        };
        read().map_err(|error: RadiographError| error.of_file(path))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn read(&self) -> Result<Radiograph<'_>, RadiographError> {
        read(&self.bytes).map_err(|error| error.of_file(&self.path))
    }
}

/// The network's input `[channels, height, width]` for a displayed picture.
pub fn network_input(image: &Image<'_>, preprocess: &graph::Preprocess) -> Vec<f32> {
    preprocess.normalised(fitted(image, preprocess))
}

/// A displayed picture in the input's shape `[height, width]`, 0 = black … 1 = white, not normalised.
pub fn fitted(image: &Image<'_>, preprocess: &graph::Preprocess) -> Vec<f32> {
    let placement = preprocess.place([image.height, image.width]);
    let seen = Window { first: placement.cut, size: placement.seen };
    let shown = Window { first: placement.skipped, size: placement.shown };
    let (rows, size) = (image.rows(), placement.size);
    let pixels = match preprocess.filter {
        PictureFilter::Triangle => resize::triangle(rows, seen, size, shown),
        PictureFilter::Gaussian => resize::gaussian(rows, seen, size, shown, preprocess.mean),
    };
    placement.embed(pixels, 0.0)
}
