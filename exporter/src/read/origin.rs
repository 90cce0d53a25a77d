//! What a bundle was made of, found by the digest in its provenance.

use anyhow::{Context, Result, bail};
use prost::Message;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use tract_onnx::pb::ModelProto;

/// Folders below the ones looked in: `runs/pneumonia` beside `pneumonia.bundle`.
const DEPTH: usize = 2;
const WEIGHTS: &str = "model.safetensors";

/// What is looked for.
#[derive(Clone, Copy)]
enum Kind {
    Checkpoint,
    Model,
}

/// The folder whose `model.safetensors` has this SHA-256 (hexadecimal), in the bundle's folder or the current one or at
/// most two folders below either.
pub(crate) fn checkpoint(bundle: &Path, digest: &str) -> Result<PathBuf> {
    let file = find(bundle, digest, &roots(bundle), Kind::Checkpoint)?;
    Ok(file.parent().map(Path::to_owned).unwrap_or_default())
}

/// The ONNX file of this digest, in the same places.
pub(crate) fn model(bundle: &Path, digest: &str) -> Result<PathBuf> {
    find(bundle, digest, &roots(bundle), Kind::Model)
}

/// SHA-256 of an ONNX file; where weights lie in files beside it, of all of them, in the order of their names.
pub(crate) fn digest_of_model(path: &Path) -> Result<String> {
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let bytes = read(path)?;
    let mut hash = Sha256::new();
    hash.update(&bytes);
    if let Ok(ModelProto { graph: Some(graph), .. }) = ModelProto::decode(&bytes[..]) {
        let beside = path.parent().unwrap_or(Path::new(""));
        let held =
            graph.node.iter().flat_map(|node| &node.attribute).filter_map(|it| it.t.as_ref());
        let places =
            graph.initializer.iter().chain(held).filter_map(|tensor| {
                tensor.external_data.iter().find(|entry| entry.key == "location")
            });
        let names: BTreeSet<&str> = places.map(|place| place.value.as_str()).collect();
        for name in names {
            hash.update(read(&beside.join(name))?);
        }
    }
    Ok(hex::encode(hash.finalize()))
}

fn roots(bundle: &Path) -> [PathBuf; 2] {
    let beside = match bundle.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    [beside, PathBuf::from(".")]
}

fn find(bundle: &Path, digest: &str, roots: &[PathBuf], kind: Kind) -> Result<PathBuf> {
    let mut files = BTreeSet::new();
    for root in roots {
        collect(&root.canonicalize().unwrap_or_else(|_| root.clone()), DEPTH, kind, &mut files);
    }
    for path in &files {
        let found = match kind {
            Kind::Checkpoint => {
                let bytes =
                    fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                hex::encode(Sha256::digest(bytes))
            }
            // One whose weights are gone is not the one.
            Kind::Model => digest_of_model(path).unwrap_or_default(),
        };
        if found == digest {
            log::info!("{}: made of {}", bundle.display(), path.display());
            return Ok(path.clone());
        }
    }
    let looked: Vec<String> = roots.iter().map(|root| root.display().to_string()).collect();
    let (of, what, flag) = match kind {
        Kind::Checkpoint => ("weights", "checkpoints", "--checkpoint DIR"),
        Kind::Model => ("an ONNX file", "ONNX files", "--model ONNX"),
    };
    bail!(
        "{}: made of {of} with SHA-256 {digest}; none of {} {what} in {} has them: pass {flag}",
        bundle.display(),
        files.len(),
        looked.join(" and ")
    )
}

/// Files that may be it; what cannot be listed holds none.
fn collect(folder: &Path, depth: usize, kind: Kind, found: &mut BTreeSet<PathBuf>) {
    let weights = folder.join(WEIGHTS);
    if matches!(kind, Kind::Checkpoint) && weights.is_file() {
        found.insert(weights);
    }
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_onnx = path.extension().is_some_and(|ending| ending == "onnx");
        if matches!(kind, Kind::Model) && is_onnx && path.is_file() {
            found.insert(path);
            continue;
        }
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && depth > 0 && path.is_dir() {
            collect(&path, depth - 1, kind, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_found_by_the_digest_of_its_weights() {
        let place = tempfile::tempdir().unwrap();
        let save = |name: &str, weights: &[u8]| {
            let folder = place.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(WEIGHTS), weights).unwrap();
            folder.canonicalize().unwrap().join(WEIGHTS)
        };
        save("other", b"other weights");
        let wanted = save("runs/pneumonia", b"its weights");
        let digest = hex::encode(Sha256::digest(b"its weights"));
        let bundle = place.path().join("a.bundle");
        let roots = [place.path().to_owned()];
        let find = || find(&bundle, &digest, &roots, Kind::Checkpoint);
        assert_eq!(find().unwrap(), wanted);

        fs::write(&wanted, b"trained on").unwrap();
        let error = find().unwrap_err().to_string();
        assert!(error.contains("a.bundle: made of weights with SHA-256 "), "{error}");
        assert!(
            error.contains("none of 2 checkpoints") && error.contains("--checkpoint"),
            "{error}"
        );
    }

    #[test]
    fn a_model_s_digest_covers_the_weights_beside_it() {
        use tract_onnx::pb::{GraphProto, StringStringEntryProto, TensorProto};
        let place = tempfile::tempdir().unwrap();
        let (path, data) = (place.path().join("a.onnx"), place.path().join("a.onnx.data"));
        let entry = StringStringEntryProto { key: "location".into(), value: "a.onnx.data".into() };
        let tensor = TensorProto { external_data: vec![entry], ..TensorProto::default() };
        let graph = GraphProto { initializer: vec![tensor], ..GraphProto::default() };
        let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
        fs::write(&path, model.encode_to_vec()).unwrap();
        assert!(digest_of_model(&path).is_err());
        fs::write(&data, b"weights").unwrap();
        let whole = [&model.encode_to_vec()[..], b"weights"].concat();
        assert_eq!(digest_of_model(&path).unwrap(), hex::encode(Sha256::digest(whole)));
        let bundle = place.path().join("a.bundle");
        let digest = digest_of_model(&path).unwrap();
        assert_eq!(model_in(&bundle, &digest, place.path()), path.canonicalize().ok());
        fs::write(&data, b"other weights").unwrap();
        assert_eq!(model_in(&bundle, &digest, place.path()), None);
    }

    fn model_in(bundle: &Path, digest: &str, root: &Path) -> Option<PathBuf> {
        find(bundle, digest, &[root.to_owned()], Kind::Model).ok()
    }
}
