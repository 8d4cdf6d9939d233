"""Large answers over plain sockets go through pipes in the kernel: the same bytes, the same ends."""

import hashlib
import os
import random
import threading

import pytest
from gateway_fixtures import driver  # noqa: F401
from gateway_rig import Backend, Gateway, until

SIZE = 3 << 20
BODY = random.Random(1).randbytes(SIZE)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def rig():
    things = []

    def make(handler):
        backend, gateway = Backend(handler), Gateway(workers=1)
        things.extend((backend, gateway))
        gateway.serve(backend.port)
        return gateway, backend

    yield make
    for thing in things:
        assert thing.close() is not False, "the gateway died"


def whole(sock, reader):
    while reader.head() is not None:
        sock.sendall(HEAD + BODY)


def pipes(gateway):
    found = 0
    for fd in os.scandir(f"/proc/{gateway.pid}/fd"):
        try:
            found += os.readlink(fd.path).startswith("pipe:")
        except FileNotFoundError:  # closed since it was listed
            pass
    return found


def test_many_at_once(rig):
    """More than there are pipes: the others are copied."""
    gateway, backend = rig(whole)
    before = pipes(gateway)
    wrong = []

    def client():
        sock, reader = gateway.connect()
        for _ in range(3):
            sock.sendall(GET)
            status, _, body = reader.answer()
            if status != 200 or hashlib.sha256(body).digest() != hashlib.sha256(BODY).digest():
                wrong.append((status, len(body)))
        sock.close()

    clients = [threading.Thread(target=client) for _ in range(20)]
    for c in clients:
        c.start()
    most = 0
    while any(c.is_alive() for c in clients):
        most = max(most, pipes(gateway) - before)
    assert not wrong
    assert 0 < most <= 16, "two descriptors for each of at most eight pipes"
    # 60 answers, and the connections to the instance were used again.
    assert gateway.metric("requests") == 60 and backend.connections <= 20
    assert gateway.metric("bytes_out") >= 60 * SIZE


def test_a_client_that_reads_slowly(rig):
    gateway, _ = rig(whole)
    sock, reader = gateway.connect(GET, rcvbuf=8192)
    data = b""
    while len(data) < 200000:
        data += sock.recv(4096)
    assert gateway.get()[2] == BODY  # others are served meanwhile
    while len(data) < len(HEAD) + SIZE:
        piece = sock.recv(65536)
        assert piece, len(data)
        data += piece
    assert data.endswith(BODY)


def test_a_client_that_leaves(rig):
    gateway, backend = rig(whole)
    before = pipes(gateway)
    for _ in range(20):
        sock, _ = gateway.connect(GET, rcvbuf=8192)
        sock.recv(1000)
        sock.close()
    until(lambda: gateway.metric("requests") == 20, "they are counted")
    assert gateway.metric("left") > 0  # of some the kernel took the whole answer
    assert pipes(gateway) <= before + 16
    assert gateway.get()[2] == BODY


@pytest.mark.parametrize("sent", [SIZE // 2, SIZE - 1])
def test_an_instance_that_breaks_off(rig, sent):
    def short(sock, reader):
        reader.head()
        sock.sendall(HEAD + BODY[:sent])

    gateway, _ = rig(short)
    sock, reader = gateway.connect(GET)
    got = 0
    try:
        while piece := sock.recv(65536):
            got += len(piece)
        ended = "end"
    except ConnectionResetError:
        ended = "reset"
    assert got < len(HEAD) + SIZE and ended == "reset"
    assert gateway.metric("cut") == 1


def test_bytes_behind_the_answer_reach_nobody(rig):
    def more(sock, reader):
        while reader.head() is not None:
            sock.sendall(HEAD + BODY + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")

    gateway, backend = rig(more)
    sock, reader = gateway.connect()
    for _ in range(3):
        sock.sendall(GET)
        status, _, body = reader.answer()
        assert status == 200 and body == BODY
    assert backend.connections == 3
