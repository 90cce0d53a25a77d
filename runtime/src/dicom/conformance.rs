//! `runtime dicom conformance`: the DICOM conformance statement, written from the tables that negotiate.
//!
//! The committed copy is `runtime/docs/conformance.md`; a test holds it to what is written here.

use super::{
    command::Status,
    negotiation::{Refusal, STORAGE_CLASSES},
    services::{self, Service},
};
use crate::{
    Output,
    config::{Config, DicomConfig},
    print_json,
};
use anyhow::{Context, Result};
use clap::Args;
use dicom_dictionary_std::uids;
use radiograph::TransferSyntax;
use results::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION};
use serde_json::json;
use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::PathBuf,
};

/// Prints the DICOM conformance statement of this build, in Markdown
#[derive(Debug, Args)]
pub(crate) struct Conformance {
    /// The configuration whose limits and titles to print; without it, the defaults
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
}

impl Conformance {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let config = match &self.config {
            Some(path) => Config::read(path)?.dicom,
            None => defaults()?,
        };
        let statement = statement(&config);
        if output.json {
            return print_json(&json!({ "statement": statement }));
        }
        io::stdout().write_all(statement.as_bytes()).context("cannot print")
    }
}

fn defaults() -> Result<DicomConfig> {
    toml::from_str("listen = \"127.0.0.1:11112\"").context("no defaults")
}

/// What a C-STORE or C-ECHO may be answered with, and when.
const STATUSES: [(u16, &str); 9] = [
    (Status::SUCCESS, "The object is on disk, flushed; or it was there already, byte for byte."),
    (Status::PROCESSING_FAILURE, "It could not be written for another reason than space."),
    (Status::INVALID_INSTANCE, "The SOP instance UID is no UID."),
    (Status::MISSING_ATTRIBUTE, "The command names no SOP class or no SOP instance."),
    (Status::CLASS_NOT_SUPPORTED, "The SOP class is not the one of the presentation context."),
    (Status::UNRECOGNIZED_OPERATION, "Another service than those above."),
    (Status::OUT_OF_RESOURCES, "No room: the sender is expected to try again later."),
    (Status::DATASET_MISMATCH, "The data set says another SOP class or instance than the command."),
    (Status::CANNOT_UNDERSTAND, "No data set came, or its beginning cannot be read."),
];

const REFUSALS: [(Refusal, &str); 6] = [
    (Refusal::CallingTitle, "the calling AE title, address or certificate is not that of a peer"),
    (Refusal::CalledTitle, "another AE title was called"),
    (Refusal::ApplicationContext, "another application context than DICOM's"),
    (Refusal::Version, "no protocol version in common"),
    (Refusal::Full, "all places are taken"),
    (Refusal::Contexts, "presentation context ids are even or used twice"),
];

/// The statement. Lines are at most 110 columns wide, tables apart.
pub(crate) fn statement(config: &DicomConfig) -> String {
    let mut text = String::from(HEAD);
    let mut line = |written: String| {
        text.push_str(&written);
        text.push('\n');
    };
    line(format!("| implementation class UID | {IMPLEMENTATION_CLASS_UID} |"));
    line(format!("| implementation version name | {IMPLEMENTATION_VERSION} |"));
    line(format!("| AE title | {} (`ae_title`) |", config.ae_title));
    line(format!("| longest PDU taken | {} bytes (`max_pdu_bytes`) |", config.max_pdu_bytes));
    line(format!(
        "| longest object taken | {} bytes (`max_object_bytes`) |",
        config.max_object_bytes
    ));
    line(format!(
        "| associations at a time | {}, of one address {} |",
        config.max_associations, config.max_associations_per_peer
    ));
    line("| asynchronous operations | none: one at a time |".into());
    line("| SOP class extended negotiation | none |".into());
    line("\n## Presentation contexts accepted (SCP)\n\n| SOP class | UID | transfer syntaxes |\n|---|---|---|".into());
    line(format!("| Verification | {} | all below |", uids::VERIFICATION));
    for (uid, name) in STORAGE_CLASSES {
        line(format!("| {name} | {uid} | all below |"));
    }
    line(
        "\nOf the transfer syntaxes proposed in a context, the first that is known is accepted.\n"
            .into(),
    );
    line("| transfer syntax | UID |\n|---|---|".into());
    for syntax in TransferSyntax::all() {
        line(format!("| {} | {} |", syntax.name(), syntax.uid()));
    }
    line(STORE.into());
    for (code, meaning) in STATUSES {
        line(format!("| {code:04X} | {meaning} |"));
    }
    line(SCU.into());
    for Service { name, proposal, .. } in services::of_destination(true)
        .into_iter()
        .chain([services::ECHO])
        .chain(services::OF_ARCHIVE)
    {
        let syntaxes: Vec<&str> = proposal.syntaxes.iter().copied().map(syntax_name).collect();
        line(format!("| {name} | {} | {} |", proposal.class, syntaxes.join(", ")));
    }
    line("\n## Associations refused\n\n| why | result | reason |\n|---|---|---|".into());
    for (refusal, why) in REFUSALS {
        let answer = refusal.pdu().map_or_else(
            || "A-ABORT | invalid PDU parameter".to_owned(),
            |pdu| format!("{:?} | {:?}", pdu.result, pdu.source),
        );
        line(format!("| {why} | {answer} |"));
    }
    line("\n## Deadlines\n\n| what | seconds |\n|---|---|".into());
    for (what, limit) in [
        ("connecting, TLS handshake, association request", config.associate_seconds),
        ("one PDU in the middle of a message; any write", config.pdu_seconds),
        ("between two messages", config.idle_seconds),
        ("one object, first byte to last", config.object_seconds),
        ("a whole association", config.association_seconds),
    ] {
        line(format!("| {what} | {} |", limit.as_secs_f64()));
    }
    line("\nWhoever takes longer is aborted.".into());
    let _ = write!(text, "{SECURITY}");
    text
}

