//! One optimizer step.

use super::{
    Precision, PretrainConfig,
    loader::{Prepared, mix},
    scale::LossScale,
};
use crate::device;
use crate::prior::{Batch, Losses, Noise, Objective, Prior, Term};
use anyhow::{Context, Result, bail};
use std::rc::Rc;
use tch::{Kind, Tensor, nn};
use torch_ext::{AdamW, Group, Reduce};

/// The model with its optimizer.
#[derive(Debug)]
pub struct Trainer {
    pub prior: Prior,
    pub store: nn::VarStore,
    optimizer: AdamW,
    precision: Precision,
    /// Only in f16.
    scale: Option<LossScale>,
    channels_last: bool,
    clip_norm: Option<f64>,
    weight_decay: f64,
    size: [i64; 2],
    seed: u64,
    group: Option<Rc<Group>>,
}

/// What a step measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Unweighted terms, of the joined batch of all processes.
    pub terms: Vec<(Term, f64)>,
    /// Their weighted sum.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub gradient: f64,
    /// What the loss was multiplied by for the backward pass, where 16 bits ask for it.
    pub scale: Option<f64>,
}

impl Trainer {
    pub fn new(
        prior: Prior,
        store: nn::VarStore,
        config: &PretrainConfig,
        group: Option<Rc<Group>>,
    ) -> Result<Self> {
        if config.channels_last {
            // Convolution kernels in the memory order of their images.
            for (_, mut tensor) in store.variables() {
                if tensor.dim() == 4 {
                    let ordered = tch::no_grad(|| torch_ext::channels_last(&tensor))?;
                    tensor.set_data(&ordered.detach());
                }
            }
        }
        let optimizer = AdamW::new(trained(&store), config.weight_decay);
        let precision = config.precision.on(store.device())?;
        Ok(Self {
            prior,
            optimizer,
            precision,
            scale: (precision == Precision::F16).then(LossScale::default),
            channels_last: config.channels_last,
            clip_norm: config.clip_norm,
            weight_decay: config.weight_decay,
            size: [config.preprocess.height as i64, config.preprocess.width as i64],
            seed: config.seed,
            group,
            store,
        })
    }

    /// A new stage begins: forgets what the optimizer knows.
    pub fn reset_optimizer(&mut self) {
        self.optimizer = AdamW::new(trained(&self.store), self.weight_decay);
    }

    pub fn optimizer(&mut self) -> &mut AdamW {
        &mut self.optimizer
    }

    /// The loss scale, which a resumed run goes on with.
    pub fn scale(&mut self) -> Option<&mut LossScale> {
        self.scale.as_mut()
    }

    /// One step on these batches, whose gradients are averaged. `number` counts steps over all stages and
    /// with the seed decides the dropout and the Gumbel noise, so that a resumed run draws the same.
    ///
    /// Fails on a loss or gradient that is not finite, before it can reach the weights. With a loss scale, a gradient
    /// that is not finite only lowers the scale and leaves the step out.
    ///
    /// The host waits for the device at the end, to read the losses, and where sentences are matched; nowhere else.
    pub fn step(
        &mut self,
        batches: &[Prepared],
        objective: &Objective,
        rate: f64,
        number: u64,
    ) -> Result<Outcome> {
        self.optimizer.clear_grads();
        let share = 1.0 / batches.len() as f64;
        let factor = self.scale.as_ref().map(LossScale::factor);
        let mut measured: Option<Tensor> = None; // terms, then their weighted sum
        let mut names = Vec::new();
        for (micro, prepared) in batches.iter().enumerate() {
            self.seed_step(number, micro as u64);
            let losses = self.forward(prepared, objective)?;
            let total = losses.total(&objective.weights) * share;
            (&total * factor.unwrap_or(1.0)).backward();
            names = losses.terms.iter().map(|(term, _)| *term).collect();
            let mut values: Vec<Tensor> = losses
                .terms
                .iter()
                .map(|(_, loss)| loss.detach().to_kind(Kind::Float) * share)
                .collect();
            values.push(total.detach().to_kind(Kind::Float));
            let values = Tensor::stack(&values, 0);
            measured = Some(match measured {
                None => values,
                Some(sum) => sum + values,
            });
        }
        let measured = measured.context("a step needs a batch")?;
        self.average_gradients()?;
        if let Some(factor) = factor {
            let inverse = Tensor::full([], 1.0 / factor, (Kind::Float, self.store.device()));
            // What it finds is in the gradients' norm too.
            let _ = self.optimizer.unscale(&inverse)?;
        }
        let norm = self.optimizer.clip_grad_norm(self.clip_norm)?.to_kind(Kind::Float);
        let joined = self.mean(&measured)?;
        let measured = Tensor::cat(&[measured, norm.view([1])], 0);
        // The losses of all processes, and their one gradient.
        let unfit = |x: &Tensor| x.isfinite().all().logical_not().to_kind(Kind::Float).view([1]);
        let terms = names.len() as i64 + 1;
        let skip = Tensor::cat(&[unfit(&measured.narrow(0, 0, terms)), unfit(&measured)], 0);
        if let Some(group) = &self.group {
            group.all_reduce(&skip, Reduce::Max)?; // all processes stop, or none
        }
        self.optimizer.step(rate, &skip.get(1))?;
        self.prior.clamp_logit_scales();

        let all = Tensor::cat(&[measured, skip, joined], 0);
        let values = Vec::<f32>::try_from(device::download(&all))?;
        let (own, values) = values.split_at(names.len() + 2);
        let (unfit, joined) = values.split_at(2);
        let (loss_unfit, skipped) = (unfit[0] != 0.0, unfit[1] != 0.0);
        if loss_unfit || (skipped && factor.is_none()) {
            bail!("{} (step {number}, batch {})", complaint(&names, own), ids(batches));
        }
        let outcome = Outcome {
            terms: names.iter().copied().zip(joined.iter().copied().map(f64::from)).collect(),
            loss: f64::from(joined[names.len()]),
            gradient: f64::from(own[names.len() + 1]),
            scale: factor,
        };
        if let Some(scale) = &mut self.scale {
            scale
                .update(!skipped)
                .with_context(|| format!("step {number}, batch {}", ids(batches)))?;
        }
        Ok(outcome)
    }

