"""`strategy: shadow`: the new release gets copies of what users ask, and no user sees it before the switch.

hello's /version is JSON that differs in four members between two releases: version, release, instance, pid.
"""

import json

import pytest
from sluice_test import PATIENCE, wait_until

ASKED = ("GET /version",)
OWN = ["/version", "/release", "/instance", "/pid"]
LONG = f"{60 * PATIENCE:.0f}s"  # nobody waits for it but where the judge fails


def shadow(ignore=OWN, **more):
    return {"shadow": {"for": "1500ms", "keep": "0s", "compare": {"ignore": ignore}, **more}}


@pytest.fixture
def live(app):
    """Version 1 is there."""
    app.spec.update(replicas=1, routes=[{"path": "/", "timeout": "500ms"}],
                    stop={"drain": "10s", "grace": "500ms"})
    app.deploy(1, ok=True)
    return app


def wait_copies(app, more_than=0):
    def there():
        rollout = app.status()["rollout"]
        return rollout and rollout["mirror"] and rollout["mirror"]["copies"] > more_than and rollout
    return wait_until(there, 30, lambda: f"copies go: {app.cli('status').stdout}")


def kinds(app):
    return [event["kind"] for event in app.documents("events")]


def test_a_good_release_is_promoted(live):
    with live.load(rate=300, requests=ASKED) as load:
        load.wait_version(1)
        waiting = live.deploy_in_background(2, faults={"log_requests": 1},
                                            strategy=shadow(share="20%", **{"for": "3s"}))
        rollout = wait_copies(live, 20)
        assert rollout["strategy"] == "shadow" and rollout["mirror"]["share"] == 20, rollout
        assert all(list(s["versions"]) == ["1"] for s in load.seconds()), "users see version 1"
        out, err = waiting.communicate(timeout=60 * PATIENCE)
        assert waiting.returncode == 0, out + err
        load.wait_only(2)
    load.assert_none_lost()
    result = json.loads(out.splitlines()[-1])
    mirror = result["mirror"]
    assert result["result"] == "promoted" and mirror["share"] == 0, result
    assert 0.1 < mirror["copies"] / result["requests"]["stable"] < 0.3, result
    assert mirror["compared"] > 0 and mirror["differed"] == 0 and mirror["failed"] == 0, mirror
    assert "mirror" in kinds(live) and "difference" not in kinds(live)


def test_answers_that_differ(live):
    """Rolled back before any user saw one; the request and the member that differs are named."""
    with live.load(rate=300, requests=ASKED) as load:
        load.wait_version(1)
        done = live.deploy(2, ok=False, strategy=shadow(ignore=OWN[1:], **{"for": LONG}))
        assert done.word == "rolled-back" and done.reason["code"] == "differences", done
        assert "of the answers differ from stable's" in done.reason["text"], done
        assert "body at /version: GET /version" in done.reason["text"], done
        sample = done.result["mirror"]["samples"][0]
        assert (sample["fault"], sample["part"], sample["where"], sample["path"]) == \
            ("differs", "body", "/version", "/version"), sample
        assert done.result["requests"]["candidate"] == 0 and done.result["failed"] == 0, done
        load.wait_only(1)
    load.assert_none_lost()
    assert load.version(2) == load.version("never seen")
    assert "difference" in kinds(live)
    live.wait_steady(version=1, ready=1)
    history = live.documents("history")
    assert history[0]["reason"]["code"] == "differences" and history[0]["strategy"] == "shadow"


@pytest.mark.parametrize("faults, codes", [
    ({"error_rate": "100%"}, ("error-rate",)),
    ({"crash_after_requests": 20}, ("crash-loop", "error-rate", "not-ready")),
    ({"latency": "20s"}, ("error-rate", "latency")),
    ({"half_answers": "100%"}, ("error-rate",)),
], ids=["errors", "crashes", "stalls", "cuts"])
def test_a_bad_release_costs_users_nothing(live, faults, codes):
    with live.load(rate=300) as load:
        load.wait_version(1)
        done = live.deploy(2, ok=False, faults=faults,
                           strategy=shadow(differences="100%", **{"for": LONG}))
        assert done.word == "rolled-back" and done.reason["code"] in codes, done
        assert done.result["requests"]["candidate"] == 0 and done.result["failed"] == 0, done
        load.wait_only(1)
    load.assert_none_lost()
    assert load.count("app_5xx") == 0, load.explain()
    assert load.version(2) == load.version("never seen")
    live.wait_steady(version=1, ready=1)


def test_it_goes_on_behind_a_kill(live):
    """Of the controller, then of the gateway: what was copied and compared until then counts."""
    with live.load(rate=200, requests=ASKED) as load:
        load.wait_version(1)
        live.deploy(2, detach=True, strategy=shadow(**{"for": "4s"}))
        before = wait_copies(live, 50)["mirror"]["copies"]
        live.server.kill("controller")
        after = wait_copies(live, before)["mirror"]
        assert after["compared"] > 0 and after["failed"] == 0, after
        live.server.kill("gateway")
        wait_copies(live, after["copies"])
        live.wait_steady(version=2, ready=1, deadline=60)
        load.wait_only(2)
    load.assert_lost_at_most(load.connections)
    assert live.documents("history")[0]["result"] == "promoted"


def test_without_requests(live):
    """As in a canary: promoted, and said to be unjudged; or as the file says."""
    done = live.deploy(2, ok=True, strategy=shadow(**{"for": "300ms"}))
    assert done.reason["code"] == "no-data", done
    done = live.deploy(3, ok=False,
                       strategy=shadow(judge={"inconclusive": "rollback"}, **{"for": "300ms"}))
    assert done.reason["code"] == "inconclusive", done
    assert "no request has reached the new release yet" in done.reason["text"], done


def test_a_release_that_answers_nothing_is_not_promoted(app):
    """What is not answered when the time is over is no lack of requests."""
    app.spec.update(replicas=1, deadline="60s", stop={"drain": "10s", "grace": "500ms"})
    app.deploy(1, ok=True)
    with app.load(rate=100) as load:
        load.wait_version(1)
        done = app.deploy(2, ok=False, faults={"latency": "20s"}, strategy=shadow(**{"for": "1s"}))
        assert done.word == "paused" and done.reason["code"] == "inconclusive", done
        assert "none of the copies was answered" in done.reason["text"], done
        app.command("abort")
        app.wait_steady(version=1, ready=1)
    load.assert_none_lost()


def test_what_people_say_and_see(live):
    """The word alone, its plan, its status; abort while requests are copied."""
    live.write()
    plan = live.server.run("plan", "-f", str(live.file), "--strategy", "shadow")
    assert "mirror 100% of the requests to the candidate" in plan.stdout, plan.stdout + plan.stderr
    with live.load(rate=100, requests=ASKED) as load:
        load.wait_version(1)
        live.deploy(2, detach=True, strategy=shadow(differences="100%", approve=True,
                                                    **{"for": LONG}))
        wait_copies(live, 10)
        seen = live.cli("status", json_=False).stdout
        assert "mirror   100% of the requests: " in seen and "compared, 0 differ" in seen, seen
        metrics = live.server.api("GET", "/metrics").text
        assert 'sluice_mirror_copies_total{app="hello",environment="production",release="2"' in metrics
        live.command("promote")  # what only waits is left out; the approval, too
        live.wait_steady(version=2, ready=1)
        live.deploy(3, detach=True, strategy=shadow(**{"for": LONG}))
        wait_copies(live, 10)
        live.command("abort")
        live.wait_steady(version=2, ready=1)
        load.wait_only(2)
    load.assert_none_lost()
    assert load.version(3) == load.version("never seen")
