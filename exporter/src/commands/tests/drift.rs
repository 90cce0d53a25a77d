//! A bundle gets a reference to notice drift by, and stays what it was.

use super::{quantize, run};
use crate::fixtures;
use bundle::{Bundle, section};
use drift::Reference;
use graph::Backbone;
use std::fs;

#[test]
fn a_bundle_gets_a_reference_and_keeps_everything_else() {
    let (folder, checkpoint, few) = fixtures::workplace(Backbone::Resnet18);
    let before = folder.path().join("before.bundle");
    quantize(&checkpoint, &few, &before).unwrap();
    let old = Bundle::open(&before).unwrap();
    assert_eq!(old.section(section::DRIFT), None, "few images say too little");

    let many = folder.path().join("many");
    fs::create_dir(&many).unwrap();
    for number in 0..100_usize {
        let grey: Vec<u8> = (0..32 * 32).map(|at| (at * (number + 3) % 251) as u8).collect();
        let path = many.join(format!("{number:03}.png"));
        image::save_buffer(&path, &grey, 32, 32, image::ColorType::L8).unwrap();
    }
    let add = |images: &std::path::Path, name: &str| {
        let out = folder.path().join(name);
        run(&[&"drift", &before, &"--calibration", &images, &"--out", &out])?;
        fs::read(&out).map_err(|error| error.to_string())
    };
    let said = add(&few, "few.bundle").unwrap_err();
    assert!(said.contains("expected at least 100"), "{said}");
    let bytes = add(&many, "a.bundle").unwrap();
    assert_eq!(bytes, add(&many, "b.bundle").unwrap(), "the same images give the same bytes");
    let new = Bundle::read(bytes).unwrap();
    let reference = Reference::from_bytes(new.require(section::DRIFT).unwrap()).unwrap();
    assert_eq!(reference.images(), 100);
    for entry in &old.manifest.sections {
        assert_eq!(new.section(&entry.name), old.section(&entry.name), "{}", entry.name);
    }
    let manifest = bundle::Manifest { sections: old.manifest.sections.clone(), ..new.manifest };
    assert_eq!(manifest, old.manifest);
}
