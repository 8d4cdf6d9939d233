"""Trace context and request ids: what an instance gets, and what the access log says of it."""

import json
import re
import threading

import pytest
from gateway_fixtures import driver  # noqa: F401
from gateway_rig import Backend, Gateway, until
from sluice_test import App, wait_until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture
def rig(request):
    things = []

    def make(route="", handler=None):
        backend = Backend(handler)
        gateway = Gateway(workers=1, access="/x")
        things.extend((backend, gateway))
        gateway.serve(backend.port, route=route)
        return gateway, backend

    yield make
    for thing in things:
        assert thing.close() is not False, "the gateway died"


def seen(backend, name):
    """What the last request had as this field."""
    return [v for k, v in backend.requests[-1][1] if k == name]


def line(gateway):
    return json.loads(until(lambda: (lambda t: t if t != "none" else None)(gateway.ask("access")), "a line"))


def parts(value):
    found = re.fullmatch("00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])", value)
    assert found and set(found[1]) != {"0"} and set(found[2]) != {"0"}, value
    return found.groups()


def test_without_the_key_it_is_passed_on(rig):
    gateway, backend = rig()
    gateway.get("/", f"traceparent: {GOOD}\r\ntracestate: a=1\r\nx-request-id: mine\r\n")
    assert seen(backend, "traceparent") == [GOOD] and seen(backend, "tracestate") == ["a=1"]
    assert seen(backend, "x-request-id") == ["mine"]
    assert not {"trace_id", "span_id", "request_id"} & set(line(gateway))
    gateway.get()
    assert seen(backend, "traceparent") == seen(backend, "x-request-id") == []


def test_a_trace_goes_on(rig):
    gateway, backend = rig("trace=0")
    gateway.get("/", f"TraceParent: {GOOD}\r\nTraceState: a=1,b=2\r\ntracestate: c=3\r\nX-Last: 1\r\n")
    (value,) = seen(backend, "traceparent")
    trace, span, flags = parts(value)
    assert (trace, flags) == (TRACE, "01") and span != SPAN
    assert seen(backend, "tracestate") == ["a=1,b=2", "c=3"] and seen(backend, "x-last") == ["1"]
    said = line(gateway)
    assert (said["trace_id"], said["span_id"], said["parent_id"]) == (TRACE, span, SPAN) and said["sampled"]
    gateway.get("/", f"traceparent: cc-{TRACE}-{SPAN}-00-later\r\n")
    assert parts(seen(backend, "traceparent")[0])[::2] == (TRACE, "00")
    assert "sampled" not in line(gateway)


def test_a_wrong_one_begins_a_new_trace(rig):
    gateway, backend = rig("trace=0")
    ids = set()
    wrong = (
        "traceparent: nonsense\r\ntracestate: a=1\r\n",
        f"tracestate: a=1\r\ntraceparent: 00-{'0' * 32}-{SPAN}-01\r\nTRACESTATE: b=1\r\n",
        f"traceparent: {GOOD}\r\ntracestate: a=1\r\ntraceparent: {GOOD}\r\n",
        f"traceparent: ff-{TRACE}-{SPAN}-01\r\n",
        f"Connection: traceparent\r\ntraceparent: {GOOD}\r\ntracestate: a=1\r\n",
        "traceparent:\r\n",
        "",
    )
    for fields in wrong:
        gateway.get("/", fields + "X-Last: 1\r\n", method="POST", body=b"body")
        (value,) = seen(backend, "traceparent")
        trace, span, flags = parts(value)
        assert trace != TRACE and flags == "00", fields
        assert seen(backend, "tracestate") == [] and seen(backend, "x-last") == ["1"], fields
        assert backend.requests[-1][2] == b"body", fields
        said = line(gateway)
        assert said["trace_id"] == trace and said["span_id"] == span and "parent_id" not in said, fields
        ids |= {trace, span}
    assert len(ids) == 2 * len(wrong)


