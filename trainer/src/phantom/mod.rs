//! Frontal chest radiographs drawn from nothing, with everything known about them.
//!
//! ```text
//! anatomy   build of a patient: rib cage, diaphragm, heart
//! findings  what is wrong: opacity, enlarged heart, fluid, air, nodule, …
//! render    build + findings → brightness, exposure, noise; lung and lesion fields
//! report    the same findings as sentences
//! study     all of it, as a record of the index
//! ```
//!
//! They look like radiographs enough to train, test and demonstrate every part of the product where no
//! real image may be used, and prove nothing about patients. A seed draws the same bytes on every CPU.

mod anatomy;
mod canvas;
mod dicom;
mod findings;
mod render;
mod report;
mod study;

use crate::index::{LeftOut, Record, Summary, assign_splits, write_whole};
use anyhow::{Context, Result};
use image::{ExtendedColorType, ImageEncoder, codecs};
use indicatif::ProgressBar;
use rayon::prelude::*;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Which phantoms, and where.
#[derive(Clone, Debug)]
pub struct Drawing {
    pub out: PathBuf,
    pub count: u32,
    /// The same seed draws the same pictures.
    pub seed: u64,
    /// Rows of a picture.
    pub size: u32,
    /// How many of them are written as DICOM too.
    pub dicom: u32,
}

impl Drawing {
    /// Writes them in the layout of cxr-mini, their manifest last; its path, and what is in it.
    pub fn draw(&self, progress: &ProgressBar) -> Result<(PathBuf, Summary)> {
        for folder in ["images", "masks/lung", "masks/lesion", "dicom"] {
            let folder = self.out.join(folder);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make folder {}", folder.display()))?;
        }
        let drawn: Result<Vec<Record>> = (0..self.count as usize)
            .into_par_iter()
            .map(|number| self.study(number).inspect(|_| progress.inc(1)))
            .collect();
        let mut records = drawn?;
        assign_splits(&mut records, [70.0, 15.0, 15.0], self.seed);
        // The manifest comes last: with it, everything it names is there.
        let manifest = self.out.join("manifest.jsonl");
        let mut text = Vec::new();
        for record in &records {
            serde_json::to_writer(&mut text, record)?;
            text.push(b'\n');
        }
        write_whole(&manifest, &text)?;
        Ok((manifest, Summary::of(&records, LeftOut::default())))
    }

    /// Writes one study's files; paths in the record are relative to the folder.
    fn study(&self, number: usize) -> Result<Record> {
        let study = study::draw(self.seed, number, self.size as usize);
        let (width, height) = (study.record.width, study.record.height);
        let grey: Vec<u8> =
            study.rendered.picture.values.iter().map(|v| (v * 255.0).round() as u8).collect();
        let mut jpeg = Vec::new();
        codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 92).write_image(
            &grey,
            width,
            height,
            ExtendedColorType::L8,
        )?;
        put(&self.out.join(&study.record.image), &jpeg)?;
        for (path, pixels) in &study.masks {
            let mut png = Vec::new();
            codecs::png::PngEncoder::new(&mut png).write_image(
                pixels,
                width,
                height,
                ExtendedColorType::L8,
            )?;
            put(&self.out.join(path), &png)?;
        }
        if number < self.dicom as usize {
            let bytes = dicom::encode(&study, self.seed, number, number % 2 == 1)?;
            put(&self.out.join(format!("dicom/{}.dcm", study.record.id)), &bytes)?;
        }
        Ok(study.record)
    }
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Phantoms for the tests of other modules.
#[cfg(test)]
pub(crate) fn draw_into(out: &Path, count: u32, seed: u64, size: u32) -> Result<()> {
    let drawing = Drawing { out: out.to_owned(), count, seed, size, dicom: 0 };
    drawing.draw(&ProgressBar::hidden()).map(drop)
}

/// The same, each as DICOM too.
#[cfg(test)]
pub(crate) fn draw_with_dicom(out: &Path, count: u32, seed: u64, size: u32) -> Result<()> {
    let drawing = Drawing { out: out.to_owned(), count, seed, size, dicom: count };
    drawing.draw(&ProgressBar::hidden()).map(drop)
}

#[cfg(test)]
mod tests;
