//! Against files PyTorch wrote, and against damage.

use super::*;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/bert").join(name)
}

fn shape(size: &[usize], stride: &[usize], offset: usize, length: usize) -> TensorShape {
    TensorShape {
        storage: Storage { key: "0".into(), dtype: Dtype::F32, length },
        offset,
        size: size.to_vec(),
        stride: stride.to_vec(),
    }
}

fn gathered(shape: &TensorShape, length: usize) -> Result<Vec<f32>> {
    let numbers: Vec<u8> = (0..length).flat_map(|n| (n as f32).to_le_bytes()).collect();
    gather(shape, &numbers.into()).map(|tensor| tensor.to_f32().unwrap())
}

#[test]
fn both_formats_of_torch_save_hold_the_same_tensors() {
    let (new, old) =
        (read(&file("pytorch_model.bin")).unwrap(), read(&file("before-1.6.bin")).unwrap());
    assert_eq!(new, old);
    let words = &new["bert.embeddings.word_embeddings.weight"];
    assert_eq!((words.shape(), words.dtype()), (&[24, 16][..], Dtype::F32));
    let positions = &new["bert.embeddings.position_ids"];
    assert_eq!(positions.bytes()[31 * 8..], 31_i64.to_le_bytes());
}

#[test]
fn strides_are_followed_so_that_channels_last_is_the_same_tensor() {
    // [2, 3] stored column by column, as channels-last stores images.
    assert_eq!(gathered(&shape(&[2, 3], &[1, 2], 0, 6), 6).unwrap(), [0., 2., 4., 1., 3., 5.]);
    assert_eq!(gathered(&shape(&[2, 2], &[3, 1], 1, 6), 6).unwrap(), [1., 2., 4., 5.]);
    assert_eq!(gathered(&shape(&[1, 3], &[99, 1], 2, 6), 6).unwrap(), [2., 3., 4.]);
    assert_eq!(gathered(&shape(&[], &[], 4, 6), 6).unwrap(), [4.]);
    assert_eq!(gathered(&shape(&[0, 3], &[3, 1], 0, 6), 6).unwrap(), [0.0_f32; 0]);
}

#[test]
fn a_tensor_that_reaches_beyond_its_storage_is_refused() {
    for (size, stride, offset) in [
        (&[2, 3][..], &[3, 1][..], 1),
        (&[6], &[1], 1),
        (&[2, 2], &[usize::MAX, 1], 0),
        (&[usize::MAX, 2], &[0, 0], 0),
        (&[2], &[1, 1], 0),
    ] {
        assert!(gathered(&shape(size, stride, offset, 6), 6).is_err(), "{size:?} {stride:?}");
    }
}

#[test]
fn damage_is_told_and_nothing_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.bin");
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("x.bin"), "{message}");
        message
    };
    assert!(refused(b"GIF89a").contains("or one of torch.save"));
    for name in ["pytorch_model.bin", "before-1.6.bin"] {
        let whole = fs::read(file(name)).unwrap();
        for cut in (0..whole.len()).step_by(997) {
            refused(&whole[..cut]);
        }
        for at in (0..whole.len()).step_by(61) {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x55;
            fs::write(&path, &flipped).unwrap();
            let _ = read(&path); // may be another number; must not panic
        }
    }
}

fn dict(entries: &[(&str, Value)]) -> Value {
    let entry = |(key, value): &(&str, Value)| (Value::Text((*key).into()), value.clone());
    Value::Dict(entries.iter().map(entry).collect())
}

fn names(value: &Value) -> Vec<String> {
    named(value).unwrap().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn parameters_that_stand_beside_the_state_dict_again_keep_their_keys() {
    let tensor = |n: usize| Value::Tensor(shape(&[n], &[1], 0, n));
    let network = |prefix: &str| {
        let (conv, bn) =
            (format!("{prefix}layer1.conv1.weight"), format!("{prefix}layer1.0.bn1.bias"));
        dict(&[(&conv, tensor(4)), (&bn, tensor(2))])
    };
    let moments = dict(&[("layer1.conv1.weight.exp_avg", tensor(4))]);
    let alone = dict(&[("optimizer", moments), ("state_dict", network("")), ("loss", tensor(1))]);
    assert_eq!(names(&alone), ["layer1.conv1.weight", "layer1.0.bn1.bias"]);
    // As timm saves a moving average beside a network under DistributedDataParallel.
    let twice = dict(&[("state_dict", network("module.")), ("state_dict_ema", network(""))]);
    assert_eq!(
        names(&twice),
        [
            "state_dict.module.layer1.conv1.weight",
            "state_dict.module.layer1.0.bn1.bias",
            "state_dict_ema.layer1.conv1.weight",
            "state_dict_ema.layer1.0.bn1.bias",
        ]
    );
}

#[test]
fn a_dict_without_tensors_says_what_is_under_its_keys() {
    let value = dict(&[("model", Value::Other), ("epoch", Value::Int(3))]);
    let error = named(&value).unwrap_err();
    assert!(
        error.contains("2 entries: `model` (an object of Python), `epoch` (a number);"),
        "{error}"
    );
}

#[test]
fn numbers_that_are_stored_negated_are_refused() {
    let rebuilt = |marks: &[u8]| {
        let begin =
            b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n\
            X\x01\0\0\x000X\x03\0\0\0cpuK\x02tQK\0K\x02\x85K\x01\x85\x89}";
        pickle::read(&[&begin[..], marks, b"tR."].concat()).map(|pickle| pickle.value)
    };
    let plain = Value::Tensor(shape(&[2], &[1], 0, 2));
    assert_eq!(rebuilt(b"").unwrap(), plain);
    assert_eq!(rebuilt(b"}").unwrap(), plain);
    let error = rebuilt(b"}X\x03\0\0\0neg\x88s").unwrap_err();
    assert!(error.contains("stored negated or conjugated"), "{error}");
}
