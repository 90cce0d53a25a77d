//! Where the values of an ONNX tensor lie in memory: how far apart neighbours are along each of its axes.
//!
//! ```text
//! tensor                  lies in memory as              strides
//! image [1, C, H, W]      rows, columns, channels        [_, 1, W·C, C]
//! tokens [1, N, C]        tokens, channels               [_, C, 1]
//! heads [1, H, N, d]      tokens, heads, channels        [_, d, H·d, 1]      what projections make and read
//! ```
//!
//! **The rule.** Transpose, Reshape, Slice, Split, Gather of one index, Squeeze and Unsqueeze are views: they change
//! dimensions and strides and move nothing. An operator that needs its input in another order gets a copy in that
//! order, one step of its own ([`crate::qdq`] puts it before the operator). Axes that a Reshape merges though they do
//! not lie together stay what they were until somebody needs to know: flattening an image moves nothing either.

/// Rows, columns and channels; a vector is `1 x 1 x C`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) c: usize,
}

/// Dimensions as ONNX has them, and where their values lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) dims: Vec<usize>,
    /// In ONNX's order. One for each dimension, unless a Reshape merged what does not lie together: then those of before.
    axes: Vec<Axis>,
    offset: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) len: usize,
    /// Bytes from one value to the next; 0 where there is one only, or where one stands for all.
    pub(crate) stride: usize,
}

impl Shape {
    pub(crate) fn len(&self) -> usize {
        self.h * self.w * self.c
    }

    /// The shape of a tensor with these ONNX dimensions that lies plainly ([`Layout::plain`]), if the engine can hold it.
    pub(crate) fn of(dims: &[usize]) -> Option<Self> {
        if !fits(dims) {
            return None;
        }
        Some(match *dims {
            [1, c, h, w] => Self { h, w, c },
            [1, c, w] => Self { h: 1, w, c },
            [.., c] => Self { h: 1, w: dims[..dims.len() - 1].iter().product(), c },
            [] => Self { h: 1, w: 1, c: 1 },
        })
    }
}

impl Layout {
    /// In ONNX's own order, without gaps.
    pub(crate) fn dense(dims: &[usize]) -> Self {
        Self::ordered(dims, &(0..dims.len()).collect::<Vec<_>>())
    }

    /// Without gaps, the axes from outermost to innermost in this order.
    pub(crate) fn ordered(dims: &[usize], order: &[usize]) -> Self {
        let mut axes = vec![Axis { len: 1, stride: 0 }; dims.len()];
        let mut stride = 1;
        for &axis in order.iter().rev() {
            axes[axis] = Axis::new(dims[axis], stride);
            stride *= dims[axis];
        }
        Self { dims: dims.to_vec(), axes, offset: 0 }
    }

