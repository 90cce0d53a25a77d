//! The way from stored values to the network's input as it was before it became one pass: whole pictures, one step after
//! the other. Every bit of what the pass gives is compared with what this gives.

use super::{super::*, *};
use crate::{Kind, Radiograph, fitted, gate, taps::Taps};
use graph::{Fit, PictureFilter, Preprocess, Side};
use proptest::{prelude::*, test_runner::RngSeed};
use std::path::{Path, PathBuf};

/// Stored values from cells of `allocated` bits.
fn native(layout: &PixelLayout, bytes: &[u8], big_endian: bool) -> Vec<i32> {
    fn cells<const N: usize>(bytes: &[u8], cell: impl Fn([u8; N]) -> i32) -> Vec<i32> {
        bytes.as_chunks().0.iter().map(|bytes| cell(*bytes)).collect()
    }
    let cell = |bits: u32| layout.value(bits >> layout.shift);
    match (layout.allocated, big_endian) {
        (8, _) => bytes.iter().map(|b| cell((*b).into())).collect(),
        (16, false) => cells(bytes, |b| cell(u16::from_le_bytes(b).into())),
        (16, true) => cells(bytes, |b| cell(u16::from_be_bytes(b).into())),
        (_, false) => cells(bytes, |b| cell(u32::from_le_bytes(b))),
        (_, true) => cells(bytes, |b| cell(u32::from_be_bytes(b))),
    }
}

impl Display {
    /// The displayed picture for the stored values of one frame.
    fn applied(&self, layout: &PixelLayout, stored: Vec<i32>) -> Vec<f32> {
        let range = match self.voi {
            Voi::FullRange => self.range_of_stored(&stored),
            _ => (0.0, 1.0),
        };
        if layout.stored > 16 {
            return stored.into_iter().map(|value| self.show(value, range)).collect();
        }
        let smallest = layout.smallest();
        let table: Vec<f32> =
            (0..1 << layout.stored).map(|i| self.show(smallest + i, range)).collect();
        stored.into_iter().map(|value| table[(value - smallest) as usize]).collect()
    }

    fn range_of_stored(&self, stored: &[i32]) -> (f64, f64) {
        let inside = stored.iter().copied().filter(|value| !self.is_padding(*value));
        if matches!(self.modality, Modality::Lut(_)) {
            let nothing = (f64::INFINITY, f64::NEG_INFINITY);
            let values = inside.map(|value| self.modality.at(value));
            return values.fold(nothing, |(low, high), x| (low.min(x), high.max(x)));
        }
        let ends = |(low, high): (i32, i32), value: i32| (low.min(value), high.max(value));
        let (low, high) = inside.fold((i32::MAX, i32::MIN), ends);
        let [a, b] = [low, high].map(|value| self.modality.at(value));
        if low > high { (0.0, 0.0) } else { (a.min(b), a.max(b)) }
    }
}

fn fitted_whole(pixels: &[f32], source: [usize; 2], preprocess: &Preprocess) -> Vec<f32> {
    let at = preprocess.place(source);
    let seen = at.cropped(pixels);
    let shown = |resized: &[f32]| -> Vec<f32> {
        let rows = resized.chunks_exact(at.size[1]).skip(at.skipped[0]).take(at.shown[0]);
        rows.flat_map(|row| &row[at.skipped[1]..][..at.shown[1]]).copied().collect()
    };
    let resized = match preprocess.filter {
        _ if at.seen == at.size => shown(&seen),
        PictureFilter::Triangle => {
            let taps =
                [0, 1].map(|axis| Taps::triangles(at.seen[axis], at.size[axis], 0..at.size[axis]));
            shown(&separable(&seen, at.seen[1], &taps, 0.0))
        }
        PictureFilter::Gaussian => {
            let outside = preprocess.mean;
            let taps =
                [0, 1].map(|axis| Taps::gaussians(at.seen[axis], at.size[axis], 0..at.size[axis]));
            let mut resized = shown(&separable(&seen, at.seen[1], &taps, outside));
            let [mut low, mut high] = ends(&seen);
            let [darkest, lightest] = ends(&resized);
            if (darkest..=lightest).contains(&outside) {
                (low, high) = (low.min(outside), high.max(outside));
            }
            resized.iter_mut().for_each(|x| *x = x.clamp(low, high));
            resized
        }
    };
    at.embed(resized, 0.0)
}

