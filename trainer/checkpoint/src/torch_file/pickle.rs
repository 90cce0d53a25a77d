//! Python's pickle format as far as tensors need it. Nothing named in a file is ever called: what this does not know
//! stays a [`Value::Other`].

use super::{Result, dtype};
use crate::tensor::{self, Dtype};
use std::collections::HashMap;

/// Dicts in lists in tuples: a state dict needs three or four.
const DEEPEST: usize = 64;

/// What a pickle describes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<Self>),
    Tuple(Vec<Self>),
    Dict(Vec<(Self, Self)>),
    /// `module name`
    Global(String),
    Storage(Storage),
    Tensor(TensorShape),
    /// Objects, large numbers, floats.
    Other,
}

/// Numbers that lie elsewhere in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    pub(super) key: String,
    pub(super) dtype: Dtype,
    pub(super) length: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct TensorShape {
    pub(super) storage: Storage,
    /// In numbers, as the strides.
    pub(super) offset: usize,
    pub(super) size: Vec<usize>,
    pub(super) stride: Vec<usize>,
}

impl Storage {
    /// `None` for more than there can be.
    pub(super) fn bytes(&self) -> Option<usize> {
        self.length.checked_mul(tensor::size(self.dtype)?)
    }
}

impl Value {
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Bool(_) | Self::Int(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) | Self::Tuple(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Tensor(_) => "a single tensor",
            Self::Global(_) | Self::Storage(_) | Self::Other => "an object of Python",
        }
    }

    fn size(&self) -> Result<usize> {
        match self {
            Self::Int(number) => {
                usize::try_from(*number).map_err(|_| format!("{number}, expected 0 or more"))
            }
            other => Err(format!("{}, expected a number", other.what())),
        }
    }

    fn sizes(&self) -> Result<Vec<usize>> {
        match self {
            Self::Tuple(all) | Self::List(all) => all.iter().map(Self::size).collect(),
            other => Err(format!("{}, expected numbers", other.what())),
        }
    }

    fn children(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        match self {
            Self::List(all) | Self::Tuple(all) => Box::new(all.iter()),
            Self::Dict(all) => Box::new(all.iter().flat_map(|(key, value)| [key, value])),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// 1 for a value without others in it.
    fn depth(&self) -> usize {
        1 + self.children().map(Self::depth).max().unwrap_or(0)
    }

    /// How many values it is made of.
    fn count(&self) -> usize {
        1 + self.children().map(Self::count).sum::<usize>()
    }
}

/// What one pickle holds.
pub(super) struct Pickle {
    pub(super) value: Value,
    /// Bytes it took.
    pub(super) used: usize,
    /// Every storage it names, also those of objects that became [`Value::Other`].
    pub(super) storages: HashMap<String, Storage>,
}

/// The pickle at the beginning of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle> {
    let mut reader = Reader {
        bytes,
        at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        storages: HashMap::new(),
        copies: bytes.len().saturating_mul(16),
    };
    loop {
        let ended = reader.step();
        if ended.map_err(|reason| format!("pickle, byte {}: {reason}", reader.at))? {
            let value = reader.pop()?;
            return Ok(Pickle { value, used: reader.at, storages: reader.storages });
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    storages: HashMap<String, Storage>,
    /// Values that may still be copied out of the memory: a small file must not become a large one.
    copies: usize,
}

impl Reader<'_> {
    /// One instruction; `true` at the end.
    fn step(&mut self) -> Result<bool> {
        let code = self.take(1)?[0];
        match code {
            0x80 => self.skip(1)?, // protocol
            0x95 => self.skip(8)?, // frame
            b'.' => return Ok(true),
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Bool(code == 0x88)),
            b'J' => self.number(4)?,
            b'K' => self.number(1)?,
            b'M' => self.number(2)?,
            0x8a => self.long()?,
            b'G' => {
                self.skip(8)?;
                self.stack.push(Value::Other);
            }
            b'X' | b'T' => self.text(4)?,
            0x8c | b'U' => self.text(1)?,
            b'C' | b'B' | 0x8e => self.bytes(code)?,
            b'0' => drop(self.pop()?),
            b'1' => drop(self.marked()?),
            b'}' => self.stack.push(Value::Dict(Vec::new())),
            b']' => self.stack.push(Value::List(Vec::new())),
            b')' => self.stack.push(Value::Tuple(Vec::new())),
            0x8f => self.stack.push(Value::Other), // a set; 0x90 fills it, 0x91 freezes it
            0x91 => {
                self.marked()?;
                self.stack.push(Value::Other);
            }
            b't' => {
                let all = self.marked()?;
                self.push_tuple(all)?;
            }
            0x85..=0x87 => {
                let from = self
                    .stack
                    .len()
                    .checked_sub(usize::from(code - 0x84))
                    .ok_or("too few values")?;
                let all = self.stack.split_off(from);
                self.push_tuple(all)?;
            }
            b'a' | b'e' | b's' | b'u' | 0x90 => self.fill(code)?,
            b'q' | b'r' | 0x94 => self.remember(code)?,
            b'h' | b'j' => self.recall(code)?,
            b'c' => {
                let name = format!("{} {}", self.line()?, self.line()?);
                self.stack.push(Value::Global(name));
            }
            0x93 => {
                let (Value::Text(name), Value::Text(module)) = (self.pop()?, self.pop()?) else {
                    return Err("a name that is no text".into());
                };
                self.stack.push(Value::Global(format!("{module} {name}")));
            }
            b'Q' => {
                let storage = storage(&self.pop()?)?;
                self.storages.insert(storage.key.clone(), storage.clone());
                self.stack.push(Value::Storage(storage));
            }
            b'R' | 0x81 => {
                let (arguments, what) = (self.pop()?, self.pop()?);
                self.stack.push(call(&what, arguments)?);
            }
            0x92 => {
                let (_, _, _) = (self.pop()?, self.pop()?, self.pop()?);
                self.stack.push(Value::Other);
            }
            b'b' => drop(self.pop()?), // attributes of an object: no tensor hides there
            other => return Err(format!("instruction {other:#04x} is not one tensors need")),
        }
        Ok(false)
    }

    fn take(&mut self, n: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len());
        let taken = &self.bytes[self.at..end.ok_or("the file ends inside a pickle")?];
        self.at += n;
        Ok(taken)
    }

    fn skip(&mut self, n: usize) -> Result<()> {
        self.take(n).map(|_| ())
    }

    /// Little-endian, without sign but for four bytes.
    fn number(&mut self, size: usize) -> Result<()> {
        let number = self.unsigned(size)?;
        let number = if size == 4 { i64::from(number as u32 as i32) } else { number as i64 };
        self.stack.push(Value::Int(number));
        Ok(())
    }

    fn unsigned(&mut self, size: usize) -> Result<u64> {
        Ok(self.take(size)?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// Signed, of any length; more than eight bytes are only ever the magic number.
    fn long(&mut self) -> Result<()> {
        let size = self.unsigned(1)? as usize;
        let bytes = self.take(size)?;
        let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
        let number =
            bytes.iter().rev().fold(sign, |number: i64, &byte| number << 8 | i64::from(byte));
        self.stack.push(if size <= 8 { Value::Int(number) } else { Value::Other });
        Ok(())
    }

    fn text(&mut self, size: usize) -> Result<()> {
        let length = self.unsigned(size)? as usize;
        let text = String::from_utf8(self.take(length)?.to_vec());
        self.stack.push(Value::Text(text.map_err(|_| "a text that is not UTF-8")?));
        Ok(())
    }

    /// Bytes that are neither text nor a tensor's.
    fn bytes(&mut self, code: u8) -> Result<()> {
        let size = match code {
            b'C' => 1,
            b'B' => 4,
            _ => 8,
        };
        let length = usize::try_from(self.unsigned(size)?).map_err(|_| "too many bytes")?;
        self.skip(length)?;
        self.stack.push(Value::Other);
        Ok(())
    }

    fn push_tuple(&mut self, all: Vec<Value>) -> Result<()> {
        let tuple = Value::Tuple(all);
        ensure!(tuple.depth() <= DEEPEST, "values in values, {DEEPEST} deep");
        self.stack.push(tuple);
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or("a name without end")?;
        let line = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + 1;
        Ok(line)
    }

    fn pop(&mut self) -> Result<Value> {
        self.stack.pop().ok_or_else(|| "too few values".into())
    }

    /// Everything above the last mark.
    fn marked(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len()).ok_or("no mark")?;
        Ok(self.stack.split_off(mark))
    }

    /// Into the list or dict below, one (`a`, `s`) or all above the mark (`e`, `u`).
    fn fill(&mut self, code: u8) -> Result<()> {
        let new = match code {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.marked()?,
        };
        let depth = new.iter().map(Value::depth).max().unwrap_or(0);
        ensure!(depth < DEEPEST, "values in values, {DEEPEST} deep");
        match self.stack.last_mut().ok_or("nothing to fill")? {
            Value::List(list) => list.extend(new),
            Value::Dict(dict) => {
                ensure!(new.len() % 2 == 0, "a key without a value");
                let mut new = new.into_iter();
                while let (Some(key), Some(value)) = (new.next(), new.next()) {
                    dict.push((key, value));
                }
            }
            _ => {} // an object with entries of its own
        }
        Ok(())
    }

    fn remember(&mut self, code: u8) -> Result<()> {
        let key = match code {
            b'q' => self.unsigned(1)?,
            b'r' => self.unsigned(4)?,
            _ => self.memo.len() as u64,
        };
        let value = self.stack.last().ok_or("nothing to remember")?.clone();
        self.spend(value.count())?;
        self.memo.insert(key, value);
        Ok(())
    }

    fn recall(&mut self, code: u8) -> Result<()> {
        let key = self.unsigned(if code == b'h' { 1 } else { 4 })?;
        let value = self.memo.get(&key).ok_or_else(|| format!("nothing remembered as {key}"))?;
        let value = value.clone();
        self.spend(value.count())?;
        self.stack.push(value);
        Ok(())
    }

    fn spend(&mut self, values: usize) -> Result<()> {
        let left = self.copies.checked_sub(values);
        self.copies = left.ok_or("more copies than a state dict has")?;
        Ok(())
    }
}