    /// Channels innermost where there are some, as convolutions want them; otherwise ONNX's order.
    pub(crate) fn plain(dims: &[usize]) -> Self {
        match dims {
            [1, _, _, _] => Self::ordered(dims, &[0, 2, 3, 1]),
            [1, _, _] => Self::ordered(dims, &[0, 2, 1]),
            _ => Self::dense(dims),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.dims.iter().product()
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Axes, one for each dimension; `None` where a Reshape left others.
    pub(crate) fn axes(&self) -> Option<&[Axis]> {
        let alike = self.axes.len() == self.dims.len()
            && self.axes.iter().zip(&self.dims).all(|(axis, len)| axis.len == *len);
        alike.then_some(&self.axes)
    }

    /// Axes of more than one value, those that lie together merged.
    pub(crate) fn merged(&self) -> Vec<Axis> {
        let mut merged: Vec<Axis> = Vec::new();
        for axis in self.axes.iter().filter(|axis| axis.len > 1) {
            match merged.last_mut() {
                Some(last) if last.stride == axis.stride * axis.len && axis.stride > 0 => {
                    *last = Axis { len: last.len * axis.len, ..*axis };
                }
                _ => merged.push(*axis),
            }
        }
        merged
    }

    /// Same values in the same places, whatever the dimensions are called.
    pub(crate) fn lies_as(&self, other: &Self) -> bool {
        self.offset == other.offset && self.merged() == other.merged()
    }

    /// Whether its values are `len` bytes from 0 on, in whatever order.
    pub(crate) fn is_whole(&self) -> bool {
        let mut axes = self.merged();
        axes.sort_unstable_by_key(|axis| axis.stride);
        let mut next = 1;
        let packed = axes.iter().all(|axis| {
            let together = axis.stride == next;
            next *= axis.len;
            together
        });
        packed && self.offset == 0
    }

    /// The same order of axes without gaps; ONNX's where values are repeated.
    pub(crate) fn compact(&self) -> Self {
        if self.is_whole() {
            return self.clone();
        }
        let Some(axes) = self.axes() else { return Self::dense(&self.dims) };
        if axes.iter().any(|axis| axis.len > 1 && axis.stride == 0) {
            return Self::dense(&self.dims);
        }
        let mut order: Vec<usize> = (0..axes.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(axes[at].stride));
        Self::ordered(&self.dims, &order)
    }

    /// Rows, columns and channels as kernels see what lies so, without gaps.
    pub(crate) fn shape(&self) -> Shape {
        match self.dims[..] {
            [1, c, h, w] if self.lies_as(&Self::plain(&self.dims)) => return Shape { h, w, c },
            [.., c] if self.lies_as(&Self::dense(&self.dims)) => {
                return Shape { h: 1, w: self.len() / c, c };
            }
            _ => {}
        }
        let innermost = self.merged().into_iter().find(|axis| axis.stride == 1);
        let c = innermost.map_or(1, |axis| axis.len);
        Shape { h: 1, w: self.len() / c, c }
    }

    /// Where each value lies, in ONNX's order.
    pub(crate) fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).map(|mut at| {
            let mut position = self.offset;
            for axis in self.axes.iter().rev() {
                position += at % axis.len * axis.stride;
                at /= axis.len;
            }
            position
        })
    }

    /// As many values, in the same order, with other dimensions.
    pub(crate) fn reshaped(&self, to: &[usize]) -> Self {
        debug_assert_eq!(self.len(), to.iter().product::<usize>());
        let dims = to.to_vec();
        match split(self.merged(), to) {
            Some(axes) => Self { dims, axes, offset: self.offset },
            None => Self { dims, ..self.clone() },
        }
    }

    /// `order` says which axis each of the new ones is.
    pub(crate) fn transposed(&self, order: &[usize]) -> Option<Self> {
        let axes = self.axes()?;
        let mut seen = vec![false; axes.len()];
        order.iter().for_each(|&at| seen.get_mut(at).into_iter().for_each(|seen| *seen = true));
        if order.len() != axes.len() || seen.contains(&false) {
            return None;
        }
        let axes: Vec<Axis> = order.iter().map(|&at| axes[at]).collect();
        let dims = axes.iter().map(|axis| axis.len).collect();
        Some(Self { dims, axes, offset: self.offset })
    }

    /// `count` values of an axis from `first` on, every `step`th. Of a dimension that a Reshape merged: neighbours, in
    /// whole steps of its outermost axis, as the half of shuffled channels is.
    pub(crate) fn sliced(
        &self,
        at: usize,
        first: usize,
        count: usize,
        step: usize,
    ) -> Option<Self> {
        let Some(axes) = self.axes() else {
            return self.cut(at, first, count).filter(|_| step == 1);
        };
        let axis = *axes.get(at)?;
        let last = count.checked_sub(1)?.checked_mul(step)?.checked_add(first)?;
        if last >= axis.len {
            return None;
        }
        let mut sliced = self.clone();
        sliced.dims[at] = count;
        sliced.axes[at] = Axis::new(count, axis.stride * step);
        sliced.offset += first * axis.stride;
        Some(sliced)
    }