fn ends(pixels: &[f32]) -> [f32; 2] {
    let all = pixels.iter().copied();
    [all.clone().fold(f32::INFINITY, f32::min), all.fold(f32::NEG_INFINITY, f32::max)]
}

fn separable(pixels: &[f32], from_width: usize, taps: &[Vec<Taps>; 2], outside: f32) -> Vec<f32> {
    let [down, last] = taps;
    let mut tall = Vec::with_capacity(down.len() * from_width); // [H, w]
    for taps in down {
        let mut sum = vec![taps.beyond * outside; from_width];
        let rows = pixels[taps.first * from_width..].chunks_exact(from_width);
        for (row, weight) in rows.zip(&taps.weights) {
            for (sum, x) in sum.iter_mut().zip(row) {
                *sum += weight * x;
            }
        }
        tall.extend_from_slice(&sum);
    }
    let across = |row: &[f32], taps: &Taps| {
        let weighted = row[taps.first..].iter().zip(&taps.weights);
        weighted.fold(taps.beyond * outside, |sum, (x, weight)| sum + weight * x)
    };
    let rows = tall.chunks_exact(from_width);
    rows.flat_map(|row| last.iter().map(move |taps| across(row, taps))).collect()
}

fn bits(pixels: &[f32]) -> Vec<u32> {
    pixels.iter().map(|x| x.to_bits()).collect()
}

/// A frame and how it is shown.
#[derive(Debug)]
struct Case {
    layout: PixelLayout,
    display: Display,
    bytes: Vec<u8>,
    big_endian: bool,
}

prop_compose! {
    fn layout()(
        (rows, columns) in (1usize..70, 1usize..70),
        allocated in prop::sample::select(vec![8u32, 16, 16, 16, 32]),
        signed in any::<bool>(),
        inverted in any::<bool>(),
        share in 0.0f64..1.0,
        place in 0.0f64..1.0,
    ) -> PixelLayout {
        let stored = 1 + (share * f64::from(allocated)) as u32;
        let shift = (place * f64::from(allocated - stored + 1)) as u32;
        let photometric = if inverted { "MONOCHROME1" } else { "MONOCHROME2" }.to_owned();
        let (frames, samples, planar) = (1, 1, false);
        PixelLayout { rows, columns, frames, samples, photometric, allocated, stored, shift, signed, planar }
    }
}

prop_compose! {
    fn lut()(
        bits in 8u32..=16,
        first in -300i64..300,
        entries in prop::collection::vec(any::<u16>(), 1..500),
    ) -> Lut {
        let entries = entries.into_iter().map(|x| x & ((1u32 << bits) - 1) as u16).collect();
        Lut::of(first, entries, bits)
    }
}

fn modality() -> impl Strategy<Value = Modality> {
    prop_oneof![
        3 => (prop::sample::select(vec![1.0, -1.0, 0.25, 2.5]), -1100.0..1100.0f64)
            .prop_map(|(slope, intercept)| Modality::Rescale { slope, intercept }),
        1 => lut().prop_map(Modality::Lut),
    ]
}

fn voi() -> impl Strategy<Value = Voi> {
    let window = || (-2000.0..40_000.0f64, 1.0..70_000.0f64);
    prop_oneof![
        3 => Just(()).prop_map(|()| Voi::FullRange),
        1 => lut().prop_map(Voi::Lut),
        1 => window().prop_map(|(center, width)| Voi::Linear { center, width }),
        1 => window().prop_map(|(center, width)| Voi::LinearExact { center, width }),
        1 => window().prop_map(|(center, width)| Voi::Sigmoid { center, width }),
    ]
}

prop_compose! {
    fn case()(layout in layout())(
        bytes in prop::collection::vec(any::<u8>(), layout.samples_per_frame() * layout.bytes_per_sample()),
        big_endian in any::<bool>(),
        modality in modality(),
        voi in voi(),
        padding in prop::option::of((any::<u32>(), any::<u32>())),
        layout in Just(layout),
    ) -> Case {
        let padding = padding.map(|ends| {
            let (a, b) = (layout.value(ends.0), layout.value(ends.1));
            a.min(b)..=a.max(b)
        });
        let inverted = layout.photometric == "MONOCHROME1";
        Case { display: Display { modality, voi, inverted, padding }, layout, bytes, big_endian }
    }
}

