"""Versions that misbehave: each is told apart, said in words, and costs no request."""

import os
import signal
import time

import pytest
from sluice_test import wait_until
from sluice_test import proc
from sluice_test.app import STRATEGIES

every_strategy = pytest.mark.parametrize("strategy", list(STRATEGIES))
# recreate has no old version to fall back on at once: its clients wait in the hold meanwhile.
HOLD = {"time": "60s", "requests": 100000}


def deploy_bad(app, strategy="rolling", faults=None, **changes):
    """Version 1 is live under load; a bad version 2 is refused; gives what the deploy said."""
    app.spec.update(strategy=STRATEGIES[strategy], hold=HOLD)
    app.deploy(1, ok=True)
    with app.load(connections=48, timeout=60) as load:
        load.wait_version(1)
        done = app.deploy(2, ok=False, faults=faults, **changes)
        assert done.word == "rolled-back", done
        app.wait_steady(version=1, ready=2)
        load.wait_only(1)
    load.assert_none_lost()
    return done, load


@every_strategy
def test_slow_start_is_waited_for(app, strategy):
    app.spec.update(strategy=STRATEGIES[strategy], hold=HOLD)
    app.deploy(1, ok=True)
    with app.load(connections=48, timeout=60) as load:
        load.wait_version(1)
        app.deploy(2, ok=True, faults={"start_delay": "1500ms", "ready_delay": "2500ms"})
        load.wait_only(2)
    load.assert_none_lost()


@every_strategy
def test_never_ready(app, strategy):
    """Ends at the deadline; the probe's own error is said: the status and the body's first line."""
    done, load = deploy_bad(app, strategy, {"never_ready": 1}, deadline="4s")
    assert done.reason["code"] in ("deadline", "not-ready"), done
    assert "503" in done.text and "waiting for the database at db.internal:5432" in done.text, done
    assert load.version(2)["ok"] == 0


@every_strategy
def test_crash_at_start(app, strategy):
    """Not waited for until the deadline: crash loops are a verdict of their own."""
    done, load = deploy_bad(app, strategy, {"crash_at_start": 1}, deadline="5m")
    assert done.reason["code"] in ("crash-loop", "start-failed"), done
    assert "connection refused" in done.text, "the last log lines tell why"
    assert "1" in done.reason["text"], "the exit status"
    assert load.version(2)["ok"] == 0


@pytest.mark.parametrize("strategy", ["rolling", "canary", "blue-green"])
def test_crash_under_traffic(app, strategy):
    """It is ready, and dies of its traffic: rolled back. Nothing may be lost but what it held."""
    app.spec["strategy"] = {"canary": {"steps": [30, 60], "hold": "60s"}} if strategy == "canary" \
        else {"rolling": {"min-ready": "3s"}} if strategy == "rolling" else STRATEGIES[strategy]
    app.deploy(1, ok=True)
    with app.load(connections=16) as load:
        load.wait_version(1)
        done = app.deploy(2, faults={"crash_after_requests": 20}, ok=None)
        if strategy == "blue-green":  # it was live before it could fail: a way back is left
            if done.status == 0:
                app.command("rollback")
        else:
            assert done.status == 1 and done.word == "rolled-back", done
            assert done.reason["code"] in ("crash-loop", "error-rate", "slo", "not-ready"), done
        app.wait_steady(version=1, ready=2, deadline=60)
        load.wait_only(1)
    # Each crash breaks what is on that instance; a GET without a byte of an answer goes elsewhere.
    assert load.lost("gateway_5xx", "cut") == 0, load.explain()
    assert load.count("refused") == 0


def test_program_is_missing(app):
    done, _ = deploy_bad(app, run=["./helo"])
    assert done.reason["code"] in ("start-failed", "crash-loop"), done
    assert "./helo" in done.text and "no such file" in done.text.lower(), done


@every_strategy
def test_ignores_sigterm(app, strategy):
    """The old version ignores SIGTERM: it is killed after its grace, and nobody notices."""
    app.spec.update(strategy=STRATEGIES[strategy], hold=HOLD, stop={"drain": "3s", "grace": "1s"})
    app.deploy(1, ok=True, faults={"ignore_term": 1})
    old = [i["pid"] for i in app.ready()]
    with app.load(connections=48, timeout=60) as load:
        load.wait_version(1)
        app.deploy(2, ok=True)
        load.wait_only(2)
        wait_until(lambda: not any(proc.alive(p) for p in old), 20, "the old ones were killed")
    load.assert_none_lost()


