//! Content items of a structured report (PS3.3 C.17.3).

use crate::{
    dataset::DataSet,
    terms::{dcm, term},
};
use dicom_dictionary_std::tags;

/// How an item belongs to the one around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Contains,
    HasConceptModifier,
    HasObservationContext,
    HasAcquisitionContext,
    HasProperties,
    SelectedFrom,
}

fn item(relation: Relation, value_type: &str, concept: Option<DataSet>) -> DataSet {
    let defined_term = match relation {
        Relation::Contains => "CONTAINS",
        Relation::HasConceptModifier => "HAS CONCEPT MOD",
        Relation::HasObservationContext => "HAS OBS CONTEXT",
        Relation::HasAcquisitionContext => "HAS ACQ CONTEXT",
        Relation::HasProperties => "HAS PROPERTIES",
        Relation::SelectedFrom => "SELECTED FROM",
    };
    let mut item = DataSet::default();
    item.text(tags::RELATIONSHIP_TYPE, defined_term);
    item.text(tags::VALUE_TYPE, value_type);
    if let Some(concept) = concept {
        item.item(tags::CONCEPT_NAME_CODE_SEQUENCE, concept);
    }
    item
}

/// An item with others inside.
pub(crate) fn within(mut item: DataSet, children: Vec<DataSet>) -> DataSet {
    if !children.is_empty() {
        item.items(tags::CONTENT_SEQUENCE, children);
    }
    item
}

/// The outermost item is the document itself, so it stands in no relation.
pub(crate) fn root(concept: DataSet, template: &str, children: Vec<DataSet>) -> DataSet {
    let mut root = DataSet::default();
    root.text(tags::VALUE_TYPE, "CONTAINER");
    root.item(tags::CONCEPT_NAME_CODE_SEQUENCE, concept);
    root.text(tags::CONTINUITY_OF_CONTENT, "SEPARATE");
    root.item(tags::CONTENT_TEMPLATE_SEQUENCE, identified(template));
    within(root, children)
}

pub(crate) fn container(
    concept: DataSet,
    template: Option<&str>,
    children: Vec<DataSet>,
) -> DataSet {
    let mut container = item(Relation::Contains, "CONTAINER", Some(concept));
    container.text(tags::CONTINUITY_OF_CONTENT, "SEPARATE");
    if let Some(template) = template {
        container.item(tags::CONTENT_TEMPLATE_SEQUENCE, identified(template));
    }
    within(container, children)
}

fn identified(template: &str) -> DataSet {
    let mut set = DataSet::default();
    set.text(tags::MAPPING_RESOURCE, "DCMR");
    set.text(tags::TEMPLATE_IDENTIFIER, template);
    set
}

pub(crate) fn text(relation: Relation, concept: DataSet, text: &str) -> DataSet {
    let mut item = item(relation, "TEXT", Some(concept));
    item.text(tags::TEXT_VALUE, text);
    item
}

pub(crate) fn code(relation: Relation, concept: DataSet, code: DataSet) -> DataSet {
    let mut item = item(relation, "CODE", Some(concept));
    item.item(tags::CONCEPT_CODE_SEQUENCE, code);
    item
}

pub(crate) fn uid(relation: Relation, concept: DataSet, uid: &str) -> DataSet {
    let mut item = item(relation, "UIDREF", Some(concept));
    item.text(tags::UID, uid);
    item
}

/// `number`: at most 16 characters.
pub(crate) fn number(relation: Relation, concept: DataSet, number: &str, unit: DataSet) -> DataSet {
    let mut value = DataSet::default();
    value.text(tags::NUMERIC_VALUE, number);
    value.item(tags::MEASUREMENT_UNITS_CODE_SEQUENCE, unit);
    let mut item = item(relation, "NUM", Some(concept));
    item.item(tags::MEASURED_VALUE_SEQUENCE, value);
    item
}

/// A probability in percent with two digits.
pub(crate) fn percent(relation: Relation, concept: DataSet, probability: f32) -> DataSet {
    let value = format!("{:.2}", 100.0 * f64::from(probability));
    number(relation, concept, &value, term("%", "UCUM", "Percent"))
}

pub(crate) fn image(relation: Relation, concept: Option<DataSet>, reference: DataSet) -> DataSet {
    let mut item = item(relation, "IMAGE", concept);
    item.item(tags::REFERENCED_SOP_SEQUENCE, reference);
    item
}

/// A closed line of five points around a box of `reference`: its left, top, right and bottom edge.
pub(crate) fn frame(edges: [f32; 4], reference: DataSet) -> DataSet {
    let [left, top, right, bottom] = edges;
    let mut region = item(Relation::Contains, "SCOORD", Some(dcm("111030", "Image Region")));
    let points = [left, top, right, top, right, bottom, left, bottom, left, top];
    region.f32s(tags::GRAPHIC_DATA, &points);
    region.text(tags::GRAPHIC_TYPE, "POLYLINE");
    within(region, vec![image(Relation::SelectedFrom, None, reference)])
}
