//! When the certificates expire that are configured.

use super::{ServerTls, certificates, client::ClientTls};
use anyhow::Context;
use serde::Serialize;
use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Below so many days somebody should renew it.
pub(crate) const SOON: i64 = 30;

/// A file with certificates, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Configured {
    /// `dicom.tls`, `http.tls`, `destinations.NAME`
    pub(crate) what: String,
    pub(crate) file: PathBuf,
    /// Authorities that we trust: good as long as one of them is. Otherwise a chain: no longer than each of it.
    pub(crate) is_trusted: bool,
}

/// How long a certificate is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Expiry {
    pub(crate) what: String,
    pub(crate) file: PathBuf,
    /// Of a chain, until its first certificate expires; of authorities, until the last does. Negative if it has.
    pub(crate) days: Option<i64>,
    /// Why it cannot be read.
    pub(crate) trouble: Option<String>,
}

impl ServerTls {
    pub(crate) fn certificates(&self, what: &str) -> impl Iterator<Item = Configured> {
        let own = std::iter::once((&self.certificate, false));
        of_files(what.to_owned(), own.chain(self.client_ca.iter().map(|ca| (ca, true))))
    }
}

impl ClientTls {
    pub(crate) fn certificates(&self, what: String) -> impl Iterator<Item = Configured> {
        let own = self.certificate.iter().map(|certificate| (certificate, false));
        of_files(what, std::iter::once((&self.ca, true)).chain(own))
    }
}

fn of_files<'a>(
    what: String,
    files: impl Iterator<Item = (&'a PathBuf, bool)>,
) -> impl Iterator<Item = Configured> {
    files.map(move |(file, is_trusted)| Configured {
        what: what.clone(),
        file: file.clone(),
        is_trusted,
    })
}

impl Expiry {
    pub(crate) fn of(configured: &Configured) -> Self {
        let Configured { what, file, is_trusted } = configured.clone();
        let days_left = || {
            let certificates = certificates(&file)?;
            let days = certificates.iter().map(|certificate| super::days(certificate, &file));
            let mut days = days.collect::<anyhow::Result<Vec<i64>>>()?;
            days.sort_unstable();
            let counts = if is_trusted { days.last() } else { days.first() };
            counts.copied().context("it holds no certificate")
        };
        let (days, trouble) = match days_left() {
            Ok(days) => (Some(days), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        Self { what, file, days, trouble }
    }

    /// What somebody should know, and whether it is a mistake by now.
    pub(crate) fn warning(&self) -> Option<(String, bool)> {
        let (what, file) = (&self.what, self.file.display());
        match (self.days, &self.trouble) {
            (_, Some(trouble)) => Some((format!("{what}: {trouble}"), true)),
            (Some(days), _) if days < 0 => Some((format!("{what}: {file} has expired"), true)),
            (Some(days), _) if days < SOON => {
                Some((format!("{what}: {file} expires in {days} days"), false))
            }
            _ => None,
        }
    }
}

/// Looks into the files, but not more often than somebody renews them.
#[derive(Debug, Default)]
pub(crate) struct Watch(Mutex<Option<Seen>>);

#[derive(Debug)]
struct Seen {
    at: Instant,
    configured: Vec<Configured>,
    found: Vec<Expiry>,
}

const EVERY: Duration = Duration::from_secs(60);

impl Watch {
    pub(crate) fn look(&self, configured: &[Configured]) -> Vec<Expiry> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = &*seen
            && seen.at.elapsed() < EVERY
            && seen.configured == configured
        {
            return seen.found.clone();
        }
        let found: Vec<Expiry> = configured.iter().map(Expiry::of).collect();
        let configured = configured.to_vec();
        *seen = Some(Seen { at: Instant::now(), configured, found: found.clone() });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    /// Made to end so many days from now, an hour added for the test to run in.
    fn certificate(days: i64) -> String {
        let mut parameters = rcgen::CertificateParams::new(vec!["box".to_owned()]).unwrap();
        let hour = Duration::from_secs(3600);
        let day = Duration::from_secs(24 * 3600);
        let now = std::time::SystemTime::now();
        let far = day * u32::try_from(days.abs()).unwrap();
        let end = if days < 0 { now - far + hour } else { now + far + hour };
        parameters.not_before = (now - day * 400).into();
        parameters.not_after = end.into();
        let key = rcgen::KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().pem()
    }

    fn expiry(folder: &Path, text: &str, is_trusted: bool) -> Expiry {
        let file = folder.join("box.crt");
        fs::write(&file, text).unwrap();
        Expiry::of(&Configured { what: "dicom.tls".into(), file, is_trusted })
    }

    #[test]
    fn a_chain_is_as_good_as_its_first_and_authorities_as_their_last_to_expire() {
        let folder = tempfile::tempdir().unwrap();
        let said = |days: &[i64], is_trusted| {
            let text: String = days.iter().map(|&days| certificate(days)).collect();
            let expiry = expiry(folder.path(), &text, is_trusted);
            (
                expiry.days,
                expiry.warning().map(|(what, mistake)| (what.contains("expire"), mistake)),
            )
        };
        assert_eq!(said(&[400], false), (Some(400), None));
        assert_eq!(said(&[30], false), (Some(30), None));
        assert_eq!(said(&[29], false), (Some(29), Some((true, false))));
        assert_eq!(said(&[-1], false), (Some(-1), Some((true, true))));
        assert_eq!(said(&[400, 7, 90], false), (Some(7), Some((true, false))));
        assert_eq!(said(&[-1, 90], true), (Some(90), None), "the new authority is there already");
        let (what, mistake) = expiry(folder.path(), "nothing", false).warning().unwrap();
        assert!(mistake && what.starts_with("dicom.tls: ") && what.contains("box.crt"), "{what}");
    }

    #[test]
    fn files_are_looked_at_again_when_others_are_configured() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("box.crt");
        fs::write(&file, certificate(10)).unwrap();
        let one = [Configured { what: "dicom.tls".into(), file: file.clone(), is_trusted: false }];
        let watch = Watch::default();
        assert_eq!(watch.look(&one)[0].days, Some(10));
        fs::write(&file, certificate(90)).unwrap();
        assert_eq!(watch.look(&one)[0].days, Some(10), "seen a moment ago");
        let two = [one[0].clone(), Configured { what: "http.tls".into(), file, is_trusted: false }];
        assert_eq!(watch.look(&two).iter().map(|e| e.days).collect::<Vec<_>>(), [Some(90); 2]);
    }
}
