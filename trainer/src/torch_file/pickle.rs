//! Python's pickle format as far as tensors need it. Nothing named in a file is ever called: what this does not know
//! stays a [`Value::Other`].

use super::kind;
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;
use tch::Kind;

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
    pub(super) kind: Kind,
    pub(super) length: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct TensorShape {
    pub(super) storage: Storage,
    pub(super) offset: i64,
    pub(super) size: Vec<i64>,
    pub(super) stride: Vec<i64>,
}

impl Storage {
    /// `None` for more than there can be.
    pub(super) fn bytes(&self) -> Option<usize> {
        self.length.checked_mul(self.kind.elt_size_in_bytes())
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

    fn int(&self) -> Result<i64> {
        match self {
            Self::Int(number) => Ok(*number),
            other => bail!("{}, expected a number", other.what()),
        }
    }

    fn ints(&self) -> Result<Vec<i64>> {
        match self {
            Self::Tuple(all) | Self::List(all) => all.iter().map(Self::int).collect(),
            other => bail!("{}, expected numbers", other.what()),
        }
    }
}

/// The value at the beginning of `bytes`, and how many of them it took.
pub(super) fn read(bytes: &[u8]) -> Result<(Value, usize)> {
    let mut reader =
        Reader { bytes, at: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    while !reader.step().with_context(|| format!("pickle, byte {}", reader.at))? {}
    Ok((reader.pop()?, reader.at))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
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
            b'X' => self.text(4)?,
            0x8c => self.text(1)?,
            b'}' => self.stack.push(Value::Dict(Vec::new())),
            b']' => self.stack.push(Value::List(Vec::new())),
            b')' => self.stack.push(Value::Tuple(Vec::new())),
            b't' => {
                let all = self.marked()?;
                self.stack.push(Value::Tuple(all));
            }
            0x85..=0x87 => {
                let from = self
                    .stack
                    .len()
                    .checked_sub(usize::from(code - 0x84))
                    .context("too few values")?;
                let all = self.stack.split_off(from);
                self.stack.push(Value::Tuple(all));
            }
            b'a' | b'e' | b's' | b'u' => self.fill(code)?,
            b'q' | b'r' | 0x94 => self.remember(code)?,
            b'h' | b'j' => self.recall(code)?,
            b'c' => {
                let name = format!("{} {}", self.line()?, self.line()?);
                self.stack.push(Value::Global(name));
            }
            0x93 => {
                let (Value::Text(name), Value::Text(module)) = (self.pop()?, self.pop()?) else {
                    bail!("a name that is no text");
                };
                self.stack.push(Value::Global(format!("{module} {name}")));
            }
            b'Q' => {
                let id = self.pop()?;
                self.stack.push(storage(&id)?);
            }
            b'R' | 0x81 => {
                let (arguments, what) = (self.pop()?, self.pop()?);
                self.stack.push(call(&what, arguments)?);
            }
            b'b' => drop(self.pop()?), // attributes of an object: no tensor hides there
            other => bail!("instruction {other:#04x} is not one tensors need"),
        }
        Ok(false)
    }

    fn take(&mut self, n: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len());
        let taken = &self.bytes[self.at..end.context("the file ends inside a pickle")?];
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
        let text =
            String::from_utf8(self.take(length)?.to_vec()).context("a text that is not UTF-8")?;
        self.stack.push(Value::Text(text));
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n').context("a name without end")?;
        let line = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + 1;
        Ok(line)
    }

    fn pop(&mut self) -> Result<Value> {
        self.stack.pop().context("too few values")
    }

    /// Everything above the last mark.
    fn marked(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len()).context("no mark")?;
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
        match self.stack.last_mut().context("nothing to fill")? {
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
        let value = self.stack.last().context("nothing to remember")?.clone();
        self.memo.insert(key, value);
        Ok(())
    }

    fn recall(&mut self, code: u8) -> Result<()> {
        let key = self.unsigned(if code == b'h' { 1 } else { 4 })?;
        let value = self.memo.get(&key).with_context(|| format!("nothing remembered as {key}"))?;
        self.stack.push(value.clone());
        Ok(())
    }
}

/// `('storage', torch.FloatStorage, key, device, length)`, before 1.6 with a sixth for views.
fn storage(id: &Value) -> Result<Value> {
    let Value::Tuple(parts) = id else { bail!("a storage described by {}", id.what()) };
    let [Value::Text(what), Value::Global(class), Value::Text(key), _, length, rest @ ..] =
        &parts[..]
    else {
        bail!("a storage described by {} parts", parts.len());
    };
    ensure!(what == "storage", "`{what}`, expected a storage");
    ensure!(rest.iter().all(|view| *view == Value::None), "storage {key} is a view of another");
    let name = class.split(' ').next_back().unwrap_or_default();
    let kind =
        kind(name).with_context(|| format!("storage {key} is a {name}, which is not known"))?;
    let length = usize::try_from(length.int()?).context("a storage of negative length")?;
    Ok(Value::Storage(Storage { key: key.clone(), kind, length }))
}

/// What calling `what` would make.
fn call(what: &Value, arguments: Value) -> Result<Value> {
    let (Value::Global(name), Value::Tuple(arguments)) = (what, arguments) else {
        return Ok(Value::Other);
    };
    match (name.as_str(), &arguments[..]) {
        (
            "torch._utils _rebuild_tensor_v2" | "torch._utils _rebuild_tensor",
            [Value::Storage(storage), offset, size, stride, ..],
        ) => Ok(Value::Tensor(TensorShape {
            storage: storage.clone(),
            offset: offset.int()?,
            size: size.ints()?,
            stride: stride.ints()?,
        })),
        ("torch._utils _rebuild_parameter", [tensor @ Value::Tensor(_), ..]) => Ok(tensor.clone()),
        ("collections OrderedDict", []) => Ok(Value::Dict(Vec::new())),
        _ => Ok(Value::Other),
    }
}