def test_grace_is_given(app):
    """A version that takes its time after SIGTERM gets it, up to its grace."""
    app.spec["stop"] = {"drain": "3s", "grace": "10s"}
    app.deploy(1, ok=True, faults={"stop_delay": "1500ms"})
    app.deploy(2, ok=True)
    wait_until(lambda: "hello 1 ends" in app.server.run("logs", "hello", "--release", "1").stdout, 20,
               "it ended by itself")


@every_strategy
def test_port_squatting(app, strategy):
    """It listens elsewhere than on $PORT: said where."""
    done, load = deploy_bad(app, strategy, {"listen_on": 1}, deadline="4s")
    assert "listens on" in done.text or "listen" in done.reason["text"], done
    assert load.version(2)["ok"] == 0


def test_stranger_on_the_port(app):
    """Ready means that the listener on the port is the instance's own."""
    import socket
    app.spec.update(strategy="recreate", replicas=1, hold={"time": "1s"}, deadline="4s")
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        done = app.deploy(1, ok=False, port=squatter.getsockname()[1])
    assert done.reason["code"] in ("port-taken", "crash-loop", "start-failed", "not-ready", "deadline"), done
    assert "in use" in done.text or "port" in done.reason["text"], done


def test_half_broken_version(app):
    """Half of its instances never get ready: the rollout does not go on, the old ones stay."""
    app.spec.update(replicas=4, strategy={"rolling": {"max-surge": 1, "max-unavailable": 0}})
    app.deploy(1, ok=True)
    # An instance is broken where the state folder already has the mark of two that were not.
    script = ("n=$(ls $SLUICE_STATE_DIR | grep -c ^ok); [ $n -ge 2 ] && exec ./hello --never-ready; "
              "touch $SLUICE_STATE_DIR/ok-$SLUICE_INSTANCE; exec ./hello")
    with app.load() as load:
        load.wait_version(1)
        done = app.deploy(2, ok=False, run=script, deadline="5s")
        assert done.word == "rolled-back", done
        app.wait_steady(version=1, ready=4)
        load.wait_only(1)
    load.assert_none_lost()


def test_half_answers_are_counted_against_the_version(app):
    app.deploy(1, ok=True)
    with app.load(connections=32) as load:
        load.wait_version(1)
        done = app.deploy(2, ok=False, faults={"half_answers": "30%"},
                          strategy={"canary": {"steps": [30], "hold": "60s"}})
        assert done.reason["code"] in ("error-rate", "slo"), done
        load.wait_only(1)
    assert load.lost("cut") == 0, load.explain()
    assert done.result["failed"] >= load.count("cut") > 0, "cut answers are the rollout's failures"


def test_unready_instance_gets_no_traffic_and_comes_back(app):
    """Readiness is asked for ever; the one that fails is left out, not killed."""
    app.deploy(1, ok=True, probes={"readiness": {"exec": ["sh", "-c", "[ ! -e $SLUICE_STATE_DIR/out-$SLUICE_INSTANCE ]"],
                                                 "period": "200ms", "failures": 2}})
    victim = app.ready()[0]
    mark = app.folder / "state" / f"out-{victim['id']}"
    with app.load() as load:
        load.wait_version(1)
        mark.touch()
        wait_until(lambda: any(i["id"] == victim["id"] for i in app.instances("unready")), 20, "unready")
        load.wait_flowing(1)
        before = load.seconds()[-1]
        answered = {app.server.get("/").headers["x-instance"] for _ in range(30)}
        assert victim["id"] not in answered and before["ok"] > 0
        mark.unlink()
        wait_until(lambda: len(app.ready()) == 2, 20, "ready again")
        wait_until(lambda: app.server.get("/").headers["x-instance"] == victim["id"], 20, "traffic again")
    load.assert_none_lost()
    assert proc.alive(victim["pid"]), "unready is no reason to be killed"


