//! Who may associate: addresses, AE titles and, under TLS, certificates.
//!
//! An AE title is a name, no proof; an address helps a little; a certificate proves. Without a list of peers
//! only this machine is served.

use super::negotiation::Refusal;
use crate::{
    config::{DicomConfig, Peer},
    tls::{self, Acceptor, Shown},
};
use anyhow::{Context, Result};
use std::net::IpAddr;

/// Who is let in; replaced as a whole when the configuration is read again.
#[derive(Debug)]
pub(crate) struct Access {
    ae_title: String,
    check_called_ae_title: bool,
    pub(crate) peers: Vec<Peer>,
    /// `None`: connections are plain.
    pub(crate) tls: Option<Acceptor>,
}

impl Access {
    pub(crate) fn new(config: &DicomConfig) -> Result<Self> {
        let server = |tls| tls::server(tls, None).context("[dicom.tls]");
        Ok(Self {
            ae_title: config.ae_title.clone(),
            check_called_ae_title: config.check_called_ae_title,
            peers: config.peers.clone(),
            tls: config.tls.as_ref().map(server).transpose()?,
        })
    }

    /// Whether anybody at this address could be let in. Strangers are cut off before we read a byte.
    pub(crate) fn address_known(&self, address: IpAddr) -> bool {
        match &self.peers[..] {
            [] => address.to_canonical().is_loopback(),
            peers => peers.iter().any(|peer| at(peer, address)),
        }
    }

    /// Whether `calling` at `address`, who has shown `certificate`, may associate with `called`.
    pub(crate) fn check(
        &self,
        address: IpAddr,
        certificate: Option<&Shown>,
        calling: &str,
        called: &str,
    ) -> Result<(), Refusal> {
        if self.check_called_ae_title && called.trim() != self.ae_title {
            return Err(Refusal::CalledTitle);
        }
        let known = |peer: &Peer| {
            let proven = |wanted: &tls::Wanted| certificate.is_some_and(|shown| wanted.is(shown));
            peer.ae_title == calling.trim()
                && at(peer, address)
                && peer.certificate.as_ref().is_none_or(proven)
        };
        let anybody_here = self.peers.is_empty() && self.address_known(address);
        if anybody_here || self.peers.iter().any(known) {
            Ok(())
        } else {
            Err(Refusal::CallingTitle)
        }
    }
}

fn at(peer: &Peer, address: IpAddr) -> bool {
    peer.address.is_none_or(|network| network.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(lines: &str) -> Access {
        let text = format!("listen = \"127.0.0.1:0\"\nae_title = \"BOX\"\n{lines}");
        Access::new(&toml::from_str(&text).unwrap()).unwrap()
    }

    #[test]
    fn without_a_list_of_peers_only_this_machine_is_served() {
        let access = access("");
        for (address, served) in [
            ("127.0.0.1", true),
            ("127.8.8.8", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.1.2.3", false),
            ("::ffff:10.1.2.3", false),
            ("fe80::1", false),
            ("0.0.0.0", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(access.address_known(address), served, "{address}");
            assert_eq!(access.check(address, None, "ANY", "BOX").is_ok(), served, "{address}");
        }
    }

    #[test]
    fn with_a_list_of_peers_everybody_else_is_refused() {
        let access = access("[[peers]]\nae_title = \"XRAY1\"\naddress = \"10.1.0.0/16\"\n");
        let at = |address: &str, title| access.check(address.parse().unwrap(), None, title, "BOX");
        assert_eq!(at("10.1.2.3", "XRAY1"), Ok(()));
        assert_eq!(at("10.2.2.3", "XRAY1"), Err(Refusal::CallingTitle));
        assert_eq!(at("10.1.2.3", "XRAY2"), Err(Refusal::CallingTitle));
        assert_eq!(at("127.0.0.1", "XRAY1"), Err(Refusal::CallingTitle));
        assert!(!access.address_known("10.2.0.1".parse().unwrap()));
        assert!(access.address_known("10.1.0.1".parse().unwrap()));
    }

    #[test]
    fn a_peer_bound_to_a_certificate_must_show_it() {
        let access = access("[[peers]]\nae_title = \"XRAY1\"\ncertificate = \"xray1.example\"\n");
        let check = |shown: Option<&Shown>| {
            access.check("10.1.2.3".parse().unwrap(), shown, "XRAY1", "BOX")
        };
        assert_eq!(check(None), Err(Refusal::CallingTitle));
        assert_eq!(check(Some(&Shown::made(&["xray1.example"]))), Ok(()));
        assert_eq!(check(Some(&Shown::made(&["xray2.example"]))), Err(Refusal::CallingTitle));
    }

    #[test]
    fn our_own_title_must_be_right() {
        let address = "127.0.0.1".parse().unwrap();
        let check = |lines, called| access(lines).check(address, None, "ANY", called);
        assert_eq!(check("", "OTHER"), Err(Refusal::CalledTitle));
        assert_eq!(check("", "BOX"), Ok(()));
        assert_eq!(check("check_called_ae_title = false", "OTHER"), Ok(()));
    }
}
