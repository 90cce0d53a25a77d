//! SIGHUP: the configuration is read again while connections go on.
//!
//! What may change: who is let in (peers, certificates, names, users, log-in), when somebody is logged out, and
//! where results go.
//! What else has changed waits for a restart and is named. A configuration with a mistake changes nothing.

use crate::{
    audit::{Audit, Event},
    config::Config,
    configuration::Configuration,
    current::Current,
    dicom::access::Access,
    http::{Doors, rfc3339},
    outbox::Outbox,
    tls::expiry::Configured,
};
use anyhow::{Context, Result, ensure};
use std::{path::PathBuf, sync::Arc, time::SystemTime};

/// What is replaced, and by which file.
#[derive(Debug)]
pub(crate) struct Reload {
    pub(crate) path: PathBuf,
    /// As the daemon started.
    pub(crate) running: Config,
    pub(crate) access: Arc<Current<Access>>,
    pub(crate) doors: Arc<Current<Doors>>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) certificates: Arc<Current<Vec<Configured>>>,
    pub(crate) audit: Arc<Audit>,
}

impl Reload {
    /// Reads the file again; what was in force stays so if anything is wrong with it. Blocks.
    pub(crate) fn run(&self) {
        let outcome = match self.replace() {
            Ok(restart) => {
                log::info!("{}: read again, in force", self.path.display());
                if !restart.is_empty() {
                    let tables = restart.join(", ");
                    log::warn!("{}: changes of {tables} wait for a restart", self.path.display());
                }
                self.configuration.in_force(rfc3339(SystemTime::now()), restart);
                "in force"
            }
            Err(error) => {
                let why = format!("{error:#}");
                log::error!("the new configuration is refused, the old one stays: {why}");
                self.configuration.refused(why);
                "refused"
            }
        };
        self.audit.write(Event::Configuration { outcome });
    }

    /// The tables whose changes wait for a restart.
    fn replace(&self) -> Result<Vec<&'static str>> {
        let mut new = Config::read(&self.path)?;
        let restart = waiting(&self.running, &new);
        // The sockets stay, so what they need is judged by where they listen.
        new.http.listen = self.running.http.listen;
        new.dicom.listen = self.running.dicom.listen;
        let mistakes = new.mistakes();
        ensure!(mistakes.is_empty(), "{}: {}", self.path.display(), mistakes.join("; "));
        let access = Access::new(&new.dicom).with_context(|| self.path.display().to_string())?;
        let doors = Doors::new(&new.http).with_context(|| self.path.display().to_string())?;
        for destination in &new.destinations {
            destination.connector().with_context(|| self.path.display().to_string())?;
        }
        // From here on nothing fails: all or none.
        self.certificates.set(new.certificates());
        self.outbox.replace(new.destinations);
        self.access.set(access);
        self.doors.set(doors);
        Ok(restart)
    }
}

/// Tables in which something differs that cannot be changed while the daemon runs.
fn waiting(running: &Config, new: &Config) -> Vec<&'static str> {
    let mut new = new.clone();
    let (dicom, http) = (&running.dicom, &running.http);
    new.dicom.peers.clone_from(&dicom.peers);
    new.dicom.tls.clone_from(&dicom.tls);
    new.dicom.ae_title.clone_from(&dicom.ae_title);
    new.dicom.check_called_ae_title = dicom.check_called_ae_title;
    new.http.hosts.clone_from(&http.hosts);
    new.http.tls.clone_from(&http.tls);
    new.http.users.clone_from(&http.users);
    new.http.open_on_loopback = http.open_on_loopback;
    new.http.allow_plain = http.allow_plain;
    new.http.session_seconds = http.session_seconds;
    // Written out, since only here does anybody compare configurations.
    let differ =
        |a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| format!("{a:?}") != format!("{b:?}");
    [
        ("[bundle]", differ(&running.bundle, &new.bundle)),
        ("[dicom]", differ(dicom, &new.dicom)),
        ("[http]", differ(http, &new.http)),
        ("[spool]", differ(&running.spool, &new.spool)),
        ("[worker]", differ(&running.worker, &new.worker)),
        ("[shadow]", differ(&running.shadow, &new.shadow)),
    ]
    .into_iter()
    .filter_map(|(table, differs)| differs.then_some(table))
    .collect()
}
