//! Keyrings over the link: rotation, revocation, and the emergency.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use firmware_host::link::connect_tcp;
use firmware_host::link::tls::{Client, Identity, Records};
use firmware_host::{Device, DeviceError, Patience};
use keyring::{Contents, Keyring, LinkKey, SigningKey, fingerprint};
use protocol::{Refusal, Role};
use std::fs;
use std::path::Path;
use std::time::Duration;
use support::{Agent, bundle, connect_as, of_the_box, ours, run, until};

const PATIENCE: Patience =
    Patience { silence: Duration::from_secs(20), call: Duration::from_secs(60) };

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

const ROOT: u8 = 11;
const EMERGENCY: u8 = 12;
const SIGNER: u8 = 13;
const OPERATOR: u8 = 14;
const NEXT_ROOT: u8 = 15;

fn contents(epoch: u64, version: u64) -> Contents {
    Contents {
        epoch,
        version,
        roots: vec![key(ROOT).verifying_key()],
        emergency: vec![key(EMERGENCY).verifying_key()],
        bundles: vec![key(SIGNER).verifying_key()],
        revoked: Vec::new(),
        links: vec![LinkKey {
            key: key(OPERATOR).verifying_key(),
            role: Role::Operate,
            name: "workshop".into(),
        }],
        boxes: Vec::new(),
    }
}

fn signed(contents: Contents, signers: &[u8]) -> String {
    let mut keyring = Keyring::new(contents).unwrap();
    signers.iter().for_each(|&n| keyring.sign(&key(n)));
    keyring.text().to_owned()
}

/// An agent whose configuration names the root.
fn rooted(folder: &Path) -> Agent {
    fs::write(folder.join("root.pub"), fingerprint(&key(ROOT).verifying_key())).unwrap();
    let config = folder.join("agent.toml");
    if !config.exists() {
        fs::write(folder.join("site.pub"), fingerprint(&support::key().verifying_key())).unwrap();
        let text = "slots = \"slots\"\nroots = [\"root.pub\"]\n[listen]\ntcp = \"127.0.0.1:0\"\n\
                    [bundles]\ntrusted_keys = [\"site.pub\"]\n[activate]\nselftest = [\"true\"]\n";
        fs::write(&config, text).unwrap();
    }
    Agent::start(folder, "")
}

fn device(agent: &Agent, key: &SigningKey) -> Result<Device, DeviceError> {
    let tcp = agent.address.strip_prefix("tcp://").unwrap();
    Device::open(Box::new(connect_as(key, tcp)?), PATIENCE)
}

fn refusal(result: Result<(), DeviceError>) -> String {
    match result {
        Err(DeviceError::Refused(refusal @ Refusal::Keyring { .. })) => refusal.to_string(),
        other => panic!("{other:?}"),
    }
}

fn push(agent: &Agent, signer: &SigningKey, version: &str) -> Result<(), String> {
    let file = bundle(version, 2000, Some(signer));
    let sha256 = protocol::Digest(<sha2::Sha256 as sha2::Digest>::digest(&file).into());
    let mut device = device(agent, &ours()).unwrap();
    device.push(&file, sha256, |_| {}).map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn a_keyring_lets_keys_in_and_cuts_them_off_while_they_talk() {
    let folder = tempfile::tempdir().unwrap();
    let agent = rooted(folder.path());
    assert!(device(&agent, &key(OPERATOR)).is_err());
    assert!(push(&agent, &key(SIGNER), "1.0.0").unwrap_err().contains("not a trusted key"));
    let mut admin = device(&agent, &ours()).unwrap();
    admin.apply_keyring(&signed(contents(0, 1), &[ROOT])).unwrap();
    push(&agent, &key(SIGNER), "1.0.0").unwrap();
    push(&agent, &support::key(), "1.0.1").unwrap();

    let mut talking = device(&agent, &key(OPERATOR)).unwrap();
    let mut idle = device(&agent, &key(OPERATOR)).unwrap();
    talking.ping(b"x").unwrap();
    let mut next = contents(0, 2);
    (next.links, next.bundles) = (Vec::new(), Vec::new());
    next.revoked = vec![
        key(OPERATOR).verifying_key(),
        key(SIGNER).verifying_key(),
        support::key().verifying_key(),
    ];
    admin.apply_keyring(&signed(next.clone(), &[ROOT])).unwrap();
    assert!(talking.ping(b"x").is_err());
    until("the idle one is cut off too", || {
        (agent.log().matches("may nothing any more").count() >= 2).then_some(())
    });
    assert!(idle.ping(b"x").is_err());
    assert!(device(&agent, &key(OPERATOR)).is_err());
    // The configuration's key too: a revocation has the last word.
    for signer in [key(SIGNER), support::key()] {
        assert!(push(&agent, &signer, "1.1.0").unwrap_err().contains("not a trusted key"));
    }

    // It lasts; nothing older comes back.
    let again = admin.apply_keyring(&signed(next, &[ROOT]));
    again.unwrap();
    agent.kill();
    let agent = rooted(folder.path());
    let mut admin = device(&agent, &ours()).unwrap();
    assert!(device(&agent, &key(OPERATOR)).is_err());
    let older = refusal(admin.apply_keyring(&signed(contents(0, 1), &[ROOT])));
    assert!(older.contains("0.1 is not newer than 0.2"), "{older}");
    let back = refusal(admin.apply_keyring(&signed(contents(0, 3), &[ROOT])));
    assert!(back.contains("a revocation is for ever"), "{back}");
    assert!(push(&agent, &support::key(), "1.1.0").is_err());
}

#[test]
fn forged_cut_off_and_foreign_keyrings_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let agent = rooted(folder.path());
    let mut admin = device(&agent, &ours()).unwrap();
    let good = signed(contents(0, 1), &[ROOT]);
    for (text, why) in [
        (signed(contents(0, 1), &[NEXT_ROOT]), "its own roots"),
        (signed(contents(0, 1), &[]), "its own roots"),
        (good.replace("version = 1", "version = 7"), "does not fit"),
        (good[..good.len() - 9].to_owned(), "expected `# signature`"),
        (good[..good.len() / 2].to_owned(), "not a keyring"),
    ] {
        let error = refusal(admin.apply_keyring(&text));
        assert!(error.contains(why), "{error}");
    }
    assert!(!folder.path().join("keys/keyring.toml").exists());
    // Whoever may operate may not say who may what.
    admin.apply_keyring(&good).unwrap();
    let mut operator = device(&agent, &key(OPERATOR)).unwrap();
    let error = operator.apply_keyring(&signed(contents(0, 2), &[ROOT])).unwrap_err();
    assert!(error.to_string().contains("operate, which may not keyring"), "{error}");
}

