//! Phrases read by candle and folded, beside trainer's own reading with libtorch.

use crate::{
    fixtures::prior::{self, PICTURES, PriorPlace},
    passes::{
        fold,
        interpreter::{Interpreter, output},
        shares,
    },
    prompts::{
        float::{FloatPrompt, FloatSide},
        text::TextEncoder,
    },
    read::{checkpoint::Checkpoint, images::Input, prior::Prior, weights::Weights},
};
use checkpoint::prior::Quirks;
use graph::{Backbone, LANGUAGE_GLOBAL, LANGUAGE_GLOBAL_PLACES, LANGUAGE_PLACES};
use serde_json::json;
use tch::{Device, Kind, Tensor};
use trainer::{
    evaluate_text::prompted,
    metrics::bootstrap::Resampling,
    prior::{Batch, Trained},
};

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(tensor.to_kind(Kind::Double).contiguous().view([-1])).unwrap()
}

fn close(a: &[f64], b: &[f64], most: f64, what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let off = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off < most, "{what}: {off}");
}

#[test]
fn phrases_are_read_as_the_trainer_reads_them() {
    for (prototypes, quirks) in [
        (false, Quirks::default()),
        (true, Quirks::default()),
        (true, Quirks { prompt: true, scale: true, ..Quirks::default() }),
    ] {
        let place = PriorPlace::new(prototypes);
        prior::save(&place.checkpoint, Backbone::Resnet18, prototypes, quirks);
        let ours = Prior::open(&place.checkpoint).unwrap();
        let encoder = TextEncoder::new(&ours).unwrap();
        let theirs = Trained::open(&place.checkpoint, Device::Cpu).unwrap();
        let objective = theirs.objective().unwrap();
        let scale = numbers(&theirs.prior.zero_shot_scale())[0];
        assert!((scale - f64::from(ours.scale)).abs() < 1e-5, "{scale}");
        let wave = Tensor::arange(3 * 32, (Kind::Float, Device::Cpu)) * 0.7;
        let places = wave.sin().view([1, 3, 32]);
        for sentence in prior::SENTENCES {
            let phrase = encoder.read(sentence).unwrap();
            let encoded = theirs.phrase(sentence).unwrap();
            let empty = Tensor::zeros([1], (Kind::Float, Device::Cpu));
            let batch = Batch::new(empty, &[encoded], Device::Cpu);
            let text = tch::no_grad(|| theirs.prior.embed_reports(&batch, &objective));
            close(&numbers(&text), &phrase.text, 1e-5, sentence);
            let side = FloatSide::of(&ours, &[phrase]).unwrap();
            let logits = tch::no_grad(|| theirs.prior.local_logits(&places, &batch, &objective));
            let folded = |factors: &[f64], bias: f64| -> Vec<f64> {
                let dot =
                    |place: &[f64]| place.iter().zip(factors).map(|(a, b)| a * b).sum::<f64>();
                numbers(&places).chunks_exact(32).map(|place| dot(place) + bias).collect()
            };
            let [look, listen] = logits.map(|logits| numbers(&logits));
            close(&look, &folded(&side.look, side.look_bias), 1e-4, sentence);
            close(&listen, &folded(&side.listen, side.listen_bias), 1e-4, sentence);
        }
    }
}

#[test]
fn a_finding_scores_as_the_trainer_scores_it() {
    let place = PriorPlace::new(true);
    let index = place.index(|at| json!({ "Effusion": u8::from(at % 3 == 0) }));
    let ours = Prior::open(&place.checkpoint).unwrap();
    let encoder = TextEncoder::new(&ours).unwrap();
    let findings = words::findings(&place.findings).unwrap();
    let read = |own: &words::Finding| {
        FloatPrompt::read(&ours, &encoder, &own.positive, &own.negative).unwrap()
    };
    let prompts: Vec<FloatPrompt> = findings.iter().map(read).collect();
    let checkpoint = Checkpoint::open(&place.checkpoint).unwrap();
    let (graph, weights) =
        shares::with_projections(&ours, &checkpoint.graph, &checkpoint.weights).unwrap();
    let (graph, weights) = fold::fold(&graph, &weights);
    let network = Interpreter::new(&graph, &weights).unwrap();

    let theirs = Trained::open(&place.checkpoint, Device::Cpu).unwrap();
    let records = records::read(&index).unwrap();
    let resampling = Resampling { replicates: 10, seed: 0 };
    let found = prompted(&theirs, &records, records::Split::Val, &findings, resampling).unwrap();
    assert_eq!(found.answers.len(), PICTURES / 2);
    assert!(found.findings[0].auroc.is_some() && found.findings[1].auroc.is_none());
    for answer in &found.answers {
        let path = place.folder.path().join(format!("images/{}.png", answer.id));
        let input = Input::read(&path, &checkpoint.config.preprocess).unwrap();
        let outputs = network.outputs(&input.pixels).unwrap();
        let global = output(&outputs, LANGUAGE_GLOBAL).unwrap();
        let places = output(&outputs, LANGUAGE_PLACES).unwrap();
        let scores = prompts.iter().map(|own| own.score(global, places, f64::from(ours.scale)).raw);
        let expected: Vec<f64> = answer.scores.iter().map(|&x| f64::from(x)).collect();
        close(&scores.collect::<Vec<_>>(), &expected, 1e-4, &answer.id);
    }
}

