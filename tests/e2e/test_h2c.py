"""HTTP/2 to instances (`protocol: h2c`), and gRPC from end to end."""

import os
import signal
import socket
import struct
import threading
from collections import Counter
from pathlib import Path

import h2.events
import pytest
from gateway_fixtures import driver  # noqa: F401
from gateway_rig import Backend, Gateway, until
from h2_peer import (CANCEL, END_HEADERS, END_STREAM, HEADERS, INTERNAL_ERROR, NO_ERROR, PING, REFUSED_STREAM, RST_STREAM, SETTINGS,
                     H2Backend, H2Client, ended, frame)
from h2.settings import SettingCodes
from sluice_test import App
from sluice_test.build import PATIENCE


@pytest.fixture
def rig():
    things = []

    def make(handler=None, settings=None, route="", app="", backends=1, clients=1):
        made = [H2Backend(handler, settings) for _ in range(backends)]
        gateway = Gateway()
        gateway.serve(*[b.port for b in made], route=f"h2c=1 {route}", app=app)
        things.extend((*made, gateway))
        peers = [H2Client(gateway.port) for _ in range(clients)]
        things.extend(peers)
        return (gateway, *made, *peers)

    yield make
    for thing in reversed(things):
        alive = thing.close()
        assert alive is not False, "the gateway died"


# ---- requests and answers ---------------------------------------------------------------------------

