//! The DICOM side of the daemon: a storage and verification SCP that distrusts its peers.
//!
//! ```text
//! access        who may connect and associate; no I/O
//! listener      accepts sockets                                      TcpStream
//! places        how many connections and associations there may be
//! scp           what associations share             ended   how they end
//! negotiation   A-ASSOCIATE-RQ → AC or RJ; no I/O                   PDU → PDU
//! association   one peer, PDU by PDU, with deadlines                PDUs → messages
//! wire          PDUs over TCP or TLS, with deadlines
//! store         one C-STORE: an object that goes to disk as it arrives
//! command       command sets of C-ECHO and C-STORE; no I/O          bytes ↔ Command
//! dataset       what the first bytes of a data set claim to be      bytes → Claim
//! commitment    data sets of storage commitment; no I/O
//! query         data sets of C-FIND and C-MOVE; no I/O               Question → bytes → Answer
//! scu           our side of associations that we ask for
//! services      what we ask other nodes for
//! sink          an archive that keeps nothing, for `runtime bench`
//! conformance   what we promise other nodes, from the tables above     → text
//! ```
//!
//! Elements are read and written by `radiograph::elements`, as those of files are.
//!
//! Start at [`listener::run`]. The rules that keep a hostile or broken peer from hurting others:
//! a PDU longer than we offered is refused before it is read (strict mode), every read and write
//! has a deadline, so has every object and every association, half-open connections give way to
//! newer ones, and an image goes to disk as it arrives: memory per peer is one PDU and 256 KiB. What is kept beyond
//! that for the worker has one limit for all peers together ([`crate::spool::Contents`]).

pub(crate) mod access;
pub(crate) mod association;
pub(crate) mod command;
pub(crate) mod commitment;
pub(crate) mod conformance;
pub(crate) mod dataset;
pub(crate) mod ended;
pub(crate) mod listener;
pub(crate) mod negotiation;
pub(crate) mod ping;
mod places;
pub(crate) mod query;
pub(crate) mod scp;
pub(crate) mod scu;
pub(crate) mod services;
pub(crate) mod sink;
mod store;
mod wire;

/// SOP class of C-ECHO.
pub(crate) const VERIFICATION: &str = "1.2.840.10008.1.1";
