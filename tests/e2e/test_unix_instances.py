"""Apps on Unix sockets (`port: unix`) and on ::1 only, through the file and the whole server."""

import os
import stat

import pytest
from sluice_test import App, IS_ROOT, wait_until
from sluice_test.app import STRATEGIES
from sluice_test.server import ordinary_user


@pytest.fixture
def unix(make_server):
    """An app on a socket; as root, or as an ordinary user."""
    def make(user=None, **options):
        return App(make_server(user=ordinary_user() if user else None, **options), port="unix")
    return make


def sockets(app):
    return sorted(p.name for p in (app.server.data / "run" / "sockets").iterdir())


def socket_of(app):
    return app.ready()[0]["socket"]


# ---- deploys ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("user", [False, True] if IS_ROOT else [False])
def test_deploys_and_kills_under_load(unix, user):
    app = unix(user)
    app.deploy(1, ok=True)
    with app.load(requests=("GET /", "POST /echo size=500", "GET /bytes?n=200000")) as kept, \
            app.load(rate=40, keepalive=False) as fresh:
        kept.wait_version(1)
        app.deploy(2, ok=True)
        kept.wait_only(2)
        app.server.kill("controller")
        app.wait_steady(version=2, ready=2)
        kept.wait_flowing()
        app.command("rollback")
        kept.wait_only(1)
        app.wait_steady(version=1, ready=2)
    kept.assert_none_lost()
    fresh.assert_none_lost()
    wait_until(lambda: len(sockets(app)) == 2, 20, "the folders of runs that are over are gone")
    assert all(i["port"] == 0 and os.path.exists(i["socket"]) for i in app.ready())
    # A gateway that starts alone knows the sockets from its file.
    pids = {i["pid"] for i in app.ready()}
    app.server.kill("gateway")
    wait_until(lambda: app.server.get("/").status == 200, 20, "the next gateway")
    assert {i["pid"] for i in app.ready()} == pids


def test_a_canary_with_smoke_tests(unix):
    app = unix()
    app.deploy(1, ok=True)
    app.spec["strategy"] = {"blue-green": {
        "keep": "1s", "smoke": ["test -S \"$SLUICE_PREVIEW_SOCKET\" && test -z \"$SLUICE_PREVIEW_URL\""]}}
    app.deploy(2, ok=True)
    app.spec["strategy"] = STRATEGIES["canary"]
    with app.load() as load:
        load.wait_version(2)
        app.deploy(3, ok=True)
        load.wait_only(3)
    load.assert_none_lost()


def test_a_run_after_a_crash_has_a_folder_of_its_own(unix):
    app = unix()
    app.deploy(1, ok=True, replicas=1)
    first = socket_of(app)
    os.kill(app.ready()[0]["pid"], 9)
    wait_until(lambda: app.ready() and socket_of(app) != first, 30, "another run")
    wait_until(lambda: app.server.get("/").status == 200, 20, "it answers")
    wait_until(lambda: not os.path.exists(os.path.dirname(first)), 20, "the first one's folder is gone")


def test_a_restart_of_the_server_finds_its_apps(unix):
    app = unix(stop_apps=False)
    app.deploy(1, ok=True)
    pids = {i["pid"] for i in app.ready()}
    app.server.stop()
    app.server.start()
    app.wait_steady(version=1)
    assert {i["pid"] for i in app.ready()} == pids
    assert app.server.get("/").status == 200


@pytest.mark.parametrize("user", [False, True] if IS_ROOT else [False])
def test_a_long_data_folder(make_server, user):
    server = make_server(start=False, user=ordinary_user() if user else None)
    server.data = server.root / ("d" * 100) / ("e" * 100)
    server.data.mkdir(parents=True)
    server.give(server.root)
    server.start()
    app = App(server, port="unix")
    app.deploy(1, ok=True)
    assert server.get("/").status == 200
    path = socket_of(app)
    assert len(path) < 108
    link = os.path.dirname(os.path.dirname(path))
    assert os.path.realpath(link) == str(server.data / "run" / "sockets")
    server.kill("controller")
    app.deploy(2, ok=True)
    assert server.get("/version").json["version"] == "2"
    os.unlink(link)


