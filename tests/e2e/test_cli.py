"""The command line: exit statuses, JSON shapes, errors that say where and what to do."""

import json
import re
import time

import pytest
from sluice_test import App, wait_until
from sluice_test.build import PATIENCE


def check(server, text, *words):
    file = server.root / "sluice.yaml"
    file.write_text(text)
    server.give(server.root)
    return server.run("check", "-f", file, *words)


GOOD = """app: shop
run: ["./shop", "--port", "$PORT"]
routes: [{path: /}]
probes: {readiness: {http: /ready}}
"""


def test_check_accepts_the_small_file(server):
    run = check(server, GOOD)
    assert run.returncode == 0, run.stdout + run.stderr


def test_check_shows_all_errors_with_their_places(server):
    run = check(server, "app: Shop!\nrun: [./shop]\nreplica: 3\nroutes: [{path: nope}]\n"
                        "stop: {drain: 10 parsecs}\nstrategy: {canary: {step: [5]}}\n")
    text = run.stdout + run.stderr
    assert run.returncode == 2
    for line in (1, 3, 4, 5, 6):
        assert re.search(rf"sluice\.yaml:{line}:\d+", text), f"line {line}\n{text}"
    assert "replicas" in text and "steps" in text, "the nearest known key"
    assert "^" in text, "the spot is underlined"


@pytest.mark.parametrize("text,words", [
    ("", "empty"),
    ("app: shop\n", "run"),
    ("app: shop\nrun: [./x]\nengine: kubernetes\n", "not in this version"),
    ("app: shop\nrun: [./x]\nsecrets: [A]\n", "not in this version"),
    ("app: [shop\n", "sluice.yaml:"),
    ("app: shop\nrun: [./x]\nstrategy: {rolling: {max-surge: 0, max-unavailable: 0}}\n", "max-surge"),
    ("app: shop\nrun: [./x]\napp: again\n", "again"),
    ("app: shop\nrun: [./x]\nenv: {A: \"${SURELY_NOT_SET}\"}\n", "SURELY_NOT_SET"),
    ("app: shop\nrun: [./x]\nroutes: [{host: \"a,b\"}]\n", "host"),
])
def test_spec_errors(server, text, words):
    run = check(server, text)
    assert run.returncode == 2, run.stdout + run.stderr
    assert words in run.stdout + run.stderr, run.stdout + run.stderr


def test_deploy_of_a_wrong_file_changes_nothing(app):
    app.deploy(1, ok=True)
    (app.dir / "sluice.yaml").write_text("app: hello\nrun: [./hello]\nreplica: 2\n")
    run = app.server.run(*app.deploy_arguments(2))
    assert run.returncode == 2 and "replicas" in run.stdout + run.stderr
    assert app.status()["stable"]["version"] == "1"
    assert len(app.documents("releases")) == 1


@pytest.mark.parametrize("words", [
    ["deplyo"], ["deploy", "--nonsense"], ["status", "a", "b", "c"], ["scale", "hello"],
    ["scale", "hello", "many"], ["rollback"], ["deploy", "-f", "/nowhere/sluice.yaml"],
    ["serve", "--listen", "nowhere"], ["serve", "--workers", "0"], ["check", "-f", "/nowhere"]])
def test_usage_errors(server, words):
    run = server.run(*words, limit=20)
    assert run.returncode == 2, (run.stdout, run.stderr)
    assert run.stderr.strip() and not run.stdout.strip().startswith("{")


@pytest.mark.parametrize("version", ["a b", 'x"\ny', "v" * 129, "-1"])
def test_a_version_is_checked_before_anything_is_sent(app, version):
    """A label, a variable, a field of each answer: what stands in the file's `version` holds for the option too."""
    app.write()
    run = app.server.run("deploy", "-f", app.file, "--version=" + version)
    assert run.returncode == 2 and "--version: expected" in run.stderr, (run.stdout, run.stderr)
    assert json.loads(app.server.run("status", "--json").stdout) == []


def test_help_and_version(server):
    for words in (["help"], ["--help"], ["help", "deploy"], ["deploy", "--help"]):
        run = server.run(*words)
        assert run.returncode == 0 and "deploy" in run.stdout, words
    run = server.run("version")
    assert run.returncode == 0 and re.search(r"\d+\.\d+\.\d+", run.stdout)
    assert "\x1b" not in run.stdout


def test_nearest_verb_is_named(server):
    run = server.run("deplyo")
    assert "deploy" in run.stderr


def test_no_controller(make_server):
    server = make_server(start=False)
    for words in (["status"], ["history", "hello"], ["abort", "hello"], ["events"]):
        run = server.run(*words, limit=30)
        assert run.returncode == 3, (words, run.stdout, run.stderr)
        assert "serve" in run.stderr, "what to do"


def test_deploy_outlives_its_controller(app):
    """A deploy in progress resumes its stream when the controller comes back."""
    app.deploy(1, ok=True)
    child = app.deploy_in_background(2, strategy={"canary": {"steps": [30, 60], "hold": "2s"}})
    app.wait_candidate_traffic()
    old = app.server.kill("controller")
    wait_until(lambda: app.server.pid("controller") != old, 20, "a new one")
    status, out, err = app.server.end_cli(child)
    assert status == 0, out + err
    assert json.loads(out.splitlines()[-1])["result"] == "promoted"


