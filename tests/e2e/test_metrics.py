"""Metrics of the spec, measured outside of the gateway: a real Prometheus, commands, webhooks."""

import http.server
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import urllib.request

import pytest
from sluice_test import wait_until
from sluice_test import proc

STEPS = {"canary": {"hold": "5s", "steps": [{"weight": 50}]}}
SHORT = {"canary": {"hold": "2500ms", "steps": [{"weight": 50}]}}


class Page:
    """An HTTP server in a thread: answer(handler, body) -> (status, text), or None to say nothing."""

    def __init__(self, answer):
        page = self
        self.asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                page.asked.append((self.path, dict(self.headers), body))
                self.reply(answer(self, body))

            def do_GET(self):
                self.reply(answer(self, b""))

            def reply(self, what):
                if what is None:
                    return
                status, text = what
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def page():
    pages = []

    def make(answer):
        pages.append(Page(answer))
        return pages[-1]

    yield make
    for one in pages:
        one.close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Prometheus:
    """The one of Debian, scraping an exporter of ours four times a second."""

    def __init__(self, folder, exporter_port):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = folder / "prometheus.yml"
        config.write_text(json.dumps({
            "global": {"scrape_interval": "250ms", "scrape_timeout": "200ms"},
            "scrape_configs": [{"job_name": "app", "static_configs": [{"targets": [f"127.0.0.1:{exporter_port}"]}]}],
        }))
        self.log = open(folder / "prometheus.log", "w+")
        self.child = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address=127.0.0.1:{self.port}"], stdout=self.log, stderr=self.log)
        wait_until(lambda: self.value("lag") is not None, 60, "prometheus has scraped")

    def value(self, query):
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query?query={query}", timeout=2) as answer:
                result = json.load(answer)["data"]["result"]
                return result[0]["value"][1] if result else None
        except OSError:
            return None

    def close(self):
        self.child.send_signal(signal.SIGCONT)
        self.child.kill()
        self.child.wait()
        self.log.close()


EXPORTED = """lag{version="1"} 1
lag{version="2"} 2
lag{version="3"} 9
lag{version="4"} NaN
both 1
both{other="x"} 1
"""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    if not shutil.which("prometheus"):
        pytest.fail("prometheus is missing: packaging/install-packages packaging/test-packages")
    exporter = Page(lambda handler, body: (200, EXPORTED))
    prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), exporter.port)
    yield prometheus
    prometheus.close()
    exporter.close()


def lag(url, **more):
    return {"name": "lag", "prometheus": url, "query": 'lag{version="{{version}}"}', "max": 5, "interval": "1s",
            "timeout": "1s", **more}


def metric_of(app):
    rollout = app.status()["rollout"]
    return rollout["metrics"][0] if rollout and rollout["metrics"] else {}


def assert_rolled_back(app, done, reason, *parts):
    assert done.status == 1 and done.word == "rolled-back" and done.reason["code"] == reason, f"{done!r}"
    for part in parts:
        assert part in done.reason["text"], f"{part!r} is not in {done.reason['text']!r}"
    app.wait_steady(version=1, ready=2)


# ---- a real Prometheus ----------------------------------------------------------------------------


def test_prometheus_lets_a_good_one_through_and_takes_a_bad_one_back(app, prometheus):
    app.deploy(1, ok=True)
    with app.load() as load:
        child = app.deploy_in_background(2, strategy=STEPS, metrics=[lag(prometheus.url, **{"per-release": True})])
        wait_until(lambda: metric_of(app).get("measurements", 0) >= 2, 30, "it is measured")
        measured = metric_of(app)
        assert (measured["state"], measured["value"], measured["stable_value"]) == ("running", 2, 1), measured
        status, out, err = app.server.end_cli(child)
        assert status == 0, out + err
        app.wait_steady(version=2, ready=2)
        done = app.deploy(3, strategy=STEPS, metrics=[lag(prometheus.url, **{"failure-limit": 1})])
    assert done.status == 1 and done.reason["code"] == "metric", f"{done!r}"
    assert done.reason["text"] == ('metric lag: 9 > max 5 (2 failures, limit 1); query lag{version="{{version}}"}')
    app.wait_steady(version=2, ready=2)
    load.assert_none_lost()