def test_new_traces_are_sampled_by_their_share(rig):
    gateway, backend = rig("trace=500000")
    sock, reader = gateway.connect()
    for _ in range(200):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        reader.answer()
    flags = [parts(dict(fields)["traceparent"])[2] for _, fields, _ in backend.requests]
    assert 50 < flags.count("01") < 150  # 7 standard deviations
    assert len({dict(fields)["traceparent"] for _, fields, _ in backend.requests}) == 200


def test_a_retry_is_the_same_span(rig):
    answers = iter([False, True])

    def handler(sock, reader):
        request = backend.request(reader)
        if request and next(answers, True):
            sock.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    gateway, backend = rig("trace=1000000 request_id=1", handler)
    assert gateway.get("/", "X-Big: " + "x" * 15000 + "\r\n")[0] == 204  # no room left in its buffer
    first, second = (dict(fields) for _, fields, _ in backend.requests)
    assert first["traceparent"] == second["traceparent"] and first["x-request-id"] == second["x-request-id"]
    assert len(first["x-big"]) == len(second["x-big"]) == 15000
    assert line(gateway)["attempts"] == 2


def test_request_ids(rig):
    gateway, backend = rig("request_id=1")
    for value, kept in (
            ("0190b2c4-7d3e-7f00-8000-00805f9b34fb", True),
            ("Root=1-67891233-abcdef012345678912345678", True),
            ("a" * 64, True),
            ("a" * 65, False),
            ("", False),
            ("two words", False),
            ("<script>", False),
            ("ä", False),
            ("a\r\nX-Request-Id: b", False)):
        sock, reader = gateway.connect(f"GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: {value}\r\n\r\n".encode())
        assert reader.answer()[0] == 200
        (got,) = seen(backend, "x-request-id")
        assert got == value if kept else re.fullmatch("[0-9a-f]{32}", got), value
        assert line(gateway)["request_id"] == got


def test_a_made_request_id_is_the_trace_id(rig):
    gateway, backend = rig("trace=0 request_id=1")
    gateway.get()
    assert seen(backend, "x-request-id") == [parts(seen(backend, "traceparent")[0])[0]]


# ---- which requests get a line --------------------------------------------------------------------


def paths(gateway):
    """Of all lines up to the one of a request that always gets one."""
    found = []
    sock, reader = gateway.connect(b"GET /end HTTP/1.1\r\nHost: nobody\r\n\r\n")
    assert reader.answer()[0] == 404
    while True:
        said = line(gateway)
        if said["path"] == "/end":
            return found
        found.append(said["path"] + ("?" + said["query"] if "query" in said else ""))


def test_what_a_route_wants_logged(rig):
    def handler(sock, reader):
        while (head := reader.head()) is not None:
            status = "500 No" if "/broken" in head[0] else "200 OK"
            sock.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

    gateway, backend = rig("host=a log=0 errors=0", handler)
    gateway.get("/broken")
    assert paths(gateway) == []
    gateway.serve(backend.port, route="host=a log=0 errors=1 query=1")
    gateway.get("/broken?x=%22")
    gateway.get("/whole")
    assert paths(gateway) == ["/broken?x=%22"]
    gateway.serve(backend.port, route="host=a log=500000 errors=0")
    sock, reader = gateway.connect()
    for _ in range(200):
        sock.sendall(b"GET /some HTTP/1.1\r\nHost: a\r\n\r\n")
        reader.answer()
    assert 50 < len(paths(gateway)) < 150  # 7 standard deviations


def test_slow_ones_are_logged(rig):
    go = threading.Event()

    def handler(sock, reader):
        while (head := reader.head()) is not None:
            if "/slow" in head[0]:
                go.wait(60)
            sock.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    gateway, _ = rig("host=a log=0 errors=0 slower=100", handler)
    gateway.get("/fast")
    sock, reader = gateway.connect(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: gateway.instance("in_flight") == 1)
    threading.Timer(0.2, go.set).start()
    assert reader.answer()[0] == 204
    assert paths(gateway) == ["/slow"]


