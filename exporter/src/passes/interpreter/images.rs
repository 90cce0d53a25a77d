//! What slides over images `[B, C, H, W]`: convolutions, pools, borders, other sizes.

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use graph::{Resample, Tap};

/// A sliding window.
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    /// Top, left, bottom, right.
    pub(super) padding: [usize; 4],
    pub(super) dilation: [usize; 2],
}

/// Convolution by `[O, C / groups, kH, kW]`. Where the two axes have one stride, dilation and border each, candle does it;
/// elsewhere borders and the gaps of the kernel are written out as zeros, and rows and columns left out afterwards.
pub(super) fn convolution(
    x: &Tensor,
    weight: &Tensor,
    window: &Window,
    groups: usize,
) -> Result<Tensor> {
    let Window { stride, padding, dilation, .. } = *window;
    let even = padding.iter().all(|&border| border == padding[0]);
    let (x, border) = if even { (x.clone(), padding[0]) } else { (pad(x, padding, 0.0)?, 0) };
    let one_gap = dilation[0] == dilation[1];
    let (weight, gap) =
        if one_gap { (weight.clone(), dilation[0]) } else { (spread(weight, dilation)?, 1) };
    if stride[0] == stride[1] {
        return Ok(x.conv2d(&weight, border, stride[0], gap, groups)?);
    }
    every(&x.conv2d(&weight, border, 1, gap, groups)?, stride)
}

/// Transposed convolution by `[C, O / groups, kH, kW]`: a convolution, with the kernel turned round, of the image with
/// `stride − 1` zeros between its pixels.
pub(super) fn transposed(
    x: &Tensor,
    weight: &Tensor,
    window: &Window,
    output_padding: [usize; 2],
    groups: usize,
) -> Result<Tensor> {
    let Window { kernel, stride, padding, dilation } = *window;
    let turned = turned(weight, groups)?;
    let span = [0, 1].map(|axis| dilation[axis] * (kernel[axis] - 1));
    let full = [span[0], span[1], span[0] + output_padding[0], span[1] + output_padding[1]];
    let spread = pad(&spread(x, stride)?, full, 0.0)?;
    let plain = Window { kernel, stride: [1; 2], padding: [0; 4], dilation };
    let whole = convolution(&spread, &turned, &plain, groups)?;
    let (_, _, h, w) = whole.dims4()?;
    let [top, left, bottom, right] = padding;
    Ok(whole.narrow(2, top, h - top - bottom)?.narrow(3, left, w - left - right)?.contiguous()?)
}

/// One number of each window: from its values that are no border, and how many they are.
pub(super) fn pool(
    x: &Tensor,
    window: &Window,
    of: impl Fn(&mut dyn Iterator<Item = f32>, usize) -> f32,
) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    let values: Vec<f32> = x.flatten_all()?.to_vec1()?;
    let (rows, columns) = (window.places(0, h), window.places(1, w));
    let mut out = Vec::with_capacity(b * c * rows.len() * columns.len());
    for plane in values.chunks(h * w) {
        for row in &rows {
            for column in &columns {
                let mut taps =
                    row.iter().flat_map(|y| column.iter().map(move |x| plane[y * w + x]));
                out.push(of(&mut taps, row.len() * column.len()));
            }
        }
    }
    Ok(Tensor::from_vec(out, (b, c, rows.len(), columns.len()), &Device::Cpu)?)
}

/// A border of one number: top, left, bottom, right.
pub(super) fn pad(
    x: &Tensor,
    [top, left, bottom, right]: [usize; 4],
    value: f32,
) -> Result<Tensor> {
    let mut x = x.contiguous()?;
    for (axis, before, after) in [(2, top, bottom), (3, left, right)] {
        let border = |side: usize| {
            let mut shape = x.dims().to_vec();
            shape[axis] = side;
            Tensor::full(value, shape, x.device())
        };
        let sides = [(before > 0).then(|| border(before)), (after > 0).then(|| border(after))];
        let [before, after] = sides.map(Option::transpose);
        let (before, after) = (before?, after?);
        let parts: Vec<&Tensor> = before.iter().chain([&x]).chain(&after).collect();
        x = Tensor::cat(&parts, axis)?;
    }
    Ok(x)
}

/// Rows and columns read from where `resample` says; along each row first, then between rows.
pub(super) fn resize(
    x: &Tensor,
    [rows, columns]: [usize; 2],
    resample: &Resample,
) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    let values: Vec<f32> = x.flatten_all()?.to_vec1()?;
    let (down, across) = (resample.taps(0, h, rows), resample.taps(1, w, columns));
    let mut out = Vec::with_capacity(b * c * rows * columns);
    let between = |tap: &Tap, lower: f32, upper: f32| {
        if tap.fraction == 0.0 {
            lower
        } else {
            lower * (1.0 - tap.fraction) + upper * tap.fraction
        }
    };
    for plane in values.chunks(h * w) {
        for row in &down {
            for column in &across {
                let along = |y: usize| {
                    between(column, plane[y * w + column.lower], plane[y * w + column.upper])
                };
                out.push(between(row, along(row.lower), along(row.upper)));
            }
        }
    }
    Ok(Tensor::from_vec(out, (b, c, rows, columns), &Device::Cpu)?)
}

