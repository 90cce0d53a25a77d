//! A site of its own for tests of `runtime acceptance`: images, labels, bundle, plan.

use super::{fixtures, model};
use bundle::{Bundle, Metric, OperatingPoint, section};
use dicom_core::{PrimitiveValue, Tag, VR, value::Value};
use dicom_object::{FileMetaTableBuilder, mem::InMemElement};
use keyring::SigningKey;
use serde_json::Value as Json;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

pub(crate) const FINDING: &str = "Pneumonia";
pub(crate) const IMAGES: usize = 20;

pub(crate) fn runtime(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runtime"));
    command.args(arguments).env_remove("RUST_LOG").output().unwrap()
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A site with its own studies, labels and bundle.
pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) bundle: Bundle,
    /// By file.
    pub(crate) truth: BTreeMap<String, bool>,
    /// What `runtime analyze` says of each file, without any daemon.
    pub(crate) probabilities: BTreeMap<String, f64>,
}

impl Site {
    /// Twenty images, ten above the threshold and ten below it. One of the ten above has no pneumonia and two of those
    /// below have one: sensitivity 9/11, specificity 8/9.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("studies")).unwrap();
        for at in 0..IMAGES {
            draw(&folder.path().join("studies").join(file(at)), at);
        }
        let first = model::write(folder.path(), 1);
        let probabilities = analysed(folder.path(), &first);
        let mut order: Vec<_> = probabilities.iter().collect();
        order.sort_by(|a, b| b.1.total_cmp(a.1));
        let threshold = f64::midpoint(*order[IMAGES / 2 - 1].1, *order[IMAGES / 2].1);
        assert!(order[IMAGES / 2 - 1].1 > order[IMAGES / 2].1, "the images differ: {order:?}");
        let truth = order
            .iter()
            .enumerate()
            .map(|(at, (name, _))| {
                let above = at < IMAGES / 2;
                ((*name).clone(), if [3, 12, 15].contains(&at) { !above } else { above })
            })
            .collect();
        let bundle = with_threshold(threshold as f32);
        let site = Self { truth, probabilities, bundle, folder };
        fs::write(site.path("chest.bundle"), site.bundle.to_bytes().unwrap()).unwrap();
        keyring::write_pair(&site.path("site"), &SigningKey::from_bytes(&[9; 32])).unwrap();
        site.label(&site.truth);
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn label(&self, truth: &BTreeMap<String, bool>) {
        let rows =
            truth.iter().map(|(file, truth)| format!("{file},Infiltrate,{}\n", u8::from(*truth)));
        let table = format!("file,finding,truth\n{}", rows.collect::<String>());
        fs::write(self.path("labels.csv"), table).unwrap();
    }

    /// Labels by study: one row for each image's, and `more` rows.
    pub(crate) fn label_studies(&self, column: &str, name: impl Fn(usize) -> String, more: &str) {
        let row =
            |at: usize| format!("{},Infiltrate,{}\n", name(at), u8::from(self.truth[&file(at)]));
        let rows: String = (0..IMAGES).map(row).collect();
        fs::write(self.path("labels.csv"), format!("{column},finding,truth\n{rows}{more}"))
            .unwrap();
    }

    /// The same plan, with studies out of an archive.
    pub(crate) fn plan_pulled(&self, pacs: &str, more: &str) -> String {
        let plan = self.plan(&self.bundle_of_the_plan(), more);
        let text = fs::read_to_string(&plan).unwrap();
        let from = "folder = \"studies\"\nlabels = \"labels.csv\"";
        assert!(text.contains(from));
        let pulled = text.replace(from, &format!("labels = \"labels.csv\"\n[pacs]\n{pacs}"));
        fs::write(&plan, pulled).unwrap();
        plan
    }

    /// Writes `index.jsonl`, and one image more in another split.
    pub(crate) fn index(&self) {
        let record = |at: usize| {
            let name = file(at);
            let (truth, split) = (self.truth[&name], if at == 0 { "val" } else { "test" });
            serde_json::json!({
                "id": name, "image": format!("studies/{name}"), "split": split,
                "patient_id": format!("N-{}", at / 2 * 2 + at.min(1)), "sex": "F",
                "labels": { "Infiltrate": u8::from(truth) },
            })
        };
        let lines: Vec<String> = (0..IMAGES).map(|at| record(at).to_string()).collect();
        fs::write(self.path("index.jsonl"), lines.join("\n")).unwrap();
    }

