//! Values of elements, by the value representation of the file or of the dictionary.

use crate::{RadiographError, elements::Element};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_encoding::text::{SpecificCharacterSet, TextCodec};

/// The elements of a data set, or of an item of a sequence.
pub(crate) struct Elements<'a> {
    /// In the order of their tags, no tag twice.
    found: Vec<Element<'a>>,
    charset: SpecificCharacterSet,
}

impl<'a> Elements<'a> {
    pub(crate) fn top_level(found: Vec<Element<'a>>) -> Result<Self, RadiographError> {
        Self::new(found, SpecificCharacterSet::default())
    }

    /// `outside`: the character set of text, unless an element says otherwise.
    fn new(
        mut found: Vec<Element<'a>>,
        outside: SpecificCharacterSet,
    ) -> Result<Self, RadiographError> {
        found.sort_by_key(|element| element.tag);
        if let Some(pair) = found.windows(2).find(|pair| pair[0].tag == pair[1].tag) {
            let reason = format!("element {} occurs twice", pair[0].tag);
            return Err(RadiographError::Structure(reason));
        }
        let mut elements = Self { found, charset: outside };
        let declared = elements.texts(tags::SPECIFIC_CHARACTER_SET).into_iter().next();
        if let Some(charset) = declared.and_then(|name| SpecificCharacterSet::from_code(&name)) {
            elements.charset = charset;
        }
        Ok(elements)
    }

    /// In the order of their tags.
    pub(super) fn located(&self) -> impl Iterator<Item = &Element<'a>> {
        self.found.iter()
    }

    /// Items of a sequence; none if it is absent.
    pub(crate) fn items(&self, tag: Tag, name: &'static str) -> Result<Vec<Self>, RadiographError> {
        let Some(element) = self.value(tag) else { return Ok(Vec::new()) };
        if element.vr != VR::SQ {
            let found = format!("of value representation {}", element.vr.to_string());
            return Err(RadiographError::Value { name, found, expected: "a sequence" });
        }
        let items = element.items()?;
        items.into_iter().map(|item| Self::new(item, self.charset.clone())).collect()
    }

    /// All values of a text, joined by backslashes; empty if absent.
    pub(crate) fn text(&self, tag: Tag) -> String {
        self.texts(tag).join("\\")
    }

    /// The values of a multi-valued text, without padding and control characters.
    pub(crate) fn texts(&self, tag: Tag) -> Vec<String> {
        let Some(element) = self.value(tag).filter(|element| !element.value.is_empty()) else {
            return Vec::new();
        };
        if let Some(numbers) = numbers(&element) {
            return numbers.iter().map(f64::to_string).collect();
        }
        // These are ASCII. Where they are not, a console wrote its own language in some character set.
        let is_plain = matches!(element.vr, VR::AE | VR::AS | VR::CS | VR::UR | VR::DS | VR::IS);
        let decoded = |bytes: &[u8]| {
            if is_plain && let Ok(text) = std::str::from_utf8(bytes) {
                return clean(text);
            }
            let text = self.charset.decode(bytes).unwrap_or_default();
            // What is not in the character set becomes `\\ooo`.
            let is_wrong = text.contains('\\') || text.contains(char::REPLACEMENT_CHARACTER);
            let latin_1 = || bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
            if is_plain && is_wrong { clean(&latin_1()) } else { clean(&text) }
        };
        element.value.split(|byte| *byte == b'\\').map(decoded).collect()
    }

    /// Empty if absent; anything but digits and dots is refused.
    pub(crate) fn uid(&self, tag: Tag, name: &'static str) -> Result<String, RadiographError> {
        let uid = self.text(tag);
        if uid.len() > 64 || !uid.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            let found = format!("{:?}", shortened(&uid));
            let expected = "at most 64 digits and dots";
            return Err(RadiographError::Value { name, found, expected });
        }
        Ok(uid)
    }

    /// The first integer; `None` if absent or empty.
    pub(crate) fn integer(
        &self,
        tag: Tag,
        name: &'static str,
    ) -> Result<Option<i64>, RadiographError> {
        Ok(self.integers(tag, name)?.first().copied())
    }

    /// Empty if absent.
    pub(crate) fn integers(
        &self,
        tag: Tag,
        name: &'static str,
    ) -> Result<Vec<i64>, RadiographError> {
        let Some(element) = self.value(tag) else { return Ok(Vec::new()) };
        let wrong = |found: &str| {
            let found = format!("{:?}", shortened(found));
            RadiographError::Value { name, found, expected: "an integer" }
        };
        if let Some(width) = integer_width(element.vr) {
            if element.value.len() % width != 0 {
                return Err(wrong(&format!("{} bytes", element.value.len())));
            }
            return Ok(element
                .value
                .chunks_exact(width)
                .map(|bytes| integer(&element, bytes))
                .collect());
        }
        let texts = self.texts(tag);
        if texts.iter().all(String::is_empty) {
            return Ok(Vec::new());
        }
        texts.iter().map(|text| text.parse().map_err(|_| wrong(&texts.join("\\")))).collect()
    }

    /// A number of things: at least 1.
    pub(crate) fn count(&self, tag: Tag, name: &'static str) -> Result<u32, RadiographError> {
        let value = self.integer(tag, name)?.ok_or(RadiographError::Missing { name })?;
        u32::try_from(value).ok().filter(|n| *n > 0).ok_or_else(|| RadiographError::Value {
            name,
            found: value.to_string(),
            expected: "at least 1",
        })
    }

    /// Number of Frames. Single pictures have none, or 0 by careless writers.
    pub(crate) fn frames(&self) -> Result<u32, RadiographError> {
        let (tag, name) = (tags::NUMBER_OF_FRAMES, "NumberOfFrames");
        match self.integer(tag, name)? {
            None | Some(0) => Ok(1),
            Some(_) => self.count(tag, name),
        }
    }

    /// The first of one or more decimal numbers, finite; `None` if there is none.
    pub(crate) fn decimal(
        &self,
        tag: Tag,
        name: &'static str,
    ) -> Result<Option<f64>, RadiographError> {
        let texts = self.texts(tag);
        if texts.iter().all(String::is_empty) {
            return Ok(None);
        }
        match texts[0].parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Some(number)),
            _ => {
                let texts = texts.join("\\");
                let found = format!("{:?}", shortened(&texts));
                Err(RadiographError::Value { name, found, expected: "a finite number" })
            }
        }
    }

    /// Millimetres between rows and between columns.
    pub(crate) fn spacing(&self) -> Option<[f64; 2]> {
        [tags::IMAGER_PIXEL_SPACING, tags::PIXEL_SPACING].into_iter().find_map(|tag| {
            let texts = self.texts(tag);
            let [rows, columns] = texts.as_slice() else { return None };
            let spacing = [rows.parse().ok()?, columns.parse().ok()?];
            spacing.iter().all(|mm: &f64| *mm > 0.0 && mm.is_finite()).then_some(spacing)
        })
    }

    /// Height over width of a pixel: by its spacing, else by Pixel Aspect Ratio, else 1.
    pub(crate) fn aspect(&self) -> f64 {
        let ratio = || {
            let texts = self.texts(tags::PIXEL_ASPECT_RATIO);
            let [height, width] = texts.as_slice() else { return None };
            Some([height.parse().ok()?, width.parse().ok()?])
        };
        let [height, width] = self.spacing().or_else(ratio).unwrap_or([1.0, 1.0]);
        if height > 0.0 && width > 0.0 { height / width } else { 1.0 }
    }

    /// An element with the VR and the encoding by which its value is to be read.
    fn value(&self, tag: Tag) -> Option<Element<'a>> {
        let place = self.found.binary_search_by_key(&tag, |element| element.tag).ok()?;
        Some(self.found[place].resolved())
    }
}

