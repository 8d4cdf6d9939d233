"""HTTP/2 from clients: what instances see, what clients get, and what neither may do to the gateway."""

import os
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest
from gateway_fixtures import driver  # noqa: F401
from gateway_rig import Backend, Gateway, answering, until
from h2_peer import (CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS,
                     INTERNAL_ERROR, NO_ERROR, PING, PREFACE, PRIORITY, PROTOCOL_ERROR, RST_STREAM, SETTINGS, H2Client, frame)
from h2.settings import SettingCodes
from hpack import Encoder
from sluice_test.build import SANITIZER


@pytest.fixture
def rig():
    things = []

    def make(handler=None, route="", clients=1, app="", settings=None, **options):
        backend = Backend(handler)
        gateway = Gateway(**options)
        things.extend((backend, gateway))
        gateway.serve(backend.port, route=route, app=app)
        made = [H2Client(gateway.port, settings=settings) for _ in range(clients)]
        things.extend(made)
        return (gateway, backend, *made)

    yield make
    for thing in reversed(things):
        alive = thing.close()
        assert alive is not False, "the gateway died"


def fixed(head, body=b""):
    return answering(f"HTTP/1.1 {head}\r\n".encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)


# ---- requests ---------------------------------------------------------------------------------------

def test_what_the_instance_sees(rig):
    gateway, backend, client = rig()
    answer = client.get("GET", "/a?b=c", [("x-one", "1"), ("cookie", "a=b"), ("te", "trailers"), ("cookie", "c=d")])
    assert answer.status == 200 and answer.body == b"ok"
    line, fields, _ = backend.requests[0]
    assert line == "GET /a?b=c HTTP/1.1"
    assert fields[:3] == [("host", "a"), ("x-one", "1"), ("cookie", "a=b; c=d")]
    assert dict(fields)["x-forwarded-for"] == "127.0.0.1" and dict(fields)["x-forwarded-proto"] == "http"
    assert not {"te", "transfer-encoding", "connection"} & set(dict(fields))
    assert gateway.metric("requests") == 1


def test_host_instead_of_authority(rig):
    _, backend, client = rig()
    head = [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "b.test:80")]
    assert client.wait(client.headers(head)).status == 200
    both = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "B.test"), ("host", "b.test")]
    assert client.wait(client.headers(both)).status == 200
    assert [[v for k, v in fields if k == "host"] for _, fields, _ in backend.requests] == [["b.test:80"], ["b.test"]]


