//! What a file is, without decoding its pixels: for those who list files before they read them.

use crate::{Header, RadiographError, dicom, jpeg, png, size};
use std::{
    fs::File,
    io::{Cursor, Read, Seek, SeekFrom},
    path::Path,
};

/// What the first bytes of a file say that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Dicom,
    Png,
    Jpeg,
}

impl Kind {
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, RadiographError> {
        if bytes.is_empty() {
            Err(RadiographError::Empty)
        } else if dicom::meta_offset(bytes).is_some() {
            Ok(Self::Dicom)
        } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            Ok(Self::Png)
        } else if bytes.starts_with(b"\xff\xd8\xff") {
            Ok(Self::Jpeg)
        } else {
            Err(RadiographError::UnknownFormat { begin: bytes[..bytes.len().min(8)].to_vec() })
        }
    }

    /// Looks into the first bytes of a file, whatever it is called; `None` if it is no picture we read.
    pub fn of_file(path: &Path) -> Result<Option<Self>, RadiographError> {
        let mut begin = Vec::new();
        let file = File::open(path).map_err(|e| RadiographError::Io(e).of_file(path))?;
        let read = file.take(BEGIN_BYTES).read_to_end(&mut begin);
        read.map_err(|e| RadiographError::Io(e).of_file(path))?;
        Ok(Self::of(&begin).ok())
    }

    /// A name that claims DICOM must be right.
    pub(crate) fn check_name(self, path: &Path) -> Result<(), RadiographError> {
        let claims =
            |ending: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
        if self != Self::Dicom && (claims("dcm") || claims("dicom")) {
            return Err(RadiographError::NotWhatItsNameSays { found: self.name() });
        }
        Ok(())
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Dicom => "DICOM",
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
        }
    }
}

/// What is known of a picture before its pixels are decoded.
#[derive(Clone, Debug)]
pub struct Probe {
    pub kind: Kind,
    /// Pixels of the picture as displayed: those of [`crate::read`], EXIF orientation applied.
    pub height: u32,
    pub width: u32,
    /// Modality, view, body part, patient, study; of DICOM only.
    pub header: Option<Box<Header>>,
}

/// What [`crate::read_file`] would find, from as few bytes as possible. Errors name the file.
pub fn probe_file(path: &Path) -> Result<Probe, RadiographError> {
    probe_named(path).map_err(|error| error.of_file(path))
}

fn probe_named(path: &Path) -> Result<Probe, RadiographError> {
    let mut file = File::open(path).map_err(RadiographError::Io)?;
    let length = file.metadata().map_err(RadiographError::Io)?.len();
    size::check_file(length)?;
    let mut bytes = Vec::new();
    (&mut file).take(HEAD_BYTES).read_to_end(&mut bytes).map_err(RadiographError::Io)?;
    let kind = Kind::of(&bytes)?;
    kind.check_name(path)?;
    if kind == Kind::Png {
        file.seek(SeekFrom::Start(0)).map_err(RadiographError::Io)?;
        return Ok(sized(kind, png::Head::read(&mut file)?.size()));
    }
    match probe(&bytes) {
        // The head may be longer than expected.
        Err(_) if bytes.len() as u64 == HEAD_BYTES => {
            file.read_to_end(&mut bytes).map_err(RadiographError::Io)?;
            probe(&bytes)
        }
        found => found,
    }
}

/// As [`probe_file`] for a file in memory, of which pixels may be missing.
pub fn probe(bytes: &[u8]) -> Result<Probe, RadiographError> {
    match Kind::of(bytes)? {
        Kind::Dicom => {
            let header = dicom::header_before_pixels(bytes)?;
            let (height, width) = (header.rows, header.columns);
            Ok(Probe { kind: Kind::Dicom, height, width, header: Some(Box::new(header)) })
        }
        kind @ Kind::Png => Ok(sized(kind, png::Head::read(&mut Cursor::new(bytes))?.size())),
        kind @ Kind::Jpeg => Ok(sized(kind, jpeg::Head::read(bytes)?.size())),
    }
}

fn sized(kind: Kind, [height, width]: [usize; 2]) -> Probe {
    // Both are bounded by `limits::FRAME`.
    Probe { kind, height: height as u32, width: width as u32, header: None }
}

/// As many as [`Kind::of`] looks at.
const BEGIN_BYTES: u64 = 132;

/// Headers of most files are shorter.
const HEAD_BYTES: u64 = 128 << 10;
