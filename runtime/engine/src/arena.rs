//! One block of memory for all activations: each gets a place for as long as somebody reads it.

/// When a buffer is alive, in steps, and how much it holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    /// The step that writes it.
    pub(crate) from: usize,
    /// The last step that reads it.
    pub(crate) to: usize,
    pub(crate) bytes: usize,
}

/// Where every buffer lies.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) offsets: Vec<usize>,
    pub(crate) bytes: usize,
}

/// Places large buffers first, each at the lowest offset free during its whole life.
pub(crate) fn place(lives: &[Life]) -> Layout {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(lives[at].bytes), lives[at].from));
    let mut offsets = vec![0; lives.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(lives.len());
    let mut bytes = 0;
    for at in order {
        let life = lives[at];
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&other| lives[other].from <= life.to && life.from <= lives[other].to)
            .map(|&other| (offsets[other], offsets[other] + lives[other].bytes))
            .collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (start, end) in taken {
            if offset + life.bytes <= start {
                break;
            }
            offset = offset.max(end);
        }
        offsets[at] = offset;
        bytes = bytes.max(offset + life.bytes);
        placed.push(at);
    }
    Layout { offsets, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn buffers_alive_together_never_overlap(
            lives in prop::collection::vec((0_usize..40, 0_usize..10, 1_usize..500), 0..60)
        ) {
            let lives: Vec<Life> = lives
                .into_iter()
                .map(|(from, length, bytes)| Life { from, to: from + length, bytes })
                .collect();
            let layout = place(&lives);
            for (a, x) in lives.iter().enumerate() {
                prop_assert!(layout.offsets[a] + x.bytes <= layout.bytes);
                for (b, y) in lives.iter().enumerate().skip(a + 1) {
                    let together = x.from <= y.to && y.from <= x.to;
                    let apart = layout.offsets[a] + x.bytes <= layout.offsets[b]
                        || layout.offsets[b] + y.bytes <= layout.offsets[a];
                    prop_assert!(!together || apart);
                }
            }
        }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let chain: Vec<Life> = (0..10).map(|at| Life { from: at, to: at + 1, bytes: 64 }).collect();
        assert_eq!(place(&chain).bytes, 128);
    }
}
