//! One C-STORE: an object that goes to disk as it arrives.

use super::{
    command::{Command, Status},
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

    /// Whether writing so many bytes more would wait for the disk.
    pub(super) fn must_flush(&self, more: usize) -> bool {
        self.incoming.must_flush(more)
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

/// The instance that a command of a context for `class` announces; otherwise what is wrong with it.
pub(super) fn announced(command: &Command, class: &str) -> Result<Uid, Status> {
    if !command.has_dataset {
        return Err(Status::failure(Status::CANNOT_UNDERSTAND, "C-STORE without a data set"));
    }
    match command.sop_class.as_deref() {
        None => {
            return Err(Status::failure(Status::MISSING_ATTRIBUTE, "no Affected SOP Class UID"));
        }
        Some(found) if found != class => {
            let why = "Affected SOP Class UID is not the class of this presentation context";
            return Err(Status::failure(Status::CLASS_NOT_SUPPORTED, why));
        }
        Some(_) => {}
    }
    let missing = || Status::failure(Status::MISSING_ATTRIBUTE, "no Affected SOP Instance UID");
    let invalid = |_| Status::failure(Status::INVALID_INSTANCE, "SOP Instance UID is no UID");
    command.sop_instance().ok_or_else(missing)?.map_err(invalid)
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
