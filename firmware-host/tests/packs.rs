//! Packs on a real agent: a finding comes to the bundle that runs, and goes again.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use bundle::{Bundle, SealedPack, SigningKey};
use protocol::Digest;
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use support::{Agent, bundle, key, pack, packed_as, run, sealed, space, speaking, states, until};
use tempfile::TempDir;

/// A box that runs a bundle with language, and files beside it.
struct Home {
    agent: Agent,
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self::empty();
        let bundle = home.file("chest.bundle", &speaking("1.0.0", 200_000));
        home.install(&["push", &bundle]);
        home
    }

    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { agent: Agent::start(folder.path(), ""), folder }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().into()
    }

    fn pack(&self, pack: &SealedPack) -> String {
        self.file(&format!("{}-{}.prompts", pack.name(), pack.version()), &pack.to_bytes())
    }

    /// A push, its trial, its confirm.
    fn install(&self, push: &[&str]) -> Value {
        let said = self.agent.ok(push);
        self.agent.ok(&["activate"]);
        self.agent.confirm();
        said
    }

    /// The packs of the bundle that runs, by every verb that names them.
    fn packs(&self) -> Vec<String> {
        let slots = self.agent.ok(&["slots"]);
        let active = usize::from(slots["active"] == "b");
        let found = &slots["slots"][active]["packs"];
        for verb in ["info", "telemetry"] {
            assert_eq!(&self.agent.ok(&[verb])["packs"], found, "{verb}");
        }
        let text = |pack: &Value| format!("{} {}", pack["name"], pack["version"]).replace('"', "");
        found.as_array().unwrap().iter().map(text).collect()
    }

    /// The file of the slot that runs.
    fn running(&self) -> Bundle {
        let record = self.agent.record().unwrap();
        let (slot, found) = record.running().unwrap();
        let bytes = fs::read(self.folder.path().join("slots").join(slot.file_name())).unwrap();
        let bundle = Bundle::read(bytes).unwrap();
        assert_eq!(found.bundle.as_ref().unwrap().digest.to_string(), bundle.digest());
        bundle
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let before = self.agent.record();
        let document = self.agent.refused(arguments);
        assert_eq!(self.agent.record(), before, "nothing changed: {document}");
        document["error"].as_str().unwrap().into()
    }
}

#[test]
fn a_pack_comes_is_replaced_by_a_newer_one_and_goes_each_time_on_trial() {
    let home = Home::new();
    let plain = home.running();
    assert_eq!(home.packs(), [""; 0]);
    let (heart, lungs) = (sealed("heart", "1.0.0"), sealed("lungs", "2.0.0"));
    let said = home.install(&["push", &home.pack(&heart)]);
    assert_eq!(said["slot"], "b");
    assert_eq!(said["pack"]["findings"], json!(["heart"]));
    assert_eq!(home.agent.states(), states("confirmed", "confirmed", "b"));
    assert_eq!(home.packs(), ["heart 1.0.0"]);
    assert_eq!(home.running(), plain.clone().with_packs(vec![heart.clone()]));

    home.install(&["push", &home.pack(&lungs)]);
    let newer = sealed("heart", "1.1.0");
    home.install(&["push", &home.pack(&newer)]);
    assert_eq!(home.packs(), ["heart 1.1.0", "lungs 2.0.0"]);
    assert_eq!(home.running(), plain.clone().with_packs(vec![newer, lungs.clone()]));

    home.install(&["push", "--remove", "heart"]);
    assert_eq!(home.packs(), ["lungs 2.0.0"]);
    home.install(&["push", "--remove", "lungs"]);
    assert_eq!(home.running(), plain, "to the byte");

    let out = home.folder.path().join("dump");
    // A slot that held this before would not be made again, so another one.
    home.install(&["push", &home.pack(&sealed("bones", "1.0.0"))]);
    home.agent.ok(&["dump", "--out", out.to_str().unwrap()]);
    let dumped: Value = serde_json::from_slice(&fs::read(out.join("slots.json")).unwrap()).unwrap();
    assert!(dumped["slots"].to_string().contains("\"name\":\"bones\""), "{dumped}");
}

