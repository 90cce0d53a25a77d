//! Tag trees (T.800 B.10.2): a number for each block of a precinct, told no sooner than it is asked for.

use super::header_bits::HeaderBits;

/// A pyramid: each node has the smallest number of the up to four below it.
pub(super) struct TagTree {
    /// Width of each level, and where it begins in `nodes`; the blocks first.
    levels: Vec<(usize, usize)>,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Default)]
struct Node {
    /// The number, once it is known; until then it is this or more.
    least: u32,
    is_known: bool,
}

impl TagTree {
    pub(super) fn new([mut across, mut down]: [usize; 2]) -> Self {
        let (mut levels, mut count) = (Vec::new(), 0);
        while across * down > 0 {
            levels.push((across, count));
            count += across * down;
            if across * down == 1 {
                break;
            }
            (across, down) = (across.div_ceil(2), down.div_ceil(2));
        }
        Self { levels, nodes: vec![Node::default(); count] }
    }

    /// The number of a block if it is below `end`. `None` from the outside: the header ends.
    pub(super) fn below(
        &mut self,
        block: usize,
        end: u32,
        bits: &mut HeaderBits<'_>,
    ) -> Option<Option<u32>> {
        let (across, _) = *self.levels.first()?;
        let (x, y) = (block % across, block / across);
        let mut least = 0;
        let mut found = None;
        for (level, (across, start)) in self.levels.iter().enumerate().rev() {
            let node = &mut self.nodes[start + (y >> level) * across + (x >> level)];
            node.least = node.least.max(least);
            while node.least < end && !node.is_known {
                match bits.next()? {
                    1 => node.is_known = true,
                    _ => node.least += 1,
                }
            }
            least = node.least;
            found = (node.is_known && node.least < end).then_some(node.least);
        }
        Some(found)
    }
}
