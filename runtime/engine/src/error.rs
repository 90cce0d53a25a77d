use thiserror::Error;

/// Why a network cannot be loaded or run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    #[error("not a usable ONNX model: {reason}")]
    Onnx { reason: String },

    #[error("node `{node}` ({op}): {reason}")]
    Node { node: String, op: String, reason: String },

    #[error(
        "node `{node}` ({op}) would run in float, and the manifest does not declare it; \
         expected int8 between QuantizeLinear and DequantizeLinear"
    )]
    Float { node: String, op: String },

    #[error("{what} needs {found}, the limit is {limit}")]
    TooLarge { what: String, found: u64, limit: u64 },

    #[error("{found} input values, expected {expected} ({shape:?})")]
    Input { found: usize, expected: usize, shape: Vec<usize> },

    #[error("input value {at} is {found}, expected a finite number")]
    NotFinite { at: usize, found: f32 },

    #[error("{reason}")]
    Isa { reason: String },

    #[error("tract: {reason}")]
    Tract { reason: String },

    #[error("the bundle cannot be used")]
    Bundle {
        #[from]
        source: bundle::BundleError,
    },

    #[error("the bundle has language, but its network has no output `{output}`")]
    NoLanguage { output: &'static str },

    #[error(
        "the network has output `{output}`, but the bundle's language not what places usually say"
    )]
    NoUsual { output: &'static str },

    #[error("the bundle's language cannot be used")]
    Language {
        #[from]
        source: language::LanguageError,
    },

    #[error("the bundle and its packs do not fit")]
    Packs {
        #[from]
        source: language::PackError,
    },

    #[error("output `{name}` is not quantized, expected int8 behind a DequantizeLinear")]
    NotQuantized { name: String },

    #[error("the network has no output `{name}`, it has {found:?}")]
    Output { name: String, found: Vec<String> },

    #[error("output `{name}` has shape {found:?}, expected {expected}")]
    OutputShape { name: String, found: Vec<usize>, expected: String },

    #[error(
        "output `{name}` holds {found}, expected a probability from 0 to 1: is its activation sigmoid or softmax?"
    )]
    Probability { name: String, found: f32 },
}
