"""A STOW-RS server over HTTPS, made of Python's own parts and pydicom: keeps nothing but the UIDs.

usage: stow.py PORT CERTIFICATE KEY KEPT_FILE

KEPT_FILE gets one SOP Instance UID a line, as pydicom reads it from the object that came.
"""

import io
import json
import ssl
import sys
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, HTTPServer

import pydicom

port, certificate, key, kept_file = int(sys.argv[1]), *sys.argv[2:5]


class Stow(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        assert self.path == "/dicom-web/studies", self.path
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n"
        message = BytesParser(policy=HTTP).parsebytes(head + body)
        assert message.get_content_type() == "multipart/related", message.get_content_type()
        stored = []
        for part in message.iter_parts():
            assert part.get_content_type() == "application/dicom", part.get_content_type()
            uid = str(pydicom.dcmread(io.BytesIO(part.get_payload(decode=True))).SOPInstanceUID)
            stored.append({"00081155": {"vr": "UI", "Value": [uid]}})
            with open(kept_file, "a") as file:
                print(uid, file=file)
        answer = json.dumps({"00081199": {"vr": "SQ", "Value": stored}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


class Patient(HTTPServer):
    def handle_error(self, request, address):
        pass  # whoever does not trust us hangs up


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server = Patient(("127.0.0.1", port), Stow)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
