//! The checkpoint a bundle was made of, found by the digest in its provenance.

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Folders below the ones looked in: `runs/pneumonia` beside `pneumonia.bundle`.
const DEPTH: usize = 2;

/// The folder whose `model.safetensors` has this SHA-256 (hexadecimal), in the bundle's folder or the current one or at
/// most two folders below either.
pub(crate) fn checkpoint(bundle: &Path, digest: &str) -> Result<PathBuf> {
    let beside = match bundle.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    find(bundle, digest, &[beside, PathBuf::from(".")])
}

fn find(bundle: &Path, digest: &str, roots: &[PathBuf]) -> Result<PathBuf> {
    let mut folders = BTreeSet::new();
    for root in roots {
        collect(&root.canonicalize().unwrap_or_else(|_| root.clone()), DEPTH, &mut folders);
    }
    for folder in &folders {
        let path = folder.join("model.safetensors");
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if hex::encode(Sha256::digest(bytes)) == digest {
            log::info!("{}: made of {}", bundle.display(), folder.display());
            return Ok(folder.clone());
        }
    }
    let looked: Vec<String> = roots.iter().map(|root| root.display().to_string()).collect();
    bail!(
        "{}: made of weights with SHA-256 {digest}; none of {} checkpoints in {} has them: pass --checkpoint DIR",
        bundle.display(),
        folders.len(),
        looked.join(" and ")
    )
}

/// Checkpoint folders; what cannot be listed holds none.
fn collect(folder: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) {
    if folder.join("model.safetensors").is_file() {
        found.insert(folder.to_owned());
    }
    let Some(entries) = fs::read_dir(folder).ok().filter(|_| depth > 0) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden {
            collect(&path, depth - 1, found);
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
            fs::write(folder.join("model.safetensors"), weights).unwrap();
            folder.canonicalize().unwrap()
        };
        save("other", b"other weights");
        let wanted = save("runs/pneumonia", b"its weights");
        let digest = hex::encode(Sha256::digest(b"its weights"));
        let bundle = place.path().join("a.bundle");
        let roots = [place.path().to_owned()];
        assert_eq!(find(&bundle, &digest, &roots).unwrap(), wanted);

        fs::write(wanted.join("model.safetensors"), b"trained on").unwrap();
        let error = find(&bundle, &digest, &roots).unwrap_err().to_string();
        assert!(error.contains("a.bundle: made of weights with SHA-256 "), "{error}");
        assert!(
            error.contains("none of 2 checkpoints") && error.contains("--checkpoint"),
            "{error}"
        );
    }
}
