"""TCP routes through the file and the whole server: who opens the port, deploys, deaths, refusals."""

import os
import signal
import socket
import threading

import pytest
from sluice_test import App
from sluice_test.build import PATIENCE
from sluice_test.wait import wait_until

# Greets with its version, then sends back what comes, line by line. Python, since it starts without a build.
PROGRAM = '''
import os, signal, socket, sys, threading
open_ones, lock = 0, threading.Lock()
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=128)
def serve(sock):
    global open_ones
    try:
        sock.sendall(os.environ["SLUICE_VERSION"].encode() + b"\\n")
        while data := sock.recv(65536):
            sock.sendall(data)
    except OSError:
        pass
    sock.close()
def stop(*_):
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
while True:
    sock, _ = listener.accept()
    threading.Thread(target=serve, args=(sock,), daemon=True).start()
'''
BROKEN = '''
import os, socket
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=128)
while True:
    sock, _ = listener.accept()
    sock.recv(64)
    sock.close()
'''


def free_port(family=socket.AF_INET, host="127.0.0.1"):
    with socket.socket(family) as s:
        s.bind((host, 0))
        return s.getsockname()[1]


class Client:
    def __init__(self, port, host="127.0.0.1"):
        self.sock = socket.create_connection((host, port), timeout=20 * PATIENCE)
        self.file = self.sock.makefile("rwb")

    def greeting(self):
        return self.file.readline().decode().strip()

    def say(self, text):
        self.file.write(text.encode() + b"\n")
        self.file.flush()
        return self.file.readline().decode().strip() == text

    def close(self):
        self.file.close()
        self.sock.close()


class Clients:
    """Connections all the time: short ones, and some that stay a while. None may fail."""

    def __init__(self, port, threads=4):
        self.port, self.stopping, self.failed, self.versions = port, threading.Event(), [], {}
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(threads)]

    def run(self, number):
        while not self.stopping.wait(0.02):
            try:
                c = Client(self.port)
                version = c.greeting()
                assert version, "ended without a greeting"
                for _ in range(1 if number else 8):
                    assert c.say("hello"), "no echo"
                    self.stopping.wait(0.05)
                c.close()
                with self.lock:
                    self.versions[version] = self.versions.get(version, 0) + 1
            except (OSError, AssertionError) as error:
                self.failed.append(repr(error))

    def __enter__(self):
        for t in self.threads:
            t.start()
        wait_until(lambda: self.versions, 20, "the first connections")
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for t in self.threads:
            t.join()


def answers(port):
    try:
        c = Client(port)
        version = c.greeting()
        c.close()
        return version
    except OSError:
        return None


def tcp_app(server, port, name="echo", program=PROGRAM, **changes):
    app = App(server, name, **{
        "run": ["python3", "app.py"], "replicas": 2, "routes": [{"tcp": {"listen": port}}],
        "probes": {"readiness": {"tcp": True, "period": "200ms"}},
        "stop": {"drain": "2s", "grace": "3s"}, **changes})
    (app.dir / "app.py").write_text(program)
    server.give(app.dir)
    return app


def listeners(server):
    return [x for x in server.info()["listeners"] if x.startswith("tcp:")]


def test_deploys_lose_no_connection(server):
    port = free_port()
    app = tcp_app(server, port)
    app.deploy(1, ok=True)
    assert answers(port) == "1"
    kept = Client(port)
    assert kept.greeting() == "1"
    with Clients(port) as clients:
        app.deploy(2, ok=True)
        app.deploy(3, strategy={"canary": {"steps": [20, 50], "hold": "500ms"}}, ok=True)
    assert clients.failed == []
    assert set(clients.versions) >= {"1", "2", "3"}
    # One that stays is cut at its drain's end, not before; then its instance is gone.
    with pytest.raises(OSError):
        while kept.say("still"):
            pass
        raise ConnectionResetError
    assert server.metric("sluice_requests_total", app="echo") > 0
    assert server.metric("sluice_failed_requests_total", app="echo") in (0, None)
    events = app.documents("events")
    told = [e["text"] for e in events if e["kind"] == "drain-timeout"]
    assert any(t.endswith(": 1 connection was cut when its drain time (2s) was over") for t in told), told
    ended = [e["data"] for e in events if e["kind"] == "ended"]
    assert ended[1]["cut_connections"] >= 1 and ended[0]["cut_connections"] == ended[1]["failed"] == 0, ended
    shown = app.cli("events", json_=False).stdout
    assert "connection was cut when" in shown or "connections were cut when" in shown, shown


