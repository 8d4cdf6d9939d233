"""The instances themselves as a source of the verdict: memory, CPU per request, and who is killed for
want of memory. Looked at each second here, so that it takes seconds."""

import pytest
from sluice_test import SANITIZER, wait_until

CANARY = {"canary": {"steps": [50], "hold": "140s", "instances": 2, "judge": {"usage-interval": "1s"}}}
# Those that dawdle, beside those that do not, leave a busy machine no room to make either release look
# slow: nearly half of stable's answers are above the lowest mark, and hardly any come 100 ms too late.
DAWDLES = {"latency": "3s", "latency_share": "45%"}


# A gateway with a sanitizer takes the CPU time that is measured here; the units have those paths.
needs_cpu = pytest.mark.skipif(bool(SANITIZER), reason="a sanitizer leaves no CPU time to measure")


def used(app, name):
    """The metric of the rollout under way; None: there is no value yet."""
    rollout = app.status()["rollout"]
    found = [m for m in rollout["metrics"] if m["name"] == name] if rollout else []
    return found[0] if found and found[0]["value"] is not None else None


def test_a_leak_is_rolled_back(app):
    app.deploy(1, ok=True, faults=DAWDLES)
    with app.load(rate=200, connections=500) as load:
        load.wait_flowing(5)
        done = app.deploy(2, faults={"leak": "128Ki", **DAWDLES}, strategy=CANARY, ok=False)
        assert done.word == "rolled-back" and done.reason["code"] == "metric", done
        assert "memory per instance" in done.reason["text"], done
        assert "and still growing" in done.reason["text"], done
        app.wait_steady(1)
        verdict = app.cli("verdict", json_=False).stdout
        assert "memory per instance" in verdict and "MiB" in verdict, verdict
        history = app.documents("history")
        assert "memory per instance" in str(history), history
    load.assert_none_lost()


@needs_cpu
def test_a_release_that_burns_is_rolled_back(app):
    app.deploy(1, ok=True, faults={"burn": "1ms", **DAWDLES})
    with app.load(rate=200, connections=500) as load:
        load.wait_flowing(12)  # stable is warm then
        done = app.deploy(2, faults={"burn": "3ms", **DAWDLES}, strategy=CANARY, ok=False)
        assert done.word == "rolled-back" and done.reason["code"] == "metric", done
        assert "CPU per request" in done.reason["text"], done
        app.wait_steady(1)
    load.assert_none_lost()


@needs_cpu
@pytest.mark.parametrize("replicas,instances", [(2, 2), (3, 1)])
def test_an_equal_release_is_not(app, replicas, instances):
    """Also one whose instances are fewer; and its evidence goes on when the controller is killed."""
    steps = [{"weight": 50, "hold": "50s"}, {"weight": 100, "hold": "0s"}]
    strategy = {"canary": {**CANARY["canary"], "steps": steps, "instances": instances}}
    faults = {"burn": "1ms", "leak": "2Ki", **DAWDLES}
    app.spec["replicas"] = replicas
    app.deploy(1, ok=True, faults=faults)
    with app.load(rate=160, connections=400) as load:
        load.wait_flowing(12)
        deploy = app.deploy_in_background(2, faults=faults, strategy=strategy)
        cpu = wait_until(lambda: (m := used(app, "cpu-per-request")) and m["measurements"] >= 8 and m, 60,
                         "comparisons of the CPU time")
        assert cpu["failures"] <= 1 and 500 < cpu["value"] < 5000 and 500 < cpu["stable_value"] < 5000, cpu
        assert cpu["source"] == "instances" and " ms" in cpu["text"], cpu
        memory = wait_until(lambda: used(app, "memory"), 30, "the memory is known")
        assert memory["failures"] == 0 and memory["value"] > 100_000, memory
        if replicas == 2:
            old = app.server.kill("controller")
            wait_until(lambda: app.server.pid("controller") != old, 20, "a new controller")
            after = wait_until(lambda: used(app, "cpu-per-request"), 20, "it is known again")
            assert after["measurements"] >= cpu["measurements"] - 3, (cpu, after)
            wait_until(lambda: used(app, "cpu-per-request")["measurements"] > cpu["measurements"], 30,
                       "it goes on")
        out, _ = deploy.communicate(timeout=150)
        assert deploy.returncode == 0, out
        app.wait_steady(2)
    load.assert_none_lost()


@pytest.mark.root
def test_who_is_killed_for_want_of_memory_is_told_apart(app):
    app.deploy(1, ok=True, resources={"memory": "64Mi"})
    if "resource limits that cannot be enforced here" in app.server.log_text():
        pytest.skip("no cgroup with a memory limit can be made here: the server says so in its log")
    with app.load(rate=100) as load:
        load.wait_flowing(1)
        done = app.deploy(2, faults={"leak": "4Mi"}, resources={"memory": "64Mi"},
                          strategy={"canary": {"steps": [50], "hold": "100s", "judge": {"memory": "off"}}},
                          ok=False)
    assert done.word == "rolled-back" and done.reason["code"] == "out-of-memory", done
    assert "killed: out of memory (limit 64Mi)" in done.reason["text"], done
    crashes = [e for e in app.documents("events") if e["kind"] == "instance-crashed"]
    assert crashes and all("killed: out of memory (limit 64Mi)" in e["text"] for e in crashes), crashes
    assert "out of memory" in str(app.documents("history"))
    app.wait_steady(1)
