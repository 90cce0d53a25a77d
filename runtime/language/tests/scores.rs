//! Scores, heat maps and sentences are those of the formulas, and have the same bits on every processor: `make test-arm`
//! runs this under emulated ARM processors.
#![expect(clippy::unwrap_used, reason = "a test may")]

use kernels::{Isa, Pool};
use language::{
    Codes, Image, Language, MapCodes, Near, Pack, Platt, Said, Scorer, Space, TrialImage,
    definition,
};
use sha2::{Digest, Sha256};
use std::sync::Arc;

const CODES: Codes = Codes { scale: 1.0 / 64.0, zero: 121 };
const GLOBAL_CODES: Codes = Codes { scale: 1.0 / 48.0, zero: 116 };
const MAPS: MapCodes = MapCodes { places: CODES, global_places: Some(GLOBAL_CODES) };

fn space(width: u32, grid: [u32; 2]) -> Space {
    Space { id: [3; 32], width, grid }
}

/// Odd sizes on purpose: no vector of any instruction set fits.
fn drawn() -> Language {
    let mut language = Language::drawn(space(75, [5, 7]), 5, 33, 1);
    language.prompts[2].calibration = Some(Platt { slope: 3.0, offset: -0.25 });
    language
}

fn run(language: &Language, isa: Isa, threads: usize, seed: u64) -> (Vec<Said>, Vec<Near>) {
    let pool = Arc::new(Pool::new(threads));
    let mut scorer = Scorer::new(language, &[], MAPS, isa, &pool).unwrap();
    let image = TrialImage::new(&language.space, seed);
    (scorer.score(image.image()), scorer.nearest(image.image(), 4))
}

fn real(image: Image<'_>) -> (Vec<f64>, Vec<f64>) {
    (image.global.iter().map(|&q| f64::from(q)).collect(), reals(image.places, CODES))
}

fn reals(map: &[u8], codes: Codes) -> Vec<f64> {
    let steps = map.iter().map(|&q| f64::from(i16::from(q) - i16::from(codes.zero)));
    steps.map(|x| x * f64::from(codes.scale)).collect()
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    let mut hash = Sha256::new();
    let language = drawn();
    for seed in 0..4 {
        let expected = run(&language, Isa::scalar(), 1, seed);
        for isa in Isa::available() {
            for threads in [1, 3] {
                let found = run(&language, isa, threads, seed);
                assert_eq!(found, expected, "{isa:?}, {threads} threads, image {seed}");
            }
        }
        let (said, near) = expected;
        for Said { raw, probability, heat, .. } in &said {
            let all = [raw, probability].into_iter().chain(heat);
            all.for_each(|x| hash.update(x.to_le_bytes()));
        }
        for Near { sentence, similarity, weights, .. } in &near {
            hash.update(sentence);
            weights.iter().chain([similarity]).for_each(|x| hash.update(x.to_le_bytes()));
        }
    }
    // Made on x86-64; changes only with the arithmetic, and then on purpose: boxes in the field would disagree.
    assert_eq!(
        hex::encode(hash.finalize()),
        "cf140b4aa129d4688f2ecd00b9acd1cf90f8616d1701662356789fcb584d8ec6"
    );
}

#[test]
fn scores_and_heat_maps_are_those_of_the_formulas() {
    for (width, grid) in [(75, [5, 7]), (768, [7, 7]), (8, [1, 1])] {
        let language = Language::drawn(space(width, grid), 6, 0, 5);
        for seed in 0..3 {
            let image = TrialImage::new(&language.space, seed);
            let (global, places) = real(image.image());
            let (said, near) = run(&language, Isa::best(), 1, seed);
            assert_eq!((said.len(), near.len()), (6, 0));
            for (said, prompt) in said.iter().zip(&language.prompts) {
                let expected = definition::score(prompt, language.scale, &global, &places);
                assert_eq!(said.name, prompt.name);
                assert!((f64::from(said.raw) - expected.raw).abs() < 2e-5, "{said:?} {expected:?}");
                assert_eq!(said.probability, said.raw, "nothing is calibrated");
                assert_eq!(said.heat.len(), grid[0] as usize * grid[1] as usize);
                for (found, expected) in said.heat.iter().zip(&expected.heat) {
                    assert!((f64::from(*found) - expected).abs() < 2e-5, "{found} {expected}");
                }
            }
        }
    }
}

