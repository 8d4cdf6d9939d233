"""The gateway's behaviour over time: streams, back-pressure, retries, hold, split, tunnels, drain."""

import os
import socket
import threading
import time

import pytest
from gateway_fixtures import driver, make  # noqa: F401
from gateway_rig import answering, until
from sluice_test.build import SANITIZER

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MIB = 1 << 20
LITTLE = 2 * MIB * (16 if SANITIZER else 1)  # a sanitizer keeps what was freed


@pytest.fixture
def rig(make):
    def start(handler=None, app="", route="", **options):
        backend = make[1](handler)
        gateway = make[0](**options)
        gateway.serve(backend.port, app=app, route=route)
        return gateway, backend

    return start


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def named(name, delay=None):
    """Answers with its name; waits for the event first."""

    def handler(sock, reader):
        while reader.head():
            if delay:
                delay.wait(20)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(name), name))

    return handler


# ---- streams and back-pressure ---------------------------------------------------------------------


def test_a_slow_reader_stops_the_instance_and_costs_no_memory(rig):
    sent = [0]

    def handler(sock, reader):
        reader.head()
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
        for _ in range(64):
            sock.sendall(bytes(MIB))
            sent[0] += 1

    gateway, _ = rig(handler)
    before = gateway.rss()
    sock, reader = gateway.connect(GET, rcvbuf=65536)
    reader.head()
    stopped = [0]

    def stands_still():
        stopped[0], old = sent[0], stopped[0]
        time.sleep(0.2)
        return old == sent[0]

    until(stands_still)
    assert sent[0] < 32, "the instance was read although the client did not take it"
    assert gateway.rss() - before < LITTLE
    assert len(reader.exactly(64 * MIB)) == 64 * MIB
    until(lambda: gateway.metric("requests") == 1)
    assert gateway.metric("bytes_out") >= 64 * MIB


def test_a_slow_instance_stops_the_upload(rig):
    go = threading.Event()
    got = []

    def handler(sock, reader):
        head = reader.head()
        go.wait(60)
        got.append(len(reader.body(head[1])))
        sock.sendall(OK)

    gateway, _ = rig(handler)
    before = gateway.rss()
    sock, reader = gateway.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (32 * MIB))
    sent = [0]

    def upload():
        for _ in range(32):
            sock.sendall(bytes(MIB))
            sent[0] += 1

    thread = threading.Thread(target=upload)
    thread.start()
    last = [-1]

    def stands_still():
        old, last[0] = last[0], sent[0]
        time.sleep(0.2)
        return old == sent[0]

    until(stands_still)
    assert sent[0] < 24
    assert gateway.rss() - before < LITTLE
    go.set()
    assert reader.answer()[0] == 200
    thread.join()
    assert got == [32 * MIB]