    /// The plan's path. `more` stands at its end, in the table of the finding.
    pub(crate) fn plan(&self, daemon: &str, more: &str) -> String {
        let plan = format!(
            "site = \"St. Elsewhere\"\nperson = \"A. Physicist\"\n[daemon]\n{daemon}\n\
             [studies]\nfolder = \"studies\"\nlabels = \"labels.csv\"\n\
             [test]\nrepeats = 2\ninterval_width = 0.6\nwindow_images = 3\n\
             [report]\nhtml = \"out.html\"\nkey = \"site.key\"\nkey_list = \"cases.csv\"\n\
             [[findings]]\nname = \"{FINDING}\"\nlabel = \"Infiltrate\"\nprevalence = 0.1\n{more}\n"
        );
        fs::write(self.path("acceptance.toml"), plan).unwrap();
        self.path("acceptance.toml").to_str().unwrap().to_owned()
    }

    pub(crate) fn bundle_of_the_plan(&self) -> String {
        format!("bundle = \"chest.bundle\"\ntrusted_keys = [\"{}\"]", model::public_key())
    }

    pub(crate) fn accept(&self, plan: &str) -> (Output, Json) {
        let output = runtime(&["acceptance", "--config", plan, "--json", "--replace"]);
        let report = fs::read(self.path("out.json")).unwrap_or_default();
        (output, serde_json::from_slice(&report).unwrap_or_default())
    }

    pub(crate) fn verify(&self, key: &str) -> Output {
        let report = self.path("out.html");
        runtime(&["acceptance", "--verify", report.to_str().unwrap(), "--key", key])
    }
}

/// Study Instance UID of an image.
pub(crate) fn study(at: usize) -> String {
    format!("1.2.{}.1", at + 1)
}

/// Accession number of an image's study.
pub(crate) fn accession(at: usize) -> String {
    format!("A{at}-B")
}

fn file(at: usize) -> String {
    format!("image-{at:02}.dcm")
}

/// A chest of a patient of its own; the window makes the images differ.
fn draw(path: &Path, at: usize) {
    let mut object = fixtures::chest(&format!("1.2.{}", at + 1), 160, at as u32);
    let mut put = |group, element, vr, text: String| {
        let value: Value<_, _> = PrimitiveValue::from(text.as_str()).into();
        object.put(InMemElement::new(Tag(group, element), vr, value));
    };
    put(0x0010, 0x0020, VR::LO, format!("P-{at}"));
    put(0x0010, 0x0040, VR::CS, if at.is_multiple_of(2) { "F" } else { "M" }.into());
    put(0x0010, 0x1010, VR::AS, format!("{:03}Y", 30 + at));
    put(0x0008, 0x0050, VR::SH, accession(at));
    put(0x0008, 0x0070, VR::LO, "ACME".into());
    put(0x0008, 0x1010, VR::SH, format!("ROOM{}", at % 2));
    put(0x0028, 0x1050, VR::DS, format!("{}", 1300 + 40 * at));
    put(0x0028, 0x1051, VR::DS, format!("{}", 2600 - 60 * at));
    let meta = FileMetaTableBuilder::new().transfer_syntax(fixtures::EXPLICIT);
    object.with_meta(meta).unwrap().write_to_file(path).unwrap();
}

fn analysed(folder: &Path, bundle: &Path) -> BTreeMap<String, f64> {
    let probability = |at: usize| {
        let path = folder.join("studies").join(file(at));
        let [path, bundle] = [&*path, bundle].map(|path| path.to_str().unwrap());
        let output = runtime(&["analyze", path, "--bundle", bundle, "--json"]);
        let record: Json = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(record["findings"][0]["name"], FINDING);
        (file(at), record["findings"][0]["probability"].as_f64().unwrap())
    };
    (0..IMAGES).map(probability).collect()
}

/// The test model, which is positive from `threshold` on and claims an AUROC.
fn with_threshold(threshold: f32) -> Bundle {
    let before = model::seal(1, true);
    let mut manifest = before.manifest.clone();
    let text = |text: &str| text.to_owned();
    let point = OperatingPoint { name: text(FINDING), threshold, chosen: text("for this test") };
    manifest.operating_points = vec![point];
    manifest.metrics = vec![Metric {
        task: text("classification"),
        metric: format!("auroc/{FINDING}"),
        data: text("phantoms"),
        split: text("test"),
        value: 0.9,
        interval: [0.8, 0.95],
        n: 120,
        arithmetic: text("int8"),
    }];
    let sections = [section::MODEL, section::GOLDEN];
    let sections = sections.map(|name| (text(name), before.section(name).unwrap().to_vec())).into();
    Bundle::seal(manifest, sections, Some(&model::key())).unwrap()
}