@pytest.mark.parametrize("query,last", [('lag{version="4"}', "NaN"), ("nothing_of_that_name", "no series")])
def test_nan_and_nothing_are_no_data_and_no_failure(app, prometheus, query, last):
    app.deploy(1, ok=True)
    with app.load():
        child = app.deploy_in_background(2, strategy=STEPS, metrics=[lag(prometheus.url, query=query)])
        wait_until(lambda: metric_of(app).get("measurements", 0) >= 2, 30, "it is measured")
        measured = metric_of(app)
        status, out, err = app.server.end_cli(child)
    assert (measured["last"], measured["text"], measured["value"]) == ("no data", last, None), measured
    assert measured["failures"] == measured["errors"] == 0, measured
    assert status == 0, out + err


def test_a_query_that_makes_no_sense_says_what_to_do(app, prometheus):
    app.deploy(1, ok=True)
    with app.load():
        strict = {"consecutive-error-limit": 0}
        done = app.deploy(2, strategy=STEPS, metrics=[lag(prometheus.url, query="both", **strict)])
        assert_rolled_back(app, done, "metric-error", "2 series, expected one", "sum(")
        done = app.deploy(3, strategy=STEPS, metrics=[lag(prometheus.url, query="lag[5m]", **strict)])
        assert_rolled_back(app, done, "metric-error", "a range of values", "avg_over_time")
        done = app.deploy(4, strategy=STEPS, metrics=[lag(prometheus.url, query="lag{", **strict)])
        assert_rolled_back(app, done, "metric-error", "bad_data", "parse error")


def test_prometheus_that_is_down_is_an_error_each_time(app):
    app.deploy(1, ok=True)
    with app.load():
        url = f"http://127.0.0.1:{free_port()}"
        done = app.deploy(2, strategy=STEPS, metrics=[lag(url, **{"consecutive-error-limit": 2})])
    assert_rolled_back(app, done, "metric-error", "3 errors in a row, limit 2", "onnect")


def test_prometheus_that_hangs_is_an_error_and_then_good_again(app, prometheus):
    app.deploy(1, ok=True)
    with app.load():
        child = app.deploy_in_background(2, strategy={"canary": {"hold": "8s", "steps": [50]}},
                                         metrics=[lag(prometheus.url)])
        wait_until(lambda: metric_of(app).get("last") == "good", 30, "it is measured")
        prometheus.child.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: metric_of(app).get("errors", 0) >= 1, 30, "it hangs")
            assert "no answer within 1s" in metric_of(app)["text"]
        finally:
            prometheus.child.send_signal(signal.SIGCONT)
        status, out, err = app.server.end_cli(child)
    assert status == 0, out + err


# ---- commands -------------------------------------------------------------------------------------


def command(text, **more):
    return {"name": "check", "command": text, "interval": "1s", **more}


def test_a_command_knows_what_it_is_asked_about(app):
    app.deploy(1, ok=True)
    script = ('echo "$SLUICE_METRIC $SLUICE_RELEASE $SLUICE_VERSION $SLUICE_APP $SLUICE_WINDOW $SLUICE_PREVIEW_URL $(id -un)"'
              ' >>$SLUICE_STATE_DIR/told; echo 3.5')
    with app.load():
        app.deploy(2, ok=True, strategy=SHORT, metrics=[command(script, max=4, **{"per-release": True})])
    told = [line.split() for line in (app.folder / "state/told").read_text().splitlines()]
    assert {line[1] for line in told} == {"1", "2"} and {line[2] for line in told} == {"1", "2"}, told
    for line in told:
        assert line[0] == "check" and line[3] == "hello" and int(line[4]) >= 1 and line[5].startswith("http://127."), line
        assert line[6] == ("sluice-app" if os.geteuid() == 0 else line[6])
    wait_until(lambda: not list((app.folder / "logs").glob("*-metric-*")), 10, "their logs are gone")