def test_status_json(app):
    """The shape that SPEC promises, in each state."""
    def check_side(side):
        assert side is None or set(side) >= {"release", "version", "weight", "ready", "wanted"}, side

    def check_status(s, state):
        assert set(s) >= {"app", "environment", "state", "stable", "candidate", "rollout", "instances"}
        assert s["app"] == "hello" and s["environment"] == "production" and s["state"] == state, s
        check_side(s["stable"])
        check_side(s["candidate"])
        if s["rollout"] is not None:
            assert set(s["rollout"]) >= {"strategy", "step", "steps", "name", "weight", "verdict", "since"}
            assert s["rollout"]["step"] <= s["rollout"]["steps"]
        for i in s["instances"]:
            assert set(i) >= {"id", "release", "version", "state", "pid", "port", "restarts", "in_flight"}
            assert i["state"] in ("starting", "ready", "unready", "draining", "stopping",
                                  "backing-off", "exited"), i

    app.deploy(1, ok=True)
    s = app.wait_steady(version=1, ready=2)
    check_status(s, "steady")
    assert s["stable"]["weight"] == 100 and s["rollout"] is None
    child = app.deploy_in_background(2, strategy={"canary": {"hold": "0s", "steps": [{"weight": 30, "hold": "0s", "approve": True}]}})
    app.wait_candidate_traffic()
    s = app.status()
    check_status(s, "rolling-out")
    assert s["rollout"]["strategy"] == "canary" and s["rollout"]["weight"] == 30, s
    assert s["stable"]["weight"] == 70 and s["candidate"]["weight"] == 30
    app.command("pause")
    check_status(app.wait_state("paused"), "paused")
    app.command("abort")
    app.server.end_cli(child)
    app.command("stop")
    check_status(app.wait_state("stopped"), "stopped")
    apps = json.loads(app.server.cli("status").stdout)
    assert [a["app"] for a in apps] == ["hello"], apps


def test_history_releases_events_json(app):
    app.deploy(1, ok=True)
    app.deploy(2, ok=False, faults={"crash_at_start": 1})
    app.command("restart")
    history = app.documents("history")
    assert [h["release"] for h in history] == [1, 2, 1], history
    assert [h["result"] for h in history] == ["promoted", "rolled-back", "promoted"], history
    bad = history[1]
    assert bad["reason"]["code"] in ("crash-loop", "start-failed") and bad["reason"]["text"]
    assert all(h["duration_ms"] > 0 for h in history)
    releases = app.documents("releases")
    assert {r["release"] for r in releases} == {1, 2}
    events = app.documents("events")
    ids = [e["id"] for e in events]
    assert ids == sorted(ids) and len(set(ids)) == len(ids)
    assert all(set(e) >= {"id", "at", "app", "kind", "text"} for e in events), events[0]
    assert {"promoted"} <= {e["kind"] for e in events}, {e["kind"] for e in events}
    assert any(e.get("actor") for e in events), "who did what"


def test_events_follow(app):
    app.deploy(1, ok=True)
    child = app.server.start_cli("events", "hello", "-f", "--json")
    time.sleep(0.3 * PATIENCE)
    app.deploy(2, ok=True)
    wait_until(lambda: app.documents("events")[-1], 10)
    child.terminate()
    out, _ = child.communicate(timeout=20)
    kinds = [json.loads(line)["kind"] for line in out.splitlines() if line.strip()]
    assert "promoted" in kinds, kinds


def test_plan_contacts_and_changes_nothing(app):
    app.deploy(1, ok=True)
    app.write(replicas=4, strategy={"canary": {"steps": [10, 50], "hold": "30s"}})
    run = app.server.run("plan", "-f", app.file)
    assert run.returncode == 0, run.stderr
    assert "replicas" in run.stdout and "10" in run.stdout and "50" in run.stdout, run.stdout
    assert app.status()["state"] == "steady" and len(app.documents("releases")) == 1
    run = app.server.cli("plan", "-f", app.file)
    plan = json.loads(run.stdout)
    assert plan["least_ms"] >= 60000 and plan["steps"], plan


def test_progress_goes_to_stderr_and_has_no_control_codes(app):
    app.deploy(1, ok=True)
    app.write()
    run = app.server.run("deploy", "-f", app.file, "--version", "2", "--yes", limit=120)
    assert run.returncode == 0, run.stderr
    assert run.stderr.strip(), "progress"
    assert "\x1b" not in run.stdout + run.stderr and "\r" not in run.stdout + run.stderr
    assert "promoted" in run.stdout + run.stderr