impl Window {
    /// The sources of each output along an axis of `size` that lie inside.
    fn places(&self, axis: usize, size: usize) -> Vec<Vec<usize>> {
        let span = self.dilation[axis] * (self.kernel[axis] - 1) + 1;
        let padded = size + self.padding[axis] + self.padding[axis + 2];
        let count = (padded - span) / self.stride[axis] + 1;
        let taps = |at: usize| {
            let taps =
                (0..self.kernel[axis]).map(|k| at * self.stride[axis] + k * self.dilation[axis]);
            let inside = taps.filter_map(|tap| tap.checked_sub(self.padding[axis]));
            inside.filter(|&tap| tap < size).collect()
        };
        (0..count).map(taps).collect()
    }
}

/// `step − 1` zeros between the rows and columns of the last two axes.
fn spread(x: &Tensor, step: [usize; 2]) -> Result<Tensor> {
    if step == [1; 2] {
        return Ok(x.contiguous()?);
    }
    let (b, c, h, w) = x.dims4()?;
    let (rows, columns) = ((h - 1) * step[0] + 1, (w - 1) * step[1] + 1);
    let values: Vec<f32> = x.flatten_all()?.to_vec1()?;
    let mut out = vec![0.0; b * c * rows * columns];
    for (plane, out) in values.chunks(h * w).zip(out.chunks_mut(rows * columns)) {
        for (at, value) in plane.iter().enumerate() {
            out[at / w * step[0] * columns + at % w * step[1]] = *value;
        }
    }
    Ok(Tensor::from_vec(out, (b, c, rows, columns), &Device::Cpu)?)
}

/// Every so many rows and columns.
fn every(x: &Tensor, step: [usize; 2]) -> Result<Tensor> {
    let mut x = x.contiguous()?;
    for (axis, step) in [(2, step[0]), (3, step[1])] {
        let places: Vec<u32> = (0..x.dim(axis)?).step_by(step).map(|at| at as u32).collect();
        x = x.index_select(&Tensor::new(places, &Device::Cpu)?, axis)?;
    }
    Ok(x)
}

/// `[C, O / groups, kH, kW]` as the kernel of the convolution that undoes it: `[O, C / groups, kH, kW]`, rows and columns
/// from the last to the first.
fn turned(weight: &Tensor, groups: usize) -> Result<Tensor> {
    let (inputs, outputs, h, w) = weight.dims4()?;
    let values: Vec<f32> = weight.flatten_all()?.to_vec1()?;
    let per_group = inputs.checked_div(groups).context("no group")?;
    let mut out: Vec<f32> = Vec::with_capacity(values.len());
    for o in 0..outputs * groups {
        for i in 0..per_group {
            let first = ((o / outputs * per_group + i) * outputs + o % outputs) * h * w;
            out.extend(values[first..first + h * w].iter().rev());
        }
    }
    Ok(Tensor::from_vec(out, (outputs * groups, per_group, h, w), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(shape: (usize, usize, usize, usize)) -> Tensor {
        let (b, c, h, w) = shape;
        let values = (0..b * c * h * w).map(|at| ((at * 37 + 11) % 17) as f32 - 8.0).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn the_padding_of_a_maximum_never_wins() {
        let x = Tensor::full(-3.0_f32, (1, 1, 4, 4), &Device::Cpu).unwrap();
        let window = Window { kernel: [3; 2], stride: [2; 2], padding: [1; 4], dilation: [1; 2] };
        let y = pool(&x, &window, |taps, _| taps.fold(f32::NEG_INFINITY, f32::max)).unwrap();
        assert!(values(&y).iter().all(|&y| y == -3.0));
    }

    #[test]
    fn a_transposed_convolution_is_the_gradient_of_the_convolution() {
        // Σ y·conv(x) = Σ x·transposed(y) for every x and y.
        for (groups, dilation, stride) in
            [(1, [1, 1], [2, 2]), (2, [2, 1], [1, 2]), (4, [1, 2], [3, 2])]
        {
            let window = Window { kernel: [3, 2], stride, padding: [1, 0, 1, 1], dilation };
            let x = counted((1, 4, 9, 8));
            let weight = counted((8, 4 / groups, 3, 2));
            let forward = convolution(&x, &weight, &window, groups).unwrap();
            let y = (counted(forward.dims4().unwrap()) * 0.5).unwrap();
            let rest = [0, 1].map(|axis| {
                let span = dilation[axis] * (window.kernel[axis] - 1) + 1;
                let padded = [9, 8][axis] + window.padding[axis] + window.padding[axis + 2];
                (padded - span) % stride[axis]
            });
            let back = transposed(&y, &weight, &window, rest, groups).unwrap();
            assert_eq!(back.dims(), x.dims());
            let dot = |a: &Tensor, b: &Tensor| -> f32 {
                values(a).iter().zip(values(b)).map(|(a, b)| a * b).sum()
            };
            assert_eq!(dot(&y, &forward), dot(&x, &back));
        }
    }

    #[test]
    fn uneven_strides_and_dilations_take_every_place_that_even_ones_take() {
        let x = counted((1, 3, 10, 11));
        let weight = counted((2, 3, 3, 3));
        let window =
            |stride, dilation| Window { kernel: [3; 2], stride, padding: [2; 4], dilation };
        let dense = convolution(&x, &weight, &window([1; 2], [1; 2]), 1).unwrap();
        let uneven = convolution(&x, &weight, &window([3, 2], [1; 2]), 1).unwrap();
        assert_eq!(values(&uneven), values(&every(&dense, [3, 2]).unwrap()));
        let gaps = convolution(&x, &weight, &window([1; 2], [2; 2]), 1).unwrap();
        let written_out =
            convolution(&x, &spread(&weight, [2; 2]).unwrap(), &window([1; 2], [1; 2]), 1).unwrap();
        assert_eq!(values(&gaps), values(&written_out));
    }
}
