//! What places add to an attention pool, on integers: held to ONNX Runtime and the file's meaning, and to float by what
//! rounding explains.

use super::{
    language::{language, nothing, quantize},
    oracles, run,
};
use crate::{
    fixtures::prior::PriorPlace,
    passes::{
        fold,
        interpreter::{Interpreter, Outputs, output},
        quantized::{is_layer, most_of},
        shares,
    },
    read::{checkpoint::Checkpoint, images::Input, prior::Prior, weights::Weights},
    verify::Network,
};
use bundle::section;
use calibration::{QuantParams, Range, quantize_weights};
use graph::{Graph, LANGUAGE_GLOBAL, LANGUAGE_GLOBAL_PLACES, Op};
use prost::Message;
use std::f64::consts::SQRT_2;
use tract_onnx::pb::ModelProto;

#[test]
fn every_code_of_the_shares_of_an_attention_pool_is_what_the_file_means() {
    let place = PriorPlace::attentive();
    let bundle = quantize(&place, &place.index(nothing), "a.bundle", false).unwrap();
    assert!(language(&bundle).usual.is_some() && bundle.manifest.float_nodes.is_empty());
    let network = Network::open(&[], bundle.require(section::MODEL).unwrap()).unwrap();
    let share = network.integer_share();
    assert_eq!((share.float_macs, share.float_nodes.len()), (0, 0), "{share:?}");
    let model = ModelProto::decode(bundle.require(section::MODEL).unwrap()).unwrap();
    let weights = "attnpool.mean_values.weight.q";
    let tensors = model.graph.unwrap().initializer;
    let codes = &tensors.iter().find(|tensor| tensor.name == weights).unwrap().raw_data;
    let most = codes.iter().map(|&code| code.cast_signed().unsigned_abs()).max();
    assert_eq!(most, Some(64), "{weights}");
    let [file, out] = ["a.bundle", "dump"].map(|name| place.folder.path().join(name));
    run(&[&"check", &file]).unwrap();
    run(&[&"dump", &file, &"--out", &out]).unwrap();
    for picture in oracles::judged(&out).into_iter().flatten() {
        assert!(picture["to_the_bit"].as_u64().unwrap() >= 40, "{picture}");
    }
}

/// Squares of differences, summed over an output's values.
#[derive(Clone, Copy, Debug, Default)]
struct Noise {
    /// Of `G`.
    shares: f64,
    /// Of `mean G − v`, which is 0 in float.
    mean: f64,
}

impl Noise {
    fn add(&mut self, float: &Outputs, rounded: &Outputs) {
        let of = |outputs, name| output(outputs, name).unwrap();
        let [real, shares] = [float, rounded].map(|it| of(it, LANGUAGE_GLOBAL_PLACES));
        let whole = of(rounded, LANGUAGE_GLOBAL);
        let square = |x: f32| f64::from(x) * f64::from(x);
        self.shares += real.iter().zip(shares).map(|(a, b)| square(a - b)).sum::<f64>();
        let places = shares.len() / whole.len();
        let means = shares.chunks_exact(places).map(|row| row.iter().sum::<f32>() / places as f32);
        self.mean += means.zip(whole).map(|(mean, whole)| square(mean - whole)).sum::<f64>();
    }
}

/// Roundings that have nothing in common add up by their squares: what each tensor of codes, each layer's weights and each
/// constant does to the float network alone makes what they do together. The margin is √2, twice the power. Codes that are
/// only moved count again, so `G` stays well below.
#[test]
fn shares_of_an_attention_pool_are_off_by_what_its_roundings_make_together() {
    let place = PriorPlace::attentive();
    let bundle = quantize(&place, &place.index(nothing), "a.bundle", false).unwrap();
    let network = Network::open(&[], bundle.require(section::MODEL).unwrap()).unwrap();
    let prior = Prior::open(&place.checkpoint).unwrap();
    let checkpoint = Checkpoint::open(&place.checkpoint).unwrap();
    let (graph, weights) =
        shares::with_projections(&prior, &checkpoint.graph, &checkpoint.weights).unwrap();
    let (graph, weights) = fold::fold(&graph, &weights);
    let (mut found, mut alone) = (Noise::default(), Noise::default());
    for at in [0, 11, 23, 37] {
        let path = place.folder.path().join(format!("images/{at}.png"));
        let Input { pixels, .. } = Input::read(&path, &bundle.manifest.preprocess).unwrap();
        let real = Interpreter::new(&graph, &weights).unwrap();
        let float = real.outputs(&pixels).unwrap();
        let (int8, activations) = network.infer_all(&pixels).unwrap();
        found.add(&float, &int8);
        for tensor in activations {
            let params = QuantParams { scale: tensor.scale, zero: tensor.zero };
            let round = |own: &str, values: &[f32]| {
                let rounded = || values.iter().map(|&x| params.round_trip(x)).collect();
                (own == tensor.tensor).then(rounded)
            };
            alone.add(&float, &real.run(&pixels, round).unwrap());
        }
        for rounded in rounded_one_by_one(&graph, &weights) {
            let real = Interpreter::new(&graph, &rounded).unwrap();
            alone.add(&float, &real.outputs(&pixels).unwrap());
        }
    }
    let ratios = [found.shares / alone.shares, found.mean / alone.mean].map(f64::sqrt);
    assert!(ratios.iter().all(|ratio| (0.3..SQRT_2).contains(ratio)), "{ratios:?}");
}

/// Without biases, the input's step does not matter.
const STEP: QuantParams = QuantParams { scale: 1.0, zero: 0 };

/// The network with the weights of one layer, or one constant, as eight bits have them; each in turn.
fn rounded_one_by_one(graph: &Graph, weights: &Weights) -> Vec<Weights> {
    let rounded = |node: &graph::Node| {
        let constant = matches!(node.op, Op::AddConstant { .. });
        let name = format!("{}.{}", node.name, if constant { "constant" } else { "weight" });
        let values = &weights[&name].values;
        let values: Vec<f32> = if constant {
            let reach = values.iter().fold(0.0_f32, |reach, x| reach.max(x.abs()));
            let params = Range { lo: -reach, hi: reach }.symmetric();
            values.iter().map(|&x| params.round_trip(x)).collect()
        } else {
            let outputs = weights[&name].shape[0];
            let quantized =
                quantize_weights(values, &vec![0.0; outputs], STEP, most_of(&node.name));
            let rows = quantized.values.chunks(values.len() / outputs).zip(&quantized.scales);
            rows.flat_map(|(row, scale)| row.iter().map(move |&q| f32::from(q) * scale)).collect()
        };
        let mut all = weights.clone();
        all.get_mut(&name).unwrap().values = values;
        all
    };
    let own = |node: &&graph::Node| is_layer(node) || matches!(node.op, Op::AddConstant { .. });
    graph.nodes.iter().filter(own).map(rounded).collect()
}