def test_maintenance_and_faults_speak_of_connections(server):
    port = free_port()
    app = tcp_app(server, port)
    app.deploy(1, ok=True)
    page = app.dir / "page.html"
    page.write_text("x")
    for option, value in (("--page", str(page)), ("--status", "503"), ("--retry-after", "1m")):
        run = app.cli("maintenance", "on", option, value, json_=False)
        assert run.returncode == 2 and "TCP routes only" in run.stderr and option in run.stderr, run
    assert app.status()["maintenance"] is None
    said = app.cli("maintenance", "on", "--hold", "100ms", json_=False)
    assert "connections wait up to 100ms, then are reset" in said.stdout, said
    wait_until(lambda: answers(port) in ("", None), 20, "nobody is let in")
    assert "maintenance is on: connections are reset" in app.cli("maintenance", "on", json_=False).stdout
    app.command("maintenance", "off")
    wait_until(lambda: answers(port) == "1", 20, "it is over")
    said = app.cli("fault", "on", "--abort", "503", "--delay", "1ms", json_=False)
    assert "100% of the connections are delayed by 1ms and reset for 10m" in said.stdout, said


def test_the_port_comes_and_goes_with_its_route(server):
    first, second = free_port(), free_port()
    app = tcp_app(server, first)
    app.deploy(1, ok=True)
    assert listeners(server) == [f"tcp:127.0.0.1:{first}"]
    app.deploy(2, routes=[{"tcp": {"listen": second}}], ok=True)
    wait_until(lambda: listeners(server) == [f"tcp:127.0.0.1:{second}"], 20, "the first one closed")
    assert answers(first) is None and answers(second) == "2"
    app.command("rollback")
    wait_until(lambda: answers(first) == "1", 20, "the way back")
    wait_until(lambda: listeners(server) == [f"tcp:127.0.0.1:{first}"], 20, "the second one closed")
    app.cli("delete", "--yes")
    wait_until(lambda: listeners(server) == [], 20, "none is open")
    with socket.create_server(("127.0.0.1", first)):
        pass  # it is free for others


def test_a_deploy_is_refused_where_the_port_cannot_be_had(make_server):
    server = make_server(extra=["--tcp-routes", "0.0.0.0:1024-65535"])
    port = free_port()
    tcp_app(server, port).deploy(1, ok=True)
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        taken = foreign.getsockname()[1]
        own = server.address.rsplit(":", 1)[1]
        for listen, words in ((taken, ["in use", f"pid {os.getpid()}"]),
                              (port, ["belongs to app echo"]),
                              (f"0.0.0.0:{port}", ["belongs to app echo"]),
                              (int(own), ["sluice itself"]),
                              (f"0.0.0.0:{own}", ["sluice itself"]),
                              ("127.0.0.1:80", ["--tcp-routes"]),
                              ("[::1]:7000", ["--tcp-routes"])):
            done = tcp_app(server, listen, name="other").deploy(1)
            assert done.status == 1 and all(w in done.text for w in words), f"{listen}: {done!r}"
    done = tcp_app(server, "192.0.2.1:30000", name="other").deploy(1)
    assert done.status == 2 and "this machine has no such address" in done.text, f"{done!r}"
    assert server.cli("status", "other").returncode == 1, "nothing was made of it"
    assert listeners(server) == [f"tcp:127.0.0.1:{port}"] and answers(port) == "1"
    # A port that was taken is to be had once it is free.
    tcp_app(server, taken, name="other").deploy(2, ok=True)
    assert answers(taken) == "2"


def test_an_app_goes_over_to_all_addresses_and_back(make_server):
    """Both are open for a while: each release has its own."""
    server = make_server(extra=["--tcp-routes", "0.0.0.0:1024-65535"])
    port = free_port()
    app = tcp_app(server, port)
    app.deploy(1, ok=True)
    for version, host in ((2, "0.0.0.0"), (3, "127.0.0.1")):
        app.deploy(version, ok=True, routes=[{"tcp": {"listen": f"{host}:{port}"}}])
        wait_until(lambda: listeners(server) == [f"tcp:{host}:{port}"], 20, "the other one is closed")
        wait_until(lambda: answers(port) == str(version), 20, "its release answers")
    other = tcp_app(server, port, name="other", routes=[{"tcp": {"listen": f"0.0.0.0:{port}"}}])
    refused = other.deploy(1, ok=None)
    assert refused.status != 0 and "belongs to app echo@production already" in refused.text, refused


def test_who_dies_keeps_no_port_closed(server):
    """The port stays open whoever is killed; connections die with their gateway only."""
    port = free_port()
    tcp_app(server, port, stop={"drain": "60s", "grace": "3s"}).deploy(1, ok=True)
    kept = Client(port)
    assert kept.greeting() == "1"
    server.kill("controller")
    assert answers(port) == "1"
    server.wait_ready()
    assert kept.say("still") and answers(port) == "1"
    server.kill("guardian")
    server.process.wait()
    assert answers(port) == "1" and kept.say("still")
    server.start()  # takes over, and the old gateway drains
    assert kept.say("still") and answers(port) == "1"
    server.kill("gateway")
    wait_until(lambda: answers(port) == "1", 20, "the next gateway serves the port")
    assert listeners(server) == [f"tcp:127.0.0.1:{port}"]
    # All of it stops, and comes again.
    kept.close()
    server.stop()
    assert answers(port) is None
    server.start()
    wait_until(lambda: answers(port) == "1", 20, "the port is open again")


