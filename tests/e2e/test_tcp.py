"""TCP routes through the file and the whole server: who opens the port, deploys, deaths, refusals."""

import json
import os
import socket
import threading

import pytest
from sluice_test import App, IS_ROOT
from sluice_test.build import PATIENCE
from sluice_test.wait import wait_until

# Greets with its version, then sends back what comes, line by line. Python, since it starts without a build.
PROGRAM = '''
import os, signal, socket, sys, threading
open_ones, lock = 0, threading.Lock()
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=128)
def serve(sock):
    global open_ones
    try:
        sock.sendall(os.environ["SLUICE_VERSION"].encode() + b"\\n")
        while data := sock.recv(65536):
            sock.sendall(data)
    except OSError:
        pass
    sock.close()
def stop(*_):
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
while True:
    sock, _ = listener.accept()
    threading.Thread(target=serve, args=(sock,), daemon=True).start()
'''
BROKEN = '''
import os, socket
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=128)
while True:
    sock, _ = listener.accept()
    sock.recv(64)
    sock.close()
'''


def free_port(family=socket.AF_INET, host="127.0.0.1"):
    with socket.socket(family) as s:
        s.bind((host, 0))
        return s.getsockname()[1]


class Client:
    def __init__(self, port, host="127.0.0.1"):
        self.sock = socket.create_connection((host, port), timeout=20 * PATIENCE)
        self.file = self.sock.makefile("rwb")

    def greeting(self):
        return self.file.readline().decode().strip()

    def say(self, text):
        self.file.write(text.encode() + b"\n")
        self.file.flush()
        return self.file.readline().decode().strip() == text

    def close(self):
        self.file.close()
        self.sock.close()


class Clients:
    """Connections all the time: short ones, and some that stay a while. None may fail."""

    def __init__(self, port, threads=4):
        self.port, self.stopping, self.failed, self.versions = port, threading.Event(), [], {}
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(threads)]

    def run(self, number):
        while not self.stopping.wait(0.02):
            try:
                c = Client(self.port)
                version = c.greeting()
                assert version, "ended without a greeting"
                for _ in range(1 if number else 8):
                    assert c.say("hello"), "no echo"
                    self.stopping.wait(0.05)
                c.close()
                with self.lock:
                    self.versions[version] = self.versions.get(version, 0) + 1
            except (OSError, AssertionError) as error:
                self.failed.append(repr(error))

    def __enter__(self):
        for t in self.threads:
            t.start()
        wait_until(lambda: self.versions, 20, "the first connections")
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for t in self.threads:
            t.join()


def answers(port):
    try:
        c = Client(port)
        version = c.greeting()
        c.close()
        return version
    except OSError:
        return None


def tcp_app(server, port, name="echo", program=PROGRAM, **changes):
    app = App(server, name, **{
        "run": ["python3", "app.py"], "replicas": 2, "routes": [{"tcp": {"listen": port}}],
        "probes": {"readiness": {"tcp": True, "period": "200ms"}},
        "stop": {"drain": "2s", "grace": "3s"}, **changes})
    (app.dir / "app.py").write_text(program)
    server.give(app.dir)
    return app


def listeners(server):
    return [x for x in server.info()["listeners"] if x.startswith("tcp:")]


def test_deploys_lose_no_connection(server):
    port = free_port()
    app = tcp_app(server, port)
    app.deploy(1, ok=True)
    assert answers(port) == "1"
    kept = Client(port)
    assert kept.greeting() == "1"
    with Clients(port) as clients:
        app.deploy(2, ok=True)
        app.deploy(3, strategy={"canary": {"steps": [20, 50], "hold": "500ms"}}, ok=True)
    assert clients.failed == []
    assert set(clients.versions) >= {"1", "2", "3"}
    # One that stays is cut at its drain's end, not before; then its instance is gone.
    with pytest.raises(OSError):
        while kept.say("still"):
            pass
        raise ConnectionResetError
    assert server.metric("sluice_requests_total", app="echo") > 0
    assert server.metric("sluice_failed_requests_total", app="echo") in (0, None)