#[test]
fn a_pack_that_is_rolled_back_is_gone_and_its_push_can_be_repeated() {
    let home = Home::new();
    let before = home.running();
    let pack = home.pack(&sealed("heart", "1.0.0"));
    let first = home.agent.ok(&["push", &pack]);
    let again = home.agent.ok(&["push", &pack]);
    assert_eq!((&first["slot"], &first["sha256"]), (&again["slot"], &again["sha256"]));
    home.agent.ok(&["activate", &pack]);
    assert_eq!(home.agent.states(), states("confirmed", "trial", "b"));
    let said = home.refused(&["push", &home.pack(&sealed("lungs", "1.0.0"))]);
    assert!(said.contains("slot b is on trial"), "{said}");
    home.agent.ok(&["rollback", "--reason", "too many false alarms"]);
    assert_eq!(home.running(), before);
    assert_eq!(home.packs(), [""; 0]);
    home.install(&["push", &pack]);
    assert_eq!(home.packs(), ["heart 1.0.0"]);
    // What runs already is not made again.
    let again = home.agent.ok(&["push", &pack]);
    assert_eq!(again["slot"], home.agent.ok(&["slots"])["active"]);
}

#[test]
fn what_a_bundle_does_not_take_is_refused_by_name_and_nothing_changes() {
    let home = Home::new();
    home.install(&["push", &home.pack(&sealed("heart", "1.1.0"))]);
    let ours = key();
    let signed = |pack: language::Pack| pack.seal(Some(&ours)).unwrap();
    let stranger = SigningKey::from_bytes(&[9; 32]);
    for (pack, expected) in [
        (signed(pack("a", "1.0.0", "a", space(2))), "pack `a` has space"),
        (signed(pack("a", "1.0.0", "Finding 1", space(1))), "which bundle chest 1.0.0 has already"),
        (signed(pack("a", "1.0.0", "heart", space(1))), "which pack heart has already"),
        (sealed("heart", "1.0.9"), "heart` 1.0.9 is not newer than 1.1.0"),
        (signed(pack("heart", "1.1.0", "other", space(1))), "heart` 1.1.0 is not newer than 1.1.0"),
        (pack("a", "1.0.0", "a", space(1)).seal(Some(&stranger)).unwrap(), "not a trusted key"),
        (pack("a", "1.0.0", "a", space(1)).seal(None).unwrap(), "is not signed"),
    ] {
        let said = home.refused(&["push", &home.pack(&pack)]);
        assert!(said.contains(expected), "{said}: expected {expected}");
    }
    let said = home.refused(&["push", "--remove", "lungs"]);
    assert!(said.contains("no pack is called `lungs`, found heart"), "{said}");
    // The box refuses by itself what a workstation lets pass.
    let unsigned = home.pack(&pack("b", "1.0.0", "b", space(1)).seal(None).unwrap());
    let said = home.refused(&["push", "--no-check", &unsigned]);
    assert!(said.contains("does not take the pack: pack b cannot be used: not signed"), "{said}");
    let damaged = home.file("damaged.prompts", b"CXRP\x01\0 and so on");
    for more in [&["--no-check"][..], &[]] {
        home.refused(&[&["push", &damaged], more].concat());
    }
}

#[test]
fn a_box_without_a_bundle_or_with_one_that_has_no_language_takes_no_pack() {
    let home = Home::empty();
    let pack = home.pack(&sealed("heart", "1.0.0"));
    assert!(home.refused(&["push", &pack]).contains("no bundle runs"));
    let mute = home.file("mute.bundle", &bundle("1.0.0", 5000, Some(&key())));
    home.install(&["push", &mute]);
    let said = home.refused(&["push", &pack]);
    assert!(said.contains("bundle chest 1.0.0 has no language"), "{said}");
}

#[test]
fn a_bundle_that_brings_packs_along_is_held_to_them() {
    let home = Home::empty();
    let speaking = Bundle::read(speaking("1.0.0", 9000)).unwrap();
    let with = |packs| speaking.clone().with_packs(packs).to_bytes().unwrap();
    let stranger = pack("a", "1.0.0", "a", space(1)).seal(Some(&SigningKey::from_bytes(&[9; 32])));
    for (n, (packs, code)) in
        [(vec![stranger.unwrap()], "untrusted"), (vec![sealed("Finding 1", "1.0.0")], "damaged")]
            .into_iter()
            .enumerate()
    {
        let file = home.file(&format!("{n}.bundle"), &with(packs));
        let said = home.agent.refused(&["push", &file])["error"].to_string();
        assert!(said.contains(code), "{said}");
    }
    home.install(&["push", &home.file("good.bundle", &with(vec![sealed("heart", "1.0.0")]))]);
    assert_eq!(home.packs(), ["heart 1.0.0"]);
}

