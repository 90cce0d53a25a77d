//! What a bundle takes, what it refuses by name, and what it gives up.

use super::*;
use crate::{Codes, Space};
use bundle::{BundleError, SigningKey, section};
use graph::{Backbone, Head, ModelConfig, Pool, Preprocess, Task};
use proptest::prelude::*;

fn space(id: u8) -> Space {
    Space { id: [id; 32], width: 16, grid: [2, 3] }
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// With findings `Finding 1`, `Finding 2` by phrases and the label `Effusion` of its network.
fn bundle(language: Option<Vec<u8>>) -> Bundle {
    with_head(language.is_some(), language)
}

fn with_head(speaks: bool, language: Option<Vec<u8>>) -> Bundle {
    let mut model = ModelConfig::encoder(Backbone::Resnet18, Pool::Mean);
    let labels = vec!["Effusion".to_owned()];
    model.heads.push(Head { task: Task::Classification, labels });
    let speaks = speaks.then(|| Head { task: Task::Language, labels: Vec::new() });
    model.heads.extend(speaks);
    let manifest = Manifest::new("chest", "1.0.0", model, Preprocess::PRIOR);
    let section = language.map(|bytes| (section::LANGUAGE.to_owned(), bytes));
    Bundle::seal(manifest, section.into_iter().collect(), Some(&key())).unwrap()
}

fn speaking() -> Bundle {
    bundle(Some(Language::drawn(space(1), 2, 4, 5).to_bytes().unwrap()))
}

fn pack(name: &str, version: &str, finding: &str) -> Pack {
    let Language { space, scale, mut prompts, .. } = Language::drawn(space(1), 1, 0, 6);
    prompts[0].name = finding.into();
    let (name, version) = (name.into(), version.into());
    let mut pack = Pack { name, version, space, scale, prompts, golden: Vec::new() };
    pack.prove_by(&[1, 2], Codes { scale: 1.0 / 64.0, zero: 128 }).unwrap();
    pack
}

fn sealed(name: &str, version: &str, finding: &str) -> SealedPack {
    pack(name, version, finding).seal(Some(&key())).unwrap()
}

#[test]
fn a_pack_is_unsealed_as_it_was_sealed_and_the_same_gives_the_same_bytes() {
    let one = pack("heart", "1.0.0", "Cardiomegaly");
    let sealed = one.seal(Some(&key())).unwrap();
    let read = SealedPack::read(&sealed.to_bytes()).unwrap();
    assert_eq!((read.name(), read.version()), ("heart", "1.0.0"));
    assert_eq!(Pack::unseal(&read).unwrap(), one);
    assert_eq!(one.seal(Some(&key())).unwrap().to_bytes(), sealed.to_bytes());
    let none = Pack { prompts: Vec::new(), ..one };
    assert!(none.seal(None).unwrap_err().to_string().contains("expected findings"));
}

#[test]
fn a_bundle_with_half_of_language_is_refused_by_the_name_of_what_lacks() {
    let error = |speaks, language| {
        let bundle = with_head(speaks, language);
        Carrier::from(&bundle).language().unwrap_err().to_string()
    };
    let language = Language::drawn(space(1), 2, 4, 5).to_bytes().unwrap();
    assert_eq!(
        error(true, None),
        "bundle chest 1.0.0 has a language head and no language.bin: language needs both"
    );
    assert_eq!(
        error(false, Some(language)),
        "bundle chest 1.0.0 has language.bin and no language head: language needs both"
    );
    assert!(Carrier::from(&bundle(None)).language().unwrap().is_none());
    assert!(Carrier::from(&speaking()).language().unwrap().is_some());
}

#[test]
fn packs_come_are_replaced_by_newer_ones_and_go() {
    let plain = speaking();
    let add = |bundle: &Bundle, pack: SealedPack| {
        bundle.clone().with_packs(Carrier::from(bundle).with_pack(pack).unwrap())
    };
    let (heart, lungs) = (sealed("heart", "1.9.0", "Heart"), sealed("lungs", "1.0.0", "Lungs"));
    let both = add(&add(&plain, heart.clone()), lungs.clone());
    assert_eq!(both.packs(), [heart.clone(), lungs.clone()]);
    let names = Carrier::from(&both).packs().unwrap();
    assert_eq!(names.iter().map(|pack| &*pack.name).collect::<Vec<_>>(), ["heart", "lungs"]);
    let newer = sealed("heart", "1.10.0", "Heart");
    let replaced = add(&both, newer.clone());
    assert_eq!(replaced.packs(), [newer.clone(), lungs.clone()], "where the older one was");
    assert_eq!(add(&replaced, newer).packs(), replaced.packs(), "the very same once more");
    let without = Carrier::from(&replaced).without_pack("heart").unwrap();
    assert_eq!(without, [lungs]);
    let language = Carrier::from(&replaced).language().unwrap().unwrap();
    assert_eq!(language.prompts.len(), 2, "the bundle's own");
}

#[test]
fn an_envelope_takes_what_its_bundle_takes() {
    let bytes = speaking().to_bytes().unwrap();
    let envelope = Envelope::read(&bytes[..], bytes.len() as u64).unwrap();
    let heart = sealed("heart", "1.0.0", "Heart");
    assert_eq!(Carrier::from(&envelope).with_pack(heart.clone()).unwrap(), [heart]);
    let taken = Carrier::from(&envelope).with_pack(sealed("a", "1.0.0", "Effusion"));
    assert!(taken.is_err(), "a label of the network");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let with = |bundle: &Bundle, pack: SealedPack| {
        Carrier::from(bundle).with_pack(pack).unwrap_err().to_string()
    };
    let there = speaking().with_packs(vec![sealed("heart", "1.1.0", "Heart")]);
    for (pack, expected) in [
        (sealed("a", "1.0.0", "Effusion"), "finding `Effusion`, which bundle chest 1.0.0 has"),
        (sealed("a", "1.0.0", "Finding 2"), "finding `Finding 2`, which bundle chest 1.0.0 has"),
        (sealed("a", "1.0.0", "Heart"), "finding `Heart`, which pack heart has"),
        (sealed("heart", "1.0.9", "Heart"), "1.0.9 is not newer than 1.1.0"),
        (sealed("heart", "1.1.0", "Other"), "1.1.0 is not newer than 1.1.0"),
        (sealed("a", "new", "A"), "version \"new\", expected MAJOR.MINOR.PATCH"),
    ] {
        let said = with(&there, pack);
        assert!(said.contains(expected), "{said}: expected {expected}");
    }
    let mut other = pack("a", "1.0.0", "A");
    other.space = space(2);
    other.golden.clear();
    let said = with(&there, other.seal(None).unwrap());
    assert!(said.contains(&format!("has space {}", space(2))), "{said}");
    let said = with(&bundle(None), sealed("a", "1.0.0", "A"));
    assert!(said.contains("bundle chest 1.0.0 has no language"), "{said}");
    let said = with(&bundle(Some(b"noise".to_vec())), sealed("a", "1.0.0", "A"));
    assert!(said.contains("the language of bundle chest 1.0.0 cannot be used"), "{said}");
    let said = Carrier::from(&there).without_pack("lungs").unwrap_err().to_string();
    assert_eq!(said, "no pack is called `lungs`, found heart");
}

#[test]
fn a_bundle_that_came_with_packs_is_held_to_the_same() {
    let check = |bundle: Bundle| Carrier::from(&bundle).check();
    check(bundle(None)).unwrap();
    check(speaking().with_packs(vec![sealed("a", "1.0.0", "A")])).unwrap();
    let bad = [
        speaking().with_packs(vec![sealed("a", "1.0.0", "Effusion")]),
        speaking().with_packs(vec![sealed("a", "1.0.0", "A"), sealed("b", "1.0.0", "A")]),
        bundle(None).with_packs(vec![sealed("a", "1.0.0", "A")]),
    ];
    for bundle in bad {
        assert!(check(bundle).is_err());
    }
    let contents = postcard::to_allocvec(&("a", "1.0.0", "noise")).unwrap();
    let noise = SealedPack::seal(contents, None).unwrap();
    let said = check(speaking().with_packs(vec![noise])).unwrap_err();
    assert_eq!(said.to_string(), "pack `a` cannot be used");
}

#[test]
fn who_is_not_trusted_with_a_pack_is_not_with_the_bundle() {
    let bundle = speaking().with_packs(vec![pack("a", "1.0.0", "A").seal(None).unwrap()]);
    let trusted = [key().verifying_key()];
    assert!(matches!(bundle.check_signature(&trusted), Err(BundleError::BadPack { .. })));
}

proptest! {
    #[test]
    fn contents_that_were_changed_never_panic_and_what_is_read_is_valid(
        at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>(), cuts: bool,
    ) {
        let mut contents = sealed("a", "1.0.0", "A").contents().to_vec();
        let length = contents.len();
        contents[at.index(length)] = byte;
        if cuts { contents.truncate(cut.index(length)); }
        if let Ok(sealed) = SealedPack::seal(contents, None)
            && let Ok(pack) = Pack::unseal(&sealed)
        {
            prop_assert!(pack.check().is_ok());
            let _ = Carrier::from(&speaking()).with_pack(sealed);
        }
    }
}