#[test]
fn shares_of_places_are_those_of_the_formulas_and_have_the_same_bits_everywhere() {
    let mut hash = Sha256::new();
    for (width, grid) in [(75, [5, 7]), (768, [7, 7]), (32, [24, 24]), (8, [1, 1])] {
        let plain = Language::drawn(space(width, grid), 6, 0, 5);
        let language = plain.clone().with_usual(8);
        let usual = language.usual.as_ref().unwrap();
        for seed in 0..3 {
            let image = TrialImage::new(&language.space, seed);
            let map = reals(image.image().global_places.unwrap(), GLOBAL_CODES);
            let said = run(&language, Isa::scalar(), 1, seed).0;
            for isa in Isa::available() {
                assert_eq!(run(&language, isa, 2, seed).0, said, "{isa:?}, image {seed}");
            }
            let scores = |said: &[Said]| said.iter().map(|it| it.raw).collect::<Vec<_>>();
            assert_eq!(scores(&said), scores(&run(&plain, Isa::best(), 1, seed).0));
            for (said, prompt) in said.iter().zip(&language.prompts) {
                let expected = definition::shares(prompt, language.scale, usual, &map);
                assert_eq!(said.heat.len(), expected.len());
                for (found, expected) in said.heat.iter().zip(&expected) {
                    assert!((f64::from(*found) - expected).abs() < 2e-5, "{found} {expected}");
                    hash.update(found.to_le_bytes());
                }
                let (least, most) = (expected.iter(), expected.iter());
                let least = least.copied().fold(1.0, f64::min);
                let most = most.copied().fold(0.0, f64::max);
                assert!(most - least > 0.05 || grid == [1, 1], "all places alike: {least} {most}");
            }
        }
    }
    // As above: boxes in the field would disagree.
    assert_eq!(
        hex::encode(hash.finalize()),
        "c74c1bdb0bde0020fbda3d20b92b6e2fed47f529c5e5992552d420a9c5a6bb6d"
    );
}

#[test]
fn what_is_usual_and_what_the_score_is_made_of_add_up_to_the_score() {
    let language = Language::drawn(space(24, [3, 4]), 1, 0, 4).with_usual(2);
    let (usual, prompt) = (language.usual.as_ref().unwrap(), &language.prompts[0]);
    let image = TrialImage::new(&language.space, 5);
    let map = reals(image.image().global_places.unwrap(), GLOBAL_CODES);
    // heat = ½ (1 + x / (1 + |x|)), so x = y / (1 − |y|) with y = 2 heat − 1.
    let added = run(&language, Isa::best(), 1, 5).0[0].heat.clone();
    let added = added.iter().map(|&heat| 2.0 * f64::from(heat) - 1.0);
    let added: f64 = added.map(|y| 49.0 * y / (1.0 - y.abs())).sum::<f64>() / 12.0;
    let mean: Vec<f64> =
        (0..24).map(|at| map.iter().skip(at).step_by(24).sum::<f64>() / 12.0).collect();
    let length = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
    let text = |vector: &language::Vector, of: &[f64]| -> f64 {
        vector.dequantized().iter().zip(of).map(|(a, b)| f64::from(*a) * b).sum()
    };
    let difference = |of: &[f64]| text(&prompt.positive.text, of) - text(&prompt.negative.text, of);
    let usually = usual.iter().map(|place| {
        difference(&place.dequantized().iter().map(|&x| f64::from(x)).collect::<Vec<_>>())
    });
    let expected = difference(&mean) / length - usually.sum::<f64>() / 12.0;
    let expected = expected * f64::from(language.scale);
    assert!((added - expected).abs() < 1e-2 * expected.abs().max(1.0), "{added} {expected}");
}

#[test]
fn a_language_with_shares_asks_its_network_for_them() {
    let language = Language::drawn(space(24, [3, 4]), 1, 0, 4).with_usual(2);
    let pool = Arc::new(Pool::new(1));
    let error = Scorer::new(&language, &[], CODES, Isa::best(), &pool).err().unwrap().to_string();
    assert!(error.starts_with("the network's `language.global_places` is missing"), "{error}");
}