    /// The batch through the model in training mode.
    pub fn forward(&self, prepared: &Prepared, objective: &Objective) -> Result<Losses> {
        let device = self.store.device();
        let [h, w] = self.size;
        let image =
            device::upload(&Tensor::from_slice(&prepared.images).view([-1, 1, h, w]), device);
        let image = if self.channels_last { torch_ext::channels_last(&image)? } else { image };
        let batch = Batch::new(image, &prepared.reports, device);
        let kind = self.precision.autocast();
        Ok(torch_ext::autocast(device, kind, || {
            self.prior.losses(&batch, objective, &Noise::default(), true)
        })?)
    }

    fn seed_step(&self, number: u64, micro: u64) {
        let rank = self.group.as_ref().map_or(0, |group| group.rank as u64);
        tch::manual_seed(mix(&[self.seed, number, micro, rank]) as i64);
    }

    /// Losses of the joined batch: a mean over the processes, as their gradients are.
    fn mean(&self, own: &Tensor) -> Result<Tensor> {
        let mean = own.copy();
        let Some(group) = &self.group else { return Ok(mean) };
        group.all_reduce(&mean, Reduce::Sum)?;
        Ok(mean / group.world as f64)
    }

    /// One collective for all gradients of each kind.
    fn average_gradients(&self) -> Result<()> {
        let Some(group) = &self.group else { return Ok(()) };
        let gradients = self.optimizer.gradients();
        let flat: Vec<Tensor> = gradients.iter().map(|g| g.reshape([-1])).collect();
        let joined = Tensor::cat(&flat, 0);
        group.all_reduce(&joined, Reduce::Sum)?;
        let joined = joined / group.world as f64;
        let mut at = 0;
        tch::no_grad(|| {
            for gradient in gradients {
                let n = gradient.numel() as i64;
                gradient.shallow_clone().copy_(&joined.narrow(0, at, n).view_as(&gradient));
                at += n;
            }
        });
        Ok(())
    }
}

/// Named parameters that learn, in the order of their names.
pub(super) fn trained(store: &nn::VarStore) -> Vec<(String, Tensor)> {
    let mut all: Vec<_> =
        store.variables().into_iter().filter(|(_, tensor)| tensor.requires_grad()).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Which of this process's numbers, its terms, their sum and the gradient's norm, is not one.
fn complaint(names: &[Term], own: &[f32]) -> String {
    let mut terms = names.iter().zip(own);
    let (loss, gradient) = (own[names.len()], own[names.len() + 1]);
    match terms.find(|(_, loss)| !loss.is_finite()) {
        Some((term, loss)) => format!("the {term} loss is {loss}"),
        None if !loss.is_finite() => format!("the loss is {loss}"),
        None if !gradient.is_finite() => format!("the gradient's norm is {gradient}"),
        None => "another process found a loss that is not finite".to_owned(),
    }
}

fn ids(batches: &[Prepared]) -> String {
    let ids: Vec<&str> = batches.iter().flat_map(|b| b.ids.iter().map(String::as_str)).collect();
    ids.join(", ")
}
