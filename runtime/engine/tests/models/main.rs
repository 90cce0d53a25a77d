//! Whole networks give the same bits on every processor: the digests below were made on x86-64 by the scalar kernels, and
//! every instruction set of every machine that runs this test must reproduce them, fused or not, with any threads.
//!
//! `make test-arm` runs it under emulated ARM processors. A digest changes only with the network drawn here or with the
//! arithmetic of `runtime/kernels/src/scalar.rs`, and then on purpose.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod networks;
#[path = "../int8/qdq.rs"]
#[expect(dead_code, reason = "not every layer is drawn here")]
mod qdq;

use engine::{Engine, Options, Outputs};
use kernels::Isa;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// SHA-256 over names, shapes and bits of all results.
fn digest(outputs: &Outputs) -> String {
    let mut hash = Sha256::new();
    for output in &outputs.outputs {
        hash.update(format!("{} {:?}\n", output.name, output.shape));
        output.data.iter().for_each(|x| hash.update(x.to_le_bytes()));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn run(onnx: &[u8], image: &[f32], isa: Isa, threads: usize, fuse: bool) -> Outputs {
    let options = Options { threads, isa: Some(isa.name().into()), fuse };
    Engine::from_onnx(onnx, &[], &options).unwrap().run(image).unwrap()
}

/// `expected` on every instruction set, with one thread and, unfused, with three.
fn same_everywhere(network: (Vec<u8>, [usize; 3]), expected: &str) {
    let (onnx, shape) = network;
    let image = networks::image(shape);
    for isa in Isa::available().into_iter().rev() {
        let outputs = run(&onnx, &image, isa, 1, true);
        let values = outputs.outputs.iter().flat_map(|output| &output.data);
        let different: BTreeSet<u32> = values.map(|x| x.to_bits()).collect();
        assert!(different.len() > 50, "the network says nothing: {} values", different.len());
        assert_eq!(digest(&outputs), expected, "{isa:?}");
        assert_eq!(digest(&run(&onnx, &image, isa, 3, false)), expected, "{isa:?}, not fused");
    }
}

#[test]
fn resnet_50_has_the_same_bits_everywhere() {
    same_everywhere(
        networks::resnet_50(),
        "c629d3416988d38f62c4cf69803c2f22288e5bfea71615788a7c721210860b6a",
    );
}

#[test]
fn priors_encoder_with_its_attention_pool_has_the_same_bits_everywhere() {
    let prior = networks::prior();
    let engine = Engine::from_onnx(&prior.0, &[], &Options::threads(1)).unwrap();
    let kind = |layer: &engine::LayerInfo| layer.kind == "matmul+softmax 8x2048x5";
    assert!(engine.layers().iter().any(kind), "scores are rounded, as the exporter does not");
    same_everywhere(prior, "03c75e2888706bd93030b229acbbbcab6201121f3937b40e9e8702abc461f8e5");
}

#[test]
fn resnet_18_has_the_same_bits_everywhere() {
    same_everywhere(
        networks::resnet_18(),
        "fcb16ad4a0036a482e8a95cae3c8009cab26854c355fcc313a327eb51e8e58f9",
    );
}

#[test]
fn a_segmentation_network_has_the_same_bits_everywhere() {
    same_everywhere(
        networks::segmentation(),
        "33ee674f0d415e50908d02ba01b97ee99bcd6b5ffea8e52ce287882a18b13e94",
    );
}

#[test]
fn upsampling_before_a_concatenation_and_additions_are_no_layers_of_their_own() {
    let kinds = |fuse: bool| -> Vec<String> {
        let options = Options { threads: 1, isa: None, fuse };
        let engine = Engine::from_onnx(&networks::segmentation().0, &[], &options).unwrap();
        engine.layers().into_iter().map(|layer| layer.kind).collect()
    };
    let (apart, fused) = (kinds(false), kinds(true));
    let count = |kinds: &[String], wanted: &str| kinds.iter().filter(|k| *k == wanted).count();
    let [nearest, concat, add] = ["nearest", "concat", "add"].map(|kind| count(&apart, kind));
    assert!(nearest > 0 && concat >= nearest && add == 8, "{apart:?}");
    assert_eq!(count(&fused, "nearest+concat"), nearest, "{fused:?}");
    assert_eq!(["nearest", "add"].map(|kind| count(&fused, kind)), [0, 0], "{fused:?}");
    assert_eq!(fused.len(), apart.len() - nearest - add);
}

#[test]
fn a_detection_network_has_the_same_bits_everywhere() {
    same_everywhere(
        networks::detection(),
        "c7770de7a1a9c48b23f8b2308ef8cffed799697f96cda7833b6db0f598a00d5f",
    );
}

#[test]
fn a_network_of_depthwise_convolutions_has_the_same_bits_everywhere() {
    same_everywhere(
        networks::mobile(),
        "eb2760537cf2f28d317f0a7706194e52f4e4385e8456934453c870d9ec6ae67b",
    );
}
