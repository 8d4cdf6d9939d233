"""The gateway and instances that fail: timeouts, retries and their budget."""

import socket
import time

import pytest
from gateway_fixtures import driver, make  # noqa: F401
from gateway_rig import Backend, answering, until

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ON_RESET, ON_502, ON_503, ON_504 = 1, 2, 4, 8


def failing(status, fields=b""):
    return answering(b"HTTP/1.1 %d x\r\n%sContent-Length: 4\r\n\r\nfail" % (status, fields))


def breaking(sock, reader):
    """Takes the request and breaks off."""
    reader.body(reader.head()[1])


def named(name):
    return answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(name), name))


# ---- timeouts --------------------------------------------------------------------------------------


def test_the_total_timeout_ends_an_answer_that_dribbles(make):
    """Each byte comes within `timeout`, the whole does not within `total-timeout`."""

    def dribble(sock, reader):
        reader.head()
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            sock.sendall(b"x")
            time.sleep(0.02)

    gateway, backend = make[0](), make[1](dribble)
    gateway.serve(backend.port, route="timeout=10000 total=300")
    began = time.monotonic()
    sock, reader = gateway.connect(GET)
    with pytest.raises((EOFError, ConnectionResetError)):
        reader.answer()
    assert time.monotonic() - began >= 0.3
    until(lambda: gateway.metric("cut") == 1)


def test_the_total_timeout_ends_one_without_answer(make):
    gateway, backend = make[0](), make[1](lambda s, r: r.rest())
    gateway.serve(backend.port, route="timeout=10000 total=200")
    status, fields, _ = gateway.get()
    assert (status, fields["server"]) == (504, "sluice")
    assert backend.connections == 1, "it was sent again although its time was over"
    assert gateway.metric("retried") == 0


def test_the_total_timeout_includes_the_waiting(make):
    gateway = make[0]()
    gateway.serve(app="hold_ms=60000", route="total=200")
    assert gateway.get()[0] == 503
    assert gateway.metric("waiting", 0) == 0


def test_the_total_timeout_includes_retries(make):
    gateway, backend = make[0](), make[1](breaking)
    gateway.serve(backend.port, route="retries=10 total=300 backoff=5000")
    status, fields, _ = gateway.get()
    assert (status, fields["server"]) == (504, "sluice")
    assert gateway.metric("failed") == 1 and gateway.instance("in_flight") == 0


