"""What a report says of a rollout that failed: which requests, on which instance, which log lines, from
which commit. The samples of failed requests on their way from the gateway's shared memory to there."""

import json
import subprocess

import pytest
from gateway_fixtures import driver, make  # noqa: F401
from gateway_rig import answering, until

from sluice_test import wait_until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BROKEN = b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno"
HELD = {"canary": {"steps": [50], "hold": "60s"}}


# ---- the gateway's part


def sample(gateway):
    """The next one as [fault, status, method, path, request slot, instance slot, took]."""
    return until(lambda: (s := gateway.ask("sample")) != "none" and s.split(), "a sample")


def closing(data):
    """A handler that reads a request, sends these bytes and closes."""

    def handler(sock, reader):
        head = reader.head()
        reader.body(head[1])
        sock.sendall(data)

    return handler


@pytest.mark.parametrize("answer, seen, fault, status", [
    (BROKEN, 500, "5xx", "500"),
    (b"", 502, "broke-off", "502"),
    (b"SSH-2.0-x\r\n\r\n", 502, "bad-answer", "502"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", None, "cut", "200"),
])
def test_each_way_to_fail_leaves_a_sample(make, answer, seen, fault, status):
    make_gateway, backend = make
    gateway = make_gateway()
    gateway.serve(backend(closing(answer)).port, slots=[7])
    if seen:
        assert gateway.get("/pay/1?card=4711", method="POST", body=b"x")[0] == seen
    else:
        sock, reader = gateway.connect(b"POST /pay/1?card=4711 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        assert reader.head()[0] == "HTTP/1.1 200 OK"
        with pytest.raises((EOFError, ConnectionResetError)):
            reader.exactly(9)
    found = sample(gateway)
    assert found[:6] == [fault, status, "POST", "/pay/1", "1", "7"], found
    assert int(found[6]) > 0
    assert gateway.ask("sample") == "none"


def test_time_out_and_nobody_there(make):
    make_gateway, backend = make
    gateway = make_gateway()
    deaf = backend(lambda sock, reader: reader.rest())
    gateway.serve(deaf.port, route="timeout=200")
    assert gateway.get("/slow")[0] == 504
    found = sample(gateway)
    assert found[:6] == ["timed-out", "504", "GET", "/slow", "1", "0"] and int(found[6]) >= 190000, found
    gateway.serve(app="hold_ms=0")
    assert gateway.get("/none#x")[0] in (400, 503)
    assert gateway.get("/none")[0] == 503
    assert sample(gateway)[:6] == ["unserved", "503", "GET", "/none", "0", "-1"]


def test_what_did_not_fail_leaves_none(make):
    make_gateway, backend = make
    gateway = make_gateway()
    gateway.serve(backend(answering(OK)).port)
    assert gateway.get("/")[0] == 200
    gateway.serve(backend(answering(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")).port)
    assert gateway.get("/")[0] == 404
    until(lambda: gateway.metric("requests") == 2)
    assert gateway.ask("sample") == "none"


def test_a_flood_leaves_the_last_ones(make):
    make_gateway, backend = make
    gateway = make_gateway()
    gateway.serve(backend(answering(BROKEN)).port)
    sock, reader = gateway.connect()
    for n in range(300):
        sock.sendall(b"GET /n/%d/%s HTTP/1.1\r\nHost: a\r\n\r\n" % (n, b"long" * n))
        assert reader.answer()[0] == 500
    until(lambda: gateway.metric("5xx") == 300)
    paths = []
    while (found := gateway.ask("sample")) != "none":
        paths.append(found.split()[3])
    assert [int(p.split("/")[2]) for p in paths] == list(range(300 - 64, 300))
    assert all(len(p) == 123 and p.endswith("...") for p in paths), paths[0]


def test_answers_above_the_slo_are_counted_exactly(make):
    """Not by the histogram's buckets: nothing is under 64 us there, and here it is 1."""
    make_gateway, backend = make
    gateway = make_gateway()
    port = backend(answering(OK)).port
    for slo_us, above in ((60000000, 0), (1, 1), (0, 1)):  # 0: none
        gateway.table(["app slot=0", f"instance id=i slot=3 port={port}",
                       f"pool first=0 instances=1 slo_us={slo_us}", "route app=0",
                       "share pool=0 weight=1000000 slot=1"])
        assert gateway.get("/")[0] == 200
        until(lambda: gateway.instance("in_flight", 3) == 0)
        assert gateway.metric("above_slo") == above
        assert gateway.instance("above_slo", 3) == above


# ---- the report


def check(requests, **wanted):
    assert requests, "no failed request in the report"
    for r in requests:
        assert set(r) == {"at", "instance", "fault", "status", "method", "path", "ms"}, r
        for key, value in wanted.items():
            assert r[key] == value, (key, r)


def test_a_roll_back_names_requests_instance_lines_and_commit(app):
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-C", str(app.dir)]
    app.deploy(1, ok=True)
    with app.load(connections=32, requests=("GET /checkout?token=secret",)) as load:
        load.wait_version(1)
        app.write({"error_rate": "30%"}, strategy=HELD)
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "worse"]):
            subprocess.run(git + words, check=True)
        app.server.give(app.dir)
        commit = subprocess.run(git + ["rev-parse", "HEAD"], check=True, text=True,
                                capture_output=True).stdout.strip()
        done = app.deploy(2, {"error_rate": "30%"}, ok=False, strategy=HELD)
        app.wait_steady(version=1)
    result = done.result
    check(result["failed_requests"], fault="5xx", status=500, method="GET", path="/checkout")
    assert len(result["failed_requests"]) <= 10
    assert {r["instance"] for r in result["failed_requests"]} <= {"hello-2-1", "hello-2-2"}
    assert [r["at"] for r in result["failed_requests"]] == sorted(r["at"] for r in result["failed_requests"])
    assert result["log_instance"] == result["failed_requests"][0]["instance"]
    assert any("no rows in result set" in line for line in result["log_tail"]), result
    assert result["commit"] == commit and "Ada" in result["author"] and result["dirty"] is False
    assert "secret" not in done.text, "queries may hold secrets"
    # People read the same, now and later.
    assert "GET /checkout" in done.err and "hello-2-" in done.err and commit[:12] in done.err
    past = app.cli("events", json_=False).stdout
    assert "500 to GET /checkout from hello-2-" in past and commit[:12] in past, past
    kept = [e for e in app.documents("events") if e["kind"] == "ended"][-1]
    assert kept["data"]["failed_requests"] == result["failed_requests"]


def test_a_release_that_is_not_ready_names_its_probe(app):
    app.deploy(1, ok=True)
    done = app.deploy(2, {"never_ready": "1"}, ok=False, deadline="2s")
    assert "503" in done.reason["text"] or "503" in done.result.get("probe", ""), done
    assert done.result["log_instance"].startswith("hello-2-")
    assert done.result["failed_requests"] == []
    app.wait_steady(version=1)


def test_an_abort_tells_the_probe_that_the_reason_does_not(app):
    app.deploy(1, ok=True)
    deploy = app.deploy_in_background(2, {"never_ready": "1"})
    wait_until(lambda: any("503" in (i["detail"] or "") for i in app.instances()), 20, "a failed probe")
    app.command("abort")
    status, out, err = app.server.end_cli(deploy)
    result = json.loads(out.splitlines()[-1])
    assert status == 1 and result["result"] == "aborted", out + err
    assert result["probe"].startswith("hello-2-") and "503" in result["probe"], result


def test_samples_outlive_gateway_and_controller(app):
    """A rollout that is paused and aborted: what failed before both were killed is in its report."""
    app.deploy(1, ok=True)
    waiting = {"canary": {"hold": "0s", "steps": [{"weight": 50, "hold": "0s", "approve": True}]}}
    deploy = app.deploy_in_background(2, strategy=waiting)
    app.wait_candidate_traffic()
    for _ in range(40):
        app.server.get("/status?code=503")
    app.server.kill("gateway")  # the controller has read them, or reads them at its end
    app.server.wait_ready()
    wait_until(lambda: app.server.metric("sluice_gateway_generations") == 1, 20, "a gateway")
    app.command("abort")
    result = json.loads(app.server.end_cli(deploy)[1].splitlines()[-1])
    check(result["failed_requests"], fault="5xx", status=503, path="/status")

    deploy = app.deploy_in_background(3, strategy=waiting)
    app.wait_candidate_traffic()
    for _ in range(40):
        app.server.get("/status?code=507")
    app.server.kill("controller")  # the gateway still has them
    app.server.wait_ready()
    wait_until(lambda: app.cli("abort").returncode == 0, 20, "an abort")
    result = json.loads(app.server.end_cli(deploy)[1].splitlines()[-1])
    check(result["failed_requests"], fault="5xx", status=507, path="/status")
    assert {r["instance"] for r in result["failed_requests"]} <= {"hello-3-1", "hello-3-2"}


def test_the_gateway_counts_by_the_slo_of_the_release(app):
    app.spec["slo"] = {"latency": {"p50": "60s"}}
    app.deploy(1, ok=True, faults={"latency": "20ms"})
    for _ in range(3):
        app.server.get("/")
    assert app.server.metric("sluice_responses_above_slo_total", version="1") == 0
    app.deploy(2, ok=True, faults={"latency": "20ms"}, slo={"latency": {"p50": "5ms"}})
    for _ in range(3):
        app.server.get("/")
    assert app.server.metric("sluice_responses_above_slo_total", version="2") >= 3
    of_instances = [app.server.metric("sluice_instance_responses_above_slo_total", version="2",
                                      instance=i["id"]) for i in app.ready()]
    assert sum(of_instances) >= 3, of_instances
