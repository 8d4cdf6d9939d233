"""Instances that listen on a Unix socket or on ::1 only, behind the gateway alone."""

import os
import socket
import struct

import pytest
from gateway_fixtures import driver  # noqa: F401
from gateway_rig import Backend, Gateway, until
from h2_peer import H2Backend, H2Client

MIB = 1 << 20
RESET = struct.pack("ii", 1, 0)
NOBODY = 65534
REFUSE = "hold_limit=0"  # nobody is held for an instance that rests


class Rooms:
    """A folder of run folders, as DATA/run/sockets is one."""

    def __init__(self, path):
        self.path, self.things = path, []
        path.chmod(0o711)

    def listen(self, room="shop-1-1.1", backlog=512, mode=0o777):
        (self.path / room).mkdir(exist_ok=True)
        os.chmod(self.path / room, 0o755)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path / room / "sock"))
        (self.path / room / "sock").chmod(mode)
        listener.listen(backlog)
        return listener

    def backend(self, handler=None, room="shop-1-1.1", kind=Backend, **options):
        return self.keep(kind(handler, listener=self.listen(room, **options)))

    def gateway(self, **options):
        return self.keep(Gateway(**{"workers": 1, "sockets": self.path, **options}))

    def keep(self, thing):
        self.things.append(thing)
        return thing


def place(room="shop-1-1.1", **more):
    return " ".join([f"socket={room}/sock", *(f"{k}={v}" for k, v in more.items())])


@pytest.fixture
def rooms(tmp_path_factory):
    made = Rooms(tmp_path_factory.mktemp("s"))
    yield made
    for thing in made.things:
        assert thing.close() is not False, "the gateway died"


def named(name):
    def handler(sock, reader):
        while reader.head():
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(name), name))
    return handler


# ---- sockets ----------------------------------------------------------------------------------------

def test_requests_and_large_bodies_both_ways(rooms):
    backend = rooms.backend()
    gateway = rooms.gateway()
    gateway.serve(place())
    sock, reader = gateway.connect()
    for _ in range(3):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert reader.answer()[::2] == (200, b"ok")
    assert backend.connections == 1, "it is kept"
    body = os.urandom(3 * MIB)

    def mirror(sock, reader):
        while request := backend.request(reader):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request[2]) + request[2])

    backend.handler = mirror
    backend.sockets[0].shutdown(socket.SHUT_RDWR)
    assert gateway.get("/", method="PUT", body=body)[2] == body
    assert (gateway.metric("failed"), gateway.metric("cut")) == (0, 0)


def test_an_answer_that_ends_with_the_connection(rooms):
    """The close of a Unix socket comes as a hang-up in both directions, with bytes still to be read."""
    body = b"x" * 300_000

    def handler(sock, reader):
        reader.head()
        sock.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body)

    rooms.backend(handler)
    gateway = rooms.gateway()
    gateway.serve(place())
    for _ in range(5):
        assert gateway.get()[2] == body
    assert gateway.metric("cut") == 0


def test_an_instance_that_answers_without_reading_the_body(rooms):
    def handler(sock, reader):
        reader.head()
        sock.sendall(b"HTTP/1.1 413 Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")

    rooms.backend(handler)
    gateway = rooms.gateway()
    gateway.serve(place())
    status, _, body = gateway.get(method="POST", body=b"x" * 200_000)
    assert (status, body) == (413, b"big")


def test_an_instance_that_breaks_off(rooms):
    def handler(sock, reader):
        reader.head()
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    rooms.backend(handler)
    gateway = rooms.gateway()
    gateway.serve(place(), route="retries=0")
    sock, reader = gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    reader.head()
    with pytest.raises((EOFError, ConnectionResetError)):
        reader.exactly(100)
    until(lambda: gateway.metric("cut") == 1, "the cut")


