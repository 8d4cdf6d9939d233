"""The gateway alone: its driver program (tests/unit/gateway/gateway_driver.c) and scripted back ends."""

import fcntl
import os
import signal
import socket
import subprocess
import threading
import time

from sluice_test.build import BUILD, PATIENCE, ROOT, SANITIZER

DRIVER = BUILD / "unit" / "gateway" / "gateway_driver"
DEADLINE = 15 * PATIENCE


def build_driver():
    """Several test processes want it at once: one of them makes it, before any runs it."""
    lock = ROOT / "build" / "driver.lock"
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        make_driver()


def make_driver():
    make = ["make", "-s"] + ([f"SAN={SANITIZER}"] if SANITIZER else [])
    subprocess.run(make + [str(DRIVER.relative_to(ROOT))], cwd=ROOT, check=True)


def until(condition, what="the state"):
    """Polls; the time is only there to end a test that hangs."""
    end = time.monotonic() + DEADLINE
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.01)


class Reader:
    """Reads HTTP messages from a socket, byte-exact."""

    def __init__(self, sock):
        self.sock = sock
        self.data = b""

    def more(self):
        piece = self.sock.recv(65536)
        self.data += piece
        return piece != b""

    def head(self):
        """The next head as (first line, [(lower-case name, value)]); None at the end of the stream."""
        while b"\r\n\r\n" not in self.data:
            if not self.more():
                assert self.data == b"", f"unfinished head {self.data[:200]!r}"
                return None
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        fields = [(k.lower(), v.strip()) for k, v in (line.split(":", 1) for line in lines[1:])]
        return lines[0], fields

    def exactly(self, n):
        pieces, have = [self.data], len(self.data)
        while have < n:
            pieces.append(self.sock.recv(min(1 << 20, max(65536, n - have))))
            if not pieces[-1]:
                raise EOFError(f"{have} of {n} bytes")
            have += len(pieces[-1])
        data = b"".join(pieces)
        self.data = data[n:]
        return data[:n]

    def line(self):
        while b"\r\n" not in self.data:
            if not self.more():
                raise EOFError("in a chunk line")
        out, self.data = self.data.split(b"\r\n", 1)
        return out

    def chunked(self):
        body = b""
        while True:
            size = int(self.line().split(b";")[0], 16)
            if size == 0:
                while self.line() != b"":
                    pass
                return body
            body += self.exactly(size)
            assert self.exactly(2) == b"\r\n"

    def rest(self):
        while self.more():
            pass
        out, self.data = self.data, b""
        return out

    def body(self, fields, request=True):
        fields = dict(fields)
        if "transfer-encoding" in fields:
            return self.chunked()
        if "content-length" in fields:
            return self.exactly(int(fields["content-length"]))
        return b"" if request else self.rest()

    def answer(self, to="GET"):
        """(status, fields as a dict, body)"""
        head = self.head()
        assert head is not None, "the connection was closed instead of an answer"
        status = int(head[0].split()[1])
        bodiless = to == "HEAD" or status < 200 or status in (204, 304)
        return status, dict(head[1]), b"" if bodiless else self.body(head[1], request=False)

    def closed(self):
        try:
            return self.rest() == b""
        except ConnectionResetError:
            return True


class Backend:
    """An instance: handler(sock, reader) runs in a thread for each connection."""

    def __init__(self, handler=None, port=0, listener=None):
        self.handler = handler or self.answer_all
        self.listener = listener or socket.create_server(("127.0.0.1", port), backlog=512)
        if self.listener.family != socket.AF_UNIX:
            self.port = self.listener.getsockname()[1]
        self.connections = self.closed = 0
        self.requests = []  # (first line, fields, body)
        self.sockets = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.sockets.append(sock)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        try:
            self.handler(sock, Reader(sock))
        except (OSError, EOFError, AssertionError, ValueError):
            pass
        finally:
            sock.close()
            self.closed += 1

    def request(self, reader):
        head = reader.head()
        if head is None:
            return None
        body = reader.body(head[1])
        self.requests.append((head[0], head[1], body))
        return self.requests[-1]

    def answer_all(self, sock, reader):
        while self.request(reader):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self.listener.close()
        for s in self.sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def answering(raw, times=1 << 30):
    """A handler that answers each request with these bytes, and closes after `times`."""

    def handler(sock, reader):
        for _ in range(times):
            head = reader.head()
            if head is None:
                return
            reader.body(head[1])
            sock.sendall(raw)

    return handler


class Gateway:
    def __init__(self, **options):
        words = [f"{k}={v}" for k, v in options.items()]
        self.process = subprocess.Popen([DRIVER] + words, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        ready = self.process.stdout.readline().split()
        assert ready and ready[0] == "ready", "the gateway did not start"
        self.port, self.pid = int(ready[1]), int(ready[2])
        self.version = 0
        self.ended = False  # as it should
        self.clients = []

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, line):
        self.say(line)
        return self.process.stdout.readline().strip()

    def table(self, lines):
        """Sends a snapshot; the lines are the driver's. Gives its answer."""
        self.version += 1
        self.say(f"version {self.version}")
        for line in lines:
            self.say(line)
        return self.ask("apply")

    def serve(self, *ports, app="", route="", extra=(), slots=None, ids=None):
        """One app with one pool of these ports, all requests to it (slot 1). A text is any other place."""
        slots = slots or range(len(ports))
        ids = ids or [f"i{p}" if isinstance(p, int) else f"i{s}" for p, s in zip(ports, slots)]
        places = [f"port={p}" if isinstance(p, int) else p for p in ports]
        lines = [f"app slot=0 {app}"]
        lines += [f"instance id={i} slot={s} {p}" for p, s, i in zip(places, slots, ids)]
        lines += [f"pool first=0 instances={len(ports)}", f"route app=0 {route}",
                  "share pool=0 weight=1000000 slot=1", *extra]
        answer = self.table(lines)
        assert answer.startswith("applied"), answer

    def wait(self):
        self.ended = True
        return self.ask("wait")

    def metric(self, name, slot=1):
        return int(self.ask(f"request {slot} {name}"))

    def instance(self, name, slot=0):
        return int(self.ask(f"instance-metric {slot} {name}"))

    def connect(self, send=b"", rcvbuf=None, address=("127.0.0.1", None)):
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        sock.settimeout(DEADLINE)
        sock.connect((address[0], address[1] or self.port))
        self.clients.append(sock)
        if send:
            sock.sendall(send)
        return sock, Reader(sock)

    def get(self, path="/", fields="", method="GET", body=b""):
        sock, reader = self.connect()
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: a\r\n{length}{fields}\r\n".encode() + body)
        answer = reader.answer(method)
        sock.close()
        return answer

    def rss(self):
        with open(f"/proc/{self.pid}/smaps_rollup") as f:
            return int(next(line.split()[1] for line in f if line.startswith("Pss:"))) << 10

    def cpu(self):
        with open(f"/proc/{self.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def alive(self):
        if self.ended:
            return True
        with open(f"/proc/{self.pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"

    def close(self):
        for s in self.clients:
            s.close()
        alive = self.alive()
        if alive and not self.ended:
            os.kill(self.pid, signal.SIGKILL)  # one that dropped root does not die with its parent
        self.process.kill()
        self.process.wait()
        return alive
