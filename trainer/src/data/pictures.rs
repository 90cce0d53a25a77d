//! Radiographs as network input, read by the very code that serves (`radiograph`).

use crate::index::Record;
use anyhow::{Context, Result};
use graph::Preprocess;
use indicatif::ProgressBar;
use rayon::prelude::*;
use std::path::PathBuf;
use tch::Tensor;

/// Pictures of one split, kept decoded if they fit in `CACHE_BYTES`.
#[derive(Debug)]
pub struct Pictures {
    paths: Vec<PathBuf>,
    preprocess: Preprocess,
    /// `[N, 1, H, W]`, or nothing where there are too many.
    decoded: Option<Tensor>,
}

/// Beyond this, pictures are decoded each time they are used.
const CACHE_BYTES: usize = 3 << 30;

impl Pictures {
    /// Reads every picture once if there is room; a picture that cannot be read is an error here or at its batch.
    pub fn open(
        records: &[Record],
        preprocess: Preprocess,
        progress: &ProgressBar,
    ) -> Result<Self> {
        let paths = records.iter().map(|record| record.image_path().to_owned()).collect();
        let mut pictures = Self { paths, preprocess, decoded: None };
        let bytes = records.len() * preprocess.height * preprocess.width * size_of::<f32>();
        if bytes <= CACHE_BYTES {
            let all: Vec<usize> = (0..records.len()).collect();
            pictures.decoded = Some(pictures.decode(&all, progress)?);
        }
        Ok(pictures)
    }

    pub fn len(&self) -> usize {
        self.paths.len()
    }

    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// `[B, 1, H, W]`, normalised, on the CPU.
    pub fn batch(&self, numbers: &[usize]) -> Result<Tensor> {
        match &self.decoded {
            Some(decoded) => Ok(decoded.index_select(0, &indices(numbers))),
            None => self.decode(numbers, &ProgressBar::hidden()),
        }
    }

    fn decode(&self, numbers: &[usize], progress: &ProgressBar) -> Result<Tensor> {
        let Preprocess { height, width, .. } = self.preprocess;
        let preprocess = &self.preprocess;
        let paths: Vec<&PathBuf> = numbers.iter().map(|&number| &self.paths[number]).collect();
        let inputs: Result<Vec<Vec<f32>>> = paths
            .into_par_iter()
            .map(|path| {
                let radiograph = radiograph::read_file(path)
                    .with_context(|| format!("cannot use {}", path.display()))?;
                progress.inc(1);
                Ok(radiograph::network_input(&radiograph.image, preprocess))
            })
            .collect();
        let flat = inputs?.concat();
        Ok(Tensor::from_slice(&flat).view([-1, 1, height as i64, width as i64]))
    }
}

/// Numbers as an index tensor.
pub(crate) fn indices(numbers: &[usize]) -> Tensor {
    let numbers: Vec<i64> = numbers.iter().map(|&number| number as i64).collect();
    Tensor::from_slice(&numbers)
}