def test_upgraded_connections(rooms):
    def handler(sock, reader):
        reader.head()
        sock.sendall(b"HTTP/1.1 101 Up\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        while data := sock.recv(65536):
            sock.sendall(data)

    rooms.backend(handler)
    gateway = rooms.gateway()
    gateway.serve(place())
    sock, reader = gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
    assert reader.head()[0].startswith("HTTP/1.1 101")
    sock.sendall(b"hello")
    assert reader.exactly(5) == b"hello"
    sock.shutdown(socket.SHUT_WR)
    assert reader.closed()


def test_http2(rooms):
    backend = rooms.backend(kind=H2Backend)
    gateway = rooms.gateway()
    gateway.serve(place(), route="h2c=1")
    client = rooms.keep(H2Client(gateway.port))
    for _ in range(3):
        assert client.get("GET", "/").status == 200
    assert gateway.get()[0] == 200
    assert len(backend.connections) == 1


def test_tcp_routes(rooms):
    def echo(sock, reader):
        while data := sock.recv(65536):
            sock.sendall(data)

    rooms.backend(echo)
    gateway = rooms.gateway()
    port = int(gateway.ask("listener tcp:127.0.0.1:0"))
    gateway.serve(place(), route=f"host=tcp:127.0.0.1:{port} timeout=0")
    until(lambda: gateway.ask(f"seen {gateway.version}") == "1", "the table in use")
    sock, reader = gateway.connect(b"hello", address=("127.0.0.1", port))
    assert reader.exactly(5) == b"hello"
    sock.shutdown(socket.SHUT_WR)
    assert reader.closed()
    until(lambda: gateway.metric("requests") == 1, "its end")
    assert gateway.metric("failed") == 0


@pytest.mark.parametrize("missing", ["no folder", "no socket", "nobody listens", "a file"])
def test_where_nobody_listens_another_instance_gets_it(rooms, missing):
    rooms.backend(named(b"good"), room="good.1")
    room = rooms.path / "bad.1"
    if missing != "no folder":
        room.mkdir()
    if missing == "nobody listens":
        rooms.listen("bad.1").close()
    if missing == "a file":
        (room / "sock").write_text("no socket")
    gateway = rooms.gateway()
    gateway.serve(place("bad.1"), place("good.1"))
    for _ in range(20):
        assert gateway.get()[2] == b"good"
    assert gateway.instance("connect_errors", 0) >= 1
    gateway.serve(place("bad.1"), app=REFUSE)
    assert gateway.get()[0] == 503
    gateway.serve(place("good.1"))
    assert gateway.get()[2] == b"good", "it is no fault of the gateway's descriptors"


def test_a_new_run_is_another_instance(rooms):
    rooms.backend(named(b"old"), room="shop-1-1.1")
    rooms.backend(named(b"new"), room="shop-1-1.2")
    gateway = rooms.gateway()
    gateway.serve(place("shop-1-1.1"), ids=["shop-1-1"])
    assert gateway.get()[2] == b"old"
    gateway.serve(place("shop-1-1.2"), ids=["shop-1-1"])
    until(lambda: gateway.get()[2] == b"new", "the new run")
    for _ in range(5):
        assert gateway.get()[2] == b"new"


def test_who_listens_must_be_who_it_should_be(rooms):
    """An app that puts a link to another's socket in place of its own gets none of its requests there."""
    other = rooms.backend(named(b"other"), room="other.1")
    gateway = rooms.gateway()
    gateway.serve(place("other.1", socket_uid=os.getuid()))
    assert gateway.get()[2] == b"other"
    (rooms.path / "bad.1").mkdir()
    (rooms.path / "bad.1" / "sock").symlink_to(rooms.path / "other.1" / "sock")
    before = len(other.requests)
    gateway.serve(place("bad.1", socket_uid=12345), app=REFUSE)
    assert gateway.get()[0] == 503
    assert len(other.requests) == before


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_the_gateways_user_needs_the_sockets_write_permission(rooms):
    rooms.backend(mode=0o755)
    for folder in list(rooms.path.parents)[:-1]:
        folder.chmod(folder.stat().st_mode | 0o011)
    gateway = rooms.gateway(uid=NOBODY)
    gateway.serve(place(), app=REFUSE)
    assert gateway.get()[0] == 503
    (rooms.path / "shop-1-1.1" / "sock").chmod(0o777)
    until(lambda: gateway.get()[0] == 200, "its instance")
    os.chown(rooms.path / "shop-1-1.1", 0, NOBODY)
    os.chmod(rooms.path / "shop-1-1.1", 0o710)
    gateway.serve(place(), ids=["again"])
    assert gateway.get()[0] == 200, "the group may go through"


# ---- a full backlog ---------------------------------------------------------------------------------

def full_backlog(rooms, backlog=1):
    """A listener that nobody accepts from, with as many connections as it takes."""
    listener = rooms.listen("slow.1", backlog=backlog)
    fillers = []
    while True:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        try:
            sock.connect(str(rooms.path / "slow.1" / "sock"))
            fillers.append(sock)
        except BlockingIOError:
            return listener, fillers


@pytest.mark.parametrize("protocol", ["http1", "h2c"])
def test_who_comes_while_the_backlog_is_full_waits_for_its_turn(rooms, protocol):
    listener, fillers = full_backlog(rooms)
    gateway = rooms.gateway()
    gateway.serve(place("slow.1"), route=f"connect=60000 h2c={int(protocol == 'h2c')}")
    clients = [gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(8)]
    until(lambda: gateway.instance("in_flight") == len(clients), "all of them on their way")
    gone, _ = clients.pop()
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    gone.close()
    until(lambda: gateway.instance("in_flight") == len(clients), "one that left")
    backend = rooms.keep((Backend if protocol == "http1" else H2Backend)(None, listener=listener))
    for filler in fillers:
        filler.close()
    for _, reader in clients:
        assert reader.answer()[0] == 200
    assert gateway.instance("connect_errors") == 0
    assert backend is not None


def test_a_backlog_that_stays_full_is_a_failed_connect(rooms):
    rooms.backend(named(b"good"), room="good.1")
    _, fillers = full_backlog(rooms)
    gateway = rooms.gateway()
    gateway.serve(place("slow.1"), route="connect=200", app=REFUSE)
    assert gateway.get()[0] in (502, 503)
    assert gateway.instance("connect_errors") == 1
    gateway.serve(place("slow.1"), place("good.1"), route="connect=200")
    for _ in range(10):
        assert gateway.get()[2] == b"good"
    assert len(fillers) > 0


# ---- ::1 --------------------------------------------------------------------------------------------

def test_an_instance_on_ipv6_only(rooms):
    def listener():
        sock = socket.socket(socket.AF_INET6)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("::1", 0))
        sock.listen(64)
        return sock

    backend = rooms.keep(Backend(listener=listener()))
    gateway = rooms.gateway()
    gateway.serve(backend.port, app=REFUSE)
    assert gateway.get()[0] == 503, "nobody is at 127.0.0.1"
    gateway.serve(f"port={backend.port} ipv6=1")
    until(lambda: gateway.get()[0] == 200, "the other family")
    assert gateway.get()[0] == 200
    backend = rooms.keep(H2Backend(listener=listener()))
    gateway.serve(f"port={backend.port} ipv6=1", route="h2c=1")
    until(lambda: gateway.get()[0] == 200, "HTTP/2")
