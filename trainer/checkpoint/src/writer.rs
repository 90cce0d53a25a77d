//! Saving, so that a power cut at any moment leaves one whole checkpoint.
//!
//! ```text
//! write    model.safetensors.new, config.toml.new, state.json.new     each flushed to disk
//! commit   state.json.new → state.json.commit                         from here on the new save counts
//! publish  model.safetensors.new → model.safetensors, …
//!          state.json.commit → state.json
//! ```
//!
//! A process killed before the commit leaves the old checkpoint, one killed after it leaves renames. The next
//! writer finishes them; readers see through them (`folder.rs`).

use crate::{
    COMMIT, CONFIG, CheckpointError, MODEL, OPTIMIZER, STATE, State, View, aside, one_line,
};
use graph::CheckpointConfig;
use std::{fs, io, path::Path};

/// Writes a checkpoint into `folder`, replacing what is there only once it is complete.
///
/// `tables` must hold `[model]` and `[preprocess]`. One process at a time may write a folder; any number may read it.
pub fn save<V: View>(
    folder: &Path,
    weights: Vec<(String, V)>,
    tables: &toml::Table,
    state: &State,
    optimizer: Option<Vec<(String, V)>>,
) -> Result<(), CheckpointError> {
    let plan = plan(folder, weights, tables, state, optimizer)?;
    durable::create_folders(folder).map_err(|source| write_error(folder, source))?;
    recover(folder)?;
    plan.into_iter().try_for_each(|operation| operation.run(folder)).inspect_err(|_| {
        // A full disk stays usable: half a checkpoint goes. What matters is the error at hand.
        if !folder.join(COMMIT).exists() {
            let _ = recover(folder);
        }
    })
}

/// One step towards a new checkpoint; what a power cut can fall between.
enum Operation<V> {
    Write { name: &'static str, bytes: Vec<u8> },
    WriteTensors { name: &'static str, tensors: Vec<(String, V)> },
    Commit,
    Publish,
}

fn plan<V: View>(
    folder: &Path,
    weights: Vec<(String, V)>,
    tables: &toml::Table,
    state: &State,
    optimizer: Option<Vec<(String, V)>>,
) -> Result<Vec<Operation<V>>, CheckpointError> {
    let incomplete = |reason| CheckpointError::Incomplete { folder: folder.into(), reason };
    let config: Result<CheckpointConfig, _> = tables.clone().try_into();
    config.map_err(|error| incomplete(one_line(&error)))?;
    let config = toml::to_string(tables).map_err(|error| incomplete(one_line(&error)))?;
    let state = serde_json::to_vec_pretty(state).map_err(|error| incomplete(one_line(&error)))?;

    let mut plan = vec![Operation::WriteTensors { name: MODEL, tensors: weights }];
    if let Some(tensors) = optimizer {
        plan.push(Operation::WriteTensors { name: OPTIMIZER, tensors });
    }
    plan.push(Operation::Write { name: CONFIG, bytes: config.into_bytes() });
    plan.push(Operation::Write { name: STATE, bytes: state });
    plan.extend([Operation::Commit, Operation::Publish]);
    Ok(plan)
}

impl<V: View> Operation<V> {
    fn run(self, folder: &Path) -> Result<(), CheckpointError> {
        match self {
            Self::Write { name, bytes } => {
                let path = folder.join(aside(name));
                durable::write_synced(&path, &bytes).map_err(|source| write_error(&path, source))
            }
            Self::WriteTensors { name, tensors } => {
                let path = folder.join(aside(name));
                safetensors::serialize_to_file(tensors, None, &path).map_err(|error| {
                    CheckpointError::WriteTensors { path: path.clone(), reason: one_line(&error) }
                })?;
                durable::sync_file(&path).map_err(|source| write_error(&path, source))
            }
            Self::Commit => {
                sync(folder)?;
                rename(folder, &aside(STATE), COMMIT)?;
                sync(folder)
            }
            Self::Publish => recover(folder),
        }
    }
}

/// Finishes the renames of a committed save; removes what an uncommitted one left.
fn recover(folder: &Path) -> Result<(), CheckpointError> {
    let committed = folder.join(COMMIT).exists();
    for name in [MODEL, OPTIMIZER, CONFIG, STATE] {
        let new = folder.join(aside(name));
        if !new.exists() {
            continue;
        }
        if committed {
            rename(folder, &aside(name), name)?;
        } else {
            fs::remove_file(&new).map_err(|source| write_error(&new, source))?;
        }
    }
    if committed {
        sync(folder)?;
        rename(folder, COMMIT, STATE)?;
        sync(folder)?;
    }
    Ok(())
}

fn rename(folder: &Path, from: &str, to: &str) -> Result<(), CheckpointError> {
    let path = folder.join(to);
    fs::rename(folder.join(from), &path).map_err(|source| write_error(&path, source))
}

fn sync(folder: &Path) -> Result<(), CheckpointError> {
    durable::sync_folder(folder).map_err(|source| write_error(folder, source))
}

fn write_error(path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::Write { path: path.into(), source }
}

#[cfg(test)]
mod tests;