def test_the_total_timeout_is_not_for_upgraded_connections(make):
    def upgrade(sock, reader):
        reader.head()
        sock.sendall(b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: t\r\n\r\n")
        while data := sock.recv(100):
            sock.sendall(data)

    gateway, backend = make[0](), make[1](upgrade)
    gateway.serve(backend.port, route="total=200")
    sock, reader = gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: t\r\n\r\n")
    assert "101" in reader.head()[0]
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        sock.sendall(b"x")
        assert reader.exactly(1) == b"x"
    sock.close()


# ---- retries ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status, bit", [(502, ON_502), (503, ON_503), (504, ON_504)])
def test_a_status_is_retried_where_the_route_says_so(make, status, bit):
    bad, good, gateway = make[1](failing(status)), make[1](named(b"good")), make[0]()
    gateway.serve(bad.port, good.port, route=f"on={bit}")
    assert [gateway.get()[2] for _ in range(10)] == [b"good"] * 10
    until(lambda: gateway.metric("requests") == 10)
    hidden = gateway.instance("errors", 0)
    assert 0 < hidden < 10, "one in two goes to the bad one first"
    assert gateway.metric("retried") == gateway.metric("rescued") == hidden
    assert gateway.metric("5xx") == 0
    gateway.serve(bad.port, route=f"on={15 - bit}")
    status_seen, fields, body = gateway.get()
    assert (status_seen, body, "server" in fields) == (status, b"fail", False), "the instance's own answer"


def test_who_is_rescued_by_another_release_is_the_first_ones_error(make):
    def fails_and_goes(sock, reader):
        reader.head()
        candidate.listener.shutdown(socket.SHUT_RDWR)
        sock.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nfail")

    stable, candidate, gateway = make[1](named(b"stable")), Backend(fails_and_goes), make[0]()
    answer = gateway.table([
        "app slot=0", f"instance id=s slot=0 port={stable.port}", f"instance id=c slot=1 port={candidate.port}",
        "pool first=0 instances=1", "pool first=1 instances=1", f"route app=0 on={ON_503}",
        "share pool=0 weight=0 slot=1", "share pool=1 weight=1000000 slot=2"])
    assert answer.startswith("applied")
    assert gateway.get()[2] == b"stable"
    until(lambda: gateway.metric("requests", 1) == 1, "its end")
    assert (gateway.metric("rescued", 1), gateway.metric("spilled", 1)) == (0, 1)
    assert (gateway.metric("rescued", 2), gateway.metric("requests", 2)) == (1, 1)


def test_500_and_what_is_not_idempotent_are_never_sent_twice(make):
    bad, gateway = make[1](failing(500)), make[0]()
    gateway.serve(bad.port, route="on=15 retries=5")
    assert gateway.get()[0] == 500
    other = make[1](failing(503))
    gateway.serve(other.port, route="on=15 retries=5", slots=[1])
    assert gateway.get(method="POST", body=b"once")[0] == 503
    assert gateway.get(method="PUT", body=b"y" * 200000)[0] == 503  # more than is kept
    until(lambda: gateway.instance("errors", 1) == 2)
    assert gateway.metric("retried") == 0 and gateway.instance("errors") == 1


def test_the_last_answer_is_the_clients(make):
    """With all attempts used, the instance's answer goes on as it is."""
    bad, gateway = make[1](failing(503, b"X-Why: full\r\n")), make[0]()
    gateway.serve(bad.port, route="on=4 retries=2")
    status, fields, body = gateway.get()
    assert (status, fields["x-why"], body) == (503, "full", b"fail")
    until(lambda: gateway.metric("requests") == 1)
    assert (gateway.metric("retried"), gateway.metric("5xx"), gateway.metric("rescued")) == (2, 1, 0)
    assert gateway.instance("errors") == 3


def test_a_body_is_sent_again_whole(make):
    bad, gateway = make[1](failing(503)), make[0]()
    good = make[1]()
    gateway.serve(bad.port, good.port, route="on=4")
    for i in range(8):
        assert gateway.get(method="PUT", body=b"%d" % i * 20000)[0] == 200
    assert sorted(b[:1] for _, _, b in good.requests) == [b"%d" % i for i in range(8)]
    assert all(len(b) == 20000 for _, _, b in good.requests)


def test_back_off_waits_and_grows(make):
    bad, gateway = make[1](breaking), make[0]()
    gateway.serve(bad.port, route="retries=6 backoff=40")
    began, times = time.monotonic(), []
    clients = [gateway.connect(GET)[1] for _ in range(4)]
    for reader in clients:
        assert reader.answer()[0] == 502
        times.append(time.monotonic() - began)
    assert bad.connections == 28
    # Each waited up to 40, 80, ... 1280 ms: 1.26 s on average. A tenth of that for the slowest of four is
    # less likely than one in 10^6.
    assert max(times) > 0.126


def test_a_client_that_leaves_while_it_backs_off(make):
    bad, gateway = make[1](breaking), make[0]()
    gateway.serve(bad.port, route="retries=5 backoff=5000")
    socks = [gateway.connect(GET)[0] for _ in range(8)]
    until(lambda: bad.connections >= 8)
    for s in socks:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.close()
    until(lambda: int(gateway.ask("connections")) == 0)
    assert gateway.instance("in_flight") == 0


def test_a_table_changes_while_it_backs_off(make):
    """The instance that failed is gone, its slot is another's, its share too."""
    bad, good, gateway = make[1](breaking), make[1](named(b"good")), make[0]()
    gateway.serve(bad.port, route="retries=5 backoff=2000")
    socks = [gateway.connect(GET) for _ in range(8)]
    until(lambda: bad.connections >= 8)
    gateway.serve(good.port, slots=[0], ids=["other"], route="retries=5")
    assert [r.answer()[2] for _, r in socks] == [b"good"] * 8


def test_the_budget_bounds_the_extra_load(make):
    """An instance that is down for good gets a fifth more requests, and some; not twice as many."""
    bad, gateway = make[1](breaking), make[0]()
    gateway.serve(bad.port, route="retries=1 budget=200000")
    for _ in range(8):
        clients = [gateway.connect(GET) for _ in range(50)]
        assert [r.answer()[0] for _, r in clients] == [502] * 50
    until(lambda: gateway.metric("failed") == 400)
    retried = gateway.metric("retried")
    # 3 a second for 10 s at once, a fifth of what came, and 3 for each second that the test took.
    assert 30 <= retried <= 30 + 80 + 3 * 15
    assert gateway.metric("unretried") == 400 - retried
    assert bad.connections == 400 + retried


def test_a_candidates_failures_do_not_take_stables_budget(make):
    bad, gateway = make[1](breaking), make[0]()
    flaky_calls = []

    def flaky(sock, reader):
        while reader.head():
            flaky_calls.append(1)
            if len(flaky_calls) % 2:
                return
            sock.sendall(OK)

    stable = make[1](flaky)
    answer = gateway.table([
        "app slot=0", f"instance id=s slot=0 port={stable.port}", f"instance id=c slot=1 port={bad.port}",
        "pool first=0 instances=1", "pool first=1 instances=1", "route app=0 retries=1 budget=0",
        "share pool=0 weight=500000 slot=1", "share pool=1 weight=500000 slot=2"])
    assert answer.startswith("applied")
    until(lambda: gateway.get() and gateway.metric("unretried", 2) > 10, "the end of the candidate's budget")
    assert gateway.metric("failed", 1) == 0, "stable's requests were not retried"
