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
    assert!(refused(b"GIF89a").contains("expected a file of torch.save"));
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
