//! CLIP's attention pool in standard ONNX operators; the float teacher is exported with it.

use super::builder::{Attr, Builder};
use crate::read::weights::Weights;
use graph::{Node, Op};

/// `[B, C, H, W]` → `[B, C]`: mean token and tokens, one query, scaled dot products.
pub(super) fn attention_pool(onnx: &mut Builder, weights: &Weights, node: &Node, output: &str) {
    let Op::AttentionPool2d { channels, heads, .. } = node.op else {
        unreachable!("only attention pools are written here")
    };
    let Node { name, inputs, .. } = node;
    let t = |part: &str| format!("{name}.{part}");
    let (c, heads) = (channels as i64, heads as i64);
    onnx.i64(&t("flat_shape"), &[3], &[0, c, -1]);
    onnx.i64(&t("head_shape"), &[4], &[0, -1, heads, c / heads]);
    onnx.i64(&t("out_shape"), &[2], &[-1, c]);
    onnx.i64(&t("first"), &[1], &[0]);
    onnx.i64(&t("second"), &[1], &[1]);
    onnx.f32(&t("scale"), &[], &[((channels as i64 / heads) as f32).powf(-0.5)]);

    let mut node = |op: &str, inputs: &[&str], out: &str, attributes: &[(&str, Attr<'_>)]| {
        onnx.node(op, out, inputs, out, attributes);
    };
    let ints = |values: &[i64]| Attr::Ints(values.to_vec());
    node("Reshape", &[&inputs[0], &t("flat_shape")], &t("flat"), &[]);
    node("Transpose", &[&t("flat")], &t("patches"), &[("perm", ints(&[0, 2, 1]))]);
    let mean = [("axes", ints(&[1])), ("keepdims", Attr::Int(1))];
    node("ReduceMean", &[&t("patches")], &t("mean"), &mean);
    node("Concat", &[&t("mean"), &t("patches")], &t("joined"), &[("axis", Attr::Int(1))]);
    node("Add", &[&t("joined"), &t("positional_embedding")], &t("tokens"), &[]);
    let first = [&t("tokens") as &str, &t("first"), &t("second"), &t("second")];
    node("Slice", &first, &t("query"), &[]);
    for (letter, source) in [("q", "query"), ("k", "tokens"), ("v", "tokens")] {
        let projection = t(&format!("{letter}_proj"));
        let transposed = format!("{projection}.transposed");
        node("Transpose", &[&format!("{projection}.weight")], &transposed, &[]);
        node("MatMul", &[&t(source), &transposed], &format!("{projection}.product"), &[]);
        let operands = [format!("{projection}.product"), format!("{projection}.bias")];
        node("Add", &[&operands[0], &operands[1]], &projection, &[]);
        node("Reshape", &[&projection, &t("head_shape")], &t(&format!("{letter}.split")), &[]);
        // Keys go in transposed: [B, heads, C / heads, tokens].
        let perm = if letter == "k" { ints(&[0, 2, 3, 1]) } else { ints(&[0, 2, 1, 3]) };
        node("Transpose", &[&t(&format!("{letter}.split"))], &t(letter), &[("perm", perm)]);
    }
    node("MatMul", &[&t("q"), &t("k")], &t("products"), &[]);
    node("Mul", &[&t("products"), &t("scale")], &t("scores"), &[]);
    node("Softmax", &[&t("scores")], &t("weights"), &[("axis", Attr::Int(-1))]);
    node("MatMul", &[&t("weights"), &t("v")], &t("answers"), &[]);
    node("Transpose", &[&t("answers")], &t("merged"), &[("perm", ints(&[0, 2, 1, 3]))]);
    node("Reshape", &[&t("merged"), &t("out_shape")], &t("pooled"), &[]);
    let last = [&t("pooled") as &str, &t("c_proj.weight"), &t("c_proj.bias")];
    node("Gemm", &last, output, &[("transB", Attr::Int(1))]);

    for (param, array) in weights.iter().filter(|(param, _)| param.starts_with(&t(""))) {
        onnx.f32(param, &array.shape, &array.values);
    }
}