def test_terminal_shows_a_block_that_is_redrawn(app):
    """In a terminal: colours and a redrawn block, and the terminal is left as it was."""
    import os
    import pty
    import subprocess
    from sluice_test import BINARY
    app.deploy(1, ok=True)
    app.write(strategy={"canary": {"steps": [30], "hold": "1s"}})
    main, sub = pty.openpty()
    child = subprocess.Popen([str(BINARY), "deploy", "-f", str(app.file), "--version", "2", "--yes"],
                             stdin=sub, stdout=sub, stderr=sub, close_fds=True, cwd=app.dir,
                             env={**app.server.environment(), "TERM": "xterm-256color",
                                  "COLUMNS": "100", "LINES": "40"})
    os.close(sub)
    shown = b""
    try:
        while True:
            shown += os.read(main, 65536)
    except OSError:
        pass
    os.close(main)
    assert child.wait(timeout=60 * PATIENCE) == 0, shown[-2000:]
    assert b"\x1b[" in shown and b"30" in shown
    assert shown.count(b"\x1b[?25l") <= shown.count(b"\x1b[?25h") or b"\x1b[?25l" not in shown


def test_idempotency_key(app):
    """The same key gives the same answer, and nothing twice."""
    app.deploy(1, ok=True)
    spec = json.loads((app.dir / "sluice.yaml").read_text())
    body = {"spec": spec, "source": str(app.dir), "version": "2"}
    answers = [app.server.api("POST", "/v1/apps/hello/deploy", body,
                              headers={"Idempotency-Key": "once-only"}) for _ in range(3)]
    if answers[0].status == 400:
        pytest.skip(f"the API's deploy body is another: {answers[0].text}")
    assert all(a.status in (200, 201, 202) for a in answers), answers
    assert len({a.json["release"] for a in answers}) == 1
    app.wait_steady(version=2)
    assert len(app.documents("releases")) == 2


def test_api_errors_are_problem_json(server):
    for method, target, status in (("GET", "/v1/apps/nosuch", 404), ("GET", "/nowhere", 404),
                                   ("DELETE", "/v1/server", 405), ("POST", "/v1/apps/x/deploy", 400)):
        post = method == "POST"
        answer = server.api(method, target, body="{" if post else None,
                            headers={"Content-Type": "application/json"} if post else None)
        assert answer.status == status, (target, answer)
        assert answer.headers["content-type"].startswith("application/problem+json"), answer.headers
        assert {"title", "status"} <= set(answer.json), answer.text


def test_server_questions(server):
    info = server.info()
    assert set(info["pids"]) >= {"guardian", "controller", "gateway"}
    for role, pid in info["pids"].items():
        if role in ("guardian", "controller", "gateway"):
            assert pid == server.pid(role)
            assert (server.data / "run" / f"{role}.pid").read_text().strip() == str(pid)
    assert server.api("GET", "/health").status == 200
    assert server.api("GET", "/ready").status == 200
    openapi = server.api("GET", "/v1/openapi.json").json
    assert openapi["openapi"].startswith("3.") and "/v1/apps/{app}/deploy" in openapi["paths"]
    metrics = server.api("GET", "/metrics")
    assert metrics.status == 200 and "# TYPE" in metrics.text


def test_socket_is_not_for_everybody(server):
    assert (server.data / "api.sock").stat().st_mode & 0o777 == 0o660


def test_metrics_count_requests_by_version(app):
    app.deploy(1, ok=True)
    with app.load() as load:
        load.wait_flowing(2)
    sent = load.result["sent"]
    text = app.server.api("GET", "/metrics").text
    found = [line for line in text.splitlines() if "requests_total" in line and 'version="1"' in line]
    assert found, text[:2000]
    total = sum(float(line.rsplit(" ", 1)[1]) for line in found)
    assert total >= sent, (total, sent)


def test_secrets_are_not_in_titles_or_logs(app):
    app.deploy(1, ok=True, env={"API_TOKEN": "hunter2-hunter2"})
    from sluice_test import proc
    for pid, title in proc.of_data_folder(app.server.data).items():
        assert "hunter2" not in title
    assert "hunter2" not in app.server.log_text()
    assert "hunter2" not in app.server.run("events", "--json").stdout


def test_env_variables_and_files(app):
    (app.dir / "one.env").write_text("COLOUR=red\nSHAPE=round # comment\n# A=b\nQUOTED=\"two words\"\n")
    app.deploy(1, ok=True, **{"env-files": ["one.env"], "env": {"COLOUR": "blue", "HOST": "${HOME:-nowhere}"}})
    see = lambda name: app.server.get(f"/env?{name}").text
    assert see("COLOUR") == "blue" and see("QUOTED") == "two words"
    assert see("HOST") == str(app.server.root)
    assert see("SHAPE").startswith("round")


def test_app_shows_in_status_for_people(app):
    app.deploy(1, ok=True)
    run = app.server.run("status")
    assert run.returncode == 0 and "hello" in run.stdout and "steady" in run.stdout
    run = app.server.run("status", "hello")
    assert "hello-" in run.stdout and "ready" in run.stdout
    run = app.server.run("history", "hello")
    assert "promoted" in run.stdout


@pytest.mark.parametrize("verb", ["status", "history", "releases", "abort", "promote", "logs", "restart"])
def test_unknown_app_is_said(server, verb):
    App(server).deploy(1, ok=True)
    run = server.run(verb, "helo")
    assert run.returncode in (1, 2), run
    assert "helo" in run.stderr
