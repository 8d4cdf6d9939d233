"""No request is lost: each strategy under real load, forwards, backwards and in the middle."""

import json
import time

import pytest
from sluice_test import App, Client, WebSocket, get, wait_until
from sluice_test.app import STRATEGIES
from sluice_test.build import PATIENCE

every_strategy = pytest.mark.parametrize("strategy", list(STRATEGIES))

MIX = ("GET / weight=10", "POST /echo size=3000 weight=4", "POST /upload size=30000 weight=2",
       "GET /chunked?n=5 weight=2", "GET /slow?ms=150 weight=1")


def check_result(done, app, release, version, word):
    """The object that `deploy --json` ends with, as SPEC has it."""
    result = done.result
    assert result["app"] == app.name and result["environment"] == "production", done
    assert result["release"] == release and result["version"] == str(version), done
    assert result["result"] == word, done
    assert set(result["reason"]) >= {"code", "text"} if result["reason"] else True
    assert isinstance(result["duration_ms"], int) and result["duration_ms"] > 0
    assert result["requests"]["stable"] >= 0 and result["requests"]["candidate"] >= 0
    assert result["failed"] == 0, done


@every_strategy
def test_deploy_and_rollback_under_load(app, strategy):
    """A good version goes live, and goes away again, with not one failed request."""
    app.spec["strategy"] = STRATEGIES[strategy]
    app.deploy(1, ok=True)
    with app.load(requests=MIX) as kept, app.load(rate=60, keepalive=False) as fresh:
        kept.wait_version(1)
        done = app.deploy(2, ok=True)
        check_result(done, app, 2, 2, "promoted")
        kept.wait_only(2)
        app.wait_steady(version=2, ready=2)
        back = app.command("rollback")
        assert back.result["version"] == "1", back
        kept.wait_only(1)
        app.wait_steady(version=1, ready=2)
    kept.assert_none_lost()
    fresh.assert_none_lost()
    assert kept.version(2)["ok"] > 0 and fresh.version(2)["ok"] > 0


@every_strategy
def test_deploy_as_an_ordinary_user(make_server, strategy):
    """The same without root."""
    from sluice_test.server import ordinary_user
    app = App(make_server(user=ordinary_user()), strategy=STRATEGIES[strategy])
    app.deploy(1, ok=True)
    with app.load() as load:
        load.wait_version(1)
        app.deploy(2, ok=True)
        load.wait_only(2)
        app.command("rollback")
        load.wait_only(1)
    load.assert_none_lost()


@every_strategy
def test_one_replica(app, strategy):
    """An app of one instance is replaced without a gap as well."""
    app.spec.update(strategy=STRATEGIES[strategy], replicas=1)
    app.deploy(1, ok=True)
    with app.load(requests=("GET /", "POST /echo size=500")) as load:
        load.wait_version(1)
        for version in (2, 3):
            app.deploy(version, ok=True)
            load.wait_only(version)
    load.assert_none_lost()


def until_middle(app, strategy):
    """Starts a deploy of version 2 that stays in its middle; gives the running command."""
    changes = {
        # A slow starter: the rollout waits for it, in rolling with one of three replaced.
        "rolling": dict(replicas=3, faults={"ready_delay": "4s"}),
        "recreate": dict(faults={"start_delay": "8s"}),
        "blue-green": dict(strategy={"blue-green": {"approve": True, "keep": "1s"}}),
        "canary": dict(strategy={"canary": {"hold": "0s", "steps": [{"weight": 30, "hold": "0s", "approve": True}, 60]}}),
    }[strategy]
    deploy = app.deploy_in_background(2, **changes)
    if strategy == "canary":
        app.wait_candidate_traffic()
    elif strategy == "blue-green":
        wait_until(lambda: (c := app.status()["candidate"]) and c["ready"] == c["wanted"] == 2, 20,
                   "green is ready")
    else:
        wait_until(lambda: app.status()["candidate"] and
                   any(i["version"] == "2" for i in app.status()["instances"]), 20,
                   "the candidate starts")
    return deploy


