//! Which defects of the released code are reproduced: with them its weights and figures can be checked, and nothing else
//! should be trained with them. What each is, and what happens without it: `trainer/docs/quirks.md`.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::fmt;

/// `released_quirks` of a configuration: `true`, `false`, or a table that names single ones, `{ layout = true }`.
///
/// `true` is [`Self::RELEASED`]: all but `noise`, which makes answers differ from one call to the next and so has to be
/// asked for by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct Quirks {
    /// Places are a feature map reshaped without a transpose; released weights need it.
    pub layout: bool,
    /// Sentences are matched by a permutation instead of its inverse.
    pub matching: bool,
    /// The sentence decoder is causal.
    pub causal: bool,
    /// Prototypes are mixed with Gumbel noise in evaluation too.
    pub noise: bool,
    /// Logit scales may pass 100.
    pub unclamped: bool,
    /// Sentences are joined without a space, and a report that is cut loses its `[SEP]`.
    pub joined: bool,
    /// Zero-shot multiplies global similarities by the logarithm of their scale.
    pub scale: bool,
    /// `[SEP]` takes part in the mean of a prompt.
    pub prompt: bool,
    /// Zero-shot normalises images by CheXpert's mean and deviation, not by those of training.
    pub normalisation: bool,
    /// Images are rotated to the nearest pixel.
    pub nearest: bool,
    /// τ falls once over all stages with prototypes, not in each.
    pub tau: bool,
    /// The warm-up reaches its peak a step early.
    pub warm_up: bool,
    /// Pairs that fill no batch make a smaller one at the end of an epoch.
    pub last_batch: bool,
}

impl Quirks {
    pub const RELEASED: Self = Self {
        layout: true,
        matching: true,
        causal: true,
        noise: false,
        unclamped: true,
        joined: true,
        scale: true,
        prompt: true,
        normalisation: true,
        nearest: true,
        tau: true,
        warm_up: true,
        last_batch: true,
    };
}

// `remote` makes functions of the table's form, which these add `true` and `false` to.
impl Serialize for Quirks {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if *self == Self::RELEASED || *self == Self::default() {
            return to.serialize_bool(*self == Self::RELEASED);
        }
        Self::serialize(self, to)
    }
}

impl<'a> Deserialize<'a> for Quirks {
    fn deserialize<D: Deserializer<'a>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'a> Visitor<'a> for Either {
            type Value = Quirks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a table of single quirks")
            }

            fn visit_bool<E>(self, all: bool) -> Result<Quirks, E> {
                Ok(if all { Quirks::RELEASED } else { Quirks::default() })
            }

            fn visit_map<M: MapAccess<'a>>(self, map: M) -> Result<Quirks, M::Error> {
                Quirks::deserialize(MapAccessDeserializer::new(map))
            }
        }
        from.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Model {
        released_quirks: Quirks,
    }

    #[test]
    fn quirks_are_all_none_or_named_ones_and_read_back_as_written() {
        let read = |value: &str| toml::from_str::<Model>(&format!("released_quirks = {value}"));
        assert_eq!(read("true").unwrap().released_quirks, Quirks::RELEASED);
        assert_eq!(read("false").unwrap().released_quirks, Quirks::default());
        let layout = read("{ layout = true }").unwrap();
        assert_eq!(layout.released_quirks, Quirks { layout: true, ..Quirks::default() });
        for model in [read("true").unwrap(), read("false").unwrap(), layout] {
            let text = toml::to_string(&model).unwrap();
            assert_eq!(toml::from_str::<Model>(&text).unwrap(), model, "{text}");
        }
        // As checkpoints of before say it.
        assert_eq!(toml::to_string(&read("true").unwrap()).unwrap(), "released_quirks = true\n");
        assert!(!read("true").unwrap().released_quirks.noise, "noise is only asked for by name");
        for (value, complaint) in [("{ layuot = true }", "layuot"), ("3", "true, false or a table")]
        {
            let error = read(value).unwrap_err().to_string();
            assert!(error.contains(complaint), "{error}");
        }
    }
}
