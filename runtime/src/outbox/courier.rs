//! Brings what is due to one destination, over one association for as long as something is due.
//!
//! A row changes after the destination has answered, never before: whatever cuts us off, the object is sent
//! again under the same UID.

use super::{
    Outbox, Source,
    database::DatabaseError,
    rows::{Link, Row},
    state::{Event, Millis, Policy, State},
    stow,
    verdict::{self, Verdict},
};
use crate::{
    config::{Credentials, Destination, Target},
    dicom::{
        commitment,
        scu::{Association, Object, Peer, Proposal, ScuError},
        services,
    },
    dicomweb::{Server, authorization::authorization},
    shutdown::Shutdown,
    tls::client::Connector,
};
use hyper::header::HeaderValue;
use std::{sync::Arc, time::Duration};
use tokio::task::spawn_blocking;

/// Serves one destination.
#[derive(Clone)]
pub(crate) struct Courier {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) destination: Destination,
    /// Our AE title.
    pub(crate) calling: String,
    pub(crate) source: Arc<dyn Source>,
}

/// Objects in one question about commitment.
const MOST_ASKED: usize = 100;
/// How long we listen for a report on the association of the question.
const LISTEN: Duration = Duration::from_secs(2);
/// How long an object on its way may take when the daemon stops.
const GRACE: Duration = Duration::from_secs(3);

/// Whether the round goes on.
enum Next {
    Go,
    /// The destination is in trouble, or nothing is due.
    Stop,
}

