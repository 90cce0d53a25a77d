use super::*;
use rand::SeedableRng;

const STRONG: Augmentation =
    Augmentation { rotation: 15.0, shift: 0.1, scale: 0.2, flip: 0.5, ..Augmentation::NONE };
const CROP: Crop = Crop { from: 512, least_area: 0.08, aspect: 4.0 / 3.0 };

/// A picture that is 1 inside a rectangle (in shares), 0 outside.
fn drawn([x1, y1, x2, y2]: [f64; 4], height: i64, width: i64) -> Tensor {
    let picture = Tensor::zeros([1, 1, height, width], (Kind::Float, Device::Cpu));
    let at = |share: f64, side: i64| (share * side as f64).round() as i64;
    let (x, y) = (at(x1, width), at(y1, height));
    let _ = picture.narrow(2, y, at(y2, height) - y).narrow(3, x, at(x2, width) - x).fill_(1.0);
    picture
}

/// The rectangle around all pixels above one half, in shares.
fn found(picture: &Tensor) -> [f64; 4] {
    let (_, _, height, width) = picture.size4().unwrap();
    let extent = |dimension: i64, side: i64| {
        let any = picture.gt(0.5).any_dim(dimension, false).squeeze();
        let places = Vec::<i64>::try_from(any.nonzero().squeeze_dim(1)).unwrap();
        (places[0] as f64 / side as f64, (places[places.len() - 1] + 1) as f64 / side as f64)
    };
    let ((x1, x2), (y1, y2)) = (extent(2, width), extent(3, height));
    [x1, y1, x2, y2]
}

#[test]
fn boxes_and_masks_follow_the_picture() {
    let rectangle = [0.30, 0.35, 0.55, 0.70];
    for seed in 0..20 {
        let (height, width) = (160, 224);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let input = [height as usize, width as usize];
        let moves = Moves::draw(&STRONG, 1, input, &mut random);
        let picture = drawn(rectangle, height, width);
        let (moved, mask) = (moves.pictures(&picture), moves.masks(&picture));
        let expected = moves.rectangle(0, rectangle).unwrap();
        for (seen, expected) in found(&moved).iter().zip(expected) {
            assert!((seen - expected).abs() < 0.02, "seed {seed}: {seen} vs {expected}");
        }
        let same = moved.gt(0.5).eq_tensor(&mask.gt(0.5)).to_kind(Kind::Float);
        assert!(same.mean(Kind::Float).double_value(&[]) > 0.985);
    }
}

#[test]
fn no_augmentation_changes_nothing() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let moves = Moves::draw(&Augmentation::NONE, 1, [64, 64], &mut random);
    let picture = drawn([0.2, 0.2, 0.6, 0.5], 64, 64);
    let difference = (moves.pictures(&picture) - &picture).abs().max().double_value(&[]);
    assert!(difference < 1e-5, "{difference}");
    let back = moves.rectangle(0, [0.2, 0.2, 0.6, 0.5]).unwrap();
    assert!(back.iter().zip([0.2, 0.2, 0.6, 0.5]).all(|(a, b)| (a - b).abs() < 1e-9));
}

#[test]
fn a_crop_takes_boxes_and_masks_along_and_ends_in_the_inputs_size() {
    let rectangle = [0.25, 0.30, 0.60, 0.75];
    let amount = Augmentation { flip: 0.5, crop: Some(CROP), ..Augmentation::NONE };
    let (mut compared, mut gone) = (0, 0);
    for seed in 0..60 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let moves = Moves::draw(&amount, 1, [224, 224], &mut random);
        let moved = moves.pictures(&drawn(rectangle, 512, 512));
        // Masks have half the sides, as the head's logits do.
        let mask = moves.masks(&drawn(rectangle, 256, 256));
        assert_eq!((moved.size(), mask.size()), (vec![1, 1, 224, 224], vec![1, 1, 112, 112]));
        let Some(expected) = moves.rectangle(0, rectangle) else {
            gone += 1;
            continue;
        };
        // A part of 8 % magnifies a pixel three times.
        for (picture, tolerance) in [(&moved, 0.012), (&mask, 0.03)] {
            for (seen, expected) in found(picture).iter().zip(expected) {
                assert!((seen - expected).abs() < tolerance, "seed {seed}: {seen} {expected}");
            }
        }
        compared += 1;
    }
    assert!(compared > 30 && gone > 2, "{compared} {gone}");
}

#[test]
fn parts_have_the_sizes_torchvision_draws() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let parts: Vec<[i64; 4]> = (0..4000).map(|_| CROP.draw(&mut random)).collect();
    let whole = 512.0 * 512.0;
    let areas: Vec<f64> = parts.iter().map(|[_, _, w, h]| (w * h) as f64 / whole).collect();
    for ([left, top, width, height], area) in parts.iter().zip(&areas) {
        assert!(*left >= 0 && *top >= 0 && left + width <= 512 && top + height <= 512);
        let aspect = *width as f64 / *height as f64;
        assert!((0.74..1.35).contains(&aspect) && (0.079..=1.0).contains(area));
    }
    // Uniform from 0.08 to 1 but for large ones of other shapes, which do not fit: its algorithm written in Python
    // has a mean of 0.478 over 200,000 draws.
    let mean = areas.iter().sum::<f64>() / areas.len() as f64;
    assert!((mean - 0.478).abs() < 0.015, "{mean}");
}

#[test]
fn the_whole_picture_shrinks_as_the_pipeline_shrinks_it() {
    // The crop of everything is the resize that evaluation and the box do (antialiased bilinear).
    let values: Vec<f32> = (0..512 * 512)
        .map(|at| 0.5 + 0.5 * ((at % 512) as f32 * 0.11).sin() * ((at / 512) as f32 * 0.07).cos())
        .collect();
    let everything = Crop { least_area: 1.0, aspect: 1.0, ..CROP };
    let amount = Augmentation { crop: Some(everything), ..Augmentation::NONE };
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let moves = Moves::draw(&amount, 1, [224, 224], &mut random);
    let picture = Tensor::from_slice(&values).view([1, 1, 512, 512]);
    let cut = Vec::<f32>::try_from(moves.pictures(&picture).flatten(0, -1)).unwrap();
    let image = radiograph::Image::new(512, 512, values).unwrap();
    let served = radiograph::fitted(&image, &Preprocess::PRIOR);
    let off = cut.iter().zip(&served).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 1e-4, "{off}");
}

#[test]
fn a_box_pushed_out_of_the_picture_is_gone() {
    let far = Moves {
        input: [64, 64],
        parts: None,
        matrices: vec![[1.0, 0.0, 1.5, 0.0, 1.0, 0.0]],
        light: vec![[1.0, 0.0]],
        blank: vec![None],
    };
    assert_eq!(far.rectangle(0, [0.0, 0.0, 0.3, 0.3]), None);
}
