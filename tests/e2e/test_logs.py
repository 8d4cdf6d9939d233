"""Logs: what instances write is kept, found again, and bounded."""

import json

import pytest
from sluice_test import App, wait_until
from sluice_test.build import PATIENCE


def lines(app, *words):
    run = app.cli("logs", *words)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines() if line.strip()]


def test_logs_of_all_instances(app):
    app.deploy(1, ok=True)
    app.server.get("/")
    found = wait_until(lambda: len({line.get("instance") for line in lines(app)}) == 2 and lines(app), 20)
    assert all(line["t"].endswith("Z") and line["s"] in ("out", "err") for line in found), found
    assert any("hello 1 listens on" in line["m"] for line in found)
    text = app.server.run("logs", "hello").stdout
    assert "listens on" in text and not text.lstrip().startswith("{")


def test_logs_by_release_instance_and_time(app):
    app.deploy(1, ok=True)
    app.deploy(2, ok=True)
    of_two = lines(app, "--release", "2")
    assert of_two and not any("hello 1 listens" in line["m"] for line in of_two)
    of_one = lines(app, "--release", "1")
    assert any("hello 1 listens" in line["m"] for line in of_one), "also of an ended release"
    name = app.ready()[0]["id"]
    one = lines(app, "--instance", name)
    assert one and all(line.get("instance", name) == name for line in one)
    assert lines(app, "--since", "1h")
    wait_until(lambda: not lines(app, "--since", "1ms") or True, 5)


def test_no_lines_is_said(app):
    app.deploy(1, ok=True)
    run = app.server.run("logs", "hello", "--release", "7", "--instance", "hello-7-1")
    assert run.returncode == 0 and run.stdout == "", run
    assert "hello, release 7, instance hello-7-1 has written nothing" in run.stderr, run
    wait_until(lambda: app.server.run("logs", "hello").stderr == "", 20, "there are lines")


def test_logs_follow(app):
    app.deploy(1, ok=True, faults={"log_requests": 1})
    child = app.server.start_cli("logs", "hello", "-f")
    # It follows once it shows something: then what is written next must come too.
    for n in range(50):
        app.server.get(f"/bytes?n={n}")
    app.deploy(2, ok=True, faults={"log_requests": 1})
    for n in range(50):
        app.server.get(f"/bytes?n={n}")

    import os
    import time
    os.set_blocking(child.stdout.fileno(), False)
    shown, end = "", time.monotonic() + 20 * PATIENCE
    while time.monotonic() < end and shown.count("GET /bytes") < 100:
        shown += child.stdout.read() or ""
        time.sleep(0.05)
    child.terminate()
    assert shown.count("GET /bytes") == 100, shown[-2000:]
    assert "hello 2 listens on" in shown, "also of an instance that came later"


def test_logs_are_rotated_and_bounded(app):
    """A chatty app does not fill the disk."""
    noisy = "yes 'a line of a log that is long enough to fill some disk' | head -n 2000000; exec ./hello"
    app.deploy(1, ok=True, run=noisy, replicas=1, deadline="3m")
    logs = app.folder / "logs"
    size = sum(f.stat().st_size for f in logs.iterdir())
    assert size < 64 << 20, f"{size} bytes of logs"
    assert any(f.name.endswith(".log.1") for f in logs.iterdir())
    for file in logs.iterdir():
        with open(file) as opened:
            for line in opened:
                record = json.loads(line)
                assert set(record) >= {"t", "s", "m"}
                break


def test_odd_output_is_kept_as_json(app):
    script = r"""printf 'tab\tquote"back\\slash\n'; printf 'bytes \377\376 end\n'; printf '\033[31mred\033[0m\n';
head -c 300000 /dev/zero | tr '\0' x; echo; printf 'no newline at the end' >&2; exec ./hello"""
    app.deploy(1, ok=True, run=script, replicas=1)
    found = wait_until(lambda: any("listens on" in line["m"] for line in lines(app)) and lines(app), 20)
    texts = [line["m"] for line in found]
    assert 'tab\tquote"back\\slash' in texts, texts[:3]
    assert any(t.startswith("bytes ") and t.endswith(" end") for t in texts)
    assert sum(t.count("x") for t in texts if set(t) == {"x"}) >= 16000
    plain = app.server.run("logs", "hello").stdout
    assert "\x1b[31m" not in plain, "control codes of an app do not reach a pipe"
    app.command("stop")  # what has no newline is a line when its writer is gone
    wait_until(lambda: any("no newline at the end" in line["m"] for line in lines(app)), 20)


def test_logs_of_a_deploy_that_failed(app):
    done = app.deploy(1, ok=False, faults={"crash_at_start": 1})
    assert "connection refused" in done.text, done
    assert any("connection refused" in line["m"] for line in lines(app))


@pytest.mark.parametrize("role", ["controller", "guardian", "gateway"])
def test_no_line_is_lost_over_a_crash(make_server, role):
    server = make_server()
    app = App(server, replicas=1)
    app.deploy(1, ok=True, faults={"log_requests": 1})
    port = app.ready()[0]["port"]
    from sluice_test import get
    for n in range(100):
        if n == 50:
            server.kill(role)
        get(f"127.0.0.1:{port}", f"/bytes?n={n}")
    if role == "guardian":
        server.process.wait()
        server.start()
    server.wait_ready(30)
    wait_until(lambda: sum("GET /bytes" in line["m"] for line in lines(app)) == 100, 20, "all are there")
