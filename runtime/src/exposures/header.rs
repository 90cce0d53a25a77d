//! What an image's header says about the exposure that made it.

use super::matching::Header;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use radiograph::{AttributeValue, RadiographError};
use sha2::{Digest, Sha256};
use std::time::UNIX_EPOCH;

const WANTED: [Tag; 16] = [
    tags::ACQUISITION_DATE,
    tags::CONTENT_DATE,
    tags::ACQUISITION_DATE_TIME,
    tags::ACQUISITION_TIME,
    tags::CONTENT_TIME,
    tags::ACCESSION_NUMBER,
    tags::TIMEZONE_OFFSET_FROM_UTC,
    tags::STATION_NAME,
    tags::KVP,
    tags::EXPOSURE_TIME,
    tags::EXPOSURE,
    tags::EXPOSURE_INU_AS,
    tags::EXPOSURE_TIME_INU_S,
    tags::EXPOSURE_TIME_INMS,
    tags::EXPOSURE_INM_AS,
    tags::STUDY_INSTANCE_UID,
];

/// Attributes of a DICOM file; what is absent or makes no sense is not known.
pub(super) fn read(bytes: &[u8]) -> Result<Header, RadiographError> {
    let found = radiograph::attributes(bytes, &WANTED)?;
    let value = |tag| match &found.iter().find(|found| found.tag == tag)?.value {
        AttributeValue::Bytes(bytes) => Some(&bytes[..]),
        _ => None,
    };
    let text = |tag| {
        let text = std::str::from_utf8(value(tag)?).ok()?.trim_matches([' ', '\0']);
        (!text.is_empty()).then(|| text.to_owned())
    };
    let number = |tag| text(tag)?.split('\\').next()?.trim().parse().ok().filter(is_sane);
    let double = |tag| Some(f64::from_le_bytes(*value(tag)?.first_chunk()?)).filter(is_sane);
    let scaled = |tag, scale: f64, rounding| Some((number(tag)? / scale, rounding));
    let zone = text(tags::TIMEZONE_OFFSET_FROM_UTC).and_then(|offset| minutes(&offset));
    let acquired = text(tags::ACQUISITION_DATE_TIME)
        .and_then(|text| date_time(&text))
        .or_else(|| moment(&text(tags::ACQUISITION_DATE)?, &text(tags::ACQUISITION_TIME)?));
    let made = || moment(&text(tags::CONTENT_DATE)?, &text(tags::CONTENT_TIME)?);
    Ok(Header {
        station: text(tags::STATION_NAME).unwrap_or_default(),
        study: text(tags::STUDY_INSTANCE_UID).map(|uid| hash(&uid)),
        accession: text(tags::ACCESSION_NUMBER).map(|number| hash(&number)),
        taken: acquired.or_else(made).map(|taken| taken - zone.unwrap_or(0) * 60_000),
        is_acquisition: acquired.is_some(),
        kilovolts: number(tags::KVP),
        charge: scaled(tags::EXPOSURE_INU_AS, 1e3, 0.1)
            .or_else(|| Some((double(tags::EXPOSURE_INM_AS)?, 0.1)))
            .or_else(|| scaled(tags::EXPOSURE, 1.0, 1.0)),
        duration: scaled(tags::EXPOSURE_TIME_INU_S, 1e3, 0.5)
            .or_else(|| Some((double(tags::EXPOSURE_TIME_INMS)?, 0.5)))
            .or_else(|| scaled(tags::EXPOSURE_TIME, 1.0, 1.0)),
    })
}

/// The first 8 bytes of the SHA-256, as controllers send them.
pub(super) fn hash(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    u64::from_be_bytes(std::array::from_fn(|at| digest[at]))
}

/// Zero is what consoles write that do not know.
fn is_sane(value: &f64) -> bool {
    value.is_finite() && *value > 0.0
}

/// `YYYYMMDDHHMMSS.FFFFFF&ZZXX`, UTC if it says its zone.
fn date_time(text: &str) -> Option<i64> {
    let (local, zone) = match text.find(['+', '-']) {
        Some(at) => (&text[..at], minutes(&text[at..])?),
        None => (text, 0),
    };
    let (date, time) = local.split_at_checked(8)?;
    Some(moment(date, time)? - zone * 60_000)
}

/// `YYYYMMDD` and `HHMM`, `HHMMSS` or `HHMMSS.FFFFFF`: milliseconds since 1970 as if that were UTC.
fn moment(date: &str, time: &str) -> Option<i64> {
    let (whole, fraction) = time.trim().split_once('.').unwrap_or((time.trim(), ""));
    let digits = |text: &str, most| text.len() <= most && text.bytes().all(|b| b.is_ascii_digit());
    if date.len() != 8 || !digits(date, 8) || !digits(whole, 6) || !digits(fraction, 6) {
        return None;
    }
    let whole = if whole.len() == 4 { format!("{whole}00") } else { whole.to_owned() };
    let (hours, minutes, seconds) = (whole.get(..2)?, whole.get(2..4)?, whole.get(4..6)?);
    let (year, month, day) = (&date[..4], &date[4..6], &date[6..]);
    let text = format!("{year}-{month}-{day}T{hours}:{minutes}:{seconds}Z");
    let since = humantime::parse_rfc3339(&text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let millis: i64 = format!("{fraction:0<3}")[..3].parse().ok()?;
    Some(i64::try_from(since.as_millis()).ok()? + millis)
}

/// `+0130`
fn minutes(offset: &str) -> Option<i64> {
    let (sign, digits) = offset.split_at_checked(1)?;
    let is_number = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit());
    let all = is_number.then(|| digits[..2].parse::<i64>().ok().zip(digits[2..].parse().ok()));
    let (hours, minutes): (i64, i64) = all.flatten()?;
    match sign {
        "+" => Some(hours * 60 + minutes),
        "-" => Some(-(hours * 60 + minutes)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_dicom_writes_them_and_nonsense_is_no_time() {
        let base = 1_780_000_000_000 - 1_780_000_000_000 % 86_400_000; // a midnight
        let date: String = humantime::format_rfc3339_seconds(
            UNIX_EPOCH + std::time::Duration::from_millis(base as u64),
        )
        .to_string()[..10]
            .replace('-', "");
        assert_eq!(moment(&date, "0102"), Some(base + 3_720_000));
        assert_eq!(moment(&date, "010203.5"), Some(base + 3_723_500));
        assert_eq!(date_time(&format!("{date}010203.25")), Some(base + 3_723_250));
        assert_eq!(date_time(&format!("{date}010203+0100")), Some(base + 123_000));
        for (date, time) in [
            ("20261301", "0102"),
            ("2026", "0102"),
            (&*date, "25"),
            (&*date, "0102ab"),
            ("", ""),
            (&*date, "٠٠"),
        ] {
            assert_eq!(moment(date, time), None, "{date} {time}");
        }
        for wrong in ["", "2026", "+0100", "20260101+01", "20261231é"] {
            assert_eq!(date_time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_file_without_a_header_is_an_error_not_an_exposure() {
        assert!(read(b"no DICOM").is_err());
    }
}