@every_strategy
def test_abort_in_the_middle(app, strategy):
    """Abort: all is back on version 1, nothing was lost, the deploy says so and exits with 1."""
    app.spec["strategy"] = STRATEGIES[strategy]
    app.spec["hold"] = {"time": "60s", "requests": 100000}
    app.spec["replicas"] = 3 if strategy == "rolling" else 2
    app.deploy(1, ok=True)
    with app.load(connections=32, timeout=60) as load:
        load.wait_version(1)
        deploy = until_middle(app, strategy)
        app.command("abort")
        status, out, err = app.server.end_cli(deploy)
        assert status == 1, out + err
        result = json.loads(out.splitlines()[-1])
        assert result["result"] == "aborted" and result["reason"]["code"] == "aborted", result
        app.wait_steady(version=1, ready=app.spec["replicas"])
        load.wait_only(1)
    load.assert_none_lost()
    if strategy in ("blue-green", "recreate"):
        assert load.version(2)["ok"] == 0, "the candidate was not to get traffic yet"


@every_strategy
def test_long_downloads_and_uploads_across_a_switch(app, strategy):
    """What was begun on the old version ends on the old version, whole, at its own pace."""
    app.spec["strategy"] = STRATEGIES[strategy]
    app.deploy(1, ok=True)
    long = ("GET /stream?ms=3000&bytes=200000", "POST /upload size=200000 pace=3s",
            "POST /upload?ms=3000 size=300000", "GET /chunked?n=30&ms=100")
    with app.load(rate=0, connections=8, requests=long, timeout=60) as slow, app.load() as quick:
        quick.wait_version(1)
        app.deploy(2, ok=True)
        quick.wait_only(2)
        app.deploy(3, ok=True)
        quick.wait_only(3)
    slow.assert_none_lost()
    quick.assert_none_lost()
    assert sum(v["ok"] for v in slow.result["versions"].values()) >= 8


TEN_SECONDS = ("GET /stream?ms=10000&bytes=1000000", "POST /upload size=1000000 pace=10s")


def ten_second_requests(app):
    """Eight of them at once, one per connection, and no more after them."""
    return app.load(rate=0, connections=8, requests=TEN_SECONDS, timeout=60, extra=["--requests", 8])


def wait_in_flight(app, **where):
    """Until so many requests are on the instances that are like this."""
    count = where.pop("count", 1)
    wait_until(lambda: sum(i["in_flight"] for i in app.instances()
                           if all(i[key] == value for key, value in where.items())) >= count,
               30, lambda: f"{count} requests on {where}: {app.instances()}", every=0.05)


@every_strategy
def test_ten_second_requests_across_a_switch(app, strategy):
    """Downloads and uploads of ten seconds that began on version 1 end on it, whole, while 2 goes live."""
    app.spec.update(strategy=STRATEGIES[strategy], stop={"drain": "60s", "grace": "3s"},
                    hold={"time": "60s", "requests": 100000})
    if strategy == "recreate":
        app.spec["strategy"] = {"recreate": {"hold-requests": "60s"}}
    app.deploy(1, ok=True)
    with app.load(timeout=60) as quick:
        quick.wait_version(1)
        with ten_second_requests(app) as slow:
            wait_in_flight(app, version="1", count=8)
            deploy = app.deploy_in_background(2)
            wait_in_flight(app, version="1", state="draining")
            status, out, err = app.server.end_cli(deploy)
            assert status == 0, out + err
            quick.wait_only(2)
            slow.process.wait(60 * PATIENCE)
    slow.assert_none_lost()
    quick.assert_none_lost()
    assert slow.version(1)["ok"] == 8 and slow.result["sent"] == 8, slow.explain()


def test_ten_second_requests_across_an_abort(app):
    """Those of a candidate that is taken back end on the candidate, whole."""
    app.spec.update(stop={"drain": "60s", "grace": "3s"})
    app.deploy(1, ok=True)
    deploy = app.deploy_in_background(2, strategy={"canary": {
        "hold": "0s", "steps": [{"weight": 50, "hold": "0s", "approve": True}]}})
    app.wait_candidate_traffic()
    with app.load() as quick:
        quick.wait_version(2)
        with ten_second_requests(app) as slow:
            wait_until(lambda: sum(i["in_flight"] for i in app.instances()) >= 8, 30, "they have begun")
            wait_in_flight(app, version="2")
            app.command("abort")
            quick.wait_only(1)
            wait_in_flight(app, version="2", state="draining")
            assert app.server.end_cli(deploy)[0] == 1
            slow.process.wait(60 * PATIENCE)
    slow.assert_none_lost()
    quick.assert_none_lost()
    assert slow.version(1)["ok"] > 0 and slow.version(2)["ok"] > 0 and slow.result["sent"] == 8, slow.explain()