def test_both_directions_at_once(rig):
    """An echo that answers while it is still being told."""

    def handler(sock, reader):
        head = reader.head()
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            size = int(reader.line(), 16)
            data = reader.exactly(size + 2)
            sock.sendall(b"%x\r\n%s" % (size, data))
            if size == 0:
                return

    gateway, _ = rig(handler)
    sock, reader = gateway.connect(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert reader.head()[0].endswith("200 OK")
    for i in range(100):
        piece = b"%d" % i * 50
        sock.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        assert int(reader.line(), 16) == len(piece)
        assert reader.exactly(len(piece) + 2)[:-2] == piece
    sock.sendall(b"0\r\n\r\n")
    assert reader.line() == b"0"


def test_an_early_answer_reaches_a_client_that_still_sends(rig):
    def handler(sock, reader):
        reader.head()
        sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        sock.shutdown(socket.SHUT_RDWR)

    gateway, _ = rig(handler)
    for _ in range(5):
        sock, reader = gateway.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
        for _ in range(40):
            sock.sendall(bytes(250000))  # all of it: nothing is reset under the client
        status, fields, body = reader.answer()
        assert (status, body) == (413, b"big") and fields["connection"] == "close"
        assert reader.closed()
        sock.close()


def test_a_half_closed_client_is_answered(rig):
    gateway, _ = rig()
    sock, reader = gateway.connect(GET)
    sock.shutdown(socket.SHUT_WR)
    assert reader.answer()[2] == b"ok"
    assert reader.closed()


def test_a_client_that_leaves_ends_the_answer(rig):
    def handler(sock, reader):
        reader.head()
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n")
        while True:
            sock.sendall(bytes(65536))

    gateway, _ = rig(handler)
    sock, reader = gateway.connect(GET)
    reader.head()
    reader.exactly(100000)
    assert gateway.instance("in_flight") == 1
    sock.close()
    until(lambda: gateway.metric("left") == 1)
    assert gateway.instance("in_flight") == 0
    assert gateway.metric("cut") == 0 and gateway.instance("errors") == 0


# ---- instances that fail ---------------------------------------------------------------------------


def test_an_answer_that_is_cut_looks_cut(rig):
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
    gateway, _ = rig(answering(raw, times=1))
    sock, reader = gateway.connect(GET)
    assert reader.head()[0].endswith("200 OK")
    with pytest.raises((EOFError, ConnectionResetError)):
        reader.exactly(100)
    until(lambda: gateway.metric("cut") == 1)
    assert gateway.instance("errors") == 1


def test_an_instance_that_refuses_is_avoided(make):
    gateway, backend = make[0](), make[1]()
    dead = free_port()
    gateway.serve(dead, backend.port)
    for i in range(40):
        assert gateway.get(method="POST", body=b"x")[0] == 200  # a refused connect is always safe
    assert gateway.metric("failed") == 0
    # It rests for a second after each refusal.
    assert 1 <= gateway.instance("connect_errors", 0) <= 5


def test_an_idempotent_request_is_tried_elsewhere(make):
    broken, good, gateway = make[1](lambda s, r: r.head()), make[1](named(b"good")), make[0]()
    gateway.serve(broken.port, good.port)
    for _ in range(30):
        assert gateway.get()[2] == b"good"
    assert broken.connections > 3
    assert gateway.metric("retried") == broken.connections and gateway.metric("failed") == 0
    # With a body, as long as it is kept.
    for _ in range(10):
        assert gateway.get(method="PUT", body=b"y" * 30000)[2] == b"good"


def test_others_are_not_sent_twice(make):
    broken, gateway = make[1](lambda s, r: r.body(r.head()[1])), make[0]()
    gateway.serve(broken.port)
    status, fields, _ = gateway.get(method="POST", body=b"once")
    assert (status, fields["server"]) == (502, "sluice")
    assert broken.connections == 1
    until(lambda: gateway.metric("failed") == 1)
    assert gateway.instance("errors") == 1


def test_retries_are_limited(make):
    broken, gateway = make[1](lambda s, r: r.head()), make[0]()
    gateway.serve(broken.port, route="retries=2")
    assert gateway.get()[0] == 502
    assert broken.connections == 3
    assert gateway.get(method="PUT", body=b"y" * 200000)[0] == 502
    assert broken.connections == 4  # more than is kept for a replay


def test_stale_connections_are_no_ones_problem(rig):
    """An instance that closes each connection right after its answer, without having said so. A request
    that may be sent again comes at any moment, before or after the close; a POST after it, for one that
    was on its way at the close cannot be told from one that was carried out (RFC 9112 section 9.3.1)."""
    gateway, backend = rig(answering(OK, times=1))
    sock, reader = gateway.connect()
    for i in range(100):
        if i % 2 == 0:
            until(lambda: backend.closed == backend.connections, "the close")
        sock.sendall(GET if i % 2 else b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        assert reader.answer()[0] == 200, i
    assert gateway.metric("failed") == 0


def test_connections_are_kept_and_given_up(rig):
    gateway, backend = rig()
    sock, reader = gateway.connect()
    for _ in range(20):
        sock.sendall(GET)
        reader.answer()
    assert backend.connections == 1
    until(lambda: backend.sockets[0].fileno() == -1, "its end after 4 s idle")


def test_keep_alive_of_the_instance_is_obeyed(rig):
    raw = b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok"
    gateway, backend = rig(answering(raw))
    gateway.get()
    until(lambda: backend.sockets[0].fileno() == -1, "its end before a second is over")
    assert gateway.get()[0] == 200 and backend.connections == 2


def test_time_out_of_the_answer(rig):
    gateway, _ = rig(lambda s, r: r.rest(), route="timeout=200")
    status, fields, _ = gateway.get()
    assert (status, fields["server"]) == (504, "sluice")
    until(lambda: gateway.metric("failed") == 1)
    assert gateway.instance("in_flight") == 0


def test_leaving_instances_lose_their_idle_connections(make):
    old, new, gateway = make[1](named(b"old")), make[1](named(b"new")), make[0]()
    gateway.serve(old.port, slots=[0])
    sock, reader = gateway.connect(GET)
    assert reader.answer()[2] == b"old"
    gateway.serve(new.port, slots=[1])
    until(lambda: gateway.ask(f"seen {gateway.version}") == "1")
    until(lambda: old.sockets[0].fileno() == -1)
    sock.sendall(GET)
    assert reader.answer()[2] == b"new"  # on the same client connection


def test_a_slot_that_is_given_to_another_instance(make):
    old, new, gateway = make[1](named(b"old")), make[1](named(b"new")), make[0]()
    gateway.serve(old.port)
    assert gateway.get()[2] == b"old"
    gateway.serve(new.port)
    assert gateway.get()[2] == b"new"


def test_head_and_body_that_are_written_apart(make):
    """The instance's kernel holds the body back until the head is acknowledged, which may take 40 ms."""

    def handler(sock, reader):
        while reader.head():
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            sock.sendall(b"ok")

    backend, gateway = make[1](handler), make[0]()
    gateway.serve(backend.port)
    sock, reader = gateway.connect()
    took = []
    for _ in range(30):
        before = time.monotonic()
        sock.sendall(GET)
        assert reader.answer()[2] == b"ok"
        took.append(time.monotonic() - before)
    assert backend.connections == 1
    assert min(took[1:]) < 0.035, took  # the first one is acknowledged at once in any case


# ---- hold --------------------------------------------------------------------------------------------


def test_requests_wait_for_an_instance_and_keep_their_order(make):
    order = []

    def handler(sock, reader):
        while True:
            head = reader.head()
            if head is None:
                return
            order.append(head[0].split()[1])
            sock.sendall(OK)

    gateway, backend = make[0](), make[1](handler)
    gateway.serve()
    readers = []
    for i in range(50):
        readers.append(gateway.connect(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % i)[1])
        until(lambda: gateway.metric("waiting", 0) == i + 1)
    gateway.serve(backend.port)
    for reader in readers:
        assert reader.answer()[0] == 200
    assert sorted(order, key=lambda p: int(p[1:])) == [f"/{i}" for i in range(50)]
    assert gateway.metric("held", 0) == 50
    until(lambda: gateway.metric("waiting", 0) == 0)
    assert gateway.metric("unserved", 0) == 0


def test_the_time_in_the_hold_is_no_instances_latency(make):
    gateway, backend = make[0](), make[1]()
    gateway.serve()
    _, reader = gateway.connect(GET)
    until(lambda: gateway.metric("waiting", 0) == 1)
    time.sleep(1.1)  # longer than the answer may take
    gateway.table(["app slot=0", f"instance id=i slot=0 port={backend.port}",
                   "pool first=0 instances=1 slo_us=1000000", "route app=0", "share pool=0 weight=1000000 slot=1"])
    assert reader.answer()[0] == 200
    until(lambda: gateway.metric("requests") == 1)
    assert gateway.metric("above_slo") == 0 and gateway.instance("latency_us") < 1000000


def test_the_release_does_not_flood_the_instance(make):
    peak, now, lock, go = [0], [0], threading.Lock(), threading.Event()

    def handler(sock, reader):
        while reader.head():
            with lock:
                now[0] += 1
                peak[0] = max(peak[0], now[0])
            go.wait(20)
            with lock:
                now[0] -= 1
            sock.sendall(OK)

    gateway, backend = make[0](workers=2), make[1](handler)
    gateway.serve()
    readers = [gateway.connect(GET)[1] for _ in range(200)]
    until(lambda: gateway.metric("waiting", 0) == 200)
    gateway.serve(backend.port)
    until(lambda: now[0] >= 60)
    time.sleep(0.2)
    assert peak[0] <= 66  # 64, and what two workers decide at the same moment
    go.set()
    for reader in readers:
        assert reader.answer()[0] == 200


def test_the_hold_is_bounded(make):
    gateway = make[0]()
    gateway.serve(app="hold_limit=5")
    readers = [gateway.connect(GET)[1] for _ in range(5)]
    until(lambda: gateway.metric("waiting", 0) == 5)
    status, fields, _ = gateway.get()
    assert status == 503 and fields["retry-after"] and fields["server"] == "sluice"
    assert gateway.metric("unserved", 0) == 1
    del readers


def test_the_hold_ends(make):
    gateway = make[0]()
    gateway.serve(app="hold_ms=300")
    status, fields, _ = gateway.get()
    assert status == 503 and fields["retry-after"]
    assert gateway.metric("waiting", 0) == 0


def test_nobody_waits_for_an_app_that_was_stopped(make):
    gateway = make[0]()
    gateway.serve(app="hold_ms=600000")
    waiting = [gateway.connect(GET)[1] for _ in range(3)]
    until(lambda: gateway.metric("waiting", 0) == 3)
    gateway.serve(app="hold_ms=600000 stopped=1")
    for answer in (*(reader.answer() for reader in waiting), gateway.get()):
        assert answer[0] == 503 and b"the app is stopped" in answer[2]
    assert gateway.metric("held", 0) == 3 and gateway.metric("waiting", 0) == 0
    # Its instances go on until they are gone.
    backend = make[1]()
    gateway.serve(backend.port, app="stopped=1")
    assert gateway.get()[0] == 200


def test_who_leaves_the_hold_frees_its_place(make):
    gateway = make[0]()
    gateway.serve()
    sock, _ = gateway.connect(GET)
    until(lambda: gateway.metric("waiting", 0) == 1)
    sock.close()
    until(lambda: gateway.metric("waiting", 0) == 0)
    assert gateway.metric("left", 0) == 1 and gateway.metric("unserved", 0) == 0


def test_hold_on_demand(make):
    """recreate: requests wait although there is an instance."""
    gateway, backend = make[0](), make[1]()
    gateway.serve(backend.port, app="hold=1")
    sock, reader = gateway.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
    until(lambda: gateway.metric("waiting", 0) == 1)
    assert backend.connections == 0
    gateway.serve(backend.port)
    assert reader.answer()[0] == 200
    assert backend.requests[0][2] == b"hello"


def test_a_crashed_single_instance_is_waited_for(make):
    port = free_port()
    gateway = make[0]()
    gateway.serve(port)
    sock, reader = gateway.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
    until(lambda: gateway.metric("waiting", 0) == 1)
    backend = make[1](None, port)  # it is back; the table never changed
    assert reader.answer()[0] == 200
    assert backend.requests[0][2] == b"hello"
    assert gateway.metric("failed") == 0


# ---- the split ------------------------------------------------------------------------------------------


def split(gateway, stable, candidate, ppm, route="", extra=(), candidate_instances=1, stable_instances=1):
    answer = gateway.table([
        "app slot=0",
        f"instance id=s slot=0 port={stable.port}", f"instance id=c slot=1 port={candidate.port}",
        f"pool release=1 first=0 instances={stable_instances}",
        f"pool release=2 first=1 instances={candidate_instances}",
        "match name=canary value=true", f"route app=0 {route}",
        f"share pool=0 weight={1000000 - ppm} slot=1", f"share pool=1 weight={ppm} slot=2", *extra])
    assert answer.startswith("applied"), answer


def test_the_split_is_even_also_over_workers(make):
    stable, candidate, gateway = make[1](named(b"stable")), make[1](named(b"candidate")), make[0](workers=2)
    split(gateway, stable, candidate, 50000)
    answers = [gateway.get()[2] for _ in range(200)]  # a connection each: any worker
    assert answers.count(b"candidate") == 10
    for i in range(0, 200, 40):
        assert 1 <= answers[i : i + 40].count(b"candidate") <= 3
    assert gateway.metric("requests", 2) == 10 and gateway.metric("requests", 1) == 190


def test_pins_come_before_the_split(make):
    stable, candidate, gateway = make[1](named(b"stable")), make[1](named(b"candidate")), make[0]()
    split(gateway, stable, candidate, 0, extra=["pin pool=1 slot=3 first=0 matches=1"])
    assert {gateway.get()[2] for _ in range(10)} == {b"stable"}
    assert {gateway.get(fields="Canary: true\r\n")[2] for _ in range(10)} == {b"candidate"}
    until(lambda: gateway.metric("requests", 3) == 10)
    assert gateway.metric("requests", 2) == 0


def test_sticky_clients_stay(make):
    stable, candidate, gateway = make[1](named(b"stable")), make[1](named(b"candidate")), make[0]()
    split(gateway, stable, candidate, 500000, route="sticky=sluice-shop")
    seen = set()
    for _ in range(20):
        _, fields, first = gateway.get()
        cookie = fields["set-cookie"].split(";")[0]
        seen.add(first)
        for _ in range(3):
            _, fields, again = gateway.get(fields=f"Cookie: x=1; {cookie}\r\n")
            assert again == first and "set-cookie" not in fields
    assert seen == {b"stable", b"candidate"}
    assert gateway.get(fields="Cookie: sluice-shop=0\r\n")[2] == b"candidate"
    assert gateway.get(fields="Cookie: sluice-shop=9999\r\n")[2] == b"stable"
    assert "set-cookie" in gateway.get(fields="Cookie: sluice-shop=evil\r\n")[1]


def test_spill_over_is_counted(make):
    stable, candidate, gateway = make[1](named(b"stable")), make[1](named(b"candidate")), make[0]()
    split(gateway, stable, candidate, 500000, candidate_instances=0)
    assert {gateway.get()[2] for _ in range(20)} == {b"stable"}
    until(lambda: gateway.metric("spilled", 1) == 10)
    # What has no weight gets nothing, even when the others are gone.
    split(gateway, stable, candidate, 0, stable_instances=0)
    sock, _ = gateway.connect(GET)
    until(lambda: gateway.metric("waiting", 0) == 1)


def test_the_less_busy_instance_is_chosen(make):
    slow = threading.Event()
    busy, free, gateway = make[1](named(b"busy", slow)), make[1](named(b"free")), make[0](workers=2)
    gateway.serve(busy.port)
    readers = [gateway.connect(GET)[1] for _ in range(3)]
    until(lambda: gateway.instance("in_flight", 0) == 3)
    gateway.serve(busy.port, free.port)
    assert [gateway.get()[2] for _ in range(20)] == [b"free"] * 20
    slow.set()
    for reader in readers:
        assert reader.answer()[0] == 200


# ---- tunnels ------------------------------------------------------------------------------------------------

UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def echo(sock, reader):
    head = reader.head()
    assert dict(head[1])["upgrade"] == "websocket" and dict(head[1])["connection"].lower() == "upgrade"
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
    data = reader.data
    while True:
        if data:
            sock.sendall(data)
        data = sock.recv(65536)
        if not data:
            break
    sock.sendall(b"bye")  # after the client's end: half-close


def open_tunnel(gateway, early=b""):
    sock, reader = gateway.connect(UPGRADE + early)
    line, fields = reader.head()
    assert "101" in line and dict(fields)["upgrade"] == "websocket"
    assert reader.exactly(5) == b"hello"
    return sock, reader


def test_upgrade_both_ways_and_half_close(rig):
    gateway, _ = rig(echo)
    sock, reader = open_tunnel(gateway, early=b"first")
    assert reader.exactly(5) == b"first"
    assert gateway.instance("upgraded") == 1 and gateway.instance("in_flight") == 1
    data = bytes(range(256)) * 4000
    threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)), daemon=True).start()
    assert reader.exactly(len(data)) == data
    assert reader.rest() == b"bye"
    until(lambda: gateway.instance("upgraded") == 0 and gateway.instance("in_flight") == 0)
    assert gateway.metric("requests") == 1


