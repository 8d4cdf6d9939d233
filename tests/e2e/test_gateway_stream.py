"""TCP routes: bytes both ways, their ends and resets, and what an exchange has: split, hold, drain."""

import errno
import select
import socket
import struct
import threading
import time

import pytest
from gateway_fixtures import driver  # noqa: F401
from gateway_rig import DEADLINE, Backend, Gateway, until
from sluice_test.build import SANITIZER

MIB = 1 << 20
RESET = struct.pack("ii", 1, 0)


class Stream:
    """A gateway with one more listener, for TCP, and routes to it."""

    def __init__(self, **options):
        self.gateway = Gateway(**options)
        self.tcp = int(self.gateway.ask("listener tcp:127.0.0.1:0"))
        self.name = f"tcp:127.0.0.1:{self.tcp}"
        self.route = f"host={self.name} timeout=0"

    def serve(self, *ports, timeout=0, retries=1, **options):
        route = f"host={self.name} timeout={timeout} retries={retries}"
        self.gateway.serve(*ports, route=route, **options)
        # A worker in the middle of a turn may still take a connection by the table before.
        until(lambda: self.gateway.ask(f"seen {self.gateway.version}") == "1", "the table in use")

    def connect(self, send=b"", **options):
        return self.gateway.connect(send, address=("127.0.0.1", self.tcp), **options)

    def close(self):
        return self.gateway.close()


@pytest.fixture
def make():
    things = []

    def stream(**options):
        things.append(Stream(**options))
        return things[-1]

    def backend(handler=None, port=0):
        things.append(Backend(handler, port))
        return things[-1]

    yield stream, backend
    for thing in things:
        assert thing.close() is not False, "the gateway died"


def echo(sock, reader):
    while data := sock.recv(65536):
        sock.sendall(data)


def named(name):
    def handler(sock, reader):
        sock.sendall(name)
        echo(sock, reader)

    return handler


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


def ending(sock):
    """How it ends, and what came before: "end" or "reset"."""
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
        return "end", data
    except ConnectionResetError:
        return "reset", data


def is_reset(stream):
    """Perhaps before connect() has returned."""
    try:
        return ending(stream.connect()[0]) == ("reset", b"")
    except ConnectionResetError:
        return True


def test_who_speaks_first_and_what_is_counted(make):
    stream, gateway = (s := make[0]()), s.gateway
    ports = [make[1](named(b"hello")).port, make[1](echo).port]
    stream.serve(ports[0])
    sock, reader = stream.connect()
    assert reader.exactly(5) == b"hello"
    assert gateway.instance("in_flight") == 1 and gateway.metric("requests") == 0
    sock.sendall(b"abc")
    assert reader.exactly(3) == b"abc"
    sock.close()
    until(lambda: gateway.metric("requests") == 1 and gateway.instance("in_flight") == 0)
    assert (gateway.metric("bytes_in"), gateway.metric("bytes_out")) == (3, 8)
    stream.serve(ports[1], ids=["other"], slots=[1])
    sock, reader = stream.connect(b"first")
    assert reader.exactly(5) == b"first"
    sock.close()
    until(lambda: gateway.metric("requests") == 2)
    for bad in ("5xx", "failed", "cut", "left", "unserved", "retried"):
        assert gateway.metric(bad) == 0, bad


def test_each_side_ends_by_itself(make):
    got = []

    def sums_up(sock, reader):
        data = b""
        while piece := sock.recv(65536):
            data += piece
        sock.sendall(b"%d bytes" % len(data))

    def ends_first(sock, reader):
        sock.sendall(b"bye")
        sock.shutdown(socket.SHUT_WR)
        got.append(reader.rest())

    stream, gateway = (s := make[0]()), s.gateway
    stream.serve(make[1](sums_up).port)
    sock, _ = stream.connect(b"x" * MIB)
    sock.shutdown(socket.SHUT_WR)
    assert ending(sock) == ("end", b"1048576 bytes")
    stream.serve(make[1](ends_first).port, ids=["other"], slots=[1])
    sock, _ = stream.connect()
    assert ending(sock) == ("end", b"bye")
    sock.sendall(b"still here")
    sock.close()
    until(lambda: got == [b"still here"])
    until(lambda: gateway.metric("requests") == 2)
    assert gateway.metric("5xx") == gateway.metric("failed") == gateway.metric("cut") == 0