@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "canary"])
def test_websocket_lives_until_the_drain_timeout(app, strategy):
    """It goes on while its instance drains, is cut when the drain timeout is over, never before."""
    app.spec.update(strategy=STRATEGIES[strategy], stop={"drain": "4s", "grace": "2s"})
    app.deploy(1, ok=True)
    with WebSocket(app.server.address) as socket, app.load() as load:
        assert socket.version == "1"
        load.wait_version(1)
        began = time.monotonic()
        deploy = app.deploy_in_background(2)
        wait_until(lambda: any(i["version"] == "1" and i["state"] == "draining" and i["in_flight"] >= 1
                               for i in app.instances()), 20, "its instance drains")
        assert socket.echo("still here") == "still here"

        def cut():
            try:
                socket.echo("and now?")
                return False
            except OSError:
                return True
        wait_until(cut, 30, "the WebSocket is cut at the drain timeout", every=0.05)
        assert time.monotonic() - began >= 4, "it was cut before its time"
        status, out, err = app.server.end_cli(deploy)
        assert status == 0, out + err
        app.wait_steady(version=2, ready=2)
        with WebSocket(app.server.address) as again:
            assert again.version == "2" and again.echo("hello") == "hello"
    load.assert_none_lost()


def test_websocket_of_another_app_is_left_alone(server):
    """A change to one app never touches another's connections."""
    shop = App(server, "shop", routes=[{"host": "shop.test", "path": "/"}],
               stop={"drain": "1s", "grace": "1s"})
    blog = App(server, "blog", routes=[{"host": "blog.test", "path": "/"}],
               stop={"drain": "1s", "grace": "1s"})
    shop.deploy(1, ok=True)
    blog.deploy(1, ok=True)
    with WebSocket(server.address, headers={"Host": "shop.test"}) as socket:
        for version in (2, 3, 4):
            blog.deploy(version, ok=True)
            assert socket.echo(f"after blog {version}")
        blog.command("delete", "--yes")
        assert socket.echo("after blog is gone")


def test_keep_alive_connections_survive(app):
    """A client's connection is never closed by a rollout: the same one sees both versions."""
    app.deploy(1, ok=True)
    with Client(app.server.address) as client:
        assert client.get().version == "1"
        own = client.connection.sock.getsockname()
        for version in (2, 3):
            app.deploy(version, ok=True)
            assert client.get().version == str(version)
            assert client.connection.sock.getsockname() == own, "the connection was replaced"


def test_many_deploys_one_after_the_other(app):
    app.deploy(1, ok=True)
    with app.load(requests=MIX) as load:
        load.wait_version(1)
        for version in range(2, 8):
            app.deploy(version, ok=True)
        load.wait_only(7)
    load.assert_none_lost()
    app.wait_steady(version=7, ready=2)


@every_strategy
def test_a_second_deploy_supersedes_the_first(app, strategy):
    """The first one ends as `superseded`, exit 1; the second is promoted; nothing is lost."""
    app.spec["strategy"] = STRATEGIES[strategy]
    app.spec["hold"] = {"time": "60s", "requests": 100000}
    app.spec["replicas"] = 3 if strategy == "rolling" else 2
    app.deploy(1, ok=True)
    with app.load(connections=32, timeout=60) as load:
        load.wait_version(1)
        first = until_middle(app, strategy)
        app.deploy(3, ok=True)
        status, out, err = app.server.end_cli(first)
        assert status == 1, out + err
        result = json.loads(out.splitlines()[-1])
        assert (result["release"], result["result"]) == (2, "superseded"), result
        app.wait_steady(version=3, ready=app.spec["replicas"])
        load.wait_only(3)
    load.assert_none_lost()
    rejected = [r for r in app.documents("history") if r.get("release") == 2]
    assert rejected and rejected[0]["result"] == "superseded", rejected


