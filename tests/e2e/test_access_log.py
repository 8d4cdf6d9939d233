"""The access log: what a line says, how each request ends in it, and that it costs no request anything."""

import datetime
import json
import os
import signal
import socket
import struct
import threading

import pytest
from gateway_fixtures import driver  # noqa: F401
from gateway_rig import Backend, Gateway, answering, until
from sluice_test import App, wait_until
from sluice_test.build import PATIENCE


@pytest.fixture
def rig(request):
    things = []

    def make(handler=None, app="", route="", trusted="", **options):
        backend = Backend(handler)
        gateway = Gateway(workers=1, access="/x", trusted=trusted, **options)
        things.extend((backend, gateway))
        gateway.serve(backend.port, app=app, route=route)
        return gateway, backend

    yield make
    for thing in things:
        assert thing.close() is not False, "the gateway died"


def next_line(gateway):
    """The next line, once it is there; every one of them is JSON."""
    return json.loads(until(lambda: (lambda t: t if t != "none" else None)(gateway.ask("access")), "a line"))


def test_a_line_says_it_all(rig):
    gateway, backend = rig()
    before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=1)
    gateway.get("/a/b?secret=1", "User-Agent: tést \"x\"\r\n", method="POST", body=b"12345")
    line = next_line(gateway)
    when = datetime.datetime.strptime(line.pop("time"), "%Y-%m-%dT%H:%M:%S.%fZ").replace(
        tzinfo=datetime.timezone.utc)
    assert before < when < before + datetime.timedelta(seconds=60)
    assert line.pop("bytes_in") > 5 and line.pop("bytes_out") > 2
    assert 0 < line.pop("first_byte_us") <= line.pop("duration_us") < 60e6
    assert line == {
        "client": "127.0.0.1", "protocol": "HTTP/1.1", "scheme": "http", "method": "POST", "host": "a",
        "path": "/a/b", "user_agent": "tést \"x\"", "app": "app", "environment": "production", "release": 1,
        "version": "1", "instance": f"i{backend.port}", "status": 200, "attempts": 1, "outcome": "whole"}
    assert gateway.ask("access") == "none"


def test_hostile_bytes_are_escaped(rig):
    gateway, _ = rig()
    sock, reader = gateway.connect(b"GET /%00%22 HTTP/1.1\r\nHost: a\r\n"
                                   b"User-Agent: \x80\x9b[31m\xe2\x82\xac\xf0\x28\r\n\r\n")
    reader.answer()
    raw = until(lambda: (lambda t: t if t != "none" else None)(gateway.ask("access")), "a line")
    line = json.loads(raw)
    assert line["user_agent"] == "\x80\x9b[31m€\xf0("
    assert "\\u009b" in raw and "\\u00f0" in raw and all(ord(c) >= 32 and ord(c) != 127 for c in raw)


def test_long_targets_and_agents_are_cut(rig):
    gateway, _ = rig()
    gateway.get("/" + "a" * 5000 + "?q", "User-Agent: " + "b" * 5000 + "\r\n")
    line = next_line(gateway)
    assert line["path"] == "/" + "a" * 2047 and line["path_cut"] is True and line["user_agent"] == "b" * 256


def test_for_whom_a_proxy_speaks(rig):
    gateway, _ = rig(trusted="127.0.0.1/32")
    gateway.get("/", "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n")
    line = next_line(gateway)
    assert (line["client"], line["peer"], line["scheme"]) == ("203.0.113.9", "127.0.0.1", "https")
    gateway.get("/", "X-Forwarded-For: 2001:db8::7\r\n")
    assert next_line(gateway)["client"] == "2001:db8::7"


def cut_short(sock, reader):
    reader.head()
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


