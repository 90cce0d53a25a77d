//! Pictures of public bug reports, drawn anew, against their plain twins.
//!
//! The files are not part of this repository: without `../shared/cases` beside it these tests are skipped.

#![expect(clippy::unwrap_used, reason = "a test may")]

use radiograph::{Image, NotAnalysed, gate, probe_file, read_file};
use std::path::{Path, PathBuf};

fn root() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let root = workspace.join("../shared/cases");
    if !root.is_dir() {
        skip::because("no ../shared/cases");
        return None;
    }
    Some(root)
}

/// What the gate says, and the picture.
fn seen(path: &Path) -> (Result<(), NotAnalysed>, Image<'static>) {
    let radiograph =
        read_file(path).unwrap_or_else(|e| panic!("{e}: {:?}", std::error::Error::source(&e)));
    let (verdict, image) = (gate(&radiograph), radiograph.image);
    let probe = probe_file(path).unwrap();
    assert_eq!((probe.height as usize, probe.width as usize), (image.height, image.width));
    (verdict, image)
}

#[test]
fn files_that_differ_in_how_they_are_written_show_the_same_picture() {
    let Some(root) = root() else { return };
    for (file, twin) in [
        ("d01-frames-zero/frames0.dcm", "d00-base/base.dcm"),
        ("d02-excess-padding/padded.dcm", "d00-base/base.dcm"),
        ("d13-un-public/un_numbers.dcm", "d13-un-public/window8_explicit.dcm"),
        ("d13-un-public/un_strings.dcm", "d13-un-public/explicit.dcm"),
        ("d13-un-public/window_un.dcm", "d13-un-public/window_explicit.dcm"),
        ("d13-un-public/slope_un.dcm", "d13-un-public/window_explicit.dcm"),
        ("d13-un-public/rows_un_native.dcm", "d13-un-public/window_explicit.dcm"),
        ("d14-no-preamble/dicm_first.dcm", "d14-no-preamble/meta_first.dcm"),
    ] {
        let (verdict, image) = seen(&root.join(file));
        assert_eq!(verdict, Ok(()), "{file}");
        assert!(image == seen(&root.join(twin)).1, "{file} is not {twin}");
    }
}

#[test]
fn a_photograph_of_a_film_is_shown_upright() {
    let Some(root) = root() else { return };
    let [exif, upright, sideways] = ["exif6", "upright", "sideways_no_exif"]
        .map(|name| seen(&root.join(format!("i03-exif-rotated/{name}.jpg"))).1);
    let far = |a: &Image<'_>, b: &Image<'_>| {
        assert_eq!((a.height, a.width), (b.height, b.width));
        a.pixels().iter().zip(&*b.pixels()).map(|(a, b)| (a - b).abs()).sum::<f32>()
            / a.pixels().len() as f32
    };
    assert!(far(&exif, &upright) < 0.01, "{}", far(&exif, &upright));
    assert_eq!((sideways.height, sideways.width), (exif.width, exif.height));
}

#[test]
fn the_gate_knows_chests_and_frontal_views_by_the_words_of_their_country() {
    let Some(root) = root() else { return };
    let view = |word: &str| Err(NotAnalysed::View(word.into()));
    let cases = [
        ("d11-view-words/anteroposterior.dcm", Ok(())),
        ("d11-view-words/posteroanterior.dcm", Ok(())),
        ("d11-view-words/frontal.dcm", Ok(())),
        ("d11-view-words/ap_supine.dcm", Ok(())),
        ("d11-view-words/pa_lowercase.dcm", Ok(())),
        ("d11-view-words/empty.dcm", Ok(())),
        ("d11-view-words/lateral.dcm", view("LATERAL")),
        ("d11-view-words/generica.dcm", view("GENERICA")),
        ("d12-body-part-words/cxr.dcm", Ok(())),
        ("d12-body-part-words/lunge.dcm", Ok(())),
        ("d12-body-part-words/nongrid.dcm", Ok(())),
        ("d12-body-part-words/pecho.dcm", Ok(())),
        ("d12-body-part-words/torax.dcm", Ok(())),
        ("d12-body-part-words/torax_utf8.dcm", Ok(())),
        ("d12-body-part-words/ribs.dcm", Err(NotAnalysed::BodyPart("RIBS".into()))),
        ("d13-un-public/un_lateral.dcm", view("LL")),
        ("i00-base/base.png", Ok(())),
        ("i02-cmyk-jpeg/cmyk.jpg", Ok(())),
        ("i07-png-12in16/max4080.png", Err(NotAnalysed::Depth { found: 12 })),
    ];
    for (file, expected) in cases {
        assert_eq!(seen(&root.join(file)).0, expected, "{file}");
    }
}

/// The twin was drawn in grey; inks of a lossy picture are some way off.
#[test]
fn inks_on_paper_look_like_the_picture_they_were_made_from() {
    let Some(root) = root() else { return };
    let cmyk = seen(&root.join("i02-cmyk-jpeg/cmyk.jpg")).1;
    let base = seen(&root.join("i00-base/base.png")).1;
    assert_eq!((cmyk.height, cmyk.width), (base.height, base.width));
    let (cmyk, base) = (cmyk.pixels(), base.pixels());
    let pairs = cmyk.iter().zip(&*base);
    let far = pairs.map(|(a, b)| (a - b).abs()).sum::<f32>() / base.len() as f32;
    assert!(far < 0.02, "{far}");
}
