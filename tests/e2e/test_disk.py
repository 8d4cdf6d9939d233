"""A disk that is full, a database that cannot be read: traffic goes on, nothing is forgotten."""

import os
import sqlite3
import subprocess

import pytest
from sluice_test import App, wait_until
from sluice_test import proc


@pytest.fixture
def small_disk(make_server):
    """A server whose data folder is a file system of 64 MiB of its own. Needs root (mount)."""
    server = make_server(start=False)
    server.data.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "sluice-test",
                              str(server.data)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    server.start()
    yield server
    leftovers = server.close()
    subprocess.run(["umount", "-l", str(server.data)], check=False)
    assert not leftovers, leftovers


def fill(server, leave=0):
    """Fills the disk to the last byte; gives the file that does it."""
    hog = server.data / "hog"
    descriptor = os.open(hog, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for piece in (65536, 4096, 1):
        try:
            while os.write(descriptor, b"x" * piece):
                pass
        except OSError:
            pass
    os.close(descriptor)
    if leave:
        os.truncate(hog, max(0, hog.stat().st_size - leave))
    return hog


@pytest.mark.root
def test_full_disk_traffic_goes_on_and_a_deploy_says_why(small_disk):
    server, app = small_disk, App(small_disk)
    app.deploy(1, ok=True, faults={"log_requests": 1})
    with app.load() as load:
        load.wait_version(1)
        hog = fill(server)
        load.wait_flowing(2)
        live = 1
        for version in range(2, 6):  # the ballast may carry one through
            done = app.deploy(version)
            if done.status != 0:
                break
            live = version
            hog = fill(server)
        assert done.status == 1, done
        assert "space" in done.text.lower() or "full" in done.text.lower(), done
        assert {i["version"] for i in app.ready()} == {str(live)}
        hog.unlink()
        wait_until(lambda: app.deploy(9).status == 0, 60, "a deploy works again", every=1)
        load.wait_only(9)
    load.assert_none_lost()


@pytest.mark.root
@pytest.mark.parametrize("strategy", ["canary", "blue-green", "rolling"])
def test_disk_fills_up_in_a_rollout(small_disk, strategy):
    """The way back does not wait for the disk: traffic returns to stable, the store follows."""
    server, app = small_disk, App(small_disk)
    app.deploy(1, ok=True)
    with app.load(connections=32) as load:
        load.wait_version(1)
        changes = {"canary": dict(strategy={"canary": {"hold": "0s", "steps": [{"weight": 40, "hold": "0s", "approve": True}]}}),
                   "blue-green": dict(strategy={"blue-green": {"approve": True}}),
                   "rolling": dict(replicas=3, faults={"ready_delay": "5s"})}[strategy]
        child = app.deploy_in_background(2, **changes)
        if strategy == "canary":
            load.wait_version(2)
        else:
            wait_until(lambda: app.status()["candidate"], 20, "the candidate is there")
        hog = fill(server)
        app.cli("abort")  # may be refused (not stored), or done out of the ballast
        if strategy == "canary":
            app.cli("abort")
        hog.unlink()
        wait_until(lambda: app.cli("abort").returncode >= 0 and app.status()["state"] == "steady",
                   60, "back on stable", every=0.5)
        app.wait_steady(version=1)
        load.wait_only(1)
        server.end_cli(child)
    load.assert_none_lost()
    with sqlite3.connect(f"file:{server.data}/state.db?mode=ro", uri=True) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.root
def test_judge_takes_a_bad_version_back_on_a_full_disk(small_disk):
    server, app = small_disk, App(small_disk)
    app.deploy(1, ok=True)
    with app.load(connections=32) as load:
        load.wait_version(1)
        child = app.deploy_in_background(2, faults={"error_rate": "20%"},
                                         strategy={"canary": {"steps": [30], "hold": "5m"}})
        load.wait_version(2)
        hog = fill(server)
        load.wait_only(1, 60)
        hog.unlink()
        status, out, err = server.end_cli(child)
        assert status == 1, out + err
        app.wait_steady(version=1, ready=2, deadline=60)
    load.assert_none_lost()


@pytest.mark.root
def test_controller_restarts_on_a_full_disk(small_disk):
    server, app = small_disk, App(small_disk)
    app.deploy(1, ok=True)
    with app.load() as load:
        load.wait_version(1)
        hog = fill(server)
        old = server.kill("controller")
        wait_until(lambda: server.pid("controller") != old, 20, "a new controller")
        load.wait_flowing(2)
        hog.unlink()
        server.wait_ready(30)
        wait_until(lambda: len(app.ready()) == 2, 30, "both are ready")
    load.assert_none_lost()


@pytest.mark.root
def test_logs_of_an_app_do_not_block_it_on_a_full_disk(small_disk):
    """The shim drains stdout and drops: the app never waits for the disk."""
    server, app = small_disk, App(small_disk)
    app.deploy(1, ok=True, faults={"log_requests": 1})
    hog = fill(server)
    with app.load(rate=0, connections=8) as load:
        load.wait_flowing(3)
    load.assert_none_lost()
    hog.unlink()


@pytest.mark.root
def test_disk_that_is_nearly_full_is_said(small_disk):
    server, app = small_disk, App(small_disk)
    app.deploy(1, ok=True)
    assert server.info()["disk"]["low"] is False
    assert "nearly full" not in server.run("status").stdout
    hog = fill(server, leave=8 << 20)  # of 64 MiB: less than a quarter
    disk = server.info()["disk"]
    assert disk["low"] is True and 0 < disk["free_bytes"] < disk["total_bytes"] == 64 << 20, disk
    assert "the disk is nearly full: " in server.run("status").stdout
    old = server.kill("controller")  # the next one looks at once, not a minute later
    wait_until(lambda: server.pid("controller") != old, 20, "a new controller")
    wait_until(lambda: '"disk-low"' in server.run("events", "--json").stdout, 20, "a warning event")
    hog.unlink()
    assert "nearly full" not in server.run("status").stdout


def test_sizes_are_shown(app):
    app.deploy(1, ok=True, build=["head -c 3000000 /dev/urandom > made"])
    folder = app.folder / "releases" / "1"
    release = app.documents("releases")[0]
    held = sum(f.lstat().st_blocks * 512 for f in [folder, *folder.rglob("*")])
    assert release["bytes"] == held > 3000000
    shown = f"{held / 1048576:.1f} MiB"
    table = app.server.run("releases", app.name).stdout
    assert "SIZE" in table and shown in table and f"1 release, {shown}" in table, table
    disk = wait_until(lambda: (d := app.status()["disk"])["state"] is not None and d, 20, "it is measured")
    assert disk["releases"] == held and disk["logs"] > 0, disk
    assert f"disk  releases {shown}, logs " in app.server.run("status", app.name).stdout


def test_damaged_row_concerns_its_app_only(server):
    """The controller that finds it leaves that app and its traffic alone; others are deployed as ever."""
    app, other = App(server), App(server, name="other")
    app.deploy(1, ok=True)
    other.deploy(1, ok=True, routes=[{"path": "/other"}])
    pids = {i["pid"] for i in app.ready()}
    with app.load() as load:
        load.wait_version(1)
        with sqlite3.connect(server.data / "state.db", timeout=20) as db:
            key = f"{app.name}@production"
            saved, = db.execute("SELECT state_json FROM app WHERE app = ?", (key,)).fetchone()
            db.execute("UPDATE app SET state_json = '{' WHERE app = ?", (key,))
        server.kill("controller")
        wait_until(lambda: (app.status() or {}).get("degraded"), 20, "the app is degraded")
        assert server.info()["degraded"] is None
        assert app.deploy(2).status != 0
        other.deploy(2, ok=True, routes=[{"path": "/other"}])
        load.wait_flowing(2)
        assert all(proc.alive(p) for p in pids)
        with sqlite3.connect(server.data / "state.db", timeout=20) as db:
            db.execute("UPDATE app SET state_json = ? WHERE app = ?", (saved, key))
        server.kill("controller")
        app.wait_steady(version=1, deadline=30)
        assert {i["pid"] for i in app.ready()} == pids
    load.assert_none_lost()


@pytest.mark.parametrize("harm", ["garbage", "truncated", "stump", "newer", "folder"])
def test_unreadable_database(make_server, harm):
    """The server comes up degraded and says why and what to do; the traffic goes on."""
    server = make_server()
    app = App(server)
    app.deploy(1, ok=True)
    pids = {i["pid"] for i in app.ready()}
    for role in ("guardian", "controller", "gateway"):
        server.kill(role)
    server.wait_dead()
    server.process.wait()
    database = server.data / "state.db"
    files = ("state.db", "state.db-wal", "state.db-shm")
    saved = server.root / "saved"
    saved.mkdir()
    for name in files:
        if (server.data / name).exists():
            (server.data / name).rename(saved / name)
    if harm == "garbage":
        database.write_bytes(os.urandom(64 * 1024))
    elif harm == "truncated":
        whole = sqlite3.connect(saved / "state.db")
        whole.execute("VACUUM INTO ?", (str(database),))
        whole.close()
        os.truncate(database, database.stat().st_size // 2)
    elif harm == "stump":  # less than a page: SQLite alone would take it for a new one
        database.write_bytes((saved / "state.db").read_bytes()[:1500])
    elif harm == "folder":
        database.mkdir()
    else:  # of a later version
        with sqlite3.connect(database) as db:
            db.execute("PRAGMA user_version = 9999")
            db.execute("CREATE TABLE other (x)")
    server.start(wait=False)
    wait_until(lambda: server.get("/").version == "1", 30, "the traffic goes on, from the snapshot")
    info = wait_until(lambda: server.info(), 20, "the controller answers")
    assert info["degraded"], info
    assert "state.db" in json_text(info["degraded"]), info
    done = app.deploy(2)
    assert done.status in (1, 3) and "state.db" in done.text, done
    assert all(proc.alive(p) for p in pids), "no instance may be touched"
    # Put right, it goes on as if nothing had been.
    server.stop_apps = False
    server.stop()
    if database.is_dir():
        database.rmdir()
    else:
        database.unlink(missing_ok=True)
    for name in files:
        (server.data / name).unlink(missing_ok=True)
        if (saved / name).exists():
            (saved / name).rename(server.data / name)
    server.stop_apps = True
    server.start()
    app.wait_steady(ready=2)
    assert {i["pid"] for i in app.ready()} == pids
    app.deploy(3, ok=True)


def json_text(value):
    import json
    return json.dumps(value)


def test_data_folder_that_cannot_be_made(make_server):
    server = make_server(start=False)
    (server.root / "file").write_text("")
    run = server.run("serve", "--data", server.root / "file" / "data", "--listen", "127.0.0.1:0", limit=20)
    assert run.returncode in (1, 2)
    assert "file" in run.stderr and "Traceback" not in run.stderr


@pytest.mark.root
def test_data_folder_that_the_apps_user_cannot_reach(make_server):
    """Below a folder of root's with mode 0700: serve names it at once, a deploy says what to do."""
    server = make_server(start=False)
    closed = server.root / "closed"
    closed.mkdir(mode=0o700)
    server.data = closed / "deep" / "data"
    server.data.parent.mkdir(mode=0o755)
    server.start()
    warned = [line for line in server.log_text().splitlines() if "may not enter" in line]
    assert len(warned) == 1 and f"chmod o+x {closed})" in warned[0], server.log_text()
    app = App(server)
    done = app.deploy(1)
    assert done.status == 1, done
    assert "cannot be reached" in done.text and "chmod o+x" in done.text, done
    closed.chmod(0o711)
    app.deploy(2, ok=True)
    server.stop()
    server.log.unlink()
    server.start()
    assert "may not enter" not in server.log_text()


def test_listen_address_that_is_taken(make_server):
    import socket
    server = make_server(start=False)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        run = server.run("serve", "--data", server.data, "--listen", f"127.0.0.1:{port}", limit=20)
    assert run.returncode == 1 and str(port) in run.stderr, run.stderr
    assert not proc.of_data_folder(server.data)


def test_long_data_path(make_server):
    """Longer than a Unix socket's address may be."""
    server = make_server(start=False)
    server.data = server.root / ("d" * 90) / ("e" * 90)
    server.data.parent.mkdir()
    server.give(server.root)
    server.start()
    app = App(server)
    app.deploy(1, ok=True)
    with app.load() as load:
        load.wait_version(1)
        app.deploy(2, ok=True)
    load.assert_none_lost()