/// The documented procedure, by the verbs: the root is stolen and its thief has signed; the emergency key, from
/// its safe, and a new root take the box back. No key opens the link any more, so it is done at the box.
#[test]
fn a_stolen_root_is_replaced_by_the_emergency_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (name, n) in [("root", ROOT), ("emergency", EMERGENCY), ("next", NEXT_ROOT)] {
        keyring::write_pair(&folder.path().join(name), &key(n)).unwrap();
    }
    fs::remove_file(folder.path().join("root.pub")).unwrap();
    let ok = |arguments: &[&str]| {
        let output = run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    };
    let agent = rooted(folder.path());
    let (first, rescue) = (path("1.keyring"), path("2.keyring"));
    let root = fingerprint(&key(ROOT).verifying_key());
    let operator = format!("operate:{}:shop", fingerprint(&key(OPERATOR).verifying_key()));
    let emergency = path("emergency.pub");
    ok(&[
        "keyring",
        "make",
        "--root",
        &root,
        "--emergency",
        &emergency,
        "--link",
        &operator,
        "--out",
        &first,
    ]);
    ok(&["keyring", "sign", &first, "--with", &path("root.key")]);
    agent.ok(&["keyring", "apply", &first]);
    assert!(agent.ok(&["keyring", "show"])["keyring"].as_str().unwrap().contains("version = 1"));

    // The thief revokes all our keys and counts as far as he can.
    let mut theft = Keyring::read(Path::new(&first)).unwrap().contents;
    theft.version = i64::MAX as u64;
    theft.roots = vec![key(66).verifying_key()];
    theft.links.clear();
    theft.revoked = vec![ours().verifying_key(), key(OPERATOR).verifying_key()];
    device(&agent, &ours()).unwrap().apply_keyring(&signed(theft, &[ROOT, 66])).unwrap();
    assert!(device(&agent, &ours()).is_err());

    let stolen = fs::read_to_string(folder.path().join("keys/keyring.toml")).unwrap();
    fs::write(path("stolen.keyring"), stolen).unwrap();
    let thief = fingerprint(&key(66).verifying_key());
    let new_operator = format!("administer:{}:new", fingerprint(&key(77).verifying_key()));
    ok(&[
        "keyring",
        "make",
        "--from",
        &path("stolen.keyring"),
        "--new-epoch",
        "--root",
        &path("next.pub"),
        "--revoke",
        &thief,
        "--revoke",
        &root,
        "--link",
        &new_operator,
        "--out",
        &rescue,
    ]);
    ok(&["keyring", "sign", &rescue, "--with", &path("next.key")]);
    let early = run(&["keyring", "install", &rescue, "--config", &path("agent.toml")]);
    assert!(String::from_utf8_lossy(&early.stderr).contains("another agent"), "{early:?}");
    agent.kill();
    let unsigned = run(&["keyring", "install", &rescue, "--config", &path("agent.toml")]);
    let error = String::from_utf8_lossy(&unsigned.stderr).into_owned();
    assert!(error.contains("the emergency keys in force"), "{error}");
    ok(&["keyring", "sign", &rescue, "--with", &path("emergency.key")]);
    ok(&["keyring", "install", &rescue, "--config", &path("agent.toml")]);
    let agent = rooted(folder.path());
    device(&agent, &key(77)).unwrap().slots().unwrap();
    assert!(device(&agent, &ours()).is_err());
    let client =
        Client::new(&Identity::new(&key(66)), Some(of_the_box().verifying_key()), Records::Long);
    let thief = connect_tcp(agent.address.strip_prefix("tcp://").unwrap());
    let thief = client.connect(thief.unwrap(), PATIENCE.silence).unwrap();
    assert!(Device::open(Box::new(thief), PATIENCE).is_err());
}

