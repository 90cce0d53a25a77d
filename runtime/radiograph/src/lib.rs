//! Bytes of DICOM, PNG or JPEG → pixels → network input: the only preprocessing of the product.
//!
//! ```text
//! read           bytes      → Radiograph   picture [H, W] f32, 0 = black … 1 = white, and its source
//! gate           Radiograph → ()           or why the network must not see it
//! network_input  Image      → [1, H, W]    resized (stretched or padded), antialiased, normalised
//! ```
//!
//! For DICOM, [`read`] is: structure checked within limits (`dicom/scan.rs`) → header
//! (`dicom/header.rs`) → stored values (`dicom/pixels.rs`) → modality LUT, VOI LUT and inversion
//! (`dicom/display.rs`). Start reading in `dicom.rs`.
//!
//! Trainer, exporter and runtime all call these functions, so that a network sees at work what it
//! saw in training. Only IEEE additions, multiplications and divisions in a fixed order are used,
//! and decoders without CPU-specific code: the same bytes give the same bits on every CPU.
//!
//! ```
//! use graph::{Fit, Preprocess};
//!
//! # let mut png = std::io::Cursor::new(Vec::new());
//! # image::GrayImage::from_pixel(80, 60, image::Luma([128])).write_to(&mut png, image::ImageFormat::Png)?;
//! # let bytes = png.into_inner();
//! let radiograph = radiograph::read(&bytes)?; // of a DICOM, PNG or JPEG file
//! assert_eq!([radiograph.image.height, radiograph.image.width], [60, 80]);
//!
//! let preprocess = Preprocess { height: 32, width: 32, mean: 0.5, std: 0.25, fit: Fit::Stretch };
//! let input = radiograph::network_input(&radiograph.image, &preprocess);
//! assert_eq!(input.len(), 32 * 32);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod contain;
mod dicom;
mod error;
mod gate;
mod limits;
mod picture;
mod raster;
mod resize;

pub use dicom::{Header, StoredValues, TransferSyntax, header, stored_values};
pub use error::RadiographError;
pub use gate::{NotAnalysed, gate, gate_header};
pub use picture::Image;

use std::{fs, path::Path};

/// A decoded picture and where it came from.
#[derive(Clone, Debug)]
pub struct Radiograph {
    pub image: Image,
    pub source: Source,
}

/// What the bytes were.
#[derive(Clone, Debug)]
pub enum Source {
    Dicom(Box<Header>),
    Png,
    Jpeg,
}

/// Decodes a DICOM, PNG or JPEG file held in memory; the content decides which it is.
pub fn read(bytes: &[u8]) -> Result<Radiograph, RadiographError> {
    match Format::of(bytes)? {
        Format::Dicom => dicom::read(bytes),
        Format::Png => Ok(Radiograph { image: raster::png(bytes)?, source: Source::Png }),
        Format::Jpeg => Ok(Radiograph { image: raster::jpeg(bytes)?, source: Source::Jpeg }),
    }
}

/// As [`read`]; a file whose name claims DICOM must be DICOM. Errors name the file.
pub fn read_file(path: &Path) -> Result<Radiograph, RadiographError> {
    let named = |source: RadiographError| source.of_file(path);
    let length = fs::metadata(path).map_err(|e| named(RadiographError::Io(e)))?.len();
    if length > limits::FILE_BYTES {
        return Err(named(RadiographError::FileTooLarge { found: length }));
    }
    let bytes = fs::read(path).map_err(|e| named(RadiographError::Io(e)))?;
    let claims_dicom = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("dcm") || e.eq_ignore_ascii_case("dicom"));
    match Format::of(&bytes) {
        Ok(found @ (Format::Png | Format::Jpeg)) if claims_dicom => {
            Err(named(RadiographError::NotWhatItsNameSays { found: found.name() }))
        }
        _ => read(&bytes).map_err(named),
    }
}

/// The network's input `[1, height, width]` for a displayed picture.
pub fn network_input(image: &Image, preprocess: &graph::Preprocess) -> Vec<f32> {
    let mut pixels = fitted(image, preprocess);
    for x in &mut pixels {
        *x = (*x - preprocess.mean) / preprocess.std;
    }
    pixels
}

/// A displayed picture in the input's shape `[height, width]`, 0 = black … 1 = white, not normalised.
pub fn fitted(image: &Image, preprocess: &graph::Preprocess) -> Vec<f32> {
    let placement = preprocess.place([image.height, image.width]);
    let [height, width] = placement.size;
    placement.embed(image.resize(height, width).pixels, 0.0)
}

/// What the first bytes say a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Dicom,
    Png,
    Jpeg,
}

impl Format {
    fn of(bytes: &[u8]) -> Result<Self, RadiographError> {
        if bytes.is_empty() {
            Err(RadiographError::Empty)
        } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            Ok(Self::Png)
        } else if bytes.starts_with(b"\xff\xd8\xff") {
            Ok(Self::Jpeg)
        } else if dicom::meta_offset(bytes).is_some() {
            Ok(Self::Dicom)
        } else {
            Err(RadiographError::UnknownFormat { begin: bytes[..bytes.len().min(8)].to_vec() })
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Dicom => "DICOM",
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
        }
    }
}
