//! Resized pictures: which row and column each is read from.

use super::Call;
use crate::read::foreign::{
    net::Id,
    operator::{MAX_WINDOW, Operator, picture},
};
use anyhow::{Context, Result, bail, ensure};
use graph::{Coordinates, Filter, Resample};

/// What the file asks for, for every axis.
struct Asked {
    scales: Vec<f32>,
    /// Where sizes are said instead.
    sizes: Option<Vec<i64>>,
}

impl Call<'_, '_> {
    pub(super) fn resize(&mut self) -> Result<Id> {
        let x = self.input(0)?;
        let dims = self.dims(x);
        let [_, _, h, w] = picture(&dims)?;
        let asked = self.asked(&dims)?;
        let mut size = [h, w];
        let mut scale = [1.0; 2];
        for (at, &side) in dims.iter().enumerate() {
            let to = match &asked.sizes {
                Some(sizes) => usize::try_from(sizes[at]).unwrap_or(0),
                None => (side as f32 * asked.scales[at]).floor() as usize,
            };
            ensure!((1..=1 << 16).contains(&to), "a side of {side} becomes {to}");
            if at < 2 {
                ensure!(
                    to == side,
                    "{side} became {to} along axis {at}, expected rows and columns"
                );
                continue;
            }
            size[at - 2] = to;
            scale[at - 2] = match asked.sizes {
                Some(_) => to as f32 / side as f32,
                None => asked.scales[at],
            };
        }
        let resample = self.resample(scale)?;
        let kept = |axis: usize, side: usize| {
            let taps = resample.taps(axis, side, size[axis]);
            side == size[axis]
                && taps.iter().enumerate().all(|(at, tap)| tap.lower == at && tap.fraction == 0.0)
        };
        if kept(0, h) && kept(1, w) {
            return Ok(x);
        }
        self.push(Operator::Resize { size, resample }, &[x])
    }

    fn asked(&mut self, dims: &[usize]) -> Result<Asked> {
        let opset = self.builder.opset;
        let upsample = self.node.op_type == "Upsample";
        let at = if upsample || opset < 11 { 1 } else { 2 };
        let mut scales = match (self.attributes.floats("scales")?, self.optional(at)?) {
            (Some(scales), None) => scales.to_vec(),
            (None, Some(_)) => {
                let scales = self.constant(at)?.context("it was just there")?;
                if scales.len() == 0 { Vec::new() } else { scales.as_floats()?.to_vec() }
            }
            (None, None) => Vec::new(),
            (Some(_), Some(_)) => bail!("attribute `scales` and an input say the same"),
        };
        let sizes = if upsample || opset < 11 { None } else { self.constant(3)? };
        let mut sizes = sizes.map(|sizes| sizes.as_ints().map(<[i64]>::to_vec)).transpose()?;
        sizes = sizes.filter(|sizes| !sizes.is_empty());
        ensure!(
            scales.is_empty() != sizes.is_none(),
            "neither or both of scales and sizes are said"
        );
        if let Some(axes) = self.attributes.ints("axes")? {
            let axes =
                axes.iter().map(|&at| super::axis(at, dims.len())).collect::<Result<Vec<_>>>()?;
            let given = sizes.as_ref().map_or(scales.len(), Vec::len);
            ensure!(given == axes.len(), "attribute `axes` is {axes:?}, with {given} numbers");
            let mut all_scales = vec![1.0; dims.len()];
            let mut all_sizes: Vec<i64> = dims.iter().map(|&side| side as i64).collect();
            for (at, &axis) in axes.iter().enumerate() {
                match &sizes {
                    Some(sizes) => all_sizes[axis] = sizes[at],
                    None => all_scales[axis] = scales[at],
                }
            }
            scales = all_scales;
            sizes = sizes.map(|_| all_sizes);
        }
        let given = sizes.as_ref().map_or(scales.len(), Vec::len);
        ensure!(given == dims.len(), "{given} scales or sizes for {dims:?}");
        let sane = sizes.is_some() || scales.iter().all(|s| s.is_finite() && *s > 0.0);
        ensure!(sane, "scales {scales:?}");
        Ok(Asked { scales, sizes })
    }

    /// How rows and columns are read. Pictures are at most [`MAX_WINDOW`] times larger or smaller.
    fn resample(&mut self, scale: [f32; 2]) -> Result<Resample> {
        let bound = MAX_WINDOW as f32;
        ensure!(scale.iter().all(|s| (1.0 / bound..=bound).contains(s)), "scales {scale:?}");
        let attributes = &self.attributes;
        for name in ["antialias", "exclude_outside"] {
            attributes.expect_int(name, 0)?;
        }
        attributes.ignore(&["cubic_coeff_a", "extrapolation_value"]); // of modes that are refused below
        let policy = attributes.text("keep_aspect_ratio_policy", "stretch")?;
        ensure!(policy == "stretch", "attribute `keep_aspect_ratio_policy` is {policy:?}");
        let mode = attributes.text("mode", "nearest")?;
        ensure!(
            matches!(mode, "nearest" | "linear" | "bilinear"),
            "attribute `mode` is {mode:?}, expected nearest or linear"
        );
        let old = self.node.op_type == "Upsample" || self.builder.opset < 11;
        if old {
            // Before there were attributes: as `asymmetric`, and down where it grows.
            let grows = scale.iter().all(|&s| s >= 1.0);
            ensure!(
                grows || mode != "nearest",
                "attribute `mode` is nearest, and scales {scale:?}"
            );
            let filter = if mode == "nearest" { Filter::NearestFloor } else { Filter::Linear };
            return Ok(Resample { filter, coordinates: Coordinates::Asymmetric, scale });
        }
        let rule = attributes.text("coordinate_transformation_mode", "half_pixel")?;
        let coordinates = match rule {
            "half_pixel" => Coordinates::HalfPixel,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            _ => bail!("attribute `coordinate_transformation_mode` is {rule:?}"),
        };
        let nearest = attributes.text("nearest_mode", "round_prefer_floor")?;
        let filter = match (mode, nearest) {
            ("linear" | "bilinear", _) => Filter::Linear,
            (_, "round_prefer_floor") => Filter::NearestRoundPreferFloor,
            (_, "round_prefer_ceil") => Filter::NearestRoundPreferCeil,
            (_, "floor") => Filter::NearestFloor,
            (_, "ceil") => Filter::NearestCeil,
            _ => bail!("attribute `nearest_mode` is {nearest:?}"),
        };
        Ok(Resample { filter, coordinates, scale })
    }
}
