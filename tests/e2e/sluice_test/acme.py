"""CAs that give certificates: Debian's pebble, and one whose answers are written down."""

import base64
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from .wait import wait_until


def free_ports(count):
    """Ports that nobody has now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def server_certificate(folder):
    """ca.pem, and cert.pem with key.pem for the loopback address by it."""
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
            folder / "ca.key", "-out", folder / "ca.pem", "-days", 30, "-subj", "/CN=test root")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
            folder / "key.pem", "-out", folder / "request.pem", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", folder / "request.pem", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
            "-CAcreateserial", "-days", 30, "-extfile", folder / "names", "-out", folder / "cert.pem")


class Pebble:
    """An ACME server that looks at hosts on the loopback device, whatever their names are."""

    def __init__(self, http_port, tls_port, validity=None, **environment):
        self.folder = Path(tempfile.mkdtemp(prefix="sluice-pebble-", dir="/tmp"))
        server_certificate(self.folder)
        self.port, self.management, dns, self.dns_management = free_ports(4)
        config = {"listenAddress": f"127.0.0.1:{self.port}", "managementListenAddress": f"127.0.0.1:{self.management}",
                  "certificate": str(self.folder / "cert.pem"), "privateKey": str(self.folder / "key.pem"),
                  "httpPort": http_port, "tlsPort": tls_port}
        if validity:
            config["certificateValidityPeriod"] = validity
        (self.folder / "config.json").write_text(json.dumps({"pebble": config}))
        self.directory = f"https://127.0.0.1:{self.port}/dir"
        self.ca = self.folder / "ca.pem"
        self.environment = {"PATH": os.environ["PATH"], "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0",
                            "PEBBLE_AUTHZREUSE": "0", **environment}
        self.log = open(self.folder / "log", "wb")
        self.dns = self._run("pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-http01", "", "-https01", "",
                             "-tlsalpn01", "", "-management", f"127.0.0.1:{self.dns_management}",
                             "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "")
        self.words = ["pebble", "-config", str(self.folder / "config.json"), "-dnsserver", f"127.0.0.1:{dns}"]
        self.pebble = None
        self.start()

    def _run(self, *words):
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                env=self.environment)

    def start(self):
        self.pebble = self._run(*self.words)
        wait_until(lambda: self.ask(self.directory), 15, "pebble answers")

    def stop(self):
        self.pebble.kill()
        self.pebble.wait()

    def ask(self, url):
        context = ssl.create_default_context(cafile=str(self.ca))
        with urllib.request.urlopen(url, context=context, timeout=5) as answer:
            return answer.read()

    def root(self):
        """The root of the certificates that it gives, PEM."""
        return self.ask(f"https://127.0.0.1:{self.management}/roots/0").decode()

    def set_address(self, host, address):
        for what, value in (("clear-a", {}), ("add-a", {"addresses": [address]})):
            data = json.dumps({"host": host + ".", **value}).encode()
            urllib.request.urlopen(f"http://127.0.0.1:{self.dns_management}/{what}", data, timeout=5).close()

    def text(self):
        return (self.folder / "log").read_text(errors="replace")

    def close(self):
        for process in (self.pebble, self.dns):
            process.kill()
            process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class FakeCa:
    """answers: path -> function(request) -> (status, headers, body); each request is kept in self.asked."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="sluice-ca-", dir="/tmp"))
        server_certificate(self.folder)
        self.ca = self.folder / "ca.pem"
        self.asked, self.answers, self.nonces = [], {}, 0
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = {"method": self.command, "path": self.path, "agent": self.headers["User-Agent"],
                           "type": self.headers["Content-Type"], **fake.opened(body)}
                fake.asked.append(request)
                status, headers, text = fake.answers.get(self.path, lambda r: (404, {}, b"{}"))(request)
                self.send_response(status)
                fake.nonces += 1
                for name, value in {"Replay-Nonce": f"nonce{fake.nonces}", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text)

            do_GET = do_HEAD = do_POST = answer

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "cert.pem", self.folder / "key.pem")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"
        self.directory = f"{self.url}/dir"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.usual()

    @staticmethod
    def opened(body):
        if not body:
            return {}
        jws = json.loads(body)
        unpack = lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        payload = unpack(jws["payload"])
        return {"protected": json.loads(unpack(jws["protected"])), "payload": json.loads(payload) if payload else None}

    def usual(self):
        """Up to the order all goes well."""
        say = lambda status, value, **headers: lambda r: (status, headers, json.dumps(value).encode())
        self.answers["/dir"] = say(200, {"newNonce": self.url + "/nonce", "newAccount": self.url + "/account",
                                         "newOrder": self.url + "/order"})
        self.answers["/nonce"] = say(200, {})
        self.answers["/account"] = say(201, {"status": "valid"}, Location=self.url + "/account/1")

    def problem(self, path, status, kind, detail, **headers):
        body = json.dumps({"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail}).encode()
        self.answers[path] = lambda r: (status, headers, body)

    def count(self, path):
        return sum(r["path"] == path for r in self.asked)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        shutil.rmtree(self.folder, ignore_errors=True)
