//! C-FIND and C-MOVE: one association a study, so that one that breaks takes no other study with it.

use super::{door::Door, trouble::Trouble};
use crate::{
    config::{DicomConfig, Pacs},
    dicom::{
        query::{self, Answer, Question},
        scu::{Association, Peer, Proposal, ScuError},
        services,
    },
    uid::Uid,
};
use anyhow::Result;
use std::path::{Path, PathBuf};

pub(super) struct Dimse<'a> {
    pacs: &'a Pacs,
    peer: Peer,
    door: Door,
    /// Where the archive must know that we listen.
    config: &'a DicomConfig,
    association: Option<Association>,
}

impl<'a> Dimse<'a> {
    pub(super) async fn open(
        pacs: &'a Pacs,
        ae_title: &str,
        address: &str,
        config: &'a DicomConfig,
        folder: &Path,
    ) -> Result<Self> {
        let peer = Peer {
            calling: config.ae_title.clone(),
            called: ae_title.to_owned(),
            address: address.to_owned(),
            tls: pacs.connector()?,
            timeout: pacs.timeout,
        };
        let door = Door::open(config, folder).await?;
        Ok(Self { pacs, peer, door, config, association: None })
    }

    pub(super) async fn find(&mut self, question: &Question) -> Result<Vec<Answer>, Trouble> {
        let mut association = self.line().await?;
        let found = association.find(question).await;
        let found = self.kept(association, found).await?;
        Trouble::of_status("C-FIND", &found.end).map_err(|trouble| self.named(trouble))?;
        Ok(found.answers)
    }

    pub(super) async fn fetch(&mut self, study: &Uid, series: &Uid) -> Result<(), Trouble> {
        let mut association = self.line().await?;
        let encode = |syntax: &str| query::series(study, series, syntax);
        let came = || self.door.came();
        let moved = association.move_to(&self.config.ae_title, encode, came).await;
        let response = self.kept(association, moved).await?;
        Trouble::of_status("C-MOVE", &response).map_err(|trouble| self.named(trouble))
    }

    pub(super) fn file(&self, instance: &Uid) -> Option<PathBuf> {
        self.door.file(instance)
    }

    pub(super) async fn release(&mut self) {
        if let Some(association) = self.association.take() {
            association.release().await;
        }
    }

    /// How many objects came.
    pub(super) async fn close(mut self) -> u64 {
        self.release().await;
        self.door.close().await
    }

    /// The open association, or a new one.
    async fn line(&mut self) -> Result<Association, Trouble> {
        if let Some(association) = self.association.take() {
            return Ok(association);
        }
        let proposals: Vec<Proposal> =
            services::OF_ARCHIVE.iter().map(|service| service.proposal).collect();
        let opened = Association::open(&self.peer, &proposals).await;
        opened.map_err(|error| self.named(Trouble::of_scu(error)))
    }

    /// Puts it back, unless it broke: then it is good for nothing more.
    async fn kept<T>(
        &mut self,
        mut association: Association,
        said: Result<T, ScuError>,
    ) -> Result<T, Trouble> {
        match said {
            Ok(said) => {
                self.association = Some(association);
                Ok(said)
            }
            Err(error) => {
                association.abort().await;
                Err(self.named(Trouble::of_scu(error)))
            }
        }
    }

    /// What ends the test says whom it is about.
    fn named(&self, trouble: Trouble) -> Trouble {
        let Trouble::Archive(error) = trouble else { return trouble };
        let Peer { called, address, calling, .. } = &self.peer;
        let listen = self.config.listen;
        let about = format!(
            "archive {called} at {address} (we are {calling}, and listen at {listen}; an answer may take {:?})",
            self.pacs.timeout
        );
        Trouble::Archive(error.context(about))
    }
}
