//! The peak is a rate no kernel of the same instruction set can exceed by much, and every set has one.

use kernels::{Isa, peak_macs_per_second};

#[test]
fn every_instruction_set_has_a_peak_and_none_is_implausible() {
    for isa in Isa::available() {
        let peak = peak_macs_per_second(isa);
        assert!(peak > 1e6 && peak < 1e15, "{isa:?}: {peak:e} multiplications per second");
    }
}
