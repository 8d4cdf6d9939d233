"""The gateway and releases that take only so much at once: places, the queue, refusals."""

import socket
import threading
import time

import pytest
from gateway_fixtures import driver, make  # noqa: F401
from gateway_rig import until
from h2_peer import H2Backend, H2Client
from sluice_test import App
from sluice_test.build import PATIENCE

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Gate:
    """A handler that answers when it is told to, and knows how many it has at once."""

    def __init__(self):
        self.lock, self.now, self.most, self.paths = threading.Lock(), 0, 0, []
        self.tickets = threading.Semaphore(0)

    def __call__(self, sock, reader):
        while (head := reader.head()) is not None:
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
                self.paths.append(head[0].split()[1])
            self.tickets.acquire(timeout=60)
            with self.lock:
                self.now -= 1
            sock.sendall(OK)

    def let_go(self, n):
        self.tickets.release(n)


def ask(gateway, path="/"):
    return gateway.connect(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


def waiting(gateway, n, slot=1):
    until(lambda: gateway.metric("queue", slot) == n, f"{n} in the queue")


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_than_so_many_at_once(make, workers):
    gateway, gate = make[0](workers=workers), Gate()
    gateway.serve(make[1](gate).port, make[1](gate).port, route="in_flight=3 queue=60000")
    clients = [ask(gateway) for _ in range(20)]
    waiting(gateway, 17)
    until(lambda: gate.now == 3)
    for _ in range(20):
        gate.let_go(1)
    assert [r.answer()[0] for _, r in clients] == [200] * 20
    assert gate.most == 3
    assert gateway.metric("queued") == 17 and gateway.metric("refused") == 0
    waiting(gateway, 0)


def test_who_waits_goes_as_soon_as_a_stream_ends(make):
    """The last things of a turn give places back, too. Looking only now and then takes too long here."""
    backend, gateway = H2Backend(), make[0]()
    gateway.serve(backend.port, route=f"h2c=1 in_flight=1 pending=1000 queue={4000 * PATIENCE}")
    clients = [H2Client(gateway.port) for _ in range(3)]
    streams = [(client, client.request()) for client in clients for _ in range(100)]
    assert [client.wait(stream).status for client, stream in streams] == [200] * 300
    for thing in (*clients, backend):
        thing.close()


@pytest.mark.parametrize("workers", [1, 3])
def test_first_come_first_served(make, workers):
    """Also over workers: a place goes to who waits longest, wherever that is."""
    gateway, gate = make[0](workers=workers), Gate()
    gateway.serve(make[1](gate).port, route="in_flight=1 queue=60000")
    clients = []
    for n in range(12):
        clients.append(ask(gateway, f"/{n}"))
        until(lambda: gateway.metric("queue") == n and gate.now == 1)
    for n in range(12):
        gate.let_go(1)
        assert clients[n][1].answer()[0] == 200
    assert gate.paths == [f"/{n}" for n in range(12)]


def test_a_full_queue_is_said_at_once(make):
    gateway, gate = make[0](), Gate()
    gateway.serve(make[1](gate).port, route="in_flight=2 pending=3 queue=60000")
    clients = [ask(gateway) for _ in range(5)]
    waiting(gateway, 3)
    status, fields, body = gateway.get()
    assert (status, fields["server"], fields["retry-after"]) == (503, "sluice", "1")
    assert b"too many requests at once" in body
    assert gateway.metric("refused") == gateway.metric("unserved", 0) == 1
    assert gateway.metric("requests") == 0
    gate.let_go(5)
    assert [r.answer()[0] for _, r in clients] == [200] * 5


@pytest.mark.parametrize("limits", ["pending=0", "queue=0"])
def test_without_a_queue_nobody_waits(make, limits):
    gateway, gate = make[0](), Gate()
    gateway.serve(make[1](gate).port, route=f"in_flight=1 {limits}")
    _, reader = ask(gateway)
    until(lambda: gate.now == 1)
    assert gateway.get()[0] == 503
    assert gateway.metric("queued") == 0
    gate.let_go(1)
    assert reader.answer()[0] == 200
    gate.let_go(1)
    assert gateway.get()[0] == 200


def test_the_wait_has_an_end(make):
    gateway, gate = make[0](), Gate()
    gateway.serve(make[1](gate).port, route="in_flight=1 queue=150")
    _, reader = ask(gateway)
    until(lambda: gate.now == 1)
    began = time.monotonic()
    status, fields, body = gateway.get()
    assert status == 503 and "retry-after" in fields and b"no place got free in time" in body
    assert time.monotonic() - began >= 0.15
    assert gateway.metric("queue") == 0
    gate.let_go(1)
    assert reader.answer()[0] == 200


def test_who_leaves_while_waiting_is_passed_over(make):
    gateway, gate = make[0](), Gate()
    gateway.serve(make[1](gate).port, route="in_flight=1 queue=60000")
    first = ask(gateway, "/first")
    until(lambda: gate.now == 1)
    gone = [ask(gateway, "/gone") for _ in range(3)]
    waiting(gateway, 3)
    last = ask(gateway, "/last")
    waiting(gateway, 4)
    gone[0][0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    for sock, _ in gone:
        sock.close()
    waiting(gateway, 1)
    gate.let_go(2)
    assert first[1].answer()[0] == last[1].answer()[0] == 200
    assert gate.paths == ["/first", "/last"]


def test_places_come_back_whatever_happens(make):
    """Instances that break off, clients that leave in the middle, retries: each place is given back
    once."""

    def rude(sock, reader):
        while (head := reader.head()) is not None:
            path = head[0].split()[1]
            if path == "/break":
                return
            if path == "/cut":
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
                return
            if path == "/hang":
                reader.more()
                return
            sock.sendall(OK)

    gateway = make[0](workers=2)
    gateway.serve(make[1](rude).port, make[1](rude).port,
                  route="in_flight=2 pending=1000 queue=60000 timeout=300 retries=3 backoff=20 budget=1000000")
    threads = []
    for path in ("/break", "/cut", "/hang", "/", "/left") * 6:
        sock, reader = ask(gateway, path)
        if path == "/left":
            sock.close()
            continue
        threads.append(threading.Thread(target=lambda r=reader: quietly(r)))
        threads[-1].start()
    for t in threads:
        t.join(60)
        assert not t.is_alive()
    waiting(gateway, 0)
    gate = Gate()
    gateway.serve(make[1](gate).port, route="in_flight=2 queue=60000", slots=[5])
    clients = [ask(gateway) for _ in range(4)]
    waiting(gateway, 2)
    until(lambda: gate.now == 2)
    gate.let_go(4)
    assert [r.answer()[0] for _, r in clients] == [200] * 4


def quietly(reader):
    try:
        reader.answer()
    except (OSError, EOFError, AssertionError):
        pass


@pytest.mark.parametrize("route", ["in_flight=4 queue=60000", ""])
def test_a_new_table_lets_go_who_may_now(make, route):
    gateway, gate = make[0](workers=2), Gate()
    backend = make[1](gate)
    gateway.serve(backend.port, route="in_flight=1 queue=60000")
    clients = [ask(gateway) for _ in range(4)]
    waiting(gateway, 3)
    gateway.serve(backend.port, route=route)
    until(lambda: gate.now == 4)
    gate.let_go(4)
    assert [r.answer()[0] for _, r in clients] == [200] * 4
    gateway.serve(backend.port, route="in_flight=1 queue=60000")  # what was counted before is over
    gate.let_go(1)
    assert gateway.get()[0] == 200


def test_who_waits_while_its_instances_go_is_held(make):
    gateway, gate, other = make[0](), Gate(), make[1]()
    gateway.serve(make[1](gate).port, route="in_flight=1 queue=60000")
    first, second = ask(gateway), ask(gateway)
    waiting(gateway, 1)
    gateway.serve(route="in_flight=1 queue=60000", app="hold_ms=60000")
    until(lambda: gateway.metric("waiting", 0) == 1, "the hold")
    assert gateway.metric("queue") == 0
    gate.let_go(1)
    assert first[1].answer()[0] == 200
    gateway.serve(other.port, route="in_flight=1 queue=60000", slots=[3])
    assert second[1].answer()[0] == 200


@pytest.mark.parametrize("held", [False, True])
def test_maintenance_takes_those_who_wait(make, held):
    """They do not reach the app after it; who is there already is served to the end."""
    gateway, gate = make[0](), Gate()
    port, route = make[1](gate).port, "in_flight=1 queue=60000"
    gateway.serve(port, route=route)
    _, first = ask(gateway)
    until(lambda: gate.now == 1)
    late = [ask(gateway, f"/{n}") for n in range(3)]
    waiting(gateway, 3)
    gateway.serve(port, route=route, app=f"maintenance=503 {'barred_ms=60000' if held else ''}")
    waiting(gateway, 0)
    if held:
        until(lambda: gateway.metric("waiting", 0) == 3, "the hold")
    else:
        assert [r.answer()[0] for _, r in late] == [503] * 3
        assert gateway.metric("maintenance", 0) == 3
    gate.let_go(1)
    assert first.answer()[0] == 200 and gate.paths == ["/"]
    gateway.serve(port, route=route)
    gate.let_go(4)
    if held:
        assert [r.answer()[0] for _, r in late] == [200] * 3
    assert gateway.get()[0] == 200


def test_who_spills_over_is_not_counted_against_the_release_that_is_full(make):
    """The candidate has no instance, stable no room: half of the refusals are not stable's."""
    gateway, gate = make[0](workers=1), Gate()
    table = ["app slot=0", f"instance id=s slot=0 port={make[1](gate).port}", "pool first=0 instances=1",
             "pool first=1 instances=0", "route app=0 in_flight=1 {}", "share pool=0 weight=500000 slot=1",
             "share pool=1 weight=500000 slot=2"]
    assert gateway.table([line.format("pending=0") for line in table]).startswith("applied")
    first = ask(gateway)
    until(lambda: gate.now == 1)
    assert [gateway.get()[0] for _ in range(20)] == [503] * 20
    assert (gateway.metric("failed", 1), gateway.metric("unserved", 0), gateway.metric("failed", 2)) == (10, 10, 0)
    gate.let_go(1)
    assert first[1].answer()[0] == 200
    # Who waits for stable's place has spilled over, too.
    assert gateway.table([line.format("queue=60000") for line in table]).startswith("applied")
    before = gateway.metric("spilled", 1)
    clients = [ask(gateway) for _ in range(11)]
    waiting(gateway, 10)
    gate.let_go(11)
    assert [r.answer()[0] for _, r in clients] == [200] * 11
    assert gateway.metric("spilled", 1) - before in (5, 6)


def test_each_release_has_its_own_and_the_judge_sees_who_is_full(make):
    gateway, slow, quick = make[0](), Gate(), make[1]()
    answer = gateway.table([
        "app slot=0", f"instance id=s slot=0 port={quick.port}",
        f"instance id=c slot=1 port={make[1](slow).port}", "pool first=0 instances=1",
        "pool first=1 instances=1", "route app=0 in_flight=1 pending=0", "share pool=0 weight=500000 slot=1",
        "share pool=1 weight=500000 slot=2"])
    assert answer.startswith("applied")
    clients = []
    while slow.now == 0:
        clients.append(ask(gateway))
        until(lambda: gateway.metric("requests", 1) + slow.now == len(clients))
    statuses = [gateway.get()[0] for _ in range(20)]
    assert statuses.count(503) in range(8, 13) and statuses.count(200) == 20 - statuses.count(503)
    assert gateway.metric("failed", 2) == gateway.metric("refused", 2) == statuses.count(503)
    assert gateway.metric("failed", 1) == gateway.metric("unserved", 0) == 0
    assert gateway.metric("spilled", 1) == 0, "what is too much for one is not for the other"
    slow.let_go(1)
    assert [r.answer()[0] for _, r in clients] == [200] * len(clients)


def test_capacity_in_the_file(make_server):
    server = make_server()
    app = App(server, routes=[{"path": "/", "capacity": {"in-flight": 1, "pending": 1, "queue-time": "20s"}}])
    app.deploy(1, ok=True)
    answers = []

    def slow():
        answers.append(server.get("/slow?ms=1500").status)

    threads = [threading.Thread(target=slow) for _ in range(2)]
    for t in threads:
        t.start()
    until(lambda: server.metric("sluice_requests_in_queue") == 1, "one that waits")
    refused = server.get("/")
    assert refused.status == 503, refused
    for t in threads:
        t.join()
    assert answers == [200, 200]
    assert server.metric("sluice_requests_queued_total") == 1
    assert server.metric("sluice_requests_over_capacity_total") == 1
