//! Coded concepts (PS3.3 8.8, PS3.16), and colours as objects have them.

use crate::dataset::DataSet;
use bundle::{Code, Side};
use dicom_dictionary_std::tags;

/// The item of a code sequence. `value` and `scheme`: at most 16 characters; `meaning`: at most 64.
pub(crate) fn term(value: &str, scheme: &str, meaning: &str) -> DataSet {
    let mut item = DataSet::default();
    item.text(tags::CODE_VALUE, value);
    item.text(tags::CODING_SCHEME_DESIGNATOR, scheme);
    item.text(tags::CODE_MEANING, meaning);
    item
}

/// Of DICOM's own terminology.
pub(crate) fn dcm(value: &str, meaning: &str) -> DataSet {
    term(value, "DCM", meaning)
}

/// Of SNOMED CT.
pub(crate) fn sct(value: &str, meaning: &str) -> DataSet {
    term(value, "SCT", meaning)
}

/// Of ours.
pub(crate) fn private(value: &str, meaning: &str) -> DataSet {
    term(value, bundle::PRIVATE_SCHEME, meaning)
}

pub(crate) fn coded(code: &Code) -> DataSet {
    term(code.value(), code.scheme(), code.meaning())
}

/// CID 244.
pub(crate) fn laterality(side: Side) -> DataSet {
    match side {
        Side::Left => sct("7771000", "Left"),
        Side::Right => sct("24028007", "Right"),
    }
}

/// Text of ours that holds names others chose: what an object of any character set can hold.
pub(crate) fn ascii(text: &str, most: usize) -> String {
    let plain = |c: char| if (' '..='~').contains(&c) && c != '\\' { c } else { '?' };
    let plain: String = text.chars().map(plain).take(most).collect();
    plain.trim().to_owned()
}

/// sRGB as CIELab under D50, each of 16 bits (PS3.3 C.10.7.1.1).
pub(crate) fn cie_lab(rgb: [u8; 3]) -> [u16; 3] {
    /// Linear sRGB to XYZ, adapted to D50, over the white of D50.
    const XYZ: [[f64; 3]; 3] = [
        [0.436_074_7 / 0.964_22, 0.385_064_9 / 0.964_22, 0.143_080_4 / 0.964_22],
        [0.222_504_5, 0.716_878_6, 0.060_616_9],
        [0.013_932_2 / 0.825_21, 0.097_104_5 / 0.825_21, 0.714_173_3 / 0.825_21],
    ];
    let linear = rgb.map(|value| {
        let value = f64::from(value) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { libm::pow((value + 0.055) / 1.055, 2.4) }
    });
    let [x, y, z] = XYZ.map(|row| {
        let t: f64 = row.iter().zip(linear).map(|(a, b)| a * b).sum();
        if t > 216.0 / 24_389.0 { libm::cbrt(t) } else { (24_389.0 / 27.0 * t + 16.0) / 116.0 }
    });
    let scaled = |value: f64| (value * 65_535.0).round().clamp(0.0, 65_535.0) as u16;
    let chroma = |value: f64| scaled((value + 128.0) / 255.0);
    [scaled((116.0 * y - 16.0) / 100.0), chroma(500.0 * (x - y)), chroma(200.0 * (y - z))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_where_the_standard_has_them() {
        // L* 0 and 100 without chroma; red is (54.29, 80.81, 69.89) under D50.
        assert_eq!(cie_lab([0, 0, 0]), [0, 32_896, 32_896]);
        let [l, a, b] = cie_lab([255, 255, 255]);
        assert!(l >= 65_530 && a.abs_diff(32_896) < 20 && b.abs_diff(32_896) < 20, "{l} {a} {b}");
        let near = |found: u16, expected: f64| (f64::from(found) - expected).abs() < 40.0;
        let [l, a, b] = cie_lab([255, 0, 0]);
        let chroma = |value: f64| (value + 128.0) / 255.0 * 65_535.0;
        assert!(
            near(l, 54.29 * 655.35) && near(a, chroma(80.81)) && near(b, chroma(69.89)),
            "{l} {a} {b}"
        );
    }

    #[test]
    fn any_name_becomes_text_that_an_object_can_hold() {
        assert_eq!(ascii(" a\\b é\n", 64), "a?b ??");
        assert_eq!(ascii(&"x".repeat(99), 64).len(), 64);
    }
}
