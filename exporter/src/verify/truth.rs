//! What people said about an image, in the form each head is judged by.

use crate::index::Record;
use anyhow::{Context, Result, ensure};
use graph::{ModelConfig, Task};

/// Truth of one image; `None` = nobody said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Truth {
    /// Whose image it is.
    pub(crate) patient: String,
    /// By label of the classification head.
    pub(crate) findings: Vec<Option<bool>>,
    /// By label of the segmentation head, in pixels of the source image.
    pub(crate) masks: Vec<Option<Vec<bool>>>,
    /// Class and corners `x1, y1, x2, y2`, in pixels of the source image.
    pub(crate) boxes: Option<Vec<(usize, [f32; 4])>>,
}

impl Truth {
    /// Whether anybody said anything of what the network's heads find.
    pub(crate) fn is_known(record: &Record, model: &ModelConfig) -> bool {
        model.heads.iter().any(|head| {
            let any = |known: &dyn Fn(&String) -> bool| head.labels.iter().any(known);
            match head.task {
                Task::Classification => any(&|label| record.truth(label).is_some()),
                Task::Segmentation => {
                    any(&|label| record.looked_for(label) || !record.mask_paths(label).is_empty())
                }
                Task::Detection | Task::Yolov3 | Task::Yolov3Relu => {
                    record.boxes_known(&head.labels)
                }
            }
        })
    }

    /// Reads masks; `size` is rows and columns of the source image.
    pub(crate) fn of(record: &Record, model: &ModelConfig, size: [usize; 2]) -> Result<Self> {
        let labels = |task| {
            let head = model.heads.iter().find(|head| head.task == task);
            head.map_or(&[][..], |head| &head.labels)
        };
        let boxed = model.detector().map_or(&[][..], |head| &head.labels);
        let masks = labels(Task::Segmentation).iter().map(|label| mask(record, label, size));
        Ok(Self {
            patient: record.patient().to_owned(),
            findings: labels(Task::Classification).iter().map(|l| record.truth(l)).collect(),
            masks: masks.collect::<Result<_>>()?,
            boxes: boxes(record, boxed),
        })
    }
}

/// All regions of the label together; lungs only as people drew them.
fn mask(record: &Record, label: &str, size: [usize; 2]) -> Result<Option<Vec<bool>>> {
    let paths = record.mask_paths(label);
    let nothing = record.looked_for(label).then(|| vec![false; size[0] * size[1]]);
    let mut union: Option<Vec<bool>> = nothing;
    for path in paths {
        let picture =
            radiograph::read_file(path).with_context(|| format!("mask {}", path.display()))?.image;
        ensure!(
            [picture.height, picture.width] == size,
            "{}: mask is {}x{}, expected the image's {}x{}",
            path.display(),
            picture.width,
            picture.height,
            size[1],
            size[0]
        );
        let inside = picture.pixels.iter().map(|&x| x >= 0.5);
        union = Some(match union {
            None => inside.collect(),
            Some(known) => known.into_iter().zip(inside).map(|(a, b)| a || b).collect(),
        });
    }
    Ok(union)
}

/// Boxes of the head's classes, where somebody looked for them.
fn boxes(record: &Record, labels: &[String]) -> Option<Vec<(usize, [f32; 4])>> {
    if labels.is_empty() || !record.boxes_known(labels) {
        return None;
    }
    let found = record.all_boxes().filter_map(|(label, corners)| {
        Some((labels.iter().position(|own| own == label)?, corners))
    });
    Some(found.collect())
}
