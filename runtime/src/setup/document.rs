//! The configuration as a file: the commented default, with what was answered in its place.
//!
//! Keys are set where the default speaks of them, so their comments stay with them. Tables that the default only shows
//! in comments come at the end.

use super::{
    answers::{Answers, BundleFrom, Identity},
    specs::{PacsSpec, PeerSpec, To},
};
use anyhow::{Context, Result};
use std::path::Path;
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value};

const DEFAULT: &str = include_str!("../../runtime.toml");
const TOLD: &str = "\n# What `runtime setup` was told.\n";
/// Behind every table of the default.
const BEHIND: isize = 1000;

/// The text of a whole configuration.
pub(super) fn write(answers: &Answers) -> Result<String> {
    let mut keys =
        vec![("bundle", "trusted_keys"), ("bundle", "allow_unsigned"), ("dicom", "ae_title")];
    keys.extend(matches!(answers.bundle, BundleFrom::File(_)).then_some(("bundle", "path")));
    keys.extend(answers.keyring.as_ref().map(|_| ("bundle", "keyring")));
    keys.extend(answers.users.as_ref().map(|_| ("http", "users")));
    let mut text = DEFAULT.to_owned();
    for (table, key) in keys {
        text = uncommented(&text, table, key)?;
    }
    let mut document: DocumentMut = text.parse().context("the default configuration")?;
    bundle(&mut document, answers)?;
    set(&mut document, "dicom", "listen", answers.dicom.to_string());
    set(&mut document, "dicom", "ae_title", answers.ae_title.as_str());
    set(&mut document, "http", "listen", answers.http.to_string());
    set(&mut document, "spool", "path", text_of(&answers.spool)?);
    if let Some(file) = &answers.keyring {
        set(&mut document, "bundle", "keyring", text_of(file)?);
    }
    if let Some(file) = &answers.users {
        set(&mut document, "http", "users", text_of(file)?);
    }
    let said_last = document.trailing().as_str().unwrap_or_default().to_owned();
    let mut place = BEHIND;
    if let Some(tls) = &answers.dicom_tls {
        nested(&mut document, "dicom", "tls", Item::Table(server(tls, &mut place)?))?;
    }
    if let Some(tls) = &answers.http_tls {
        nested(&mut document, "http", "tls", Item::Table(server(tls, &mut place)?))?;
    }
    let peers = answers.peers.iter().map(|spec| peer(spec, &mut place)).collect::<ArrayOfTables>();
    if !peers.is_empty() {
        nested(&mut document, "dicom", "peers", Item::ArrayOfTables(peers))?;
    }
    let pacs = answers
        .pacs
        .iter()
        .map(|spec| destination(spec, &mut place))
        .collect::<Result<ArrayOfTables>>()?;
    if !pacs.is_empty() {
        document.insert("destinations", Item::ArrayOfTables(pacs));
    }
    if place > BEHIND {
        // The comments at the end of the default stay before what was told.
        document.set_trailing("");
        return Ok(document.to_string().replacen(TOLD, &(said_last + TOLD), 1));
    }
    Ok(document.to_string())
}

fn bundle(document: &mut DocumentMut, answers: &Answers) -> Result<()> {
    match &answers.bundle {
        BundleFrom::File(path) => {
            set(document, "bundle", "path", text_of(path)?);
            // What is said of both stands before `path`.
            document["bundle"].as_table_mut().map(|table| table.remove("slots"));
        }
        BundleFrom::Slots(folder) => set(document, "bundle", "slots", text_of(folder)?),
    }
    let keys: Array = answers.keys.iter().map(String::as_str).collect();
    set(document, "bundle", "trusted_keys", keys);
    set(document, "bundle", "allow_unsigned", answers.allow_unsigned);
    Ok(())
}

/// `text` with the first line of `table` that shows `key` in a comment made one that counts.
fn uncommented(text: &str, table: &str, key: &str) -> Result<String> {
    let (head, shown) = (format!("[{table}]"), format!("# {key} = "));
    let (mut inside, mut done) = (false, false);
    let lines: Vec<&str> = text
        .lines()
        .map(|line| {
            if line.starts_with('[') {
                inside = line == head;
            }
            match line.strip_prefix("# ") {
                Some(counts) if inside && !done && line.starts_with(&shown) => {
                    done = true;
                    counts
                }
                _ => line,
            }
        })
        .collect();
    done.then(|| lines.join("\n") + "\n")
        .with_context(|| format!("the default configuration does not show {table}.{key}"))
}

/// Sets a key and leaves the comment behind it.
fn set(document: &mut DocumentMut, table: &str, key: &str, value: impl Into<Value>) {
    let mut value: Value = value.into();
    let item = &mut document[table][key];
    if let Some(old) = item.as_value() {
        *value.decor_mut() = old.decor().clone();
    }
    *item = Item::Value(value);
}

fn nested(document: &mut DocumentMut, table: &str, key: &str, item: Item) -> Result<()> {
    let table = document[table].as_table_mut().context("the default configuration lost a table")?;
    table.insert(key, item);
    Ok(())
}

/// A table at the end of the file, behind those before it.
fn behind(place: &mut isize, comment: Option<&str>) -> Table {
    let mut table = Table::new();
    table.set_position(Some(*place));
    let head = if *place == BEHIND { format!("{TOLD}\n") } else { "\n".to_owned() };
    let comment =
        comment.map(|text| format!("# {}\n", text.replace('\n', " "))).unwrap_or_default();
    table.decor_mut().set_prefix(head + &comment);
    *place += 1;
    table
}

fn server(tls: &Identity, place: &mut isize) -> Result<Table> {
    let mut table = behind(place, None);
    table.insert("certificate", value(text_of(&tls.certificate)?));
    table.insert("key", value(text_of(&tls.key)?));
    if let Some(ca) = &tls.client_ca {
        table.insert("client_ca", value(text_of(ca)?));
    }
    Ok(table)
}

