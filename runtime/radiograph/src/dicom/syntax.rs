//! Transfer syntaxes: how the data set and the pixels are encoded.

use crate::{RadiographError, elements::Encoding};
use dicom_encoding::TransferSyntaxIndex;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

/// The transfer syntaxes we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferSyntax {
    ImplicitLittleEndian,
    ExplicitLittleEndian,
    ExplicitBigEndian,
    Deflated,
    RleLossless,
    JpegBaseline,
    JpegExtended,
    JpegLossless,
    JpegLosslessFirstOrder,
    JpegLsLossless,
    JpegLs,
    Jpeg2000Lossless,
    Jpeg2000,
    Htj2kLossless,
    /// As `Htj2kLossless`, packets of low resolutions first.
    Htj2kLosslessByResolution,
    Htj2k,
}

const ALL: [(TransferSyntax, &str, &str); 16] = {
    use TransferSyntax::*;
    [
        (ImplicitLittleEndian, "1.2.840.10008.1.2", "implicit VR little endian"),
        (ExplicitLittleEndian, "1.2.840.10008.1.2.1", "explicit VR little endian"),
        (ExplicitBigEndian, "1.2.840.10008.1.2.2", "explicit VR big endian"),
        (Deflated, "1.2.840.10008.1.2.1.99", "deflated explicit VR little endian"),
        (RleLossless, "1.2.840.10008.1.2.5", "RLE lossless"),
        (JpegBaseline, "1.2.840.10008.1.2.4.50", "JPEG baseline"),
        (JpegExtended, "1.2.840.10008.1.2.4.51", "JPEG extended"),
        (JpegLossless, "1.2.840.10008.1.2.4.57", "JPEG lossless"),
        (JpegLosslessFirstOrder, "1.2.840.10008.1.2.4.70", "JPEG lossless, first-order"),
        (JpegLsLossless, "1.2.840.10008.1.2.4.80", "JPEG-LS lossless"),
        (JpegLs, "1.2.840.10008.1.2.4.81", "JPEG-LS near-lossless"),
        (Jpeg2000Lossless, "1.2.840.10008.1.2.4.90", "JPEG 2000 lossless"),
        (Jpeg2000, "1.2.840.10008.1.2.4.91", "JPEG 2000"),
        (Htj2kLossless, "1.2.840.10008.1.2.4.201", "HTJ2K lossless"),
        (Htj2kLosslessByResolution, "1.2.840.10008.1.2.4.202", "HTJ2K lossless, by resolution"),
        (Htj2k, "1.2.840.10008.1.2.4.203", "HTJ2K"),
    ]
};

impl TransferSyntax {
    pub fn all() -> impl Iterator<Item = Self> {
        ALL.iter().map(|(syntax, ..)| *syntax)
    }

    pub(crate) fn from_uid(uid: &str) -> Result<Self, RadiographError> {
        ALL.iter().find(|(_, known, _)| *known == uid).map(|(syntax, ..)| *syntax).ok_or_else(
            || RadiographError::TransferSyntax {
                uid: uid.into(),
                name: TransferSyntaxRegistry.get(uid).map_or("unknown", |syntax| syntax.name()),
            },
        )
    }

    pub fn uid(self) -> &'static str {
        self.entry().1
    }

    pub fn name(self) -> &'static str {
        self.entry().2
    }

    /// Whether the pixel data is a sequence of compressed fragments.
    pub fn is_encapsulated(self) -> bool {
        !matches!(
            self,
            Self::ImplicitLittleEndian
                | Self::ExplicitLittleEndian
                | Self::ExplicitBigEndian
                | Self::Deflated
        )
    }

    /// How elements are written.
    pub fn encoding(self) -> Encoding {
        match self {
            Self::ImplicitLittleEndian => Encoding::IMPLICIT_LITTLE_ENDIAN,
            Self::ExplicitBigEndian => Encoding::EXPLICIT_BIG_ENDIAN,
            _ => Encoding::EXPLICIT_LITTLE_ENDIAN,
        }
    }

    fn entry(self) -> &'static (Self, &'static str, &'static str) {
        &ALL[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_syntax_is_listed_at_its_own_place() {
        for (i, (syntax, uid, name)) in ALL.into_iter().enumerate() {
            assert_eq!(syntax as usize, i);
            assert_eq!((syntax.uid(), syntax.name()), (uid, name));
            assert_eq!(TransferSyntax::from_uid(uid).unwrap(), syntax);
        }
    }
}