    /// [`Self::sliced`] through the outermost axis of a merged dimension.
    fn cut(&self, at: usize, first: usize, count: usize) -> Option<Self> {
        let within: usize = self.dims.get(at + 1..)?.iter().product();
        let mut inner = self.len();
        let cut = self.axes.iter().position(|axis| {
            inner /= axis.len;
            axis.len > 1 && inner.is_multiple_of(within) && inner < within * self.dims[at]
        })?;
        let (axis, each) = (self.axes[cut], inner / within);
        let (whole, end) = (axis.len * each == self.dims[at], first.checked_add(count)?);
        let steps = first.is_multiple_of(each) && count.is_multiple_of(each);
        if !whole || !steps || count == 0 || end > self.dims[at] {
            return None;
        }
        let mut part = self.clone();
        part.dims[at] = count;
        part.axes[cut] = Axis::new(count / each, axis.stride);
        part.offset += first / each * axis.stride;
        Some(part)
    }

    /// As if repeated along axes of one value, or new ones in front, until it has these dimensions.
    pub(crate) fn broadcast(&self, dims: &[usize]) -> Option<Self> {
        let own = self.axes()?;
        let new = dims.len().checked_sub(own.len())?;
        let axis = |(at, &len): (usize, &usize)| match at.checked_sub(new).map(|at| own[at]) {
            Some(axis) if axis.len == len => Some(axis),
            None | Some(Axis { len: 1, .. }) => Some(Axis { len, stride: 0 }),
            Some(_) => None,
        };
        let axes = dims.iter().enumerate().map(axis).collect::<Option<Vec<_>>>()?;
        Some(Self { dims: dims.to_vec(), axes, offset: self.offset })
    }
}

impl Axis {
    fn new(len: usize, stride: usize) -> Self {
        Self { len, stride: if len == 1 { 0 } else { stride } }
    }
}

/// The axes of both, where each of one is one of the other.
pub(crate) fn pairs(from: &Layout, to: &Layout) -> Option<Vec<(Axis, Axis)>> {
    let common = [from, to].into_iter().find_map(|lengths| {
        let lengths: Vec<usize> = lengths.axes.iter().map(|axis| axis.len).collect();
        let [from, to] = [from, to].map(|layout| layout.reshaped(&lengths));
        (from.axes().is_some() && to.axes().is_some()).then_some([from, to])
    });
    let [from, to] = common?;
    Some(from.axes.into_iter().zip(to.axes).collect())
}

/// Axes of these lengths, if each is a part of one of the `merged`.
fn split(mut merged: Vec<Axis>, lengths: &[usize]) -> Option<Vec<Axis>> {
    let mut axes = Vec::with_capacity(lengths.len());
    for &len in lengths.iter().rev() {
        if len == 1 {
            axes.push(Axis::new(1, 0));
            continue;
        }
        let last = merged.last_mut()?;
        if !last.len.is_multiple_of(len) {
            return None;
        }
        axes.push(Axis { len, stride: last.stride });
        *last = Axis { len: last.len / len, stride: last.stride * len };
        if last.len == 1 {
            merged.pop();
        }
    }
    axes.reverse();
    Some(axes)
}

/// Largest activation, in bytes.
pub(crate) const MAX_ACTIVATION: u64 = 1 << 27;

