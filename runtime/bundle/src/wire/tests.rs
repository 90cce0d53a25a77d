//! What is written is read, damage is noticed, and the published formats keep their bytes.

use crate::{
    Activation, BoxHead, Boxes, Bundle, BundleError, Contract, Dense, DenseForm, Envelope,
    Manifest, Meaning, Scores, SigningKey, section,
};
use graph::{Backbone, Fit, ModelConfig, Normalisation, PictureFilter, Pool, Preprocess, Side};
use proptest::prelude::*;

#[test]
fn heads_keep_their_numbers() {
    use graph::Task::{Classification, Detection, Segmentation, Yolov3, Yolov3Relu};
    for (number, task) in
        [Classification, Segmentation, Detection, Yolov3Relu, Yolov3].into_iter().enumerate()
    {
        assert_eq!(postcard::to_allocvec(&task).unwrap(), [number as u8], "{task}");
    }
}

fn manifest() -> Manifest {
    let model = ModelConfig::encoder(Backbone::Resnet18, Pool::Mean);
    let mut manifest = Manifest::new("chest", "1.0.0", model, Preprocess::PRIOR);
    manifest.calibration.observer = "minmax".into();
    manifest.calibration.images = 8;
    manifest.provenance.tool = "test".into();
    manifest.licence = "MIT".into();
    manifest.intended_use = "tests".into();
    manifest
}

fn sealed() -> Vec<u8> {
    let key = SigningKey::from_bytes(&[7; 32]);
    let sections =
        vec![(section::MODEL.into(), vec![1, 2, 3]), (section::MODEL_CARD.into(), vec![])];
    Bundle::seal(manifest(), sections, Some(&key)).unwrap().to_bytes().unwrap()
}

#[test]
fn sections_keep_their_bytes_wherever_the_largest_is() {
    let names = [section::MODEL, section::MODEL_CARD, section::SBOM];
    for largest in 0..names.len() {
        let bytes = |at: usize| vec![at as u8 + 1; if at == largest { 900 } else { 5 + at }];
        let sections = names.iter().enumerate().map(|(at, name)| ((*name).into(), bytes(at)));
        let sealed = Bundle::seal(manifest(), sections.collect(), None).unwrap();
        let read = Bundle::read(sealed.to_bytes().unwrap()).unwrap();
        for (at, name) in names.iter().enumerate() {
            assert_eq!(read.section(name), Some(&bytes(at)[..]), "{name}, largest is {largest}");
        }
        assert_eq!(read, sealed);
    }
}

#[test]
fn what_is_sealed_is_read_back() {
    let bundle = Bundle::read(sealed()).unwrap();
    assert_eq!(bundle.section(section::MODEL), Some(&[1, 2, 3][..]));
    assert_eq!(bundle.to_bytes().unwrap(), sealed());
}

#[test]
fn only_what_needs_the_newer_format_is_written_in_it() {
    let resized = Fit::ResizeCrop(Side::new(256).unwrap());
    for (fit, format) in [(Fit::Stretch, 1), (Fit::Pad, 2), (Fit::CentreCrop, 3), (resized, 4)] {
        let preprocess = Preprocess { fit, ..Preprocess::PRIOR };
        let bundle = Bundle::seal(Manifest { preprocess, ..manifest() }, Vec::new(), None);
        let bytes = bundle.unwrap().to_bytes().unwrap();
        assert_eq!(bytes[4..6], [format, 0], "{fit}");
        let read = Bundle::read(bytes.clone()).unwrap();
        assert_eq!(read.manifest.preprocess, preprocess);
        let mut newer = bytes;
        newer[4] = 5;
        let error = Bundle::read(newer).unwrap_err().to_string();
        assert_eq!(error, "format 5 is unknown, expected 1 to 4");
    }
}

#[test]
fn a_resized_and_cropped_picture_is_said_in_bytes_that_stay() {
    let fit = Fit::ResizeCrop(Side::new(256).unwrap());
    let preprocess = Preprocess { fit, ..Preprocess::PRIOR };
    let sealed = Bundle::seal(Manifest { preprocess, ..manifest() }, Vec::new(), None);
    let mut bytes = sealed.unwrap().to_bytes().unwrap();
    // Position 3 and the side, no filter, no other channels, no contract; then the signature's mark.
    assert_eq!(bytes[bytes.len() - 7..], [3, 0x80, 0x02, 0, 0, 0, 0]);
    bytes[4] = 3;
    let error = Bundle::read(bytes).unwrap_err().to_string();
    assert!(error.contains("format 3 has no fit `resize-crop:256`, expected format 4"), "{error}");
}

