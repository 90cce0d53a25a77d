//! What a run leaves behind, in one folder, whole at any moment.
//!
//! ```text
//! model.safetensors       weights by name
//! config.toml             [model] and [preprocess] (graph::CheckpointConfig) and the owner's tables
//! state.json              where the run stands: step, epoch, stage, seed, digest of the data
//! optimizer.safetensors   only where a run can be resumed
//! ```
//!
//! Saving writes every file aside and syncs it; renaming `state.json` to `state.json.commit` is the moment
//! the new checkpoint counts. A process killed before leaves the old one, a process killed after leaves
//! renames that [`load`] finishes.

use anyhow::{Context, Result, bail, ensure};
use graph::CheckpointConfig;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};
use tch::{Device, Tensor, nn};

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const CONFIG: &str = "config.toml";
const STATE: &str = "state.json";
const COMMIT: &str = "state.json.commit";

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Optimizer steps taken over all stages.
    pub step: u64,
    /// Epochs finished, counted within the stage.
    pub epoch: u64,
    #[serde(default)]
    pub stage: usize,
    pub seed: u64,
    /// SHA-256 of what was trained on.
    #[serde(default)]
    pub data_digest: String,
    /// Nothing is left to do.
    #[serde(default)]
    pub finished: bool,
    /// What else the owner wants to remember.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// A checkpoint read back.
#[derive(Debug)]
pub struct Checkpoint {
    pub config: CheckpointConfig,
    /// The whole of `config.toml`, for its owner's tables.
    pub tables: toml::Table,
    /// On the CPU.
    pub weights: HashMap<String, Tensor>,
    pub state: State,
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
    let plan = plan(folder, weights, tables, state, optimizer)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    recover(folder)?;
    plan.into_iter().try_for_each(|operation| operation.run(folder)).inspect_err(|_| {
        // A full disk stays usable: half a checkpoint goes. What matters is the error at hand.
        if !folder.join(COMMIT).exists() {
            let _ = recover(folder);
        }
    })
}

/// Reads a checkpoint, finishing an interrupted save first.
pub fn load(folder: &Path) -> Result<Checkpoint> {
    ensure!(folder.is_dir(), "no checkpoint folder {}", folder.display());
    recover(folder)?;
    let path = folder.join(CONFIG);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let tables: toml::Table = text
        .parse()
        .map_err(|error| anyhow::anyhow!("{} is not TOML: {}", path.display(), one_line(&error)))?;
    let config: CheckpointConfig = tables.clone().try_into().map_err(|error| {
        anyhow::anyhow!("{} describes no network: {}", path.display(), one_line(&error))
    })?;
    Ok(Checkpoint {
        config,
        tables,
        weights: read_tensors(&folder.join(MODEL))?,
        state: load_state(folder)?,
    })
}