# ---- who gets in ------------------------------------------------------------------------------------

@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_others_of_the_machine_do_not_reach_a_socket(unix):
    app = unix()
    app.deploy(1, ok=True, replicas=1)
    path = socket_of(app)
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o710
    assert stat.S_IMODE(os.stat(path).st_mode) & 0o006 == 0o006, "the gateway is let in"
    program = f"import os, socket; os.setgroups([]); os.setgid(54321); os.setuid(54321)\n" \
              f"socket.socket(socket.AF_UNIX).connect({path!r})"
    assert b"PermissionError" in run_python(program)


def run_python(program):
    import subprocess
    return subprocess.run(["/usr/bin/python3", "-c", program], stderr=subprocess.PIPE).stderr


@pytest.mark.skipif(not IS_ROOT, reason="root connects whatever the mode is")
def test_a_mode_that_the_app_sets_is_widened(unix):
    """Its own umask and chmod are for a machine without the folder around the socket."""
    app = unix()
    app.deploy(1, ok=True, faults={"socket_mode": 0o600})
    assert app.server.get("/").status == 200


def test_a_mode_that_lets_nobody_in_is_said(make_server):
    app = App(make_server(user=ordinary_user() if IS_ROOT else None), port="unix")
    app.deploy(1, ok=True)
    done = app.deploy(2, ok=False, faults={"socket_mode": 0o444}, deadline="3s")
    assert "$SLUICE_SOCKET: the socket's mode is 0444: nobody may connect (chmod 0666 it)" in done.text, done


# ---- what goes wrong --------------------------------------------------------------------------------

@pytest.mark.parametrize("faults,run,words", [
    ({"listen_on": 1}, None, "there is no socket; it listens on port"),
    ({}, ["sh", "-c", "echo no > $SLUICE_SOCKET; exec sleep 60"], "there is a file that is no socket"),
    ({}, ["sleep", "60"], "GET /ready on $SLUICE_SOCKET: there is no socket"),
    ({"never_ready": 1}, None, "GET /ready on $SLUICE_SOCKET: status 503"),
])
def test_what_is_said_of_an_app_that_does_not_come_up(unix, faults, run, words):
    app = unix()
    app.deploy(1, ok=True, replicas=1)
    done = app.deploy(2, ok=False, faults=faults, deadline="2s", replicas=1, **({"run": run} if run else {}))
    assert done.word == "rolled-back" and words in done.text, done
    assert app.server.get("/").status == 200


def test_a_command_that_says_ready_without_a_socket(unix):
    app = unix()
    app.deploy(1, ok=True)
    done = app.deploy(2, ok=False, deadline="2s", run=["sleep", "60"],
                      probes={"readiness": {"exec": ["true"], "period": "200ms"}})
    assert "$SLUICE_SOCKET: there is no socket" in done.text, done


# ---- ::1 --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("probe", [{"tcp": True}, {"exec": ["true"]}])
def test_an_app_on_ipv6_is_found_by_any_probe(server, probe):
    app = App(server, replicas=1, probes={"readiness": {**probe, "period": "200ms"}})
    app.deploy(1, ok=True, faults={"ipv6": 1, "start_delay": "500ms"})
    assert server.get("/").status == 200


def test_an_app_goes_over_to_ipv6_and_back(server):
    app = App(server)
    app.deploy(1, ok=True)
    with app.load() as load:
        load.wait_version(1)
        app.deploy(2, ok=True, faults={"ipv6": 1})
        load.wait_only(2)
        server.kill("controller")
        app.wait_steady(version=2, ready=2)
        load.wait_flowing()
        app.deploy(3, ok=True)
        load.wait_only(3)
    load.assert_none_lost()
