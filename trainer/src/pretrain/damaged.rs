//! Pictures that cannot be read, found before the first step rather than at hour five.

use super::{Pairs, Pictures};
use anyhow::{Result, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A picture left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    /// Of its pair.
    pub id: String,
    pub image: PathBuf,
    pub reason: String,
}

/// Reads every picture once, which fills the cache too, and leaves out those that cannot be read, and pairs without
/// another. Fails when there are more than `allowed`.
///
/// What is left depends on the files alone, so that a run stays the same whoever prepares its batches.
pub fn leave_out(
    pairs: &mut Pairs,
    pictures: &Pictures,
    allowed: usize,
    threads: usize,
    read_one: impl Fn() + Sync,
) -> Result<Vec<Damaged>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let check = |pair: &super::Pair| -> Vec<Damaged> {
        let read = |image: &PathBuf| {
            let error = pictures.read(image).err();
            read_one();
            let reason = format!("{:#}", error?);
            Some(Damaged { id: pair.id.clone(), image: image.clone(), reason })
        };
        pair.images.iter().filter_map(read).collect()
    };
    let damaged: Vec<Damaged> =
        pool.install(|| pairs.all.par_iter().flat_map_iter(check).collect());
    if let Some(first) = damaged.first() {
        ensure!(
            damaged.len() <= allowed,
            "{} images cannot be read, --skip-bad-images allows {allowed}; the first is {} of {}: {}",
            damaged.len(),
            first.image.display(),
            first.id,
            first.reason
        );
    }
    for pair in &mut pairs.all {
        pair.images.retain(|image| damaged.iter().all(|bad| bad.image != *image));
    }
    let before = pairs.all.len();
    pairs.all.retain(|pair| !pair.images.is_empty());
    pairs.left_out += before - pairs.all.len();
    Ok(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrain::Pair;
    use graph::Preprocess;
    use std::{fs, path::Path};

    fn pairs(folder: &Path) -> Pairs {
        let picture = |name: &str| {
            let path = folder.join(name);
            image::GrayImage::from_pixel(40, 40, image::Luma([90])).save(&path).unwrap();
            path
        };
        let pair = |id: &str, images: &[&str]| Pair {
            id: id.into(),
            images: images.iter().map(|name| picture(name)).collect(),
            sentences: vec!["Clear.".into()],
            report_group: String::new(),
        };
        let all =
            vec![pair("a", &["a.png"]), pair("b", &["b1.png", "b2.png"]), pair("c", &["c.png"])];
        Pairs { all, left_out: 0 }
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_listed_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let mut pairs = pairs(folder.path());
        fs::write(folder.path().join("b1.png"), b"not a picture").unwrap();
        fs::remove_file(folder.path().join("c.png")).unwrap();
        let size = Preprocess { height: 32, width: 32, mean: 0.5, std: 0.25, ..Preprocess::PRIOR };
        let pictures = Pictures::new(size, None).unwrap();
        let error = leave_out(&mut pairs.clone(), &pictures, 1, 2, || ()).unwrap_err().to_string();
        assert!(
            error.starts_with("2 images cannot be read") && error.contains("b1.png of b"),
            "{error}"
        );
        let damaged = leave_out(&mut pairs, &pictures, 2, 2, || ()).unwrap();
        let names: Vec<_> = damaged.iter().map(|bad| bad.id.as_str()).collect();
        assert_eq!(names, ["b", "c"]);
        assert!(damaged[1].reason.contains("c.png"), "{:?}", damaged[1]);
        let left: Vec<_> =
            pairs.all.iter().map(|pair| (pair.id.as_str(), pair.images.len())).collect();
        assert_eq!((left, pairs.left_out), (vec![("a", 1), ("b", 1)], 1));
    }
}
