//! What a handshake shows and accepts: one raw ed25519 key an end.

use ed25519_dalek::pkcs8::{DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use keyring::{SigningKey, VerifyingKey, fingerprint};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::sign::any_eddsa_type;
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, DigitallySignedStruct, DistinguishedName, Error,
    OtherError, SignatureScheme,
};
use std::fmt::Debug;
use std::sync::Arc;

/// Who may in, asked anew for every handshake.
pub trait Admission: Debug + Send + Sync {
    fn admits(&self, key: &VerifyingKey) -> bool;
}

/// The other end has proven to be somebody, but not whom we look for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the box's key is {found}, expected {expected}: this is another box, or somebody in between"
)]
pub struct WrongKey {
    pub found: String,
    pub expected: String,
}

impl WrongKey {
    pub(super) fn of(error: &Error) -> Option<Self> {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(why))) => {
                why.downcast_ref::<Self>().cloned()
            }
            _ => None,
        }
    }
}

/// Our key, in the form that a handshake needs.
#[derive(Clone, Debug)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    public: VerifyingKey,
}

impl Identity {
    pub fn new(key: &SigningKey) -> Self {
        let private = key.to_pkcs8_der().expect("a key has a DER form");
        let signer = any_eddsa_type(&PrivatePkcs8KeyDer::from(private.as_bytes()));
        let public = key.verifying_key().to_public_key_der().expect("a key has a DER form");
        let shown = vec![CertificateDer::from(public.as_bytes().to_vec())];
        let certified = CertifiedKey::new(shown, signer.expect("ring takes ed25519 keys"));
        Self { certified: Arc::new(certified), public: key.verifying_key() }
    }

    pub fn public(&self) -> VerifyingKey {
        self.public
    }

    pub(super) fn for_client(&self) -> Arc<AlwaysResolvesClientRawPublicKeys> {
        Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.certified)))
    }

    pub(super) fn for_server(&self) -> Arc<AlwaysResolvesServerRawPublicKeys> {
        Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.certified)))
    }
}

/// The key in what a peer shows; nothing but ed25519 is one.
pub(super) fn public_key_of(shown: &CertificateDer<'_>) -> Option<VerifyingKey> {
    VerifyingKey::from_public_key_der(shown).ok().filter(|key| !key.is_weak())
}

/// Alerts by which a peer says that it does not want us.
pub(super) const fn is_about_our_key(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::AccessDenied
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::BadCertificate
    )
}

/// What the verifiers of both ends say alike; rustls has a trait for each.
macro_rules! only_tls13_with_ed25519 {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("TLS 1.3 only".into()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            shown: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.signatures.check(message, shown, signature)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    };
}

/// The workstation's verifier: one key, or any.
#[derive(Debug)]
pub(super) struct Pinned {
    key: Option<VerifyingKey>,
    signatures: Signatures,
}

impl Pinned {
    pub(super) fn new(key: Option<VerifyingKey>, provider: Arc<CryptoProvider>) -> Self {
        Self { key, signatures: Signatures(provider) }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = public_key_of(shown).ok_or(CertificateError::BadEncoding)?;
        match &self.key {
            Some(expected) if *expected != found => {
                let (found, expected) = (fingerprint(&found), fingerprint(expected));
                let why = OtherError(Arc::new(WrongKey { found, expected }));
                Err(CertificateError::Other(why).into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    only_tls13_with_ed25519!();
}

/// The box's verifier.
#[derive(Debug)]
pub(super) struct Admitted {
    admission: Arc<dyn Admission>,
    signatures: Signatures,
}

impl Admitted {
    pub(super) fn new(admission: Arc<dyn Admission>, provider: Arc<CryptoProvider>) -> Self {
        Self { admission, signatures: Signatures(provider) }
    }
}

impl ClientCertVerifier for Admitted {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let key = public_key_of(shown).ok_or(CertificateError::BadEncoding)?;
        if self.admission.admits(&key) {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    only_tls13_with_ed25519!();
}

/// Proof that the other end holds the key it shows, and means this handshake.
#[derive(Debug)]
struct Signatures(Arc<CryptoProvider>);

impl Signatures {
    fn check(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(shown.as_ref());
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
    }
}