fn preprocess() -> impl Strategy<Value = Preprocess> {
    let resized = (1usize..80).prop_map(|side| Fit::ResizeCrop(Side::new(side).unwrap()));
    let fits = prop_oneof![
        3 => prop::sample::select(vec![Fit::Stretch, Fit::Pad, Fit::CentreCrop]),
        2 => resized,
    ];
    let filters = vec![PictureFilter::Triangle, PictureFilter::Gaussian];
    let sizes = (1usize..60, 1usize..60);
    (sizes, fits, prop::sample::select(filters)).prop_map(|((height, width), fit, filter)| {
        Preprocess { height, width, fit, filter, ..Preprocess::PRIOR }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, rng_seed: RngSeed::Fixed(23), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_pass_gives_the_bits_of_one_step_after_the_other(case in case(), preprocess in preprocess()) {
        let Case { layout, display, bytes, big_endian } = case;
        let size = [layout.rows, layout.columns];
        let expected = display.applied(&layout, native(&layout, &bytes, big_endian));
        let samples = Samples::native(&layout, Cow::Borrowed(&bytes), big_endian);
        let image = display.image(&layout, samples).unwrap();
        prop_assert_eq!(bits(&image.pixels()), bits(&expected));
        let input = fitted(&image, &preprocess);
        prop_assert_eq!(bits(&input), bits(&fitted_whole(&expected, size, &preprocess)));
        let bin = |x: f32| (x.clamp(0.0, 1.0) * 1000.0) as usize;
        let whole = Image::new(size[0], size[1], expected).unwrap();
        prop_assert_eq!(image.histogram(3, 1001, bin), whole.histogram(3, 1001, bin));
        prop_assert_eq!(image.only_grey(), whole.only_grey());
        prop_assert!(image.into_owned() == whole);
    }
}

/// The network's two kinds of input from a picture in one pass, and from all of its pixels step by step.
fn compare(name: &Path, radiograph: &Radiograph<'_>, pixels: Vec<f32>) {
    let Radiograph { image, source } = radiograph;
    let size = [image.height, image.width];
    let (fit, filter) = (Fit::CentreCrop, PictureFilter::Gaussian);
    let other = Preprocess { height: 96, width: 80, fit, filter, ..Preprocess::PRIOR };
    for preprocess in [Preprocess::PRIOR, other] {
        let found = fitted(image, &preprocess);
        let expected = fitted_whole(&pixels, size, &preprocess);
        assert!(bits(&found) == bits(&expected), "{}: {preprocess:?}", name.display());
    }
    let whole = Image::new(size[0], size[1], pixels).unwrap();
    let whole = Radiograph { image: whole, source: source.clone() };
    assert_eq!(gate(radiograph), gate(&whole), "{}", name.display());
}

/// As [`crate::read`] was; `None` where that is a picture of colours.
fn read_step_by_step(bytes: &[u8]) -> Result<Option<Vec<f32>>, RadiographError> {
    let file = Part10::parse(bytes)?;
    let data_set = DataSet::scan(&file.data_set, file.syntax)?;
    let layout = PixelLayout::parse(&data_set.elements)?;
    if layout.is_colour() {
        return Ok(None);
    }
    let display = Display::parse(&data_set.elements, &layout)?;
    let samples = pixels::first_frame(&layout, &data_set)?;
    let stored = samples.values(&layout.with_stored(samples.stored)).collect();
    Ok(Some(display.applied(&layout, stored)))
}

#[test]
fn one_pass_gives_the_bits_of_one_step_after_the_other_for_real_radiographs() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let data = data.join("../shared/data");
    if !data.is_dir() {
        return skip::because("no ../shared/data");
    }
    let mut compared = 0;
    for path in files(&data) {
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let (Ok(kind), Ok(radiograph)) = (Kind::of(&bytes), crate::read(&bytes)) else { continue };
        let pixels = match kind {
            Kind::Dicom => read_step_by_step(&bytes).unwrap(),
            Kind::Png | Kind::Jpeg => Some(radiograph.image.pixels().into_owned()),
        };
        let Some(pixels) = pixels else { continue };
        compare(&path, &radiograph, pixels);
        compared += 1;
    }
    assert!(compared > 80, "{compared} radiographs");
}

/// All files below a folder; of hundreds of photographs a few.
fn files(folder: &Path) -> Vec<PathBuf> {
    let pictures = crate::Listing::of(folder).unwrap().pictures;
    let is_dicom = |path: &Path| Kind::of_file(path).is_ok_and(|kind| kind == Some(Kind::Dicom));
    let all = pictures.into_iter().enumerate();
    all.filter(|(at, path)| at % 50 == 0 || is_dicom(path)).map(|(_, path)| path).collect()
}