/// Whether the engine can hold a tensor of these dimensions.
pub(crate) fn fits(dims: &[usize]) -> bool {
    let size = dims.iter().try_fold(1_u64, |n, &side| n.checked_mul(side as u64));
    size.is_some_and(|size| (1..=MAX_ACTIVATION).contains(&size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn positions(layout: &Layout) -> Vec<usize> {
        layout.positions().collect()
    }

    #[test]
    fn heads_of_a_projection_are_views_and_merge_again() {
        // [1, N, 3·H·d] → queries, keys and values [1, H, N, d], as exporters write it.
        let qkv = Layout::dense(&[1, 5, 24]).reshaped(&[1, 5, 3, 2, 4]);
        let qkv = qkv.transposed(&[2, 0, 3, 1, 4]).unwrap();
        let keys = qkv.sliced(0, 1, 1, 1).unwrap().reshaped(&[1, 2, 5, 4]);
        let head_1_token_2: Vec<usize> = (0..4).map(|c| 2 * 24 + 8 + 4 + c).collect();
        assert_eq!(positions(&keys)[(5 + 2) * 4..][..4], head_1_token_2);
        // What lies token by token merges into tokens of all heads.
        let answers = Layout::ordered(&[1, 2, 5, 4], &[0, 2, 1, 3]);
        let tokens = answers.transposed(&[0, 2, 1, 3]).unwrap().reshaped(&[1, 5, 8]);
        assert!(tokens.lies_as(&Layout::dense(&[1, 5, 8])) && tokens.axes().is_some());
    }

    #[test]
    fn halves_of_shuffled_channels_are_views() {
        // Channels as two groups of three, then in turns: 0 3 1 4 2 5. Two pixels.
        let image = Layout::plain(&[1, 6, 1, 2]);
        let groups = image.reshaped(&[1, 2, 3, 1, 2]).transposed(&[0, 2, 1, 3, 4]).unwrap();
        let shuffled = groups.reshaped(&[1, 6, 1, 2]);
        assert!(shuffled.axes().is_none());
        let second = shuffled.sliced(1, 2, 4, 1).unwrap();
        assert_eq!(second.dims, [1, 4, 1, 2]);
        assert_eq!(positions(&second), positions(&shuffled)[4..]);
        // Through the middle of a turn, beyond the end, every other one, along pixels of one axis.
        assert!(shuffled.sliced(1, 1, 3, 1).is_none() && shuffled.sliced(1, 4, 4, 1).is_none());
        assert!(shuffled.sliced(1, 0, 2, 2).is_none() && shuffled.sliced(1, 0, 0, 1).is_none());
        let right = shuffled.sliced(3, 1, 1, 1).unwrap();
        let every_other: Vec<usize> = positions(&shuffled).into_iter().skip(1).step_by(2).collect();
        assert_eq!(positions(&right), every_other);
    }

    #[test]
    fn a_flattened_image_keeps_its_place_and_its_order() {
        let image = Layout::plain(&[1, 3, 2, 2]);
        let flat = image.reshaped(&[1, 12]);
        assert!(flat.axes().is_none() && flat.lies_as(&image));
        assert_eq!(positions(&flat), positions(&image));
        assert_eq!(positions(&flat)[..5], [0, 3, 6, 9, 1]);
        assert!(flat.transposed(&[1, 0]).is_none() && flat.sliced(1, 0, 3, 1).is_none());
    }

    proptest! {
        /// Against the same operations on an array that holds its positions.
        #[test]
        fn views_read_what_moving_the_values_would(
            dims in prop::collection::vec(1_usize..5, 1..5),
            order in any::<prop::sample::Index>(),
            cut in any::<prop::sample::Index>(),
            seed in any::<u64>(),
        ) {
            let rank = dims.len();
            let mut memory: Vec<usize> = (0..rank).collect();
            memory.rotate_left(order.index(rank));
            let layout = Layout::ordered(&dims, &memory);
            prop_assert!(layout.is_whole());
            let mut sorted = positions(&layout);
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..layout.len()).collect::<Vec<_>>());

            let mut perm: Vec<usize> = (0..rank).collect();
            perm.rotate_right(seed as usize % rank);
            let turned = layout.transposed(&perm).unwrap();
            let mut expected = Vec::new();
            for at in 0..layout.len() {
                // Index in the transposed tensor → index in the original.
                let (mut rest, mut index) = (at, vec![0; rank]);
                for (axis, &from) in perm.iter().enumerate().rev() {
                    index[from] = rest % turned.dims[axis];
                    rest /= turned.dims[axis];
                }
                let flat = index.iter().zip(&dims).fold(0, |flat, (i, len)| flat * len + i);
                expected.push(positions(&layout)[flat]);
            }
            prop_assert_eq!(positions(&turned), expected);

            let all = positions(&turned);
            for to in [vec![layout.len()], vec![1, layout.len(), 1], dims.clone()] {
                prop_assert_eq!(&positions(&turned.reshaped(&to)), &all);
            }
            let axis = cut.index(rank);
            let first = seed as usize % turned.dims[axis];
            let part = turned.sliced(axis, first, turned.dims[axis] - first, 1).unwrap();
            prop_assert!(positions(&part).iter().all(|at| all.contains(at)));
            prop_assert_eq!(part.compact().len(), part.len());
            prop_assert!(part.compact().is_whole());
        }
    }
}
