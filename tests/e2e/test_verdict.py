"""`sluice verdict`: under way, over a controller's death, and of a rollout that is over."""

import json

from sluice_test import wait_until

CANARY = {"canary": {"steps": [30, 60], "hold": "60s"}}


def verdict(app, *words):
    run = app.cli("verdict", *words)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_there_is_none(app):
    run = app.cli("verdict")
    assert run.returncode == 1 and "hello" in run.stderr
    app.deploy(1, ok=True)
    run = app.cli("verdict")
    assert run.returncode == 1 and "no rollout of hello has been judged yet" in run.stderr


def test_it_grows_and_outlives_the_controller(app):
    app.deploy(1, ok=True)
    deploy = app.deploy_in_background(2, strategy=CANARY)
    app.wait_candidate_traffic()
    with app.load() as load:
        wait_until(lambda: len(verdict(app, "--history")["history"]) >= 2, 30, "two rows")
        before = verdict(app, "--history")
        assert before["running"] and before["judgement"] in ("continue", "pass")
        assert before["weight"] == 30 and before["version"] == "2" and before["from_version"] == "1"
        errors = before["metrics"][0]
        assert errors["name"] == "errors" and errors["candidate"]["events"] == 0
        assert errors["candidate"]["low"] == 0 < errors["candidate"]["high"] < 1
        text = app.cli("verdict", json_=False).stdout
        assert "against release 1 (1)" in text and "to roll back" in text, text
        old = app.server.kill("controller")
        wait_until(lambda: app.server.pid("controller") != old, 20, "a new controller")
        wait_until(lambda: len(verdict(app, "--history")["history"]) > len(before["history"]), 30,
                   "it goes on")
        after = verdict(app, "--history")
        assert after["history"][:len(before["history"])] == before["history"]
        assert after["metrics"][0]["candidate"]["requests"] >= errors["candidate"]["requests"]
        app.command("abort")
        app.server.end_cli(deploy)
        wait_until(lambda: not verdict(app)["running"], 20, "it is over")
        last = verdict(app, "--history")
        assert last["result"] == "aborted" and last["rollout"] == after["rollout"]
        assert len(last["history"]) >= len(after["history"])
        assert "aborted" in app.cli("verdict", "--history", json_=False).stdout
    load.assert_none_lost()


def test_nothing_is_lost_with_a_controller(app):
    """What gateways serve while there is no controller comes to the next one's judge and numbers."""
    app.deploy(1, ok=True)
    deploy = app.deploy_in_background(2, strategy=CANARY)
    app.wait_candidate_traffic()
    with app.load() as load:
        for _ in range(3):
            load.wait_flowing(3)  # so that there is a row of the rollout under way
            old = app.server.kill("controller")
            wait_until(lambda: app.server.pid("controller") not in (None, old), 20, "a new controller")
    served = {version: load.version(version)["ok"] for version in (1, 2)}

    def counted():
        errors = verdict(app)["metrics"][0]
        return {1: errors["stable"]["requests"], 2: errors["candidate"]["requests"]}

    wait_until(lambda: counted() == served, 20, f"the judge knows of {served}")
    app.command("abort")
    app.server.end_cli(deploy)
    result = app.documents("history")[0]
    assert result["requests"] == {"stable": served[1], "candidate": served[2]}, result


def test_plan_says_what_a_canary_finds_and_proposes_one(app):
    app.deploy(1, ok=True)
    with app.load() as load:
        load.wait_flowing(2)
        app.write(strategy={"canary": {"steps": [5, 50], "hold": "2s"}})
        wait_until(lambda: json.loads(app.server.run("plan", "-f", app.file, "--json").stdout)["detects"], 20,
                   "traffic is known")
        plan = json.loads(app.server.run("plan", "-f", app.file, "--suggest", "--json").stdout)
        steps = plan["detects"]["steps"]
        assert [s["weight"] for s in steps] == [5, 50] and plan["detects"]["requests_per_s"] > 0
        assert "weight: " in plan["suggestion"]["yaml"], plan["suggestion"]
        text = app.server.run("plan", "-f", app.file, "--suggest").stdout
        assert "what the judge can find" in text and "- {weight: " in text, text
