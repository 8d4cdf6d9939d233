"""`sluice upgrade`: the running server goes over to another binary, and nobody notices."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import threading

import pytest
from gateway_rig import Reader
from sluice_test import App, BINARY, BUILD, IS_ROOT, SANITIZER, Client, Load, WebSocket, proc, wait_until
from sluice_test.build import PATIENCE, ROOT

NEW_VERSION = "9.9.9"


@pytest.fixture
def app(make_server):
    app = App(make_server())
    app.deploy(1, ok=True, replicas=2)
    return app


def another_version(server):
    """This binary, but for the number that it says."""
    path = server.root / "sluice-new"
    old = json.loads(server.run("version", "--json").stdout)["version"]
    assert len(old) == len(NEW_VERSION)
    path.write_bytes(BINARY.read_bytes().replace(f"{old}\0".encode(), f"{NEW_VERSION}\0".encode()))
    path.chmod(0o755)
    server.give(path)
    return path


def test_nobody_notices(app):
    server = app.server
    before = server.info()
    socket = WebSocket(server.address)
    assert socket.echo("before") == "before"
    slow = Client(server.address)
    answers = []
    download = threading.Thread(target=lambda: answers.append(slow.get("/stream?ms=3000&bytes=300000")))
    with Load(server.address) as steady, Load(server.address, keepalive=False) as fresh:
        wait_until(lambda: steady.seconds() and fresh.seconds(), 20, "the load runs")
        download.start()
        done = server.run("upgrade", "--json")
        assert done.returncode == 0, done.stderr
        seen = len(fresh.seconds())
        wait_until(lambda: len(fresh.seconds()) > seen + 1, 20, "the new gateway has its load")
        download.join()
    assert not steady.lost() and not fresh.lost()
    assert len(answers[0].body) == 300000
    assert socket.echo("still the old gateway") == "still the old gateway"
    socket.close()
    slow.close()
    after = server.info()
    assert after["pids"]["guardian"] == before["pids"]["guardian"] == server.process.pid
    assert after["pids"]["controller"] != before["pids"]["controller"]
    assert after["pids"]["gateway"] != before["pids"]["gateway"]
    assert after["listeners"] == before["listeners"]
    assert [i["id"] for i in app.ready()] and app.status()["rollout"] is None
    wait_until(lambda: len(proc.roles(server.data)["gateway"]) == 1, 30, "the old gateway has drained")


def test_to_another_version(app):
    server = app.server
    new = another_version(server)
    done = server.run("upgrade", str(new), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["to"] == NEW_VERSION and told["binary"] == str(new)
    assert server.info()["version"] == NEW_VERSION
    app.deploy(2, ok=True)
    assert server.run("upgrade").returncode == 0  # and back
    assert server.info()["version"] == told["from"]
    assert len(app.ready()) == 2


def other_format():
    """A binary that can read neither the routes nor the metrics of this one, and the other way round."""
    path = BUILD / "other-format" / "sluice"
    with open(ROOT / "build" / "other-format.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        make = ["make", "-s"] + ([f"SAN={SANITIZER}"] if SANITIZER else [])
        subprocess.run(make + [str(path.relative_to(ROOT))], cwd=ROOT, check=True)
    return path


def test_across_formats(make_server):
    """Nobody is turned away while nobody knows the routes; the old gateway, which takes no routes any more and
    whose requests cannot be counted, holds no rollout up, and no instance is stopped under them."""
    server = make_server()
    new = server.root / "sluice-other"
    shutil.copy2(other_format(), new)
    server.give(new)
    app = App(server, replicas=1)
    app.deploy(1, ok=True)
    upload = socket.create_connection(server.address.rsplit(":", 1), timeout=20 * PATIENCE)
    upload.sendall(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
    with Load(server.address) as steady, Load(server.address, keepalive=False) as fresh:
        wait_until(lambda: steady.seconds() and fresh.seconds(), 20, "the load runs")
        done = server.run("upgrade", str(new), "--json")
        assert done.returncode == 0, done.stderr
        seen = len(fresh.seconds())
        wait_until(lambda: len(fresh.seconds()) > seen + 1, 20, "the new gateway has its load")
        rollout = app.deploy_in_background(2)
        wait_until(lambda: json.loads(server.get("/version").body)["release"] == "2", 20, "the new release serves")
        wait_until(lambda: app.instances("draining"), 5, "the old instance drains")
        assert len(proc.roles(server.data)["gateway"]) == 2 and server.info()["degraded"] is None
        upload.sendall(b"world")
        assert Reader(upload).answer("POST")[0] == 200
        upload.close()
        code, out, err = server.end_cli(rollout)
        assert code == 0, out + err
    assert not steady.lost() and not fresh.lost()
    wait_until(lambda: len(proc.roles(server.data)["gateway"]) == 1, 30, "the old gateway has drained")
    assert not any(e["kind"] == "drain-timeout" for e in map(json.loads, server.cli("events").stdout.splitlines()))


def test_a_rollout_goes_on(app):
    rollout = app.deploy_in_background(2, strategy={"canary": {"steps": [20, 60], "hold": "2s"}})
    app.wait_rollout(kind="deploy")
    with app.load() as load:
        done = app.server.run("upgrade")
        assert done.returncode == 0 and f"a new controller, pid {app.server.info()['pids']['controller']}" in done.stdout
        assert "the guardian becomes the new binary" in (log := app.server.log_text()) and "guardian is gone" not in log
        code, out, err = app.server.end_cli(rollout)
    assert code == 0, out + err
    assert not load.lost()


def test_what_is_no_sluice_is_not_taken(app, tmp_path):
    server = app.server
    guardian = server.process.pid
    for name, text in {"script": "#!/bin/sh\necho '{}'\n", "text": "hello", "empty": ""}.items():
        path = server.root / name
        path.write_text(text)
        path.chmod(0o755)
        refused = server.run("upgrade", str(path))
        assert refused.returncode == 2 and str(path) in refused.stderr, refused
    for path in ("/bin/true", "/nowhere", "/etc"):
        refused = server.run("upgrade", path)
        assert refused.returncode == 2 and path in refused.stderr, refused
    # The server does not take the command's word for it.
    for path, status in {"relative": 400, "/nowhere": 404, "/etc": 400, "/etc/passwd": 400}.items():
        assert server.api("POST", "/v1/server/upgrade", {"binary": path}).status == status
    assert server.api("POST", "/v1/server/upgrade", {"binary": 1}).status == 400
    assert server.process.poll() is None and server.info()["pids"]["guardian"] == guardian


def test_what_would_not_start_is_not_taken(make_server):
    """The guardian would be gone with it, and nobody would look after the others."""
    server = make_server(start=False)
    logs = server.root / "logs"
    logs.mkdir()
    server.give(logs)
    server.extra = ["--access-log", str(logs / "access.log")]
    server.start()
    before = server.info()["pids"]
    other = server.root / "sluice-other"  # knows no --tcp-routes
    other.write_bytes(BINARY.read_bytes().replace(b"tcp-routes\0", b"tcp-rxutes\0"))
    other.chmod(0o755)
    server.give(other)
    refused = server.run("upgrade", str(other))
    assert refused.returncode == 1 and "serve has no option --tcp-routes" in refused.stderr, refused
    logs.rename(server.root / "elsewhere")
    refused = server.run("upgrade")
    assert refused.returncode == 1 and f"there is no folder {logs}" in refused.stderr, refused
    assert server.process.poll() is None and server.info()["pids"] == before
    (server.root / "elsewhere").rename(logs)
    assert server.run("upgrade").returncode == 0
    assert server.info()["pids"]["gateway"] != before["gateway"]


def test_a_binary_that_others_can_write_is_not_taken(app):
    path = app.server.root / "open"
    shutil.copy(BINARY, path)
    path.chmod(0o777)
    app.server.give(path)
    refused = app.server.run("upgrade", str(path))
    assert refused.returncode == 1 and "changed by others" in refused.stderr


@pytest.mark.skipif(not IS_ROOT, reason="needs another user")
def test_only_who_runs_the_server(app):
    """The socket's group may deploy; what runs as the server's user is not theirs to choose."""
    os.chown(app.server.data / "api.sock", 0, 65534)
    os.chmod(app.server.data, 0o755)
    body = json.dumps({"binary": str(BINARY)})
    words = ["curl", "-s", "--unix-socket", str(app.server.data / "api.sock"), "-d", body, "-H",
             "Content-Type: application/json",
             "http://sluice/v1/server/upgrade"]
    run = subprocess.run(words, user=65534, group=65534, extra_groups=[], capture_output=True, text=True,
                         check=True)
    assert json.loads(run.stdout)["status"] == 403
