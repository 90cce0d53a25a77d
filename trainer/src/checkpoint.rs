//! Checkpoints as libtorch's tensors. The folder itself is crate `checkpoint`'s business.

pub use ::checkpoint::{Stage, State, exists, one_line, read_state as load_state};

use ::checkpoint::{Dtype, Tensors, View, encoder_name};
use anyhow::{Context, Result, bail};
use graph::CheckpointConfig;
use std::{borrow::Cow, collections::HashMap, path::Path};
use tch::{Device, Kind, Tensor, nn};

/// A checkpoint read back.
#[derive(Debug)]
pub struct Checkpoint {
    pub config: CheckpointConfig,
    /// The whole of `config.toml`, for its owner's tables.
    pub tables: toml::Table,
    /// On the CPU.
    pub weights: HashMap<String, Tensor>,
    pub state: State,
    /// SHA-256 of `model.safetensors`, hexadecimal.
    pub digest: String,
}

/// Writes a checkpoint into `folder`, replacing what is there only once it is complete.
///
/// `tables` must hold `[model]` and `[preprocess]`; see [`config_tables`].
pub fn save(
    folder: &Path,
    weights: &[(String, Tensor)],
    tables: &toml::Table,
    state: &State,
    optimizer: Option<&[(String, Tensor)]>,
) -> Result<()> {
    let stored = |list: &[(String, Tensor)]| -> Result<Vec<(String, Stored)>> {
        let one = |(name, tensor): &(String, Tensor)| {
            let tensor = tensor.to_device(Device::Cpu).contiguous();
            let dtype = KINDS.iter().find(|(kind, _)| *kind == tensor.kind());
            let (_, dtype) = dtype.with_context(|| format!("cannot store {:?}", tensor.kind()))?;
            let shape = tensor.size().iter().map(|&n| n as usize).collect();
            Ok((name.clone(), Stored { tensor, dtype: *dtype, shape }))
        };
        list.iter().map(one).collect()
    };
    let optimizer = optimizer.map(stored).transpose()?;
    Ok(::checkpoint::save(folder, stored(weights)?, tables, state, optimizer)?)
}

/// Reads the save that counts and changes nothing, so that another process may be saving meanwhile.
pub fn load(folder: &Path) -> Result<Checkpoint> {
    let saved = ::checkpoint::Checkpoint::open(folder)?;
    Ok(Checkpoint {
        weights: tensors(&saved.weights)?,
        config: saved.config,
        tables: saved.tables,
        state: saved.state,
        digest: saved.digest,
    })
}

/// The optimizer's state, for a run that goes on.
pub fn load_optimizer(folder: &Path) -> Result<HashMap<String, Tensor>> {
    tensors(&::checkpoint::read_optimizer(folder)?)
}

/// Weights of an image encoder by torchvision's names, whether the checkpoint is a PRIOR model
/// (`image_encoder.encoder.*`) or already a network of its own.
pub fn encoder_weights(checkpoint: &Checkpoint) -> HashMap<String, Tensor> {
    let prior = checkpoint.weights.keys().any(|name| name.starts_with("image_encoder.encoder."));
    checkpoint
        .weights
        .iter()
        .filter_map(|(name, tensor)| Some((encoder_name(name, prior)?, tensor.shallow_clone())))
        .collect()
}

/// `[model]` and `[preprocess]`, to which the owner adds its own tables.
pub fn config_tables(config: &CheckpointConfig) -> toml::Table {
    toml::Table::try_from(config).expect("a checkpoint's configuration has string keys only")
}

/// The store's variables, sorted by name, on the CPU, in memory order.
pub fn variables(store: &nn::VarStore) -> Vec<(String, Tensor)> {
    let mut all: Vec<_> = store
        .variables()
        .into_iter()
        .map(|(name, tensor)| (name, tensor.detach().to_device(Device::Cpu).contiguous()))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Copies `weights` into the store. Every variable `wanted` says yes to must be there in its shape; the
/// others, and weights the store does not know, are left alone.
pub fn assign(
    store: &nn::VarStore,
    weights: &HashMap<String, Tensor>,
    wanted: impl Fn(&str) -> bool,
) -> Result<()> {
    let mut variables: Vec<_> = store.variables().into_iter().filter(|(n, _)| wanted(n)).collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, variable) in &variables {
        let Some(found) = weights.get(name) else {
            bail!("`{name}` of shape {:?} is missing", variable.size());
        };
        if found.size() != variable.size() {
            bail!("`{name}` is {:?}, expected {:?}", found.size(), variable.size());
        }
    }
    tch::no_grad(|| {
        for (name, variable) in variables {
            variable.shallow_clone().copy_(&weights[&name]);
        }
    });
    Ok(())
}

