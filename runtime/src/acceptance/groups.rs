//! What a header says of the patient and the machine, as groups: coarse enough to be no patient's.

use super::studies::Told;
use ::acceptance::Group;
use dicom_dictionary_std::tags;
use radiograph::{AttributeValue, Header, attributes, elements};

/// Years from which on a band begins, and how it is called.
const BANDS: [(u32, &str); 5] =
    [(0, "0-17"), (18, "18-39"), (40, "40-59"), (60, "60-79"), (80, "80 and more")];

/// Sex, age, view and machine, where they are told.
pub(super) fn of(bytes: &[u8], header: &Header, told: Option<&Told>) -> Vec<Group> {
    let wanted = [tags::PATIENT_AGE, tags::STATION_NAME, tags::MANUFACTURER_MODEL_NAME];
    let found = attributes(bytes, &wanted).unwrap_or_default();
    let text = |tag| {
        let own = found.iter().find(|attribute| attribute.tag == tag);
        match own.map(|attribute| &attribute.value) {
            Some(AttributeValue::Bytes(bytes)) => shown(&elements::text(bytes)),
            _ => String::new(),
        }
    };
    let sex = told.and_then(|told| told.sex.clone()).unwrap_or(header.patient_sex.clone());
    let sex = match sex.trim().to_ascii_uppercase().as_str() {
        known @ ("M" | "F" | "O") => known.to_owned(),
        _ => String::new(),
    };
    let view = told.map(|told| told.view.clone()).filter(|view| !view.is_empty());
    let view = shown(&view.unwrap_or(header.view_position.clone()));
    let years = years(&text(tags::PATIENT_AGE))
        .or_else(|| between(&header.patient_birth_date, &header.study_date));
    let model = [shown(&header.manufacturer), text(tags::MANUFACTURER_MODEL_NAME)];
    let parts = [model.join(" ").trim().to_owned(), text(tags::STATION_NAME)];
    let machine = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
    let all = [
        ("sex", sex),
        ("age", years.map(band).unwrap_or_default().to_owned()),
        ("view", view),
        ("machine", machine),
    ];
    let known = all.into_iter().filter(|(_, value)| !value.is_empty());
    known.map(|(axis, value)| Group { axis: axis.to_owned(), value }).collect()
}

fn band(years: u32) -> &'static str {
    BANDS.iter().rev().find(|(from, _)| years >= *from).map_or("", |(_, name)| name)
}

/// Of an age string: `045Y`, `018M`, `003W`, `010D`.
fn years(age: &str) -> Option<u32> {
    let age = age.trim();
    let (number, unit) = age.split_at_checked(age.len().checked_sub(1)?)?;
    let number: u32 = number.parse().ok()?;
    Some(match unit {
        "Y" => number,
        "M" => number / 12,
        "W" => number / 52,
        "D" => number / 365,
        _ => return None,
    })
}

/// Whole years from one date, `YYYYMMDD`, to another.
fn between(birth: &str, study: &str) -> Option<u32> {
    let date = |text: &str| -> Option<u32> {
        let digits = text.trim();
        if digits.len() == 8 { digits.parse().ok() } else { None }
    };
    Some(date(study)?.checked_sub(date(birth)?)? / 10_000)
}

/// Short, and of printable characters.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_those_of_the_header_or_of_its_dates() {
        assert_eq!(years("045Y").map(band), Some("40-59"));
        assert_eq!(years("018M").map(band), Some("0-17"));
        assert_eq!(years("80Y ").map(band), Some("80 and more"));
        assert_eq!((years(""), years("Y"), years("é"), years("12X")), (None, None, None, None));
        assert_eq!(between("19601231", "20261130").map(band), Some("60-79"));
        assert_eq!(between("20271130", "20261130"), None);
        assert_eq!(between("1960", "20261130"), None);
    }
}