/// Bytes an integer of a binary VR.
fn integer_width(vr: VR) -> Option<usize> {
    match vr {
        VR::OB | VR::UN => Some(1),
        VR::US | VR::SS | VR::OW => Some(2),
        VR::UL | VR::SL | VR::OL => Some(4),
        VR::UV | VR::SV | VR::OV => Some(8),
        _ => None,
    }
}

/// The bits of a number of at most 8 bytes.
fn bits(element: &Element<'_>, bytes: &[u8]) -> u64 {
    let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    if element.encoding.big_endian {
        bytes.iter().fold(0, add)
    } else {
        bytes.iter().rev().fold(0, add)
    }
}

fn integer(element: &Element<'_>, bytes: &[u8]) -> i64 {
    let unused = 64 - 8 * bytes.len() as u32;
    let bits = bits(element, bytes);
    match element.vr {
        VR::SS | VR::SL | VR::SV => (bits << unused) as i64 >> unused,
        _ => i64::try_from(bits).unwrap_or(i64::MAX),
    }
}

/// The values of a binary VR; `None` if it is text.
fn numbers(element: &Element<'_>) -> Option<Vec<f64>> {
    let values = |width, number: &dyn Fn(&[u8]) -> f64| {
        Some(element.value.chunks_exact(width).map(number).collect())
    };
    match element.vr {
        VR::FL | VR::OF => values(4, &|b| f32::from_bits(bits(element, b) as u32).into()),
        VR::FD | VR::OD => values(8, &|b| f64::from_bits(bits(element, b))),
        vr => values(integer_width(vr)?, &|b| integer(element, b) as f64),
    }
}

/// Without padding and control characters.
fn clean(text: &str) -> String {
    let visible: String = text.chars().filter(|c| !c.is_control()).collect();
    visible.trim().to_owned()
}

/// Enough of a wrong value to recognise it.
fn shortened(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(end, _)| &text[..end])
}