def test_bodies_to_the_instance(rig):
    _, backend, client = rig()
    for size in (1, 16384, 1000000):
        for length in (False, True):
            body = (bytes(range(256)) * (size // 256 + 1))[:size]
            assert client.get("POST", "/", [("content-length", str(size))] * length, body=body).status == 200
            _, fields, seen = backend.requests[-1]
            assert seen == body
            assert ("content-length" in dict(fields)) == length and ("transfer-encoding" in dict(fields)) != length


def test_trailers_both_ways(rig):
    seen = []

    def handler(sock, reader):
        reader.head()
        while b"\r\n\r\n" not in reader.data:
            assert reader.more()
        seen.append(reader.data)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-Sum: \t7 \r\nB: 2\r\n\r\n")

    _, _, client = rig(handler)
    stream = client.request("POST", end=False)
    client.send(stream, b"hello")
    client.h2.send_headers(stream, [("x-check", "1"), ("x-more", "two words")], end_stream=True)
    client.flush()
    answer = client.wait(stream)
    assert seen == [b"5\r\nhello\r\n0\r\nx-check: 1\r\nx-more: two words\r\n\r\n"]
    assert answer.body == b"abc" and answer.trailers == {"x-sum": "7", "b": "2"}


# ---- answers ----------------------------------------------------------------------------------------

ANSWERS = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: b\r\n\r\nabc", 200, b"abc"),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 200, b"abcde"),
    "no-chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, b""),
    "until-close": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", 200, b"abc"),
    "hop-by-hop": (b"HTTP/1.1 404 No\r\nConnection: x-hop, keep-alive\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n"
                   b"Proxy-Connection: close\r\nContent-Length: 1\r\n\r\nz", 404, b"z"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "304": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", 304, b""),
}


def test_answers(rig):
    def handler(sock, reader):
        while (head := reader.head()) is not None:
            raw = ANSWERS[head[0].split("/")[1].split()[0]][0]
            sock.sendall(raw)
            if b"Connection: close" in raw:
                return

    # The library refuses connection-specific fields and names that are not lower case.
    _, _, client = rig(handler)
    for name, (_, status, body) in ANSWERS.items():
        for _ in range(2):
            answer = client.get(path=f"/{name}")
            assert (answer.status, answer.body, answer.ended) == (status, body, True), name
            assert "x-hop" not in answer.fields


def test_answers_to_head_have_no_body(rig):
    _, _, client = rig(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"))
    answer = client.get("HEAD")
    assert answer.fields["content-length"] == "1000" and answer.body == b""
    answer = client.get("HEAD", "/%zz")  # the gateway's own
    assert answer.status == 400 and answer.body == b""


def test_early_hints(rig):
    _, _, client = rig(answering(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"))
    answer = client.get()
    assert [h[":status"] for h in answer.informational] == ["103"] and answer.informational[0]["link"] == "</a>"
    assert answer.status == 200 and answer.body == b"x"


def test_early_hints_that_nobody_takes_are_left_out(rig):
    """They have no flow control."""
    most = 4000

    def hint():
        return b"HTTP/1.1 103 Early Hints\r\nLink: <%s>\r\n\r\n" % os.urandom(2000).hex().encode()

    def handler(sock, reader):
        reader.head()
        for _ in range(most // 100):
            sock.sendall(b"".join(hint() for _ in range(100)))
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        reader.head()

    gateway, _, client = rig(handler)
    before = gateway.rss()
    stream = client.request()
    until(lambda: gateway.instance("requests") == 1, "the end of the answer")
    assert SANITIZER or gateway.rss() - before < 8 << 20  # sanitizers keep what was freed
    data = b""
    while not data.endswith(frame(DATA, END_STREAM, stream, b"x")):
        piece = client.sock.recv(1 << 20)
        assert piece
        data += piece
    assert len(data) < most * 2000


def test_large_answers_on_many_streams(rig):
    body = bytes(i * 7 % 251 for i in range(1 << 20))
    _, _, client = rig(fixed("200 OK", body))
    streams = [client.request() for _ in range(8)]
    assert all(client.wait(s).body == body for s in streams)


def test_an_answer_before_the_request_ends(rig):
    def handler(sock, reader):
        reader.head()
        sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")

    _, _, client = rig(handler)
    stream = client.request("POST", body=b"x" * 1000, end=False)
    answer = client.answers[stream]
    client.until(lambda: answer.reset is not None)
    assert (answer.status, answer.body, answer.ended, answer.reset) == (413, b"no", True, NO_ERROR)
    assert client.get("POST", body=b"y").status == 413


def test_the_gateways_own_answers(rig):
    gateway, backend, client = rig()
    gateway.table(["app slot=0"])
    answer = client.get("GET", "/nowhere")
    assert answer.status == 404 and answer.fields["server"] == "sluice" and b"no route" in answer.body
    assert client.get("POST", body=b"x" * 70000).status == 404


# ---- one stream and the others ----------------------------------------------------------------------

class Slow:
    """Answers at once but to /slow, which waits for go."""

    def __init__(self):
        self.go = threading.Event()

    def __call__(self, sock, reader):
        while (head := reader.head()) is not None:
            if head[0].startswith("GET /slow"):
                assert self.go.wait(30)
            reader.body(head[1])
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def test_a_slow_answer_holds_up_no_other(rig):
    slow = Slow()
    _, _, client = rig(slow)
    first = client.request(path="/slow")
    assert [client.get().status for _ in range(20)] == [200] * 20
    assert client.answers[first].fields is None
    slow.go.set()
    assert client.wait(first).body == b"ok"


def test_a_body_that_nobody_takes_holds_up_no_other(rig):
    gateway, backend, client = rig()

    def table(hold):
        gateway.table([f"app slot=0 hold={hold} hold_ms=60000", "app slot=3", f"instance id=i slot=0 port={backend.port}",
                       "pool first=0 instances=1", "route app=0 host=held.test", "share pool=0 weight=1000000 slot=1",
                       "route app=1", "share pool=0 weight=1000000 slot=2"])

    table(hold=1)
    body = bytes(range(256)) * 1000
    streams = [client.request("POST", authority="held.test", end=False) for _ in range(20)]
    for s in streams: # more than the window of the connection, all in all
        client.send(s, body[:65535])
        assert client.get().status == 200
    until(lambda: gateway.metric("waiting", 0) == 20, "the hold")
    assert [client.window(s) for s in streams] == [0] * 20
    table(hold=0)
    for s in streams:
        client.send(s, body[65535:], end=True)
        assert client.wait(s).status == 200
    assert [b for line, _, b in backend.requests if line.startswith("POST")] == [body] * 20


def test_a_stream_that_takes_nothing_holds_up_no_other(rig):
    _, _, client = rig(fixed("200 OK", b"x" * 300000))
    client.take = False
    stuck = client.request()
    client.until(lambda: len(client.answers[stuck].body) == 65535)
    client.h2.increment_flow_control_window(1 << 20)
    client.take = True
    client.flush()
    assert len(client.get().body) == 300000
    client.h2.increment_flow_control_window(300000, stuck)
    client.flush()
    assert len(client.wait(stuck).body) == 300000


def test_a_client_that_resets_a_stream_has_left(rig):
    slow = Slow()
    gateway, backend, client = rig(slow)
    stream = client.request(path="/slow")
    until(lambda: backend.connections == 1, "the request")
    client.h2.reset_stream(stream, CANCEL)
    client.flush()
    until(lambda: gateway.metric("left") == 1, "the count")
    slow.go.set()
    assert client.get().status == 200


def test_a_connection_that_ends_takes_its_requests_along(rig):
    slow = Slow()
    gateway, backend, client = rig(slow)
    for _ in range(10):
        client.request(path="/slow")
    until(lambda: backend.connections == 10, "the requests")
    client.close()
    until(lambda: gateway.metric("left") == 10 and gateway.ask("connections") == "0", "the end")
    slow.go.set()


def test_an_instance_that_breaks_off(rig):
    def handler(sock, reader):
        head = reader.head()
        if head[0].startswith("GET /half"):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    gateway, _, client = rig(handler)
    assert client.get().status == 502
    answer = client.get(path="/half")
    assert (answer.ended, answer.reset) == (False, INTERNAL_ERROR)
    assert gateway.metric("cut") == 1


def test_held_requests(rig):
    gateway, backend, client = rig(app="hold=1 hold_ms=20000")
    streams = [client.request() for _ in range(5)]
    until(lambda: gateway.metric("waiting", 0) == 5, "the hold")
    gateway.serve(backend.port)
    assert [client.wait(s).status for s in streams] == [200] * 5


# ---- which protocol ---------------------------------------------------------------------------------

def test_the_preface_in_pieces_and_things_that_begin_like_it(rig):
    gateway, _ = rig(clients=0)
    sock, reader = gateway.connect()
    for i in range(len(PREFACE)):
        sock.sendall(PREFACE[i:i + 1])
    sock.sendall(frame(SETTINGS))
    assert reader.exactly(9)[3] == SETTINGS
    for start in (b"PRI * HTTP/2.0\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r"):
        sock, reader = gateway.connect(start)
        sock.shutdown(socket.SHUT_WR)
        assert b"HTTP/1.1 505" in reader.rest() or start.endswith(b"\n\r\n")
    for method in ("P", "PR", "PRINT", "PUT", "POST"):
        sock, reader = gateway.connect(b"P")
        sock.sendall(f"{method[1:]} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert reader.answer()[0] == 200
    # Not in the middle of a connection, and not by Upgrade (RFC 9113 section 3.1).
    sock, reader = gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                                   b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
    assert reader.answer()[0] == 200
    sock.sendall(PREFACE)
    assert reader.answer()[0] == 505


def test_other_clients(rig):
    gateway, _ = rig(clients=0)
    for tool in (["curl", "-sS", "--http2-prior-knowledge", "-d", "hello"], ["nghttp", "-d", "/etc/hostname"],
                 ["h2load", "-n100", "-c2", "-m10"]):
        run = subprocess.run([*tool, f"http://127.0.0.1:{gateway.port}/"], capture_output=True, text=True)
        assert run.returncode == 0 and ("ok" in run.stdout or "100 succeeded, 0 failed" in run.stdout), run


# ---- WebSocket over a stream (RFC 8441) -------------------------------------------------------------

WEBSOCKET = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat"),
             (":authority", "a"), ("sec-websocket-version", "13")]


def test_websocket(rig):
    heads = []

    def handler(sock, reader):
        heads.append(reader.head())
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nwelcome")
        while reader.more():
            sock.sendall(reader.data.upper())
            reader.data = b""
        sock.sendall(b"bye")

    gateway, _, client = rig(handler)
    client.until(lambda: client.peer.get(8) == 1)  # ENABLE_CONNECT_PROTOCOL
    stream = client.headers(WEBSOCKET, end=False)
    answer = client.answers[stream]
    client.until(lambda: answer.body == b"welcome")
    assert answer.status == 200 and "upgrade" not in answer.fields
    line, fields = heads[0]
    assert line == "GET /chat HTTP/1.1" and dict(fields)["upgrade"] == "websocket"
    assert len(dict(fields)["sec-websocket-key"]) == 24 and dict(fields)["sec-websocket-version"] == "13"
    client.send(stream, b"hello" * 50000)
    client.until(lambda: len(answer.body) == 7 + 250000)
    assert answer.body[7:] == b"HELLO" * 50000
    assert gateway.instance("upgraded") == 1
    client.h2.end_stream(stream)
    client.flush()
    assert client.wait(stream).body.endswith(b"Obye") and answer.reset is None
    until(lambda: gateway.instance("upgraded") == 0, "the end")


def test_websocket_that_is_refused(rig):
    heads = iter(["403 Forbidden", "200 OK"])

    def handler(sock, reader):
        while reader.head() is not None:
            sock.sendall(f"HTTP/1.1 {next(heads)}\r\nContent-Length: 2\r\n\r\nno".encode())

    _, _, client = rig(handler)
    for status in (403, 502):
        answer = client.answers[client.headers(WEBSOCKET, end=False)]
        client.until(lambda: answer.ended)
        assert (answer.status, answer.body) == (status, b"no")


# ---- drain ------------------------------------------------------------------------------------------

def test_drain(rig):
    slow = Slow()
    gateway, backend, client, idle = rig(slow, clients=2)
    assert idle.get().status == 200
    stream = client.request(path="/slow")
    until(lambda: backend.connections == 2 or len(backend.requests) or gateway.instance("in_flight") == 1, "the request")
    gateway.ask("drain 20000")
    client.until(lambda: client.goaways)
    assert client.goaways == [(2**31 - 1, NO_ERROR)]
    idle.until(lambda: idle.closed or len(idle.goaways) == 2)
    assert idle.goaways[-1] == (1, NO_ERROR)
    client.until(lambda: len(client.goaways) == 2)
    slow.go.set()
    answer = client.wait(stream)
    assert answer.body == b"ok"
    client.close()
    idle.close()
    assert gateway.wait() == "exit 0"


# ---- malformed (RFC 9113 section 8) -----------------------------------------------------------------

GET = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]


def without(name):
    return [f for f in GET if f[0] != name]


MALFORMED = {
    "upper case": GET + [("X-A", "b")],
    "connection": GET + [("connection", "close")],
    "keep-alive": GET + [("keep-alive", "timeout=5")],
    "transfer-encoding": GET + [("transfer-encoding", "chunked")],
    "upgrade": GET + [("upgrade", "websocket")],
    "te": GET + [("te", "gzip")],
    "no method": without(":method"),
    "no path": without(":path"),
    "no scheme": without(":scheme"),
    "no host": without(":authority"),
    "two methods": GET + [(":method", "GET")],
    "unknown pseudo": GET + [(":color", "red")],
    "status": GET + [(":status", "200")],
    "pseudo behind": without(":path") + [("a", "b"), (":path", "/")],
    "empty path": without(":path") + [(":path", "")],
    "relative path": without(":path") + [(":path", "a")],
    "absolute path": without(":path") + [(":path", "http://b/")],
    "space in path": without(":path") + [(":path", "/ HTTP/1.1\r\nx: y")],
    "fragment": without(":path") + [(":path", "/#a")],
    "bad method": without(":method") + [(":method", "GET /admin HTTP/1.1\r\nx:")],
    "asterisk": without(":path") + [(":path", "*")],
    "other host": GET + [("host", "b")],
    "two hosts": without(":authority") + [("host", "a"), ("host", "a")],
    "user": without(":authority") + [(":authority", "me@a")],
    "bad authority": without(":authority") + [(":authority", "a b")],
    "line feed": GET + [("a", "b\r\nc: d")],
    "lone line feed": GET + [("a", "b\nc: d")],
    "nul": GET + [("a", "b\0c")],
    "colon in name": GET + [("a: b", "c")],
    "space in name": GET + [("a b", "c")],
    "empty name": GET + [("", "c")],
    "bad length": GET + [("content-length", "x")],
    "two lengths": GET + [("content-length", "0"), ("content-length", "1")],
    "length without body": GET + [("content-length", "5")],
    "protocol without connect": GET + [(":protocol", "websocket")],
    "connect": [(":method", "CONNECT"), (":authority", "a")],
    "expectation": GET + [("expect", "200-ok")],
}


def test_malformed_heads(rig):
    _, backend, client = rig()
    for name, head in MALFORMED.items():
        answer = client.wait(client.headers(head))
        assert answer.reset == PROTOCOL_ERROR or answer.status in (400, 417, 501), (name, answer.status, answer.reset)
    # The connection goes on, and the instance has seen nothing.
    assert client.get(path="/after").status == 200
    assert [line for line, _, _ in backend.requests] == ["GET /after HTTP/1.1"]


def test_bodies_that_are_not_as_long_as_they_say(rig):
    _, backend, client = rig()
    for size in (3, 7):
        stream = client.request("POST", fields=[("content-length", "5")], end=False)
        client.raw(frame(DATA, END_STREAM, stream, b"x" * size))
        assert client.wait(stream).reset == PROTOCOL_ERROR
    assert backend.requests == []


def test_malformed_trailers(rig):
    gateway, backend, _ = rig()
    for field in [(":path", "/"), ("content-length", "3"), ("host", "a"), ("X", "y"), ("a", "b\r\n")]:
        client = H2Client(gateway.port)
        stream = client.request("POST", body=b"abc", end=False)
        client.raw(frame(HEADERS, END_STREAM | END_HEADERS, stream, Encoder().encode([field])))
        answer = client.wait(stream)
        assert answer.reset == PROTOCOL_ERROR or answer.status == 400, field
        client.close()
    assert backend.requests == []


def test_frames_that_must_not_be(rig):
    gateway, _, _ = rig()
    for bad in (frame(DATA, 0, 0, b"x"), frame(SETTINGS, 0, 0, b"x"), frame(PING, 0, 0, b"x"), frame(HEADERS, 4, 2, b"\x82"),
                frame(CONTINUATION, 4, 1, b"\x82"), frame(HEADERS, 4, 1, b"\xff\xff\xff\xff\xff"),
                frame(8, 0, 0, struct.pack(">I", 0)), b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
                frame(DATA, 0, 1, b"x"), frame(5, 4, 1, b"\0\0\0\2\x82")):
        client = H2Client(gateway.port)
        client.raw(bad)
        assert client.ended() not in (None, NO_ERROR), bad
        client.close()


# ---- floods -----------------------------------------------------------------------------------------

def block(fields):
    return Encoder().encode(fields)


def resets(client):
    for stream in range(1, 8000, 2):
        yield frame(HEADERS, END_STREAM | END_HEADERS, stream, block(GET)) + frame(RST_STREAM, 0, stream, b"\0\0\0\x08")


FLOODS = {
    "reset": resets,
    "ping": lambda c: (frame(PING, 0, 0, b"12345678") for _ in range(4000)),
    "settings": lambda c: (frame(SETTINGS) for _ in range(4000)),
    "settings with values": lambda c: (frame(SETTINGS, 0, 0, b"\0\4\0\0\xff\xff" * 20) for _ in range(4000)),
    "priority": lambda c: (frame(PRIORITY, 0, 2 * i + 1, b"\0\0\0\0\x10") for i in range(4000)),
    "empty data": lambda c: (frame(HEADERS, END_HEADERS, 1, block(GET)) if i == 0 else frame(DATA, 0, 1)
                             for i in range(4000)),
    "continuation": lambda c: (frame(HEADERS, 0, 1, block(GET)) if i == 0 else frame(CONTINUATION, 0, 1, b"")
                               for i in range(4000)),
    "malformed": lambda c: (frame(HEADERS, END_STREAM | END_HEADERS, i, block(GET + [("te", "x")]))
                            for i in range(1, 8000, 2)),
    "no concurrency": lambda c: (frame(HEADERS, END_STREAM | END_HEADERS, i, block(GET)) for i in range(1, 8000, 2)),
}


def test_floods(rig):
    slow = Slow()
    gateway, _ = rig(lambda sock, reader: slow.go.wait(60), clients=0)
    for name, frames in FLOODS.items():
        client = H2Client(gateway.port)
        client.raw(b"".join(frames(client)))
        assert client.ended() == ENHANCE_YOUR_CALM, name
        client.close()
        until(lambda: gateway.ask("connections") == "0", "the end")
    slow.go.set()
    until(lambda: gateway.instance("in_flight") == 0, "the end of its requests")


def test_a_flood_of_questions_without_reading(rig):
    gateway, _, client = rig()
    client.sock.settimeout(1)
    try:
        for _ in range(2000):
            client.sock.sendall(frame(PING, 0, 0, b"12345678") * 100)
    except (OSError, TimeoutError):
        pass
    assert gateway.rss() < 64 << 20
    assert gateway.get()[0] == 200


def test_more_streams_than_allowed(rig):
    slow = Slow()
    gateway, _, client = rig(slow)
    client.until(lambda: client.peer.get(3) == 100)
    client.raw(b"".join(frame(HEADERS, END_STREAM | END_HEADERS, i, block(GET[:3] + [(":path", "/slow")]))
                        for i in range(1, 201, 2)))
    until(lambda: gateway.instance("in_flight") == 100, "all of them")
    client.raw(frame(HEADERS, END_STREAM | END_HEADERS, 201, block(GET)))
    assert client.ended() == PROTOCOL_ERROR
    slow.go.set()


def test_large_heads(rig):
    gateway, _, client = rig()
    client.until(lambda: 6 in client.peer)
    assert client.peer[6] == 16384
    assert client.get(fields=[("a", "b" * 15000)]).status == 200
    answer = client.get(fields=[("a", "b" * 17000)])
    assert answer.status == 431 and b"too long" in answer.body
    assert client.get(fields=[(f"a{i}", "") for i in range(99)]).status == 200
    assert client.get(fields=[(f"a{i}", "") for i in range(101)]).status == 431
    assert client.get().status == 200


def test_a_head_that_unfolds(rig):
    gateway, _, client = rig()
    encoder = Encoder()
    seed = encoder.encode(GET + [("a", "b" * 3900)])
    index = encoder.encode([("a", "b" * 3900)])
    assert len(index) == 1
    client.raw(frame(HEADERS, END_STREAM | END_HEADERS, 1, seed))
    client.raw(b"".join(frame(HEADERS, END_STREAM | END_HEADERS, i, encoder.encode(GET) + index * 16000)
                        for i in range(3, 43, 2)))
    client.raw(frame(PING, 0, 0, b"12345678"))
    assert gateway.rss() < 64 << 20 and gateway.get()[0] == 200


def turns(gateway):
    """How often its threads have slept."""
    return sum(int(line.split()[1]) for task in Path(f"/proc/{gateway.pid}/task").iterdir()
               for line in (task / "status").read_text().splitlines() if line.startswith("voluntary"))


def test_a_good_bye_that_is_not_taken_is_waited_for_in_one_sleep(rig):
    sent = []

    def large(sock, reader):
        reader.head()
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            sent.append(sock.send(b"x" * 65536))

    def is_stuck():
        before, end = len(sent), time.monotonic() + 0.3
        while len(sent) == before and time.monotonic() < end:
            time.sleep(0.01)
        return sent and len(sent) == before

    gateway, _, deaf = rig(large, settings={SettingCodes.INITIAL_WINDOW_SIZE: 1 << 30})
    deaf.h2.increment_flow_control_window(1 << 30)
    deaf.flush()
    stream = deaf.request()
    until(is_stuck, "a full socket")
    deaf.raw(frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL)) + frame(HEADERS, 0, stream + 2, block(GET)))
    half = H2Client(gateway.port)
    half.raw(frame(HEADERS, 0, 1, block(GET)))
    assert half.ended() == ENHANCE_YOUR_CALM  # the other one, too, but it has not heard of it
    half.close()
    before = turns(gateway)
    time.sleep(1)  # what it does in that time
    assert turns(gateway) - before < 40
    assert gateway.ask("connections") == "1"


def test_a_head_that_never_ends_lasts_ten_seconds(rig):
    gateway, _ = rig(clients=0)
    half, mute = H2Client(gateway.port), H2Client(gateway.port)
    half.raw(frame(HEADERS, 0, 1, block(GET)))
    assert half.ended() == ENHANCE_YOUR_CALM
    assert mute.ended() == NO_ERROR
    half.close()
    mute.close()


def test_a_frame_that_waits_for_room_when_its_stream_ends(rig):
    """Large answers that nobody reads until their time is up: then the frames that were begun are of
    streams that are gone."""
    def large(sock, reader):
        reader.head()
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            sock.sendall(b"x" * 65536)

    gateway, _, *clients = rig(large, route="timeout=500", clients=4,
                               settings={SettingCodes.INITIAL_WINDOW_SIZE: 1 << 30})
    for client in clients:
        client.h2.increment_flow_control_window(1 << 30)
        client.flush()
        for _ in range(20):
            client.request()
    until(lambda: gateway.instance("in_flight") == 80, "they run")
    until(lambda: gateway.instance("in_flight") == 0, "their time is up")
    for client in clients:
        client.sock.settimeout(0.5)
        read = 0
        try:
            while piece := client.sock.recv(1 << 20):
                read += len(piece)
        except (TimeoutError, ConnectionError):
            pass
        assert read > 0
    assert gateway.alive()


def test_a_malformed_head_ends_its_own_stream_only(rig):
    go = threading.Event()

    def slow(sock, reader):
        reader.head()
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        go.wait(60)
        sock.sendall(b"k")

    _, _, client = rig(slow)
    running = client.request()
    client.until(lambda: client.answers[running].body == b"o")
    bad = client.headers([(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/"),
                          ("Bad Name", "x")])
    assert client.wait(bad).reset == PROTOCOL_ERROR
    # The time that a head has is over for this one: nothing is open any more.
    client.sock.settimeout(12)
    began = time.monotonic()
    while time.monotonic() - began < 11:
        try:
            client.step()
        except TimeoutError:
            break
        assert not client.goaways
    go.set()
    client.sock.settimeout(20)
    assert client.wait(running).body == b"ok"


def test_who_measures_with_every_answer_is_no_flood(rig):
    """gRPC pings with each DATA that comes."""
    def stream(sock, reader):
        while (head := reader.head()) is not None:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            for _ in range(100000000 // 65536):
                sock.sendall(b"x" * 65536)

    gateway, _, client = rig(stream, settings={SettingCodes.INITIAL_WINDOW_SIZE: (1 << 31) - 1})
    client.h2.increment_flow_control_window((1 << 31) - 65536)
    client.request()
    pings = 0
    while pings < 1500 and not client.goaways:
        client.step()
        client.h2.ping(b"bdpbdpbd")
        client.flush()
        pings += 1
    assert not client.goaways and gateway.alive()
