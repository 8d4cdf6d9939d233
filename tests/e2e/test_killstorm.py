"""SIGKILL to every role at random moments of rollouts under load, from a seed.

The bounds are those of DESIGN's first promise:
  controller, guardian   nothing is lost
  gateway                at most the requests on the connections that it had accepted: each loses one
  shim, instance         what ran on that instance; a request without a byte of an answer goes elsewhere
A run prints its seed; SLUICE_SEED=N repeats it. SLUICE_SOAK=1 makes the storms long.
"""

import json
import os
import random
import sqlite3
import threading
import time

import pytest
from sluice_test import App, get, wait_until
from sluice_test import proc
from sluice_test.app import STRATEGIES
from sluice_test.build import PATIENCE

SOAK = bool(os.environ.get("SLUICE_SOAK"))
SEED = int(os.environ.get("SLUICE_SEED", "0")) or None
CONNECTIONS = 12
KILLS = 40 if SOAK else 6  # over as many rollouts as it takes

STORM_STRATEGIES = {
    "rolling": "rolling",
    "recreate": "recreate",
    "blue-green": {"blue-green": {"keep": "500ms"}},
    "canary": {"canary": {"steps": [20, 50], "hold": "400ms"}},
}


class Storm(threading.Thread):
    """Kills one of `roles` each 100 to 700 ms, KILLS times; counts what it killed. It ends by itself,
    also within a rollout: a controller that is killed whenever it starts can not end any."""

    def __init__(self, server, roles, seed):
        super().__init__(daemon=True)
        self.server, self.roles, self.random = server, roles, random.Random(seed)
        self.over = threading.Event()
        self.killed = {role: 0 for role in roles}
        self.log = []
        self.error = None

    def victim(self, role):
        if role == "instance":
            found = [pids[0] for name, pids in proc.instances(self.server.data).items() if pids]
        else:
            found = proc.roles(self.server.data)[role]
        return self.random.choice(sorted(found)) if found else None

    def serve_again(self):
        """Nobody restarts a guardian but its user (or systemd): that is us."""
        wait_until(lambda: self.server.process.poll() is not None, 10, "serve is dead")
        self.server.start(wait=False)
        self.server.wait_ready(30)

    def run(self):
        try:
            while sum(self.killed.values()) < KILLS and not self.over.wait(
                    self.random.uniform(0.1, 0.7) * PATIENCE):
                role = self.random.choice(self.roles)
                pid = self.victim(role)
                if pid is None or not proc.kill(pid):
                    continue
                self.killed[role] += 1
                self.log.append((round(time.time(), 3), role, pid))
                if role == "guardian":
                    self.serve_again()
        except BaseException as error:
            self.error = error

    def stop(self):
        self.over.set()
        self.join(60 * PATIENCE)
        assert not self.is_alive()
        if self.error:
            raise self.error


def check_store(server):
    """The database is whole, and no rollout was left open."""
    with sqlite3.connect(f"file:{server.data}/state.db?mode=ro", uri=True) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def check_processes(server, app):
    """What runs is exactly what the status says: nothing orphaned, nothing doubled."""
    def same():
        listed = {i["id"]: i["pid"] for i in app.instances()}
        running = proc.instances(server.data)
        return (set(listed) == set(running) and all(len(p) == 1 for p in running.values()) and
                all(running[name] == [pid] for name, pid in listed.items()) and
                len(proc.shims(server.data)) == len(listed))
    wait_until(same, 30, lambda: f"status {app.instances()} is what runs: "
                                 f"{proc.instances(server.data)} {proc.shims(server.data)}")
    found = proc.roles(server.data)
    assert len(found["guardian"]) == len(found["controller"]) == 1, found
    wait_until(lambda: len(proc.roles(server.data)["gateway"]) == 1, 40, "old gateways have ended")


def end_of(server, app, child):
    """The end of a deploy whose own connection may have been lost: exit status 0/1, or by status."""
    status, out, err = server.end_cli(child, 150)
    if status in (0, 1) and out.strip():
        last = json.loads(out.splitlines()[-1])
        if last.get("result"):
            return last["result"]
    wait_until(lambda: app.status()["state"] == "steady", 90, "the rollout ended")
    newest = app.documents("history")[0]
    return newest["result"]


