//! One C-STORE: an object that goes to disk as it arrives.

use super::{
    command::Status,
    dataset::{self, Mismatch},
};
use crate::{
    spool::{Accepted, Incoming, Spool},
    uid::Uid,
};
use radiograph::TransferSyntax;
use std::io;

/// An object being written.
pub(super) struct Store<'a> {
    incoming: Incoming<'a>,
    uid: Uid,
    pub(super) class: &'static str,
    syntax: TransferSyntax,
    /// The first bytes, to see what it is.
    prefix: Vec<u8>,
    bytes: u64,
}

impl<'a> Store<'a> {
    pub(super) fn begin(
        spool: &'a Spool,
        class: &'static str,
        uid: Uid,
        syntax: TransferSyntax,
        peer: &str,
    ) -> io::Result<Self> {
        let mut incoming = spool.begin()?;
        let header = results::file_header(class, uid.as_str(), syntax.uid(), Some(peer));
        incoming.write_header(&header.map_err(io::Error::other)?)?;
        incoming.identify(class);
        incoming.identify(syntax.uid());
        Ok(Self { incoming, uid, class, syntax, prefix: Vec::new(), bytes: 0 })
    }

    pub(super) fn write(&mut self, bytes: &[u8], limit: u64) -> Result<(), Status> {
        self.bytes += bytes.len() as u64;
        if self.bytes > limit {
            let comment = format!("object is larger than {limit} bytes");
            return Err(Status::failure(Status::OUT_OF_RESOURCES, comment));
        }
        let wanted = dataset::PREFIX_BYTES - self.prefix.len();
        self.prefix.extend_from_slice(&bytes[..wanted.min(bytes.len())]);
        self.incoming.write(bytes).map_err(|error| failed(&error))
    }

    pub(super) fn finish(self) -> Result<Accepted, Status> {
        let whole = self.bytes == self.prefix.len() as u64;
        let claim = dataset::claim(&self.prefix, whole, self.syntax);
        dataset::matches(&claim, self.class, &self.uid).map_err(|mismatch| match mismatch {
            Mismatch::Nonsense(comment) => Status::failure(Status::CANNOT_UNDERSTAND, comment),
            Mismatch::Other(comment) => Status::failure(Status::DATASET_MISMATCH, comment),
        })?;
        self.incoming.commit(self.uid).map_err(|error| failed(&error))
    }
}

/// The status for a file that could not be written.
pub(super) fn failed(error: &io::Error) -> Status {
    log::error!("cannot store an object: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Status::failure(Status::OUT_OF_RESOURCES, "no space left")
        }
        _ => Status::failure(Status::PROCESSING_FAILURE, "cannot write"),
    }
}
