"""Deploy after deploy under mixed load: nothing is lost, and nothing grows.

In `make test` a few deploys in a row; SLUICE_SOAK=1 (`make soak`) is the whole form: 24 minutes with one
each 20 s, after which the memory of guardian, controller and gateway is looked at as well. SLUICE_SOAK_S
sets another length. The figures of each deploy come out with `pytest -s`.
"""

import os
import socket
import threading
import time
from statistics import median

import pytest
from h2_peer import H2Client
from sluice_test import App, Client, Load, WebSocket, proc, wait_until
from test_tls import Tls

SOAK_S = int(os.environ.get("SLUICE_SOAK_S", "1440" if os.environ.get("SLUICE_SOAK") else "0"))
PERIOD_S = 20
STRATEGIES = [
    {"canary": {"steps": [20, 50], "hold": "1s"}},
    "rolling",
    {"blue-green": {"keep": "1s"}},
    "recreate",
]
ROLES = ("guardian", "controller", "gateway")


class Visitor(threading.Thread):
    """Visits again and again, until it is stopped; what goes wrong in one is kept."""

    def __init__(self, visit):
        super().__init__(daemon=True)
        self.visit, self.stop, self.visits, self.problem = visit, threading.Event(), 0, None

    def run(self):
        try:
            while not self.stop.wait(0.02):
                self.visit()
                self.visits += 1
        except Exception as error:
            self.problem = repr(error)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.join(60)


def over_http2(tls):
    context = tls.context()
    context.set_alpn_protocols(["h2"])

    def visit():
        client = H2Client(int(tls.port), tls.host, tls=context)
        for answer in [client.request(scheme="https", authority="shop.test", path=path)
                       for path in ("/version", "/bytes?n=70000", "/slow?ms=50", "/version")]:
            assert client.wait(answer).status == 200
        client.close()
    return visit


def over_one_connection(connect):
    def visit():
        with connect() as sock:
            sock.sendall(b"GET /version HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
    return visit


def over_websocket(address):
    def visit():
        with WebSocket(address) as sock:
            for n in range(5):
                assert sock.echo(f"word {n}") == f"word {n}"
    return visit


def that_leave(address):
    """In the middle of a download."""
    def visit():
        with Client(address) as client:
            client.connection.request("GET", "/bytes?n=10000000")
            client.connection.sock.recv(1000)
    return visit


class Figures:
    """What the processes take, once for each deploy."""

    def __init__(self, server):
        self.server, self.rows = server, []

    def take(self):
        pids = {role: self.server.pid(role) for role in ROLES}
        self.rows.append({role: (pid, proc.pss_kib(pid), proc.descriptors(pid))
                          for role, pid in pids.items()})
        print("  ".join(f"{role} {pss} KiB, {fds} fds" for role, (_, pss, fds) in self.rows[-1].items()),
              flush=True)

    def third(self, n, role, what):
        size = len(self.rows) // 3
        return [row[role][what] for row in self.rows[n * size:(n + 1) * size]]

    def assert_flat(self):
        """The last third takes no more than the second: the first is there to warm up. How many
        connections there are in that moment varies, so of descriptors the middle counts."""
        assert len(self.rows) >= 12
        for role in ROLES:
            assert len({row[role][0] for row in self.rows}) == 1, f"{role} is another process"
            for what, slack in ((1, 256), (2, 8)):  # 24 deploys lie between the two
                second, last = self.third(1, role, what), self.third(2, role, what)
                assert median(last) <= median(second) + slack, f"{role}: {second} became {last}"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def shop(make_server):
    tls = Tls(make_server)
    tls.put("shop", "shop.test")
    tls.start()
    port = free_port()
    app = App(tls.server, routes=[{"path": "/"}, {"tcp": {"listen": f"127.0.0.1:{port}"}}])
    app.deploy(1, ok=True)
    return tls, app, port


def deploy_all(app, figures):
    """Each third one is bad, and has to go back."""
    began, version = time.monotonic(), 1
    last = version
    while version < 5 or time.monotonic() - began < SOAK_S:
        version += 1
        due = time.monotonic() + PERIOD_S
        if version % 3 == 0:
            app.deploy(version, faults={"error_rate": "50%", "fault_path": "/"}, ok=False,
                       strategy={"canary": {"steps": [30], "hold": "60s"}})
        else:
            app.deploy(version, ok=True, strategy=STRATEGIES[version % len(STRATEGIES)])
            last = version
        app.wait_steady(last)
        figures.take()
        while SOAK_S and time.monotonic() < due:
            time.sleep(0.5)  # the period, not a state that is waited for


def test_deploys_under_mixed_load(shop):
    tls, app, port = shop
    server = app.server
    before = {role: proc.descriptors(server.pid(role)) for role in ROLES}
    figures = Figures(server)
    visitors = [Visitor(v) for v in (
        over_http2(tls), over_one_connection(tls.connect), over_websocket(server.address),
        that_leave(server.address),
        over_one_connection(lambda: socket.create_connection(("127.0.0.1", port), timeout=60)))]
    mix = ("GET / weight=8", "GET /bytes?n=65536 weight=2", "POST /echo size=20000 weight=2 check=echo",
           "GET /stream?ms=300&bytes=30000 weight=1")
    with Load(server.address, rate=300, requests=mix) as steady, \
            Load(server.address, rate=40, keepalive=False) as fresh:
        for visitor in visitors:
            visitor.start()
        try:
            deploy_all(app, figures)
        finally:
            for visitor in visitors:
                visitor.stop.set()
            for visitor in visitors:
                visitor.join(60)
    print("\n".join([steady.explain(), fresh.explain(), f"visits: {[v.visits for v in visitors]}"]))
    steady.assert_none_lost()
    fresh.assert_none_lost()
    assert [v.problem for v in visitors] == [None] * len(visitors)
    assert all(v.visits for v in visitors), "somebody never got through"
    if SOAK_S:
        figures.assert_flat()
    # And once nobody is there any more, what they had is given back: idle connections to the four
    # instances at most, and what the controller holds of them.
    def at_rest():
        return all(proc.descriptors(server.pid(role)) <= before[role] + 8 for role in ROLES)
    wait_until(at_rest, 60, lambda: f"descriptors as before: {before}, now "
                                    f"{ {r: proc.descriptors(server.pid(r)) for r in ROLES} }")
    assert server.metric("sluice_instance_in_flight") == 0
