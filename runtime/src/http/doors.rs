//! Who may ask for what: the name asked for (Host), who asks, and what a request needs.
//!
//! ```text
//! host        the name in the request is one of ours, or 421: a page of another site that resolves to
//!             this machine (DNS rebinding) reads nothing
//! who         a person by cookie, a program by token, this machine, or nobody
//! authorize   the role that the route needs; for every POST the token against forged requests
//! ```

use super::{server::Visitor, session::Sessions};
use crate::{
    config::HttpConfig,
    tls::{self, Acceptor},
    users::{Role, Users},
};
use anyhow::{Context, Result, ensure};
use axum::http::{HeaderMap, Uri, header, uri::Authority};
use std::{
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};
use subtle::ConstantTimeEq;

/// Whom we let in; replaced as a whole when the configuration is read again.
#[derive(Debug)]
pub(crate) struct Doors {
    /// Lower case.
    hosts: Vec<String>,
    pub(super) users: Users,
    open_on_loopback: bool,
    pub(super) session_time: Duration,
    /// `None`: connections are plain.
    pub(super) tls: Option<Acceptor>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Nobody,
    /// Somebody on this machine, who may look.
    Here,
    Person {
        name: String,
        role: Role,
        /// Must come with every POST.
        csrf: String,
    },
    Program {
        name: String,
        role: Role,
    },
}

impl Who {
    pub(super) fn role(&self) -> Option<Role> {
        match self {
            Self::Nobody => None,
            Self::Here => Some(Role::Look),
            Self::Person { role, .. } | Self::Program { role, .. } => Some(*role),
        }
    }
}

/// Why a request goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// 401
    LogIn,
    /// 403
    Role(Role),
    /// 403
    Forged,
}

pub(super) const CSRF_HEADER: &str = "x-csrf-token";

impl Doors {
    pub(crate) fn new(config: &HttpConfig) -> Result<Self> {
        let server = |tls| tls::server(tls, Some("http/1.1")).context("[http.tls]");
        let users = config.users.as_deref().map(Users::read).transpose()?.unwrap_or_default();
        ensure!(
            config.listen.ip().is_loopback() || !users.is_empty(),
            "nobody may log in: {} is empty, see `runtime user add`",
            config.users.as_deref().unwrap_or(Path::new("users")).display()
        );
        Ok(Self {
            hosts: config.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            users,
            open_on_loopback: config.open_on_loopback,
            session_time: config.session_seconds,
            tls: config.tls.as_ref().map(server).transpose()?,
        })
    }

    /// Whether the request asks for one of our names. An address cannot be made to resolve to us by somebody else,
    /// a name can.
    pub(super) fn host_is_ours(&self, uri: &Uri, headers: &HeaderMap, local: IpAddr) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let Some(host) = host.to_str().ok().and_then(|h| h.parse::<Authority>().ok()) else {
            return false;
        };
        let ours = |authority: &Authority| {
            if authority.as_str().contains('@') {
                return false;
            }
            let host = authority.host().to_ascii_lowercase();
            let name = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(&host);
            let is_here = match name.parse::<IpAddr>().map(|address| address.to_canonical()) {
                Ok(address) => address.is_loopback() || address == local,
                Err(_) => name == "localhost",
            };
            is_here || self.hosts.iter().any(|known| known == name)
        };
        ours(&host) && uri.authority().is_none_or(ours)
    }

    /// Who sent this request, by what it shows.
    pub(super) fn who(
        &self,
        headers: &HeaderMap,
        visitor: &Visitor,
        sessions: &Sessions,
        now: Instant,
    ) -> Who {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if let Some((scheme, token)) = shown.and_then(|shown| shown.split_once(' '))
            && scheme.eq_ignore_ascii_case("bearer")
        {
            return match self.users.token(token.trim()) {
                Some(token) => Who::Program { name: token.name.clone(), role: token.role },
                None => Who::Nobody,
            };
        }
        let session = cookie(headers, visitor.encrypted)
            .and_then(|cookie| sessions.find(cookie, self.session_time, now));
        if let Some(session) = session {
            // Somebody who was removed, or whose password or role was changed, must log in again.
            let user = self.users.user(&session.name).filter(|user| user.stamp() == session.stamp);
            if let Some(user) = user {
                return Who::Person { name: session.name, role: user.role, csrf: session.csrf };
            }
        }
        // Whether a proxy brought this request: then its address says nothing about who asks.
        let forwarded = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"]
            .iter()
            .any(|name| headers.contains_key(*name));
        let here = self.open_on_loopback && visitor.address.is_loopback() && !forwarded;
        if here { Who::Here } else { Who::Nobody }
    }

    /// Whether `who` may send this request to a route that needs `role` and perhaps changes something.
    pub(super) fn allow(
        who: &Who,
        role: Option<Role>,
        changes: bool,
        headers: &HeaderMap,
        anonymous_csrf: &str,
    ) -> Result<(), Refused> {
        match (role, who.role()) {
            (Some(_), None) => return Err(Refused::LogIn),
            (Some(needed), Some(has)) if has < needed => {
                // On this machine one is let in without a name: a log-in may help.
                return Err(if *who == Who::Here { Refused::LogIn } else { Refused::Role(needed) });
            }
            _ => {}
        }
        if !changes {
            return Ok(());
        }
        let expected = match who {
            // Nothing that a browser adds by itself has let it in.
            Who::Program { .. } => return Ok(()),
            Who::Person { csrf, .. } => csrf,
            Who::Here | Who::Nobody => anonymous_csrf,
        };
        let shown = headers.get(CSRF_HEADER).map_or(&b""[..], |value| value.as_bytes());
        if shown.ct_eq(expected.as_bytes()).into() { Ok(()) } else { Err(Refused::Forged) }
    }
}

