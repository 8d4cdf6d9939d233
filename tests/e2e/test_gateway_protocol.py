"""The gateway's HTTP/1.1, byte by byte: what is refused, what is passed on and how."""

import re

import pytest
from gateway_fixtures import driver  # noqa: F401
from gateway_rig import Backend, Gateway, answering, until
from sluice_test.build import ROOT

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def rig(request):
    things = []

    def make(handler=None, workers=1, trusted="", app="", route="", **options):
        backend = Backend(handler)
        gateway = Gateway(workers=workers, trusted=trusted, **options)
        things.extend((backend, gateway))
        gateway.serve(backend.port, app=app, route=route)
        return gateway, backend

    yield make
    for thing in things:
        alive = thing.close()
        assert alive is not False, "the gateway died"


def unescape(text):
    def one(m):
        s = m.group(0)
        if s.startswith("\\{"):
            n, inner = s[2:-1].split("*", 1)
            return unescape(inner).decode("latin-1") * int(n)
        if s[1] == "x":
            return chr(int(s[2:], 16))
        return {"r": "\r", "n": "\n", "t": "\t", "0": "\0"}.get(s[1], s[1])

    return re.sub(r"\\\{[^}]*\}|\\x[0-9a-fA-F]{2}|\\.", one, text).encode("latin-1")


def cases(name):
    for block in (ROOT / "tests/proto" / name).read_text().split("\n\n"):
        lines = [line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != "#"]
        case = {"to": "GET"}
        for key, value in lines:
            case[key] = case.get(key, "") + value if key == "send" else value
        if "name" in case:
            yield case


# ---- requests ------------------------------------------------------------------------------------