def test_what_the_instance_sees(rig):
    gateway, backend, client = rig()
    answer = client.get("GET", "/a?b=c", [("x-one", "1"), ("cookie", "a=b"), ("cookie", "c=d")])
    assert (answer.status, answer.body, answer.fields["content-length"]) == (200, b"ok", "2")
    seen = backend.requests[0].list
    assert seen[:4] == [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/a?b=c")]
    assert ("cookie", "a=b; c=d") in seen and ("te", "trailers") in seen and ("x-forwarded-for", "127.0.0.1") in seen
    assert not {"host", "connection", "transfer-encoding"} & set(dict(seen))
    # The same from HTTP/1.1.
    status, fields, body = gateway.get("/x", "X-Two: 2\r\nTE: gzip\r\n")
    assert (status, body) == (200, b"ok")
    assert backend.requests[1].fields["x-two"] == "2" and backend.requests[1].fields["te"] == "trailers"
    assert len(backend.connections) == 1


def test_bodies_and_trailers_both_ways(rig):
    def echo(connection, stream, request, event):
        if ended(event):
            connection.answer(stream, 200, [], request.body[:60000], [("x-size", str(len(request.body)))])

    gateway, backend, client = rig(echo)
    for body in (b"x", bytes(range(256)) * 200, bytes(range(256)) * 4000):
        stream = client.request("POST", body=body, end=False)
        client.h2.send_headers(stream, [("x-check", "7")], end_stream=True)
        client.flush()
        answer = client.wait(stream)
        assert answer.body == body[:60000] and answer.trailers == {"x-size": str(len(body))}
        assert backend.requests[-1].body == body and backend.requests[-1].trailers == {"x-check": "7"}
    # To HTTP/1.1 they are the trailer section of chunks.
    sock, reader = gateway.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    head = reader.head()
    assert dict(head[1])["transfer-encoding"] == "chunked"
    until(lambda: reader.data.endswith(b"\r\n\r\n") or not reader.more(), "the end")
    assert reader.data == b"3\r\nabc\r\n0\r\nx-size: 3\r\n\r\n"


def test_answers_of_all_kinds(rig):
    def handler(connection, stream, request, event):
        if not ended(event):
            return
        path = request.fields[":path"]
        if path == "/hints":
            connection.h2.send_headers(stream, [(":status", "103"), ("link", "</a>")])
            connection.answer(stream, 200, [], b"late")
        elif path == "/empty-data":
            connection.h2.send_headers(stream, [(":status", "200")])
            connection.h2.send_data(stream, b"", end_stream=True)
        else:
            connection.answer(stream, int(path[1:4]), [("content-length", "9")] if path.endswith("length") else [])

    gateway, _, client = rig(handler)
    hinted = client.get(path="/hints")
    assert hinted.informational[0]["link"] == "</a>" and hinted.body == b"late"
    for path, status in (("/200", 200), ("/204", 204), ("/304", 304), ("/404", 404), ("/304length", 304), ("/empty-data", 200)):
        answer = client.get(path=path)
        assert (answer.status, answer.body, answer.ended) == (status, b"", True), path
        assert gateway.get(path)[::2] == (status, b""), path
    assert client.get("HEAD", "/200length").fields["content-length"] == "9"
    assert gateway.get("/200length", method="HEAD")[1]["content-length"] == "9"
    assert client.get(path="/200length").status == 502  # it says 9 and sends none


def test_large_answers_and_a_client_that_takes_nothing(rig):
    def handler(connection, stream, request, event):
        if ended(event):
            connection.h2.send_headers(stream, [(":status", "200")])
        if ended(event) or isinstance(event, h2.events.WindowUpdated):
            left = size - connection.sent.get(stream, 0)
            while left > 0 and (room := min(connection.h2.local_flow_control_window(stream), 16384, left)) > 0:
                left -= room
                connection.h2.send_data(stream, b"x" * room, end_stream=left == 0)
            connection.sent[stream] = size - left

    size = 2 << 20

    def first(connection, *rest):
        connection.sent = getattr(connection, "sent", {})
        handler(connection, *rest)

    _, backend, client = rig(first)
    client.take = False
    stuck = client.request()
    client.until(lambda: len(client.answers[stuck].body) == 65535)
    client.h2.increment_flow_control_window(1 << 24)
    client.take = True
    client.flush()
    assert len(client.get().body) == size
    assert backend.connections[0].sent[1] < 300000  # the instance has to wait, too
    client.h2.increment_flow_control_window(size, stuck)
    client.flush()
    assert len(client.wait(stuck).body) == size


def test_answers_that_nobody_takes_do_not_use_up_the_connections_window(rig):
    """Where memory is short, the window is given back as bytes are read, or with their stream."""
    size, waiting, sent = 60000, [], []

    def answer_some():
        for connection in backend.connections:
            with connection.lock:
                while (streams := waiting_on(connection)) and connection.h2.outbound_flow_control_window >= size:
                    sent.append(streams[0])
                    waiting.remove((connection, streams[0]))
                    connection.answer(streams[0], 200, [], b"x" * size)
        return len(sent) == 1100

    def waiting_on(connection):
        return [stream for c, stream in waiting if c is connection]

    gateway, backend = rig(lambda c, stream, r, event: waiting.append((c, stream)) if ended(event) else None,
                           route="timeout=60000", clients=0)
    clients = [H2Client(gateway.port, settings={SettingCodes.INITIAL_WINDOW_SIZE: 0}) for _ in range(11)]
    for client in clients:
        for _ in range(100):
            client.request()
    until(answer_some, "windows for 1100 answers")
    for client in clients:
        client.close()
    until(lambda: gateway.metric("in_flight") == 0, "the end of them")


# ---- connections ------------------------------------------------------------------------------------

def test_streams_share_connections_up_to_their_limit(rig):
    go = threading.Event()

    def handler(connection, stream, request, event):
        if ended(event) and (request.fields[":path"] != "/slow" or go.is_set()):
            connection.answer(stream, 200, [], b"x")

    gateway, backend, client = rig(handler, settings={3: 4})  # MAX_CONCURRENT_STREAMS
    assert client.get().status == 200  # its settings are known now
    slow = [client.request(path="/slow") for _ in range(10)]
    until(lambda: len(backend.requests) == 11, "the requests")
    assert [sum(r.fields[":path"] == "/slow" for r in c.requests.values()) for c in backend.connections] == [4, 4, 2]
    assert client.get().status == 200
    for c in backend.connections:
        with c.lock:
            for stream, r in c.requests.items():
                if r.fields[":path"] == "/slow":
                    c.answer(stream, 200, [], b"y")
    assert [client.wait(s).body for s in slow] == [b"y"] * 10
    assert [client.get().status for _ in range(50)] == [200] * 50 and len(backend.connections) == 3
    assert gateway.instance("in_flight") == 0


def test_an_instance_that_is_not_there(rig):
    gateway, backend, client = rig(app="hold_ms=0")
    backend.close()
    assert client.get().status in (502, 503)
    assert gateway.instance("connect_errors") >= 1


def test_a_client_that_leaves_cancels(rig):
    gateway, backend, client = rig(lambda *a: None)
    stream = client.request()
    until(lambda: backend.requests, "the request")
    client.h2.reset_stream(stream, CANCEL)
    client.flush()
    until(lambda: backend.requests[0].reset == CANCEL, "the reset")
    assert gateway.metric("left") == 1 and len(backend.connections) == 1 and backend.closed == 0


def test_instances_that_leave_the_table_lose_their_connections(rig):
    gateway, backend, other, client = rig(backends=2)
    assert [client.get().status for _ in range(30)] == [200] * 30
    assert len(backend.connections) == len(other.connections) == 1
    gateway.serve(other.port, route="h2c=1", slots=[1])
    until(lambda: backend.closed == 1, "the end")
    assert client.get().status == 200 and other.closed == 0


# ---- failures and second attempts -------------------------------------------------------------------

@pytest.mark.parametrize("how", ["refused", "goaway"])
def test_what_the_instance_has_not_looked_at_is_sent_again(rig, how):
    turns = []

    def handler(connection, stream, request, event):
        if not ended(event):
            return
        turns.append(stream)
        if len(turns) > 1:
            connection.answer(stream, 200, [], request.body)
        elif how == "refused":
            connection.reset(stream, REFUSED_STREAM)
        else:
            connection.raw(frame(7, 0, 0, struct.pack(">II", 0, NO_ERROR)))

    gateway, backend, client = rig(handler, route="retries=0")
    answer = client.get("POST", body=b"not idempotent")
    assert (answer.status, answer.body) == (200, b"not idempotent")
    assert gateway.metric("retried") == 1 and gateway.instance("errors") == 0


def test_what_it_may_have_looked_at_is_not(rig):
    def handler(connection, stream, request, event):
        if ended(event):
            connection.reset(stream, INTERNAL_ERROR)

    gateway, backend, client = rig(handler)
    assert client.get("POST", body=b"x").status == 502
    assert len(backend.requests) == 1 and gateway.metric("failed") == 1
    assert client.get("GET").status == 502 and len(backend.requests) == 3  # idempotent: once more


def test_an_instance_that_drops_a_connection_with_streams(rig):
    go = threading.Event()

    def handler(connection, stream, request, event):
        if ended(event) and go.is_set():
            connection.answer(stream, 200, [], b"again")

    gateway, backend, client = rig(handler)
    streams = [client.request() for _ in range(5)] + [client.request("POST", body=b"x")]
    until(lambda: len(backend.requests) == 6, "the requests")
    go.set()
    backend.connections[0].sock.shutdown(2)
    assert [client.wait(s).body for s in streams[:5]] == [b"again"] * 5
    assert client.wait(streams[5]).status == 502


def test_what_never_left_the_gateway_is_sent_again(rig):
    """The instance's end comes together with a request that was about to go to it."""
    gateway, backend = rig(clients=0)
    sock, reader = gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert reader.answer()[0] == 200
    os.kill(gateway.pid, signal.SIGSTOP)
    until(lambda: Path(f"/proc/{gateway.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T", "the stop")
    sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
    backend.connections[0].sock.shutdown(socket.SHUT_RDWR)
    os.kill(gateway.pid, signal.SIGCONT)
    assert reader.answer()[::2] == (200, b"ok")
    assert [r.body for r in backend.requests] == [b"", b"hi"] and gateway.instance("errors") == 0


def drop_poison(connection, stream, request, event):
    if ended(event) and request.fields[":path"] == "/poison":
        connection.sock.shutdown(socket.SHUT_RDWR)
    elif ended(event):
        connection.answer(stream, 200, [], b"ok")


def test_what_kills_instances_does_not_go_round(rig):
    """Only the first time may it have been the end of a connection that was kept for long."""
    gateway, *backends = rig(drop_poison, route="retries=0", backends=5, clients=0)
    until(lambda: gateway.get()[0] == 200 and all(b.connections for b in backends), "connections to all")
    until(lambda: gateway.get()[0] == 200 and all(len(b.requests) > 1 for b in backends), "that were used")
    assert gateway.get("/poison")[0] == 502
    seen = [r for b in backends for r in b.requests if r.fields[":path"] == "/poison"]
    assert len(seen) == 2 and sum(gateway.instance("errors", slot) for slot in range(5)) == 1


def test_a_call_that_dies_with_a_connection_is_the_instances_error(rig):
    gateway, backend, client = rig(drop_poison)
    assert client.get().status == 200
    assert client.get("POST", "/poison", body=b"x").status == 502
    assert len(backend.requests) == 2 and gateway.instance("errors") == 1 and gateway.metric("failed") == 1


def test_hostile_instances(rig):
    """Whatever they say: an answer for the client, the gateway lives, the next connection works."""
    bad = [
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff"),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82"),              # :method
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x08\x03101"),       # :status 101
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x08\x03abc"),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x08\x02" + b"20"),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x88\x00\x01A\x01b"),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x88\x00\x0aconnection\x05close"),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x88\x00\x01a\x03b\r\n"),
        frame(HEADERS, END_HEADERS | END_STREAM, 2, b"\x88"),
        frame(5, END_HEADERS, 1, b"\0\0\0\2\x82"),                         # PUSH_PROMISE
        frame(0, END_STREAM, 1, b"body before the head"),
        frame(0, END_STREAM, 99, b"nobody's"),
        frame(SETTINGS, 0, 0, b"\0\4\xff\xff\xff\xff"),                    # INITIAL_WINDOW_SIZE
        frame(8, 0, 0, b"\0\0\0\0"),
        frame(9, END_HEADERS, 1, b"\x88"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"\0" * 100,
        frame(PING, 0, 0, b"12345678") * 3000,
        frame(SETTINGS, 0, 0, b"") * 3000,
        frame(HEADERS, END_HEADERS, 1, b"\x08\x03103") * 3000,
    ]
    raws = list(bad)

    def handler(connection, stream, request, event):
        if ended(event):
            if request.fields[":path"] == "/bad":
                connection.raw(raws.pop(0) + frame(0, END_STREAM, 1, b"") * 0)
                connection.sock.shutdown(1)
            else:
                connection.answer(stream, 200, [], b"fine")

    gateway, backend, client = rig(handler, route="retries=0")
    while raws:
        what = raws[0]
        until(lambda: backend.closed == len(backend.connections), "the one before is closed")
        answer = client.get("POST", "/bad", body=b"x")
        assert answer.status == 502 or answer.reset == INTERNAL_ERROR, what[:40]
        gateway.serve(backend.port, route="h2c=1 retries=0")
    assert client.get(path="/good").body == b"fine"
    assert gateway.rss() < 64 << 20