#[test]
fn the_first_formats_bytes_are_what_they_were() {
    let bytes = postcard::to_allocvec(&manifest()).unwrap();
    let fields = (
        ("chest", "1.0.0", 0_u8),
        (0_u8, 64_u8, 0_u8, 0_u8),
        (224_u16, 224_u16, 0.4755_f32, 0.3011_f32),
    );
    let first = postcard::to_allocvec(&fields).unwrap();
    assert_eq!(bytes[..first.len()], first[..]);
    let rest = (0_u8, ("minmax", 8_u8, "", 0_u8), (0_u8, 0_u8), ("test", "", ""), ("MIT", "tests"));
    assert_eq!(bytes[first.len()..], postcard::to_allocvec(&rest).unwrap()[..]);
}

#[test]
fn only_a_trusted_key_is_accepted() {
    let bundle = Bundle::read(sealed()).unwrap();
    let (ours, other) =
        (SigningKey::from_bytes(&[7; 32]), SigningKey::from_bytes(&[8; 32]).verifying_key());
    bundle.check_signature(&[other, ours.verifying_key()]).unwrap();
    assert!(matches!(bundle.check_signature(&[other]), Err(BundleError::Untrusted { .. })));
}

#[test]
fn the_digest_does_not_depend_on_the_signature() {
    let mut bundle = Bundle::read(sealed()).unwrap();
    let before = bundle.digest();
    bundle.sign(None).unwrap();
    assert_eq!(bundle.digest(), before);
    assert!(matches!(bundle.check_signature(&[]), Err(BundleError::Unsigned)));
}

/// Gives a few bytes at a time, as a socket does.
struct Drops<'a>(&'a [u8]);

impl std::io::Read for Drops<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(3);
        std::io::Read::read(&mut self.0, &mut buffer[..length])
    }
}

#[test]
fn an_envelope_is_the_bundle_s_own_whatever_pieces_the_file_comes_in() {
    let good = sealed();
    let bundle = Bundle::read(&good[..]).unwrap();
    let envelope = Envelope::read(Drops(&good), good.len() as u64).unwrap();
    assert_eq!(envelope.manifest, bundle.manifest);
    assert_eq!(hex::encode(envelope.digest()), bundle.digest());
    let ours = SigningKey::from_bytes(&[7; 32]).verifying_key();
    envelope.check_signature(&[ours]).unwrap();
    assert!(envelope.check_signature(&[]).is_err());
    let short = Envelope::read(Drops(&good[..good.len() - 1]), good.len() as u64);
    assert!(matches!(short, Err(BundleError::Io(_))), "{short:?}");
}

#[test]
fn one_flipped_bit_anywhere_is_noticed() {
    let good = sealed();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Bundle::read(&bad[..]).is_err(), "bit {bit} of {}", good.len() * 8);
    }
}

#[test]
fn a_bundle_cut_short_says_how_much_is_missing() {
    let good = sealed();
    for length in 4..good.len() {
        assert!(Bundle::read(&good[..length]).is_err(), "{length} bytes");
    }
    let error = Bundle::read(&good[..good.len() - 1]).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("{} bytes, expected {} according to its head", good.len() - 1, good.len())
    );
}

proptest! {
    #[test]
    fn noise_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), magic: bool) {
        if magic && bytes.len() >= 6 {
            bytes[..6].copy_from_slice(b"CXRB\x01\x00");
            bytes[4] += bytes.len() as u8 % 3;
        }
        prop_assert!(Bundle::read(bytes).is_err());
    }
}

/// A network of another tool with one of everything.
fn contract() -> Contract {
    let label = |name: &str| Some(name.to_owned());
    let scores = |output: &str, activation| Scores {
        output: output.into(),
        activation,
        labels: vec![label(output), None],
    };
    let dense = Dense {
        form: DenseForm::Ssd,
        scores: vec!["scores".into()],
        boxes: vec!["boxes".into()],
        centreness: Vec::new(),
        strides: vec![8],
        anchors: vec![vec![[16.0, 32.0]]],
        variances: [0.1, 0.1, 0.2, 0.2],
        centre: 0.5,
        exponential: false,
    };
    Contract {
        architecture: "densenet121".into(),
        came_quantized: true,
        outputs: vec![
            Meaning::Findings(scores("findings", Activation::Softmax)),
            Meaning::Masks(scores("masks", Activation::Sigmoid)),
            Meaning::Boxes(Boxes {
                head: BoxHead::Dense(dense),
                labels: vec![label("Opacity")],
                overlap: 0.5,
                keep: 100,
            }),
            Meaning::Embedding { output: "features".into() },
            Meaning::Unused { output: "auxiliary".into() },
        ],
    }
}

