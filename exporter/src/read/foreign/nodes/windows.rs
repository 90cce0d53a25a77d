//! Windows that slide over a picture: every way to pad becomes four numbers.

use super::Call;
use crate::read::foreign::{
    net::Id,
    operator::{MAX_WINDOW, Operator, Window, picture},
};
use anyhow::{Context, Result, bail, ensure};

impl Call<'_, '_> {
    pub(super) fn conv(&mut self) -> Result<Id> {
        let x = self.input(0)?;
        let (inputs, kernel, groups) = self.weighted(x)?;
        let window = self.window(kernel, x)?;
        self.push(Operator::Conv { window, groups }, &inputs)
    }

    pub(super) fn conv_transpose(&mut self) -> Result<Id> {
        let x = self.input(0)?;
        let (inputs, kernel, groups) = self.weighted(x)?;
        let [stride, dilation] = [self.pair("strides", 1)?, self.pair("dilations", 1)?];
        let output_padding = self.pair("output_padding", 0)?;
        let mut window = Window { kernel, stride, dilation, padding: [0; 4] };
        self.positive(&window)?;
        ensure!(
            (0..2).all(|axis| output_padding[axis] < stride[axis].max(dilation[axis])),
            "attribute `output_padding` is {output_padding:?}, strides {stride:?}"
        );
        let given = self.small("pads", 4)?;
        let [_, _, h, w] = picture(&self.dims(x))?;
        let auto = self.attributes.text("auto_pad", "NOTSET")?;
        let asked = match (self.small("output_shape", 2)?, auto) {
            (Some(size), _) => Some([size[0], size[1]]),
            (None, "SAME_UPPER" | "SAME_LOWER") => Some([h * stride[0], w * stride[1]]),
            (None, "NOTSET" | "VALID") => None,
            (None, other) => bail!("attribute `auto_pad` is {other:?}"),
        };
        let Some(asked) = asked else {
            window.padding = given.map_or([0; 4], |v| [v[0], v[1], v[2], v[3]]);
            ensure!(
                auto == "NOTSET" || window.padding == [0; 4],
                "attribute `auto_pad` is VALID, with pads"
            );
            let op = Operator::ConvTranspose { window, output_padding, groups };
            return self.push(op, &inputs);
        };
        for axis in 0..2 {
            let whole =
                ([h, w][axis] - 1) * stride[axis] + output_padding[axis] + window.span(axis);
            let cut = whole.checked_sub(asked[axis]);
            let cut =
                cut.with_context(|| format!("attribute `output_shape` asks for {asked:?}"))?;
            let (less, more) = (cut / 2, cut - cut / 2);
            let (first, last) = if auto == "SAME_UPPER" { (less, more) } else { (more, less) };
            (window.padding[axis], window.padding[axis + 2]) = (first, last);
        }
        self.push(Operator::ConvTranspose { window, output_padding, groups }, &inputs)
    }

    /// Inputs of a convolution, the sides of its kernel, and its groups.
    fn weighted(&mut self, x: Id) -> Result<(Vec<Id>, [usize; 2], usize)> {
        let weight = self.constant(1)?.context("its weights are missing")?;
        let &[_, _, h, w] = &weight.dims[..] else {
            bail!("weights of {:?}, expected [O, I, H, W]", weight.dims)
        };
        ensure!(h.max(w) <= MAX_WINDOW && h.min(w) > 0, "a kernel of {h}x{w}");
        if let Some(given) = self.small("kernel_shape", 2)? {
            ensure!(
                given == [h, w],
                "attribute `kernel_shape` is {given:?}, its weights are {h}x{w}"
            );
        }
        let groups = self.attributes.int("group", 1)?;
        let groups = usize::try_from(groups).ok().filter(|&groups| groups > 0);
        let groups = groups.context("attribute `group` is not positive")?;
        let mut inputs = vec![x, self.input(1)?];
        if let Some(bias) = self.optional(2)? {
            let constant = self.builder.net.constant(bias).is_some();
            ensure!(constant && self.dims(bias).len() == 1, "its bias is not constant");
            inputs.push(bias);
        }
        Ok((inputs, [h, w], groups))
    }

    pub(super) fn max_pool(&mut self) -> Result<Id> {
        self.attributes.ignore(&["storage_order"]); // of the second output
        let x = self.input(0)?;
        let mut window = self.pooling_window(x)?;
        if self.attributes.flag("ceil_mode", false)? {
            window.padding = self.overhang(&window, x)?;
        }
        self.push(Operator::MaxPool { window }, &[x])
    }