/// Of a sum of products, the part of an operand is the operand times its gradient. So autograd tells every part of the
/// pooled image, with the attention held: that of each place's features, of its position, of the mean's position; the
/// rest are biases, which every place has alike.
#[test]
fn places_add_to_an_attention_pool_what_autograd_says() {
    let place = PriorPlace::attentive();
    let ours = Prior::open(&place.checkpoint).unwrap();
    let checkpoint = Checkpoint::open(&place.checkpoint).unwrap();
    let (graph, weights) =
        shares::with_projections(&ours, &checkpoint.graph, &checkpoint.weights).unwrap();
    let network = Interpreter::new(&graph, &weights).unwrap();
    let of = |weights: &Weights, name: &str| {
        let array = &weights[name];
        let shape: Vec<i64> = array.shape.iter().map(|&side| side as i64).collect();
        Tensor::from_slice(&array.values).view(&shape[..]).to_kind(Kind::Double)
    };
    let pool = |part: &str| of(&checkpoint.weights, &format!("attnpool.{part}"));
    let layer = |x: &Tensor, name: &str| {
        x.linear(&pool(&format!("{name}.weight")), Some(&pool(&format!("{name}.bias"))))
    };
    let (heads, places) = (8, 4);
    for at in 0..3 {
        let path = place.folder.path().join(format!("images/{at}.png"));
        let input = Input::read(&path, &checkpoint.config.preprocess).unwrap();
        let pooled = checkpoint.graph.pooled().unwrap().0.inputs[0].clone();
        let mut map = Vec::new();
        let outputs = network.run(&input.pixels, |name, values| {
            if name == pooled {
                map = values.to_vec();
            }
            None
        });
        let map = Tensor::from_slice(&map).view([-1, places]).tr().to_kind(Kind::Double);
        let features = map.contiguous().set_requires_grad(true); // [P, C]
        let positions = pool("positional_embedding").set_requires_grad(true); // [1 + P, C]
        let mean = features.mean_dim([0_i64].as_slice(), true, None);
        let tokens = Tensor::cat(&[&mean, &features], 0) + &positions;
        let split = |x: Tensor| x.view([-1, heads, x.size()[1] / heads]).transpose(0, 1);
        let (question, keys) =
            (split(layer(&tokens.narrow(0, 0, 1), "q_proj")), split(layer(&tokens, "k_proj")));
        let scale = (keys.size()[2] as f64).sqrt();
        let attention = (question.matmul(&keys.transpose(1, 2)) / scale).softmax(-1, None).detach();
        let answers = attention.matmul(&split(layer(&tokens, "v_proj"))); // [heads, 1, d]
        let pooled = layer(&answers.view([1, -1]), "c_proj");
        let [weight, bias] = ["weight", "bias"]
            .map(|part| of(&ours.weights, &format!("global_image_projection.{part}")));
        let whole = pooled.linear(&weight, Some(&bias)).view([-1]);
        let expected: Vec<Tensor> = (0..whole.size()[0])
            .map(|at| {
                let inputs = [&features, &positions];
                let gradients = Tensor::run_backward(&[whole.get(at)], &inputs, true, false);
                let part = |x: &Tensor, gradient: &Tensor| {
                    (x * gradient).sum_dim_intlist([1_i64].as_slice(), false, None)
                };
                let of_features = part(&features, &gradients[0]);
                let of_positions = part(&positions, &gradients[1]);
                let rest = whole.get(at) - of_features.sum(None) - of_positions.sum(None);
                let own = of_features + of_positions.narrow(0, 1, places);
                own * places as f64 + of_positions.get(0) + rest
            })
            .collect();
        let expected = numbers(&Tensor::stack(&expected, 0).detach());
        let outputs = outputs.unwrap();
        let found = output(&outputs, LANGUAGE_GLOBAL_PLACES).unwrap();
        let found: Vec<f64> = found.iter().map(|&x| f64::from(x)).collect();
        let most = expected.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        close(&found, &expected, 1e-5 * most, &format!("picture {at}"));
    }
}