/// The documented procedure: the box makes a key, the keyring names it, and this workstation and another one follow.
#[test]
fn a_boxs_key_is_replaced_by_the_keyring_and_only_by_one_that_the_box_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let agent = rooted(folder.path());
    keyring::write_private_key(&folder.path().join("root.key"), &key(ROOT)).unwrap();
    let before = fingerprint(&of_the_box().verifying_key());
    for list in ["ours", "theirs"] {
        fs::write(path(list), format!("{} {before}\n", agent.address)).unwrap();
    }
    let verb = |arguments: &[&str], list: &str| {
        let (list, ours) = (path(list), agent.way()[3]);
        let way = ["--key", ours, "--known-boxes", &list, "--json"];
        let output = run(&[arguments, &way].concat());
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), document)
    };
    let at_box = |arguments: &[&str], list: &str| {
        verb(&[arguments, &["--device", &agent.address]].concat(), list)
    };
    let ok = |(status, document): (Option<i32>, serde_json::Value)| {
        assert_eq!(status, Some(0), "{document}");
        document
    };
    let root = fingerprint(&key(ROOT).verifying_key());
    let make = |boxes: &str, out: &str| {
        let make = ["keyring", "make", "--root", &root, "--box", boxes, "--out", out, "--json"];
        assert!(run(&make).status.success());
        let sign = ["keyring", "sign", out, "--with", &path("root.key"), "--json"];
        assert!(run(&sign).status.success());
    };
    // A key that this box does not have: nobody would know it any more.
    let stranger = fingerprint(&key(99).verifying_key());
    make(&format!("{before}:{stranger}"), &path("wrong.keyring"));
    for _ in 0..2 {
        let (status, refused) = at_box(&["keyring", "apply", &path("wrong.keyring")], "ours");
        assert_eq!(status, Some(6), "{refused}");
        assert!(refused["error"].as_str().unwrap().contains(&stranger), "{refused}");
        ok(at_box(&["keyring", "next-key"], "ours"));
    }
    let next = ok(at_box(&["keyring", "next-key"], "ours"));
    assert_eq!(next["current"], before.as_str());
    let next = next["next"].as_str().unwrap().to_owned();
    make(&format!("{before}:{next}"), &path("right.keyring"));
    ok(at_box(&["keyring", "apply", &path("right.keyring")], "ours"));
    ok(at_box(&["slots"], "ours"));
    let (status, stale) = at_box(&["slots"], "theirs");
    assert_eq!(status, Some(6));
    assert!(stale["error"].as_str().unwrap().contains("this is another box"), "{stale}");
    let follow = |root: &str| {
        let right = path("right.keyring");
        verb(&["keyring", "follow", &right, "--root", root], "theirs")
    };
    assert_eq!(follow(&stranger).0, Some(1), "a keyring of nobody we trust");
    assert_eq!(ok(follow(&root))["replaced"][0], agent.address.as_str());
    ok(at_box(&["slots"], "theirs"));
    assert!(!folder.path().join("keys/box.next.key").exists());
    let log = agent.log();
    agent.kill();
    let key = keyring::read_private_key(&folder.path().join("keys/box.key")).unwrap();
    assert_eq!(fingerprint(&key.verifying_key()), next, "{log}");
}

/// The power goes after the keyring was written and before the key took its place.
#[test]
fn a_boxs_key_that_a_keyring_named_takes_its_place_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    rooted(folder.path()).kill();
    let keys = folder.path().join("keys");
    keyring::write_private_key(&keys.join("box.next.key"), &key(50)).unwrap();
    let replaces = of_the_box().verifying_key();
    let mut next = contents(0, 1);
    next.boxes = vec![keyring::BoxKey { key: key(50).verifying_key(), replaces }];
    fs::write(keys.join("keyring.toml"), signed(next, &[ROOT])).unwrap();
    let agent = rooted(folder.path());
    let shown = Some(key(50).verifying_key());
    let client = Client::new(&Identity::new(&ours()), shown, Records::Long);
    let link = connect_tcp(agent.address.strip_prefix("tcp://").unwrap()).unwrap();
    let link = client.connect(link, PATIENCE.silence).unwrap();
    Device::open(Box::new(link), PATIENCE).unwrap().slots().unwrap();
}
