"""What people and the judge do to a rollout: in every state, at run time."""

import json
import time

import pytest
from sluice_test import App, Client, wait_until
from sluice_test.build import RATE
from sluice_test.http import get

HELD = {"canary": {"hold": "0s", "steps": [{"weight": 30, "hold": "0s", "approve": True}, {"weight": 60, "hold": "0s", "approve": True}]}}


def held_canary(app):
    app.deploy(1, ok=True)
    deploy = app.deploy_in_background(2, strategy=HELD)
    app.wait_candidate_traffic()
    return deploy


def share(load, version, seconds):
    """The version's share of the answers in the seconds from there on."""
    chosen = load.seconds()[seconds:]
    total = sum(sum(s["versions"].values()) for s in chosen)
    return sum(s["versions"].get(str(version), 0) for s in chosen) / max(total, 1)


def test_promote_passes_each_approval(app):
    deploy = held_canary(app)
    with app.load() as load:
        mark = len(load.seconds())
        load.wait_flowing(2)
        assert 0.25 < share(load, 2, mark + 1) < 0.35, load.seconds()
        assert app.status()["candidate"]["weight"] == 30, app.status()
        assert "approved; the rollout goes on" in app.server.run("promote", "hello").stdout
        wait_until(lambda: app.status()["candidate"]["weight"] == 60, 20, "60 %")
        app.command("promote")
        status, out, err = app.server.end_cli(deploy)
        assert status == 0, out + err
        app.wait_steady(version=2, ready=2)
    load.assert_none_lost()


def test_pause_resume_abort_promote_answer_in_every_state(app):
    """None hangs, none is ignored: done, or a sentence that says why not."""
    for verb in ("promote", "abort", "pause", "resume", "rollback"):
        run = app.cli(verb)
        assert run.returncode in (1, 2) and (run.stdout + run.stderr).strip(), f"{verb}, no app"
    app.deploy(1, ok=True)
    for verb in ("promote", "abort", "pause", "resume", "rollback"):  # steady, nothing to go back to
        run = app.cli(verb)
        assert run.returncode in (1, 2), f"{verb} in a steady state: {run.stdout}"
        assert any(word in run.stdout + run.stderr for word in ("steady", "release", "rollout")), run
    deploy = app.deploy_in_background(2, strategy=HELD)
    app.wait_candidate_traffic()
    assert app.cli("resume").returncode in (0, 1)  # it runs already: said, and nothing happens
    app.command("pause")
    paused = app.wait_state("paused")
    assert paused["candidate"]["weight"] == 30
    assert app.cli("pause").returncode in (0, 1)
    app.command("resume")
    app.wait_state("rolling-out")
    app.command("pause")
    app.command("abort")  # also out of a pause
    status, out, err = app.server.end_cli(deploy)
    assert status == 1 and json.loads(out.splitlines()[-1])["result"] == "aborted", out + err
    app.wait_steady(version=1, ready=2)
    app.deploy(3, ok=True, strategy="rolling")
    app.command("stop")
    for verb in ("promote", "pause", "resume", "abort"):  # stopped
        assert app.cli(verb).returncode in (1, 2), verb
    app.command("start")
    app.wait_steady(version=3, ready=2)


def test_verbs_answer_while_a_release_is_built(app):
    """No rollout yet: said, with what can be done; abort ends it, and the next deploy gets through."""
    app.deploy(1, ok=True)
    deploy = app.deploy_in_background(2, build=["until [ -e $SLUICE_STATE_DIR/go ]; do sleep 0.05; done"])
    wait_until(lambda: app.status()["state"] == "rolling-out" and app.status()["building"], 20, "it is built")
    for verb in ("promote", "pause", "resume"):
        run = app.cli(verb)
        assert run.returncode == 1 and "release 2 is still being packed and built" in run.stderr, run
    assert "being packed and built" in app.server.run("status", "hello").stdout
    app.command("abort")
    status, out, err = app.server.end_cli(deploy)
    assert status == 1 and json.loads(out.splitlines()[-1])["result"] == "aborted", out + err
    app.wait_steady(version=1, ready=2)
    app.deploy(3, ok=True)


