//! The layout that draws masks, as run lengths.

use super::Workplace;
use crate::index::{self, Layout, Truth};
use radiograph::Image;

/// As SIIM writes a mask: offsets from the end of the run before, down the columns.
fn run_lengths(mask: &Image<'_>) -> String {
    let (mut code, mut end, mut at) = (Vec::new(), 0, 0);
    let total = mask.width * mask.height;
    let pixels = mask.pixels();
    let inside = |at: usize| pixels[at % mask.height * mask.width + at / mask.height] > 0.5;
    while at < total {
        if inside(at) {
            let begin = at;
            while at < total && inside(at) {
                at += 1;
            }
            code.extend([begin - end, at - begin]);
            end = at;
        } else {
            at += 1;
        }
    }
    code.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn siim_masks_come_back_as_they_were_drawn() {
    let work = Workplace::new();
    // A lung mask is as good a region as any.
    let masks: Vec<_> = [0, 1]
        .map(|at| radiograph::read_file(&work.phantoms[at].lung_masks[0].path).unwrap().image)
        .to_vec();
    for (number, id) in [(0, "1.2.3"), (1, "1.2.4"), (2, "1.2.5")] {
        work.dicom(number, &format!("dicom-images-train/s{number}/t{number}/{id}.dcm"));
    }
    // The second image's region in two rows: the left and the right half.
    let half = |right: bool| {
        let Image { height, width, .. } = masks[1];
        let mut own = masks[1].pixels().into_owned();
        own.iter_mut().enumerate().for_each(|(at, x)| {
            if (at % width >= width / 2) != right {
                *x = 0.0;
            }
        });
        run_lengths(&Image::new(height, width, own).unwrap())
    };
    let (first, left, right) = (run_lengths(&masks[0]), half(false), half(true));
    work.text(
        "train-rle.csv",
        &format!(
            "ImageId, EncodedPixels\n1.2.3,{first}\n1.2.4, {left}\n1.2.4, {right}\n1.2.5, -1\n"
        ),
    );
    let records = work.index(Layout::Siim);
    for (record, mask) in records.iter().zip(&masks) {
        let read = radiograph::read_file(&record.masks[0].path).unwrap().image;
        let (read, mask) = (read.pixels(), mask.pixels());
        assert!(read.iter().zip(&*mask).all(|(a, b)| (a > &0.5) == (b > &0.5)));
        assert_eq!(record.truth("Pneumothorax"), Truth::Positive);
    }
    assert_eq!(records[2].truth("Pneumothorax"), Truth::Negative);
    assert_eq!(records[2].region("pneumothorax"), Some(index::Region::Drawn(vec![])));
    assert_eq!(records[0].patient_id, work.phantoms[0].patient_id);

    work.text("train-rle.csv", "ImageId, EncodedPixels\n1.2.3, 5 999999\n");
    assert!(work.error(Layout::Siim).contains("run-length code leaves the image of"));
}
