//! Comprehensive 3D SR by TID 1500: what was found, and how sure the network is; or why it was not asked.
//!
//! ```text
//! 126000 Imaging Measurement Report              TID 1500
//! ├─ language, device, procedure
//! ├─ 111028 Image Library                        viewers fail without
//! └─ 126010 Imaging Measurements                 and without a group in it
//!    └─ 125007 Measurement Group, for each of
//!         finding   TID 1501   certainty, operating point, present or absent
//!         region    TID 1410   frame of the segmentation, area
//!         box       TID 1410   closed polyline, certainty
//!         sentences TID 1501   the nearest of the training reports, marked as no report
//! ```

use crate::{
    FoundBox, Kind, Status,
    content::{
        Relation::*, code, container, frame, image, number, percent, root, text, uid, within,
    },
    dataset::DataSet,
    modules::{Context, DISCLAIMER, named, reference},
    seg::{self, Region},
    terms::{ascii, coded, dcm, laterality, private, sct, term},
};
use bundle::{LabelCode, PRIVATE_SCHEME};
use dicom_dictionary_std::tags;
use std::collections::BTreeSet;

pub(crate) fn write(context: &Context<'_>, regions: &[Region]) -> DataSet {
    let mut set = context.start(Kind::Sr);
    set.empty(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE);
    set.text(tags::COMPLETION_FLAG, "COMPLETE");
    set.text(tags::VERIFICATION_FLAG, "UNVERIFIED");
    set.text(tags::PRELIMINARY_FLAG, "PRELIMINARY");
    set.empty(tags::PERFORMED_PROCEDURE_CODE_SEQUENCE);
    set.item(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, evidence(context, regions));
    let groups = groups(context, regions);
    set.items(tags::CODING_SCHEME_IDENTIFICATION_SEQUENCE, coding_schemes(context));
    let children = header(context)
        .into_iter()
        .chain([
            image_library(context),
            container(dcm("126010", "Imaging Measurements"), None, groups),
        ])
        .collect();
    set.extend(root(dcm("126000", "Imaging Measurement Report"), "1500", children));
    set
}

/// Every object that the tree refers to.
fn evidence(context: &Context<'_>, regions: &[Region]) -> DataSet {
    let of = |series: &str, object: DataSet| {
        let mut set = DataSet::default();
        set.text(tags::SERIES_INSTANCE_UID, series);
        set.item(tags::REFERENCED_SOP_SEQUENCE, object);
        set
    };
    let mut series = vec![of(&context.source.series_instance_uid, context.to_source())];
    if !regions.is_empty() {
        series.push(of(&context.series_uid(Kind::Seg), to_segmentation(context)));
    }
    let mut study = DataSet::default();
    study.text(tags::STUDY_INSTANCE_UID, &context.source.study_instance_uid);
    study.items(tags::REFERENCED_SERIES_SEQUENCE, series);
    study
}

fn to_segmentation(context: &Context<'_>) -> DataSet {
    reference(Kind::Seg.sop_class_uid(), &context.instance_uid(Kind::Seg))
}

/// Private schemes need to be explained: ours, and those of whoever made the bundle.
fn coding_schemes(context: &Context<'_>) -> Vec<DataSet> {
    let codes = context.record.codes.iter();
    let codes =
        codes.flat_map(|it| [Some(&it.code), Some(&it.category), it.site.as_ref()]).flatten();
    let private = codes.map(|code| code.scheme()).filter(|scheme| scheme.starts_with("99"));
    let schemes: BTreeSet<&str> = private.chain([PRIVATE_SCHEME]).collect();
    let explained = |scheme: &str| {
        let mut item = DataSet::default();
        item.text(tags::CODING_SCHEME_DESIGNATOR, scheme);
        let name =
            if scheme == PRIVATE_SCHEME { "CXR Edge labels" } else { "labels of the bundle" };
        item.text(tags::CODING_SCHEME_NAME, name);
        item.text(tags::CODING_SCHEME_RESPONSIBLE_ORGANIZATION, "CXR Edge");
        item
    };
    schemes.into_iter().map(explained).collect()
}

/// Language, observer, procedure.
fn header(context: &Context<'_>) -> Vec<DataSet> {
    let device = context.device;
    let language = term("en-US", "RFC5646", "English (United States)");
    let said = |value: &str, meaning: &str, of: &str| {
        text(HasObservationContext, dcm(value, meaning), &named(of))
    };
    vec![
        code(
            HasConceptModifier,
            dcm("121049", "Language of Content Item and Descendants"),
            language,
        ),
        code(HasObservationContext, dcm("121005", "Observer Type"), dcm("121007", "Device")),
        uid(HasObservationContext, dcm("121012", "Device Observer UID"), &device.uid()),
        said("121013", "Device Observer Name", &device.serial),
        said("121014", "Device Observer Manufacturer", &device.manufacturer),
        said("121015", "Device Observer Model Name", &device.model),
        said("121016", "Device Observer Serial Number", &device.serial),
        code(
            HasConceptModifier,
            dcm("121058", "Procedure reported"),
            sct("399208008", "Plain chest X-ray"),
        ),
    ]
}

