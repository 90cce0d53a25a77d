//! The workstation's half of the main job, a command a step: radiographs → checkpoint → signed bundle.

use crate::tool::{exporter, root, trainer};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// A folder with everything the steps write.
#[derive(Clone, Debug)]
pub struct Work {
    pub folder: PathBuf,
}

/// How much of everything: seconds for a test, minutes for the demo.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub phantoms: u32,
    pub pretrain_config: &'static str,
    pub labels: &'static str,
    pub image_size: u32,
    pub epochs: u32,
}

impl Scale {
    pub const TEST: Self = Self {
        phantoms: 60,
        pretrain_config: "test.toml",
        labels: "Pneumonia",
        image_size: 64,
        epochs: 1,
    };
    pub const DEMO: Self = Self {
        phantoms: 300,
        pretrain_config: "demo.toml",
        labels: "Pneumonia,Cardiomegaly,Effusion",
        image_size: 128,
        epochs: 16,
    };
}

impl Work {
    pub fn index(&self) -> PathBuf {
        self.folder.join("index.jsonl")
    }

    pub fn pretrained(&self) -> PathBuf {
        self.folder.join("pretrained")
    }

    pub fn checkpoint(&self) -> PathBuf {
        self.folder.join("classifier")
    }

    pub fn student(&self) -> PathBuf {
        self.folder.join("student")
    }

    pub fn private_key(&self) -> PathBuf {
        self.folder.join("site.key")
    }

    pub fn public_key(&self) -> PathBuf {
        self.folder.join("site.pub")
    }

    pub fn bundle(&self) -> PathBuf {
        self.folder.join("chest.bundle")
    }

    /// Draws phantom radiographs with reports, in the layout of cxr-mini.
    pub fn draw_phantoms(&self, scale: Scale) -> Result<PathBuf> {
        let folder = self.folder.join("phantoms");
        let count = scale.phantoms.to_string();
        trainer()
            .args(["phantom", "--seed", "7", "--count", &count, "--out"])
            .arg(&folder)
            .run()?;
        Ok(folder)
    }

    pub fn write_index(&self, data: &Path) -> Result<()> {
        trainer()
            .args(["index", "cxr-mini", "--root"])
            .arg(data)
            .arg("--out")
            .arg(self.index())
            .run()
    }

    pub fn pretrain(&self, scale: Scale) -> Result<()> {
        let config = root().join("trainer/configs").join(scale.pretrain_config);
        trainer()
            .args(["pretrain", "--config"])
            .arg(config)
            .arg("--data")
            .arg(self.index())
            .arg("--out")
            .arg(self.pretrained())
            .run()
    }

    pub fn finetune(&self, scale: Scale) -> Result<()> {
        let (size, epochs) = (scale.image_size.to_string(), scale.epochs.to_string());
        trainer()
            .args(["finetune", "--task", "classification", "--labels", scale.labels, "--encoder"])
            .arg(self.pretrained())
            .args(["--image-size", &size, "--epochs", &epochs, "--seed", "1", "--data"])
            .arg(self.index())
            .arg("--out")
            .arg(self.checkpoint())
            .run()
    }

    /// A network of half the width learns what the classifier sees: about a quarter of its multiplications.
    pub fn distill(&self) -> Result<()> {
        exporter()
            .args(["distill", "--student", "resnet18", "--width", "16", "--epochs", "10"])
            .arg("--teacher")
            .arg(self.checkpoint())
            .arg("--data")
            .arg(self.index())
            .arg("--out")
            .arg(self.student())
            .run()
    }

    pub fn make_key(&self) -> Result<()> {
        exporter().args(["keygen", "--out"]).arg(self.folder.join("site")).run()
    }

    pub fn quantize(&self) -> Result<()> {
        self.quantize_as("0.1.0", &self.bundle())
    }

    /// The student's bundle, in place of the classifier's.
    pub fn quantize_student(&self) -> Result<()> {
        self.quantize_checkpoint(&self.student(), "0.1.0", &self.bundle())
    }

    /// The same network under another version, to have something to update to.
    pub fn quantize_as(&self, version: &str, out: &Path) -> Result<()> {
        self.quantize_checkpoint(&self.checkpoint(), version, out)
    }

    fn quantize_checkpoint(&self, checkpoint: &Path, version: &str, out: &Path) -> Result<()> {
        exporter()
            .args(["quantize", "--int8", "--id", "chest", "--version", version, "--checkpoint"])
            .arg(checkpoint)
            .arg("--calibration")
            .arg(self.index())
            .arg("--sign")
            .arg(self.private_key())
            .arg("--out")
            .arg(out)
            .run()
    }

    /// Every step, at a test's scale, once for each build: later callers get the same folder.
    pub fn for_tests() -> Result<Self> {
        let home = root().join("target/e2e");
        fs::create_dir_all(&home)?;
        let lock = File::create(home.join("lock"))?;
        lock.lock().context("cannot lock target/e2e")?;
        let work = Self { folder: home.join(build_stamp()?) };
        let done = work.folder.join("done");
        if !done.exists() {
            fs::remove_dir_all(&work.folder).ok();
            fs::create_dir_all(&work.folder)?;
            let scale = Scale::TEST;
            let phantoms = work.draw_phantoms(scale)?;
            work.write_index(&phantoms)?;
            work.pretrain(scale)?;
            work.finetune(scale)?;
            work.make_key()?;
            work.quantize()?;
            fs::write(done, "")?;
        }
        Ok(work)
    }
}

/// Changes with the two programs that write the folder.
fn build_stamp() -> Result<String> {
    let mut stamp = DefaultHasher::new();
    for tool in [trainer(), exporter()] {
        let command = tool.into_command();
        let program = Path::new(command.get_program());
        let file = fs::metadata(program)
            .with_context(|| format!("no {}: run `make build`", program.display()))?;
        (file.len(), file.modified()?).hash(&mut stamp);
    }
    Ok(format!("{:016x}", stamp.finish()))
}
