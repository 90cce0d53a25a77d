//! What runs, what does not any more, and what is said of it.

use super::*;
use std::path::Path;

/// After a panic its state is not to be trusted: the next attempt is not made with the same one.
#[test]
fn what_is_distrusted_is_loaded_anew_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chest.bundle");
    let config = BundleConfig {
        path: Some(path.clone()),
        slots: None,
        trusted_keys: Vec::new(),
        keyring: None,
        allow_unsigned: true,
        poll_seconds: Duration::from_secs(1),
        test_seconds: Duration::from_secs(3600),
    };
    let audit = Arc::new(Audit::open(folder.path()).unwrap());
    let model = Model::new(config, Threads::unbound(1), audit).unwrap();
    let reason = || model.refresh().unwrap_err().to_string();
    assert!(reason().contains("cannot read"));
    fs::write(&path, b"no bundle").unwrap();
    assert!(reason().contains("cannot read"), "not tried again so soon");
    model.distrust();
    let why = reason();
    assert!(!why.contains("cannot read") && why.contains("chest.bundle"), "{why}");
}

#[test]
fn a_loaded_bundle_that_answers_otherwise_than_before_is_not_asked_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let config = BundleConfig {
        path: Some(examples.join("chest-lungs.bundle")),
        slots: None,
        trusted_keys: vec![examples.join("chest-lungs.pub").display().to_string()],
        keyring: None,
        allow_unsigned: false,
        poll_seconds: Duration::from_secs(1),
        test_seconds: Duration::ZERO,
    };
    let wanted = wanted(&config, &configured(&config).unwrap()).unwrap().0.unwrap();
    let audit = Arc::new(Audit::open(folder.path()).unwrap());
    let model = Model::new(config.clone(), Threads::unbound(1), audit).unwrap();
    model.refresh().unwrap();
    model.test_again();
    assert!(model.current().is_some() && model.tally().failures == 0);

    let (mut loaded, about, _) = open(&config, &Threads::unbound(1), &wanted).unwrap();
    loaded.damage();
    model.now.write().unwrap().loaded = Some((Arc::new(loaded), about));
    model.test_again();
    assert!(model.current().is_none());
    let why = model.status().reason.unwrap();
    assert!(why.contains("self-test failed") && why.contains("golden vector 0"), "{why}");
    let Tally { golden_vectors, failures, failure, .. } = model.tally().clone();
    assert_eq!((golden_vectors, failures, failure), (0, 1, Some(why)));
}

#[test]
fn a_bundle_whose_key_is_revoked_answers_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let path = folder.path().join("keyring.toml");
    let text = format!(
        "path = {:?}\ntrusted_keys = [{:?}]\nkeyring = {path:?}",
        examples.join("chest-lungs.bundle"),
        examples.join("chest-lungs.pub")
    );
    let config: BundleConfig = toml::from_str(&text).unwrap();
    let revoked = configured(&config).unwrap();
    let audit = Arc::new(Audit::open(folder.path()).unwrap());
    let model = Model::new(config, Threads::unbound(1), audit).unwrap();
    model.refresh().unwrap();
    assert!(model.current().is_some());

    let root = keyring::SigningKey::from_bytes(&[1; 32]);
    let roots = vec![root.verifying_key()];
    let contents = keyring::Contents { version: 1, roots, revoked, ..Default::default() };
    let mut keyring = keyring::Keyring::new(contents).unwrap();
    keyring.sign(&root);
    fs::write(&path, keyring.text()).unwrap();
    let why = format!("{:#}", model.refresh().unwrap_err());
    assert!(why.contains("chest-lungs.bundle"), "{why}");
    assert!(model.current().is_none());
}
