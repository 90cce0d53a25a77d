//! Files of `torch.save` that hold tensors by name, read without PyTorch and without running anything in them.
//!
//! ```text
//! zip      since PyTorch 1.6: an archive of data.pkl and data/0, data/1, …
//! mod      before: one pickle after the other, then the numbers
//! pickle   what the bytes of a pickle describe
//! ```
//!
//! Dicts within the file give their key to the names in them: `{"student": {"conv1.weight": …}}` holds
//! `student.conv1.weight`. Only the dict under `state_dict`, where there is one, is taken without its key
//! and alone, since optimizers and settings stand beside it; unless the same parameters stand there a second
//! time (timm's `state_dict_ema`): then all keep their keys, and who reads chooses.

use crate::{
    tensor::{self, Dtype, Tensor, Tensors},
    unlike,
};
use bytes::Bytes;
use pickle::{Pickle, Storage, TensorShape, Value};
use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;
use zip::Archive;

/// Why a file gives no tensors.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TorchFileError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },

    #[error("cannot use {}: {reason}", path.display())]
    Unusable { path: PathBuf, reason: String },
}

/// Within these modules an error is the sentence that ends [`TorchFileError::Unusable`].
type Result<T> = std::result::Result<T, String>;

macro_rules! ensure {
    ($holds:expr, $($text:tt)*) => {
        if !$holds {
            return Err(format!($($text)*));
        }
    };
}

mod pickle;
mod zip;

/// Every tensor of a state dict by its name, row major whatever its strides were.
pub fn read(path: &Path) -> std::result::Result<Tensors, TorchFileError> {
    let file =
        fs::read(path).map_err(|source| TorchFileError::Read { path: path.into(), source })?;
    let file = Bytes::from(file);
    let tensors = match file[..] {
        [b'P', b'K', 3, 4, ..] => archive(&file),
        [0x80, 2..=5, ..] => before_1_6(&file),
        _ => Err(format!(
            "{}, expected a safetensors file or one of torch.save",
            unlike::weights(&file)
        )),
    };
    tensors.map_err(|reason| TorchFileError::Unusable { path: path.into(), reason })
}

fn archive(file: &Bytes) -> Result<Tensors> {
    let archive = Archive::open(file)?;
    let index = archive.names().find(|name| name.ends_with("/data.pkl"));
    let index = index.ok_or("the archive has no data.pkl")?.to_owned();
    let root = index.trim_end_matches("data.pkl").to_owned();
    ensure!(
        archive.file(&format!("{root}constants.pkl")).is_err(),
        "a program of torch.jit.save, expected tensors by name: torch.save(model.state_dict(), …)"
    );
    if let Ok(order) = archive.file(&format!("{root}byteorder")) {
        let found = String::from_utf8_lossy(order);
        ensure!(order == b"little", "numbers in byte order {found}, expected little");
    }
    named(&pickle::read(archive.file(&index)?)?.value)?
        .into_iter()
        .map(|(name, shape)| {
            let numbers = archive.file(&format!("{root}data/{}", shape.storage.key))?;
            let tensor = gather(&shape, &file.slice_ref(numbers));
            Ok((name.clone(), tensor.map_err(|reason| format!("tensor `{name}`: {reason}"))?))
        })
        .collect()
}

/// Magic number, protocol, machine, tensors, names of the storages; then each storage's length and numbers.
fn before_1_6(file: &Bytes) -> Result<Tensors> {
    let mut rest = &file[..];
    let mut next = || -> Result<Pickle> {
        let pickle = pickle::read(rest)?;
        rest = &rest[pickle.used..];
        Ok(pickle)
    };
    let (_magic, protocol, _machine) = (next()?, next()?.value, next()?);
    ensure!(protocol == Value::Int(1001), "protocol {protocol:?}, expected 1001 of torch.save");
    let Pickle { value, storages, .. } = next()?;
    let tensors = named(&value)?;
    let Value::List(keys) = next()?.value else {
        return Err("no list of storages after the tensors".into());
    };
    let mut numbers = HashMap::new();
    for key in &keys {
        let Value::Text(key) = key else { return Err(format!("a storage named {key:?}")) };
        let storage =
            storages.get(key).ok_or_else(|| format!("storage {key} belongs to no tensor"))?;
        let length = rest.first_chunk::<8>().ok_or("the file ends before its numbers")?;
        let length = u64::from_le_bytes(*length);
        ensure!(
            length == storage.length as u64,
            "storage {key} has {length} numbers, expected {}",
            storage.length
        );
        let (own, after) = storage
            .bytes()
            .and_then(|size| rest[8..].split_at_checked(size))
            .ok_or("the file ends inside its numbers")?;
        numbers.insert(key.clone(), own);
        rest = after;
    }
    tensors
        .into_iter()
        .map(|(name, shape)| {
            let key = &shape.storage.key;
            let numbers = numbers.get(key).ok_or_else(|| format!("no numbers of storage {key}"))?;
            let tensor = gather(&shape, &file.slice_ref(numbers));
            Ok((name.clone(), tensor.map_err(|reason| format!("tensor `{name}`: {reason}"))?))
        })
        .collect()
}

