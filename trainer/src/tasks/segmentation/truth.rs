//! Truth of segmentation: regions of the index as masks, in their own size and in the network's.

use crate::{data::pictures::indices, index::Record, tasks::size_of_image};
use anyhow::{Context, Result};
use graph::{Fit, Preprocess};
use indicatif::ProgressBar;
use radiograph::Image;
use rayon::prelude::*;
use tch::{Kind, Tensor};

/// Masks of many images on the grid of the network's logits.
#[derive(Debug)]
pub(crate) struct Regions {
    /// `[N, L, h, w]`, share of the cell that is inside in 255ths.
    cover: Tensor,
    /// `[N, L]`, 1 where somebody looked.
    known: Tensor,
}

impl Regions {
    /// For pictures made by `preprocess`: the head answers at half their size.
    pub(crate) fn open(
        records: &[Record],
        labels: &[String],
        preprocess: &Preprocess,
        progress: &ProgressBar,
    ) -> Result<Self> {
        let grid = [preprocess.height / 2, preprocess.width / 2];
        let cells = grid[0] * grid[1];
        let pairs: Vec<(&Record, &String)> = records
            .iter()
            .flat_map(|record| labels.iter().map(move |label| (record, label)))
            .collect();
        let read: Result<Vec<Option<Vec<u8>>>> = pairs
            .into_par_iter()
            .map(|(record, label)| {
                let mask = mask_of(record, label)?;
                progress.inc(1);
                Ok(mask.map(|mask| {
                    cover(&mask, preprocess).into_iter().map(|x| (x * 255.0 + 0.5) as u8).collect()
                }))
            })
            .collect();
        let read = read?;
        let known: Vec<f32> = read.iter().map(|mask| f32::from(u8::from(mask.is_some()))).collect();
        let flat: Vec<u8> =
            read.into_iter().flat_map(|mask| mask.unwrap_or_else(|| vec![0; cells])).collect();
        let (n, l) = (records.len() as i64, labels.len() as i64);
        let cover = Tensor::from_slice(&flat).view([n, l, grid[0] as i64, grid[1] as i64]);
        Ok(Self { cover, known: Tensor::from_slice(&known).view([n, l]) })
    }

    /// `[B, L, h, w]` in 0…1 and `[B, L]`.
    pub(crate) fn batch(&self, numbers: &[usize]) -> (Tensor, Tensor) {
        let at = indices(numbers);
        let cover = self.cover.index_select(0, &at).to_kind(Kind::Float) / 255.0;
        (cover, self.known.index_select(0, &at))
    }
}

/// Share of each cell of the grid that is inside: resized as the pictures are, so that both cover the same places.
fn cover(mask: &Image<'_>, preprocess: &Preprocess) -> Vec<f32> {
    let [rows, columns] = [preprocess.height / 2, preprocess.width / 2];
    match preprocess.fit {
        Fit::Stretch => {
            radiograph::fitted(mask, &Preprocess { height: rows, width: columns, ..*preprocess })
        }
        // A padded picture may begin within a cell.
        Fit::Pad | Fit::CentreCrop | Fit::ResizeCrop(_) => {
            let fine = radiograph::fitted(mask, preprocess);
            let at = |y: usize, x: usize| fine[y * preprocess.width + x];
            let cell = |y: usize, x: usize| {
                (at(y, x) + at(y, x + 1) + at(y + 1, x) + at(y + 1, x + 1)) / 4.0
            };
            (0..rows * columns).map(|i| cell(i / columns * 2, i % columns * 2)).collect()
        }
    }
}

/// A region as a mask of 0 and 1 of the image's size; `None` where nobody looked for it.
pub(crate) fn mask_of(record: &Record, label: &str) -> Result<Option<Image<'static>>> {
    let Some(region) = record.region(label) else { return Ok(None) };
    let [height, width] = size_of_image(record)?;
    let inside = region.mask([height, width]).with_context(|| format!("`{}`", record.id))?;
    let mask = inside.into_iter().map(|inside| f32::from(u8::from(inside))).collect();
    Ok(Some(Image::new(height, width, mask)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{LabelledBox, LungMask, RegionMask};
    use std::path::Path;

    fn record() -> Record {
        Record { id: "a".into(), width: 8, height: 4, ..Record::default() }
    }

    fn draw(
        folder: &Path,
        name: &str,
        width: u32,
        height: u32,
        inside: &[[u32; 2]],
    ) -> std::path::PathBuf {
        let path = folder.join(name);
        let mut picture = image::GrayImage::new(width, height);
        inside.iter().for_each(|&[x, y]| picture.put_pixel(x, y, image::Luma([255])));
        picture.save(&path).unwrap();
        path
    }

    #[test]
    fn masks_of_one_class_are_joined_and_machines_are_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = record();
        let region = |path| RegionMask { path, cls: "nodule".into(), group: "lesion".into() };
        record.masks = vec![
            region(draw(folder.path(), "1.png", 8, 4, &[[1, 0]])),
            region(draw(folder.path(), "2.png", 8, 4, &[[7, 3]])),
        ];
        let kind = "machine-made".to_owned();
        record.lung_masks = vec![LungMask { path: record.masks[0].path.clone(), kind }];
        let mask = mask_of(&record, "nodule").unwrap().unwrap();
        let inside: Vec<usize> = (0..32).filter(|&at| mask.pixels()[at] > 0.5).collect();
        assert_eq!(inside, [1, 31]);
        assert!(mask_of(&record, "lung").unwrap().is_none());
        assert!(mask_of(&record, "mass").unwrap().is_none());
        record.looked_for = vec!["mass".into()];
        assert!(mask_of(&record, "mass").unwrap().unwrap().pixels().iter().all(|&x| x == 0.0));
    }

    #[test]
    fn a_mask_of_another_size_is_named_with_both_sizes() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = record();
        let path = draw(folder.path(), "m.png", 4, 4, &[]);
        record.masks = vec![RegionMask { path, cls: "nodule".into(), group: "lesion".into() }];
        let error = format!("{:#}", mask_of(&record, "nodule").unwrap_err());
        assert!(error.contains("m.png: mask is 4x4, expected the image's 8x4"), "{error}");
        record.width = 0;
        let error = format!("{:#}", mask_of(&record, "nodule").unwrap_err());
        assert!(error.contains("`a` has no width and height"), "{error}");
    }

    #[test]
    fn a_mask_covers_the_cells_its_picture_covers() {
        // The picture takes columns 1 to 7 of the input, of them 4 to 7 are inside: half of the last cell is padding.
        let mask = Image::new(8, 6, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0].repeat(8)).unwrap();
        let of = |fit| {
            let preprocess = Preprocess { height: 8, width: 8, fit, ..Preprocess::PRIOR };
            cover(&mask, &preprocess)[..4].to_vec()
        };
        assert_eq!(of(Fit::Pad), [0.0, 0.0, 1.0, 0.5]);
        let stretched = of(Fit::Stretch);
        assert!(stretched[0] < 0.01 && stretched[3] > 0.99, "{stretched:?}");
    }

    #[test]
    fn boxes_become_masks() {
        let mut record = record();
        let b = LabelledBox {
            label: "X".into(),
            x: 2.0,
            y: 1.0,
            w: 3.0,
            h: 2.0,
            source: String::new(),
        };
        record.boxes = vec![b];
        let mask = mask_of(&record, "boxes.X").unwrap().unwrap();
        let inside: Vec<usize> = (0..32).filter(|&at| mask.pixels()[at] > 0.5).collect();
        assert_eq!(inside, [10, 11, 12, 18, 19, 20]);
    }
}