def storm(make_server, roles, strategy, seed):
    seed = SEED or seed
    print(f"seed {seed}")
    server = make_server()
    hold = {"time": "60s", "requests": 100000}
    app = App(server, strategy=STRATEGIES[strategy], replicas=2, hold=hold,
              stop={"drain": "5s", "grace": "2s"})
    app.deploy(1, ok=True)
    storm = Storm(server, roles, seed)
    with app.load(rate=200 / PATIENCE, connections=CONNECTIONS, timeout=60,
                  requests=("GET / weight=4", "POST /echo size=400", "GET /slow?ms=40")) as load:
        load.wait_version(1)
        storm.start()
        try:
            results = []
            for version in range(2, 60):
                child = app.deploy_in_background(version, faults={"start_delay": "300ms"},
                                                 strategy=STORM_STRATEGIES[strategy])
                results.append(end_of(server, app, child))
                if not storm.is_alive():
                    break
        finally:
            storm.stop()
        print("killed", storm.killed, storm.log)
        server.wait_ready(30)
        # A good version is promoted, whoever died; instances that were killed may count against it.
        innocent = set(roles) <= {"controller", "gateway", "guardian"}
        if innocent:
            assert set(results) == {"promoted"}, (results, [h["reason"] for h in app.documents("history")][:4])
        app.deploy(99, ok=True)
        load.wait_only(99, 60)
        app.wait_steady(version=99, ready=2, deadline=60)
    check_processes(server, app)
    check_store(server)
    assert server.info()["degraded"] in (None, "", False), server.info()
    return load, storm


@pytest.mark.parametrize("strategy", list(STORM_STRATEGIES))
def test_controller_is_killed(make_server, strategy):
    load, killed = storm(make_server, ["controller"], strategy, 1001)
    assert killed.killed["controller"] > 0
    load.assert_none_lost()


@pytest.mark.parametrize("strategy", list(STORM_STRATEGIES))
def test_guardian_is_killed(make_server, strategy):
    load, killed = storm(make_server, ["guardian"], strategy, 1002)
    assert killed.killed["guardian"] > 0
    load.assert_none_lost()


@pytest.mark.parametrize("strategy", list(STORM_STRATEGIES))
def test_gateway_is_killed(make_server, strategy):
    load, killed = storm(make_server, ["gateway"], strategy, 1003)
    kills = killed.killed["gateway"]
    assert kills > 0
    load.assert_lost_at_most(kills * CONNECTIONS)


@pytest.mark.parametrize("strategy", ["rolling", "canary"])
@pytest.mark.parametrize("role", ["shim", "instance"])
def test_instances_are_killed(make_server, role, strategy):
    load, killed = storm(make_server, [role], strategy, 1004)
    assert killed.killed[role] > 0
    # A POST that may have been begun is not sent twice, and an answer that was begun is cut.
    load.assert_lost_at_most(killed.killed[role] * CONNECTIONS, ("cut", "gateway_5xx"))


@pytest.mark.parametrize("strategy", list(STORM_STRATEGIES))
def test_all_are_killed(make_server, strategy):
    load, killed = storm(make_server, ["controller", "guardian", "gateway", "shim", "instance"],
                         strategy, 1005)
    kills = sum(n for role, n in killed.killed.items() if role in ("gateway", "shim", "instance"))
    load.assert_lost_at_most(kills * CONNECTIONS, ("reset", "closed", "cut", "gateway_5xx"))


@pytest.mark.parametrize("role", ["controller", "guardian", "gateway"])
def test_traffic_goes_on_while_a_role_is_away(server, role):
    """Stopped, not killed: the others go on without it."""
    import signal
    app = App(server)
    app.deploy(1, ok=True)
    pid = server.pid(role)
    with app.load(rate=0, connections=4, timeout=60) as load:
        load.wait_version(1)
        proc.kill(pid, signal.SIGSTOP)
        try:
            if role != "gateway":
                load.wait_flowing(2)
        finally:
            proc.kill(pid, signal.SIGCONT)
        load.wait_flowing(1)
    load.assert_none_lost()


