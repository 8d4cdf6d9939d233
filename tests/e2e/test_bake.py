"""The watch after a promotion: what was promoted goes back by itself when it turns out worse."""

import sqlite3
import time

from sluice_test import wait_until

SLO = {"error-rate": "1%", "min-requests": 20}
GOOD = ("GET /",)
BAD = ("GET /status?code=500",)


def kinds(app):
    return [event["kind"] for event in app.documents("events")]


def event(app, kind):
    return next(e for e in app.documents("events") if e["kind"] == kind)


def wait_back(app, version=1):
    wait_until(lambda: "bake-failed" in kinds(app), 30, "the watch fails")
    return app.wait_steady(version=version)


def test_a_burning_budget_goes_back_and_nothing_is_lost(app):
    app.deploy(1, ok=True)
    app.deploy(2, ok=True, bake="60s", slo=SLO)
    baking = app.status()["bake"]
    assert baking["release"] == 2 and baking["previous"] == 1, baking
    assert "bak" in app.cli("status", json_=False).stdout.lower()
    with app.load(requests=GOOD) as quiet, app.load(requests=BAD, rate=200):
        wait_back(app)
    quiet.assert_none_lost()
    assert app.status()["bake"] is None
    failed = event(app, "bake-failed")
    assert "did not stand its watch" in failed["text"] and "budget" in failed["text"], failed
    assert failed["data"]["reason"]["code"] == "slo", failed
    newest = app.documents("history")[0]
    assert newest["kind"] == "rollback" and newest["actor"] == "sluice", newest
    # What did not stand its watch is not where a later rollback goes.
    app.deploy(3, ok=True)
    app.command("rollback")
    app.wait_steady(version=1)


def test_the_day_before_is_the_baseline(app):
    app.deploy(1, ok=True)
    minute = int(time.time() // 60)
    with sqlite3.connect(app.server.data / "state.db", timeout=10) as db:
        db.executemany("INSERT INTO traffic VALUES (?, ?, 1, 0, 600, 1, '40:600')",
                       [(f"{app.name}@production", minute - i) for i in range(2, 300)])
    app.deploy(2, ok=True, bake="60s")
    assert app.status()["bake"]["day_before"]["requests"] == 298 * 600
    with app.load(requests=BAD, rate=200):
        wait_back(app)
    assert "in the day before 0.17 %" in event(app, "bake-failed")["text"]


def test_it_goes_on_over_the_death_of_the_controller(app):
    app.deploy(1, ok=True)
    app.deploy(2, ok=True, bake="60s", slo=SLO)
    app.server.kill("controller")
    app.server.wait_ready()
    assert app.status()["bake"]["release"] == 2
    with app.load(requests=BAD, rate=200):
        wait_back(app)


def test_a_good_release_stands_its_watch(app):
    app.deploy(1, ok=True)
    app.deploy(2, ok=True, bake={"time": "3s", "keep": True}, slo=SLO,
               strategy={"canary": {"steps": [50, 100], "hold": "0s"}})
    assert {i["version"] for i in app.instances("ready")} >= {"1", "2"}  # the way back is warm
    with app.load(requests=GOOD) as load:
        wait_until(lambda: "baked" in kinds(app), 20, "the watch is over")
    load.assert_none_lost()
    assert "stood its watch" in event(app, "baked")["text"]
    assert app.status()["stable"]["version"] == "2"


def test_the_minutes_are_told(app):
    app.deploy(1, ok=True)
    answer = app.server.api("GET", f"/v1/apps/{app.name}/traffic?window=24h")
    assert answer.status == 200 and answer.json["minutes"] == [], answer
    assert app.server.api("GET", f"/v1/apps/{app.name}/traffic?window=1s").status == 400
