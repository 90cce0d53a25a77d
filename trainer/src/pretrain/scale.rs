//! Loss scaling: gradients too small for 16 bits are made larger before the backward pass and smaller after it.

use anyhow::{Result, ensure};

/// Doubles after many good steps, halves when a gradient overflows; that step is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    factor: f64,
    /// Steps since the factor changed.
    good: u64,
}

const FIRST: f64 = 65536.0;
const LARGEST: f64 = 16_777_216.0;
/// Below it the gradients themselves are at fault.
const SMALLEST: f64 = 1.0 / 1024.0;
const PATIENCE: u64 = 2000;

impl Default for LossScale {
    fn default() -> Self {
        Self { factor: FIRST, good: 0 }
    }
}

impl LossScale {
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// After a step whose gradients were all finite, or not.
    pub fn update(&mut self, finite: bool) -> Result<()> {
        if !finite {
            *self = Self { factor: self.factor / 2.0, good: 0 };
            ensure!(
                self.factor >= SMALLEST,
                "gradients overflow f16 even at a loss scale of {}: train in bf16 or f32",
                self.factor * 2.0
            );
        } else if self.good + 1 == PATIENCE && self.factor < LARGEST {
            *self = Self { factor: self.factor * 2.0, good: 0 };
        } else {
            self.good += 1;
        }
        Ok(())
    }

    /// What a checkpoint keeps.
    pub fn state(&self) -> (f64, u64) {
        (self.factor, self.good)
    }

    pub fn restore((factor, good): (f64, u64)) -> Self {
        Self { factor, good }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_halves_on_overflow_doubles_with_patience_and_gives_up_at_last() {
        let mut scale = LossScale::default();
        scale.update(false).unwrap();
        assert_eq!(scale.factor(), FIRST / 2.0);
        (0..PATIENCE).for_each(|_| scale.update(true).unwrap());
        assert_eq!(scale.factor(), FIRST);
        (0..20 * PATIENCE).for_each(|_| scale.update(true).unwrap());
        assert_eq!(scale.factor(), LARGEST);
        assert_eq!(LossScale::restore(scale.state()), scale);
        let error = (0..40).find_map(|_| scale.update(false).err()).unwrap();
        assert!(error.to_string().contains("loss scale of 0.0009765625"), "{error}");
    }
}