@pytest.mark.parametrize("verb", ["abort", "rollback"])
def test_verbs_answer_while_it_goes_back(app, verb):
    """A rollout on its way back ends there: what cannot be done any more is said, no verb hangs or undoes it."""
    app.deploy(1, ok=True)
    deploy = app.deploy_in_background(2, strategy=HELD, faults={"stop_delay": "2s"})
    app.wait_candidate_traffic()
    app.command(verb)
    assert app.status()["rollout"]["phase"] == "back"
    for word in ("promote", "pause", "resume"):
        run = app.cli(word)
        assert run.returncode == 1 and "going back from release 2 to release 1" in run.stderr, run
    app.command("abort")
    app.command("rollback")
    status, out, err = app.server.end_cli(deploy)
    assert status == 1 and json.loads(out.splitlines()[-1])["result"] == "aborted", out + err
    app.wait_steady(version=1, ready=2)


def test_pause_holds_a_rollout_where_it_is(app):
    app.deploy(1, ok=True)
    canary = {"canary": {"steps": [10, 20, 30], "hold": "400ms"}}
    deploy = app.deploy_in_background(2, strategy=canary)
    app.wait_candidate_traffic()
    app.command("pause")
    weight = app.wait_state("paused")["candidate"]["weight"]
    with app.load() as load:
        load.wait_flowing(2)  # more than what a step takes
    assert app.status()["candidate"]["weight"] == weight
    app.command("resume")
    status, out, err = app.server.end_cli(deploy)
    assert status == 0, out + err
    load.assert_none_lost()


def test_rollback_in_a_rollout_is_abort(app):
    deploy = held_canary(app)
    app.command("rollback")
    status, out, err = app.server.end_cli(deploy)
    assert status == 1 and json.loads(out.splitlines()[-1])["result"] == "aborted", out + err
    app.wait_steady(version=1, ready=2)


def test_bad_canary_is_rolled_back_by_the_judge(app):
    """5 % of 500s: seen, compared with stable, taken away; the report says what and why."""
    app.deploy(1, ok=True)
    with app.load(connections=32) as load:
        load.wait_version(1)
        done = app.deploy(2, ok=False, faults={"error_rate": "5%"},
                          strategy={"canary": {"steps": [20, 50], "hold": "60s"}})
        assert done.word == "rolled-back" and done.reason["code"] in ("error-rate", "slo"), done
        app.wait_steady(version=1, ready=2)
        load.wait_only(1)
    load.assert_none_lost()
    assert load.version(2)["app_5xx"] > 0
    assert load.version(2)["ok"] + load.version(2)["failed"] < load.result["sent"] / 2
    assert done.result["requests"]["candidate"] > 0 and done.result["requests"]["stable"] > 0
    assert "%" in done.reason["text"], "both arms' numbers, in words"
    assert "no rows in result set" in done.text, "its last log lines"


def test_slow_canary_is_rolled_back_by_the_judge(app):
    app.deploy(1, ok=True)
    with app.load(connections=64) as load:
        load.wait_version(1)
        done = app.deploy(2, ok=False, faults={"latency": "150ms"},
                          strategy={"canary": {"steps": [30, 60], "hold": "60s"}})
        assert done.word == "rolled-back" and done.reason["code"] in ("latency", "slo"), done
        load.wait_only(1)
    load.assert_none_lost()


def errors_of(app):
    run = app.cli("verdict")
    verdict = json.loads(run.stdout) if run.returncode == 0 else {"metrics": []}
    return verdict, next((m for m in verdict["metrics"] if m["name"] == "errors"), None)


def stable_requests(app):
    errors = errors_of(app)[1]
    return errors["stable"]["requests"] if errors else 0