# ---- rates by route ------------------------------------------------------------------------------


def test_requests_are_counted_by_how_they_end(rig):
    def handler(sock, reader):
        while (head := reader.head()) is not None:
            if "/none" in head[0]:
                return
            status, length, body = (200, 9, b"half") if "/cut" in head[0] else (int(head[0].split()[1][1:]), 0, b"")
            sock.sendall(f"HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n".encode() + body)
            if body:
                return

    gateway, _ = rig("trace=1000000", handler)
    for status in (200, 201, 302, 404, 500, 503, 700):
        assert gateway.get(f"/{status}")[0] == status
    assert gateway.get("/none")[0] == 502
    sock, reader = gateway.connect(b"GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises((ConnectionResetError, EOFError)):
        reader.answer()
    traces = {said["path"]: said["trace_id"] for said in (line(gateway) for _ in range(9))}
    found = {name: [int(n) for n in gateway.ask(f"red 1 {name}").split()]
             for name in ("1xx", "2xx", "3xx", "4xx", "5xx", "failed", "cut")}
    assert {name: n for name, (n, _) in found.items()} == {
        "1xx": 0, "2xx": 2, "3xx": 1, "4xx": 1, "5xx": 3, "failed": 1, "cut": 1}
    assert all((us > 0) == (n > 0) for n, us in found.values())
    for path, name in (("/404", "4xx"), ("/none", "failed"), ("/cut", "cut")):
        trace, us = gateway.ask(f"exemplar 1 {name}").split()
        assert trace == traces[path] and int(us) == found[name][1]
    assert gateway.ask("exemplar 1 1xx") == "none"
    assert gateway.metric("in_flight") == 0


# ---- through serve --------------------------------------------------------------------------------


def test_through_the_file(make_server):
    server = make_server(start=False)
    log = server.root / "access.log"
    server.extra = ["--access-log", str(log)]
    server.start()
    app = App(server)
    app.deploy(1, ok=True, routes=[
        {"path": "/", "trace": "100%", "request-id": True,
         "access-log": {"sample": "0%", "errors": False, "slower": "1h"}},
        {"path": "/all", "access-log": {"query": True}}])
    server.get("/quiet")
    server.get("/all?q=1", traceparent=GOOD)
    app.deploy(2, ok=True, routes=[{"path": "/", "trace": "100%", "request-id": True}])
    server.get("/loud")

    def found():
        text = log.read_text() if log.exists() else ""
        return '"path":"/loud"' in text and [json.loads(row) for row in text.splitlines()]

    rows = wait_until(found, 20, "the lines")
    by_path = {row["path"]: row for row in rows}
    assert not {"/quiet"} & set(by_path)
    assert by_path["/all"]["query"] == "q=1" and "trace_id" not in by_path["/all"]
    loud = by_path["/loud"]
    assert loud["sampled"] and loud["request_id"] == loud["trace_id"] and loud["release"] == 2

    plain = server.api("GET", "/metrics").text
    assert "trace_id" not in plain and "# EOF" not in plain
    loudest = re.compile(r'sluice_route_request_duration_seconds_count\{app="hello",environment="production",'
                         r'release="2",version="2",route="/",code="2xx"\} [1-9]')
    assert loudest.search(plain), plain
    open_ = server.api("GET", "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert open_.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert open_.text.endswith("\n# EOF\n") and loudest.search(open_.text)
    with_trace = [row for row in open_.text.splitlines() if f'# {{trace_id="{loud["trace_id"]}"}}' in row]
    assert len(with_trace) == 1 and 'route="/",code="2xx"' in with_trace[0]
    bound, value = re.search(r'le="([^"]+)"\} \d+ # \{[^}]*\} (\S+) \d+\.\d{3}$', with_trace[0]).groups()
    assert round(float(value) * 1e6) == loud["first_byte_us"] and float(value) <= float(bound)
