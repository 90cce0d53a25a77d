//! Detection: boxes of the index, the loss of the head, mean average precision on the validation split.

use super::{
    anchor_free::{self, Boxes, Grid},
    yolov3,
};
use crate::{
    data::pictures::Pictures,
    index::Record,
    learn::{
        Outputs,
        fit::{Batch, Judgement, Objective},
    },
    metrics::{
        bootstrap::Patients,
        detection::{
            Counting, Detection as Called, ImageBoxes, LEAST_SCORE, Matched, RSNA_THRESHOLDS, Rect,
            mean_average_precision,
        },
        figure::MAP,
        operating::OperatingPoint,
        threshold::Criterion,
    },
    tasks::size_of_image,
};
use anyhow::Result;
use engine::decode::{Cells, Detector, Level, detect};
use graph::{Placement, Preprocess};
use tch::{Device, Kind, Tensor, nn};

/// Train and validation truth of a run.
pub(crate) struct Loss {
    pub(crate) labels: Vec<String>,
    pub(crate) kind: Detector,
    pub(crate) train: Vec<Boxes>,
    pub(crate) val: Vec<Boxes>,
    pub(crate) val_pictures: Pictures,
    pub(crate) val_records: Vec<Record>,
    pub(crate) batch: usize,
}

impl Objective for Loss {
    fn begin(&self, store: &nn::VarStore) {
        let variables = store.variables();
        let classes = self.labels.len() as i64;
        let bias = (anchor_free::FIRST_SCORE / (1.0 - anchor_free::FIRST_SCORE)).ln();
        for level in self.kind.levels() {
            let name = format!("{}.bias", self.kind.last_layer(level));
            let channels: Vec<i64> = match self.kind {
                Detector::AnchorFree => (0..classes).collect(),
                Detector::Yolov3 => (0..3).map(|a| a * (classes + 5) + 4).collect(),
            };
            tch::no_grad(|| {
                for channel in channels {
                    let _ = variables[&name].get(channel).fill_(bias);
                }
            });
        }
    }

    fn loss(&self, outputs: &Outputs, batch: &Batch<'_>) -> Tensor {
        let moved: Vec<Boxes> = batch
            .numbers
            .iter()
            .enumerate()
            .map(|(at, &number)| {
                let own = self.train[number].iter();
                own.filter_map(|&(label, b)| Some((label, batch.moves.rectangle(at, b)?))).collect()
            })
            .collect();
        self.loss_of(outputs, &moved)
    }

    fn judge(&self, forward: &dyn Fn(&Tensor) -> Outputs) -> Result<Judgement> {
        let all: Vec<usize> = (0..self.val_pictures.len()).collect();
        let (mut loss, mut batches, mut images) = (0.0, 0.0, Vec::new());
        for numbers in all.chunks(self.batch) {
            let outputs = forward(&self.val_pictures.batch(numbers)?);
            let truth: Vec<Boxes> = numbers.iter().map(|&n| self.val[n].clone()).collect();
            loss += self.loss_of(&outputs, &truth).double_value(&[]);
            batches += 1.0;
            let records: Vec<&Record> = numbers.iter().map(|&n| &self.val_records[n]).collect();
            images.extend(judged(
                &outputs,
                self.kind,
                &self.labels,
                self.val_pictures.preprocess(),
                &records,
            )?);
        }
        let images: Vec<&ImageBoxes> = images.iter().collect();
        let classes = 0..self.labels.len();
        let map = mean_average_precision(&images, classes, &RSNA_THRESHOLDS, Counting::All);
        Ok(Judgement { loss: loss / batches, metric: map.unwrap_or(0.0), f1: None })
    }

    /// Scores with the best F1 at half overlap.
    fn conclude(&self, forward: &dyn Fn(&Tensor) -> Outputs) -> Result<toml::Table> {
        let images = detections(
            &self.val_pictures,
            &self.val_records,
            self.kind,
            &self.labels,
            self.batch,
            forward,
        )?;
        let all: Vec<&ImageBoxes> = images.iter().collect();
        let matched = Matched::new(&all, 0..self.labels.len(), &RSNA_THRESHOLDS);
        let best = |class| matched.best_score(class, 0.5, &vec![1; images.len()]);
        let point = |(class, name): (usize, &String)| {
            Some(OperatingPoint::new(name, best(class)?, Criterion::F1))
        };
        let points: Vec<_> = self.labels.iter().enumerate().filter_map(point).collect();
        let figure = crate::learn::figure(
            "detection",
            MAP.into(),
            images.len(),
            |weights| matched.mean_average_precision(weights, Counting::All),
            &Patients::new(self.val_records.iter().map(Record::group)),
        );
        crate::learn::conclusion(&points, figure.as_slice())
    }

    fn mixes(&self) -> bool {
        false
    }
}

impl Loss {
    fn loss_of(&self, outputs: &Outputs, truth: &[Boxes]) -> Tensor {
        let levels: Vec<(Grid, &Tensor)> = self
            .kind
            .levels()
            .map(|level| {
                let output = &outputs[&self.kind.output(level)];
                let size = output.size();
                let (rows, columns) = (size[2] as usize, size[3] as usize);
                (Grid { level, rows, columns }, output)
            })
            .collect();
        match self.kind {
            Detector::AnchorFree => anchor_free::loss(&levels, truth, self.labels.len()),
            Detector::Yolov3 => yolov3::loss(&levels, truth, self.labels.len()),
        }
    }
}

