//! Bytes as an ONNX model whose weights are all in it, those of other files beside it included.

use anyhow::{Context, Result, bail, ensure};
use prost::Message;
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Component, Path, PathBuf},
};
use tract_onnx::pb::{ModelProto, TensorProto, tensor_proto::DataLocation};

/// All weights of a model together, in bytes.
const MAX_EXTERNAL: u64 = 8 << 30;

/// Reads a file and what lies beside it.
pub(super) fn open(path: &Path) -> Result<ModelProto> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut model = decode(&bytes)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut beside = Beside { folder, files: HashMap::new(), total: 0 };
    if let Some(graph) = &mut model.graph {
        let held = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
        for tensor in graph.initializer.iter_mut().chain(held.filter_map(|held| held.t.as_mut())) {
            if tensor.data_location == Some(DataLocation::External as i32) {
                let name = tensor.name.clone();
                beside.read(tensor).with_context(|| format!("constant `{name}`"))?;
            }
        }
    }
    Ok(model)
}

pub(super) fn decode(bytes: &[u8]) -> Result<ModelProto> {
    ModelProto::decode(bytes).context("not an ONNX file")
}

/// Files that hold weights of the model.
struct Beside<'a> {
    folder: &'a Path,
    /// By the name in the model, with their sizes.
    files: HashMap<String, (File, u64)>,
    total: u64,
}

impl Beside<'_> {
    fn read(&mut self, tensor: &mut TensorProto) -> Result<()> {
        let mut place = Place::default();
        for entry in &tensor.external_data {
            let number = || {
                let (key, value) = (&entry.key, &entry.value);
                value.parse::<u64>().with_context(|| format!("its {key} is `{value}`"))
            };
            match entry.key.as_str() {
                "location" => place.location.clone_from(&entry.value),
                "offset" => place.offset = number()?,
                "length" => place.length = Some(number()?),
                "checksum" => {} // of the whole file, which nobody has ever written
                other => bail!("its external data has the key `{other}`, which is not read"),
            }
        }
        tensor.raw_data = self.bytes(&place)?;
        tensor.external_data.clear();
        tensor.data_location = None;
        Ok(())
    }

    fn bytes(&mut self, place: &Place) -> Result<Vec<u8>> {
        let name = &place.location;
        if !self.files.contains_key(name) {
            let opened =
                self.opened(name).with_context(|| format!("its values lie in `{name}`"))?;
            self.files.insert(name.clone(), opened);
        }
        let (file, size) = self.files.get_mut(name).context("it was just opened")?;
        let left = size.saturating_sub(place.offset);
        let length = place.length.unwrap_or(left);
        ensure!(
            length <= left,
            "`{name}` has {size} bytes, expected {length} from {} on",
            place.offset
        );
        self.total = self.total.saturating_add(length);
        ensure!(self.total <= MAX_EXTERNAL, "more than {MAX_EXTERNAL} bytes of weights");
        let mut bytes = vec![0; usize::try_from(length)?];
        file.seek(SeekFrom::Start(place.offset))?;
        file.read_exact(&mut bytes).with_context(|| format!("cannot read `{name}`"))?;
        Ok(bytes)
    }

    /// A file in the model's folder or below it, by its real place.
    fn opened(&self, name: &str) -> Result<(File, u64)> {
        let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        let relative = Path::new(name);
        ensure!(
            !name.is_empty() && relative.components().all(inside),
            "which does not lie in the model's folder"
        );
        let folder = self.folder.canonicalize()?;
        let path: PathBuf = folder.join(relative);
        let real = path
            .canonicalize()
            .with_context(|| format!("{} is missing: keep it beside the model", path.display()))?;
        ensure!(real.starts_with(&folder), "which links to {}", real.display());
        let file = File::open(&real)?;
        let about = file.metadata()?;
        ensure!(about.is_file(), "which is no file");
        Ok((file, about.len()))
    }
}

/// Where a constant's values lie.
#[derive(Default)]
struct Place {
    location: String,
    offset: u64,
    /// To the end of the file, where it is left out.
    length: Option<u64>,
}