/// `('storage', torch.FloatStorage, key, device, length)`, before 1.6 with a sixth for views.
fn storage(id: &Value) -> Result<Storage> {
    let Value::Tuple(parts) = id else {
        return Err(format!("a storage described by {}", id.what()));
    };
    let [Value::Text(what), Value::Global(class), Value::Text(key), _, length, rest @ ..] =
        &parts[..]
    else {
        return Err(format!("a storage described by {} parts", parts.len()));
    };
    ensure!(what == "storage", "`{what}`, expected a storage");
    ensure!(rest.iter().all(|view| *view == Value::None), "storage {key} is a view of another");
    let name = class.split(' ').next_back().unwrap_or_default();
    let dtype =
        dtype(name).ok_or_else(|| format!("storage {key} is a {name}, which is not known"))?;
    Ok(Storage { key: key.clone(), dtype, length: length.size()? })
}

/// What calling `what` would make.
fn call(what: &Value, arguments: Value) -> Result<Value> {
    let (Value::Global(name), Value::Tuple(arguments)) = (what, arguments) else {
        return Ok(Value::Other);
    };
    match (name.as_str(), &arguments[..]) {
        (
            "torch._utils _rebuild_tensor_v2" | "torch._utils _rebuild_tensor",
            [Value::Storage(storage), offset, size, stride, rest @ ..],
        ) => {
            // After requires_grad and hooks: marks that change what the numbers mean.
            if let Some(Value::Dict(marks)) = rest.get(2)
                && !marks.is_empty()
            {
                return Err(format!(
                    "a tensor of storage {} is stored negated or conjugated, expected its numbers: save a clone() of it",
                    storage.key
                ));
            }
            Ok(Value::Tensor(TensorShape {
                storage: storage.clone(),
                offset: offset.size()?,
                size: size.sizes()?,
                stride: stride.sizes()?,
            }))
        }
        (
            "torch._utils _rebuild_parameter" | "torch._utils _rebuild_parameter_with_state",
            [tensor @ Value::Tensor(_), ..],
        ) => Ok(tensor.clone()),
        ("collections OrderedDict", []) => Ok(Value::Dict(Vec::new())),
        ("collections OrderedDict", [Value::List(pairs)]) => Ok(Value::Dict(
            pairs
                .iter()
                .filter_map(|pair| match pair {
                    Value::List(pair) | Value::Tuple(pair) => match &pair[..] {
                        [key, value] => Some((key.clone(), value.clone())),
                        _ => None,
                    },
                    _ => None,
                })
                .collect(),
        )),
        _ => Ok(Value::Other),
    }
}
