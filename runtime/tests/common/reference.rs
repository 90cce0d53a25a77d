//! How drawn images look to the test's network, as a section of its bundle.

use super::model;
use bundle::{Bundle, section};
use drift::{Effort, Frame, Gathered, Reference};

/// The bundle with a reference of `images`, signed.
pub(crate) fn put(bundle: &Bundle, images: &[Gathered]) -> Bundle {
    let reference = Reference::build(frame(bundle), images, Effort::QUICK).unwrap();
    let mut sections: Vec<(String, Vec<u8>)> = [section::MODEL, section::GOLDEN]
        .map(|name| (name.to_owned(), bundle.require(name).unwrap().to_vec()))
        .to_vec();
    sections.push((section::DRIFT.to_owned(), reference.to_bytes().unwrap()));
    Bundle::seal(bundle.manifest.clone(), sections, Some(&model::key())).unwrap()
}

pub(crate) fn frame(bundle: &Bundle) -> Frame {
    let preprocess = &bundle.manifest.preprocess;
    Frame {
        height: preprocess.height as u32,
        width: preprocess.width as u32,
        black: -preprocess.mean / preprocess.std,
        white: (1.0 - preprocess.mean) / preprocess.std,
    }
}
