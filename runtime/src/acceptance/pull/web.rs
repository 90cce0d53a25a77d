//! QIDO-RS and WADO-RS: each question and each image a request of its own.

use super::trouble::Trouble;
use crate::{
    config::{Credentials, Pacs},
    dicom::query::{Answer, Question},
    dicomweb::{Server, WebAnswer, authorization::authorization, multipart, query},
    tls::client::Connector,
    uid::Uid,
};
use anyhow::{Context, Result};
use hyper::{
    Request, Uri,
    body::Bytes,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

pub(super) struct Web<'a> {
    pacs: &'a Pacs,
    /// Of its studies.
    url: &'a Uri,
    tls: Option<Connector>,
    authorization: Option<HeaderValue>,
    folder: PathBuf,
    came: BTreeMap<Uid, PathBuf>,
}

/// Answers to a question are short.
const MOST_ANSWER_BYTES: usize = 8 << 20;
/// As the daemon takes by C-STORE.
const MOST_OBJECT_BYTES: usize = 512 << 20;
/// In the transfer syntax that the archive keeps it in.
const OBJECT: &str = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";

impl<'a> Web<'a> {
    pub(super) fn open(
        pacs: &'a Pacs,
        url: &'a Uri,
        credentials: Option<&Credentials>,
        folder: &Path,
    ) -> Result<Self> {
        let (tls, authorization) =
            (pacs.connector()?, credentials.map(authorization).transpose().context("[pacs]")?);
        let folder = folder.join("web");
        fs::create_dir(&folder)
            .with_context(|| format!("cannot make a folder {}", folder.display()))?;
        Ok(Self { pacs, url, tls, authorization, folder, came: BTreeMap::new() })
    }

    pub(super) async fn find(&mut self, question: &Question) -> Result<Vec<Answer>, Trouble> {
        let (path, accept) = (query::path(question), "application/dicom+json");
        let answer = self.get(&path, accept, MOST_ANSWER_BYTES).await?;
        match answer.status {
            200 => query::answers(&answer.body, question).map_err(|error| Trouble::Study {
                why: "QIDO-RS: its answer cannot be read".into(),
                said: error.to_string(),
            }),
            204 => Ok(Vec::new()),
            status => Err(self.named(Trouble::of_http("QIDO-RS", status))),
        }
    }

    pub(super) async fn fetch(
        &mut self,
        study: &Uid,
        series: &Uid,
        images: &[Uid],
    ) -> Result<(), Trouble> {
        let mut first = Ok(());
        for instance in images {
            let path = format!("/{study}/series/{series}/instances/{instance}");
            let fetched = match self.get(&path, OBJECT, MOST_OBJECT_BYTES).await {
                Ok(answer) => self.keep(instance, &answer),
                Err(trouble) => Err(trouble),
            };
            match fetched {
                Err(trouble) if trouble.ends_study() => return Err(trouble),
                Err(trouble) => first = first.and(Err(trouble)),
                Ok(()) => {}
            }
        }
        first
    }

    pub(super) fn file(&self, instance: &Uid) -> Option<PathBuf> {
        self.came.get(instance).cloned()
    }

    fn keep(&mut self, instance: &Uid, answer: &WebAnswer) -> Result<(), Trouble> {
        if answer.status != 200 {
            return Err(self.named(Trouble::of_http("WADO-RS", answer.status)));
        }
        let object = object(answer).map_err(|said| Trouble::Study {
            why: "WADO-RS: its answer holds no object".into(),
            said,
        })?;
        let header = radiograph::header(object);
        if header.is_ok_and(|header| header.sop_instance_uid != instance.as_str()) {
            return Err(Trouble::study("WADO-RS: another object came"));
        }
        let path = self.folder.join(format!("{instance}.dcm"));
        let written =
            fs::write(&path, object).with_context(|| format!("cannot write {}", path.display()));
        written.map_err(Trouble::Archive)?;
        self.came.insert(instance.clone(), path);
        Ok(())
    }

    async fn get(&self, path: &str, accept: &str, most: usize) -> Result<WebAnswer, Trouble> {
        let server = Server {
            url: self.url,
            tls: self.tls.as_ref(),
            authorization: self.authorization.as_ref(),
            timeout: self.pacs.timeout,
        };
        let whole = format!("{}{path}", self.url.path());
        let request = Request::builder().method("GET").header(ACCEPT, accept);
        let answer = server.exchange(&whole, request, Bytes::new(), most).await;
        answer.map_err(|error| self.named(Trouble::of_web(error)))
    }

    /// What ends the test says whom it is about.
    fn named(&self, trouble: Trouble) -> Trouble {
        match trouble {
            Trouble::Archive(error) => {
                Trouble::Archive(error.context(format!("archive {}", self.url)))
            }
            trouble => trouble,
        }
    }
}

/// The one object of an answer: the only part of several parts, or, as some servers send a single one, the body.
fn object(answer: &WebAnswer) -> Result<&[u8], String> {
    let content_type = answer.header(CONTENT_TYPE);
    if multipart::media_type(content_type) == "application/dicom" {
        return Ok(&answer.body);
    }
    let parts = multipart::parts(content_type, &answer.body).map_err(|error| error.to_string())?;
    match &parts[..] {
        [part] if part.media_type == "application/dicom" => Ok(part.body),
        [part] => Err(format!("a part of type {:?}, expected application/dicom", part.media_type)),
        parts => Err(format!("{} parts, expected one", parts.len())),
    }
}