def test_tunnels_live_through_changes_until_their_deadline(make):
    old, new, gateway = make[1](echo), make[1](), make[0]()
    gateway.serve(old.port)
    sock, reader = open_tunnel(gateway)
    for _ in range(5):
        gateway.serve(new.port, slots=[1], extra=["draining slot=0 in=60000"])
        sock.sendall(b"still")
        assert reader.exactly(5) == b"still"
    assert gateway.get()[2] == b"ok" and gateway.instance("upgraded") == 1
    gateway.serve(new.port, slots=[1], extra=["draining slot=0 in=300"])
    assert reader.closed()
    until(lambda: gateway.instance("in_flight") == 0)


def test_a_refused_upgrade_is_an_answer(rig):
    gateway, _ = rig()
    sock, reader = gateway.connect(UPGRADE)
    assert reader.answer()[2] == b"ok"
    sock.sendall(GET)
    assert reader.answer()[2] == b"ok"


def test_101_that_nobody_asked_for(rig):
    raw = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    gateway, _ = rig(answering(raw))
    assert gateway.get()[0] == 502


# ---- drain, take-over, snapshots ----------------------------------------------------------------------------


def test_drain(rig):
    go = threading.Event()
    gateway, _ = rig(named(b"late", go))
    idle, idle_reader = gateway.connect()
    busy, busy_reader = gateway.connect(GET)
    asking, asking_reader = gateway.connect()
    until(lambda: gateway.instance("in_flight") == 1)
    gateway.ask("drain 60000")

    def drains():
        """The gateway's own answers say so; this one takes no instance."""
        asking.sendall(b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n")
        return asking_reader.answer()[1].get("connection") == "close"

    until(drains, "the worker knows")
    asking.close()
    # A request in flight ends well, and is told; so is one on a connection that was idle.
    idle.sendall(GET)
    until(lambda: gateway.instance("in_flight") == 2)
    go.set()
    for sock, reader in ((busy, busy_reader), (idle, idle_reader)):
        _, fields, body = reader.answer()
        assert body == b"late" and fields["connection"] == "close"
        assert reader.closed()
        sock.close()
    assert gateway.wait() == "exit 0"


def test_drain_at_its_deadline(rig):
    gateway, _ = rig(echo)
    sock, reader = open_tunnel(gateway)
    gateway.ask("drain 500")
    sock.sendall(b"still")
    assert reader.exactly(5) == b"still"
    assert gateway.wait() == "exit 0"


def test_take_over_hands_out_all_sockets(rig):
    gateway, _ = rig()
    assert gateway.ask("takeover") == "listeners 1 16"
    assert gateway.get()[0] == 200


def test_a_listener_that_comes_later(rig):
    gateway, _ = rig(workers=2)
    port = int(gateway.ask("listener 127.0.0.1:0"))
    for _ in range(20):
        sock, reader = gateway.connect(GET, address=("127.0.0.1", port))
        assert reader.answer()[0] == 200
    assert gateway.ask("takeover") == "listeners 2 32"


def test_ipv6(make):
    gateway, backend = make[0](listen="[::1]:0"), make[1]()
    gateway.serve(backend.port)
    sock, reader = gateway.connect(GET, address=("::1", None))
    assert reader.answer()[0] == 200
    assert dict(backend.requests[0][1])["x-forwarded-for"] == "::1"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_privileges_are_dropped(rig):
    gateway, _ = rig(uid=65534)
    with open(f"/proc/{gateway.pid}/status") as f:
        status = dict(line.split(":\t", 1) for line in f.read().splitlines() if ":\t" in line)
    assert status["Uid"].split() == ["65534"] * 4 and status["Gid"].split() == ["65534"] * 4
    assert status["Groups"].split() == [] and status["NoNewPrivs"].strip() == "1"
    assert gateway.get()[0] == 200


def test_older_snapshots_are_refused(rig):
    gateway, _ = rig()
    gateway.version = 0
    assert gateway.table(["app slot=0"]).startswith("applied 1")  # the current one: said again
    gateway.version = 5
    assert gateway.table(["app slot=0"]) == "applied 6"
    gateway.version = 3
    assert gateway.table(["app slot=0"]).startswith("refused 4 ")


def test_a_gateway_without_snapshot_says_so(make):
    gateway = make[0]()
    status, fields, _ = gateway.get()
    assert status == 503 and fields["retry-after"]


def test_no_requests_to_who_has_left(make):
    """DESIGN 4: after the acknowledgement and a zero gauge nothing more comes."""
    a, b, gateway = make[1](named(b"a")), make[1](named(b"b")), make[0](workers=2)
    gateway.serve(a.port, slots=[0])
    stop, failures, done = threading.Event(), [], [0]

    def load():
        sock, reader = gateway.connect()
        while not stop.is_set():
            sock.sendall(GET)
            if reader.answer()[0] != 200:
                failures.append(1)
            done[0] += 1

    threads = [threading.Thread(target=load) for _ in range(4)]
    for t in threads:
        t.start()
    late = []
    for i in range(60):
        leaving, slot = (a, 0) if i % 2 == 0 else (b, 1)
        gateway.serve((b if i % 2 == 0 else a).port, slots=[1 - slot])
        until(lambda: gateway.ask(f"seen {gateway.version}") == "1" and gateway.instance("in_flight", slot) == 0)
        before = gateway.instance("requests", slot)
        time.sleep(0.005)
        late.append(gateway.instance("requests", slot) - before)
    stop.set()
    for t in threads:
        t.join()
    assert failures == [] and late == [0] * 60 and done[0] > 100


# ---- limits ----------------------------------------------------------------------------------------------------


def test_a_head_that_never_ends_is_given_up(rig):
    gateway, _ = rig()
    sock, reader = gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
    status, fields, _ = reader.answer()  # after 10 s
    assert status == 408 and fields["connection"] == "close"


def test_out_of_descriptors_is_no_spinning(make):
    gateway, backend = make[0](nofile=200), make[1]()
    gateway.serve(backend.port)
    first, first_reader = gateway.connect(GET)
    assert first_reader.answer()[0] == 200
    crowd = [gateway.connect()[0] for _ in range(300)]
    until(lambda: int(gateway.ask("connections")) > 50)
    before = gateway.cpu()
    time.sleep(1)
    assert gateway.cpu() - before < 20  # of 100 ticks
    first.sendall(GET)
    assert first_reader.answer()[0] == 200  # who is in is served
    late, late_reader = gateway.connect(GET)
    for sock in crowd:
        sock.close()
    assert late_reader.answer()[0] == 200


def test_many_idle_connections_cost_little(rig):
    gateway, _ = rig()
    before = gateway.rss()
    for _ in range(800):
        sock, reader = gateway.connect(GET)
        assert reader.answer()[0] == 200
    assert gateway.rss() - before < LITTLE


def test_many_at_once(rig):
    gateway, _ = rig(workers=2)
    errors = []

    def client():
        sock, reader = gateway.connect()
        for i in range(50):
            body = b"x" * (i * 300)
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            if reader.answer()[0] != 200:
                errors.append(i)

    threads = [threading.Thread(target=client) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    until(lambda: gateway.metric("requests") == 1000)
    assert gateway.instance("in_flight") == 0