def test_rollback_goes_to_the_last_promoted_release(app):
    """Not to a rejected one; with its own code, environment and file; `--to` names any other."""
    app.deploy(1, ok=True, env={"COLOUR": "red"})
    app.deploy(2, ok=True, env={"COLOUR": "green"})
    app.deploy(3, ok=False, faults={"crash_at_start": 1}, env={"COLOUR": "blue"})
    app.deploy(4, ok=True, env={"COLOUR": "black"})
    (app.dir / "hello").unlink()  # the folder of the user does not matter for going back
    done = app.command("rollback")
    assert (done.result["version"], done.result["result"]) == ("2", "promoted"), done
    assert app.server.get("/env?COLOUR").text == "green"
    done = app.command("rollback", "--to", "1")
    assert app.server.get("/env?COLOUR").text == "red"
    assert app.server.get("/version").json["version"] == "1"
    bad = app.command("rollback", "--to", "99", ok=False)
    assert "99" in bad.text


@pytest.mark.parametrize("strategy", ["blue-green", "rolling", "canary"])
def test_instant_way_back_of_blue_green(app, strategy):
    """Blue stays up for `keep`: the way back starts nothing, whatever blue's own strategy was."""
    app.deploy(1, ok=True, strategy=STRATEGIES[strategy], faults={"start_delay": "1s"})
    blue = {i["pid"] for i in app.ready()}
    app.deploy(2, ok=True, strategy={"blue-green": {"keep": "5m"}})
    with app.load() as load:
        load.wait_version(2)
        app.command("rollback")
        load.wait_only(1)
    load.assert_none_lost()
    assert {i["pid"] for i in app.instances() if i["version"] == "1"} == blue, app.status()


def test_recreate_never_runs_two_versions(app):
    """The old one is gone before the new one starts; requests wait meanwhile."""
    app.spec.update(strategy={"recreate": {"hold-requests": "30s"}}, replicas=2,
                    hold={"time": "30s", "requests": 10000})
    app.deploy(1, ok=True)
    with app.load(connections=64) as load:
        load.wait_version(1)
        app.deploy(2, ok=True, faults={"start_delay": "500ms"})
        load.wait_only(2)
    load.assert_none_lost()
    assert load.version(1)["last_ms"] <= load.version(2)["first_ms"], load.explain()


def test_hold_is_bounded(app):
    """Over the hold: 503 with Retry-After by the gateway, and not a refused connection."""
    app.spec.update(strategy="recreate", replicas=1, hold={"time": "500ms", "requests": 5})
    app.deploy(1, ok=True)
    app.command("stop")
    answer = app.server.get("/")
    assert answer.status == 503 and answer.by_gateway and "retry-after" in answer.headers, answer
    assert b"the app is stopped" in answer.body, answer
    app.command("start")
    wait_until(lambda: app.server.get("/").status == 200, 20, "it answers again")


def test_fixed_port_needs_recreate(app):
    import socket
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app.deploy(1, ok=True, port=port, replicas=1, strategy="recreate")
    assert get(f"127.0.0.1:{port}", "/version").json["version"] == "1"
    with app.load() as load:
        load.wait_version(1)
        app.deploy(2, ok=True, port=port, replicas=1, strategy="recreate")
        load.wait_only(2)
    load.assert_none_lost()
    app.write(port=port, replicas=2, strategy="rolling")
    wrong = app.server.run("check", "-f", app.file)
    assert wrong.returncode == 2 and "port" in wrong.stderr + wrong.stdout


def test_build_and_release_commands(app):
    """Both run in the release's folder, with its environment; their output is shown and kept."""
    done = app.deploy(1, ok=True, build=["echo building $SLUICE_VERSION > built", ["sh", "-c", "echo seen by the user"]],
                      release=["echo migrated to $SLUICE_VERSION >> $SLUICE_STATE_DIR/migrations"])
    assert "seen by the user" in done.text
    folder = app.folder / "releases" / "1"
    assert (folder / "built").read_text() == "building 1\n"
    app.deploy(2, ok=True, release=["echo migrated to $SLUICE_VERSION >> $SLUICE_STATE_DIR/migrations"])
    assert (app.folder / "state" / "migrations").read_text() == "migrated to 1\nmigrated to 2\n"


