//! Files of `torch.save` that hold tensors by name, read without PyTorch and without running anything in them.
//!
//! ```text
//! zip      since PyTorch 1.6: an archive of data.pkl and data/0, data/1, …
//! mod      before: one pickle after the other, then the numbers
//! pickle   what the bytes of a pickle describe
//! ```

mod pickle;
mod zip;

use anyhow::{Context, Result, bail, ensure};
use pickle::{Storage, TensorShape, Value};
use std::{collections::HashMap, fs, path::Path};
use tch::{Kind, Tensor};
use zip::Archive;

/// Every tensor of a state dict by its name.
pub fn read(path: &Path) -> Result<HashMap<String, Tensor>> {
    let name = path.display();
    let bytes = fs::read(path).with_context(|| format!("cannot read {name}"))?;
    let tensors = if bytes.starts_with(b"PK\x03\x04") {
        archive(&bytes)
    } else if bytes.starts_with(&[0x80, 2]) {
        before_1_6(&bytes)
    } else {
        bail!(
            "{name} begins with {:02x?}, expected a file of torch.save",
            bytes.get(..4).unwrap_or(&bytes)
        )
    };
    tensors.with_context(|| format!("cannot use {name}"))
}

fn archive(bytes: &[u8]) -> Result<HashMap<String, Tensor>> {
    let archive = Archive::open(bytes)?;
    let index = archive.names().find(|name| name.ends_with("/data.pkl"));
    let index = index.context("the archive has no data.pkl")?.to_owned();
    let root = index.trim_end_matches("data.pkl").to_owned();
    if let Ok(order) = archive.file(&format!("{root}byteorder")) {
        ensure!(
            order == b"little",
            "numbers in byte order {:?}, expected little",
            String::from_utf8_lossy(order)
        );
    }
    let (value, _) = pickle::read(archive.file(&index)?)?;
    named(&value)?
        .into_iter()
        .map(|(name, shape)| {
            let numbers = archive.file(&format!("{root}data/{}", shape.storage.key))?;
            Ok((name.clone(), tensor(&shape, numbers).with_context(|| format!("tensor `{name}`"))?))
        })
        .collect()
}

/// Magic number, protocol, machine, tensors, names of the storages; then each storage's length and numbers.
fn before_1_6(bytes: &[u8]) -> Result<HashMap<String, Tensor>> {
    let mut rest = bytes;
    let mut next = || -> Result<Value> {
        let (value, used) = pickle::read(rest)?;
        rest = &rest[used..];
        Ok(value)
    };
    let (_magic, protocol, _machine) = (next()?, next()?, next()?);
    ensure!(protocol == Value::Int(1001), "protocol {protocol:?}, expected 1001 of torch.save");
    let tensors = named(&next()?)?;
    let Value::List(keys) = next()? else { bail!("no list of storages after the tensors") };
    let sizes: HashMap<&str, &Storage> =
        tensors.iter().map(|(_, shape)| (shape.storage.key.as_str(), &shape.storage)).collect();
    let mut numbers = HashMap::new();
    for key in &keys {
        let Value::Text(key) = key else { bail!("a storage named {key:?}") };
        let storage = sizes
            .get(key.as_str())
            .with_context(|| format!("storage {key} belongs to no tensor"))?;
        let length = rest.get(..8).context("the file ends before its numbers")?;
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
        ensure!(
            length == storage.length as u64,
            "storage {key} has {length} numbers, expected {}",
            storage.length
        );
        let (own, after) = storage
            .bytes()
            .and_then(|size| rest[8..].split_at_checked(size))
            .context("the file ends inside its numbers")?;
        numbers.insert(key.clone(), own);
        rest = after;
    }
    tensors
        .into_iter()
        .map(|(name, shape)| {
            let key = &shape.storage.key;
            let numbers =
                numbers.get(key).with_context(|| format!("no numbers of storage {key}"))?;
            Ok((name.clone(), tensor(&shape, numbers).with_context(|| format!("tensor `{name}`"))?))
        })
        .collect()
}