def test_a_route_that_lost_its_port_gets_it_back(make_server):
    """While nothing ran, another process has taken the port: the app says so, and tries on."""
    server = make_server(stop_apps=False)
    port = free_port()
    app = tcp_app(server, port)
    app.deploy(1, ok=True)
    server.stop()
    with socket.create_server(("127.0.0.1", port)):
        server.start()
        event = wait_until(lambda: [e for e in app.documents("events") if e["kind"] == "listen-failed"],
                           20, "an event about it")[0]
        assert f"pid {os.getpid()}" in event["text"] and str(port) in event["text"]
        assert listeners(server) == []
    wait_until(lambda: answers(port) == "1", 20, "the port is the app's again")
    app.cli("delete", "--yes")
    server.stop_apps = True


def test_a_port_that_is_taken_holds_up_no_other_app(make_server):
    server = make_server(stop_apps=False)
    taken, free = free_port(), free_port()
    blocked, other = tcp_app(server, taken, "blocked"), tcp_app(server, free, "other")
    blocked.deploy(1, ok=True)
    other.deploy(1, ok=True)
    server.stop()
    with socket.create_server(("127.0.0.1", taken)):
        server.start()
        wait_until(lambda: answers(free) == "1", 20, "the other app's port")
        wait_until(lambda: len(listeners(server)) == 1, 20, "its listener")
        assert [e for e in blocked.documents("events") if e["kind"] == "listen-failed"]
    wait_until(lambda: answers(taken) == "1", 20, "the port is the app's again")
    assert len([e for e in blocked.documents("events") if e["kind"] == "listen-failed"]) == 1
    for app in (blocked, other):
        app.cli("delete", "--yes")
    server.stop_apps = True


def test_a_release_that_ends_connections_without_a_word_goes_back(server):
    port = free_port()
    app = tcp_app(server, port)
    app.deploy(1, ok=True)
    stop = threading.Event()

    def clients():
        while not stop.wait(0.005):
            try:
                c = Client(port)
                c.sock.sendall(b"hello\n")
                c.greeting()
                c.close()
            except OSError:
                pass

    threads = [threading.Thread(target=clients) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        (app.dir / "app.py").write_text(BROKEN)
        done = app.deploy(2, strategy={"canary": {"steps": [50], "hold": "30s"}})
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert done.status == 1 and done.word == "rolled-back", f"{done!r}"
    assert f"tcp:127.0.0.1:{port}" in done.text, "the report names where"
    wait_until(lambda: answers(port) == "1", 20, "all of it on the old one")


@pytest.mark.root
def test_low_ports_and_ipv6(make_server):
    server = make_server(extra=["--tcp-routes", "127.0.0.1:700-1023,[::]:1024-65535"])
    low = next(p for p in range(700, 1023) if not busy(p))
    high = free_port(socket.AF_INET6, "::1")
    app = tcp_app(server, low)
    app.deploy(1, routes=[{"tcp": {"listen": low}}, {"tcp": {"listen": f"[::]:{high}"}}], ok=True)
    assert answers(low) == "1"
    c = Client(high, "::1")
    assert c.greeting() == "1"
    c.close()
    assert answers(high) is None, "[::] is IPv6 alone"


def busy(port):
    try:
        with socket.create_server(("127.0.0.1", port)):
            return False
    except OSError:
        return True


def test_a_deploy_waits_for_its_port(server):
    """While the guardian does not answer, two apps ask for one port; one gets it. Then it dies instead."""
    port = free_port()
    apps = [tcp_app(server, port, name=name) for name in ("one", "two")]
    os.kill(server.process.pid, signal.SIGSTOP)
    asked = [app.deploy_in_background(1) for app in apps]
    wait_until(lambda: server.log_text().count("/deploy, app") == 2, 20, "both have asked")
    os.kill(server.process.pid, signal.SIGCONT)
    ends = [server.end_cli(child) for child in asked]
    assert sorted(status for status, _, _ in ends) == [0, 1], ends
    refused = next(out + err for status, out, err in ends if status == 1)
    assert "belongs to app" in refused
    assert answers(port) == "1" and listeners(server) == [f"tcp:127.0.0.1:{port}"]
    third = tcp_app(server, free_port(), name="three")
    os.kill(server.process.pid, signal.SIGSTOP)
    child = third.deploy_in_background(1)
    wait_until(lambda: server.log_text().count("/deploy, app three") == 1, 20, "it has asked")
    server.kill("guardian")
    status, out, err = server.end_cli(child)
    assert status != 0 and "there is no guardian now" in out + err, (status, out, err)
    server.start()
    third.deploy(2, ok=True)
