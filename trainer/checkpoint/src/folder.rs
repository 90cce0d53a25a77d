//! Reading a folder, also while another process writes it. Nothing here changes a file.
//!
//! A reader never waits and never cleans up: while `state.json.commit` is there the new save counts, so
//! what still lies aside (`*.new`) is read in place of the old; otherwise `*.new` belongs to somebody's
//! unfinished save and is left alone. If the state changed while the files were read, they are read again.

use crate::{
    COMMIT, CONFIG, CheckpointError, MODEL, OPTIMIZER, STATE, State, Tensors, aside, one_line,
    tensor, unlike,
};
use bytes::Bytes;
use graph::CheckpointConfig;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// A checkpoint read back.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Where it was read from.
    pub folder: PathBuf,
    pub config: CheckpointConfig,
    /// The whole of `config.toml`, for its owner's tables.
    pub tables: toml::Table,
    pub weights: Tensors,
    pub state: State,
    /// SHA-256 of `model.safetensors`, hexadecimal.
    pub digest: String,
}

impl Checkpoint {
    /// Reads the save that counts; an error names the file that cannot be used.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let ([model, config], state) = save_of(folder, [MODEL, CONFIG])?;
        let path = folder.join(CONFIG);
        let not_toml = |reason| CheckpointError::NotToml { path: path.clone(), reason };
        let text = str::from_utf8(&config).map_err(|error| not_toml(error.to_string()))?;
        let tables: toml::Table = text.parse().map_err(|error| not_toml(one_line(&error)))?;
        let config: CheckpointConfig = tables.clone().try_into().map_err(|error| {
            CheckpointError::NoNetwork { path: path.clone(), reason: one_line(&error) }
        })?;
        let digest = hex::encode(Sha256::digest(&model));
        let weights = tensor::parse(&model)
            .map_err(|source| CheckpointError::Tensors { path: folder.join(MODEL), source })?;
        Ok(Self { folder: folder.into(), config, tables, weights, state, digest })
    }

    /// Whether it is of a PRIOR model: an image encoder and what it was taught by.
    pub fn is_prior(&self) -> bool {
        self.weights.keys().any(|name| name.starts_with(PRIOR_ENCODER))
    }

    /// Weights of the image encoder by torchvision's names, from a PRIOR model or a network of its own.
    pub fn encoder_weights(&self) -> Tensors {
        let prior = self.is_prior();
        let renamed = |(name, tensor): (&String, &tensor::Tensor)| {
            Some((encoder_name(name, prior)?, tensor.clone()))
        };
        self.weights.iter().filter_map(renamed).collect()
    }
}

const PRIOR_ENCODER: &str = "image_encoder.encoder.";

/// torchvision's name of a parameter; `None` where the checkpoint is a `prior` and `name` is not of its image encoder.
pub fn encoder_name(name: &str, prior: bool) -> Option<String> {
    if !prior {
        return Some(name.to_owned());
    }
    let pool =
        name.strip_prefix("image_encoder.atten_pool.").map(|rest| format!("attnpool.{rest}"));
    name.strip_prefix(PRIOR_ENCODER).map(str::to_owned).or(pool)
}

/// Only where the run stands.
pub fn read_state(folder: &Path) -> Result<State, CheckpointError> {
    save_of(folder, []).map(|([], state)| state)
}

/// The optimizer's state, for a run that goes on.
pub fn read_optimizer(folder: &Path) -> Result<Tensors, CheckpointError> {
    let ([file], _) = save_of(folder, [OPTIMIZER])?;
    tensor::parse(&file)
        .map_err(|source| CheckpointError::Tensors { path: folder.join(OPTIMIZER), source })
}

/// Reads a safetensors file that belongs to no checkpoint.
pub fn read_tensors(path: &Path) -> Result<Tensors, CheckpointError> {
    let file =
        fs::read(path).map_err(|source| CheckpointError::Read { path: path.into(), source })?;
    let unlike = || CheckpointError::Unlike { path: path.into(), found: unlike::weights(&file) };
    if !unlike::begins_as_safetensors(&file) {
        return Err(unlike());
    }
    tensor::parse(&file.into())
        .map_err(|source| CheckpointError::Tensors { path: path.into(), source })
}

/// Whether a file begins as safetensors do, whatever its name ends with.
pub fn is_safetensors(path: &Path) -> io::Result<bool> {
    let mut begin = Vec::new();
    File::open(path)?.take(9).read_to_end(&mut begin)?;
    Ok(unlike::begins_as_safetensors(&begin))
}

/// Whether `folder` holds a checkpoint, possibly of an interrupted save.
pub fn exists(folder: &Path) -> bool {
    folder.join(STATE).exists() || folder.join(COMMIT).exists()
}

/// How often a folder that changes under the reader's hands is read again.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(20);

/// The bytes of these files and the state, all of one save.
fn save_of<const N: usize>(
    folder: &Path,
    names: [&str; N],
) -> Result<([Bytes; N], State), CheckpointError> {
    if !folder.is_dir() {
        let found = if folder.exists() { "a file" } else { "nothing" };
        return Err(CheckpointError::NoFolder { folder: folder.into(), found });
    }
    for _ in 0..TRIES {
        let before = StateFile::read(folder)?;
        let files = names.iter().map(|name| read(folder, name, before.committed));
        let files: Result<Vec<Bytes>, CheckpointError> = files.collect();
        if StateFile::read(folder)? == before {
            let state = serde_json::from_slice(&before.bytes)
                .map_err(|source| CheckpointError::State { path: folder.join(STATE), source })?;
            let files = files?.try_into().expect("as many files as names");
            return Ok((files, state));
        }
        thread::sleep(PAUSE);
    }
    Err(CheckpointError::Busy { folder: folder.into() })
}

/// Which save counts. A new one is another file, so it is told from the old even if it says the same.
#[derive(PartialEq)]
struct StateFile {
    bytes: Vec<u8>,
    committed: bool,
    file: [u64; 2],
}

impl StateFile {
    fn read(folder: &Path) -> Result<Self, CheckpointError> {
        // Between the two looks a writer may have renamed one to the other, so the first is taken twice.
        for (name, committed) in [(COMMIT, true), (STATE, false), (COMMIT, true)] {
            let path = folder.join(name);
            let read = || -> io::Result<Self> {
                let mut open = File::open(&path)?;
                let meta = open.metadata()?;
                let mut bytes = Vec::new();
                open.read_to_end(&mut bytes)?;
                Ok(Self { bytes, committed, file: [meta.dev(), meta.ino()] })
            };
            match read() {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(source) => return Err(CheckpointError::Read { path, source }),
                Ok(state) => return Ok(state),
            }
        }
        let source = io::Error::from(ErrorKind::NotFound);
        Err(CheckpointError::Read { path: folder.join(STATE), source })
    }
}

fn read(folder: &Path, name: &str, committed: bool) -> Result<Bytes, CheckpointError> {
    if committed {
        match fs::read(folder.join(aside(name))) {
            Err(error) if error.kind() == ErrorKind::NotFound => {} // renamed already
            Err(source) => {
                return Err(CheckpointError::Read { path: folder.join(aside(name)), source });
            }
            Ok(bytes) => return Ok(bytes.into()),
        }
    }
    let path = folder.join(name);
    fs::read(&path).map(Bytes::from).map_err(|source| CheckpointError::Read { path, source })
}