def test_one_client_that_tries_again_and_again_is_no_verdict(app):
    """A burst over one connection counts once a second; the same from many clients does roll back."""
    app.deploy(1, ok=True)
    deploy = app.deploy_in_background(2, strategy={"canary": {"steps": [30], "hold": "120s", "sticky": "cookie"}})
    app.wait_candidate_traffic()
    with app.load(connections=32) as load:
        cookie = None
        while not cookie:
            answer = get(app.server.address)
            cookie = answer.version == "2" and answer.headers["set-cookie"].split(";")[0]
        wait_until(lambda: stable_requests(app) > 500, 30, "stable's requests")
        with Client(app.server.address) as client:
            began, tries = time.monotonic(), 0
            while tries < 30 or (tries < 100 and time.monotonic() - began < 1):
                assert client.get("/status?code=500", Cookie=cookie).status == 500
                tries += 1

        def seen():
            assert deploy.poll() is None, "rolled back for one client"
            verdict, errors = errors_of(app)
            return errors and errors["candidate"]["events"] == tries and (verdict, errors)

        verdict, errors = wait_until(seen, 20, "the judge has seen them")
        assert errors["candidate"]["repeats"] >= tries - 1 - int(time.monotonic() - began)
        assert errors["stable"]["repeats"] == 0
        assert verdict["running"] and verdict["judgement"] in ("continue", "pass"), verdict
        clients = 0
        while deploy.poll() is None and clients < 100:
            get(app.server.address, "/status?code=500", Cookie=cookie)
            clients += 1
            # The others go on meanwhile: who sends alone has all of the batch.
            before = stable_requests(app)
            wait_until(lambda: deploy.poll() is not None or stable_requests(app) > before + RATE / 10, 20,
                       "stable's requests")
        status, out, err = app.server.end_cli(deploy)
        result = json.loads(out.splitlines()[-1])
        assert status == 1 and result["reason"]["code"] == "error-rate", out + err
        assert "repeats by the same clients" in result["reason"]["text"], result
    load.assert_none_lost()


def test_good_canary_is_not_rolled_back(app):
    """Equal versions with the same errors, also many: no false alarm."""
    app.spec["strategy"] = {"canary": {"steps": [30, 60], "hold": "2s"}}
    app.deploy(1, ok=True, faults={"error_rate": "3%"})
    with app.load(connections=32) as load:
        load.wait_version(1)
        app.deploy(2, ok=True, faults={"error_rate": "3%", "seed": 99})
        load.wait_only(2)
    load.assert_none_lost()


def test_a_fix_gets_through_when_the_live_release_is_broken(app):
    app.spec["slo"] = {"error-rate": "1%"}
    app.deploy(1, ok=True, faults={"error_rate": "40%"})
    with app.load(connections=32) as load:
        load.wait_version(1)
        app.deploy(2, ok=True, strategy={"canary": {"steps": [30, 60], "hold": "1s"}})
        load.wait_only(2)
    load.assert_none_lost()
    assert load.version(2)["app_5xx"] == 0


def test_first_release_that_is_broken_is_held_to_the_slo(app):
    """With no better stable release the slo is the ceiling: the first deploy may fail by it, or be
    live at once; in no case is it said to be better than nothing was."""
    app.spec["slo"] = {"error-rate": "1%", "min-requests": 20}
    app.deploy(1, ok=True)
    with app.load(connections=32) as load:
        load.wait_version(1)
        done = app.deploy(2, ok=False, faults={"error_rate": "60%"},
                          strategy={"canary": {"steps": [50], "hold": "60s"}})
        assert done.reason["code"] in ("error-rate", "slo"), done
    load.assert_none_lost()


