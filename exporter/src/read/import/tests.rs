//! Files of public bug reports, written anew by PyTorch: all hold the numbers of one network.
//!
//! The files are not part of this repository: without `../shared/cases` beside it this test is skipped.

use super::*;

#[test]
fn files_as_training_loops_write_them_hold_the_same_network() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let root = workspace.join("../shared/cases");
    if !root.is_dir() {
        return skip::because("no ../shared/cases");
    }
    let imported = |file: &str, prefix: Option<&str>| {
        let options = Options { prefix: prefix.map(str::to_owned), ..Options::default() };
        convert(read(&root.join(file)).unwrap(), &options)
            .unwrap_or_else(|e| panic!("{file}: {e:#}"))
    };
    let plain = imported("k00-base/plain.pt", None).weights;
    for file in [
        "k01-compile-prefix/module_orig_mod.pt",
        "k01-compile-prefix/orig_mod.pt",
        "k01-compile-prefix/orig_mod_module.pt",
        "k02-channels-last/channels_last.pt",
        "k03-lightning-mgca/mgca.ckpt",
        "k04-lightning-model/moco.pth.tar",
        "k04-lightning-model/model_prefix.ckpt",
        "k04-lightning-model/net_prefix.ckpt",
        "k06-legacy/legacy.pth",
        "k09-nested/nested.pt",
        "k09-nested/net.pt",
        "k09-nested/teacher_student.pt",
        "k09-nested/weights.pt",
    ] {
        assert!(imported(file, None).weights == plain, "{file}");
    }
    let student = imported("k09-nested/teacher_student.pt", Some("student"));
    assert!(student.weights == plain && student.dropped == ["fc.bias", "fc.weight"]);
}