fn image_library(context: &Context<'_>) -> DataSet {
    let view = match &*context.source.text(tags::VIEW_POSITION) {
        "PA" => Some(sct("272479007", "postero-anterior")),
        "AP" => Some(sct("399348003", "antero-posterior")),
        _ => None,
    };
    let view = view.map(|view| code(HasAcquisitionContext, dcm("111031", "Image View"), view));
    let source = image(Contains, None, context.to_source());
    let mut group = Vec::new();
    if let Some(modality) = modality(&context.source.text(tags::MODALITY)) {
        group.push(code(HasAcquisitionContext, dcm("121139", "Modality"), modality));
    }
    group.push(within(source, view.into_iter().collect()));
    let group = container(dcm("126200", "Image Library Group"), None, group);
    container(dcm("111028", "Image Library"), None, vec![group])
}

/// CID 29, as far as anything of it reaches us.
fn modality(name: &str) -> Option<DataSet> {
    let meaning = match name {
        "CR" => "Computed Radiography",
        "DX" => "Digital Radiography",
        "CT" => "Computed Tomography",
        "MR" => "Magnetic Resonance",
        "MG" => "Mammography",
        "RF" => "Radiofluoroscopy",
        "XA" => "X-Ray Angiography",
        "US" => "Ultrasound",
        "PX" => "Panoramic X-Ray",
        "IO" => "Intra-oral Radiography",
        "NM" => "Nuclear Medicine",
        "OT" => "Other Modality",
        _ => return None,
    };
    Some(dcm(name, meaning))
}

fn groups(context: &Context<'_>, regions: &[Region]) -> Vec<DataSet> {
    let record = context.record;
    if record.status == Status::NotAnalysed {
        let why = record.reason.as_deref().unwrap_or("no reason is known");
        let state = private("NOT-ANALYSED", "Not analysed");
        return vec![remark(context, "not analysed", state, &format!("Not analysed: {why}"))];
    }
    let findings = record.findings.iter().map(|finding| {
        let label = record.code(&finding.name);
        let mut items = begin(context, tracking(context, "finding", &label), &label);
        items.push(image(
            Contains,
            Some(dcm("121112", "Source of Measurement")),
            context.to_source(),
        ));
        items.push(certainty(context, finding.probability, Some(finding.threshold)));
        // The finding is the question, CID 240 has the answer.
        let present = match finding.positive {
            true => sct("52101004", "Present"),
            false => sct("272519000", "Absent"),
        };
        items.push(code(Contains, coded(&label.code), present));
        if record.heat_map(&finding.name).is_some() {
            items.push(text(Contains, dcm("121106", "Comment"), ZERO_SHOT));
        }
        group("1501", items)
    });
    let regions = regions.iter().enumerate().map(|(at, region)| of_region(context, at, region));
    let boxes = record.boxes.iter().flatten().enumerate();
    let boxes = boxes.map(|(at, found)| of_box(context, at, found));
    let groups = findings.chain(regions).chain(boxes).chain(nearest(context));
    let groups: Vec<DataSet> = groups.collect();
    if groups.is_empty() {
        // A report without a group is one that readers fail on.
        let state = private("NOTHING-FOUND", "Nothing found");
        return vec![remark(
            context,
            "nothing found",
            state,
            "Analysed: no region and no box found",
        )];
    }
    groups
}

/// Of a finding whose network was never taught it.
const ZERO_SHOT: &str = "Zero-shot: found by phrases, never trained on labels of this finding.";

/// Sentences of the training reports, under a heading that says what they are not.
fn nearest(context: &Context<'_>) -> Option<DataSet> {
    let sentences = &context.record.nearest;
    if sentences.is_empty() {
        return None;
    }
    let about = "image: nearest training sentences";
    let mut items = tracked(about, &context.seed.uid("image nearest training sentences"));
    items.extend(algorithm(context));
    items.extend(account(context));
    items.push(image(Contains, Some(dcm("121112", "Source of Measurement")), context.to_source()));
    let heading = private("NEAREST", "Nearest training sentences, not a report");
    items.push(code(Contains, private("ANALYSIS", "Analysis of the image"), heading));
    for near in sentences {
        let concept = private("NEAREST-SENTENCE", "Nearest training sentence, not a report");
        let said = ascii(&near.sentence, 1000);
        let said = format!("{said} (similarity {:.3})", near.similarity);
        items.push(text(Contains, concept, &said));
    }
    Some(group("1501", items))
}