#[test]
fn a_pack_gets_the_heat_maps_of_the_language_it_is_added_to() {
    let pack = pack();
    let pool = Arc::new(Pool::new(1));
    let language = Language::drawn(pack.space, 1, 0, 1).with_usual(3);
    let usual = language.usual.as_ref().unwrap();
    let packs = [pack.clone()];
    let mut scorer = Scorer::new(&language, &packs, MAPS, Isa::best(), &pool).unwrap();
    let image = TrialImage::new(&pack.space, 1);
    let said = scorer.score(image.image());
    let map = reals(image.image().global_places.unwrap(), GLOBAL_CODES);
    let expected = definition::shares(&pack.prompts[0], pack.scale, usual, &map);
    assert_eq!(said[1].name, "New Finding 1");
    for (found, expected) in said[1].heat.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 2e-5, "{found} {expected}");
    }
}

#[test]
fn the_nearest_sentences_are_those_of_the_formulas() {
    for (width, grid, prototypes) in [(75, [5, 7], 33), (96, [7, 7], 128), (8, [1, 1], 5)] {
        let language = Language::drawn(space(width, grid), 0, prototypes, 9);
        let bank = language.bank.as_ref().unwrap();
        for seed in 0..3 {
            let image = TrialImage::new(&language.space, seed);
            let (_, places) = real(image.image());
            let similarities = definition::similarities(bank, &places);
            let mut order: Vec<usize> = (0..prototypes).step_by(2).collect(); // those with a sentence
            order.sort_by(|a, b| similarities[*b].total_cmp(&similarities[*a]));
            let (said, near) = run(&language, Isa::best(), 1, seed);
            assert!(said.is_empty());
            assert_eq!(near.len(), order.len().min(4));
            for (near, k) in near.iter().zip(order) {
                assert_eq!(near.prototype, k, "image {seed} of {width}: {near:?}");
                assert_eq!(near.sentence, format!("sentence {k} is observed"));
                let found = f64::from(near.similarity);
                assert!((found - similarities[k]).abs() < 2e-4, "{found} {}", similarities[k]);
                let attention = definition::attention(bank, k, &places);
                for (found, expected) in near.weights.iter().zip(&attention) {
                    assert!((f64::from(*found) - expected).abs() < 2e-5, "{found} {expected}");
                }
            }
        }
    }
}

#[test]
fn a_sentence_of_several_prototypes_is_given_once() {
    let mut language = Language::drawn(space(16, [2, 2]), 0, 8, 2);
    let bank = language.bank.as_mut().unwrap();
    bank.sentences = (0..8).map(|k| Some(format!("sentence {}", k % 2))).collect();
    let (_, near) = run(&language, Isa::best(), 1, 1);
    assert_eq!(near.len(), 2);
    assert_ne!(near[0].sentence, near[1].sentence);
    assert!(near[0].similarity >= near[1].similarity);
    language.bank.as_mut().unwrap().sentences.fill(None);
    assert_eq!(run(&language, Isa::best(), 1, 1).1, [], "only sentences are shown");
}

#[test]
fn calibration_and_threshold_decide_what_is_positive() {
    let mut language = Language::drawn(space(32, [3, 3]), 1, 0, 4);
    let raw = run(&language, Isa::best(), 1, 0).0[0].raw;
    let platt = Platt { slope: 2.0, offset: 0.5 };
    language.prompts[0].calibration = Some(platt);
    let said = &run(&language, Isa::best(), 1, 0).0[0];
    let logit = f64::from(raw / (1.0 - raw)).ln();
    let expected = 1.0 / (1.0 + (-(2.0 * logit + 0.5)).exp());
    assert_eq!(said.raw, raw);
    assert!((f64::from(said.probability) - expected).abs() < 1e-6, "{said:?} {expected}");
    for (threshold, positive) in [(said.probability, true), (said.probability + 1e-6, false)] {
        language.prompts[0].threshold = threshold;
        assert_eq!(run(&language, Isa::best(), 1, 0).0[0].positive, positive, "{threshold}");
    }
}