def test_resets_are_passed_on(make):
    seen = []

    def resets(sock, reader):
        sock.sendall(b"hello")
        if reader.exactly(1) == b"r":
            reset(sock)

    def watches(sock, reader):
        sock.sendall(b"hello")
        seen.append(ending(sock)[0])

    stream, gateway = (s := make[0]()), s.gateway
    stream.serve(make[1](resets).port)
    sock, reader = stream.connect()
    reader.exactly(5)
    sock.sendall(b"r")
    assert ending(sock)[0] == "reset"
    until(lambda: gateway.metric("cut") == 1)
    assert gateway.metric("requests") == 1 and gateway.instance("errors") == 1
    sample = until(lambda: (line := gateway.ask("sample")) != "none" and line.split())
    assert (sample[0], sample[3]) == ("cut", stream.name)
    stream.serve(make[1](watches).port, ids=["other"], slots=[1])
    sock, reader = stream.connect()
    reader.exactly(5)
    reset(sock)
    until(lambda: seen == ["reset"])
    until(lambda: gateway.metric("left") == 1)
    assert gateway.metric("cut") == 1 and gateway.instance("errors", 1) == 0


def test_the_last_words_of_an_instance_that_resets_arrive(make):
    """It answers, and closes with bytes of the client unread: the kernel makes that a reset."""
    go = threading.Event()

    def refuses(sock, reader):
        sock.recv(1)
        sock.sendall(b"too much")
        go.wait(DEADLINE)

    stream = make[0]()
    stream.serve(make[1](refuses).port)
    sock, reader = stream.connect(b"x" * 65536)
    assert reader.exactly(8) == b"too much"
    go.set()
    assert ending(sock)[0] == "reset"
    until(lambda: stream.gateway.metric("cut") == 1)


def test_an_end_without_a_word_is_a_failure(make):
    def closes(sock, reader):
        sock.recv(5)

    def resets(sock, reader):
        sock.recv(5)
        reset(sock)

    stream, gateway = (s := make[0]()), s.gateway
    stream.serve(make[1](closes).port)
    sock, _ = stream.connect(b"query")
    assert ending(sock) == ("end", b"")
    sock.close()
    until(lambda: gateway.metric("5xx") == 1 and gateway.instance("errors") == 1)
    stream.serve(make[1](resets).port, ids=["other"], slots=[1])
    sock, _ = stream.connect(b"query")
    assert ending(sock) == ("reset", b"")
    until(lambda: gateway.metric("failed") == 1 and gateway.instance("errors", 1) == 1)
    assert gateway.metric("requests") == 2 and gateway.metric("retried") == 0


def test_who_refuses_is_passed_over(make):
    """A port where nobody listens, and an instance that ends connections before anything was said."""

    def full(sock, reader):
        pass

    stream, gateway = (s := make[0]()), s.gateway
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        dead = nobody.getsockname()[1]
    stream.serve(dead, make[1](named(b"up")).port)
    for _ in range(8):
        sock, reader = stream.connect()
        assert reader.exactly(2) == b"up"
        sock.close()
    until(lambda: gateway.metric("requests") == 8)
    assert gateway.instance("connect_errors", 0) >= 1 and gateway.metric("retried") >= 1
    closing = make[1](full)
    stream.serve(closing.port, make[1](named(b"up")).port, ids=["a", "b"], slots=[2, 3])
    for _ in range(16):
        sock, reader = stream.connect()
        assert reader.exactly(2) == b"up"
        sock.close()
    assert closing.connections > 0, "no connection ever got to it"
    # Alone, it is asked once more, and then the client hears of it.
    stream.serve(closing.port, ids=["c"], slots=[4])
    before = closing.connections
    sock, _ = stream.connect()
    assert ending(sock) == ("end", b"")
    assert closing.connections == before + 2


def test_big_transfers_both_ways_at_once(make):
    size = (16 if SANITIZER else 256) * MIB
    block = bytes(range(256)) * 1024

    def fill(sock, n):
        while n > 0:
            n -= sock.send(block[:min(n, len(block))])
        sock.shutdown(socket.SHUT_WR)

    def both(sock, reader):
        writer = threading.Thread(target=fill, args=(sock, size))
        writer.start()
        count(sock)
        writer.join()

    def count(sock):
        got, at = 0, 0
        while piece := sock.recv(1 << 18):
            assert piece[0] == at and piece[-1] == (at + len(piece) - 1) % 256
            got += len(piece)
            at = got % 256
        assert got == size
        return got

    stream, gateway = (s := make[0]()), s.gateway
    stream.serve(make[1](both).port)
    sock, _ = stream.connect()
    writer = threading.Thread(target=fill, args=(sock, size))
    writer.start()
    assert count(sock) == size
    writer.join()
    until(lambda: gateway.metric("requests") == 1)
    assert gateway.metric("bytes_in") == gateway.metric("bytes_out") == size


