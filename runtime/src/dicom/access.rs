//! Who may associate: AE titles and addresses. An AE title is a name, no proof; addresses help a little.

use super::negotiation::Refusal;
use crate::config::{DicomConfig, Peer};
use std::net::IpAddr;

/// Whether anybody at this address could be let in. Strangers are cut off before we read a byte.
pub(crate) fn address_known(config: &DicomConfig, address: IpAddr) -> bool {
    config.peers.is_empty() || config.peers.iter().any(|peer| at(peer, address))
}

/// Whether `calling` at `address` may associate with `called`.
pub(crate) fn check(
    config: &DicomConfig,
    address: IpAddr,
    calling: &str,
    called: &str,
) -> Result<(), Refusal> {
    if config.check_called_ae_title && called.trim() != config.ae_title {
        return Err(Refusal::CalledTitle);
    }
    let known = |peer: &Peer| peer.ae_title == calling.trim() && at(peer, address);
    if config.peers.is_empty() || config.peers.iter().any(known) {
        Ok(())
    } else {
        Err(Refusal::CallingTitle)
    }
}

fn at(peer: &Peer, address: IpAddr) -> bool {
    peer.address.is_none_or(|network| network.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(peers: &str) -> DicomConfig {
        toml::from_str(&format!("listen = \"127.0.0.1:0\"\nae_title = \"BOX\"\n{peers}")).unwrap()
    }

    #[test]
    fn with_a_list_of_peers_everybody_else_is_refused() {
        let config = config("[[peers]]\nae_title = \"XRAY1\"\naddress = \"10.1.0.0/16\"\n");
        let at = |address: &str, title| check(&config, address.parse().unwrap(), title, "BOX");
        assert_eq!(at("10.1.2.3", "XRAY1"), Ok(()));
        assert_eq!(at("10.2.2.3", "XRAY1"), Err(Refusal::CallingTitle));
        assert_eq!(at("10.1.2.3", "XRAY2"), Err(Refusal::CallingTitle));
        assert!(!address_known(&config, "10.2.0.1".parse().unwrap()));
        assert!(address_known(&config, "10.1.0.1".parse().unwrap()));
    }

    #[test]
    fn our_own_title_must_be_right() {
        let address = "10.1.2.3".parse().unwrap();
        assert_eq!(check(&config(""), address, "ANY", "OTHER"), Err(Refusal::CalledTitle));
        assert_eq!(check(&config(""), address, "ANY", "BOX"), Ok(()));
        assert_eq!(
            check(&config("check_called_ae_title = false"), address, "ANY", "OTHER"),
            Ok(())
        );
    }
}
