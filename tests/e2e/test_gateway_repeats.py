"""Errors of which each client counts once a second: who a client is, and what a repeat."""

import time

import pytest
from gateway_fixtures import driver  # noqa: F401
from gateway_rig import Backend, Gateway, answering, until

ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno"


@pytest.fixture
def rig():
    things = []

    def start(handler=None, **options):
        things.append(Backend(handler or answering(ERROR)))
        things.append(Gateway(workers=1, **options))
        things[1].serve(things[0].port)
        return things[1]

    yield start
    for thing in things:
        assert thing.close() is not False, "the gateway died"


def ask(reader, sock, n=1, fields=""):
    """n requests over one connection, one after the other."""
    for _ in range(n):
        sock.sendall(f"GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode())
        assert reader.answer()[0] >= 500


def counted(gateway, errors, slots=(1,), metric="5xx"):
    until(lambda: sum(gateway.metric(metric, s) for s in slots) == errors, f"{errors} errors")
    return errors - sum(gateway.metric("repeats", s) for s in slots)


def test_a_connection_counts_once_a_second(rig):
    gateway = rig()
    sock, reader = gateway.connect()
    began = time.monotonic()
    ask(reader, sock, 50)
    once = counted(gateway, 50)
    assert 1 <= once <= 1 + int(time.monotonic() - began)
    errors = 50
    while counted(gateway, errors) == once:
        ask(reader, sock)
        errors += 1
    assert time.monotonic() - began > 0.95, "the next one counted within the second"
    assert counted(gateway, errors) == once + 1


def test_each_connection_of_the_own_network_is_a_client(rig):
    gateway = rig()
    for _ in range(50):
        sock, reader = gateway.connect()
        ask(reader, sock)
    assert counted(gateway, 50) == 50


def test_good_answers_are_no_ones_repeats(rig):
    gateway = rig(answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"))
    for _ in range(5):
        assert gateway.get()[0] == 404
    until(lambda: gateway.metric("4xx") == 5)
    assert gateway.metric("repeats") == 0


def test_failures_of_the_gateways_own_repeat_too(rig):
    gateway = rig(lambda sock, reader: reader.head())  # closes instead of answering
    sock, reader = gateway.connect()
    began = time.monotonic()
    for _ in range(6):
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        assert reader.answer()[0] == 502
    assert 1 <= counted(gateway, 6, metric="failed") <= 1 + int(time.monotonic() - began)


def test_a_client_counts_for_one_arm_only(rig):
    """In the other arm its errors are repeats: else the smaller one would look worse."""
    gateway = rig()
    backend = Backend(answering(ERROR))
    answer = gateway.table([
        "app slot=0", f"instance id=i{backend.port} slot=3 port={backend.port}", "pool first=0 instances=1",
        "pool first=0 instances=1", "route app=0", "share pool=0 weight=500000 slot=1",
        "share pool=1 weight=500000 slot=2"])
    assert answer.startswith("applied"), answer
    sock, reader = gateway.connect()
    began = time.monotonic()
    ask(reader, sock, 40)
    assert 1 <= counted(gateway, 40, slots=(1, 2)) <= 1 + int(time.monotonic() - began)
    assert gateway.metric("5xx", 1) == gateway.metric("5xx", 2) == 20
    backend.close()


def test_behind_a_trusted_proxy_it_names_the_client(rig):
    gateway = rig(trusted="127.0.0.0/8")
    began = time.monotonic()
    for _ in range(10):  # one client, over several connections of its proxy
        sock, reader = gateway.connect()
        ask(reader, sock, 5, "X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n")
    once = counted(gateway, 50)
    assert 1 <= once <= 1 + int(time.monotonic() - began)
    sock, reader = gateway.connect()
    for i in range(50):  # fifty clients over one connection
        ask(reader, sock, 1, f"X-Forwarded-For: 192.0.2.1, 198.51.100.{i}\r\n")
    assert counted(gateway, 100) == once + 50


def test_a_proxy_that_names_nobody_is_told_by_its_connections(rig):
    gateway = rig(trusted="127.0.0.0/8")
    for fields in ("", "X-Forwarded-For: unknown\r\n", "X_Forwarded_For: 192.0.2.1\r\n"):
        for _ in range(5):
            sock, reader = gateway.connect()
            ask(reader, sock, 1, fields)
    assert counted(gateway, 15) == 15


def test_others_are_not_believed(rig):
    gateway = rig()
    sock, reader = gateway.connect()
    began = time.monotonic()
    for i in range(50):
        ask(reader, sock, 1, f"X-Forwarded-For: 198.51.100.{i}\r\n")
    once = counted(gateway, 50)
    assert 1 <= once <= 1 + int(time.monotonic() - began)
    for _ in range(10):
        sock, reader = gateway.connect()
        ask(reader, sock, 1, "X-Forwarded-For: 192.0.2.1\r\n")
    assert counted(gateway, 60) == once + 10
