//! Independent judges: both dciodvfy (Debian's of 2022, PyPI's of 2026), highdicom and pydicom, on every real radiograph
//! that passes the gate.

use crate::made::{accounted, not_analysed, object, record};
use results::Kind;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Files under the folders that could be DICOM, in order.
fn files(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut open = folders.to_vec();
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Writes source, objects and record of every radiograph of the folders that passes the gate, a folder each.
fn write_cases(folders: &[PathBuf], into: &Path) -> usize {
    let mut count = 0;
    for path in files(folders) {
        let Ok(bytes) = fs::read(&path) else { continue };
        let Ok(read) = radiograph::read(&bytes) else { continue };
        let is_dicom = matches!(read.source, radiograph::Source::Dicom(_));
        if !is_dicom || radiograph::gate(&read).is_err() {
            continue;
        }
        let case = into.join(format!("{count:03}"));
        fs::create_dir(&case).unwrap();
        fs::write(case.join("name.txt"), path.display().to_string()).unwrap();
        fs::write(case.join("source.dcm"), &bytes).unwrap();
        let analysed = accounted(record(&bytes));
        for kind in Kind::ALL {
            let made = object(kind, &analysed, &bytes);
            let made = made.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            fs::write(case.join(format!("{kind}.dcm")), made.unwrap().bytes).unwrap();
        }
        let refused = accounted(not_analysed(&bytes, "view is LL, expected frontal (AP or PA)"));
        let refused = object(Kind::Sr, &refused, &bytes).unwrap().unwrap();
        fs::write(case.join("refused.dcm"), refused.bytes).unwrap();
        fs::write(case.join("record.json"), serde_json::to_vec(&analysed).unwrap()).unwrap();
        let masks = analysed.segments.iter().map(|segment| segment.pixels().unwrap());
        let masks: Vec<u8> = masks.filter(|pixels| pixels.contains(&1)).flatten().collect();
        fs::write(case.join("masks.bin"), masks).unwrap();
        count += 1;
    }
    count
}

/// What a validator says of a file.
fn said(validator: &Path, file: &Path) -> String {
    let output = Command::new(validator).arg(file).output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Errors in the objects of a case, one a line. Not those that the source has too, and not those about the source's UIDs:
/// what is wrong with the identity of an image stays wrong in what belongs to it.
fn errors(validator: &Path, case: &Path) -> String {
    const SUMMARY: &str =
        "Error - Dicom dataset contains invalid data values for Value Representations";
    let source = case.join("source.dcm");
    let header = radiograph::header(&fs::read(&source).unwrap()).unwrap();
    let uids = [header.sop_instance_uid, header.study_instance_uid, header.series_instance_uid];
    let source = said(validator, &source);
    let is_the_sources = |line: &str| {
        source.lines().any(|other| other == line) || uids.iter().any(|uid| line.contains(uid))
    };
    let mut errors = String::new();
    for (name, class) in [
        ("sr", "Comprehensive3DSR"),
        ("refused", "Comprehensive3DSR"),
        ("seg", "Segmentation"),
        ("heat", "Segmentation"),
        ("sc", "SCImage"),
    ] {
        let object = said(validator, &case.join(name).with_extension("dcm"));
        assert!(
            object.contains(class),
            "{} did not recognise {name}: {object}",
            validator.display()
        );
        for line in object.lines().filter(|line| line.starts_with("Error") && *line != SUMMARY) {
            if !is_the_sources(line) {
                errors += &format!("{name}: {line}\n");
            }
        }
    }
    errors
}

/// What dcmtk's dsrdump and dicom3tools' dcentvfy (of all objects of a study together) do not take.
fn refusals(case: &Path) -> String {
    let mut refusals = String::new();
    let header = radiograph::header(&fs::read(case.join("source.dcm")).unwrap()).unwrap();
    let is_valid = |part: &str| part == "0" || !part.starts_with('0');
    // dsrdump reads no report about an image whose UID is none.
    let reports = match header.sop_instance_uid.split('.').all(is_valid) {
        true => &["sr.dcm", "refused.dcm"][..],
        false => &[],
    };
    for name in reports {
        let output = Command::new("dsrdump").arg(case.join(name)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || !said.contains("Comprehensive 3D SR Document") {
            refusals += &format!("dsrdump, {name}: {}\n", String::from_utf8_lossy(&output.stderr));
        }
    }
    let objects = ["sr.dcm", "seg.dcm", "heat.dcm", "sc.dcm"].map(|name| case.join(name));
    let output = Command::new("/usr/bin/dcentvfy").args(objects).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors = said.lines().filter(|line| line.starts_with("Error"));
    errors.for_each(|line| refusals += &format!("dcentvfy: {line}\n"));
    refusals
}

/// dciodvfy of the Debian package, and the newer one of PyPI.
fn validators() -> Option<[PathBuf; 2]> {
    let debian = PathBuf::from("/usr/bin/dciodvfy");
    let newer = site_packages().into_iter().map(|site| site.join("dicom3tools/bin/dciodvfy"));
    match newer.into_iter().find(|path| path.is_file()) {
        Some(newer) if debian.is_file() => Some([debian, newer]),
        _ => None,
    }
}

/// The analysed files of `../shared/data/dicom-samples` and of pydicom-data.
fn real_radiographs() -> Vec<PathBuf> {
    let installed = site_packages().into_iter().map(|site| site.join("data_store/data"));
    let samples = root().join("../shared/data/dicom-samples");
    installed.chain([samples]).filter(|folder| folder.is_dir()).collect()
}

fn site_packages() -> Vec<PathBuf> {
    let Ok(pythons) = fs::read_dir(root().join(".venv/lib")) else { return Vec::new() };
    pythons.map(|python| python.unwrap().path().join("site-packages")).collect()
}

#[test]
fn both_dciodvfy_find_no_error_in_any_object_and_highdicom_and_pydicom_read_them_back() {
    let Some(validators) = validators() else {
        return skip::because("no dciodvfy: .ci/setup.sh peers python installs both");
    };
    if Command::new("dsrdump").arg("--version").output().is_err() {
        return skip::because("no dsrdump: .ci/setup.sh peers installs dcmtk");
    }
    let folders = real_radiographs();
    if folders.is_empty() {
        return skip::because("no pydicom-data: .ci/setup.sh python installs it");
    }
    let cases = tempfile::tempdir().unwrap();
    let count = write_cases(&folders, cases.path());
    assert!(count >= 3, "{count} radiographs of {folders:?} pass the gate");
    let mut wrong = String::new();
    for case in 0..count {
        let case = cases.path().join(format!("{case:03}"));
        for validator in &validators {
            let found = errors(validator, &case);
            if !found.is_empty() {
                let of = fs::read_to_string(case.join("name.txt")).unwrap();
                wrong += &format!("{of}, by {}:\n{found}", validator.display());
            }
        }
    }
    let refused = (0..count).map(|case| refusals(&cases.path().join(format!("{case:03}"))));
    wrong.extend(refused);
    assert!(wrong.is_empty(), "{count} radiographs\n{wrong}");

    let output = Command::new(root().join(".venv/bin/python"))
        .arg(root().join("tests/oracles/dicom_results.py"))
        .arg(cases.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains(&format!("{count} cases")), "{said}{failed}");
}
