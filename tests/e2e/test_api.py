"""The API and the command line against a real server: streams that resume, tokens, who may ask."""

import json
import os
import select
import signal
import socket
import subprocess
import time

import pytest
from sluice_test import App, wait_until
from sluice_test.build import BINARY, PATIENCE
from sluice_test.http import Client, unix


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Lines:
    """The lines of a child's stdout as they come."""

    def __init__(self, child):
        self.fd, self.data = child.stdout.fileno(), b""

    def until(self, holds, deadline=30.0):
        end = time.monotonic() + deadline * PATIENCE
        while not holds(lines := self.data.decode().split("\n")[:-1]):
            left = end - time.monotonic()
            assert left > 0, f"not in time; so far: {lines[-20:]}"
            if select.select([self.fd], [], [], left)[0]:
                more = os.read(self.fd, 65536)
                assert more, f"it ended; so far: {lines[-20:]}"
                self.data += more
        return lines


# ---- streams


def test_events_are_followed_over_the_controllers_death_without_a_gap(app):
    app.deploy(1, ok=True)
    child = app.server.start_cli("events", "hello", "-f", "--json")
    shown = Lines(child)
    shown.until(lambda lines: any('"promoted"' in line for line in lines))
    app.server.kill("controller")
    wait_until(lambda: app.server.run("status").returncode == 0, 20, "a new controller")
    app.deploy(2, ok=True)
    all_ids = [e["id"] for e in app.documents("events")]
    lines = shown.until(lambda lines: any(f'"id":{all_ids[-1]},' in line for line in lines))
    child.terminate()
    assert [json.loads(line)["id"] for line in lines] == all_ids, "in order, each once"


def test_logs_are_followed_over_the_controllers_death_without_a_gap(app):
    app.deploy(1, ok=True, replicas=1, faults={"log_requests": 1})
    child = app.server.start_cli("logs", "hello", "-f")
    shown = Lines(child)
    shown.until(lambda lines: any("listens on" in line for line in lines))
    for n in range(60):
        if n == 30:
            app.server.kill("controller")
        app.server.get(f"/number-{n}")
    lines = shown.until(lambda lines: sum("GET /number" in line for line in lines) >= 60)
    child.terminate()
    asked = [line.split("GET ")[1].split()[0] for line in lines if "GET /number" in line]
    assert asked == [f"/number-{n}" for n in range(60)], "in order, each once"


def test_a_deploy_survives_a_short_absence_and_says_a_long_one(make_server):
    server = make_server()
    app = App(server)
    app.deploy(1, ok=True)
    child = app.deploy_in_background(2, strategy={"canary": {"steps": [30], "hold": "60s"}})
    app.wait_candidate_traffic()
    server.kill("guardian")
    server.process.wait()
    server.kill("controller")
    began = time.monotonic()
    status, out, err = server.end_cli(child)
    assert status == 3 and "goes on" in err, (status, out, err)
    assert time.monotonic() - began > 8, "it tried for 10 s"
    server.start()
    wait_until(lambda: app.status()["rollout"] is not None, 20, "it went on")
    app.command("abort")


# ---- waiting and not


def test_interrupt_detaches(app):
    app.deploy(1, ok=True)
    child = app.deploy_in_background(2, strategy={"canary": {"steps": [30], "hold": "3s"}})
    app.wait_candidate_traffic()
    child.send_signal(signal.SIGINT)
    status, out, err = app.server.end_cli(child)
    assert status == 4 and "goes on" in err and "abort" in err, (status, out, err)
    app.wait_steady(version=2)


def test_timeout_and_detach(app):
    app.deploy(1, ok=True)
    done = app.deploy(2, timeout="300ms", strategy={"canary": {"steps": [30], "hold": "2s"}})
    assert done.status == 4 and "goes on" in done.err, done
    done = app.deploy(3, detach=True)
    assert done.status == 0 and done.result["release"] == 3, done
    app.wait_steady(version=3)


@pytest.mark.parametrize("words", [["--timeout", "soon"], ["--timeout", "5"], ["--strategy", "hope"]])
def test_wrong_words_of_a_deploy_change_nothing(app, words):
    app.write()
    run = app.server.run("deploy", "-f", app.file, *words)
    assert run.returncode == 2 and words[1] in run.stderr, run
    assert json.loads(app.server.cli("status").stdout) == []


def test_superseded_deploy_knows_its_own_end(app):
    app.deploy(1, ok=True)
    first = app.deploy_in_background(2, strategy={"canary": {"steps": [30], "hold": "60s"}})
    app.wait_candidate_traffic()
    second = app.deploy(3, ok=True, strategy="rolling")
    status, out, err = app.server.end_cli(first)
    assert status == 1 and json.loads(out.splitlines()[-1])["result"] == "superseded", (out, err)
    assert second.result["version"] == "3" and second.word == "promoted"


# ---- run


