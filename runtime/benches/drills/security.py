"""Drills on TLS."""

import socket
import ssl
import subprocess
import time
import warnings
from pathlib import Path

from . import wire
from .protocol import ended
from .rows import OURS, ORTHANC, STORESCP, row
from .wire import Association

GROUP = "DICOM under TLS, client certificate asked for"
WITH_TLS = (OURS, ORTHANC, STORESCP)
WHY = "no TLS"


class Pki:
    """An authority, a server and a client that it signed, and a client that another signed. By `openssl`."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True)
        for authority in ("ca", "stranger"):
            self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={authority}",
                          "-keyout", f"{authority}.key", "-out", f"{authority}.crt")  # fmt: skip
        (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        for name, authority in (("server", "ca"), ("client", "ca"), ("unknown", "stranger")):
            self._openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
            self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.crt", "-CAkey", f"{authority}.key",
                          "-CAcreateserial", "-days", "30", "-extfile", "names", "-out", f"{name}.crt")  # fmt: skip

    def path(self, name: str) -> Path:
        return self.folder / name

    def client(self, identity: str | None = "client", newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.path("ca.crt"))
        context.check_hostname = False
        if identity:
            context.load_cert_chain(self.path(f"{identity}.crt"), self.path(f"{identity}.key"))
        if newest:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                context.set_ciphers("ALL:@SECLEVEL=0")
                context.minimum_version = context.maximum_version = newest
        return context

    def _openssl(self, *arguments) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)


def pki(lab) -> Pki:
    if not hasattr(lab, "pki"):
        lab.pki = Pki(lab.folder / "pki")
    return lab.pki


def secured(lab, name):
    """The peer under TLS, running."""
    key = f"{name} under TLS"
    if key in lab.standing and lab.standing[key].process.poll() is None:
        return lab.standing[key]
    path = pki(lab).path
    if name == OURS:
        peer = lab.make(name, tables=f'[dicom.tls]\ncertificate = "{path("server.crt")}"\nkey = "{path("server.key")}"\nclient_ca = "{path("ca.crt")}"')
    elif name == ORTHANC:
        peer = lab.make(name, DicomTlsEnabled=True, DicomTlsCertificate=str(path("server.crt")), DicomTlsPrivateKey=str(path("server.key")),
                        DicomTlsTrustedCertificates=str(path("ca.crt")), DicomTlsRemoteCertificateRequired=True)  # fmt: skip
    else:
        peer = lab.make(name, "+tls", path("server.key"), path("server.crt"), "+cf", path("ca.crt"))
    peer.is_ready = lambda: said(lab, peer) == "0000"
    lab.standing[key] = peer.start()
    return peer


def said(lab, peer, **how) -> str:
    """What a C-ECHO comes to under TLS as a client with these properties."""
    stream = None
    try:
        stream = pki(lab).client(**how).wrap_socket(wire.connect(peer.port, 5))
        return Association(peer, stream=stream).echo()
    except ssl.SSLError as error:
        return f"refused: {(error.reason or 'TLS error').lower().replace('_', ' ')}"
    except TimeoutError:
        return "no answer in 5 s"
    except OSError:
        return "refused: closed"
    except RuntimeError as error:
        return f"refused: {error}"
    finally:
        if stream:
            stream.close()


def and_serves(lab, peer) -> str:
    return "" if said(lab, peer) == "0000" else "; **out of service**"


@row(GROUP, "with a certificate", WITH_TLS, WHY)
def welcome(lab, name):
    return said(lab, secured(lab, name))


@row(GROUP, "plain DICOM to that port", WITH_TLS, WHY)
def plain(lab, name):
    peer = secured(lab, name)
    stream, began = wire.connect(peer.port), time.monotonic()
    stream.sendall(wire.associate_rq(peer.title))
    try:
        stream.settimeout(20)
        answer = stream.recv(64)
        how = "closed" if not answer else "TLS alert" if answer[0] == 21 else f"**answered {answer[:1].hex()}**"
    except TimeoutError:
        how = "no answer"
    except OSError:
        how = "closed"
    return f"{how} after {time.monotonic() - began:.1f} s" + and_serves(lab, peer)


@row(GROUP, "no client certificate", WITH_TLS, WHY)
def nameless(lab, name):
    peer = secured(lab, name)
    return said(lab, peer, identity=None) + and_serves(lab, peer)


@row(GROUP, "a certificate of another authority", WITH_TLS, WHY)
def unknown(lab, name):
    peer = secured(lab, name)
    return said(lab, peer, identity="unknown") + and_serves(lab, peer)


@row(GROUP, "60 half handshakes: others served? closed within 20 s?", WITH_TLS, WHY)
def half_handshakes(lab, name):
    peer, began = secured(lab, name), time.monotonic()
    # The head of a ClientHello, which says that 512 bytes follow.
    streams: list[socket.socket] = []
    for _ in range(60):
        try:
            streams.append(wire.connect(peer.port, 3))
            streams[-1].sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        except OSError:
            break
    answer = said(lab, peer)
    open_ones, last = list(streams), 0.0
    while open_ones and time.monotonic() - began < 20:
        for stream in list(open_ones):
            if ended(stream, 0.001):
                open_ones.remove(stream)
                last = time.monotonic() - began
    for stream in streams:
        stream.close()
    closed = len(streams) - len(open_ones)
    return f"{'served' if answer == '0000' else '**not served**'}; {closed} of {len(streams)} closed" + (f" by {last:.1f} s" if closed else "")


def version(lab, name, newest: ssl.TLSVersion) -> str:
    peer = secured(lab, name)
    return said(lab, peer, newest=newest) + and_serves(lab, peer)


@row(GROUP, "TLS 1.1", WITH_TLS, WHY)
def tls_1_1(lab, name):
    return version(lab, name, ssl.TLSVersion.TLSv1_1)


@row(GROUP, "TLS 1.2", WITH_TLS, WHY)
def tls_1_2(lab, name):
    return version(lab, name, ssl.TLSVersion.TLSv1_2)


@row(GROUP, "TLS 1.3", WITH_TLS, WHY)
def tls_1_3(lab, name):
    return version(lab, name, ssl.TLSVersion.TLSv1_3)
