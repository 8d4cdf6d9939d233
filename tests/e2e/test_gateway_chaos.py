"""Everything at once, from a seed: clients that leave, instances that break, tables that change. Whatever
happens, every answer is one that can be explained, and in the end nothing is left: no request in
flight, none waiting, no connection."""

import os
import random
import socket
import threading
import time

import pytest
from gateway_fixtures import driver  # noqa: F401
from gateway_rig import Backend, Gateway, until

SEED = int(os.environ.get("SLUICE_SEED", "1"))
SECONDS = float(os.environ.get("SLUICE_CHAOS_SECONDS", "4"))


def instance(seed):
    rng = random.Random(seed)

    def handler(sock, reader):
        while True:
            what = rng.random()
            if what < 0.02:
                return  # before the request
            head = reader.head()
            if head is None or what < 0.05:
                return  # without an answer
            if what < 0.10:
                sock.sendall(b"HTTP/1.1 413 x\r\nContent-Length: 0\r\n\r\n")  # before the body
                return
            if dict(head[1]).get("upgrade"):
                sock.sendall(b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: t\r\n\r\n")
                for _ in range(rng.randrange(5)):
                    data = sock.recv(65536)
                    if not data:
                        return
                    sock.sendall(data)
                return
            reader.body(head[1])
            size = rng.choice([0, 1, 100, 5000, 70000, 1000000])
            if what < 0.15:
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (size + 9) + bytes(size))
                return  # cut
            if what < 0.2:
                sock.sendall(b"HTTP/1.1 103 x\r\n\r\n" * 3)
            if what < 0.4:
                sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for _ in range(rng.randrange(4)):
                    sock.sendall(b"%x\r\n%s\r\n" % (size + 1, bytes(size + 1)))
                sock.sendall(b"0\r\n\r\n")
            elif what < 0.45:
                sock.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + bytes(size))
                return
            else:
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))

    return handler


def client(gateway, rng, stop, strange):
    while not stop.is_set():
        sock, reader = gateway.connect()
        sock.settimeout(30)
        try:
            for _ in range(rng.randrange(1, 6)):
                what, size = rng.random(), rng.choice([0, 10, 3000, 60000, 300000])
                if what < 0.1:
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: t\r\n\r\nxyz")
                    head = reader.head()
                    if head and "101" in head[0]:
                        sock.sendall(b"more")
                        sock.recv(100)
                    break
                if what < 0.3:
                    raw = b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                    raw += b"".join(b"%x\r\n%s\r\n" % (n, bytes(n)) for n in (1, size + 1)) + b"0\r\n\r\n"
                elif what < 0.5:
                    raw = b"PUT /p HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
                else:
                    raw = b"GET /p HTTP/1.1\r\nHost: a\r\n\r\n" * rng.randrange(1, 4)
                if rng.random() < 0.1:
                    sock.sendall(raw[: rng.randrange(len(raw))])
                    if rng.random() < 0.5:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    break
                sock.sendall(raw)
                if rng.random() < 0.1:
                    break
                for _ in range(raw.count(b"GET /p") or 1):
                    status = 100
                    while status < 200:
                        status = reader.answer()[0]
                    if status not in (200, 413, 502, 503):
                        strange.append(status)
        except (OSError, EOFError, AssertionError):
            pass
        finally:
            sock.close()
            gateway.clients.remove(sock)


@pytest.mark.parametrize("workers", [1, 3])
def test_chaos(workers):
    rng = random.Random(SEED)
    gateway = Gateway(workers=workers)
    backends = [Backend(instance(rng.random())) for _ in range(4)]
    stop, strange = threading.Event(), []
    threads = [threading.Thread(target=client, args=(gateway, random.Random(rng.random()), stop, strange))
               for _ in range(16)]
    gateway.serve(backends[0].port)
    for t in threads:
        t.start()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        some = [i for i in range(4) if rng.random() < 0.6]
        gateway.serve(*[backends[i].port for i in some], slots=some, app="hold_ms=500",
                      extra=[f"draining slot={i} in={rng.randrange(500)}" for i in range(4) if i not in some])
        time.sleep(rng.random() * 0.1)
    gateway.serve(*[b.port for b in backends], app="hold_ms=500")
    stop.set()
    for t in threads:
        t.join(60)
        assert not t.is_alive(), "a client hangs"
    assert strange == []
    until(lambda: int(gateway.ask("connections")) == 0, "the end of all connections")
    for slot in range(4):
        assert gateway.instance("in_flight", slot) == 0 and gateway.instance("upgraded", slot) == 0
    assert gateway.metric("waiting", 0) == 0
    assert gateway.metric("requests") > 50
    gateway.ask("drain 5000")
    assert gateway.wait() == "exit 0"
    gateway.close()
    for b in backends:
        b.close()