def test_rolling_is_judged_as_well(app):
    """A rolling deploy of a bad version is taken back while it rolls."""
    app.deploy(1, ok=True, replicas=3)
    with app.load(connections=32) as load:
        load.wait_version(1)
        done = app.deploy(2, faults={"error_rate": "60%"}, replicas=3,
                          strategy={"rolling": {"max-surge": 1, "max-unavailable": 0,
                                                "min-ready": "2s"}})
        assert done.status == 1 and done.word == "rolled-back", done
        app.wait_steady(version=1, ready=3)
        load.wait_only(1)
    load.assert_none_lost()


def test_no_traffic_is_said_and_is_no_failure(app):
    """"No data" is a verdict of its own: a canary without a request is promoted by its policy."""
    app.deploy(1, ok=True)
    done = app.deploy(2, ok=True, strategy={"canary": {"steps": [50], "hold": "1s"}})
    assert done.result["requests"]["candidate"] == 0
    assert "no data" in done.text or "no-data" in done.text or "no requests" in done.text, done


def test_on_failure_pause(app):
    """It stays where it is, with no traffic for the candidate, until someone decides."""
    app.spec["on-failure"] = "pause"
    app.deploy(1, ok=True)
    with app.load(connections=32) as load:
        load.wait_version(1)
        done = app.deploy(2, faults={"error_rate": "30%"},
                          strategy={"canary": {"steps": [30], "hold": "60s"}})
        assert done.status == 1 and done.word == "paused", done
        assert done.reason["code"] in ("error-rate", "slo")
        assert app.wait_state("paused")["candidate"]["version"] == "2"
        app.command("abort")
        app.wait_steady(version=1, ready=2)
        load.wait_only(1)
    load.assert_none_lost()


def test_sticky_sessions_stay(app):
    """With sticky: cookie a visitor keeps its version while the weight only rises."""
    app.deploy(1, ok=True)
    deploy = app.deploy_in_background(2, strategy={"canary": {
        "hold": "0s", "steps": [{"weight": 50, "hold": "0s", "approve": True}], "sticky": "cookie"}})
    app.wait_candidate_traffic()
    seen = set()
    for _ in range(30):
        with Client(app.server.address) as visitor:
            first = visitor.get()
            cookie = first.headers.get("set-cookie", "").split(";")[0]
            versions = {visitor.get(Cookie=cookie).version for _ in range(4)} if cookie else set()
            assert cookie and versions == {first.version}, (cookie, versions, first.headers)
            seen.add(first.version)
        if seen == {"1", "2"}:
            break
    assert seen == {"1", "2"}
    app.command("abort")
    assert app.server.end_cli(deploy)[0] == 1


def test_match_always_goes_to_the_candidate(app):
    app.deploy(1, ok=True)
    deploy = app.deploy_in_background(2, strategy={"canary": {
        "hold": "0s", "steps": [{"weight": 1, "hold": "0s", "approve": True}], "match": {"header": {"x-canary": "true"}}}})
    app.wait_candidate_traffic()
    assert {app.server.get("/", **{"X-Canary": "true"}).version for _ in range(20)} == {"2"}
    versions = [app.server.get("/").version for _ in range(100)]
    assert versions.count("2") <= 10
    app.command("abort")
    assert app.server.end_cli(deploy)[0] == 1
    assert app.server.get("/", **{"X-Canary": "true"}).version == "1"


def test_preview_reaches_green_before_the_switch(app):
    app.deploy(1, ok=True)
    deploy = app.deploy_in_background(2, strategy={"blue-green": {
        "preview": {"header": {"x-preview": "green"}}, "approve": True, "keep": "1s"}})
    wait_until(lambda: app.server.get("/", **{"X-Preview": "green"}).version == "2", 20, "preview")
    assert {app.server.get("/").version for _ in range(30)} == {"1"}
    app.command("promote")
    status, out, err = app.server.end_cli(deploy)
    assert status == 0, out + err
    assert app.server.get("/").version == "2"