#[test]
fn an_image_of_zeros_is_no_nearer_to_either_side() {
    let language = Language::drawn(space(16, [2, 2]), 1, 2, 4);
    let pool = Arc::new(Pool::new(1));
    let mut scorer = Scorer::new(&language, &[], CODES, Isa::best(), &pool).unwrap();
    let (global, places) = ([0; 16], [CODES.zero; 64]);
    let image = Image { global: &global, places: &places, global_places: Some(&places) };
    let zeros = definition::score(&language.prompts[0], 20.0, &[0.0; 16], &[0.0; 64]);
    let said = &scorer.score(image)[0];
    assert!((f64::from(said.raw) - zeros.raw).abs() < 1e-6, "{said:?}");
    assert!(scorer.nearest(image, 1)[0].similarity.is_finite());
    let language = language.with_usual(1);
    let codes = MapCodes { places: CODES, global_places: Some(CODES) };
    let mut scorer = Scorer::new(&language, &[], codes, Isa::best(), &pool).unwrap();
    let expected = definition::shares(
        &language.prompts[0],
        20.0,
        language.usual.as_ref().unwrap(),
        &[0.0; 64],
    );
    for (found, expected) in scorer.score(image)[0].heat.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 2e-5, "{found} {expected}");
    }
}

fn pack() -> Pack {
    let Language { space, scale, mut prompts, .. } = Language::drawn(space(24, [3, 2]), 2, 0, 8);
    for prompt in &mut prompts {
        prompt.name = format!("New {}", prompt.name);
    }
    let (name, version) = ("extra".into(), "1.0.0".into());
    let mut pack = Pack { name, version, space, scale, prompts, golden: Vec::new() };
    pack.prove_by(&[1, 2], CODES).unwrap();
    pack
}

#[test]
fn a_pack_adds_its_findings_and_proves_itself_on_every_instruction_set() {
    let pack = pack();
    let pool = Arc::new(Pool::new(1));
    Isa::available().into_iter().for_each(|isa| pack.prove(isa, &pool).unwrap());

    let language = Language::drawn(pack.space, 1, 0, 1);
    let packs = [pack.clone()];
    let mut scorer = Scorer::new(&language, &packs, CODES, Isa::best(), &pool).unwrap();
    let said = scorer.score(TrialImage::new(&pack.space, 1).image());
    let names: Vec<&str> = said.iter().map(|said| said.name.as_str()).collect();
    assert_eq!(names, ["Finding 1", "New Finding 1", "New Finding 2"]);
    assert_eq!([said[1].raw, said[1].probability], pack.golden[0].scores[0], "as alone");
}

#[test]
fn a_pack_that_is_not_for_this_box_is_refused_by_name() {
    let (pack, pool) = (pack(), Arc::new(Pool::new(1)));
    let error = |language: &Language| {
        let packs = [pack.clone()];
        let scorer = Scorer::new(language, &packs, CODES, Isa::best(), &pool);
        scorer.err().expect("it is refused").to_string()
    };
    let mut other = Language::drawn(pack.space, 1, 0, 1);
    other.space.id = [9; 32];
    assert!(error(&other).starts_with("pack `extra` is of space 03030303"), "{}", error(&other));
    let mut taken = Language::drawn(pack.space, 1, 0, 1);
    taken.prompts[0].name = "New Finding 2".into();
    assert_eq!(
        error(&taken),
        "a second finding is called `New Finding 2`, expected each name once"
    );
}

#[test]
fn a_pack_whose_golden_vectors_differ_in_a_bit_is_refused() {
    let pool = Arc::new(Pool::new(1));
    let prove = |pack: Pack| pack.prove(Isa::best(), &pool).unwrap_err().to_string();
    let mut wrong = pack();
    let heat = &mut wrong.golden[1].heat[1][4];
    *heat = f32::from_bits(heat.to_bits() ^ 1);
    let error = prove(wrong);
    assert!(error.starts_with("finding `New Finding 2`, heat map: value 4 is"), "{error}");
    let mut short = pack();
    short.golden[0].heat[0].pop();
    assert!(prove(short).contains("the sizes of a golden vector"));
    let mut none = pack();
    none.golden.clear();
    assert!(prove(none).contains("golden vectors is 0"));
}

#[test]
fn places_whose_scale_is_no_number_are_refused() {
    let pool = Arc::new(Pool::new(1));
    for scale in [0.0, f32::NAN, 1e9] {
        let codes = Codes { scale, zero: 0 };
        let scorer = Scorer::new(&drawn(), &[], codes, Isa::best(), &pool);
        let error = scorer.err().expect("it is refused").to_string();
        assert!(error.contains("the scale of the network's places"), "{error}");
    }
}