fn syntax_name(uid: &str) -> &'static str {
    let known = TransferSyntax::all().find(|syntax| syntax.uid() == uid);
    known.expect("we propose what we can read").name()
}

const HEAD: &str = "\
# DICOM conformance statement

Written by `runtime dicom conformance` from the tables that negotiate; do not edit. With `--config` it prints
the limits of one box; these are the defaults. The order follows PS3.2.

The box receives chest radiographs (storage SCP), answers C-ECHO (verification SCP), analyses the images, and
sends results to archives (storage SCU), which it asks to commit to them (storage commitment push SCU).
**Not for diagnostic use.**

## Implementation

| | |
|---|---|
";

const STORE: &str = "
## C-STORE

Level 2 (full): every attribute is kept, private ones too, in the transfer syntax it came in. The object is
written while it arrives. Success is answered after it is flushed to disk. An object that is sent again byte
for byte is acknowledged and kept once. Other contents under the same SOP instance UID are kept beside the
first as a revision. What the input gate does not let through (another view, another body part, no pixels that
can be decoded) is acknowledged too and answered \"not analysed\" with the reason.

| status | when |
|---|---|";

const SCU: &str = "
## Sending results, and pulling studies (SCU)

To each of `[[destinations]]` with an address, one association for many objects.
Storage commitment is proposed where `commit = true`. What archives answer, and what becomes of it, stands in
[delivery](delivery.md). Reports about storage commitment (N-EVENT-REPORT) are taken on the same association
and on one that the archive opens.

Studies are pulled by `runtime acceptance` alone, from the archive of its plan: C-FIND level by level, then
C-MOVE of a series to a storage SCP of its own, which lives as long as the test. See
[acceptance test](acceptance.md).

| service | SOP class UID | transfer syntaxes proposed |
|---|---|---|";

const SECURITY: &str = "
## Security

| | |
|---|---|
| transport | TLS 1.2 and 1.3 where `[dicom.tls]` is configured, plain otherwise |
| profile | BCP 195 (RFC 9325), as PS3.15 annex B asks: ephemeral keys, authenticated ciphers; no resumption |
| certificates of peers | asked for with `client_ca`; a peer's entry may name the certificate it must show |
| access | `[[dicom.peers]]` by AE title, address and certificate; without any, only loopback |
| user identity negotiation | ignored |
| audit | associations and objects in `audit.log`, chained by SHA-256 |

## Character sets

Texts are passed on as they are, with Specific Character Set. Nothing depends on them but the input gate,
which decodes the character sets of PS3.3 C.12.1.1.2.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::negotiation::accept;
    use dicom_ul::pdu::{
        AssociationRQ, PresentationContextProposed, PresentationContextResultReason as Outcome,
    };
    use std::{fs, path::Path};

    #[test]
    fn the_committed_statement_is_the_one_this_build_prints() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md");
        let found = fs::read_to_string(&path).unwrap_or_default();
        let expected = statement(&defaults().unwrap());
        assert_eq!(
            found, expected,
            "run `runtime dicom conformance > runtime/docs/conformance.md`"
        );
    }

    /// The statement is a promise: each of its rows is asked for and must be accepted.
    #[test]
    fn what_is_stated_is_accepted() {
        let statement = statement(&defaults().unwrap());
        let (classes, rest) = statement.split_once("| transfer syntax | UID |").unwrap();
        let (rest, _) = rest.split_once("## C-STORE").unwrap();
        let rows = |text: &str| -> Vec<String> {
            let cells = text.lines().filter_map(|line| line.split('|').nth(2));
            cells
                .map(|cell| cell.trim().to_owned())
                .filter(|cell| cell.starts_with("1.2.840."))
                .collect()
        };
        let (classes, syntaxes) = (rows(classes), rows(rest));
        assert!(classes.len() >= 5 && syntaxes.len() >= 5, "{classes:?} {syntaxes:?}");
        for class in &classes {
            for syntax in &syntaxes {
                let context = PresentationContextProposed {
                    id: 1,
                    abstract_syntax: class.clone(),
                    transfer_syntaxes: vec![syntax.clone()],
                };
                let request = AssociationRQ {
                    protocol_version: 1,
                    calling_ae_title: "XRAY1".into(),
                    called_ae_title: "CXR-EDGE".into(),
                    application_context_name: "1.2.840.10008.3.1.1.1".into(),
                    presentation_contexts: vec![context],
                    user_variables: Vec::new(),
                };
                let (answer, _) = accept(&request, 65536, false).unwrap();
                let result = &answer.presentation_contexts[0];
                assert_eq!(result.reason, Outcome::Acceptance, "{class} {syntax}");
            }
        }
    }
}