def connecting_to(port):
    """Connections to that port that are still being made (proc_net_tcp(5): state SYN_SENT)."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return sum(row[3] == "02" and int(row[2].split(":")[1], 16) == port for row in rows)


def test_a_connection_that_is_not_made_in_time_is_given_up(rig):
    """Nobody else waits for it, and another instance gets the requests."""
    gateway, backend = rig(clients=0)
    deaf = socket.socket()
    deaf.bind(("127.0.0.1", 0))
    deaf.listen(0)
    port, fillers = deaf.getsockname()[1], []
    while connecting_to(port) == 0:
        fillers.append(socket.socket())
        fillers[-1].setblocking(False)
        fillers[-1].connect_ex(("127.0.0.1", port))
    mine = connecting_to(port)
    gateway.serve(port, route="h2c=1 connect=300", app="hold_limit=0")
    clients = [gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(4)]
    assert {reader.answer()[0] for _, reader in clients} <= {502, 503}
    until(lambda: connecting_to(port) == mine, "the connection is given up")
    gateway.serve(port, backend.port, route="h2c=1 connect=300")
    for _ in range(8):
        assert gateway.get()[0] == 200
    for sock in (*fillers, deaf):
        sock.close()


def test_an_instance_that_takes_no_streams_gets_one_connection(rig):
    """SETTINGS_MAX_CONCURRENT_STREAMS of 0 (RFC 9113 section 6.5.2), and later some."""
    def refuse_all(sock, reader):
        reader.exactly(24)  # the preface
        sock.sendall(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 0)) + frame(SETTINGS, 1))
        seen.append(sock)
        while head := reader.exactly(9):
            reader.exactly(int.from_bytes(head[:3], "big"))
            if head[3] == HEADERS:
                sock.sendall(frame(RST_STREAM, 0, int.from_bytes(head[5:], "big"), struct.pack(">I", REFUSED_STREAM)))

    seen = []
    gateway, backend = rig(clients=0)
    closed = Backend(refuse_all)
    gateway.serve(closed.port, route="h2c=1", app="hold_limit=0")
    for _ in range(30):
        assert gateway.get()[0] == 503
    assert len(seen) == 1
    gateway.serve(closed.port, backend.port, route="h2c=1")
    for _ in range(10):
        assert gateway.get()[0] == 200
    assert len(seen) == 1
    gateway.serve(closed.port, route="h2c=1", app="hold_ms=60000")
    _, reader = gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: gateway.metric("waiting", 0) == 1, "it waits")
    seen[0].sendall(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 100)))
    assert reader.answer()[0] in (502, 503), "it was asked again, and refused"
    closed.close()


# ---- gRPC -------------------------------------------------------------------------------------------

CALL = [("content-type", "application/grpc"), ("te", "trailers")]


def message(data):
    return b"\0" + struct.pack(">I", len(data)) + data


def call(client, path, *messages, end=True):
    stream = client.request("POST", path, CALL, end=False)
    for m in messages:
        client.send(stream, message(m))
    if end:
        client.h2.end_stream(stream)
        client.flush()
    return stream


def test_grpc(rig):
    """Unary, streams either way, both ways at once: each message is passed on when it comes."""
    ok = [("grpc-status", "0"), ("grpc-message", "")]

    def handler(connection, stream, request, event):
        path = request.fields[":path"]
        if isinstance(event, h2.events.RequestReceived) and path != "/s/Unary":
            connection.h2.send_headers(stream, [(":status", "200"), CALL[0]])
        if isinstance(event, h2.events.DataReceived) and path == "/s/Both":
            connection.data(stream, event.data.upper(), end=False)
        if ended(event):
            if path == "/s/Unary":
                connection.answer(stream, 200, [CALL[0]], message(request.body[5:][::-1]), ok)
            elif path == "/s/Client":
                connection.data(stream, message(b"%d" % len(request.body)), ok)
            elif path == "/s/Server":
                for i in range(100):
                    connection.data(stream, message(b"%d" % i), end=False)
                connection.data(stream, b"", ok)
            else:
                connection.data(stream, b"", ok)

    gateway, backend, client = rig(handler)
    answer = client.wait(call(client, "/s/Unary", b"abc"))
    assert answer.fields["content-type"] == "application/grpc"
    assert (answer.body, answer.trailers["grpc-status"]) == (message(b"cba"), "0")
    assert backend.requests[0].fields["te"] == "trailers"
    answer = client.wait(call(client, "/s/Client", *[b"x" * 10] * 20))
    assert (answer.body, answer.trailers["grpc-status"]) == (message(b"300"), "0")
    answer = client.wait(call(client, "/s/Server", b"go"))
    assert answer.body == b"".join(message(b"%d" % i) for i in range(100)) and answer.trailers["grpc-status"] == "0"
    stream = call(client, "/s/Both", end=False)
    answer = client.answers[stream]
    client.until(lambda: answer.status == 200)
    for i in range(20):
        client.send(stream, message(b"m%d" % i))
        client.until(lambda i=i: answer.body.endswith(b"M%d" % i))
    client.h2.end_stream(stream)
    client.flush()
    assert client.wait(stream).trailers["grpc-status"] == "0"
    assert gateway.metric("requests") == 4 and gateway.metric("5xx") == 0


def test_grpc_failures_count_where_the_server_is_at_fault(rig):
    statuses = list(range(17))

    def handler(connection, stream, request, event):
        if ended(event):
            status = request.fields[":path"].split("/")[2]
            if request.fields[":path"].startswith("/only"):  # trailers only
                connection.answer(stream, 200, [CALL[0], ("grpc-status", status)])
            else:
                connection.answer(stream, 200, [CALL[0]], message(b""), [("grpc-status", status)])

    gateway, backend, client = rig(handler)
    for kind in ("only", "full"):
        for status in statuses:
            before = gateway.metric("5xx")
            answer = client.wait(call(client, f"/{kind}/{status}", b"x"))
            assert (answer.trailers or answer.fields)["grpc-status"] == str(status)
            if kind == "only":
                assert answer.trailers is None and answer.body == b"" and answer.status == 200
            until(lambda: gateway.instance("in_flight") == 0, "the end")
            assert gateway.metric("5xx") - before == (status in (2, 4, 13, 14, 15)), status
    assert gateway.instance("errors") == 10
    # Who leaves in the middle has not seen a failure.
    stream = call(client, "/full/0", end=False)
    until(lambda: gateway.instance("in_flight") == 1, "the call")
    client.h2.reset_stream(stream, CANCEL)
    client.flush()
    until(lambda: gateway.metric("left") == 1, "the count")
    assert gateway.metric("5xx") == 10
    # Not of gRPC: just a field.
    assert gateway.get("/only/13")[0] == 200


def test_an_instance_whose_calls_fail_is_taken_out(rig):
    """By what grpc-status says: its answers all are 200."""
    def handler(connection, stream, request, event):
        if ended(event):
            status = "14" if connection.backend is bad[0] else "0"
            connection.answer(stream, 200, [CALL[0]], message(b""), [("grpc-status", status)])

    bad = []
    gateway, first, second, client = rig(handler, route="errors=3 base=60000", backends=2)
    bad.append(first)

    def statuses(n):
        return Counter((client.wait(call(client, "/s/M", b"x"))).trailers["grpc-status"] for _ in range(n))

    assert statuses(100)["14"] < 30
    assert int(gateway.ask("ejected 0").split()[1]) == 1 and int(gateway.ask("ejected 1").split()[1]) == 0
    before = len(first.requests)
    assert statuses(50) == {"0": 50} and len(first.requests) == before


def test_refusals_of_the_gateway_are_grpc_answers(rig):
    gateway, backend, client = rig()
    gateway.table(["app slot=0"])
    answer = client.wait(call(client, "/s/Nowhere", b"x"))
    assert answer.status == 200 and answer.fields["content-type"] == "application/grpc" and answer.body == b""
    assert answer.fields["grpc-status"] == "12" and "no route" in answer.fields["grpc-message"]
    gateway.serve(backend.port, route="h2c=1", app="hold_ms=0")
    backend.close()
    answer = client.wait(call(client, "/s/Gone", b"x"))
    assert answer.status == 200 and answer.fields["grpc-status"] == "14"
    assert client.get().status in (502, 503)  # who speaks no gRPC gets what HTTP has for it

# ---- the whole --------------------------------------------------------------------------------------

SERVER = """
import os, socket, threading
import h2.config, h2.connection, h2.events

