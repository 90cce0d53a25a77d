//! Attributes of a node. Each must be read: one that nobody looks at is refused by its name.

use anyhow::{Result, bail, ensure};
use std::cell::RefCell;
use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, TensorProto, attribute_proto::AttributeType,
};

/// What a node says beside its inputs, and which of it has been read.
pub(super) struct Attributes<'a> {
    node: &'a NodeProto,
    read: RefCell<Vec<&'a str>>,
}

impl<'a> Attributes<'a> {
    pub(super) fn of(node: &'a NodeProto) -> Result<Self> {
        for (at, attribute) in node.attribute.iter().enumerate() {
            let twice = node.attribute[..at].iter().any(|other| other.name == attribute.name);
            ensure!(!twice, "attribute `{}` is there twice", attribute.name);
        }
        if let Some(bound) = node.attribute.iter().find(|found| !found.ref_attr_name.is_empty()) {
            bail!("attribute `{}` stands for one of a function", bound.name);
        }
        Ok(Self { node, read: RefCell::default() })
    }

    pub(super) fn int(&self, name: &str, otherwise: i64) -> Result<i64> {
        Ok(self.find(name, AttributeType::Int)?.map_or(otherwise, |found| found.i))
    }

    /// 0 or 1.
    pub(super) fn flag(&self, name: &str, otherwise: bool) -> Result<bool> {
        match self.int(name, i64::from(otherwise))? {
            0 => Ok(false),
            1 => Ok(true),
            other => bail!("attribute `{name}` is {other}, expected 0 or 1"),
        }
    }

    pub(super) fn float(&self, name: &str, otherwise: f32) -> Result<f32> {
        let value = self.find(name, AttributeType::Float)?.map_or(otherwise, |found| found.f);
        ensure!(!value.is_nan(), "attribute `{name}` is no number");
        Ok(value)
    }

    pub(super) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>> {
        Ok(self.find(name, AttributeType::Ints)?.map(|found| &found.ints[..]))
    }

    pub(super) fn floats(&self, name: &str) -> Result<Option<&'a [f32]>> {
        Ok(self.find(name, AttributeType::Floats)?.map(|found| &found.floats[..]))
    }

    pub(super) fn text(&self, name: &str, otherwise: &'static str) -> Result<&'a str> {
        match self.find(name, AttributeType::String)? {
            Some(found) => Ok(str::from_utf8(&found.s)?),
            None => Ok(otherwise),
        }
    }

    pub(super) fn tensor(&self, name: &str) -> Result<Option<&'a TensorProto>> {
        Ok(self.find(name, AttributeType::Tensor)?.and_then(|found| found.t.as_ref()))
    }

    pub(super) fn graph(&self, name: &str) -> Result<Option<&'a GraphProto>> {
        Ok(self.find(name, AttributeType::Graph)?.and_then(|found| found.g.as_ref()))
    }

    /// Whether the node has it; does not count as reading.
    pub(super) fn has(&self, name: &str) -> bool {
        self.node.attribute.iter().any(|found| found.name == name)
    }

    /// Attributes that say nothing about one picture in inference.
    pub(super) fn ignore(&self, names: &[&str]) {
        let known = self.node.attribute.iter().map(|found| found.name.as_str());
        self.read.borrow_mut().extend(known.filter(|name| names.contains(name)));
    }

    /// Reads what may only have this value.
    pub(super) fn expect_int(&self, name: &str, value: i64) -> Result<()> {
        let found = self.int(name, value)?;
        ensure!(found == value, "attribute `{name}` is {found}, which is not supported");
        Ok(())
    }

    /// Whether everything has been read.
    pub(super) fn finish(&self) -> Result<()> {
        let read = self.read.borrow();
        let mut all = self.node.attribute.iter();
        let Some(left) = all.find(|found| !read.contains(&found.name.as_str())) else {
            return Ok(());
        };
        let shown = if !left.s.is_empty() {
            format!("{:?}", String::from_utf8_lossy(&left.s))
        } else if !left.ints.is_empty() {
            format!("{:?}", left.ints)
        } else if left.f != 0.0 {
            left.f.to_string()
        } else {
            left.i.to_string()
        };
        bail!("attribute `{}` is {shown}, which is not supported", left.name)
    }

    fn find(&self, name: &str, kind: AttributeType) -> Result<Option<&'a AttributeProto>> {
        let Some(found) = self.node.attribute.iter().find(|found| found.name == name) else {
            return Ok(None);
        };
        let is = AttributeType::try_from(found.r#type).unwrap_or(AttributeType::Undefined);
        ensure!(is == kind, "attribute `{name}` is of type {is:?}, expected {kind:?}");
        self.read.borrow_mut().push(&found.name);
        Ok(Some(found))
    }
}
