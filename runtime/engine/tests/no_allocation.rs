//! What a run allocates is its results, however deep the network: activations lie in the arena made at load, and the image
//! in memory of its own.
#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "int8/qdq.rs"]
#[expect(dead_code, reason = "not every layer is drawn here")]
mod qdq;

use cap::Cap;
use engine::{Engine, Options};
use qdq::{Layer, Qdq, Rectify};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const SHAPE: [usize; 3] = [3, 48, 48];
const FLOATS: usize = size_of::<f32>();

/// `depth` residual blocks of 32 channels with pooling, attention, resizing and concatenation between, and six logits.
fn network(depth: usize) -> Vec<u8> {
    let (mut net, x) = Qdq::new(9, false, SHAPE);
    let mut y = net.conv(&x, Layer::square(32, 3, 1, Rectify::Relu));
    for _ in 0..depth {
        let a = net.conv(&y, Layer::square(32, 3, 1, Rectify::Relu6));
        let depthwise = Layer { groups: 32, ..Layer::square(32, 3, 1, Rectify::Relu) };
        let b = net.conv(&a, depthwise);
        let sum = net.add(&b, &y, true);
        let pooled = net.pool("MaxPool", &sum, 3, 2);
        let attended = net.attention_pool(&pooled, 4);
        let everywhere = net.upsample(&attended, pooled.shape[1], false);
        let pooled = net.add(&pooled, &everywhere, false);
        let larger = net.upsample(&pooled, 2, false);
        let rest = net.conv(&larger, Layer::square(32, 3, 1, Rectify::Relu));
        let joined = net.concat(&[&rest, &rest]);
        y = net.conv(&joined, Layer::square(32, 1, 1, Rectify::None));
    }
    let mean = net.global_pool(&y);
    let logits = net.linear(&mean, 6, true);
    net.output(&qdq::Real { name: logits, ..mean });
    net.bytes()
}

/// Bytes that three runs allocate, in all, after a first one. The least of five times: threads of the test's harness share
/// the allocator.
fn allocated_by_runs(depth: usize, threads: usize) -> usize {
    let mut engine = Engine::from_onnx(&network(depth), &[], &Options::threads(threads)).unwrap();
    assert!(engine.layers().len() > 7 * depth);
    let image = vec![0.5; SHAPE.iter().product()];
    engine.run(&image).unwrap();
    let mut runs = || {
        let before = ALLOCATOR.total_allocated();
        for _ in 0..3 {
            engine.run(&image).unwrap();
        }
        ALLOCATOR.total_allocated() - before
    };
    (0..5).map(|_| runs()).min().unwrap()
}

#[test]
fn running_allocates_the_results_and_nothing_else() {
    for threads in [1, 3] {
        // Names of equal length, which are part of the results.
        let [shallow, deep] = [1, 5].map(|depth| allocated_by_runs(depth, threads));
        assert_eq!(shallow, deep, "with {threads} threads");
        // Six logits, three times; lists of tensors and names are small change beside the image.
        let image = SHAPE.iter().product::<usize>() * FLOATS;
        assert!(shallow < 3 * 4096, "{shallow} bytes; an image has {image}");
    }
}
