//! Bytes from outside: whatever they are, loading ends soon, with an error or a network that runs.

use crate::qdq::{self, Layer, Qdq, Rectify};
use engine::{Engine, Options};
use proptest::prelude::*;
use prost::Message;
use tract_onnx::pb::ModelProto;

fn small() -> ModelProto {
    let (mut net, x) = Qdq::new(3, false, [2, 8, 8]);
    let a = net.conv(&x, Layer::square(4, 3, 2, Rectify::Relu6));
    let b = net.conv(&a, Layer::square(4, 1, 1, Rectify::None));
    let sum = net.add(&a, &b, true);
    let up = net.upsample(&sum, 2, false);
    let joined = net.concat(&[&up, &x]);
    let pooled = net.pool("MaxPool", &joined, 3, 2);
    let mean = net.global_pool(&pooled);
    let attended = net.attention_pool(&pooled, 2);
    net.output(&attended);
    let logits = net.linear(&mean, 3, true);
    let probability = net.float("Softmax", &[&logits], vec![]);
    net.output(&qdq::Real { name: probability, ..mean });
    net.model()
}

/// Loads, and runs what loads.
fn survives(bytes: &[u8]) {
    let options = Options { threads: 1, isa: Some("scalar".into()), fuse: true };
    if let Ok(mut engine) = Engine::from_onnx(bytes, &["conv".into()], &options) {
        let count = engine.input_shape().iter().product();
        let _ = engine.run(&vec![0.25; count]);
    }
}

#[test]
fn the_untouched_model_runs() {
    let mut engine =
        Engine::from_onnx(&small().encode_to_vec(), &[], &Options::threads(1)).unwrap();
    let outputs = engine.run(&[0.25; 128]).unwrap();
    assert!((outputs.outputs[1].data.iter().sum::<f32>() - 1.0).abs() < 1e-5);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_is_no_model(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        survives(&bytes);
    }

    #[test]
    fn flipped_and_lost_bytes_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let mut bytes = small().encode_to_vec();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        survives(&bytes);
    }

    /// Changes the protobuf still says are fine: numbers, shapes, references.
    #[test]
    fn well_formed_nonsense_never_panics(
        choices in prop::collection::vec((0_u8..8, any::<prop::sample::Index>(), any::<i64>()), 1..4),
    ) {
        let mut model = small();
        let graph = model.graph.as_mut().unwrap();
        for (kind, at, number) in choices {
            let odd = [0, -1, 1, 3, i64::MAX, i64::MIN, 1 << 20, number][at.index(8)];
            let node = at.index(graph.node.len());
            let tensor = at.index(graph.initializer.len());
            match kind {
                0 => graph.initializer[tensor].dims = vec![odd; 1 + node % 4],
                1 => graph.initializer[tensor].raw_data.iter_mut().for_each(|b| *b = odd as u8),
                2 => graph.node[node].attribute.iter_mut().for_each(|a| {
                    a.i = odd;
                    a.ints.iter_mut().for_each(|i| *i = odd);
                }),
                3 => { graph.node.remove(node); }
                4 => {
                    let other = graph.node[(node + 3) % graph.node.len()].op_type.clone();
                    graph.node[node].op_type = other;
                }
                5 => { graph.node[node].input.truncate(odd.rem_euclid(3) as usize); }
                6 => {
                    let from = graph.node[(node * 7) % graph.node.len()].output[0].clone();
                    if let Some(input) = graph.node[node].input.first_mut() { *input = from; }
                }
                _ => graph.initializer[tensor].data_type = (odd % 17) as i32,
            }
            if graph.node.is_empty() { break; }
        }
        survives(&model.encode_to_vec());
    }
}
