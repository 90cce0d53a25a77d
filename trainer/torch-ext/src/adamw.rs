//! AdamW (Loshchilov & Hutter 2019) by libtorch's fused kernel: one call for all parameters.

use crate::ffi::{self, check, handle, handles, owned};
use crate::{Error, clear_grad};
use std::{collections::HashMap, ffi::c_int, ptr};
use tch::{Kind, Tensor};

/// The optimizer and its state, one entry per parameter.
#[derive(Debug)]
pub struct AdamW {
    entries: Vec<Entry>,
    weight_decay: f64,
}

#[derive(Debug)]
struct Entry {
    name: String,
    parameter: Tensor,
    /// Running mean of the gradient and of its square; a parameter that has never had one needs no memory for it.
    running: Option<[Tensor; 2]>,
    /// Steps taken, `[]` f32 as the kernel wants it.
    step: Tensor,
}

const BETAS: (f64, f64) = (0.9, 0.999);
const EPS: f64 = 1e-8;

impl AdamW {
    /// Fresh state for these named parameters.
    pub fn new(parameters: Vec<(String, Tensor)>, weight_decay: f64) -> Self {
        let entry = |(name, parameter): (String, Tensor)| Entry {
            name,
            running: None,
            step: Tensor::zeros([], (Kind::Float, parameter.device())),
            parameter,
        };
        Self { entries: parameters.into_iter().map(entry).collect(), weight_decay }
    }

    /// One step at this learning rate. Parameters without a gradient are left alone.
    ///
    /// `skip` is a `[]` f32 tensor: where it is 1 nothing changes. It is read on the device, so that a
    /// loss that is not finite never reaches the weights and nobody waits to find out.
    pub fn step(&mut self, rate: f64, skip: &Tensor) -> Result<(), Error> {
        for entry in self.entries.iter_mut().filter(|e| e.parameter.grad().defined()) {
            entry.begin();
        }
        let with_grad = self.with_grad();
        if with_grad.is_empty() {
            return Ok(());
        }
        let grads: Vec<Tensor> = with_grad.iter().map(|entry| entry.parameter.grad()).collect();
        let column = |of: fn(&Entry) -> &Tensor| handles(with_grad.iter().map(|entry| of(entry)));
        let running = |which: usize| {
            let begun = with_grad.iter().filter_map(|entry| entry.running.as_ref());
            handles(begun.map(|running| &running[which]))
        };
        let (parameters, steps) = (column(|e| &e.parameter), column(|e| &e.step));
        let (means, squares) = (running(0), running(1));
        let grads = handles(&grads);
        // SAFETY: five lists of `n` live tensors; libtorch checks that shapes and kinds agree.
        check(unsafe {
            ffi::ext_fused_adamw(
                parameters.as_ptr(),
                grads.as_ptr(),
                means.as_ptr(),
                squares.as_ptr(),
                steps.as_ptr(),
                grads.len() as c_int,
                rate,
                BETAS.0,
                BETAS.1,
                self.weight_decay,
                EPS,
                handle(skip),
            )
        })
    }

    /// Forgets all gradients.
    pub fn clear_grads(&mut self) {
        self.entries.iter().for_each(|entry| clear_grad(&entry.parameter));
    }

    /// The norm of all gradients together, `[]`; with `max`, they are scaled down to it. Waits for nothing.
    pub fn clip_grad_norm(&self, max: Option<f64>) -> Result<Tensor, Error> {
        let (keep, n) = self.grads();
        let mut norm = ptr::null_mut();
        // SAFETY: `n` live tensors in, a fresh one out.
        check(unsafe {
            ffi::ext_clip_grad_norm(handles(&keep).as_ptr(), n, max.unwrap_or(0.0), &mut norm)
        })?;
        Ok(owned(norm))
    }

    /// Multiplies the gradients by `inverse_scale` `[]`; returns `[]` f32, 1 if any is not finite.
    pub fn unscale(&self, inverse_scale: &Tensor) -> Result<Tensor, Error> {
        let (keep, n) = self.grads();
        let mut found = ptr::null_mut();
        // SAFETY: `n` live tensors and a scalar in, a fresh one out.
        check(unsafe {
            ffi::ext_unscale(handles(&keep).as_ptr(), n, handle(inverse_scale), &mut found)
        })?;
        Ok(owned(found))
    }

    /// Parameters that have a gradient, with it: what data-parallel training averages.
    pub fn gradients(&self) -> Vec<Tensor> {
        self.with_grad().iter().map(|entry| entry.parameter.grad()).collect()
    }

    /// Everything a resumed run needs, by name: `{parameter}.step`, and once it has had a gradient `.mean`, `.square`.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        self.entries
            .iter()
            .flat_map(|entry| {
                entry.parts().map(|(part, tensor)| {
                    (format!("{}.{part}", entry.name), tensor.shallow_clone())
                })
            })
            .collect()
    }

    /// Restores [`Self::state`]; every entry must be there in its shape.
    pub fn load(&mut self, state: &HashMap<String, Tensor>) -> Result<(), Error> {
        for entry in &mut self.entries {
            // Nothing running is restored of a parameter that never had a gradient.
            if state.contains_key(&format!("{}.mean", entry.name)) {
                entry.begin();
            } else {
                entry.running = None;
            }
            for (part, tensor) in entry.parts() {
                let name = format!("{}.{part}", entry.name);
                let saved =
                    state.get(&name).ok_or_else(|| Error(format!("`{name}` is missing")))?;
                if saved.size() != tensor.size() {
                    let (found, expected) = (saved.size(), tensor.size());
                    return Err(Error(format!("`{name}` is {found:?}, expected {expected:?}")));
                }
                tch::no_grad(|| tensor.shallow_clone().copy_(saved));
            }
        }
        Ok(())
    }

    fn with_grad(&self) -> Vec<&Entry> {
        self.entries.iter().filter(|entry| entry.parameter.grad().defined()).collect()
    }

    fn grads(&self) -> (Vec<Tensor>, c_int) {
        let grads = self.gradients();
        let n = grads.len() as c_int;
        (grads, n)
    }
}