def test_controller_that_crashes_again_and_again_costs_nothing(server):
    app = App(server)
    app.deploy(1, ok=True)
    with app.load() as load:
        load.wait_version(1)
        for _ in range(6):
            # A child of one that was killed has its title for a moment, and is none.
            old = wait_until(lambda: server.kill("controller"), 20, "a controller")
            wait_until(lambda: server.pid("controller") != old, 20, "a new controller")
        server.wait_ready(30)
        assert {i["version"] for i in app.ready()} == {"1"}
        app.deploy(2, ok=True)
        load.wait_only(2)
    load.assert_none_lost()
    check_processes(server, app)


def test_apps_and_logs_survive_the_whole_server(make_server):
    """All three killed at once: the instances run on, their logs are whole, the next serve adopts."""
    server = make_server()
    app = App(server)
    app.deploy(1, ok=True, faults={"log_requests": 1})
    pids = {i["pid"] for i in app.ready()}
    ports = [i["port"] for i in app.ready()]
    for role in ("guardian", "controller", "gateway"):
        server.kill(role)
    server.wait_dead()
    server.process.wait()
    assert all(proc.alive(p) for p in pids)
    for n in range(20):
        for port in ports:
            assert get(f"127.0.0.1:{port}", f"/bytes?n={n}").status == 200
    server.start()
    app.wait_steady(version=1, ready=2)
    assert {i["pid"] for i in app.ready()} == pids and all(i["restarts"] == 0 for i in app.ready())
    wait_until(lambda: server.run("logs", "hello").stdout.count("GET /bytes") >= 40, 20,
               "what was written meanwhile is in the logs")
    assert server.get("/").version == "1"


def test_sigterm_leaves_the_apps_and_the_next_serve_adopts(make_server):
    server = make_server(stop_apps=False)
    app = App(server)
    app.deploy(1, ok=True)
    pids = {i["pid"] for i in app.ready()}
    assert server.stop() == 0
    assert all(proc.alive(p) for p in pids)
    server.stop_apps = True
    server.start()
    app.wait_steady(version=1, ready=2)
    assert {i["pid"] for i in app.ready()} == pids
    assert server.get("/").version == "1"
    assert server.stop() == 0
    wait_until(lambda: not any(proc.alive(p) for p in pids), 20, "--stop-apps stops the apps")


def test_an_instance_that_died_while_nobody_looked(make_server):
    server = make_server()
    app = App(server)
    app.deploy(1, ok=True)
    victims = [i["pid"] for i in app.ready()]
    for role in ("guardian", "controller", "gateway"):
        server.kill(role)
    server.wait_dead()
    proc.kill(victims[0])
    server.start()
    app.wait_steady(version=1, ready=2)
    check_processes(server, app)


def test_take_over_of_a_living_gateway(make_server):
    """A new serve takes over the sockets of a gateway whose guardian was killed: nobody is refused."""
    server = make_server()
    app = App(server)
    app.deploy(1, ok=True)
    with app.load(rate=150, keepalive=False, connections=8) as load, \
            app.load(rate=50, requests=("GET /stream?ms=2000&bytes=50000",), connections=60) as long:
        load.wait_version(1)
        for _ in range(3):
            old = server.pid("gateway")
            server.kill("guardian")
            server.process.wait()
            load.wait_flowing(1)  # gateway and controller go on without it
            server.start()
            wait_until(lambda: old not in proc.roles(server.data)["gateway"], 40, "it drained")
    load.assert_none_lost()
    long.assert_none_lost()


def test_a_second_serve_says_so(server):
    run = server.run("serve", "--data", server.data, "--listen", "127.0.0.1:0", limit=20)
    assert run.returncode == 1
    assert str(server.pid("guardian")) in run.stdout + run.stderr, run.stderr
    assert "running" in run.stdout + run.stderr


@pytest.mark.root
def test_gateway_and_apps_are_unprivileged(server):
    app = App(server)
    app.deploy(1, ok=True)
    assert proc.uid(server.pid("gateway")) != 0
    assert all(proc.uid(i["pid"]) != 0 for i in app.ready())
    for instance in app.ready():
        status = open(f"/proc/{instance['pid']}/status").read()
        assert "NoNewPrivs:\t1" in status