    pub(super) fn average_pool(&mut self) -> Result<Id> {
        let mut x = self.input(0)?;
        let mut window = self.pooling_window(x)?;
        ensure!(window.dilation == [1; 2], "attribute `dilations` is {:?}", window.dilation);
        let mut count_padding = self.attributes.flag("count_include_pad", false)?;
        if self.attributes.flag("ceil_mode", false)? {
            let padding = self.overhang(&window, x)?;
            if count_padding && padding != window.padding {
                // What the file calls padding counts as zeros, what hangs over does not count.
                let [top, left, ..] = window.padding;
                x = self.push(Operator::Pad { padding: window.padding, value: 0.0 }, &[x])?;
                let [_, _, bottom, right] = window.padding;
                window.padding = [0, 0, padding[2] - bottom, padding[3] - right];
                debug_assert_eq!([top, left], [padding[0], padding[1]]);
                count_padding = false;
            } else {
                window.padding = padding;
            }
        }
        count_padding &= window.padding != [0; 4];
        self.push(Operator::AvgPool { window, count_padding }, &[x])
    }

    pub(super) fn global_average(&mut self) -> Result<Id> {
        let x = self.input(0)?;
        let axes = (2..self.dims(x).len()).collect();
        self.push(Operator::Mean { axes, keep: true }, &[x])
    }

    pub(super) fn global_max(&mut self) -> Result<Id> {
        let x = self.input(0)?;
        self.whole_max(x)
    }

    fn pooling_window(&mut self, x: Id) -> Result<Window> {
        let kernel =
            self.small("kernel_shape", 2)?.context("it has no attribute `kernel_shape`")?;
        let window = self.window([kernel[0], kernel[1]], x)?;
        let inside = (0..4).all(|side| window.padding[side] < window.span(side % 2));
        ensure!(inside, "attribute `pads` is {:?}: a window sees nothing else", window.padding);
        Ok(window)
    }

    /// Strides, dilations and padding, whichever way the file says it.
    fn window(&mut self, kernel: [usize; 2], x: Id) -> Result<Window> {
        let [_, _, h, w] = picture(&self.dims(x))?;
        let [stride, dilation] = [self.pair("strides", 1)?, self.pair("dilations", 1)?];
        let given = self.small("pads", 4)?.map_or([0; 4], |v| [v[0], v[1], v[2], v[3]]);
        let mut window = Window { kernel, stride, dilation, padding: given };
        self.positive(&window)?;
        match self.attributes.text("auto_pad", "NOTSET")? {
            "NOTSET" => {}
            "VALID" => ensure!(given == [0; 4], "attribute `auto_pad` is VALID, `pads` {given:?}"),
            same @ ("SAME_UPPER" | "SAME_LOWER") => {
                for (axis, size) in [h, w].into_iter().enumerate() {
                    let out = size.div_ceil(stride[axis]);
                    let total = ((out - 1) * stride[axis] + window.span(axis)).saturating_sub(size);
                    let (less, more) = (total / 2, total - total / 2);
                    let (first, last) =
                        if same == "SAME_UPPER" { (less, more) } else { (more, less) };
                    (window.padding[axis], window.padding[axis + 2]) = (first, last);
                }
            }
            other => bail!("attribute `auto_pad` is {other:?}"),
        }
        Ok(window)
    }

    /// The padding with which whole windows reach as far as `ceil_mode` lets them: one that would begin beyond the
    /// picture and its first border is left out.
    fn overhang(&mut self, window: &Window, x: Id) -> Result<[usize; 4]> {
        let [_, _, h, w] = picture(&self.dims(x))?;
        let mut padding = window.padding;
        for (axis, size) in [h, w].into_iter().enumerate() {
            let (span, stride) = (window.span(axis), window.stride[axis]);
            let (first, last) = (padding[axis], padding[axis + 2]);
            let padded = size + first + last;
            let rest =
                padded.checked_sub(span).context("attribute `ceil_mode`: no whole window")?;
            let mut count = rest.div_ceil(stride) + 1;
            if (count - 1) * stride >= size + first {
                count -= 1;
            }
            let needed = ((count - 1) * stride + span).saturating_sub(size + first);
            // Rows that no window reaches do not matter.
            let whole = needed >= last || rest / stride + 1 == count;
            ensure!(whole, "attribute `ceil_mode` with `pads` {:?}", window.padding);
            padding[axis + 2] = needed.max(last);
        }
        Ok(padding)
    }

    fn positive(&self, window: &Window) -> Result<()> {
        let numbers = [window.kernel, window.stride, window.dilation];
        ensure!(!numbers.as_flattened().contains(&0), "kernel, strides or dilations of zero");
        Ok(())
    }

    fn pair(&self, name: &str, otherwise: usize) -> Result<[usize; 2]> {
        Ok(self.small(name, 2)?.map_or([otherwise; 2], |found| [found[0], found[1]]))
    }

    /// So many small numbers.
    fn small(&self, name: &str, count: usize) -> Result<Option<Vec<usize>>> {
        let Some(found) = self.attributes.ints(name)? else { return Ok(None) };
        let numbers = found.iter().map(|&n| usize::try_from(n).ok().filter(|&n| n <= MAX_WINDOW));
        let numbers = numbers.collect::<Option<Vec<_>>>().filter(|all| all.len() == count);
        let error = || format!("attribute `{name}` is {found:?}, expected {count} small numbers");
        numbers.map(Some).with_context(error)
    }
}