fn peer(spec: &PeerSpec, place: &mut isize) -> Table {
    let mut table = behind(place, spec.name.as_deref());
    table.insert("ae_title", value(spec.ae_title.as_str()));
    if let Some(address) = &spec.address {
        table.insert("address", value(address.as_str()));
    }
    if let Some(certificate) = &spec.certificate {
        table.insert("certificate", value(certificate.as_str()));
    }
    table
}

fn destination(spec: &PacsSpec, place: &mut isize) -> Result<Table> {
    let mut table = behind(place, None);
    table.insert("name", value(spec.name.as_str()));
    match &spec.to {
        To::Dicom { ae_title, address, commit } => {
            table.insert("ae_title", value(ae_title.as_str()));
            table.insert("address", value(address.as_str()));
            table.insert("commit", value(*commit));
        }
        To::Web { url, bearer, basic } => {
            table.insert("url", value(url.as_str()));
            for (key, file) in [("bearer_file", bearer), ("basic_file", basic)] {
                if let Some(file) = file {
                    table.insert(key, value(text_of(file)?));
                }
            }
        }
    }
    if !spec.objects.is_empty() {
        table.insert("objects", value(spec.objects.iter().map(String::as_str).collect::<Array>()));
    }
    if spec.positive {
        table.insert("when", value("positive"));
    }
    if let Some(fallback) = &spec.fallback {
        table.insert("fallback", value(fallback.as_str()));
    }
    let mut tls = InlineTable::new();
    for (key, file) in [("ca", &spec.ca), ("certificate", &spec.certificate), ("key", &spec.key)] {
        if let Some(file) = file {
            tls.insert(key, text_of(file)?.into());
        }
    }
    if !tls.is_empty() {
        table.insert("tls", value(tls));
    }
    Ok(table)
}

fn value(value: impl Into<Value>) -> Item {
    Item::Value(value.into())
}

/// A configuration is text: it cannot say another path.
fn text_of(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{}: expected a path in UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn answers() -> Answers {
        Answers {
            ae_title: "BOX1".into(),
            dicom: "127.0.0.1:11112".parse().unwrap(),
            http: "127.0.0.1:8080".parse().unwrap(),
            bundle: BundleFrom::Slots("/var/lib/slots".into()),
            keys: vec!["/keys/hospital.pub".into()],
            allow_unsigned: false,
            spool: "/var/lib/spool".into(),
            peers: vec!["room 3=XRAY1@10.0.0.1:104".parse().unwrap(), "XRAY2".parse().unwrap()],
            pacs: vec![
                "pacs=PACS@10.0.0.2:104,commit,sr".parse().unwrap(),
                "web=https://x/dicom-web,ca=/keys/ca.pem,positive".parse().unwrap(),
            ],
            dicom_tls: None,
            http_tls: None,
            users: None,
            keyring: None,
        }
    }

    fn read(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runtime.toml");
        std::fs::write(&path, text).unwrap();
        Config::parse(&path).unwrap()
    }

    #[test]
    fn what_was_answered_is_what_the_daemon_reads_and_the_comments_stay() {
        let text = write(&answers()).unwrap();
        let config = read(&text);
        assert_eq!(config.dicom.ae_title, "BOX1");
        assert_eq!(config.bundle.slots.as_deref(), Some(Path::new("/var/lib/slots")));
        assert_eq!(config.bundle.path, None);
        let titles: Vec<_> = config.dicom.peers.iter().map(|peer| &*peer.ae_title).collect();
        assert_eq!(titles, ["XRAY1", "XRAY2"]);
        let [pacs, web] = &config.destinations[..] else { panic!("{text}") };
        assert!(pacs.commits() && !web.commits());
        assert_eq!(pacs.objects.len(), 1);
        // Every comment of the default is there, but for those that count now.
        let counts = ["trusted_keys = ", "allow_unsigned = ", "ae_title = \"CXR-EDGE\""];
        for line in DEFAULT.lines().filter(|line| line.starts_with('#')) {
            let now_counts = counts.iter().any(|key| line.starts_with(&format!("# {key}")));
            assert!(now_counts || text.contains(line), "{line} is lost:\n{text}");
        }
        assert!(text.contains("# room 3\n[[dicom.peers]]\nae_title = \"XRAY1\""), "{text}");
    }

    #[test]
    fn a_file_takes_the_place_of_slots_and_tls_and_users_are_written() {
        let tls = || Identity {
            certificate: "/keys/box.crt".into(),
            key: "/keys/box.key".into(),
            client_ca: None,
        };
        let answers = Answers {
            bundle: BundleFrom::File("/b/chest.bundle".into()),
            dicom_tls: Some(Identity { client_ca: Some("/keys/ca.crt".into()), ..tls() }),
            http_tls: Some(tls()),
            users: Some("/etc/users.toml".into()),
            keyring: Some("/var/keys/keyring.toml".into()),
            peers: Vec::new(),
            pacs: Vec::new(),
            ..answers()
        };
        let text = write(&answers).unwrap();
        let config = read(&text);
        assert_eq!(
            (config.bundle.slots, config.bundle.path),
            (None, Some("/b/chest.bundle".into()))
        );
        assert_eq!(config.dicom.tls.unwrap().client_ca, Some("/keys/ca.crt".into()));
        assert_eq!(config.http.tls.unwrap().key, Path::new("/keys/box.key"));
        assert_eq!(config.http.users, Some("/etc/users.toml".into()));
        assert_eq!(config.bundle.keyring, Some("/var/keys/keyring.toml".into()));
        assert!(text.contains("# Exactly one of the two"), "{text}");
    }
}
