//! Who we are to a web server: a token, or a name and a password, from a file.

use crate::config::Credentials;
use anyhow::{Context, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::header::HeaderValue;
use std::{fs, path::Path};

/// The value of the header `Authorization`. Read each time, so that a renewed token is used. It is marked as
/// sensitive, and no error quotes it.
pub(crate) fn authorization(credentials: &Credentials) -> Result<HeaderValue> {
    let text = match credentials {
        Credentials::Bearer(file) => {
            let token = secret(file)?;
            let known = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
            ensure!(
                token.bytes().all(known),
                "{}: expected a token of letters, digits and -._~+/=",
                file.display()
            );
            format!("Bearer {token}")
        }
        Credentials::Basic(file) => {
            let pair = secret(file)?;
            let named = pair.split_once(':').is_some_and(|(name, _)| !name.is_empty());
            let plain = !pair.chars().any(char::is_control);
            ensure!(named && plain, "{}: expected NAME:PASSWORD", file.display());
            format!("Basic {}", BASE64_STANDARD.encode(pair))
        }
    };
    let mut value = HeaderValue::from_str(&text).ok().context("it does not fit into a header")?;
    value.set_sensitive(true);
    Ok(value)
}

/// The one line of a file.
fn secret(file: &Path) -> Result<String> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let text = String::from_utf8(text).ok().filter(|text| text.len() <= MOST);
    let line = text.as_deref().map(|text| text.trim_end_matches(['\r', '\n']));
    let line = line.filter(|line| !line.is_empty() && !line.contains(['\r', '\n']));
    Ok(line.with_context(|| format!("{}: expected one line", file.display()))?.to_owned())
}

const MOST: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_become_headers_and_what_is_in_them_is_never_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let read = |text: &str, kind: fn(std::path::PathBuf) -> Credentials| {
            fs::write(&path, text).unwrap();
            authorization(&kind(path.clone()))
        };
        let token = read("abc.DEF-1==\n", Credentials::Bearer).unwrap();
        assert_eq!(token.to_str().unwrap(), "Bearer abc.DEF-1==");
        assert_eq!(format!("{token:?}"), "Sensitive");
        // RFC 7617, section 2.
        let basic = read("Aladdin:open sesame", Credentials::Basic).unwrap();
        assert_eq!(basic.to_str().unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        for (text, kind) in [
            ("", Credentials::Bearer as fn(_) -> _),
            ("s3cret\ns3cret", Credentials::Bearer),
            ("s3cret s3cret", Credentials::Bearer),
            ("s3cret", Credentials::Basic),
            (":s3cret", Credentials::Basic),
            ("s3cret:\u{7}", Credentials::Basic),
        ] {
            let error = format!("{:#}", read(text, kind).unwrap_err());
            assert!(error.contains("secret: expected") && !error.contains("s3cret"), "{error}");
        }
        fs::remove_file(&path).unwrap();
        let error = format!("{:#}", authorization(&Credentials::Bearer(path.clone())).unwrap_err());
        assert!(error.starts_with("cannot read "), "{error}");
    }
}
