//! A result as it was kept.

use anyhow::{Context, Result, bail, ensure};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use radiograph::{Attribute, AttributeValue, attributes};
use results::{Account, Device, Record};
use serde_json::Value;

#[derive(Debug)]
pub(super) enum Told {
    Json(Box<Record>),
    Report(Box<Report>),
}

/// A structured report of ours, and what it says of how it came about.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) bytes: Vec<u8>,
    pub(super) device: Device,
    pub(super) bundle: String,
    pub(super) account: Option<Account>,
    /// Where the account does not say: of reports from before there was one.
    pub(super) configuration: Option<String>,
    /// RFC 3339, UTC.
    pub(super) analysed: String,
}

impl Told {
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        if bytes.get(128..132) == Some(b"DICM") {
            return Ok(Self::Report(Box::new(Report::read(bytes)?)));
        }
        let value: Value = serde_json::from_slice(bytes)
            .context("expected one result as JSON, or a structured report")?;
        // As `GET /images/UID` gives it.
        let value = value.get("result").cloned().unwrap_or(value);
        let record = serde_json::from_value(value).context("it is no result of ours")?;
        Ok(Self::Json(Box::new(record)))
    }

    pub(super) fn bundle_digest(&self) -> &str {
        match self {
            Self::Json(record) => &record.bundle.digest,
            Self::Report(report) => &report.bundle,
        }
    }

    pub(super) fn file_digest(&self) -> Option<&str> {
        match self {
            Self::Json(record) => {
                let account = record.account.as_ref().map(|account| &*account.file);
                account.or(record.source.as_ref().map(|source| &*source.sha256))
            }
            Self::Report(report) => report.account.as_ref().map(|account| &*account.file),
        }
    }

    /// What the result calls the image.
    pub(super) fn file_name(&self) -> &str {
        match self {
            Self::Json(record) => &record.file,
            Self::Report(_) => "",
        }
    }
}

impl Report {
    fn read(bytes: &[u8]) -> Result<Self> {
        let wanted = [
            tags::SOP_CLASS_UID,
            tags::MANUFACTURER,
            tags::MANUFACTURER_MODEL_NAME,
            tags::DEVICE_SERIAL_NUMBER,
            tags::SOFTWARE_VERSIONS,
            tags::CONTRIBUTING_EQUIPMENT_SEQUENCE,
            tags::CONTENT_SEQUENCE,
        ];
        let top = attributes(bytes, &wanted)?;
        let class = results::Kind::Sr.sop_class_uid();
        let found = text_of(&top, tags::SOP_CLASS_UID).unwrap_or_default();
        ensure!(found == class, "SOP class {found}, expected a Comprehensive 3D SR ({class})");
        let mut parameters = Vec::new();
        algorithm_parameters(items_of(&top, tags::CONTENT_SEQUENCE), &mut parameters);
        let bundle = parameters.iter().find_map(|text| text.strip_prefix("bundle digest "));
        let account = parameters.iter().find_map(|text| Account::of_line(text));
        let (account, configuration) =
            account.map_or((None, None), |(account, c)| (Some(account), c));
        let equipment = items_of(&top, tags::CONTRIBUTING_EQUIPMENT_SEQUENCE);
        let moment = equipment.iter().find_map(|item| text_of(item, tags::CONTRIBUTION_DATE_TIME));
        let of = |tag| text_of(&top, tag).unwrap_or_default();
        let mut software_versions: Vec<String> =
            of(tags::SOFTWARE_VERSIONS).split('\\').map(str::to_owned).collect();
        // The last one is the bundle's.
        software_versions.pop();
        Ok(Self {
            bundle: bundle.context("it names no bundle: expected a report of ours")?.to_owned(),
            device: Device {
                manufacturer: of(tags::MANUFACTURER),
                model: of(tags::MANUFACTURER_MODEL_NAME),
                serial: of(tags::DEVICE_SERIAL_NUMBER),
                software_versions,
            },
            account,
            configuration,
            analysed: rfc3339(&moment.context("it does not say when the image was analysed")?)?,
            bytes: bytes.to_vec(),
        })
    }
}

/// Every Algorithm Parameters (111002, DCM), at whatever depth.
fn algorithm_parameters(items: &[Vec<Attribute>], found: &mut Vec<String>) {
    for item in items {
        let concept = items_of(item, tags::CONCEPT_NAME_CODE_SEQUENCE);
        let code = concept.first().and_then(|concept| text_of(concept, tags::CODE_VALUE));
        if code.as_deref() == Some("111002") {
            found.extend(text_of(item, tags::TEXT_VALUE));
        }
        algorithm_parameters(items_of(item, tags::CONTENT_SEQUENCE), found);
    }
}

pub(super) fn items_of(attributes: &[Attribute], tag: Tag) -> &[Vec<Attribute>] {
    match attributes.iter().find(|attribute| attribute.tag == tag).map(|found| &found.value) {
        Some(AttributeValue::Items(items)) => items,
        _ => &[],
    }
}

pub(super) fn text_of(attributes: &[Attribute], tag: Tag) -> Option<String> {
    match &attributes.iter().find(|attribute| attribute.tag == tag)?.value {
        AttributeValue::Bytes(bytes) => Some(radiograph::elements::text(bytes)),
        AttributeValue::Items(_) => None,
    }
}

/// `20261130193800+0000` as `2026-11-30T19:38:00Z`.
fn rfc3339(moment: &str) -> Result<String> {
    let digits = moment.strip_suffix("+0000").unwrap_or_default();
    if digits.len() != 14 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        bail!("the time of the analysis is {moment:?}, expected YYYYMMDDHHMMSS+0000");
    }
    let part = |from: usize, to: usize| &digits[from..to];
    Ok(format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14)
    ))
}