impl Courier {
    /// Delivers until shutdown.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        while !shutdown.is_cancelled() {
            let round = self.round(&shutdown);
            let cut = async {
                shutdown.cancelled().await;
                tokio::time::sleep(GRACE).await;
            };
            tokio::select! {
                done = round => {
                    if let Err(error) = done {
                        log::error!("{}: cannot deliver: {error}", self.destination.name);
                    }
                }
                () = cut => log::warn!("{}: cut off at work", self.destination.name),
            }
            tokio::select! {
                () = self.outbox.due.notified() => {}
                () = tokio::time::sleep(super::LOOK) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// Delivers everything that is due now.
    pub(crate) async fn round(&self, shutdown: &Shutdown) -> Result<(), DatabaseError> {
        let mut line = None;
        let done = async {
            while !shutdown.is_cancelled() {
                if let Next::Stop = self.step(&mut line).await? {
                    break;
                }
            }
            Ok(())
        };
        let done = done.await;
        if let Some(association) = line.take() {
            association.release().await;
        }
        done
    }

    /// One object, or one question about commitment.
    async fn step(&self, line: &mut Option<Association>) -> Result<Next, DatabaseError> {
        let (now, policy, name) = (self.now(), self.policy(), self.destination.name.clone());
        let (link, row) = self
            .with(move |database| {
                Ok((database.link(&name)?, database.next_due(&name, now, policy)?))
            })
            .await?;
        if link.failures > 0 && !super::state::is_due(link.next, now, policy) {
            self.fail_over(&link, now).await?;
            return Ok(Next::Stop);
        }
        let Some(row) = row else { return self.ask(line, &link).await };
        let object = match self.make(&row).await {
            Ok(Some(object)) => object,
            Ok(None) => {
                self.with(move |database| database.remove(row.id)).await?;
                return Ok(Next::Go);
            }
            Err(verdict) => return self.note(&row, verdict, &link).await,
        };
        let verdict = self.deliver(&row, &object, line).await;
        self.note(&row, verdict, &link).await
    }

    /// The bytes of an object, made on a thread that may block.
    async fn make(&self, row: &Row) -> Result<Option<Vec<u8>>, Verdict> {
        let (source, wanted) = (self.source.clone(), row.clone());
        let made = spawn_blocking(move || source.make(&wanted)).await;
        let error = match made {
            Ok(Ok(object)) => return Ok(object),
            Ok(Err(error)) => error,
            Err(panic) => anyhow::anyhow!("making the object panicked: {panic}"),
        };
        let refused_by_disk = error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
            .any(|error| error.kind() != std::io::ErrorKind::NotFound);
        let reason = format!("{error:#}");
        let event = if refused_by_disk { Event::Later(reason) } else { Event::Refused(reason) };
        Err(Verdict::new(event, false))
    }

    async fn deliver(&self, row: &Row, file: &[u8], line: &mut Option<Association>) -> Verdict {
        if let Target::Stow { url, credentials } = &self.destination.target {
            let (tls, who) = match (self.tls().await, self.authorization(credentials).await) {
                (Ok(tls), Ok(who)) => (tls, who),
                (Err(reason), _) | (_, Err(reason)) => {
                    return Verdict::new(Event::Later(reason), true);
                }
            };
            let (tls, authorization) = (tls.as_ref(), who.as_ref());
            let server = Server { url, tls, authorization, timeout: self.destination.timeout };
            return verdict::of_stow(stow::store(server, file).await);
        }
        let Some(dataset) = results::data_set(file) else {
            let reason = "what we made is no Part 10 file".to_owned();
            return Verdict::new(Event::Refused(reason), false);
        };
        let association = match self.line(line).await {
            Ok(association) => association,
            Err(error) => return verdict::of_error(&error),
        };
        let object =
            Object { class: &row.class, instance: &row.object, dataset, urgent: row.urgent };
        let answer = association.store(&object).await;
        if matches!(answer, Err(ScuError::Ended(_)))
            && let Some(mut broken) = line.take()
        {
            broken.abort().await;
        }
        verdict::of_store(answer)
    }

    /// What the connection needs for TLS. Read each time, so that renewed certificates are used.
    async fn tls(&self) -> Result<Option<Connector>, String> {
        let destination = self.destination.clone();
        let read = spawn_blocking(move || destination.connector()).await;
        match read {
            Ok(read) => read.map_err(|error| format!("{error:#}")),
            Err(panic) => Err(format!("reading certificates panicked: {panic}")),
        }
    }

    /// Who we say we are, if the server asks; read each time, like certificates.
    async fn authorization(
        &self,
        credentials: &Option<Credentials>,
    ) -> Result<Option<HeaderValue>, String> {
        let Some(credentials) = credentials.clone() else { return Ok(None) };
        match spawn_blocking(move || authorization(&credentials)).await {
            Ok(read) => read.map(Some).map_err(|error| format!("{error:#}")),
            Err(_) => Err("reading a secret panicked".into()),
        }
    }

    /// The open association, or a new one.
    async fn line<'a>(
        &self,
        line: &'a mut Option<Association>,
    ) -> Result<&'a mut Association, ScuError> {
        let association = match line.take() {
            Some(association) => association,
            None => {
                let Target::Dicom { ae_title, address, commit } = &self.destination.target else {
                    unreachable!("STOW needs no association")
                };
                let peer = Peer {
                    calling: self.calling.clone(),
                    called: ae_title.clone(),
                    address: address.clone(),
                    tls: self.tls().await.map_err(ScuError::Certificates)?,
                    timeout: self.destination.timeout,
                };
                let services = services::of_destination(*commit);
                let proposals: Vec<Proposal> = services.iter().map(|s| s.proposal).collect();
                Association::open(&peer, &proposals).await?
            }
        };
        Ok(line.insert(association))
    }

    /// Writes down what became of a row, and of the destination.
    async fn note(&self, row: &Row, verdict: Verdict, link: &Link) -> Result<Next, DatabaseError> {
        let (id, now, policy) = (row.id, self.now(), self.policy());
        let name = self.destination.name.clone();
        let Verdict { event, pause, after } = verdict;
        let at_least = after.map_or(0, |after| after.as_millis() as Millis);
        let reason = match &event {
            Event::Later(reason) | Event::Refused(reason) | Event::NotTaken(reason) => {
                // What follows the first colon may quote the archive, and so a patient.
                let said = reason.split(": ").next().unwrap_or_default();
                log::warn!("{name}: {}: {said}", row.label());
                self.outbox.write_down(row, said);
                reason.clone()
            }
            _ => {
                log::info!("{name}: {} delivered", row.label());
                self.outbox.write_down(row, "delivered");
                String::new()
            }
        };
        let was_down = link.failures > 0;
        let link = self
            .with(move |database| {
                database.apply(id, event, now, policy)?;
                if pause {
                    return database.link_failed(&name, &reason, now, at_least).map(Some);
                }
                if was_down {
                    database.link_works(&name)?;
                }
                Ok(None)
            })
            .await?;
        let Some(link) = link else { return Ok(Next::Go) };
        self.fail_over(&link, now).await?;
        Ok(Next::Stop)
    }

    /// Hands over to whoever stands in, once the destination has been down for long enough.
    async fn fail_over(&self, link: &Link, now: Millis) -> Result<(), DatabaseError> {
        let (Some(fallback), Some(since)) = (&self.destination.fallback, link.down_since) else {
            return Ok(());
        };
        if now - since < self.destination.fallback_after.as_millis() as Millis {
            return Ok(());
        }
        let (from, to) = (self.destination.name.clone(), fallback.clone());
        let diverted = self.with(move |database| database.divert(&from, &to, now)).await?;
        if diverted > 0 {
            log::warn!("{}: down, {diverted} deliveries go to {fallback}", self.destination.name);
            self.outbox.due.notify_waiters();
        }
        Ok(())
    }

    /// Asks about what was sent and not yet committed.
    async fn ask(
        &self,
        line: &mut Option<Association>,
        link: &Link,
    ) -> Result<Next, DatabaseError> {
        let (now, policy, name) = (self.now(), self.policy(), self.destination.name.clone());
        if !policy.commits {
            return Ok(Next::Stop);
        }
        let asked = self
            .with(move |database| {
                for row in database.silent(&name, now, policy)? {
                    database.apply(row.id, Event::Silent, now, policy)?;
                }
                let rows = database.to_ask(&name, now, policy, MOST_ASKED)?;
                if rows.is_empty() {
                    return Ok(None);
                }
                // Before the question: the report may be quicker than the answer.
                let transaction = database.transaction_uid();
                database.ask(&transaction, &rows, now, policy)?;
                Ok(Some((transaction, rows)))
            })
            .await?;
        let Some((transaction, rows)) = asked else { return Ok(Next::Stop) };
        let Some(verdict) = self.put_question(&transaction, &rows, line).await else {
            self.listen(&transaction, line).await?;
            if link.failures > 0 {
                let name = self.destination.name.clone();
                self.with(move |database| database.link_works(&name)).await?;
            }
            return Ok(Next::Go);
        };
        let mut next = Next::Go;
        for (at, row) in rows.iter().enumerate() {
            // One trouble of the destination, however many rows it is about.
            let pause = verdict.pause && at == 0;
            if let Next::Stop = self.note(row, Verdict { pause, ..verdict.clone() }, link).await? {
                next = Next::Stop;
            }
        }
        Ok(next)
    }

    /// `None` if the question was taken.
    async fn put_question(
        &self,
        transaction: &str,
        rows: &[Row],
        line: &mut Option<Association>,
    ) -> Option<Verdict> {
        let answer = match self.line(line).await {
            Err(error) => Err(error),
            Ok(association) => {
                let objects: Vec<(String, String)> =
                    rows.iter().map(|row| (row.class.clone(), row.object.clone())).collect();
                let encode = |syntax: &str| commitment::question(transaction, &objects, syntax);
                let (class, instance) = (commitment::CLASS, commitment::INSTANCE);
                association.action(class, instance, commitment::ACTION, encode).await
            }
        };
        if matches!(answer, Err(ScuError::Ended(_)))
            && let Some(mut broken) = line.take()
        {
            broken.abort().await;
        }
        verdict::of_question(answer)
    }

    /// Takes in reports that come on the association of the question, for a while.
    async fn listen(
        &self,
        transaction: &str,
        line: &mut Option<Association>,
    ) -> Result<(), DatabaseError> {
        let until = tokio::time::Instant::now() + LISTEN;
        while let Some(association) = line.as_mut() {
            let wait = until.saturating_duration_since(tokio::time::Instant::now());
            let event = match association.event(wait).await {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(()),
                // Also one that the peer closes now that it has taken the question. It will call us.
                Err(error) => {
                    log::debug!("{}: {error}", self.destination.name);
                    *line = None;
                    return Ok(());
                }
            };
            let command = &event.command;
            let instance = command.sop_instance().and_then(Result::ok);
            let report = commitment::report(
                instance.map(|uid| uid.as_str().to_owned()),
                command.event_type,
                event.dataset.as_deref(),
                event.context.syntax,
            );
            let status = match report {
                Ok(report) => {
                    let Target::Dicom { ae_title, .. } = &self.destination.target else {
                        return Ok(());
                    };
                    let (outbox, peer) = (self.outbox.clone(), ae_title.clone());
                    let taken = spawn_blocking(move || outbox.reported(&peer, &report)).await;
                    taken.unwrap_or_else(|_| {
                        crate::dicom::command::Status::failure(0x0110, "cannot note it")
                    })
                }
                Err(bad) => {
                    log::warn!("{}: a report is refused: {bad}", self.destination.name);
                    bad.status()
                }
            };
            if association.answer(&event, &status).await.is_err() {
                *line = None;
                return Ok(());
            }
            let transaction = transaction.to_owned();
            let open = self
                .with(move |database| {
                    let rows = database.asked(&transaction)?;
                    let is_open = |row: &Row| {
                        row.progress.state == State::Sent
                            && row.progress.transaction.as_ref() == Some(&transaction)
                    };
                    Ok(rows.iter().any(is_open))
                })
                .await?;
            if !open {
                return Ok(());
            }
        }
        Ok(())
    }

    fn now(&self) -> Millis {
        (self.outbox.clock)()
    }

    fn policy(&self) -> Policy {
        Policy::of(&self.destination)
    }

    /// The database, on a thread that may block.
    async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut super::Database) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let outbox = self.outbox.clone();
        match spawn_blocking(move || outbox.with(act)).await {
            Ok(done) => done,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(DatabaseError::Stopping),
            },
        }
    }
}
