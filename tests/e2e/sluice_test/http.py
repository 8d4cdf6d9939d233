"""Clients that keep nothing from the test: one connection each, no retries."""

import base64
import hashlib
import http.client
import json
import os
import socket
import struct

from .build import PATIENCE


class Answer:
    def __init__(self, response, body):
        self.status, self.body = response.status, body
        self.headers = {name.lower(): value for name, value in response.getheaders()}

    @property
    def text(self):
        return self.body.decode(errors="replace")

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def version(self):
        return self.headers.get("x-version")

    @property
    def by_gateway(self):
        return self.headers.get("server", "").startswith("sluice")

    def __repr__(self):
        return f"<{self.status} {self.headers.get('server')} {self.text[:200]!r}>"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket; a long path goes through /proc/self/fd."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        folder = os.open(os.path.dirname(self.path), os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(f"/proc/self/fd/{folder}/{os.path.basename(self.path)}")
        finally:
            os.close(folder)


class Client:
    """One keep-alive connection to host:port."""

    def __init__(self, address, timeout=20.0):
        host, port = address.rsplit(":", 1)
        self.connection = http.client.HTTPConnection(host, int(port), timeout=timeout * PATIENCE)

    def request(self, method, path, body=None, headers=None):
        self.connection.request(method, path, body=body, headers=headers or {})
        response = self.connection.getresponse()
        return Answer(response, response.read())

    def get(self, path="/", **headers):
        return self.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def close(self):
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def get(address, path="/", timeout=20.0, **headers):
    with Client(address, timeout) as client:
        return client.get(path, **headers)


def unix(path, method, target, body=None, timeout=10.0, headers=None):
    connection = UnixConnection(path, timeout * PATIENCE)
    try:
        send = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            send.setdefault("Content-Type", "application/json")
        connection.request(method, target, body=body, headers=send)
        response = connection.getresponse()
        return Answer(response, response.read())
    finally:
        connection.close()


class WebSocket:
    """A WebSocket to /ws of examples/hello; raises where the connection broke."""

    def __init__(self, address, path="/ws", timeout=10.0, headers=None):
        host, port = address.rsplit(":", 1)
        self.sock = socket.create_connection((host, int(port)), timeout=timeout * PATIENCE)
        key = base64.b64encode(os.urandom(16)).decode()
        fields = {"Host": address, **(headers or {})}
        extra = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nUpgrade: websocket\r\n"
                          f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                          f"Sec-WebSocket-Key: {key}\r\n{extra}\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._recv(1)
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip()
                        for line in lines[1:] if ":" in line}
        if self.status != 101:
            raise ConnectionError(f"no WebSocket: {lines[0]}")
        wanted = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        assert self.headers["sec-websocket-accept"] == base64.b64encode(wanted).decode()
        self.version = self.headers.get("x-version")

    def _recv(self, n):
        data = self.sock.recv(n)
        if not data:
            raise ConnectionError("the WebSocket was closed")
        return data

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            data += self._recv(n - len(data))
        return data

    def echo(self, text):
        payload = text.encode()
        mask = os.urandom(4)
        if len(payload) < 126:
            head = struct.pack("!BB", 0x81, 0x80 | len(payload))
        else:
            head = struct.pack("!BBH", 0x81, 0x80 | 126, len(payload))
        self.sock.sendall(head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload)))
        opcode, length = struct.unpack("!BB", self._exactly(2))
        if length == 126:
            length = struct.unpack("!H", self._exactly(2))[0]
        data = self._exactly(length)
        if opcode & 15 == 8:
            raise ConnectionError("the WebSocket was closed with a close frame")
        assert data == payload
        return data.decode()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