def serve(sock):
    c = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    c.initiate_connection()
    sock.sendall(c.data_to_send())
    bodies = {}
    while data := sock.recv(65536):
        for e in c.receive_data(data):
            if isinstance(e, h2.events.DataReceived):
                bodies[e.stream_id] = bodies.get(e.stream_id, b"") + e.data
                c.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
            if isinstance(e, h2.events.StreamEnded):
                c.send_headers(e.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
                c.send_data(e.stream_id, bodies.pop(e.stream_id, b""))
                c.send_headers(e.stream_id, [("grpc-status", STATUS)], end_stream=True)
        sock.sendall(c.data_to_send())

STATUS = os.environ["APP_STATUS"]
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=100)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def test_deploys_of_a_grpc_app(make_server):
    """The second version fails by its grpc-status alone, and goes back."""
    server = make_server()
    app = App(server, "calls", run=["python3", "app.py"], routes=[{"path": "/", "protocol": "h2c"}],
              probes={"readiness": {"tcp": True, "period": "200ms"}})
    (app.dir / "app.py").write_text(SERVER)
    server.give(app.dir)
    host, port = server.address.rsplit(":", 1)
    stop, seen = threading.Event(), []

    def calls():
        client = H2Client(int(port), host)
        while not stop.is_set():
            answer = client.wait(call(client, "/s/Echo", b"hello"))
            seen.append((answer.status, bytes(answer.body), (answer.trailers or answer.fields).get("grpc-status")))
        client.close()

    app.deploy(1, env={"APP_STATUS": "0"}, ok=True)
    thread = threading.Thread(target=calls, daemon=True)
    thread.start()
    app.deploy(2, env={"APP_STATUS": "0"}, ok=True)
    app.deploy(3, env={"APP_STATUS": "13"}, strategy={"canary": {"steps": [50], "hold": "60s"}}, ok=False)
    stop.set()
    thread.join(30 * PATIENCE)
    assert not thread.is_alive()
    assert {s[:2] for s in seen} == {(200, message(b"hello"))} and {s[2] for s in seen} <= {"0", "13"}