def test_run_shows_all_output_and_the_status(app):
    app.deploy(1, ok=True)
    run = app.server.run("run", "hello", "--", "sh", "-c", "seq 1 2000; echo $SLUICE_VERSION; echo e >&2")
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[:2000] == [str(n) for n in range(1, 2001)]
    assert sorted(lines[2000:]) == ["1", "e"]
    run = app.server.run("run", "hello", "--", "sh", "-c", "exit 7")
    assert run.returncode == 1 and run.stderr == "sluice: exit 7 exited with status 7\n", run
    assert app.server.run("run", "hello").returncode == 2
    assert app.server.run("run", "helo", "--", "true").returncode == 1


# ---- who may ask


def test_tcp_needs_the_token(make_server):
    port = free_port()
    server = make_server(start=False, extra=("--api", f"127.0.0.1:{port}"))
    server.start(wait=False)
    address = f"127.0.0.1:{port}"
    there = {"SLUICE_API": address}
    wait_until(lambda: server.run("status", env=there).returncode == 0, 20, "the API is there")
    token = (server.data / "api-token").read_text().strip()
    assert (server.data / "api-token").stat().st_mode & 0o777 == 0o600 and len(token) == 64
    with Client(address) as client:
        for field in (None, "Bearer", "Bearer " + "0" * 64, "Basic " + token, token):
            answer = client.request("GET", "/v1/server",
                                    headers={"Authorization": field} if field else {})
            assert answer.status == 401 and "bearer" in answer.headers["www-authenticate"].lower()
            assert token not in answer.text
            client.close()
        answer = client.request("GET", "/v1/server", headers={"Authorization": f"Bearer {token}"})
        assert answer.status == 200
    elsewhere = {"SLUICE_API": address, "SLUICE_DATA": "/nowhere", "HOME": "/nowhere"}
    run = server.run("status", env=elsewhere)
    assert run.returncode == 1 and "SLUICE_TOKEN" in run.stderr, run
    assert server.run("status", env={**elsewhere, "SLUICE_TOKEN": token}).returncode == 0
    assert token not in server.log_text(10 ** 6)


@pytest.mark.root
def test_the_socket_is_for_the_owner_and_the_group(server):
    run = subprocess.run([str(BINARY), "status"], user=65534, group=65534, extra_groups=[], text=True,
                         capture_output=True, env=server.environment())
    assert run.returncode == 1 and "permission denied" in run.stderr, run
    server.data.chmod(0o755)
    group = (server.data / "api.sock").stat().st_gid
    run = subprocess.run([str(BINARY), "status"], user=65534, group=65534, extra_groups=[group],
                         text=True, capture_output=True, env=server.environment())
    assert run.returncode == 0, run


def test_the_actor_is_who_called(each_server):
    app = App(each_server)
    app.deploy(1, ok=True)
    import pwd
    name = each_server.user.pw_name if each_server.user else pwd.getpwuid(0).pw_name
    accepted = next(e for e in app.documents("events") if e["kind"] == "deploy-accepted")
    assert accepted["actor"] == name, accepted


# ---- the edges


def test_a_long_data_path(make_server, tmp_path):
    server = make_server(start=False)
    server.data = server.root / ("d" * 100) / ("e" * 100)
    server.data.mkdir(parents=True)
    server.give(server.root)
    server.start()
    assert server.run("status").returncode == 0


def test_bad_messages_get_a_400_and_the_server_stays(server):
    for raw in (b"GET / HTTP/1.1\nHost: x\n\n", b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
                b"POST /v1/apps/a/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(10 * PATIENCE)
        s.connect(str(server.data / "api.sock"))
        s.sendall(raw)
        assert s.recv(65536).startswith(b"HTTP/1.1 400 "), raw
        s.close()
    assert server.api("GET", "/health").status == 200


def test_hundreds_of_idle_clients_do_not_lock_anybody_out_for_long(server):
    held = []
    for _ in range(300):
        s = socket.socket(socket.AF_UNIX)
        s.connect(str(server.data / "api.sock"))
        held.append(s)
    for s in held:
        s.close()
    wait_until(lambda: unix(server.data / "api.sock", "GET", "/health").status == 200, 10)


def test_completion_and_help_name_every_verb(server):
    names = [line.split()[0] for line in server.run("help").stdout.splitlines()
             if line.startswith("  ") and line.strip()]
    assert {"deploy", "rollback", "logs"} <= set(names)
    for shell in ("bash", "zsh", "fish"):
        run = server.run("completion", shell)
        assert run.returncode == 0 and all(name in run.stdout for name in names), shell
    bash = server.run("completion", "bash").stdout
    assert subprocess.run(["bash", "-n"], input=bash, text=True).returncode == 0
    run = server.run("exec", "hello")
    assert run.returncode == 2 and "not in this version" in run.stderr


def test_the_manual_agrees_with_the_program(server):
    """docs/commands.md, docs/api.md and the man page are made from the program's own tables."""
    from pathlib import Path
    script = Path(__file__).resolve().parents[2] / "packaging" / "make-manual"
    openapi = server.root / "openapi.json"
    openapi.write_text(server.api("GET", "/v1/openapi.json").text)
    run = subprocess.run([str(script), str(BINARY), str(openapi), "--check"], text=True,
                         capture_output=True)
    assert run.returncode == 0, run.stdout + run.stderr