def test_liveness_restarts(app):
    app.spec["probes"] = {"readiness": {"http": "/ready", "period": "200ms"},
                          "liveness": {"http": "/health", "period": "300ms", "failures": 2}}
    app.deploy(1, ok=True, faults={"unhealthy_after": "4s"})
    old = {i["pid"] for i in app.ready()}
    wait_until(lambda: any(i["restarts"] > 0 for i in app.instances()), 30, "restarted")
    wait_until(lambda: old - {i["pid"] for i in app.instances()}, 30, "another process")
    events = app.server.run("events", "hello", "--json").stdout
    assert "event loop is stuck" in events, events


def test_probes_are_not_late_because_nobody_looked(app):
    """The controller is stopped for longer than a probe may take, as by a machine that sleeps: what
    was on its way then is no failure of the instance."""
    app.deploy(1, ok=True, probes={"liveness": {"exec": ["sleep", "0.3"], "period": "100ms",
                                                "timeout": "2s", "failures": 1}})
    controller = app.server.pid("controller")
    pids = {i["pid"] for i in app.instances()}
    for _ in range(3):
        os.kill(controller, signal.SIGSTOP)
        time.sleep(3)  # the fault itself
        os.kill(controller, signal.SIGCONT)
        assert {i["pid"] for i in app.instances()} == pids
    assert all(i["restarts"] == 0 for i in app.instances())


def test_startup_gates_liveness(app):
    """A slow starter is not killed by its liveness probe before its startup probe has passed."""
    app.deploy(1, ok=True, faults={"ready_delay": "2s", "start_delay": "1s"}, probes={
        "startup": {"http": "/ready", "period": "200ms", "failures": 100},
        "liveness": {"http": "/health", "period": "100ms", "failures": 1},
        "readiness": {"http": "/ready", "period": "200ms"}})
    assert all(i["restarts"] == 0 for i in app.ready())


@pytest.mark.parametrize("probe", [{"tcp": True}, {"exec": ["true"]}, None])
def test_other_probes(app, probe):
    changes = {"probes": {"readiness": {**probe, "period": "200ms"}}} if probe else {"without": ("probes",)}
    app.deploy(1, ok=True, faults={"start_delay": "500ms"}, **changes)
    assert app.server.get("/").version == "1"
    with app.load() as load:
        load.wait_version(1)
        app.deploy(2, ok=True, faults={"start_delay": "500ms"}, **changes)
        load.wait_only(2)
    load.assert_none_lost()


def test_killed_instance_comes_back(app):
    app.deploy(1, ok=True)
    victim = app.ready()[0]
    with app.load(connections=8) as load:
        load.wait_version(1)
        os.kill(victim["pid"], signal.SIGKILL)

        def both_again():  # one look: two may lie on either side of the crash
            ready = app.ready()
            return len(ready) == 2 and victim["pid"] not in {i["pid"] for i in ready}

        wait_until(both_again, 20, "two are ready again")
    load.assert_lost_at_most(8, ("cut", "gateway_5xx"))
    again = next(i for i in app.ready() if i["id"] == victim["id"])
    assert again["restarts"] >= 1


def test_single_instance_crash_is_held(app):
    """Requests wait while the only instance comes back."""
    app.spec.update(replicas=1, hold={"time": "30s"})
    app.deploy(1, ok=True)
    with app.load(connections=16, timeout=40) as load:
        load.wait_version(1)
        os.kill(app.ready()[0]["pid"], signal.SIGKILL)
        wait_until(lambda: app.ready(), 20, "it is back")
        load.wait_flowing(2)
    assert load.lost("cut") <= 16, load.explain()
    assert load.count("refused") == 0 and load.count("timeout") == 0


def test_memory_limit_is_told_apart(app):
    """An instance over its memory limit is killed; where cgroups are at hand it is said to be that."""
    app.spec.update(replicas=1, resources={"memory": "64Mi"})
    done = app.deploy(1, ok=True, faults={"leak": "8Mi"})
    if "no cgroup" in done.text or "not enforced" in done.text or "warning" in done.text.lower():
        pytest.skip("no memory cgroup here: the deploy said so")
    with app.load(rate=20) as load:
        wait_until(lambda: any(i["restarts"] > 0 for i in app.instances()), 60, "it was killed")
    assert "memory" in app.server.run("events", "hello", "--json").stdout.lower()
    assert load.count("refused") == 0