/// The tensors of a dict, and of the dicts in it.
fn named(value: &Value) -> Result<Vec<(String, TensorShape)>> {
    let Value::Dict(entries) = value else {
        return Err(format!(
            "found {}, expected tensors by name: torch.save(model.state_dict(), …)",
            value.what()
        ));
    };
    let mut all = Vec::new();
    collect(entries, "", &mut all);
    if all.is_empty() {
        let one = |(key, value): &(Value, Value)| match key {
            Value::Text(key) => format!("`{key}` ({})", value.what()),
            other => format!("{} ({})", other.what(), value.what()),
        };
        let first: Vec<String> = entries.iter().take(5).map(one).collect();
        let more = if entries.len() > first.len() { ", …" } else { "" };
        let found = match entries.len() {
            0 => "an empty dict".to_owned(),
            n => format!("{n} entries: {}{more}", first.join(", ")),
        };
        return Err(format!(
            "no tensors by name, found {found}; torch.save(model.state_dict(), …) writes them"
        ));
    }
    Ok(all)
}

fn collect(entries: &[(Value, Value)], prefix: &str, all: &mut Vec<(String, TensorShape)>) {
    let state_dict = entries.iter().find_map(|(key, value)| match (key, value) {
        (Value::Text(key), Value::Dict(nested)) if key == "state_dict" => Some(nested),
        _ => None,
    });
    if let Some(nested) = state_dict {
        let (mut own, mut beside) = (Vec::new(), Vec::new());
        collect(nested, prefix, &mut own);
        let is_other = |key: &Value| !matches!(key, Value::Text(key) if key == "state_dict");
        let others = entries.iter().filter(|(key, _)| is_other(key)).cloned().collect::<Vec<_>>();
        collect(&others, prefix, &mut beside);
        if !twice(&own, &beside) {
            return all.append(&mut own);
        }
    }
    for (key, value) in entries {
        match (key, value) {
            (Value::Text(name), Value::Tensor(shape)) => {
                all.push((format!("{prefix}{name}"), shape.clone()));
            }
            (Value::Text(name), Value::Dict(nested)) => {
                collect(nested, &format!("{prefix}{name}."), all);
            }
            _ => {}
        }
    }
}

/// Whether most of the parameters of `own` are in `beside` too, by the ends of their names: prefixes differ.
fn twice(own: &[(String, TensorShape)], beside: &[(String, TensorShape)]) -> bool {
    fn end((name, shape): &(String, TensorShape)) -> (&str, &[usize]) {
        let from = name.rmatch_indices('.').nth(2).map_or(0, |(at, _)| at + 1);
        (&name[from..], &shape.size)
    }
    let there: HashSet<_> = beside.iter().map(end).collect();
    let again = own.iter().filter(|tensor| there.contains(&end(tensor))).count();
    again * 2 > own.len()
}

/// The numbers of a tensor, one after the other in its own order.
fn gather(shape: &TensorShape, numbers: &Bytes) -> Result<Tensor> {
    let Storage { dtype, length, .. } = shape.storage;
    ensure!(
        Some(numbers.len()) == shape.storage.bytes(),
        "{} bytes for {length} numbers of {dtype:?}",
        numbers.len()
    );
    let TensorShape { size, stride, .. } = shape;
    ensure!(size.len() == stride.len(), "sizes {size:?} with strides {stride:?}");
    let count = size.iter().try_fold(1_usize, |product, n| product.checked_mul(*n));
    let count = count.filter(|count| *count <= length);
    let count = count.ok_or_else(|| format!("{size:?} elements in a storage of {length}"))?;
    let element = tensor::size(dtype).expect("storages have types of known size");
    let place = |index: usize| index * element..(index + 1) * element;
    let mut row_major = 1;
    let mut last = Some(shape.offset);
    let mut contiguous = true;
    for (n, stride) in size.iter().zip(stride).rev() {
        contiguous &= *n <= 1 || *stride == row_major;
        row_major = row_major.saturating_mul(*n);
        let step = n.saturating_sub(1).checked_mul(*stride);
        last = last.zip(step).and_then(|(last, step)| last.checked_add(step));
    }
    ensure!(
        count == 0 || last.is_some_and(|last| last < length),
        "sizes {size:?} with strides {stride:?} from {} reach beyond a storage of {length}",
        shape.offset
    );
    let data = if count == 0 {
        Bytes::new()
    } else if contiguous {
        numbers.slice(place(shape.offset).start..place(shape.offset + count - 1).end)
    } else {
        let mut data = Vec::with_capacity(count * element);
        let mut index = vec![0; size.len()];
        let mut at = shape.offset;
        for _ in 0..count {
            data.extend_from_slice(&numbers[place(at)]);
            for axis in (0..size.len()).rev() {
                index[axis] += 1;
                at += stride[axis];
                if index[axis] < size[axis] {
                    break;
                }
                at -= stride[axis] * size[axis];
                index[axis] = 0;
            }
        }
        data.into()
    };
    Tensor::new(dtype, size.clone(), data).map_err(|error| error.to_string())
}

/// What PyTorch calls its storages.
fn dtype(storage: &str) -> Option<Dtype> {
    Some(match storage {
        "FloatStorage" => Dtype::F32,
        "DoubleStorage" => Dtype::F64,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
