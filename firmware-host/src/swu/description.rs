//! `sw-description`: what an image is, for servers, for SWUpdate and for the box.

use super::SwuError;
use super::libconfig::{Value, parse, quoted};
use protocol::Digest;

/// What an image says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub version: String,
    /// For people.
    pub text: String,
    /// Revisions of hardware it is for.
    pub hardware: Vec<String>,
    /// Name of the bundle in the image, or of the pack.
    pub file: String,
    pub sha256: Digest,
}

impl Description {
    pub fn to_text(&self) -> String {
        let hardware: Vec<_> = self.hardware.iter().map(|revision| quoted(revision)).collect();
        format!(
            "software =\n{{\n    version = {};\n    description = {};\n    hardware-compatibility: [ {} ];\n    files: (\n        {{\n            filename = {};\n            path = \"/var/lib/cxr-edge/incoming/{}\";\n            sha256 = \"{}\";\n        }}\n    );\n}}\n",
            quoted(&self.version),
            quoted(&self.text),
            hardware.join(", "),
            quoted(&self.file),
            self.file,
            self.sha256,
        )
    }

    /// Reads untrusted bytes. What is not understood is refused by name: it might ask for more than a bundle.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SwuError> {
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("no UTF-8".into()))?;
        let settings = parse(text)?;
        known(&settings, &["software"], "the text")?;
        let Some(Value::Group(software)) = setting(&settings, "software") else {
            return Err(wrong("no group named software".into()));
        };
        let all = ["version", "description", "name", "hardware-compatibility", "files", "images"];
        known(software, &all, "software")?;
        let lists = ["files", "images"].map(|name| setting(software, name));
        let lists: Vec<&Value> = lists.into_iter().flatten().collect();
        let [Value::List(files)] = &lists[..] else {
            return Err(wrong(format!("{} lists of files, expected one", lists.len())));
        };
        let [Value::Group(file)] = &files[..] else {
            return Err(wrong(format!("{} files, expected one", files.len())));
        };
        known(file, &["filename", "path", "sha256", "type", "name", "version"], "the file")?;
        let sha256 = string(file, "sha256")?;
        let digest = hex::decode(sha256).ok().and_then(|bytes| bytes.try_into().ok()).map(Digest);
        let digest = digest.ok_or_else(|| wrong(format!("sha256 is {sha256:?}")))?;
        Ok(Self {
            version: string(software, "version")?.to_owned(),
            text: optional(software, "description")?.unwrap_or_default().to_owned(),
            hardware: hardware(software)?,
            file: string(file, "filename")?.to_owned(),
            sha256: digest,
        })
    }
}

fn hardware(software: &[(String, Value)]) -> Result<Vec<String>, SwuError> {
    let Some(value) = setting(software, "hardware-compatibility") else { return Ok(Vec::new()) };
    let Value::List(revisions) = value else {
        return Err(wrong("hardware-compatibility is no list".into()));
    };
    let text = |revision: &Value| match revision {
        Value::Text(revision) => Ok(revision.clone()),
        other => Err(wrong(format!("hardware revision {other:?}, expected a string"))),
    };
    revisions.iter().map(text).collect()
}

fn known(settings: &[(String, Value)], names: &[&str], place: &str) -> Result<(), SwuError> {
    match settings.iter().find(|(name, _)| !names.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, _)) => Err(wrong(format!(
            "{name} in {place} is not known here, expected {}",
            names.join(", ")
        ))),
    }
}

fn setting<'a>(settings: &'a [(String, Value)], wanted: &str) -> Option<&'a Value> {
    settings.iter().find(|(name, _)| name == wanted).map(|(_, value)| value)
}

fn optional<'a>(settings: &'a [(String, Value)], name: &str) -> Result<Option<&'a str>, SwuError> {
    match setting(settings, name) {
        None => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text)),
        Some(other) => Err(wrong(format!("{name} is {other:?}, expected a string"))),
    }
}

fn string<'a>(settings: &'a [(String, Value)], name: &str) -> Result<&'a str, SwuError> {
    optional(settings, name)?.ok_or_else(|| wrong(format!("{name} is missing")))
}

fn wrong(reason: String) -> SwuError {
    SwuError::Description { reason }
}