/// The entries of a dict that are tensors, or of one under `state_dict`.
fn named(value: &Value) -> Result<Vec<(String, TensorShape)>> {
    let Value::Dict(entries) = value else {
        bail!("found {}, expected tensors by name: torch.save(model.state_dict(), …)", value.what())
    };
    let nested = entries.iter().find(|(key, value)| {
        matches!(key, Value::Text(key) if key == "state_dict") && matches!(value, Value::Dict(_))
    });
    if let Some((_, nested)) = nested {
        return named(nested);
    }
    let named: Vec<_> = entries
        .iter()
        .filter_map(|(key, value)| match (key, value) {
            (Value::Text(name), Value::Tensor(shape)) => Some((name.clone(), shape.clone())),
            _ => None,
        })
        .collect();
    ensure!(!named.is_empty(), "no tensors by name: torch.save(model.state_dict(), …) writes them");
    Ok(named)
}

fn tensor(shape: &TensorShape, numbers: &[u8]) -> Result<Tensor> {
    let Storage { kind, length, .. } = shape.storage;
    ensure!(
        Some(numbers.len()) == shape.storage.bytes(),
        "{} bytes for {length} numbers of {kind:?}",
        numbers.len()
    );
    let elements = shape.size.iter().try_fold(1_i64, |product, &n| product.checked_mul(n));
    ensure!(
        elements.is_some_and(|n| (0..=length as i64).contains(&n)),
        "{:?} elements in a storage of {length}",
        shape.size
    );
    let flat = Tensor::f_from_data_size(numbers, &[length as i64], kind)?;
    // libtorch checks that every element lies inside.
    let view = flat.f_as_strided(shape.size.as_slice(), shape.stride.as_slice(), shape.offset)?;
    Ok(view.f_contiguous()?.copy())
}

/// What PyTorch calls its storages.
fn kind(storage: &str) -> Option<Kind> {
    Some(match storage {
        "FloatStorage" => Kind::Float,
        "DoubleStorage" => Kind::Double,
        "HalfStorage" => Kind::Half,
        "BFloat16Storage" => Kind::BFloat16,
        "LongStorage" => Kind::Int64,
        "IntStorage" => Kind::Int,
        "ShortStorage" => Kind::Int16,
        "CharStorage" => Kind::Int8,
        "ByteStorage" => Kind::Uint8,
        "BoolStorage" => Kind::Bool,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/bert").join(name)
    }

    #[test]
    fn both_formats_of_torch_save_hold_the_same_tensors() {
        let (new, old) =
            (read(&file("pytorch_model.bin")).unwrap(), read(&file("before-1.6.bin")).unwrap());
        assert_eq!(new.len(), old.len());
        assert!(new.iter().all(|(name, tensor)| tensor.equal(&old[name])));
        let words = &new["bert.embeddings.word_embeddings.weight"];
        assert_eq!((words.size(), words.kind()), (vec![24, 16], Kind::Float));
        assert_eq!(new["bert.embeddings.position_ids"].int64_value(&[0, 31]), 31);
    }

    #[test]
    fn damage_is_told_and_nothing_panics() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.bin");
        let refused = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let message = format!("{:#}", read(&path).unwrap_err());
            assert!(message.contains("x.bin"), "{message}");
            message
        };
        assert!(refused(b"GIF89a").contains("expected a file of torch.save"));
        for name in ["pytorch_model.bin", "before-1.6.bin"] {
            let whole = fs::read(file(name)).unwrap();
            for cut in (0..whole.len()).step_by(997) {
                refused(&whole[..cut]);
            }
            for at in (0..whole.len()).step_by(61) {
                let mut flipped = whole.clone();
                flipped[at] ^= 0x55;
                fs::write(&path, &flipped).unwrap();
                let _ = read(&path); // may be another number; must not panic
            }
        }
    }
}
