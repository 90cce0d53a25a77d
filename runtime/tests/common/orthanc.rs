//! Orthanc as an archive, and what it says that it holds.

use super::peer::{Peer, start};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::Command,
};

/// Orthanc on two ports, with DICOMweb; it may call the box back at `box_port`.
pub(crate) struct Orthanc {
    http: SocketAddr,
    _peer: Peer,
    _folder: tempfile::TempDir,
}

impl Orthanc {
    /// `None`, and the test is skipped, where it is not installed.
    pub(crate) fn start(dicom: SocketAddr, http: SocketAddr, box_port: u16) -> Option<Self> {
        let folder = temporary();
        let config = serde_json::json!({
            "Name": "test", "StorageDirectory": folder.path().join("db"), "IndexDirectory": folder.path().join("db"),
            "DicomAet": "PACS", "DicomPort": dicom.port(), "HttpPort": http.port(),
            "RemoteAccessAllowed": false, "AuthenticationEnabled": false,
            "DicomModalities": { "box": ["CXR-EDGE", "127.0.0.1", box_port] },
            "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
            "DicomWeb": { "Enable": true, "Root": "/dicom-web/" },
        });
        let path = folder.path().join("orthanc.json");
        fs::write(&path, config.to_string()).unwrap();
        let mut command = Command::new("Orthanc");
        command.arg(&path);
        let peer = start(command, http, "Debian packages orthanc and orthanc-dicomweb")?;
        Some(Self { http, _peer: peer, _folder: folder })
    }

    /// Gives it a DICOM file.
    pub(crate) fn put(&self, file: &[u8]) {
        let head = format!(
            "POST /instances HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            self.http,
            file.len()
        );
        let answer = self.exchange(&[head.as_bytes(), file].concat());
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }

    /// SOP Instance UIDs of what it holds.
    pub(crate) fn held(&self) -> BTreeSet<String> {
        let uid = |instance: &serde_json::Value| main_tag(instance, "SOPInstanceUID");
        self.get("/instances?expand").iter().map(uid).collect()
    }

    /// How many instances of each modality it holds of each study: Study Instance UID → modality → count.
    pub(crate) fn studies(&self) -> BTreeMap<String, BTreeMap<String, usize>> {
        let mut studies: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
        let ids: BTreeMap<String, String> = self
            .get("/studies?expand")
            .iter()
            .map(|study| (text(&study["ID"]), main_tag(study, "StudyInstanceUID")))
            .collect();
        for series in self.get("/series?expand") {
            // A study that came between the two questions is there the next time.
            let Some(study) = ids.get(&text(&series["ParentStudy"])) else { continue };
            let instances = series["Instances"].as_array().unwrap().len();
            let modality = main_tag(&series, "Modality");
            *studies.entry(study.clone()).or_default().entry(modality).or_default() += instances;
        }
        studies
    }

    fn get(&self, path: &str) -> Vec<serde_json::Value> {
        let question = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.http);
        let answer = self.exchange(question.as_bytes());
        let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        serde_json::from_slice(&answer[head + 4..]).unwrap()
    }

    /// Asked again where it hangs up too early for its own answer: each question may be repeated.
    fn exchange(&self, question: &[u8]) -> Vec<u8> {
        let ask = || {
            let mut stream = TcpStream::connect(self.http)?;
            stream.write_all(question)?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).map(|_| answer)
        };
        let again = |answer: &io::Result<Vec<u8>>| {
            answer.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::ConnectionReset)
        };
        let answers = std::iter::repeat_with(ask).take(10);
        let mut answers = answers.skip_while(again);
        answers.next().expect("it answers within ten times").unwrap()
    }
}

/// In memory where that is possible: it is not Orthanc's disk that is under test.
fn temporary() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    tempfile::tempdir_in(memory).unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn main_tag(resource: &serde_json::Value, name: &str) -> String {
    text(&resource["MainDicomTags"][name])
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap().to_owned()
}