def test_bad_requests_are_answered_and_never_forwarded(rig):
    gateway, backend = rig()
    refused = [c for c in cases("requests.txt") if c["want"].isdigit()]
    assert len(refused) > 60
    for case in refused:
        # A second request behind it must not be looked at either.
        sock, reader = gateway.connect(unescape(case["send"]) + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        status, fields, _ = reader.answer()
        assert status == int(case["want"]), case["name"]
        assert fields["server"] == "sluice" and fields["connection"] == "close", case["name"]
        assert reader.closed(), case["name"]
        sock.close()
    assert backend.requests == [] and backend.connections == 0
    assert gateway.get()[0] == 200


def test_good_requests_are_forwarded(rig):
    gateway, backend = rig()
    for case in cases("requests.txt"):
        if not case["want"].startswith("ok"):
            continue
        _, method, path, framing = case["want"].split()
        backend.requests.clear()
        sock, reader = gateway.connect(unescape(case["send"]))
        assert reader.answer(method)[0] == 200, case["name"]
        line, fields, body = backend.requests[0]
        assert line == f"{method} {path} HTTP/1.1", case["name"]
        assert [k for k, _ in fields].count("host") == 1, case["name"]
        if framing.startswith("length:"):
            assert len(body) == int(framing[7:]), case["name"]
        sock.close()


def test_bad_chunks_end_the_request(rig):
    gateway, backend = rig()
    for case in cases("bodies.txt"):
        if case["want"] != "bad":
            continue
        sock, reader = gateway.connect(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        sock.sendall(unescape(case["send"]) + GET)
        status, fields, _ = reader.answer()
        assert (status, fields["server"]) == (400, "sluice"), case["name"]
        assert reader.closed(), case["name"]
        sock.close()
    assert backend.requests == []  # none of them was ever whole
    until(lambda: gateway.instance("in_flight") == 0)


def test_chunked_bodies_pass(rig):
    gateway, backend = rig()
    for case in cases("bodies.txt"):
        if not case["want"].startswith("done"):
            continue
        raw = unescape(case["send"]).split(b"GET /")[0]
        sock, reader = gateway.connect(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(len(raw)):  # a byte at a time: as the slowest client would
            sock.sendall(raw[i : i + 1])
        assert reader.answer()[0] == 200, case["name"]
        assert len(backend.requests[-1][2]) == int(case["want"].split()[1]), case["name"]
        sock.close()


def test_heads_in_pieces(rig):
    gateway, backend = rig()
    sock, reader = gateway.connect()
    for byte in b"\r\nGET /slow HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n":
        sock.sendall(bytes([byte]))
    assert reader.answer()[0] == 200
    assert backend.requests[0][0] == "GET /slow HTTP/1.1"


def test_what_ends_at_this_hop_is_removed(rig):
    gateway, backend = rig()
    gateway.get(
        fields="Connection: X-Secret, keep-alive\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
        "Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\nX-Stays: 1\r\n"
        "X-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n"
        "X-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\n"
    )
    fields = backend.requests[0][1]
    names = [k for k, _ in fields]
    for gone in ("connection", "x-secret", "keep-alive", "te", "proxy-connection", "upgrade",
                 "http2-settings", "forwarded", "x_forwarded_for"):
        assert gone not in names
    assert dict(fields)["x-stays"] == "1" and dict(fields)["host"] == "a"
    assert ("x-forwarded-for", "127.0.0.1") in fields and names.count("x-forwarded-for") == 1
    assert ("x-forwarded-proto", "http") in fields and ("x-forwarded-host", "a") in fields


def test_trusted_proxies_are_believed(rig):
    gateway, backend = rig(trusted="10.0.0.0/8,127.0.0.0/8")
    gateway.get(fields="X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n"
                "X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\nX_Forwarded_For: 6.6.6.6\r\n")
    fields = dict(backend.requests[0][1])
    assert fields["x-forwarded-for"] == "1.1.1.1, 2.2.2.2, 127.0.0.1"
    assert fields["x-forwarded-proto"] == "https" and fields["x-forwarded-host"] == "shop.example"


def test_absolute_targets_become_paths(rig):
    gateway, backend = rig()
    sock, reader = gateway.connect(b"GET http://a.example/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n")
    assert reader.answer()[0] == 200
    assert backend.requests[0][0] == "GET /x?y HTTP/1.1"
    sock.sendall(b"GET http://a.example HTTP/1.1\r\nHost: a.example\r\n\r\n")
    assert reader.answer()[0] == 200
    assert backend.requests[1][0] == "GET / HTTP/1.1"


def test_http_1_0_clients(rig):
    gateway, backend = rig()
    sock, reader = gateway.connect(b"GET / HTTP/1.0\r\n\r\n")
    assert reader.answer()[2] == b"ok"
    assert reader.closed()
    sock, reader = gateway.connect(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    _, fields, _ = reader.answer()
    assert fields["connection"] == "keep-alive"
    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert reader.answer()[2] == b"ok"


def test_chunked_answers_to_http_1_0(rig):
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-T: 1\r\n\r\n"
    gateway, _ = rig(answering(raw))
    sock, reader = gateway.connect(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    _, fields, body = reader.answer()
    assert body == b"abcdefg" and "transfer-encoding" not in fields
    assert fields["connection"] == "close"


def test_no_route_and_own_answers_keep_the_connection(rig):
    gateway, backend = rig(route="host=known")
    sock, reader = gateway.connect()
    for _ in range(3):
        sock.sendall(GET)
        status, fields, _ = reader.answer()
        assert status == 404 and fields["server"] == "sluice"
        sock.sendall(b"GET / HTTP/1.1\r\nHost: known\r\n\r\n")
        assert reader.answer()[0] == 200
    sock.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
    assert reader.answer("HEAD")[0] == 404
    assert reader.answer()[0] == 404


# ---- answers -------------------------------------------------------------------------------------


def test_bad_answers_are_502(rig):
    for case in cases("responses.txt"):
        if case["want"] != "bad":
            continue
        gateway, _ = rig(answering(unescape(case["send"]), times=1))
        status, fields, body = gateway.get()
        assert (status, fields["server"]) == (502, "sluice"), case["name"]
        assert b"evil" not in body


def test_good_answers_pass(rig):
    for case in cases("responses.txt"):
        if not case["want"].startswith("ok 2") and not case["want"].startswith("ok 304"):
            continue
        gateway, _ = rig(answering(unescape(case["send"]), times=1))
        method = case["to"]
        sock, reader = gateway.connect(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        status, _, body = reader.answer(method)
        _, want, framing = case["want"].split()
        assert status == int(want), case["name"]
        if framing in ("length:2", "close"):
            assert body == b"ok", case["name"]


def test_interim_answers_pass(rig):
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    gateway, _ = rig(answering(early + early + final))
    sock, reader = gateway.connect(GET)
    assert reader.answer()[:2] == (103, {"link": "</x>"})
    assert reader.answer()[0] == 103
    assert reader.answer()[2] == b"ok"
    sock, reader = gateway.connect(b"GET / HTTP/1.0\r\n\r\n")  # never to HTTP/1.0
    assert reader.answer()[0] == 200


def test_expect_100_continue(rig):
    def handler(sock, reader):
        while True:
            head = reader.head()
            if head is None:
                return
            assert dict(head[1])["expect"] == "100-continue"
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = reader.body(head[1])
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    gateway, _ = rig(handler)
    sock, reader = gateway.connect(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert reader.answer()[0] == 100
    sock.sendall(b"hello")
    assert reader.answer()[2] == b"hello"


def test_expectation_refused_by_the_app(rig):
    gateway, _ = rig(lambda s, r: (r.head(), s.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"), r.rest()))
    sock, reader = gateway.connect(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    status, fields, _ = reader.answer()
    assert status == 403 and fields["connection"] == "close"  # the body may or may not come: no more requests


def test_head_204_304(rig):
    for raw, to in ((b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", "HEAD"),
                    (b"HTTP/1.1 204 No Content\r\n\r\n", "GET"),
                    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", "GET")):
        gateway, backend = rig(answering(raw))
        sock, reader = gateway.connect()
        for _ in range(3):  # the framing is right when the next answer is found
            sock.sendall(f"{to} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            reader.answer(to)
        assert backend.connections == 1


def test_answers_that_end_with_the_connection(rig):
    gateway, _ = rig(answering(b"HTTP/1.0 200 OK\r\n\r\nall of it", times=1))
    sock, reader = gateway.connect(GET)
    status, fields, body = reader.answer()
    assert (status, body) == (200, b"all of it") and fields["connection"] == "close"


def test_connection_fields_of_answers_stay_here(rig):
    raw = (b"HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
           b"X-End: 1\r\nContent-Length: 0\r\n\r\n")
    gateway, _ = rig(answering(raw))
    sock, reader = gateway.connect(GET)
    fields = reader.answer()[1]
    assert fields == {"x-end": "1", "content-length": "0"}


def test_pipelined_requests_are_answered_in_order(rig):
    def handler(sock, reader):
        while True:
            head = reader.head()
            if head is None:
                return
            reader.body(head[1])
            path = head[0].split()[1].encode()
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))

    gateway, backend = rig(handler)
    n = 300
    sock, reader = gateway.connect()
    for i in range(n):
        if i % 3:
            sock.sendall(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % i)
        else:
            sock.sendall(b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" % i)
    for i in range(n):
        assert reader.answer()[2] == b"/%d" % i
    until(lambda: gateway.metric("requests") == n)


def test_unasked_bytes_behind_an_answer_reach_nobody(rig):
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    gateway, backend = rig(answering(raw))
    sock, reader = gateway.connect()
    for _ in range(5):
        sock.sendall(GET)
        assert reader.answer()[2] == b"ok"
    assert backend.connections == 5  # such a connection is not used again


def test_bytes_behind_an_answer_that_fills_the_buffer_reach_nobody(rig):
    """Where the answer ends with the gateway's read, what follows it was never seen."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    room = 16384 + 1024
    for size in (room, room - 1, room + 1):
        body = b"x" * (size - len(head % 17000))
        answer = head % len(body) + body
        assert len(answer) == size
        gateway, backend = rig(answering(answer + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nSTALE"))
        for _ in range(3):
            sock, reader = gateway.connect(GET)
            status, _, got = reader.answer()
            assert status == 200 and got == body
            sock.close()
        assert backend.connections == 3


def test_own_connection_close(rig):
    gateway, _ = rig()
    sock, reader = gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    _, fields, body = reader.answer()
    assert body == b"ok" and fields["connection"] == "close" and reader.closed()


