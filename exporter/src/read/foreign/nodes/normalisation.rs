//! Normalisations that a file names as such.

use super::{Call, axis};
use crate::read::foreign::{net::Id, operator::Operator, tensor::Tensor};
use anyhow::{Context, Result, bail, ensure};

impl Call<'_, '_> {
    pub(super) fn batch_norm(&mut self) -> Result<Id> {
        self.attributes.ignore(&["momentum"]);
        self.attributes.expect_int("training_mode", 0)?;
        self.attributes.expect_int("spatial", 1)?;
        // Before operator set 14, this is how a file says that it is for training.
        let more = self.node.output.iter().skip(1).find(|name| !name.is_empty());
        if let Some(more) = more {
            bail!("output `{more}` has the statistics of a batch: exported for training");
        }
        let eps = self.attributes.float("epsilon", 1e-5)?;
        let mut inputs = vec![self.input(0)?];
        for at in 1..5 {
            self.constant(at)?.context("its statistics are missing")?;
            inputs.push(self.input(at)?);
        }
        self.push(Operator::BatchNorm { eps }, &inputs)
    }

    pub(super) fn instance_norm(&mut self) -> Result<Id> {
        let eps = self.attributes.float("epsilon", 1e-5)?;
        let inputs = self.scaled_and_shifted()?;
        let groups = *self.dims(inputs[0]).get(1).context("it has no channels")?;
        self.push(Operator::GroupNorm { groups, eps }, &inputs)
    }

    /// Operator set 18 has one number for each group, 21 one for each channel.
    pub(super) fn group_norm(&mut self) -> Result<Id> {
        self.attributes.expect_int("stash_type", 1)?;
        let eps = self.attributes.float("epsilon", 1e-5)?;
        let groups = usize::try_from(self.attributes.int("num_groups", 0)?)?;
        let mut inputs = self.scaled_and_shifted()?;
        let channels = *self.dims(inputs[0]).get(1).context("it has no channels")?;
        if self.builder.opset < 21 && groups != channels && groups > 0 {
            for (at, input) in inputs.iter_mut().enumerate().skip(1) {
                let tensor = self.constant(at)?.context("it is missing")?;
                let (values, times) = (tensor.as_floats()?, channels / groups);
                ensure!(values.len() == groups, "{} numbers for {groups} groups", values.len());
                let each = values.iter().flat_map(|&value| std::iter::repeat_n(value, times));
                let each = Tensor::floats(vec![times * groups], each.collect());
                *input = self.builder.constant(each)?;
            }
        }
        self.push(Operator::GroupNorm { groups, eps }, &inputs)
    }

    /// From an axis to the last.
    pub(super) fn layer_norm(&mut self) -> Result<Id> {
        self.attributes.expect_int("stash_type", 1)?;
        let eps = self.attributes.float("epsilon", 1e-5)?;
        let x = self.input(0)?;
        let dims = self.dims(x);
        let from = axis(self.attributes.int("axis", -1)?, dims.len())?;
        let count: usize = dims[from..].iter().product();
        let mut inputs =
            vec![self.push(Operator::Reshape([&dims[..from], &[count]].concat()), &[x])?];
        for (at, otherwise) in [(1, 1.0), (2, 0.0)] {
            let found = match self.constant(at)? {
                Some(_) => self.input(at)?,
                None => self.builder.constant(Tensor::scalar(otherwise))?,
            };
            // Either may be smaller than what is normalised.
            let whole = self.push(Operator::Expand(dims[from..].to_vec()), &[found])?;
            inputs.push(self.push(Operator::Reshape(vec![count]), &[whole])?);
        }
        let made = self.push(Operator::LayerNorm { eps }, &inputs)?;
        self.push(Operator::Reshape(dims), &[made])
    }

    fn scaled_and_shifted(&mut self) -> Result<Vec<Id>> {
        for at in 1..3 {
            self.constant(at)?.context("its scale or shift is missing")?;
        }
        Ok(vec![self.input(0)?, self.input(1)?, self.input(2)?])
    }
}