/// Name of the session's cookie. The prefix makes browsers take it under TLS from this very host only.
pub(super) fn cookie_name(encrypted: bool) -> &'static str {
    if encrypted { "__Host-cxr" } else { "cxr" }
}

pub(super) fn cookie(headers: &HeaderMap, encrypted: bool) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == cookie_name(encrypted))
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doors(lines: &str) -> Doors {
        let config = toml::from_str(&format!("listen = \"127.0.0.1:0\"\n{lines}")).unwrap();
        Doors::new(&config).unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_our_own_names_are_answered() {
        let doors = doors("hosts = [\"Box.Hospital.Example\"]");
        let local: IpAddr = "10.1.2.3".parse().unwrap();
        let ours = |uri: &str, hosts: &[&str]| {
            let pairs: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            doors.host_is_ours(&uri.parse().unwrap(), &headers(&pairs), local)
        };
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:1",
            "127.3.4.5",
            "[::1]:80",
            "10.1.2.3:8080",
            "box.hospital.example",
            "BOX.hospital.EXAMPLE:443",
        ] {
            assert!(ours("/health", &[host]), "{host}");
        }
        for host in [
            "evil.example",
            "10.1.2.4",
            "localhost.evil.example",
            "evil.localhost.example:80",
            "hospital.example",
            "x@localhost",
            "localhost@evil.example",
            "",
            "[::2]",
            "0.0.0.0",
        ] {
            assert!(!ours("/health", &[host]), "{host}");
        }
        assert!(!ours("/health", &[]), "no host");
        assert!(!ours("/health", &["localhost", "localhost"]), "two hosts");
        assert!(!ours("http://evil.example/health", &["localhost"]), "another in the URI");
        assert!(ours("http://localhost/health", &["localhost"]));
    }

    #[test]
    fn this_machine_may_look_and_a_proxy_on_it_may_not() {
        let here = Visitor::new("127.0.0.1".parse().unwrap(), "127.0.0.1".parse().unwrap(), false);
        let away = Visitor::new("10.1.2.3".parse().unwrap(), "10.1.2.4".parse().unwrap(), false);
        let sessions = Sessions::new().unwrap();
        let who = |lines: &str, visitor: &Visitor, pairs: &[(&'static str, &str)]| {
            doors(lines).who(&headers(pairs), visitor, &sessions, Instant::now())
        };
        assert_eq!(who("", &here, &[]), Who::Here);
        assert_eq!(who("", &away, &[]), Who::Nobody);
        assert_eq!(who("open_on_loopback = false", &here, &[]), Who::Nobody);
        assert_eq!(who("", &here, &[("x-forwarded-for", "10.1.2.3")]), Who::Nobody);
        assert_eq!(who("", &here, &[("authorization", "Bearer guess")]), Who::Nobody);
    }

    #[test]
    fn roles_and_tokens_against_forgery_are_asked_for() {
        let person = |role| Who::Person { name: "ada".into(), role, csrf: "c1".into() };
        let program = |role| Who::Program { name: "p".into(), role };
        let (get, post) = (false, true);
        let allow = |who: &Who, role, changes, csrf: Option<&str>| {
            let pairs: Vec<_> = csrf.iter().map(|value| (CSRF_HEADER, *value)).collect();
            Doors::allow(who, role, changes, &headers(&pairs), "anonymous")
        };
        let (look, operate) = (Some(Role::Look), Some(Role::Operate));
        assert_eq!(allow(&Who::Nobody, None, get, None), Ok(()));
        assert_eq!(allow(&Who::Nobody, look, get, None), Err(Refused::LogIn));
        assert_eq!(allow(&Who::Here, look, get, None), Ok(()));
        assert_eq!(allow(&Who::Here, operate, post, Some("anonymous")), Err(Refused::LogIn));
        let looks = person(Role::Look);
        assert_eq!(allow(&looks, operate, post, Some("c1")), Err(Refused::Role(Role::Operate)));
        let operates = person(Role::Operate);
        assert_eq!(allow(&operates, operate, post, Some("c1")), Ok(()));
        assert_eq!(allow(&person(Role::Administer), operate, post, Some("c1")), Ok(()));
        for forged in [None, Some(""), Some("c2"), Some("anonymous")] {
            assert_eq!(allow(&operates, operate, post, forged), Err(Refused::Forged));
        }
        assert_eq!(allow(&program(Role::Operate), operate, post, None), Ok(()));
        assert_eq!(
            allow(&program(Role::Look), operate, post, None),
            Err(Refused::Role(Role::Operate))
        );
        assert_eq!(allow(&Who::Nobody, None, post, None), Err(Refused::Forged));
        assert_eq!(allow(&Who::Nobody, None, post, Some("anonymous")), Ok(()));
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let headers = headers(&[("cookie", "a=b; cxr=one"), ("cookie", "__Host-cxr=two")]);
        assert_eq!(cookie(&headers, false), Some("one"));
        assert_eq!(cookie(&headers, true), Some("two"));
    }
}