fn foreign() -> Manifest {
    let others = [(0.25, 0.5), (0.75, 0.125)].map(|(mean, std)| Normalisation { mean, std });
    let preprocess = Preprocess {
        fit: Fit::Pad,
        filter: PictureFilter::Gaussian,
        others: Some(others),
        ..Preprocess::PRIOR
    };
    Manifest::foreign("theirs", "1.0.0", contract(), preprocess)
}

#[test]
fn a_contract_travels_and_its_bytes_are_what_they_were() {
    let bytes = Bundle::seal(foreign(), Vec::new(), None).unwrap().to_bytes().unwrap();
    assert_eq!(bytes[4..6], [3, 0]);
    let read = Bundle::read(&bytes[..]).unwrap();
    assert_eq!(read.manifest, foreign());
    assert_eq!(read.to_bytes().unwrap(), bytes);
    // What stands after the manifest, by hand: positions of variants, lengths, numbers.
    let ssd = (
        (2_u8, 1_u8, 1_u8, "scores", 1_u8, "boxes", 0_u8),
        (1_u8, 8_u8, 1_u8, 1_u8, 16.0_f32, 32.0_f32),
        ([0.1_f32, 0.1, 0.2, 0.2], 0.5_f32, false),
    );
    let third = (
        (1_u8, 1_u8, 1_u8, [0.25_f32, 0.5, 0.75, 0.125]),
        (1_u8, "densenet121", true, 5_u8),
        (0_u8, "findings", 1_u8, 2_u8, Some("findings"), None::<&str>),
        (1_u8, "masks", 0_u8, 2_u8, Some("masks"), None::<&str>),
        (2_u8, ssd, 1_u8, Some("Opacity"), 0.5_f32, 100_u8),
        (3_u8, "features", 4_u8, "auxiliary"),
    );
    let expected = postcard::to_allocvec(&third).unwrap();
    let end = bytes.len() - 1; // the signature's mark
    assert_eq!(bytes[end - expected.len()..end], expected[..]);
}

#[test]
fn what_a_contract_may_not_say_is_refused_when_it_is_read() {
    let refused = |change: fn(&mut Manifest)| {
        let mut manifest = foreign();
        change(&mut manifest);
        let sealed = Bundle::seal(manifest, Vec::new(), None).unwrap().to_bytes().unwrap();
        Bundle::read(sealed).unwrap_err().to_string()
    };
    let error = refused(|it| it.model.heads.truncate(1));
    assert!(error.contains("its heads are not those its contract describes"), "{error}");
    let error = refused(|it| {
        let contract = it.contract.as_mut().unwrap();
        contract.outputs.push(Meaning::Unused { output: "masks".into() });
    });
    assert!(error.contains("output `masks` twice"), "{error}");
    let boxes = |it: &mut Manifest, change: fn(&mut Dense)| {
        let contract = it.contract.as_mut().unwrap();
        let Meaning::Boxes(boxes) = &mut contract.outputs[2] else { unreachable!() };
        let BoxHead::Dense(dense) = &mut boxes.head else { unreachable!() };
        change(dense);
    };
    let mut manifests: Vec<(&str, Manifest)> = Vec::new();
    for (expected, change) in [
        ("stride is 0", (|it| it.strides[0] = 0) as fn(&mut Dense)),
        ("anchors of 0 levels, expected of 1", |it| it.anchors.clear()),
        ("0 anchors of level 0", |it| it.anchors[0].clear()),
        ("an anchor of level 0 is NaN long", |it| it.anchors[0][0][1] = f32::NAN),
        ("variances are", |it| it.variances[2] = 0.0),
        ("2 outputs of boxes, expected 1", |it| it.boxes.push("more".into())),
        ("1 outputs of centreness, expected 0", |it| it.centreness = vec!["x".into()]),
    ] {
        let mut manifest = foreign();
        boxes(&mut manifest, change);
        manifests.push((expected, manifest));
    }
    for (expected, manifest) in manifests {
        let error = manifest.contract.unwrap().check().unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
