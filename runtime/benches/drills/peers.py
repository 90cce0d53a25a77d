"""The programs under drill: ours and three others, each on ports and in a folder of its own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from . import wire

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "runtime/examples/chest-lungs"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def destination(port: int, title: str = "PACS", commit: bool = True) -> str:
    """An archive on `port` that gets the SR."""
    return (
        f'[[destinations]]\nname = "pacs"\nae_title = "{title}"\naddress = "127.0.0.1:{port}"\nobjects = ["sr"]\n'
        f"timeout_seconds = 2\ncommit = {'true' if commit else 'false'}\ncommit_seconds = 5"
    )


class Peer:
    """A program that listens for DICOM on `port` as `title`. Subclasses say which, and how it is started."""

    name = program = ""
    title = "PEER"
    #: What it can be drilled in beside DICOM.
    http: int | None = None

    def __init__(self, folder: Path):
        self.folder, self.port, self.process = folder, free_port(), None
        shutil.rmtree(folder, ignore_errors=True)
        self.kept.mkdir(parents=True)

    @property
    def kept(self) -> Path:
        """Where it keeps what it receives."""
        return self.folder / "kept"

    def command(self) -> list:
        raise NotImplementedError

    def start(self, before=(), environment=None, patience: float = 30, wait: bool = True) -> "Peer":
        """`before`: a command that goes before the program's, such as `prlimit`."""
        log = open(self.folder / "log", "ab")
        environment = {**os.environ, **(environment or {})}
        command = [str(part) for part in [*before, *self.command()]]
        self.process = subprocess.Popen(command, cwd=self.kept, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + patience
        while wait and not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not serve: see {self.folder / 'log'}")
            time.sleep(0.02)
        return self

    def is_ready(self) -> bool:
        return wire.serves(self)

    def stop(self, how: int = signal.SIGKILL) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait()

    def resident_mb(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def version(self) -> str:
        raise NotImplementedError

    def holds(self, instance: str) -> int:
        """How many objects it keeps under this SOP Instance UID."""
        found = 0
        for file in self.kept.rglob("*"):
            if file.is_file() and instance.encode() in file.read_bytes()[:4096]:
                found += 1
        return found

    def leftovers(self) -> int:
        """How many objects it keeps that did not arrive as a whole, beside those that it `holds`."""
        return 0


class Ours(Peer):
    name, title = "ours", "CXR-EDGE"

    def __init__(self, folder: Path, program: Path, tables: str = "", dicom: str = "", http: str = "", spool: str = "", bundle: bool = True, worker: str = ""):
        super().__init__(folder)
        self.program, self.http, self.spool_lines = program, free_port(), spool
        self.tables, self.dicom, self.web, self.worker, self.has_bundle = tables, dicom, http, worker, bundle
        self.bundle = EXAMPLE.with_suffix(".bundle")
        self.trusted = f"trusted_keys = [{json.dumps(str(EXAMPLE.with_suffix('.pub')))}]"

    def command(self) -> list:
        (self.folder / "slots").mkdir(exist_ok=True)
        bundle = f"path = {json.dumps(str(self.bundle))}\n{self.trusted}" if self.has_bundle else 'slots = "slots"'
        (self.folder / "runtime.toml").write_text(
            f'[bundle]\n{bundle}\npoll_seconds = 0.2\n[http]\nlisten = "127.0.0.1:{self.http}"\n{self.web}\n'
            f'[spool]\npath = "kept"\n{self.spool_lines}\n[worker]\n{self.worker}\n[dicom]\nlisten = "127.0.0.1:{self.port}"\n{self.dicom}\n{self.tables}\n'
        )
        return [self.program, "serve", "-v", "--config", self.folder / "runtime.toml", "--ready-file", self.folder / "ready"]

    def get(self, path: str):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def queue(self, *arguments) -> list:
        command = [self.program, "queue", "--json", "--config", self.folder / "runtime.toml", *arguments]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def version(self) -> str:
        return subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout.split()[-1]

    def holds(self, instance: str) -> int:
        return sum(f"_{instance}_" in file.name for file in (self.kept / "images").iterdir())

    def leftovers(self) -> int:
        return sum(1 for _ in (self.kept / "incoming").iterdir())


class Orthanc(Peer):
    name, program = "Orthanc", "Orthanc"

    def __init__(self, folder: Path, **more):
        super().__init__(folder)
        self.http, self.more = free_port(), more

    def command(self) -> list:
        settings = {
            "StorageDirectory": str(self.kept), "IndexDirectory": str(self.kept), "DicomAet": self.title, "DicomPort": self.port,
            "HttpPort": self.http, "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "Plugins": [], **self.more,
        }  # fmt: skip
        (self.folder / "orthanc.json").write_text(json.dumps(settings))
        return [self.program, self.folder / "orthanc.json"]

    def version(self) -> str:
        return subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout.split()[1]

    def holds(self, instance: str) -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}/tools/lookup", instance.encode())
        return len(json.load(urllib.request.urlopen(request, timeout=30)))


class Storescp(Peer):
    name, program = "DCMTK storescp", "storescp"

    def __init__(self, folder: Path, *more):
        super().__init__(folder)
        self.more = more

    def command(self) -> list:
        return [self.program, "--fork", "-aet", self.title, "-od", self.kept, *self.more, self.port]

    def version(self) -> str:
        return subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout.split()[2].lstrip("v")

    def stop(self, how: int = signal.SIGKILL) -> None:
        if self.process:
            subprocess.run(["pkill", "-KILL", "-P", str(self.process.pid)], check=False)
        super().stop(how)


class DicomRs(Peer):
    name = "dicom-rs storescp"

    def __init__(self, folder: Path, program: Path):
        super().__init__(folder)
        self.program = program

    def command(self) -> list:
        return [self.program, "-n", "-p", self.port, "-o", self.kept, "--calling-ae-title", self.title]

    def version(self) -> str:
        return subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout.split()[-1]