impl Entry {
    /// Makes the running means where there are none yet.
    fn begin(&mut self) {
        let zeros = || self.parameter.detach().zeros_like();
        self.running.get_or_insert_with(|| [zeros(), zeros()]);
    }

    fn parts(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        let running =
            self.running.iter().flat_map(|[mean, square]| [("mean", mean), ("square", square)]);
        running.chain([("step", &self.step)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    const O: (Kind, Device) = (Kind::Double, Device::Cpu);

    /// Three steps on `Σ (x − 1)²` by the formulas of the paper.
    fn by_hand(mut x: f64, rate: f64, decay: f64) -> f64 {
        let (mut m, mut v) = (0.0, 0.0);
        for t in 1..=3 {
            let g = 2.0 * (x - 1.0);
            x -= rate * decay * x;
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let (mean, square) = (m / (1.0 - 0.9_f64.powi(t)), v / (1.0 - 0.999_f64.powi(t)));
            x -= rate * mean / (square.sqrt() + 1e-8);
        }
        x
    }

    fn gradient(x: &Tensor) {
        clear_grad(x);
        (x - 1.0).square().sum(Kind::Double).backward();
    }

    #[test]
    fn three_steps_equal_the_published_formulas() {
        let x = Tensor::full([2], 3.0, O).set_requires_grad(true);
        let idle = Tensor::ones([1], O).set_requires_grad(true);
        let parameters =
            vec![("x".into(), x.shallow_clone()), ("idle".into(), idle.shallow_clone())];
        let mut adamw = AdamW::new(parameters, 0.1);
        let go = Tensor::zeros([], (Kind::Float, Device::Cpu));
        for _ in 0..3 {
            gradient(&x);
            adamw.step(0.05, &go).unwrap();
        }
        assert!((x.double_value(&[1]) - by_hand(3.0, 0.05, 0.1)).abs() < 1e-12);
        assert_eq!(idle.double_value(&[0]), 1.0);
    }

    #[test]
    fn a_skipped_step_changes_neither_weights_nor_state() {
        let x = Tensor::full([2], 3.0, O).set_requires_grad(true);
        let mut adamw = AdamW::new(vec![("x".into(), x.shallow_clone())], 0.1);
        gradient(&x);
        adamw.step(0.05, &Tensor::ones([], (Kind::Float, Device::Cpu))).unwrap();
        assert_eq!(x.double_value(&[0]), 3.0);
        for (name, tensor) in adamw.state() {
            assert_eq!(tensor.sum(Kind::Double).double_value(&[]), 0.0, "{name}");
        }
    }

    #[test]
    fn restored_state_continues_to_the_same_bits() {
        let start = || Tensor::full([2], 3.0, O).set_requires_grad(true);
        let optimizer = |x: &Tensor| AdamW::new(vec![("x".into(), x.shallow_clone())], 0.1);
        let go = Tensor::zeros([], (Kind::Float, Device::Cpu));
        let (x, y) = (start(), start());
        let mut first = optimizer(&x);
        gradient(&x);
        first.step(0.05, &go).unwrap();

        let state = first.state().into_iter().map(|(n, t)| (n, t.copy())).collect();
        tch::no_grad(|| y.shallow_clone().copy_(&x));
        let mut second = optimizer(&y);
        second.load(&state).unwrap();
        for (p, optimizer) in [(&x, &mut first), (&y, &mut second)] {
            gradient(p);
            optimizer.step(0.05, &go).unwrap();
        }
        assert!(x.equal(&y));
        assert!(second.load(&HashMap::new()).unwrap_err().to_string().contains("x.step"));
    }

    #[test]
    fn clipping_scales_gradients_to_the_limit() {
        let x = Tensor::full([2], 3.0, O).set_requires_grad(true);
        let adamw = AdamW::new(vec![("x".into(), x.shallow_clone())], 0.0);
        gradient(&x); // (4, 4), norm √32
        let norm = adamw.clip_grad_norm(Some(1.0)).unwrap();
        assert!((norm.double_value(&[]) - 32_f64.sqrt()).abs() < 1e-9);
        assert!((x.grad().norm().double_value(&[]) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn unscaling_reports_gradients_that_are_not_finite() {
        let x = Tensor::full([2], 3.0, (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let adamw = AdamW::new(vec![("x".into(), x.shallow_clone())], 0.0);
        let half = Tensor::full([], 0.5, (Kind::Float, Device::Cpu));
        (&x * f64::INFINITY).sum(Kind::Float).backward();
        assert_eq!(adamw.unscale(&half).unwrap().double_value(&[]), 1.0);
        clear_grad(&x);
        (&x * 4.0).sum(Kind::Float).backward();
        assert_eq!(adamw.unscale(&half).unwrap().double_value(&[]), 0.0);
        assert_eq!(x.grad().double_value(&[0]), 2.0);
    }
}
