"""Connections of clients: who they are behind a proxy that passes bytes on (PROXY protocol), how many
each may have, and what becomes of them when there is no room."""

import socket
import struct
import time

import pytest
from gateway_fixtures import driver, rig  # noqa: F401
from gateway_rig import until

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PROXY = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"


def version_2(source="192.0.2.7", command=0x21, tail=b""):
    body = socket.inet_aton(source) + socket.inet_aton("198.51.100.1") + struct.pack(">HH", 56324, 443) + tail
    return SIGNATURE + bytes([command, 0x11]) + struct.pack(">H", len(body)) + body


def worker(gateway, name):
    return int(gateway.ask(f"worker {name}"))


def connections(gateway):
    return int(gateway.ask("connections"))


def seen(backend):
    return dict(backend.requests[-1][1])["x-forwarded-for"]


# ---- the PROXY protocol ---------------------------------------------------------------------------


@pytest.mark.parametrize("header,client", [
    (PROXY, "192.0.2.7"),
    (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "2001:db8::1"),
    (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    (version_2(), "192.0.2.7"),
    (version_2(tail=b"\x01\x00\x02h2" + b"\x04\x07\xd0" + b"x" * 2000), "192.0.2.7"),
    (version_2(command=0x20), "127.0.0.1"),
])
def test_the_client_is_who_the_header_says(rig, header, client):
    gateway, backend = rig(proxy=1, trusted="127.0.0.1")
    sock, reader = gateway.connect(header + GET)  # together, and then the next request
    assert reader.answer()[0] == 200 and seen(backend) == client
    sock.sendall(GET)
    assert reader.answer()[0] == 200 and seen(backend) == client
    # Byte by byte.
    sock, reader = gateway.connect()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in header[:200]:
        sock.sendall(bytes([byte]))
    sock.sendall(header[200:] + GET)
    assert reader.answer()[0] == 200 and seen(backend) == client


@pytest.mark.parametrize("junk", [
    GET,
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n" + GET,
    b"PROXY TCP4 192.0.2.7\n198.51.100.1 1 2\r\n" + GET,
    b"PROXY UNKNOWN " + b"x" * 200 + b"\r\n" + GET,
    version_2(command=0x22) + GET,
    SIGNATURE + b"\x21\x11\xff\xff" + b"x" * 70000,
    b"\x16\x03\x01\x02\x00\x01\x00",
])
def test_a_trusted_proxy_must_send_one(rig, junk):
    gateway, backend = rig(proxy=1, trusted="127.0.0.1")
    sock, reader = gateway.connect()
    try:
        sock.sendall(junk)
    except ConnectionError:
        pass
    assert reader.closed(), "no answer to who speaks for nobody"
    until(lambda: worker(gateway, "refused") == 1)
    assert backend.requests == [] and connections(gateway) == 0


def test_one_that_ends_in_the_middle(rig):
    gateway, backend = rig(proxy=1, trusted="127.0.0.1")
    sock, reader = gateway.connect(PROXY[:20])
    sock.shutdown(socket.SHUT_WR)
    assert reader.closed()
    until(lambda: connections(gateway) == 0)


def test_others_are_who_they_are(rig):
    gateway, backend = rig(proxy=1, trusted="10.0.0.0/8")
    sock, reader = gateway.connect(GET)
    assert reader.answer()[0] == 200 and seen(backend) == "127.0.0.1"
    for header in (PROXY, version_2()):
        sock, reader = gateway.connect(header + GET)
        assert reader.answer()[0] == 400, "for them it is no request"
    assert len(backend.requests) == 1


def test_a_trusted_client_behind_it_may_speak_for_others(rig):
    gateway, backend = rig(proxy=1, trusted="127.0.0.1,192.0.2.0/24")
    ask = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n"
    sock, reader = gateway.connect(PROXY + ask)
    assert reader.answer()[0] == 200 and seen(backend) == "203.0.113.5, 192.0.2.7"
    sock, reader = gateway.connect(version_2("203.0.113.9") + ask)
    assert reader.answer()[0] == 200 and seen(backend) == "203.0.113.9", "not believed"


def test_a_slow_header_has_the_time_of_a_head(rig):
    gateway, backend = rig(proxy=1, trusted="127.0.0.1")
    slow = [gateway.connect(PROXY[:i])[1] for i in range(0, 40)]
    assert gateway.connect(PROXY + GET)[1].answer()[0] == 200
    assert all(reader.closed() for reader in slow)  # 10 s
    until(lambda: connections(gateway) <= 1)


# ---- how many -------------------------------------------------------------------------------------


def test_each_client_has_so_many(rig):
    gateway, backend = rig(max_per_client=5, workers=2)
    mine = [gateway.connect(GET) for _ in range(5)]
    assert [reader.answer()[0] for _, reader in mine] == [200] * 5
    for _ in range(10):
        with pytest.raises((ConnectionError, AssertionError)):
            sock, reader = gateway.connect()
            sock.sendall(GET)
            reader.answer()
    until(lambda: worker(gateway, "refused") == 10)
    sock, reader = mine[0]
    sock.sendall(GET)
    assert reader.answer()[0] == 200, "those that are there go on"
    mine.pop()[0].close()
    until(lambda: connections(gateway) == 4)
    assert gateway.connect(GET)[1].answer()[0] == 200


def test_a_proxy_has_any_number_and_its_clients_have_theirs(rig):
    gateway, backend = rig(max_per_client=2, proxy=1, trusted="127.0.0.1")
    for client in (PROXY, version_2("192.0.2.8")):
        for _ in range(2):
            assert gateway.connect(client + GET)[1].answer()[0] == 200
        _, reader = gateway.connect(client + GET)
        assert reader.closed()
    assert worker(gateway, "refused") == 2 and connections(gateway) == 4
    plain, _ = rig(max_per_client=2, trusted="127.0.0.1")
    for _ in range(5):
        assert plain.connect(GET)[1].answer()[0] == 200


def test_idle_ones_make_room(rig):
    """As many connections as there may be: silent ones go first, and those who are served stay."""
    gateway, backend = rig(max=20, workers=1)
    served, answers = gateway.connect(GET)
    assert answers.answer()[0] == 200
    crowd = [gateway.connect()[0] for _ in range(19)]
    until(lambda: connections(gateway) == 20)
    began = time.monotonic()
    late = [gateway.connect(GET)[1] for _ in range(10)]
    assert [reader.answer()[0] for reader in late] == [200] * 10
    assert time.monotonic() - began < 5
    assert worker(gateway, "reclaimed") >= 10 and connections(gateway) <= 20
    served.sendall(GET)
    assert answers.answer()[0] == 200
    for sock in crowd:
        sock.close()


def test_who_stalls_makes_room(rig):
    """Slow bodies, answers that are not taken and half a head; hundreds of them, and honest clients
    are served."""

    def instance(sock, reader):
        while True:
            head = reader.head()
            if head is None:
                return
            reader.body(head[1])
            big = "/big" in head[0]
            body = b"x" * (50_000_000 if big else 2)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    gateway, backend = rig(instance, max=300)
    waits, reader = gateway.connect(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")  # and takes it, slowly
    reader.more()
    slow = [gateway.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx") for _ in range(150)]
    slow += [gateway.connect(b"GET / HT") for _ in range(140)]
    slow += [gateway.connect(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n", rcvbuf=4096) for _ in range(4)]
    until(lambda: connections(gateway) >= 290)
    began = time.monotonic()
    for _ in range(100):
        assert gateway.connect(GET)[1].answer()[0] == 200
        assert reader.more()
    assert time.monotonic() - began < 12
    assert worker(gateway, "reclaimed") > 80
    until(lambda: gateway.instance("in_flight") < 154 + 1)
    assert gateway.metric("failed") == 0


def test_nobody_is_closed_for_the_instance_that_is_waited_for(rig):
    def lazy(sock, reader):
        naps = [6]
        while (head := reader.head()) is not None:
            reader.body(head[1])
            time.sleep(naps.pop() if naps else 0)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    gateway, backend = rig(lazy, max=10)
    waiting = [gateway.connect(GET)[1] for _ in range(10)]
    until(lambda: connections(gateway) == 10)
    before = gateway.cpu()
    late, reader = gateway.connect(GET)
    assert [r.answer()[0] for r in waiting] == [200] * 10
    assert gateway.cpu() - before < 100, "waiting for room is no spinning"
    assert worker(gateway, "reclaimed") == 0
    for sock in gateway.clients[:5]:
        sock.close()
    assert reader.answer()[0] == 200, "it waited in the listener's queue"