def test_slow_sides_cost_a_buffer_each(make):
    """Nobody reads: what is sent stays with the senders, but for a buffer per direction."""
    go = threading.Event()

    def stuffs(sock, reader):
        sock.setblocking(False)
        while not go.is_set():
            try:
                sock.send(b"y" * 65536)
            except BlockingIOError:
                go.wait(0.02)

    stream, gateway = (s := make[0]()), s.gateway
    stream.serve(make[1](stuffs).port)
    before = gateway.rss()
    clients = [stream.connect()[0] for _ in range(16)]
    for sock in clients:
        sock.setblocking(False)

    def stuffed():
        took = 0
        for sock in clients:
            try:
                while True:
                    took += sock.send(b"x" * 65536)
            except BlockingIOError:
                pass
        return took == 0

    until(stuffed, "full buffers")
    assert gateway.rss() - before < 16 * 2 * (80 << 10) + (32 * MIB if SANITIZER else MIB)

    def quiet():
        cpu = gateway.cpu()
        select.select([], [], [], 0.3)
        return gateway.cpu() == cpu

    until(quiet, "a gateway that waits, rather than turns")
    go.set()


def test_the_hold(make):
    stream, gateway = (s := make[0]()), s.gateway
    stream.serve(app="hold_ms=60000 hold_limit=2")
    sock, reader = stream.connect(b"patience")
    sock.shutdown(socket.SHUT_WR)  # no reason to give it up
    until(lambda: gateway.metric("waiting", 0) == 1)
    second, _ = stream.connect()
    until(lambda: gateway.metric("waiting", 0) == 2)
    assert is_reset(stream)
    assert gateway.metric("unserved", 0) == 1
    reset(second)
    until(lambda: gateway.metric("waiting", 0) == 1)
    stream.serve(make[1](echo).port, app="hold_ms=60000 hold_limit=2")
    assert reader.rest() == b"patience"
    until(lambda: gateway.metric("requests") == 1)
    assert gateway.metric("held", 0) == 2
    stream.serve(app="hold_ms=50")
    assert is_reset(stream)


def test_a_drain_ends_at_its_deadline(make):
    stream, gateway = (s := make[0]()), s.gateway
    old, new = make[1](named(b"old")), make[1](named(b"new"))
    stream.serve(old.port, slots=[0])
    sock, reader = stream.connect()
    assert reader.exactly(3) == b"old"
    stream.serve(new.port, slots=[1], extra=["draining slot=0 in=60000"])
    other, theirs = stream.connect()
    assert theirs.exactly(3) == b"new"
    sock.sendall(b"still")
    assert reader.exactly(5) == b"still"
    assert (gateway.instance("in_flight", 0), gateway.instance("in_flight", 1)) == (1, 1)
    stream.serve(new.port, slots=[1], extra=["draining slot=0 in=1"])
    assert ending(sock)[0] == "reset"
    until(lambda: gateway.instance("in_flight", 0) == 0)
    other.sendall(b"well")
    assert theirs.exactly(4) == b"well"
    assert gateway.metric("failed") == gateway.metric("cut") == 0


def test_idle_connections_end_where_the_route_says_so(make):
    stream, gateway = (s := make[0]()), s.gateway
    backend = make[1](echo)
    stream.serve(backend.port, timeout=400)
    sock, reader = stream.connect()
    for _ in range(4):  # each byte starts the time anew
        select.select([sock], [], [], 0.2)
        sock.sendall(b"x")
        assert reader.exactly(1) == b"x"
    assert ending(sock)[0] == "reset"
    until(lambda: backend.closed == 1)
    assert gateway.metric("requests") == 1 and gateway.instance("errors") == 0


def test_a_client_that_resets_while_the_instance_takes_nothing(make):
    done = threading.Event()
    stream, backend = make[0](workers=1), make[1](lambda sock, reader: done.wait(60))
    stream.serve(backend.port)
    sock, _ = stream.connect(b"x")
    sock.setblocking(False)
    blocked = time.monotonic()
    while time.monotonic() - blocked < 0.3:  # until the gateway reads no more
        try:
            sock.send(b"y" * 65536)
            blocked = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    assert stream.gateway.instance("in_flight") == 1
    reset(sock)
    until(lambda: stream.gateway.instance("in_flight") == 0, "the instance is free of it")
    done.set()


def test_listeners_come_and_go(make):
    stream, gateway = (s := make[0](workers=2)), s.gateway
    backend = make[1](named(b"hi"))
    stream.serve(backend.port)
    kept, reader = stream.connect()
    assert reader.exactly(2) == b"hi"
    for _ in range(70):  # more often than there are places
        gateway.ask(f"close-listener {stream.name}")

        def refused():
            try:
                stream.connect()[0].close()
            except OSError as error:
                return error.errno == errno.ECONNREFUSED  # reset: one worker has closed, not yet all

        until(refused, "nobody to listen")
        assert int(gateway.ask(f"listener {stream.name}")) == stream.tcp
        sock, theirs = stream.connect()
        assert theirs.exactly(2) == b"hi"
        sock.close()
    kept.sendall(b"still")
    assert reader.exactly(5) == b"still"
    assert gateway.ask("takeover") == "listeners 2 32"
    assert gateway.get()[0] == 404, "the other listener is as it was"