def test_build_that_fails_changes_nothing(app):
    app.deploy(1, ok=True)
    done = app.deploy(2, ok=False, build=["echo compiling", "echo 'main.c:3: error: expected ;' >&2; exit 7"])
    assert done.reason["code"] == "build-failed", done
    assert "expected ;" in done.text and "7" in done.reason["text"]
    app.wait_steady(version=1, ready=2)


def test_release_command_that_fails_rolls_back_before_any_traffic(app):
    app.deploy(1, ok=True)
    with app.load() as load:
        load.wait_version(1)
        done = app.deploy(2, ok=False, release=["echo 'relation users does not exist' >&2; exit 3"])
        assert done.reason["code"] == "release-command-failed", done
        assert "relation users does not exist" in done.text
        app.wait_steady(version=1, ready=2)
    load.assert_none_lost()
    assert load.version(2)["ok"] == 0


def test_releases_are_read_only_and_independent_of_the_folder(app):
    app.deploy(1, ok=True)
    folder = app.folder / "releases" / "1"
    before = (folder / "hello").read_bytes()
    (app.dir / "hello").write_bytes(b"#!/bin/sh\nexit 1\n")
    assert (folder / "hello").read_bytes() == before
    assert not (folder / "hello").stat().st_mode & 0o222
    assert folder.stat().st_mode & 0o777 == 0o550  # the source may come from a private folder
    app.command("restart")
    assert app.server.get("/version").json["version"] == "1"