/// A group about the image as a whole.
fn remark(context: &Context<'_>, about: &str, state: DataSet, comment: &str) -> DataSet {
    let mut items =
        tracked(&format!("image: {about}"), &context.seed.uid(&format!("image {about}")));
    items.extend(algorithm(context));
    items.extend(account(context));
    items.push(image(Contains, Some(dcm("121112", "Source of Measurement")), context.to_source()));
    items.push(code(Contains, private("ANALYSIS", "Analysis of the image"), state));
    let comment = format!("{}. {DISCLAIMER}.", ascii(comment, 1000).trim_end_matches('.'));
    items.push(text(Contains, dcm("121106", "Comment"), &comment));
    group("1501", items)
}

fn of_region(context: &Context<'_>, at: usize, region: &Region) -> DataSet {
    let mut items = begin(context, seg::tracking(context, region), &region.code);
    // By the frame: frame and segment number exclude each other, and TID 1410 wants the frame.
    let mut frame = to_segmentation(context);
    frame.text(tags::REFERENCED_FRAME_NUMBER, &(at + 1).to_string());
    items.push(image(Contains, Some(dcm("121214", "Referenced Segmentation Frame")), frame));
    let source = dcm("121233", "Source Image for Segmentation");
    items.push(image(Contains, Some(source), context.to_source()));
    let unit = term("{pixels}", "UCUM", "pixels");
    let area = number(Contains, sct("42798000", "Area"), &region.area().to_string(), unit);
    items.push(within(area, algorithm(context)));
    group("1410", items)
}

fn of_box(context: &Context<'_>, at: usize, found: &FoundBox) -> DataSet {
    let label = context.record.code(&found.name);
    let kind = format!("box {}", at + 1);
    let mut items = begin(context, tracking(context, &kind, &label), &label);
    let edges = [found.x, found.y, found.x + found.width, found.y + found.height];
    items.push(frame(edges, context.to_source()));
    items.push(certainty(context, found.score, None));
    group("1410", items)
}

/// Identifier and UID of a group: viewers merge groups of one UID.
fn tracking(context: &Context<'_>, kind: &str, label: &LabelCode) -> (String, String) {
    let name = format!("{kind}: {}", named(&label.label));
    (name, context.seed.uid(&format!("{kind} {}", label.label)))
}

/// What every group about a label begins with.
fn begin(context: &Context<'_>, (name, id): (String, String), label: &LabelCode) -> Vec<DataSet> {
    let mut items = tracked(&name, &id);
    items.push(code(Contains, dcm("121071", "Finding"), coded(&label.code)));
    items.extend(algorithm(context));
    items.extend(account(context));
    if let Some(site) = &label.site {
        let side = label.side.map(laterality);
        let side = side.map(|side| code(HasConceptModifier, sct("272741003", "Laterality"), side));
        let site = code(HasConceptModifier, sct("363698007", "Finding Site"), coded(site));
        items.push(within(site, side.into_iter().collect()));
    }
    items
}

fn group(template: &str, items: Vec<DataSet>) -> DataSet {
    container(dcm("125007", "Measurement Group"), Some(template), items)
}

fn tracked(name: &str, id: &str) -> Vec<DataSet> {
    vec![
        text(HasObservationContext, dcm("112039", "Tracking Identifier"), name),
        uid(HasObservationContext, dcm("112040", "Tracking Unique Identifier"), id),
    ]
}

/// TID 4019. Also inside every number: a number without children is one that OHIF fails on.
fn algorithm(context: &Context<'_>) -> Vec<DataSet> {
    let said =
        |value: &str, meaning: &str, of: &str| text(HasConceptModifier, dcm(value, meaning), of);
    vec![
        said("111001", "Algorithm Name", &context.model()),
        said("111003", "Algorithm Version", &context.model_version()),
        said("111002", "Algorithm Parameters", &context.model_digest()),
    ]
}

/// What the result came from, as a second parameter: `runtime replay` reads it.
fn account(context: &Context<'_>) -> Option<DataSet> {
    let account = context.record.account.as_ref()?;
    let line = account.line(context.record.configuration.as_ref());
    Some(text(HasConceptModifier, dcm("111002", "Algorithm Parameters"), &line))
}

fn certainty(context: &Context<'_>, probability: f32, threshold: Option<f32>) -> DataSet {
    let mut inside = algorithm(context);
    let point = dcm("111071", "CAD Operating Point");
    inside.extend(threshold.map(|threshold| percent(HasProperties, point, threshold)));
    within(percent(Contains, dcm("111012", "Certainty of Finding"), probability), inside)
}