def test_smoke_commands_decide(app):
    app.deploy(1, ok=True)
    good = ["sh", "-c", "command -v curl >/dev/null || exit 0; curl -fsS $SLUICE_PREVIEW_URL/version | grep -q '\"2\"'"]
    app.deploy(2, ok=True, strategy={"blue-green": {"smoke": [good], "keep": "1s"}})
    with app.load() as load:
        load.wait_version(2)
        bad = ["sh", "-c", "echo 'checkout page is empty' >&2; exit 9"]
        done = app.deploy(3, ok=False, strategy={"blue-green": {"smoke": [bad], "keep": "1s"}})
        assert done.reason["code"] == "smoke-failed" and "checkout page is empty" in done.text, done
        assert "9" in done.reason["text"]
        app.wait_steady(version=2, ready=2)
    load.assert_none_lost()
    assert load.version(3)["ok"] == 0


def test_split_is_exact(app):
    """1 to 3 of any 40 at 5 %: the low-discrepancy split of DESIGN, over one connection."""
    app.deploy(1, ok=True)
    deploy = app.deploy_in_background(2, strategy={"canary": {
        "hold": "0s", "steps": [{"weight": 5, "hold": "0s", "approve": True}]}})
    app.wait_candidate_traffic()
    with Client(app.server.address) as client:
        hits = [client.get().version == "2" for _ in range(400)]
    for i in range(len(hits) - 40):
        assert 1 <= sum(hits[i:i + 40]) <= 3, (i, hits[i:i + 40])
    app.command("abort")
    assert app.server.end_cli(deploy)[0] == 1


def test_proportional_instances(app):
    """The canary's instances follow its weight, stable keeps what it needs."""
    app.spec["replicas"] = 4
    app.deploy(1, ok=True)
    deploy = app.deploy_in_background(2, strategy={"canary": {"hold": "0s", "steps": [
        {"weight": 25, "hold": "0s", "approve": True}, {"weight": 50, "hold": "0s", "approve": True}]}})
    app.wait_candidate_traffic()
    assert app.status()["candidate"]["ready"] == 1, app.status()
    app.command("promote")
    wait_until(lambda: (c := app.status()["candidate"]) and c["weight"] == 50 and c["ready"] == 2, 20,
               lambda: f"half of it: {app.status()}")
    app.command("promote")
    assert app.server.end_cli(deploy)[0] == 0
    app.wait_steady(version=2, ready=4)


def test_detach_and_timeout(app):
    """--detach: accepted, exit 0. --timeout: exit 4, and the rollout goes on."""
    app.deploy(1, ok=True)
    done = app.deploy(2, detach=True)
    assert done.status == 0, done
    app.wait_steady(version=2, ready=2)
    done = app.deploy(3, timeout="1s", faults={"ready_delay": "4s"})
    assert done.status == 4, done
    app.wait_steady(version=3, ready=2, deadline=40)


def test_the_same_content_again_is_a_new_release(app):
    app.deploy(1, ok=True)
    done = app.deploy(1, ok=True)
    assert done.result["release"] == 2, done
    assert [r["release"] for r in app.documents("releases")][:2] in ([2, 1], [1, 2])


def test_two_apps_roll_at_the_same_time(server):
    apps = [App(server, name, routes=[{"host": f"{name}.test", "path": "/"}],
                strategy={"canary": {"steps": [50], "hold": "1s"}}) for name in ("a", "b", "c")]
    for app in apps:
        app.deploy(1, ok=True)
    with apps[0].load(rate=RATE / 3, extra=["--host", "a.test"]) as a, \
            apps[1].load(rate=RATE / 3, extra=["--host", "b.test"]) as b:
        a.wait_version(1)
        running = [app.deploy_in_background(2) for app in apps]
        for child in running:
            status, out, err = server.end_cli(child)
            assert status == 0, out + err
        a.wait_only(2)
        b.wait_only(2)
    a.assert_none_lost()
    b.assert_none_lost()
