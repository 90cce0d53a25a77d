"""A web server's front, as hospitals have them: TLS, and a token; what is allowed goes to a server behind it.

usage: tls_proxy.py PORT CERTIFICATE KEY TOKEN UPSTREAM_PORT
"""

import http.client
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, certificate, key, token, upstream = int(sys.argv[1]), *sys.argv[2:5], int(sys.argv[5])


class Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {token}":
            self.answer(401, "text/plain", b"")
            return
        behind = http.client.HTTPConnection("127.0.0.1", upstream, timeout=60)
        passed = {name: self.headers[name] for name in ("Content-Type", "Accept")}
        behind.request("POST", self.path, body, passed)
        answer = behind.getresponse()
        self.answer(answer.status, answer.headers.get("Content-Type", "text/plain"), answer.read())
        behind.close()

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Patient(ThreadingHTTPServer):
    def handle_error(self, request, address):
        pass  # whoever does not trust us hangs up


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server = Patient(("127.0.0.1", port), Front)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
