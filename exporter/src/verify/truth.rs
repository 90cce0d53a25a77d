//! What people said about an image, in the form each head is judged by.

use anyhow::{Context, Result};
use graph::{ModelConfig, Task};
use records::Record;

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
                Task::Classification => any(&|label| record.truth(label).certain().is_some()),
                Task::Segmentation => any(&|label| record.region(label).is_some()),
                Task::Detection | Task::Yolov3 | Task::Yolov3Relu => {
                    record.boxes_of(&head.labels).is_some()
                }
                // Of a language head the findings in words tell.
                Task::Language => false,
            }
        })
    }

    /// Draws masks; `size` is rows and columns of the source image.
    pub(crate) fn of(record: &Record, model: &ModelConfig, size: [usize; 2]) -> Result<Self> {
        let labels = |task| {
            let head = model.heads.iter().find(|head| head.task == task);
            head.map_or(&[][..], |head| &head.labels)
        };
        let findings = labels(Task::Classification).iter();
        let mask =
            |label: &String| record.region(label).map(|region| region.mask(size)).transpose();
        let masks = labels(Task::Segmentation).iter().map(mask).collect::<Result<_, _>>();
        Ok(Self {
            patient: record.group().to_owned(),
            findings: findings.map(|label| record.truth(label).certain()).collect(),
            masks: masks.with_context(|| format!("`{}`", record.id))?,
            boxes: model.detector().and_then(|head| record.boxes_of(&head.labels)),
        })
    }
}