def test_commit_and_author_are_recorded(app):
    import subprocess
    def git(*words):
        subprocess.run(["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *words],
                       cwd=app.dir, check=True, capture_output=True)
    app.write()
    (app.dir / ".gitignore").write_text("secret.txt\n")
    (app.dir / "secret.txt").write_text("not for the release\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    app.server.give(app.dir)
    run = app.server.run(*app.deploy_arguments(None), limit=150)
    assert run.returncode == 0, run.stdout + run.stderr
    release = app.documents("releases")[0]
    short = subprocess.run(["git", "-c", "safe.directory=*", "rev-parse", "--short", "HEAD"],
                           cwd=app.dir, text=True, capture_output=True).stdout.strip()
    assert release["version"].startswith(short[:7]), release
    assert release["commit"].startswith(short) and "Ada" in release["author"], release
    assert not (app.folder / "releases" / "1" / "secret.txt").exists()
    assert (app.folder / "releases" / "1" / "hello").exists()


def test_environments_are_apart(server):
    """The same app in two environments: two apps, each with its own releases."""
    production = App(server, "shop", routes=[{"host": "shop.test", "path": "/"}])
    staging = App(server, "shop", environment="staging")
    staging.spec = {**production.spec,
                    "environments": {"staging": {"routes": [{"host": "staging.test", "path": "/"}],
                                                 "env": {"WHERE": "staging"}, "replicas": 1}}}
    production.deploy(1, ok=True)
    staging.deploy(2, ok=True)
    assert server.get("/version", Host="shop.test").json["version"] == "1"
    assert server.get("/version", Host="staging.test").json["version"] == "2"
    assert server.get("/env?WHERE", Host="staging.test").text == "staging"
    assert len(staging.ready()) == 1 and len(production.ready()) == 2
    staging.command("delete", "--yes")
    # Who follows it from an event before learns its end, also when it is gone already.
    path = "/v1/events?app=shop&environment=staging&after="
    told = server.api("GET", path + "1", headers={"Accept": "application/json"})
    assert told.status == 200 and "deleted" in told.text
    assert server.api("GET", path + "0", headers={"Accept": "application/json"}).status == 404
    assert server.get("/version", Host="shop.test").json["version"] == "1"
    assert server.get("/version", Host="staging.test").status == 404


def test_routes_of_two_apps_may_not_collide(server):
    shop = App(server, "shop", routes=[{"host": "shop.test", "path": "/"}])
    thief = App(server, "thief", routes=[{"host": "shop.test", "path": "/"}])
    shop.deploy(1, ok=True)
    planned = server.run("plan", "-f", thief.write())
    assert planned.returncode == 1 and "belongs to app" in planned.stderr, planned
    done = thief.deploy(1)
    assert done.status in (1, 2) and "shop" in done.text, done
    assert server.get("/version", Host="shop.test").json["instance"].startswith("shop")


def test_routing_by_host_path_header_and_cookie(server):
    routes = {
        "root": [{"path": "/"}],
        "api": [{"path": "/version"}],
        "wild": [{"host": "*.wild.test", "path": "/"}],
        "exact": [{"host": "a.wild.test", "path": "/"}],
        "beta": [{"path": "/", "match": {"header": {"x-beta": "yes"}}}],
        "jar": [{"path": "/", "match": {"cookie": {"who": "me"}}}],
    }
    for name, route in routes.items():
        App(server, name, routes=route, replicas=1).deploy(1, ok=True)

    def who(path="/", **headers):
        return server.get(path, **headers).headers["x-instance"].split("-")[0]
    assert who("/") == "root"
    assert who("/version") == "api"
    assert who("/versions") == "root", "a prefix ends at a segment's border"
    assert who("/", Host="b.wild.test") == "wild"
    assert who("/", Host="a.wild.test") == "exact"
    assert who("/", Host="wild.test") == "root"
    assert who("/", **{"X-Beta": "yes"}) == "beta"
    assert who("/", **{"X-Beta": "no"}) == "root"
    assert who("/", Cookie="a=b; who=me") == "jar"


def test_what_an_instance_sees(app):
    app.deploy(1, ok=True, env={"GREETING": "hello $SLUICE_APP"}, run=["./hello", "--seed", "7"])
    version = app.server.get("/version").json
    assert version["version"] == "1" and version["release"] == "1"
    see = lambda name: app.server.get(f"/env?{name}")
    assert see("SLUICE_APP").text == "hello"
    assert see("SLUICE_ENV").text == "production"
    assert see("SLUICE_INSTANCE").text.startswith("hello-")
    assert see("SLUICE_STATE_DIR").text == str(app.folder / "state")
    assert int(see("PORT").text) in {i["port"] for i in app.ready()}
    headers = app.server.get("/headers").text.lower()
    assert "x-forwarded-for: 127.0.0.1" in headers and "x-forwarded-proto: http" in headers
    assert see("SSH_AUTH_SOCK").status == 404 and see("SLUICE_DATA").status == 404


def test_scale_restart_stop_start(app):
    app.deploy(1, ok=True)
    assert "4 instances of web are wanted now" in app.cli("scale", "4", "--process", "web", json_=False).stdout
    app.wait_steady(version=1, ready=4)
    assert "1 instance is wanted now" in app.cli("scale", "1", json_=False).stdout
    app.wait_steady(version=1, ready=1)
    with app.load() as load:
        load.wait_version(1)
        app.command("scale", "4")
        app.wait_steady(version=1, ready=4)
        app.command("scale", "1")
        app.wait_steady(version=1, ready=1)
        app.deploy(2, ok=True)  # scale holds until a changed `replicas` is deployed
        app.wait_steady(version=2, ready=1)
        app.deploy(3, ok=True, replicas=3)
        app.wait_steady(version=3, ready=3)
        before = {i["pid"] for i in app.ready()}
        app.command("restart")
        app.wait_steady(version=3, ready=3)
        assert not before & {i["pid"] for i in app.ready()}, "restart kept an instance"
    load.assert_none_lost()
    app.command("stop")
    stopped = app.wait_state("stopped")
    wait_until(lambda: not app.instances(), 20, "all instances are gone")
    assert stopped["state"] == "stopped"
    app.command("start")
    app.wait_steady(version=3, ready=3)
    assert app.server.get("/").version == "3"


def test_limits_that_cannot_be_enforced_are_said(make_server):
    """Where there are no cgroups for it, the app runs all the same, and who deploys is told."""
    from sluice_test.server import ordinary_user
    app = App(make_server(user=ordinary_user()), resources={"cpu": "500m", "memory": "256Mi"})
    done = app.deploy(1, ok=True)
    missing = "resource limits that cannot be enforced here" in app.server.log_text()
    assert ("`resources` is not enforced on this machine" in done.text) == missing, done
    app.spec.pop("resources")
    assert "is not enforced" not in app.deploy(2, ok=True).text


def test_scale_to_zero_and_back(app):
    app.deploy(1, ok=True, hold={"time": "1s"})
    app.command("scale", "0")
    wait_until(lambda: not app.instances(), 20, "no instance is left")
    assert app.server.get("/").status == 503
    app.command("scale", "2")
    wait_until(lambda: app.server.get("/").status == 200, 20, "it answers again")


def test_workers_beside_the_web_process(app):
    """A map of processes: `web` gets the routes, the others live and die with the release."""
    app.spec.update(run={"web": ["./hello"], "worker": ["./hello", "--worker"]},
                    replicas={"web": 2, "worker": 1})
    app.deploy(1, ok=True)
    assert len(app.ready()) == 3
    with app.load() as load:
        load.wait_version(1)
        app.deploy(2, ok=True)
        load.wait_only(2)
        wait_until(lambda: sorted(i["version"] for i in app.ready()) == ["2"] * 3, 20,
                   lambda: f"three of version 2: {app.status()}")
        app.command("rollback")
        wait_until(lambda: sorted(i["version"] for i in app.ready()) == ["1"] * 3, 20,
                   lambda: f"three of version 1: {app.status()}")
    load.assert_none_lost()
    ports = [i["port"] for i in app.ready() if i["port"]]
    assert len(ports) >= 2


def test_one_shot_run_and_its_exit_status(app):
    app.deploy(1, ok=True, env={"COLOUR": "red"})
    run = app.server.run("run", "hello", "--", "sh", "-c", "echo the colour is $COLOUR; exit 5")
    assert "the colour is red" in run.stdout + run.stderr
    assert run.returncode != 0
    run = app.server.run("run", "hello", "--", "true")
    assert run.returncode == 0, run.stderr
    ended = [e["text"] for e in app.documents("events") if e["kind"] == "run-ended"]
    assert "exited with status 5" in ended[0] and ended[1].endswith("ended well"), ended


def test_delete_takes_everything_away(app):
    app.deploy(1, ok=True)
    app.command("delete", "--yes")
    wait_until(lambda: app.server.get("/").status == 404, 15, "its routes are gone")
    gone = app.cli("status")
    assert gone.returncode in (1, 2), gone
    wait_until(lambda: not (app.folder / "releases").exists() or
               not list((app.folder / "releases").iterdir()), 15, "its releases are gone")
    app.deploy(1, ok=True)
    assert app.server.get("/").version == "1"


def test_deleted_means_gone(app):
    """Its name is free when the command ends, however long the instances take to stop; also over the controller's death."""
    app.spec["stop"] = {"grace": "10s"}
    app.deploy(1, faults={"stop_delay": "1500ms"}, ok=True)
    app.command("delete", "--yes")
    app.deploy(2, faults={"stop_delay": "1500ms"}, ok=True)
    deleting = app.server.start_cli("delete", "hello", "--yes")
    wait_until(lambda: "deleting" in app.server.run("events", "-n", "5").stdout, 10, "it has begun")
    app.server.kill("controller")
    assert app.server.end_cli(deleting)[0] == 0
    assert json.loads(app.server.run("status", "--json").stdout) == []


def test_source_folder_elsewhere_and_history_is_bounded(app):
    """Releases are collected; the stable one and the one before it never."""
    app.spec["history"] = 2
    for version in range(1, 7):
        app.deploy(version, ok=True)
    folders = lambda: sorted(int(f.name) for f in (app.folder / "releases").iterdir() if f.name.isdigit())
    wait_until(lambda: folders() == [5, 6], 20, lambda: f"two releases are kept: {folders()}")
    app.command("rollback")
    assert app.server.get("/").version == "5"
    assert 5 in folders() and 6 in folders()
