//! Who may follow whom, and that no text from outside can hurt.

#![expect(clippy::unwrap_used, reason = "tests")]

use keyring::{BoxKey, Contents, Keyring, KeyringError, LinkKey, SigningKey, bundle_keys};
use proptest::prelude::*;
use protocol::Role;

const ROOT: u8 = 1;
const EMERGENCY: u8 = 2;
const SIGNER: u8 = 3;
const OPERATOR: u8 = 4;
const NEXT_ROOT: u8 = 5;
const THIEF: u8 = 6;

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn public(n: u8) -> keyring::VerifyingKey {
    key(n).verifying_key()
}

fn contents(epoch: u64, version: u64) -> Contents {
    Contents {
        epoch,
        version,
        roots: vec![public(ROOT)],
        emergency: vec![public(EMERGENCY)],
        bundles: vec![public(SIGNER)],
        revoked: Vec::new(),
        links: vec![LinkKey { key: public(OPERATOR), role: Role::Operate, name: "shop".into() }],
        boxes: Vec::new(),
    }
}

fn signed(contents: Contents, signers: &[u8]) -> Keyring {
    let mut keyring = Keyring::new(contents).unwrap();
    signers.iter().for_each(|&n| keyring.sign(&key(n)));
    Keyring::parse(keyring.text()).unwrap()
}

/// `Ok`, or what the refusal says.
fn follows(next: &Keyring, current: &Keyring) -> Result<(), String> {
    next.may_replace(current).map_err(|error| error.to_string())
}

fn refused(next: &Keyring, current: &Keyring, why: &str) {
    let error = follows(next, current).unwrap_err();
    assert!(error.contains(why), "{error}");
}

#[test]
fn the_next_version_needs_a_root_in_force_and_no_clock() {
    let current = signed(contents(0, 3), &[ROOT]);
    assert_eq!(follows(&signed(contents(0, 4), &[ROOT]), &current), Ok(()));
    assert_eq!(follows(&signed(contents(0, 900), &[ROOT]), &current), Ok(()));
    refused(&signed(contents(0, 4), &[]), &current, "its own roots");
    refused(&signed(contents(0, 4), &[SIGNER, OPERATOR]), &current, "its own roots");
    refused(&signed(contents(0, 3), &[ROOT]), &current, "0.3 is not newer than 0.3");
    refused(&signed(contents(0, 2), &[ROOT]), &current, "0.2 is not newer than 0.3");
}

#[test]
fn a_root_hands_over_to_another_only_with_both_signatures() {
    let current = signed(contents(0, 3), &[ROOT]);
    let mut next = contents(0, 4);
    next.roots = vec![public(NEXT_ROOT)];
    next.revoked = vec![public(ROOT)];
    refused(&signed(next.clone(), &[ROOT]), &current, "its own roots");
    refused(&signed(next.clone(), &[NEXT_ROOT]), &current, "the roots in force");
    let next = signed(next, &[ROOT, NEXT_ROOT]);
    assert_eq!(follows(&next, &current), Ok(()));
    // The old root is worth nothing from here on.
    let mut back = contents(0, 5);
    back.emergency = vec![public(EMERGENCY)];
    refused(&signed(back, &[ROOT]), &next, "the roots in force");
}

/// Whoever steals the root counts as high as he likes; the emergency key, kept offline, takes it all back.
#[test]
fn the_emergency_key_replaces_a_stolen_root_whatever_the_thief_signed() {
    let current = signed(contents(0, 3), &[ROOT]);
    let mut theft = contents(0, i64::MAX as u64);
    theft.roots = vec![public(THIEF)];
    let theft = signed(theft, &[ROOT, THIEF]);
    assert_eq!(follows(&theft, &current), Ok(()));
    // The thief cannot take the emergency key away, nor begin an epoch.
    let mut more = contents(0, 4);
    more.emergency = vec![public(THIEF)];
    refused(&signed(more.clone(), &[ROOT]), &current, "only an emergency key");
    more.emergency.clear();
    refused(&signed(more, &[ROOT]), &current, "only an emergency key");
    let mut epoch = contents(1, 0);
    epoch.roots = vec![public(THIEF)];
    refused(&signed(epoch, &[THIEF]), &theft, "the emergency keys in force");

    let mut rescue = contents(1, 0);
    rescue.roots = vec![public(NEXT_ROOT)];
    rescue.revoked = vec![public(ROOT), public(THIEF)];
    refused(&signed(rescue.clone(), &[EMERGENCY]), &theft, "its own roots");
    let rescue = signed(rescue, &[EMERGENCY, NEXT_ROOT]);
    assert_eq!(follows(&rescue, &theft), Ok(()));
    assert_eq!(follows(&rescue, &current), Ok(()));
    refused(&theft, &rescue, "not newer");
}

#[test]
fn a_revocation_is_for_ever_and_beats_a_configuration() {
    let mut with = contents(0, 4);
    with.links.clear();
    with.bundles.clear();
    with.revoked = vec![public(OPERATOR), public(SIGNER)];
    let with = signed(with, &[ROOT]);
    assert!(with.is_revoked(&public(OPERATOR)));
    let without = signed(contents(0, 5), &[ROOT]);
    refused(&without, &with, "a revocation is for ever");
    assert_eq!(bundle_keys(&[public(SIGNER)], Some(&with)), []);
    assert_eq!(bundle_keys(&[public(9)], Some(&without)), [public(9), public(SIGNER)]);
    assert_eq!(bundle_keys(&[public(9)], None), [public(9)]);
}