@pytest.mark.parametrize("script,reason,part", [
    ("echo 7.25", "metric", "7.25 > max 5"),
    ("echo fail", "metric", "metric check: bad (1 failure, limit 0)"),
    ("echo the queue is full; exit 3", "metric", "exited with status 3: the queue is full"),
    ("echo no number", "metric-error", "there is no number in the answer"),
    ("exec ./missing", "metric", "exited with status 127"),
    (["./missing"], "metric-error", "did not start"),
    ("sleep 60", "metric-error", "took too long"),
])
def test_a_command_that_is_not_content(app, script, reason, part):
    app.deploy(1, ok=True)
    with app.load():
        done = app.deploy(2, strategy=STEPS, metrics=[
            command(script, max=5, timeout="1s", **{"consecutive-error-limit": 0})])
    assert_rolled_back(app, done, reason, part)


def test_too_many_inconclusive_answers_pause(app):
    app.deploy(1, ok=True)
    with app.load():
        child = app.deploy_in_background(2, strategy=STEPS, metrics=[command("echo inconclusive", **{"inconclusive-limit": 1})])
        paused = app.wait_state("paused")
        assert paused["rollout"]["reason"]["code"] == "inconclusive", paused["rollout"]
        assert "2 inconclusive, limit 1" in paused["rollout"]["reason"]["text"], paused["rollout"]
        app.server.end_cli(child)
        app.command("resume")
        app.wait_steady(version=2, ready=2)


# ---- webhooks -------------------------------------------------------------------------------------


def test_a_webhook_is_told_all_and_its_word_counts(app, page):
    words = ['{"result": "pass"}', "", '{"value": 1}', '{"result": "fail", "text": "orders are \\u001b[31mdown"}']
    hook = page(lambda handler, body: (200, words[min(len(hook.asked) - 1, 3)]))
    url = f"http://user:hunter2@127.0.0.1:{hook.port}/hook/s3cret?key=s3cret"
    app.deploy(1, ok=True)
    with app.load():
        done = app.deploy(2, strategy=STEPS, metrics=[{"name": "orders", "webhook": url, "interval": "1s"}])
    assert_rolled_back(app, done, "metric", "metric orders: orders are  [31mdown (1 failure, limit 0)")
    measured, = done.result["metrics"]
    assert (measured["name"], measured["last"], measured["failures"]) == ("orders", "bad", 1), measured
    shown = app.server.run("events", "hello", "--json").stdout
    assert '"last":"bad"' in shown.replace(" ", ""), "the result is kept with its metrics"
    path, headers, body = hook.asked[0]
    told = json.loads(body)
    assert path == "/hook/s3cret?key=s3cret" and headers["Authorization"].startswith("Basic "), (path, headers)
    assert told == {"app": "hello", "environment": "production", "release": 2, "version": "2", "metric": "orders",
                    "window_s": told["window_s"], "stable_release": 1}
    assert told["window_s"] >= 1


def test_a_secret_in_a_url_is_never_shown(app, page):
    hook = page(lambda handler, body: (503, "busy"))
    dead = f"http://user:hunter2@127.0.0.1:{free_port()}/s3cret"
    app.deploy(1, ok=True)
    with app.load():
        first = app.deploy(2, strategy=STEPS, metrics=[{"name": "dead", "webhook": dead, "interval": "1s",
                                                        "consecutive-error-limit": 0}])
        url = f"http://user:hunter2@127.0.0.1:{hook.port}/s3cret"
        second = app.deploy(3, strategy=STEPS, metrics=[{"name": "busy", "webhook": url, "interval": "1s",
                                                         "consecutive-error-limit": 0}])
    assert_rolled_back(app, first, "metric-error", "http://***@127.0.0.1:", "onnect")
    assert_rolled_back(app, second, "metric-error", "answered 503: busy")
    shown = [first.text, second.text, app.server.log_text(1 << 20), json.dumps(app.status()),
             app.cli("events", json_=True).stdout, app.cli("history").stdout, app.server.run("plan", "-f", str(app.file)).stdout]
    for text in shown:
        assert "hunter2" not in text and "s3cret" not in text, text


