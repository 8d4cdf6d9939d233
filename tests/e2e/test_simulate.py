"""`sluice simulate` as people run it: the documentation's example, JSON, errors, recorded traffic."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from sluice_test.build import BINARY

ROOT = Path(__file__).resolve().parents[2]
CANARY = """app: shop
run: ["./shop"]
routes: [{path: /}]
strategy: {canary: {steps: [10, 50], hold: 20s}}
"""


@pytest.fixture
def simulate(tmp_path):
    (tmp_path / "sluice.yaml").write_text(CANARY)

    def run(*words, cwd=tmp_path):
        return subprocess.run([str(BINARY), "simulate", *words], cwd=cwd, text=True, timeout=60,
                              capture_output=True, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path),
                                                        "LANG": "C.UTF-8"})
    return run


def test_the_example_of_the_documentation(simulate):
    text = (ROOT / "docs" / "simulate.md").read_text()
    command = re.search(r"```console\n\$ sluice simulate (.*)\n", text)[1].split()
    run = simulate(*command, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("shop (production), canary: 1,000 runs in virtual time with 50.0 req/s")
    assert "It would be rolled back: in all of the runs" in run.stdout
    assert "\x1b" not in run.stdout


def test_every_key_of_the_json_is_documented(simulate):
    run = simulate("--traffic", "100/s", "--runs", "200", "--candidate", "errors=50%", "--json")
    document = json.loads(run.stdout)
    text = (ROOT / "docs" / "simulate.md").read_text().split("## JSON")[1]
    for key in document:
        assert f"`{key}`" in text, key
    for key in ("shares", "decided_by", "traffic", "stable"):
        for part in document[key]:
            assert f'"{part}"' in text, part
    assert document["shares"]["rolled_back"] == 1 and document["decided_by"]["errors"] == 1
    assert 0 < document["exposed_ms"]["median"] < 5000
    assert document["promoted_ms"] is None
    assert document["failed"]["median"] < 20 < 900 < document["failed_without_judge"]["median"]


def test_another_strategy(simulate):
    run = simulate("--traffic", "50/s", "--strategy", "rolling", "--runs", "10", "--json")
    assert run.returncode == 0 and json.loads(run.stdout)["strategy"] == "rolling", run.stderr
    run = simulate("--traffic", "50/s", "--strategy", "sideways")
    assert run.returncode == 2 and "--strategy sideways" in run.stderr, run.stderr


def test_a_seed_is_an_answer(simulate):
    words = ("--traffic", "40/s", "--runs", "100", "--candidate", "errors=8%", "--json")
    a, b = simulate(*words), simulate(*words)
    assert a.stdout == b.stdout
    assert simulate(*words, "--seed", "2").stdout != a.stdout


def test_a_release_like_stable_is_promoted(simulate):
    run = simulate("--traffic", "40/s", "--runs", "300", "--json")
    assert json.loads(run.stdout)["shares"]["promoted"] > .99


@pytest.mark.parametrize("words,says", [
    ([], "--traffic"),
    (["--traffic", "50"], "50/s"),
    (["--traffic", "50/s", "--history"], "one of the two"),
    (["--traffic", "50/s", "--candidate", "errrors=2%"], "did you mean `errors`"),
    (["--traffic", "50/s", "--candidate", "errors=2%, latency=fast"], "character 12"),
    (["--traffic", "50/s", "--stable", "latency=2x"], "p50, p95 or p99"),
    (["--traffic", "50/s", "--runs", "0"], "--runs"),
    (["--traffic", "50/s", "--runs", "1000000"], "100000"),
    (["--traffic", "50/s", "--seed", "x"], "--seed"),
    (["--traffic", "50/s", "--start-time", "soon"], "--start-time"),
    (["--traffic", "50/s", "--candidat", "errors=2%"], "did you mean --candidate"),
    (["--traffic", "50/s", "-f", "/nowhere"], "/nowhere"),
    (["--traffic", "50/s", "more"], "more"),
])
def test_wrong_words(simulate, words, says):
    run = simulate(*words)
    assert run.returncode == 2 and says in run.stderr, run.stderr
    assert run.stdout == ""


def test_history_without_a_server(simulate):
    run = simulate("--history")
    assert run.returncode == 3 and "serve" in run.stderr


def test_history_of_an_app_without_traffic(app, simulate):
    app.deploy(1, ok=True)
    run = app.server.run("simulate", "-f", app.dir / "sluice.yaml", "--history")
    assert run.returncode == 1 and "--traffic" in run.stderr, run.stderr