#[test]
fn the_first_keyring_is_signed_by_a_root_of_the_configuration() {
    let first = signed(contents(0, 1), &[ROOT]);
    first.may_begin(&[public(9), public(ROOT)]).unwrap();
    assert!(matches!(first.may_begin(&[]), Err(KeyringError::NoBeginning)));
    let error = first.may_begin(&[public(THIEF)]).unwrap_err().to_string();
    assert!(error.contains("roots of the box's configuration"), "{error}");
    assert!(signed(contents(0, 1), &[]).may_begin(&[public(ROOT)]).is_err());
}

#[test]
fn what_is_no_keyring_is_refused_by_name() {
    let good = signed(contents(0, 1), &[ROOT]);
    let text = good.text();
    assert_eq!(good.role(&public(OPERATOR)), Some(Role::Operate));
    let operator = keyring::fingerprint(&public(OPERATOR));
    let cases = [
        (text.replace("format = 1", "format = 2"), "made for a newer program"),
        (text.replace("format = 1\n", ""), "no `format`"),
        (text.replace("version = 1", "version = 2"), "does not fit"),
        (text.replace("# signature ", "# signature\u{20}00"), "expected `# signature`"),
        (format!("{text}more = 1\n"), "expected `# signature`"),
        (text[..text.len() - 2].to_owned(), "expected `# signature`"),
        (text.replace("epoch = 0", "epoch = 0\ncolour = 1"), "unknown field `colour`"),
        (text.replace(&operator, &keyring::fingerprint(&public(SIGNER))), "stands in `bundles`"),
        (text.replace("operate", "emperor"), "emperor"),
        (text.replace(&operator, "00ff"), "64 hexadecimal digits"),
        ("#".repeat(70_000), "at most 65536"),
        (String::new(), "no `format`"),
    ];
    for (text, expected) in cases {
        let error = Keyring::parse(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
    let mut rootless = contents(0, 1);
    rootless.roots.clear();
    assert!(matches!(Keyring::new(rootless), Err(KeyringError::NoRoots)));
}

#[test]
fn a_document_cut_off_anywhere_is_refused_or_bears_fewer_signatures() {
    let whole = signed(contents(0, 1), &[ROOT, EMERGENCY]);
    for end in 0..whole.text().len() {
        let Ok(cut) = Keyring::parse(&whole.text()[..end]) else { continue };
        assert!(cut.signers().len() < 2 || whole.text()[end..].trim().is_empty(), "at {end}");
        assert!(cut.signers().is_empty() || cut.contents == whole.contents, "at {end}");
    }
}

proptest! {
    #[test]
    fn noise_is_never_a_signed_keyring(text in "\\PC{0,300}") {
        prop_assert!(Keyring::parse(&text).is_err());
    }

    #[test]
    fn one_changed_byte_takes_the_signature_away(at in any::<usize>(), byte in 32_u8..127) {
        let good = signed(contents(0, 1), &[ROOT]);
        let mut bytes = good.text().as_bytes().to_vec();
        let at = at % bytes.len();
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        let text = String::from_utf8(bytes).unwrap();
        // Hexadecimal digits may be written in capitals; that changes nothing.
        if let Ok(found) = Keyring::parse(&text) {
            let same = text.eq_ignore_ascii_case(good.text()) && found.contents == good.contents;
            prop_assert!(found.signers().is_empty() || same, "{text}");
        }
    }
}

#[test]
fn a_boxs_key_is_followed_through_its_successors_and_is_nothing_else_besides() {
    let line = |replaces, key| BoxKey { key: public(key), replaces: public(replaces) };
    let with = |boxes: Vec<BoxKey>| Keyring::new(Contents { boxes, ..contents(0, 1) });
    let keyring = with(vec![line(20, 21), line(22, 23), line(21, 22)]).unwrap();
    assert_eq!(Keyring::parse(keyring.text()).unwrap(), keyring);
    for old in 20..23 {
        assert_eq!(keyring.successor(&public(old)), Some(public(23)));
    }
    assert_eq!(keyring.successor(&public(23)), None);
    assert_eq!(keyring.successor(&public(OPERATOR)), None);
    // An old key that was stolen is revoked as well.
    let revoked = Contents { revoked: vec![public(20)], ..keyring.contents.clone() };
    assert!(Keyring::new(revoked).is_ok());
    for wrong in [
        vec![line(20, 21), line(20, 22)],
        vec![line(20, 21), line(22, 21)],
        vec![line(20, 20)],
        vec![line(20, ROOT)],
        vec![line(OPERATOR, 20)],
        vec![line(SIGNER, 20)],
    ] {
        let error = with(wrong.clone()).unwrap_err().to_string();
        assert!(error.contains(" stands in "), "{wrong:?}: {error}");
    }
    // A circle is nobody's wish; it ends all the same.
    let circle = with(vec![line(20, 21), line(21, 20)]).unwrap();
    assert!(circle.successor(&public(20)).is_some());
    // What has no box is written as before there were any.
    assert!(!with(Vec::new()).unwrap().text().contains("box"));
}
