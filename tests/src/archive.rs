//! An archive that receives results: Orthanc where it is installed, else dcmtk's `storescp`.

use crate::http;
use crate::service::{free_address, until};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running archive; killed when dropped.
#[derive(Debug)]
pub struct Archive {
    child: Child,
    folder: PathBuf,
    pub dicom: SocketAddr,
    /// Orthanc's REST interface.
    http: Option<SocketAddr>,
}

impl Archive {
    /// Starts one on free ports; what it keeps lies under `folder`.
    pub fn start(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let dicom = free_address()?;
        let installed = Command::new("Orthanc").arg("--version").stdout(Stdio::null()).status();
        let (mut command, http) = if installed.is_ok_and(|status| status.success()) {
            let http = free_address()?;
            (orthanc(folder, dicom, http)?, Some(http))
        } else {
            let mut storescp = Command::new("storescp");
            storescp.args(["-aet", "PACS", "-od"]).arg(folder).arg(dicom.port().to_string());
            (storescp, None)
        };
        let log = File::create(folder.join("archive.log"))?;
        let child = command.stdout(log.try_clone()?).stderr(log).spawn();
        let child = child.context("cannot start an archive: install dcmtk")?;
        let mut archive = Self { child, folder: folder.to_owned(), dicom, http };
        until("the archive does not listen", || {
            if let Some(status) = archive.child.try_wait()? {
                anyhow::bail!("the archive ended with {status}: see {}", folder.display());
            }
            let listens = |address| TcpStream::connect(address).is_ok();
            Ok((listens(dicom) && http.is_none_or(listens)).then_some(()))
        })?;
        Ok(archive)
    }

    /// What it is.
    pub fn name(&self) -> &'static str {
        if self.http.is_some() { "Orthanc" } else { "storescp" }
    }

    /// The `[[destinations]]` of a box that sends everything here.
    pub fn destination(&self) -> String {
        format!(
            "[[destinations]]\nname = \"pacs\"\nae_title = \"PACS\"\naddress = \"{}\"\n\
             objects = [\"sr\", \"seg\", \"sc\"]\n",
            self.dicom
        )
    }

    /// Fetches everything it holds into `folder`: one file an object.
    pub fn fetch(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(folder)?;
        let Some(http) = self.http else {
            let mut files = Vec::new();
            for file in fs::read_dir(&self.folder)? {
                let file = file?.path();
                let name = file.file_name().unwrap_or_default();
                if name != "archive.log" {
                    let to = folder.join(name).with_added_extension("dcm");
                    fs::copy(&file, &to)?;
                    files.push(to);
                }
            }
            return Ok(files);
        };
        let instances = http::get_json(http, "/instances")?;
        let instances = instances.as_array().context("Orthanc lists no instances")?;
        let fetch = |id: &serde_json::Value| {
            let id = id.as_str().context("Orthanc's instance has no id")?;
            let to = folder.join(id).with_added_extension("dcm");
            fs::write(&to, http::get(http, &format!("/instances/{id}/file"))?)?;
            Ok(to)
        };
        instances.iter().map(fetch).collect()
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn orthanc(folder: &Path, dicom: SocketAddr, http: SocketAddr) -> Result<Command> {
    let kept = folder.join("orthanc");
    let settings = json!({
        "Name": "demo", "StorageDirectory": kept, "IndexDirectory": kept,
        "DicomAet": "PACS", "DicomPort": dicom.port(), "HttpPort": http.port(),
        "RemoteAccessAllowed": false, "AuthenticationEnabled": false, "Plugins": [],
    });
    let path = folder.join("orthanc.json");
    fs::write(&path, settings.to_string())?;
    let mut command = Command::new("Orthanc");
    command.arg(path);
    Ok(command)
}

/// `dcm2pnm`: a DICOM picture as PNG.
pub fn picture(object: &Path, to: &Path) -> Result<()> {
    let output = Command::new("dcm2pnm").arg("+on").args([object, to]).output();
    let output = output.context("cannot start dcm2pnm: install dcmtk")?;
    ensure!(
        output.status.success(),
        "{}: dcm2pnm ended with {}: {}",
        object.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