def test_how_requests_end(rig):
    gateway, backend = rig(route="host=a path=/")
    sock, reader = gateway.connect(b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n")
    assert reader.answer()[0] == 404
    line = next_line(gateway)
    assert (line["outcome"], line["status"], line["host"]) == ("unserved", 404, "nobody")
    assert line["reason"] == "no route for this host and path" and "app" not in line

    sock, reader = gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    assert reader.answer()[0] == 400
    line = next_line(gateway)
    assert (line["outcome"], line["status"], line["client"]) == ("refused", 400, "127.0.0.1")
    assert "Host" in line["reason"] and "path" not in line

    backend.handler = cut_short
    sock, reader = gateway.connect(b"GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises((ConnectionResetError, EOFError)):
        reader.answer()
    line = next_line(gateway)
    assert (line["outcome"], line["status"], line["path"]) == ("cut", 200, "/cut")

    backend.handler = lambda sock, reader: reader.head()  # closes without an answer
    assert gateway.get("/none")[0] == 502
    line = next_line(gateway)
    assert (line["outcome"], line["status"], line["attempts"]) == ("failed", 502, 2)
    assert line["reason"] == "the instance broke off" and line["instance"] == f"i{backend.port}"

    release = threading.Event()
    backend.handler = lambda sock, reader: (reader.head(), release.wait(60))
    sock, _ = gateway.connect(b"GET /left HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: gateway.instance("in_flight") == 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    line = next_line(gateway)
    release.set()
    assert (line["outcome"], line["path"]) == ("client-left", "/left") and "status" not in line


def test_a_retry_names_who_answered(rig):
    good = Backend(answering(b"HTTP/1.1 204 No Content\r\n\r\n"))
    gateway, bad = rig(lambda sock, reader: reader.head())
    gateway.serve(bad.port, good.port, ids=["bad", "good" * 60])
    for _ in range(20):
        assert gateway.get("/x")[0] == 204
        line = next_line(gateway)
        assert line["instance"] == "good" * 60 and line["status"] == 204
        if line["attempts"] == 2:
            break
    else:
        raise AssertionError("the bad instance was never tried")
    good.close()


def test_tunnels_are_logged_at_their_end(rig):
    def upgrade(sock, reader):
        reader.head()
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        sock.sendall(reader.exactly(4))

    gateway, _ = rig(upgrade)
    sock, reader = gateway.connect(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    assert reader.head()[0].split()[1] == "101"
    assert gateway.ask("access") == "none"
    sock.sendall(b"ping")
    assert reader.exactly(4) == b"ping"
    sock.close()
    line = next_line(gateway)
    assert (line["status"], line["path"], line["outcome"]) == (101, "/ws", "whole")


def test_a_ring_that_nobody_reads_holds_no_request_up(rig):
    gateway, _ = rig()
    sock, reader = gateway.connect()
    # 4 kB a line: some thousand fit.
    long = b"GET /" + b"x" * 2000 + b" HTTP/1.1\r\nHost: a\r\nUser-Agent: " + b"\xff" * 256 + b"\r\n\r\n"
    for n in range(1500):
        sock.sendall(long)
        assert reader.answer()[0] == 200
    lines = 0
    while gateway.ask("access") != "none":
        lines += 1
    assert 900 < lines < 1400
    assert gateway.get("/again")[0] == 200
    assert next_line(gateway)["path"] == "/again"


# ---- through serve -------------------------------------------------------------------------------


def read_lines(paths):
    out = []
    for path in paths:
        text = path.read_text()
        assert text.endswith("\n") or text == "", "a torn line"
        out += [json.loads(line) for line in text.splitlines()]
    return out


def test_no_line_is_lost_or_torn_by_restarts_and_renames(make_server):
    """Requests go on while logrotate comes by and the controller is killed."""
    server = make_server(start=False)
    log = server.root / "access.log"
    server.extra = ["--access-log", str(log)]
    server.start()
    app = App(server)
    app.deploy(1, ok=True)
    stop, asked = threading.Event(), []

    def load():
        while not stop.is_set():
            n = len(asked)
            assert server.get(f"/?n={n}").status == 200
            asked.append(n)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        seen = lambda: len(log.read_text().splitlines()) if log.exists() else 0  # noqa: E731
        wait_until(lambda: seen() > 20, 20, "lines come")
        os.rename(log, server.root / "access.log.moved")
        wait_until(lambda: seen() > 20, 20, "lines come to a new file")
        before = server.info()["pids"]["controller"]
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: server.info()["pids"]["controller"] != before, 30 * PATIENCE, "a new controller")
        size = seen()
        wait_until(lambda: seen() > size + 20, 30, "lines come again")
    finally:
        stop.set()
        thread.join()
    metrics = server.api("GET", "/metrics").text
    assert "sluice_access_log_lines_dropped_total 0" in metrics
    server.stop()
    lines = [r for r in read_lines([server.root / "access.log.moved", log]) if r["path"] == "/"]
    assert len(asked) > 40 and len(lines) >= len(asked), "a request without a line"
    assert all(r["app"] == "hello" and r["release"] == 1 and r["status"] == 200 for r in lines)
    assert all("query" not in r for r in lines)


@pytest.mark.parametrize("value, words", [
    ("/nowhere/access.log", "there is no folder /nowhere"),
    ("/tmp", "this is a folder"),
    ("logs/", "expected a file, or - for standard output"),
])
def test_a_file_that_cannot_be(make_server, value, words):
    server = make_server(start=False, extra=["--access-log", value])
    server.start(wait=False)
    assert server.process.wait(timeout=20 * PATIENCE) == 2
    assert words in server.log_text()


def test_lines_on_standard_output(make_server):
    server = make_server(start=False, extra=["--access-log", "-"])
    server.start()
    assert server.get("/nothing").status == 404
    wait_until(lambda: '"path":"/nothing"' in server.log_text(), 20, "the line")
    # Nothing but JSON goes there: the ready line is for people.
    other = server.start_cli("serve", "--data", str(server.root / "other"), "--listen", "127.0.0.1:0",
                             "--access-log", "-")
    assert any(" ready: " in line for line in iter(other.stderr.readline, ""))
    other.terminate()
    assert other.communicate(timeout=20 * PATIENCE)[0] == ""