/// Boxes of the index in shares of the sides of what `preprocess` makes; empty where there are none.
pub(crate) fn truth_in_shares(
    records: &[Record],
    labels: &[String],
    preprocess: &Preprocess,
) -> Result<Vec<Boxes>> {
    let shares = |record: &Record| {
        let size = size_of_image(record)?;
        let (placed, [height, width]) = (preprocess.place(size), size.map(|side| side as f64));
        let boxes = record.boxes_of(labels).unwrap_or_default();
        let share = |corners: [f32; 4]| {
            let [x1, y1, x2, y2] = corners.map(f64::from);
            let of_image = [x1 / width, y1 / height, x2 / width, y2 / height];
            placed.into_input(of_image.map(|x| x.clamp(0.0, 1.0)))
        };
        Ok(boxes.into_iter().map(|(label, corners)| (label, share(corners))).collect())
    };
    records.iter().map(shares).collect()
}

/// The network's boxes on every picture beside the true ones, in pixels of the images.
pub(crate) fn detections(
    pictures: &Pictures,
    records: &[Record],
    kind: Detector,
    labels: &[String],
    batch: usize,
    forward: &dyn Fn(&Tensor) -> Outputs,
) -> Result<Vec<ImageBoxes>> {
    let all: Vec<usize> = (0..pictures.len()).collect();
    let mut images = Vec::with_capacity(all.len());
    for numbers in all.chunks(batch) {
        let outputs = forward(&pictures.batch(numbers)?);
        let records: Vec<&Record> = numbers.iter().map(|&number| &records[number]).collect();
        images.extend(judged(&outputs, kind, labels, pictures.preprocess(), &records)?);
    }
    Ok(images)
}

fn judged(
    outputs: &Outputs,
    kind: Detector,
    labels: &[String],
    preprocess: &Preprocess,
    records: &[&Record],
) -> Result<Vec<ImageBoxes>> {
    let levels: Vec<(usize, Tensor)> = kind
        .levels()
        .map(|level| {
            let output = outputs[&kind.output(level)].to_device(Device::Cpu).to_kind(Kind::Float);
            (level, output)
        })
        .collect();
    let image = |(at, record): (usize, &&Record)| -> Result<ImageBoxes> {
        let placed = preprocess.place(size_of_image(record)?);
        let found = boxes_found(kind, &levels, at, labels, LEAST_SCORE, &placed)?;
        let called = found.into_iter().map(|d| Called {
            class: labels.iter().position(|name| *name == d.name).expect("a label of the head"),
            score: d.score,
            rect: rect([d.x, d.y, d.x + d.width, d.y + d.height]),
        });
        let truth = record.boxes_of(labels).unwrap_or_default();
        Ok(ImageBoxes {
            detections: called.collect(),
            truth: truth.into_iter().map(|(label, corners)| (label, rect(corners))).collect(),
        })
    };
    records.iter().enumerate().map(image).collect()
}

/// What the box would find in image `at` of a batch, from the detector's levels `[B, channels, rows, columns]` on the CPU.
pub(crate) fn boxes_found(
    kind: Detector,
    levels: &[(usize, Tensor)],
    at: usize,
    labels: &[String],
    least: f32,
    placed: &Placement,
) -> Result<Vec<engine::Detection>> {
    let data: Result<Vec<Vec<f32>>, _> = levels
        .iter()
        .map(|(_, x)| Vec::try_from(x.get(at as i64).contiguous().flatten(0, -1)))
        .collect();
    let data = data?;
    let cells: Vec<Level<'_>> = levels
        .iter()
        .zip(&data)
        .map(|((number, x), data)| {
            let size = x.size();
            let (rows, columns) = (size[2] as usize, size[3] as usize);
            Level { number: *number, cells: Cells { data, rows, columns } }
        })
        .collect();
    Ok(detect(kind, &cells, labels, |_| least, placed))
}

fn rect(corners: [f32; 4]) -> Rect {
    let [x1, y1, x2, y2] = corners.map(f64::from);
    Rect { x1, y1, x2, y2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::LabelledBox;
    use graph::Fit;

    #[test]
    fn boxes_of_the_index_become_shares_of_the_image() {
        let b = |label: &str| LabelledBox {
            label: label.into(),
            x: 10.0,
            y: 20.0,
            w: 30.0,
            h: 41.0,
            source: String::new(),
        };
        let record = Record {
            width: 100,
            height: 60,
            boxes: vec![b("Mass"), b("Nodule")],
            ..Record::default()
        };
        let shares = |fit| {
            let preprocess = Preprocess { height: 100, width: 100, fit, ..Preprocess::PRIOR };
            truth_in_shares(std::slice::from_ref(&record), &["Nodule".into()], &preprocess).unwrap()
        };
        // The lower edge is a pixel out of the image, which the index allows.
        assert_eq!(shares(Fit::Stretch), [vec![(0, [0.1, 20.0 / 60.0, 0.4, 1.0])]]);
        assert_eq!(shares(Fit::Pad), [vec![(0, [0.1, 0.4, 0.4, 0.8])]]);
    }
}