#[test]
fn a_self_test_that_fails_with_a_pack_leaves_the_bundle_of_before() {
    let folder = tempfile::tempdir().unwrap();
    let test = "if grep -q 1.6.6 \"$0\"; then echo pack heart, score: value 0 differs; exit 1; fi";
    let activate = format!("[activate]\nselftest = [\"sh\", \"-c\", {test:?}, \"{{bundle}}\"]\n");
    let home = Home { agent: Agent::start(folder.path(), &activate), folder };
    home.install(&["push", &home.file("chest.bundle", &speaking("1.0.0", 9000))]);
    let before = home.running();
    home.agent.ok(&["push", &home.pack(&sealed("heart", "1.6.6"))]);
    let said = home.agent.refused(&["activate"]);
    assert_eq!(said["code"], "verification");
    assert!(said["error"].to_string().contains("pack heart, score"), "{said}");
    assert_eq!(home.running(), before);
    assert_eq!(home.agent.states(), states("confirmed", "bad", "a"));
}

#[test]
fn a_pack_in_an_swu_image_is_installed_from_a_stick() {
    let home = Home::new();
    let stick = home.folder.path().join("stick");
    fs::create_dir(&stick).unwrap();
    let pack = home.pack(&sealed("heart", "1.0.0"));
    let image = stick.join("heart.swu");
    let made = run(&["swu", "make", &pack, "--out", image.to_str().unwrap(), "--json"]);
    assert!(made.status.success(), "{made:?}");
    let told = run(&["swu", "inspect", image.to_str().unwrap(), "--json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(
        (&told["description"], &told["version"]),
        (&"pack heart 1.0.0".into(), &"1.0.0".into())
    );

    let install = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firmware-host"));
        command
            .arg("offline")
            .arg(&stick)
            .arg("--config")
            .arg(home.folder.path().join("agent.toml"));
        command.args(["--json"]).stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let installing = install();
    until("the trial", || (home.agent.states() == states("confirmed", "trial", "b")).then_some(()));
    home.agent.confirm();
    let output = installing.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("packs: heart 1.0.0"), "{said}");
    assert_eq!(home.packs(), ["heart 1.0.0"]);
    // The same stick again changes nothing; a pack that is not the one described is not taken.
    let before = home.agent.record();
    assert!(install().wait_with_output().unwrap().status.success());
    let mut other = packed_as("pack.prompts", "1.0.0", &sealed("lungs", "1.0.0").to_bytes());
    let digits = other.windows(10).position(|window| window == b"sha256 = \"").unwrap() + 10;
    other[digits] = if other[digits] == b'0' { b'1' } else { b'0' };
    fs::write(&image, other).unwrap();
    let output = install().wait_with_output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(home.agent.record(), before);
}

#[test]
fn a_pack_is_rolled_out_to_boxes_in_waves() {
    let homes = [Home::new(), Home::new()];
    let daemons = homes.iter().map(|home| home.folder.path().to_owned()).collect();
    let _daemons = support::Daemons::start(daemons);
    let heart = homes[0].pack(&sealed("heart", "1.0.0"));
    let inventory = homes.iter().enumerate().map(|(n, home)| {
        let [_, address, _, _, _, key] = home.agent.way();
        format!("[[boxes]]\nname = \"box-{n}\"\naddress = {address:?}\nkey = {key:?}\n")
    });
    let inventory = homes[0].file("boxes.toml", inventory.collect::<String>().as_bytes());
    let [_, _, _, our_key, ..] = homes[0].agent.way();
    let rollout = |more: &[&str]| {
        let fleet = ["fleet", &heart, "--inventory", &inventory, "--key", our_key, "--json"];
        let output = run(&[&fleet[..], &["--waves", "1,rest", "--soak", "0s"], more].concat());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let would = rollout(&["--dry-run"]);
    assert_eq!(would["boxes"][1]["would"], "push and activate");
    let told = rollout(&[]);
    assert_eq!(told["counts"]["confirmed"], 2, "{told}");
    assert!(told["boxes"][0]["detail"].to_string().contains("pack heart 1.0.0"), "{told}");
    for home in &homes {
        assert_eq!(home.packs(), ["heart 1.0.0"]);
    }
    assert_eq!(rollout(&["--dry-run"])["boxes"][0]["would"], "nothing: it runs already");
}

/// A pack's digest does not depend on who signed it; a slot's file does.
#[test]
fn the_digest_of_a_slot_is_that_of_bundle_and_packs() {
    let home = Home::new();
    let heart = sealed("heart", "1.0.0");
    home.install(&["push", &home.pack(&heart)]);
    let slots = home.agent.ok(&["slots"]);
    let expected = home.running().digest();
    assert_eq!(slots["slots"][1]["bundle"]["digest"], expected.as_str());
    assert_ne!(slots["slots"][0]["bundle"]["digest"], expected.as_str());
    assert_eq!(slots["slots"][1]["packs"][0]["digest"], json!(Digest(heart.digest())));
}