# ---- the helper, the controller -------------------------------------------------------------------


def helper(app):
    found = [pid for pid in proc.pids() if proc.title(pid) == f"sluice: fetch {app.server.data}"]
    return found[0] if found else None


def test_the_helper_may_be_killed_or_stopped(app, page):
    slow = threading.Event()
    hook = page(lambda handler, body: (slow.wait(20) and None) or (200, ""))
    app.deploy(1, ok=True)
    metric = {"name": "slow", "webhook": f"http://127.0.0.1:{hook.port}/", "interval": "1s", "timeout": "1s",
              "consecutive-error-limit": 100}
    with app.load() as load:
        child = app.deploy_in_background(2, strategy={"canary": {"hold": "60s", "steps": [50]}}, metrics=[metric])
        wait_until(lambda: hook.asked and helper(app), 20, "it asks")
        first = helper(app)
        if os.geteuid() == 0:
            assert proc.uid(first) != 0
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: helper(app) not in (None, first), 20, "another one asks")
        second = helper(app)
        os.kill(second, signal.SIGSTOP)
        wait_until(lambda: helper(app) not in (None, second), 20, "a hanging one is replaced")
        assert metric_of(app)["errors"] >= 2
        slow.set()
        wait_until(lambda: metric_of(app).get("last") == "good", 20, "it is answered")
        app.command("promote")
        status, out, err = app.server.end_cli(child)
    assert status == 0, out + err
    load.assert_none_lost()


def stored_failures(app, metric):
    with sqlite3.connect(f"file:{app.server.data}/state.db?mode=ro", uri=True, timeout=10) as db:
        row, = db.execute("SELECT extras_json FROM app").fetchone()
    return json.loads(row)["metrics"]["runs"][metric]["failures"]


def test_the_counts_survive_the_controller(app, page):
    hook = page(lambda handler, body: (200, '{"result": "fail"}' if len(hook.asked) % 2 else ""))
    app.deploy(1, ok=True)
    metric = {"name": "flaky", "webhook": f"http://127.0.0.1:{hook.port}/", "interval": "1s", "failure-limit": 3}
    with app.load():
        child = app.deploy_in_background(2, strategy={"canary": {"hold": "60s", "steps": [50]}}, metrics=[metric])
        wait_until(lambda: metric_of(app).get("failures", 0) >= 2, 30, "two failures")
        wait_until(lambda: stored_failures(app, "flaky") >= 2, 30, "they are stored")
        before = metric_of(app)
        app.server.kill("controller")
        wait_until(lambda: app.cli("status").returncode == 0 and metric_of(app).get("failures", 0) >= 2, 30, "they are known")
        assert metric_of(app)["measurements"] >= before["measurements"] - 3
        status, out, err = app.server.end_cli(child)
    assert status == 1 and json.loads(out.splitlines()[-1])["reason"]["code"] == "metric", out + err
    assert "4 failures, limit 3" in out, out
    assert len(hook.asked) <= 11, len(hook.asked)


def test_a_comparison_finds_what_is_worse_than_stable(app, page):
    values = {1: 10, 2: 11, 3: 30}
    hook = page(lambda handler, body: (200, json.dumps({"value": values[json.loads(body)["release"]]})))
    metric = {"name": "heap", "webhook": f"http://127.0.0.1:{hook.port}/", "interval": "1s", "per-release": True,
              "compare": "stable"}
    app.deploy(1, ok=True)
    with app.load():
        child = app.deploy_in_background(2, strategy=STEPS, metrics=[metric])
        wait_until(lambda: metric_of(app).get("measurements", 0) >= 2, 30, "it is measured")
        assert metric_of(app)["text"] == "11, stable 10", metric_of(app)
        status, out, err = app.server.end_cli(child)
        assert status == 0, out + err  # 10 % more is within what releases differ by
        done = app.deploy(3, strategy={"canary": {"hold": "90s", "steps": [50]}}, metrics=[metric])
    assert done.status == 1 and done.reason["code"] == "metric" and "heap" in done.reason["text"], f"{done!r}"