def test_without_a_route_it_is_reset(make):
    stream, gateway = (s := make[0]()), s.gateway
    assert is_reset(stream)
    stream.serve(make[1](echo).port)
    # What speaks HTTP never comes to a TCP route, whatever its Host says.
    for host in (stream.name, "tcp", f"TCP:127.0.0.1:{stream.tcp}"):
        sock, reader = gateway.connect(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert reader.answer()[0] in (400, 404)
    assert gateway.metric("requests") == 0


def test_a_gateway_that_drains_lets_them_end(make):
    stream, gateway = (s := make[0]()), s.gateway
    stream.serve(make[1](named(b"hi")).port)
    sock, reader = stream.connect()
    assert reader.exactly(2) == b"hi"
    gateway.ask("drain 60000")
    sock.sendall(b"going on")
    assert reader.exactly(8) == b"going on"
    sock.close()
    assert gateway.wait() == "exit 0"


def test_the_split_is_exact(make):
    stream, gateway = (s := make[0](workers=2)), s.gateway
    a, b = make[1](named(b"a")), make[1](named(b"b"))
    answer = gateway.table(["app slot=0", f"instance id=a slot=0 port={a.port}",
                            f"instance id=b slot=1 port={b.port}",
                            "pool first=0 instances=1", "pool first=1 instances=1",
                            f"route app=0 {stream.route}",
                            "share pool=0 weight=900000 slot=1", "share pool=1 weight=100000 slot=2"])
    assert answer.startswith("applied"), answer
    got = b""
    for _ in range(100):
        sock, reader = stream.connect()
        got += reader.exactly(1)
        sock.close()
    assert 9 <= got.count(b"b") <= 11
    until(lambda: gateway.metric("requests", 1) + gateway.metric("requests", 2) == 100)


def test_a_table_that_looks_into_bytes_is_refused(make):
    stream = make[0]()
    for route in ("path=/x", "sticky=s"):
        answer = stream.gateway.table(["app slot=0", f"route app=0 {stream.route} {route}"])
        assert answer.startswith("refused") and "TCP route" in answer


def test_what_requests_have_connections_have_too(make):
    """A limit for one client, maintenance, faults: without a head to look at."""
    stream, gateway = (s := make[0](max_per_client=6)), s.gateway
    backend = make[1](named(b"hi"))

    def serve(app="", extra=()):
        stream.serve(backend.port, app=app, extra=extra)

    serve()
    held = [stream.connect() for _ in range(6)]
    assert all(reader.exactly(2) == b"hi" for _, reader in held)
    assert is_reset(stream), "this client has enough"
    for sock, _ in held:
        sock.close()
    until(lambda: gateway.ask("connections") == "0")
    serve(app="maintenance=503")
    assert is_reset(stream)
    until(lambda: gateway.metric("maintenance", 0) == 1)
    serve(app="maintenance=503 barred_ms=60000")
    sock, reader = stream.connect(b"later")
    until(lambda: gateway.metric("waiting", 0) == 1, "one that waits for the end of it")
    serve()
    assert reader.exactly(7) == b"hilater"
    sock.close()
    serve(app="maintenance=503 allowed=1", extra=["caller name=x-tester value=me"])
    assert is_reset(stream), "no header lets it pass"
    serve(app="fault=1000000 abort=500")
    assert is_reset(stream)
    serve(app="fault=1000000 delay=50")
    sock, reader = stream.connect()
    assert reader.exactly(2) == b"hi"
    until(lambda: gateway.metric("faults", 0) == 2)


def test_a_release_takes_so_many_connections(make):
    stream, gateway = (s := make[0]()), s.gateway
    backend = make[1](named(b"hi"))
    gateway.serve(backend.port, route=f"{stream.route} in_flight=2 pending=1 queue=60000")
    (one, a), (two, b) = stream.connect(), stream.connect()
    assert a.exactly(2) == b.exactly(2) == b"hi"
    third, c = stream.connect(b"queued")
    third.shutdown(socket.SHUT_WR)
    until(lambda: gateway.metric("queue") == 1, "one that waits for its turn")
    assert is_reset(stream), "no more may wait"
    assert backend.connections == 2
    one.close()
    assert c.rest() == b"hiqueued"
    two.close()
    until(lambda: gateway.instance("in_flight") == 0)
    assert gateway.metric("failed") == gateway.metric("cut") == gateway.metric("left") == 0