/// Only where the run stands, finishing an interrupted save first.
pub fn load_state(folder: &Path) -> Result<State> {
    recover(folder)?;
    let path = folder.join(STATE);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// The optimizer's state, for a run that goes on.
pub fn load_optimizer(folder: &Path) -> Result<HashMap<String, Tensor>> {
    recover(folder)?;
    read_tensors(&folder.join(OPTIMIZER))
}

/// Whether `folder` holds a checkpoint, possibly of an interrupted save.
pub fn exists(folder: &Path) -> bool {
    folder.join(STATE).exists() || folder.join(COMMIT).exists()
}

/// Weights of an image encoder by torchvision's names, whether the checkpoint is a PRIOR model
/// (`image_encoder.encoder.*`) or already a network of its own.
pub fn encoder_weights(checkpoint: &Checkpoint) -> HashMap<String, Tensor> {
    let prior = checkpoint.weights.keys().any(|name| name.starts_with("image_encoder.encoder."));
    let rename = |name: &str| -> Option<String> {
        if !prior {
            return Some(name.to_owned());
        }
        let pool = name.strip_prefix("image_encoder.atten_pool.").map(|r| format!("attnpool.{r}"));
        name.strip_prefix("image_encoder.encoder.").map(str::to_owned).or(pool)
    };
    checkpoint
        .weights
        .iter()
        .filter_map(|(name, tensor)| Some((rename(name)?, tensor.shallow_clone())))
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
    ensure!(path.is_file(), "no file {}", path.display());
    let tensors = Tensor::read_safetensors(path).map_err(|error| {
        anyhow::anyhow!("{} is not a safetensors file: {}", path.display(), one_line(&error))
    })?;
    Ok(tensors.into_iter().collect())
}

/// One step towards a new checkpoint; what a power cut can fall between.
enum Operation {
    Write { name: &'static str, bytes: Vec<u8> },
    WriteTensors { name: &'static str, tensors: Vec<(String, Tensor)> },
    Commit,
    Publish,
}

fn plan(
    folder: &Path,
    weights: &[(String, Tensor)],
    tables: &toml::Table,
    state: &State,
    optimizer: Option<&[(String, Tensor)]>,
) -> Result<Vec<Operation>> {
    let config: Result<CheckpointConfig, _> = tables.clone().try_into();
    config
        .with_context(|| format!("cannot save {}: incomplete configuration", folder.display()))?;
    let tensors = |list: &[(String, Tensor)]| -> Vec<(String, Tensor)> {
        list.iter().map(|(n, t)| (n.clone(), t.to_device(Device::Cpu).contiguous())).collect()
    };
    let mut plan = vec![Operation::WriteTensors { name: MODEL, tensors: tensors(weights) }];
    if let Some(optimizer) = optimizer {
        plan.push(Operation::WriteTensors { name: OPTIMIZER, tensors: tensors(optimizer) });
    }
    plan.push(Operation::Write { name: CONFIG, bytes: toml::to_string(tables)?.into_bytes() });
    plan.push(Operation::Write { name: STATE, bytes: serde_json::to_vec_pretty(state)? });
    plan.extend([Operation::Commit, Operation::Publish]);
    Ok(plan)
}

impl Operation {
    fn run(self, folder: &Path) -> Result<()> {
        match self {
            Self::Write { name, bytes } => {
                let path = aside(folder, name);
                File::create(&path)
                    .and_then(|mut file| {
                        file.write_all(&bytes)?;
                        file.sync_all()
                    })
                    .with_context(|| format!("cannot write {}", path.display()))
            }
            Self::WriteTensors { name, tensors } => {
                let path = aside(folder, name);
                Tensor::write_safetensors(&tensors, &path).map_err(|error| {
                    anyhow::anyhow!("cannot write {}: {}", path.display(), one_line(&error))
                })?;
                File::open(&path)
                    .and_then(|file| file.sync_all())
                    .with_context(|| format!("cannot write {}", path.display()))
            }
            Self::Commit => {
                sync(folder)?;
                rename(&aside(folder, STATE), &folder.join(COMMIT))?;
                sync(folder)
            }
            Self::Publish => recover(folder),
        }
    }
}

/// Finishes the renames of a committed save; removes what an uncommitted one left.
fn recover(folder: &Path) -> Result<()> {
    let committed = folder.join(COMMIT).exists();
    for name in [MODEL, OPTIMIZER, CONFIG, STATE] {
        let new = aside(folder, name);
        if !new.exists() {
            continue;
        }
        if committed {
            rename(&new, &folder.join(name))?;
        } else {
            fs::remove_file(&new).with_context(|| format!("cannot remove {}", new.display()))?;
        }
    }
    if committed {
        sync(folder)?;
        rename(&folder.join(COMMIT), &folder.join(STATE))?;
        sync(folder)?;
    }
    Ok(())
}

fn aside(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.new"))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)
        .with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}

fn sync(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|file| file.sync_all())
        .with_context(|| format!("cannot sync {}", folder.display()))
}

/// Some libraries explain themselves over several lines; an error of ours is one.
pub(crate) fn one_line(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // TOML's reports draw the offending line; the words are first and last.
    if lines.len() > 2 {
        format!("{}: {}", lines[0], lines[lines.len() - 1])
    } else {
        lines.join(": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::{Backbone, ModelConfig, Pool, Preprocess};
    use tch::Kind;

    fn tables() -> toml::Table {
        let model = ModelConfig::encoder(Backbone::Resnet18, Pool::Mean);
        config_tables(&CheckpointConfig { model, preprocess: Preprocess::PRIOR })
    }

    fn tensors(value: f64) -> Vec<(String, Tensor)> {
        vec![("w".into(), Tensor::full([2], value, (Kind::Float, Device::Cpu)))]
    }

    fn state(step: u64) -> State {
        State { step, seed: 3, ..State::default() }
    }

    #[test]
    fn a_checkpoint_survives_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("deep/er");
        assert!(!exists(&folder));
        save(&folder, &tensors(1.5), &tables(), &state(7), Some(&tensors(2.5))).unwrap();
        let checkpoint = load(&folder).unwrap();
        assert_eq!(checkpoint.state, state(7));
        assert_eq!(checkpoint.config.model.backbone, Backbone::Resnet18);
        assert_eq!(checkpoint.weights["w"].double_value(&[1]), 1.5);
        assert_eq!(load_optimizer(&folder).unwrap()["w"].double_value(&[0]), 2.5);
    }

    #[test]
    fn a_cut_after_any_operation_leaves_one_whole_checkpoint() {
        for cut in 0..=6 {
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path();
            save(folder, &tensors(1.0), &tables(), &state(1), Some(&tensors(1.0))).unwrap();
            let next =
                plan(folder, &tensors(2.0), &tables(), &state(2), Some(&tensors(2.0))).unwrap();
            assert_eq!(next.len(), 6);
            for operation in next.into_iter().take(cut) {
                operation.run(folder).unwrap();
            }
            let step = if cut < 5 { 1 } else { 2 };
            assert_eq!(load_state(folder).unwrap().step, step, "cut after {cut}");
            let checkpoint = load(folder).unwrap();
            assert_eq!(checkpoint.weights["w"].double_value(&[0]), step as f64);
            assert_eq!(load_optimizer(folder).unwrap()["w"].double_value(&[0]), step as f64);
            assert_eq!(fs::read_dir(folder).unwrap().count(), 4, "nothing is left aside");
        }
    }

    #[test]
    fn a_cut_between_the_last_renames_is_finished_when_loading() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        save(folder, &tensors(1.0), &tables(), &state(1), None).unwrap();
        let next = plan(folder, &tensors(2.0), &tables(), &state(2), None).unwrap();
        next.into_iter().take(4).for_each(|operation| operation.run(folder).unwrap());
        rename(&aside(folder, MODEL), &folder.join(MODEL)).unwrap(); // died here
        let checkpoint = load(folder).unwrap();
        assert_eq!(checkpoint.state.step, 2);
        assert_eq!(checkpoint.weights["w"].double_value(&[0]), 2.0);
    }

    #[test]
    fn damage_is_one_line_naming_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let message = |folder: &Path| format!("{:#}", load(folder).unwrap_err());
        assert!(message(&folder.join("absent")).contains("absent"));
        save(folder, &tensors(1.0), &tables(), &state(1), None).unwrap();
        for name in [MODEL, CONFIG, STATE] {
            let path = folder.join(name);
            let whole = fs::read(&path).unwrap();
            fs::write(&path, &whole[..whole.len() / 2]).unwrap();
            let message = message(folder);
            assert!(message.contains(name) && !message.contains('\n'), "{message}");
            fs::write(&path, whole).unwrap();
        }
    }

    #[test]
    fn assigning_names_what_does_not_fit() {
        let store = nn::VarStore::new(Device::Cpu);
        let _ = store.root().zeros("w", &[3]);
        let weights: HashMap<_, _> = tensors(1.0).into_iter().collect();
        let error = assign(&store, &weights, |_| true).unwrap_err().to_string();
        assert_eq!(error, "`w` is [2], expected [3]");
        let _ = store.root().zeros("v", &[1]);
        let error = assign(&store, &weights, |name| name == "v").unwrap_err().to_string();
        assert_eq!(error, "`v` of shape [1] is missing");
    }

    #[test]
    fn a_prior_checkpoint_gives_an_encoder_with_torchvisions_names() {
        let names = ["image_encoder.encoder.conv1.weight", "image_encoder.atten_pool.c_proj.bias"];
        let weights = names.map(|n| (n.to_owned(), Tensor::from(1.0))).into_iter().collect();
        let config = CheckpointConfig {
            model: ModelConfig::encoder(Backbone::Resnet18, Pool::Attention),
            preprocess: Preprocess::PRIOR,
        };
        let tables = toml::Table::new();
        let checkpoint = Checkpoint { config, tables, weights, state: state(1) };
        let mut names: Vec<_> = encoder_weights(&checkpoint).into_keys().collect();
        names.sort();
        assert_eq!(names, ["attnpool.c_proj.bias", "conv1.weight"]);
    }
}