/// Every tensor of a safetensors file.
pub fn read_tensors(path: &Path) -> Result<HashMap<String, Tensor>> {
    tensors(&::checkpoint::read_tensors(path)?)
}

/// Every tensor of a file of `torch.save`.
pub fn read_torch_file(path: &Path) -> Result<HashMap<String, Tensor>> {
    tensors(&::checkpoint::torch_file::read(path)?)
}

fn tensors(all: &Tensors) -> Result<HashMap<String, Tensor>> {
    all.iter()
        .map(|(name, tensor)| {
            let kind = KINDS.iter().find(|(_, dtype)| *dtype == tensor.dtype());
            let (kind, _) = kind
                .with_context(|| format!("`{name}` is {:?}, which is not known", tensor.dtype()))?;
            let shape: Vec<i64> = tensor.shape().iter().map(|&n| n as i64).collect();
            let ours = Tensor::f_from_data_size(tensor.bytes(), &shape, *kind);
            Ok((name.clone(), ours.with_context(|| format!("`{name}`"))?))
        })
        .collect()
}

/// A tensor on its way into a file: on the CPU, in memory order.
struct Stored {
    tensor: Tensor,
    dtype: Dtype,
    shape: Vec<usize>,
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut data = vec![0; self.data_len()];
        self.tensor.copy_data_u8(&mut data, self.tensor.numel());
        data.into()
    }

    fn data_len(&self) -> usize {
        self.tensor.numel() * self.tensor.kind().elt_size_in_bytes()
    }
}

/// Types that files and libtorch both know.
const KINDS: [(Kind, Dtype); 10] = [
    (Kind::Float, Dtype::F32),
    (Kind::Double, Dtype::F64),
    (Kind::Half, Dtype::F16),
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Int64, Dtype::I64),
    (Kind::Int, Dtype::I32),
    (Kind::Int16, Dtype::I16),
    (Kind::Int8, Dtype::I8),
    (Kind::Uint8, Dtype::U8),
    (Kind::Bool, Dtype::BOOL),
];

#[cfg(test)]
mod tests {
    use super::*;
    use graph::{Backbone, ModelConfig, Pool, Preprocess};

    fn tables() -> toml::Table {
        let model = ModelConfig::encoder(Backbone::Resnet18, Pool::Mean);
        config_tables(&CheckpointConfig { model, preprocess: Preprocess::PRIOR })
    }

    #[test]
    fn every_type_of_number_survives_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let numbers = Tensor::from_slice(&[0_i64, 1, 1, 0, 1, 0]).view([2, 3]);
        let all: Vec<(String, Tensor)> = KINDS
            .iter()
            .map(|(kind, dtype)| (format!("{dtype:?}"), numbers.to_kind(*kind).transpose(0, 1)))
            .collect();
        let state = State { step: 7, seed: Some(3), ..State::default() };
        save(folder.path(), &all, &tables(), &state, Some(&all[..1])).unwrap();
        let checkpoint = load(folder.path()).unwrap();
        assert_eq!(checkpoint.state, state);
        assert_eq!(checkpoint.weights.len(), KINDS.len());
        for (name, tensor) in &all {
            let read = &checkpoint.weights[name];
            assert!(read.kind() == tensor.kind() && read.equal(tensor), "{name}");
        }
        assert_eq!(load_optimizer(folder.path()).unwrap().len(), 1);
    }

    #[test]
    fn assigning_names_what_does_not_fit() {
        let store = nn::VarStore::new(Device::Cpu);
        let _ = store.root().zeros("w", &[3]);
        let weights: HashMap<_, _> =
            [("w".to_owned(), Tensor::ones([2], (Kind::Float, Device::Cpu)))].into();
        let error = assign(&store, &weights, |_| true).unwrap_err().to_string();
        assert_eq!(error, "`w` is [2], expected [3]");
        let _ = store.root().zeros("v", &[1]);
        let error = assign(&store, &weights, |name| name == "v").unwrap_err().to_string();
        assert_eq!(error, "`v` of shape [1] is missing");
    }

    #[test]
    fn a_prior_checkpoint_gives_an_encoder_with_torchvisions_names() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["image_encoder.encoder.conv1.weight", "image_encoder.atten_pool.c_proj.bias"];
        let weights = names.map(|name| (name.to_owned(), Tensor::from(1.0)));
        save(folder.path(), &weights, &tables(), &State::default(), None).unwrap();
        let mut names: Vec<_> =
            encoder_weights(&load(folder.path()).unwrap()).into_keys().collect();
        names.sort();
        assert_eq!(names, ["attnpool.c_proj.bias", "conv1.weight"]);
    }
}
