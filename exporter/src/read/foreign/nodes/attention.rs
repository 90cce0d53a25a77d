//! Attention as one operator, from operator set 23 on: written out as products and a softmax.

use super::Call;
use crate::read::foreign::{
    net::Id,
    operator::{Binary, Operator},
};
use anyhow::{Result, bail, ensure};

impl Call<'_, '_> {
    /// Queries, keys and values `[N, heads, tokens, size]`, or `[N, tokens, heads · size]`; perhaps a mask that is
    /// added.
    pub(super) fn attention(&mut self) -> Result<Id> {
        self.attributes.ignore(&["softmax_precision", "qk_matmul_output_mode"]); // of another output
        self.attributes.expect_int("is_causal", 0)?;
        let softcap = self.attributes.float("softcap", 0.0)?;
        ensure!(softcap == 0.0, "attribute `softcap` is {softcap}, which is not supported");
        let heads =
            [self.attributes.int("q_num_heads", 0)?, self.attributes.int("kv_num_heads", 0)?];
        ensure!(heads[0] == heads[1], "attributes `q_num_heads` and `kv_num_heads` are {heads:?}");
        for at in 4..self.node.input.len() {
            ensure!(self.optional(at)?.is_none(), "its input {at}, which is not supported");
        }
        let given = [self.input(0)?, self.input(1)?, self.input(2)?];
        let flat = self.dims(given[0]).len() == 3;
        let mut split = Vec::new();
        for id in given {
            split.push(if flat { self.heads(id, heads[0])? } else { id });
        }
        let sizes = self.dims(split[0]);
        let &[n, count, tokens, size] = &sizes[..] else {
            bail!("queries of {sizes:?}, expected [N, heads, tokens, size]")
        };
        let scale = self.attributes.float("scale", (size as f32).sqrt().recip())?;
        let query = self.times(split[0], scale)?;
        let key = self.push(Operator::Transpose(vec![0, 1, 3, 2]), &[split[1]])?;
        let mut scores = self.push(Operator::MatMul, &[query, key])?;
        if let Some(mask) = self.optional(3)? {
            scores = self.push(Operator::Binary(Binary::Add), &[scores, mask])?;
        }
        let weights = self.push(Operator::Softmax, &[scores])?;
        let made = self.push(Operator::MatMul, &[weights, split[2]])?;
        if !flat {
            return Ok(made);
        }
        let inner = self.dims(made)[3];
        let made = self.push(Operator::Transpose(vec![0, 2, 1, 3]), &[made])?;
        self.push(Operator::Reshape(vec![n, tokens, count * inner]), &[made])
    }

    fn heads(&mut self, x: Id, heads: i64) -> Result<Id> {
        let dims = self.dims(x);
        let heads = usize::try_from(heads).unwrap_or(0);
        let &[n, tokens, width] = &dims[..] else {
            bail!("a tensor of {dims:?}, expected three axes")
        };
        ensure!(
            heads > 0 && width.is_multiple_of(heads),
            "attribute `q_num_heads` is {heads} of {width}"
        );
        let x = self.push(Operator::Reshape(vec![n, tokens, heads, width / heads]), &[x])?;
        self.push(Operator::Transpose(vec![0, 2, 1, 3]), &[x])
    }
}
