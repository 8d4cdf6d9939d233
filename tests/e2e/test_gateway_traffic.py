"""What a route changes on the way: fields, paths, redirects; and what nobody can make of it."""

import email.utils
import threading
import time

import pytest
from gateway_fixtures import driver  # noqa: F401
from gateway_rig import Backend, Gateway, answering, until

REMOVE, SET, ADD = range(3)
KEEP_PATH, KEEP_REST, KEEP_QUERY, KEEP_NOTHING = range(4)


@pytest.fixture
def rig(request):
    things = []

    def make(handler=None, **options):
        gateway, backend = Gateway(**options), Backend(handler)
        things.extend((gateway, backend))
        return gateway, backend

    yield make
    for thing in things:
        assert thing.close() is not False, "the gateway died"


def edit(kind, name, value="", answer=0):
    return f"edit kind={kind} name={name} answer={answer}" + (f" value={value}" if value else "")


def serve(gateway, *ports, rules="", edits=(), route="", first=None):
    """One route; its share has these rules."""
    lines = [f"app slot=0 hold_ms=0", *(f"instance id=i{p} slot={i} port={p}" for i, p in enumerate(ports)),
             f"pool first=0 instances={len(ports)}", f"rules {rules}", *edits, f"route app=0 {route}",
             "share pool=0 weight=1000000 slot=1 rules=1"]
    answer = gateway.table(lines)
    assert answer.startswith("applied"), answer


def fields_of(backend, name):
    return [v for k, v in backend.requests[-1][1] if k == name]


# ---- fields --------------------------------------------------------------------------------------


def test_fields_of_requests_are_removed_set_and_added(rig):
    gateway, backend = rig()
    serve(gateway, backend.port, edits=[
        edit(REMOVE, "X-Debug"), edit(SET, "X-Tenant", "blue"), edit(ADD, "Accept-Language", "de")])
    fields = "x-debug: 1\r\nX_Debug: 2\r\nX-TENANT: red\r\nx_tenant: red\r\nAccept-Language: en\r\nX-Other: 1\r\n"
    assert gateway.get(fields=fields)[0] == 200
    assert fields_of(backend, "x-debug") == fields_of(backend, "x_debug") == fields_of(backend, "x_tenant") == []
    assert fields_of(backend, "x-tenant") == ["blue"]
    assert fields_of(backend, "accept-language") == ["en", "de"]
    assert fields_of(backend, "x-other") == ["1"]
    assert fields_of(backend, "host") == ["a"] and len(fields_of(backend, "x-forwarded-for")) == 1


def test_fields_of_answers_are_removed_set_and_added(rig):
    raw = (b"HTTP/1.1 103 Early Hints\r\nServer: app\r\n\r\n"
           b"HTTP/1.1 200 OK\r\nserver: app\r\nX-Powered-By: x\r\nVary: a\r\nContent-Length: 2\r\n\r\nok")
    gateway, backend = rig(answering(raw))
    serve(gateway, backend.port, edits=[
        edit(REMOVE, "X-Powered-By", answer=1), edit(SET, "Server", "mine", 1), edit(ADD, "Vary", "b", 1)])
    sock, reader = gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert reader.head() == ("HTTP/1.1 103 Early Hints", [("server", "app")])
    first, fields = reader.head()
    assert first == "HTTP/1.1 200 OK"
    assert [v for k, v in fields if k == "vary"] == ["a", "b"]
    assert [v for k, v in fields if k == "server"] == ["mine"]
    assert "x-powered-by" not in dict(fields)
    assert reader.exactly(2) == b"ok"


def test_the_gateways_own_answers_are_not_edited(rig):
    gateway, backend = rig()
    serve(gateway, edits=[edit(SET, "Server", "mine", 1)])
    status, fields, _ = gateway.get()
    assert (status, fields["server"]) == (503, "sluice")


def test_no_edit_touches_framing_or_another_request(rig):
    """Whatever a table says: what frames or routes a message is not for it to change."""
    gateway, backend = rig()
    serve(gateway, backend.port, edits=[edit(SET, "X-A", "1")])
    for name in ("Content-Length", "transfer-encoding", "Transfer_Encoding", "Host", "Connection", "TE",
                 "Upgrade", "Expect", "X-Forwarded-For", "x_forwarded_for", "Trailer", "a:", "a\x0b"):
        with pytest.raises(AssertionError, match="refused"):
            serve(gateway, backend.port, edits=[edit(SET, name, "1")])
    with pytest.raises(AssertionError, match="refused"):
        serve(gateway, backend.port, edits=[edit(SET, "X-A", "1\x7f")])
    # The table before is still the one in use.
    assert gateway.get()[0] == 200 and fields_of(backend, "x-a") == ["1"]


def test_bodies_and_pipelining_survive_the_edits(rig):
    gateway, backend = rig()
    serve(gateway, backend.port, rules="strip=/api prefix=/v2", edits=[edit(SET, "X-Tenant", "blue")])
    sock, reader = gateway.connect(
        b"POST /api/a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
        b"POST /api/b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        b"GET /api/c HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ in range(3):
        assert reader.answer()[0] == 200
    assert [(r[0], r[2]) for r in backend.requests] == [
        ("POST /v2/a HTTP/1.1", b"hello"), ("POST /v2/b HTTP/1.1", b"abc"), ("GET /v2/c HTTP/1.1", b"")]


def test_an_edit_cannot_be_smuggled_past(rig):
    """Connection names a field that the route sets: the set one arrives all the same."""
    gateway, backend = rig()
    serve(gateway, backend.port, edits=[edit(SET, "X-User", "nobody")])
    assert gateway.get(fields="Connection: x-user\r\nX-User: root\r\nx-user: admin\r\n")[0] == 200
    assert fields_of(backend, "x-user") == ["nobody"]
    # A head at the limit of what a client may send grows, and arrives whole.
    many = "".join(f"X-{i}: {'v' * 150}\r\n" for i in range(95))
    assert gateway.get(fields=many)[0] == 200
    assert fields_of(backend, "x-user") == ["nobody"] and len(fields_of(backend, "x-94")[0]) == 150


# ---- retries -------------------------------------------------------------------------------------


def test_a_second_attempt_is_rewritten_from_the_start(rig):
    def slams(sock, reader):
        broken.request(reader)
        sock.close()

    gateway, backend = rig()
    broken = Backend(slams)
    try:
        serve(gateway, broken.port, backend.port, rules="strip=/api prefix=/v2",
              edits=[edit(ADD, "X-Tenant", "blue")], route="path=/api retries=1")

        def tried():
            assert gateway.get("/api/x?y")[0] == 200
            return broken.requests

        until(tried, "an attempt at the broken one")
        assert backend.requests[-1][0] == "GET /v2/x?y HTTP/1.1"
        assert fields_of(backend, "x-tenant") == ["blue"]
        assert fields_of(backend, "x-forwarded-prefix") == ["/api"]
    finally:
        broken.close()


def test_a_second_attempt_has_its_body(rig):
    """The second instance answers before it reads the body: what it reads then must be that body, not
    the next request of somebody else."""
    def slams(sock, reader):
        broken.request(reader)
        sock.close()

    def early(sock, reader):
        while (head := reader.head()) is not None:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            seen.append((head[0], reader.body(head[1])))

    gateway, backend = rig(early)
    broken, seen = Backend(slams), []
    try:
        serve(gateway, broken.port, backend.port, rules="prefix=/v2", route="retries=3")
        for i in range(10):
            assert gateway.get(f"/p{i}", method="PUT", body=b"B" * 60)[0] == 200
            assert gateway.get(f"/other{i}")[0] == 200
        assert broken.requests, "nothing was tried twice"
    finally:
        broken.close()
    until(lambda: len(seen) == 20, "all requests")
    assert all(body == (b"B" * 60 if line.startswith("PUT") else b"") for line, body in seen), seen


def test_each_share_has_the_rules_of_its_own_release(rig):
    gateway, backend = rig()
    lines = ["app slot=0", f"instance id=a slot=0 port={backend.port}", "pool first=0 instances=1",
             f"instance id=b slot=1 port={backend.port}", "pool first=1 instances=1",
             "rules prefix=/old", "rules prefix=/new", edit(SET, "X-New", "1"), "route app=0",
             "share pool=0 weight=500000 slot=1 rules=1", "share pool=1 weight=500000 slot=2 rules=2"]
    assert gateway.table(lines).startswith("applied")
    for _ in range(4):
        assert gateway.get("/x")[0] == 200
    seen = {(r[0], "x-new" in dict(r[1])) for r in backend.requests}
    assert seen == {("GET /old/x HTTP/1.1", False), ("GET /new/x HTTP/1.1", True)}


# ---- paths ---------------------------------------------------------------------------------------

PATHS = [
    # rules, what is asked for, what arrives
    ("strip=/api", "/api/x?y=/api", "/x?y=/api"),
    ("strip=/api", "/api", "/"),
    ("strip=/api", "/api?q", "/?q"),
    ("strip=/api", "/api/", "/"),
    ("strip=/api", "/apix", "/apix"),
    ("strip=/api", "/other/api", "/other/api"),
    ("strip=/api", "/%61pi/x%2fy", "/x%2Fy"),
    ("strip=/api", "/b/../api/x", "/x"),
    ("strip=/api", "/api/../x", "/api/../x"),
    ("strip=/api", "/api//evil.example/x", "/evil.example/x"),
    ("strip=/api", "/api/\\evil.example", "/evil.example"),
    ("strip=/api", "/api/%2e//evil.example", "/evil.example"),
    ("strip=/api prefix=/v2", "/api", "/v2"),
    ("strip=/api prefix=/v2", "/api/x", "/v2/x"),
    ("prefix=/v2", "/x/%2e%2e/y", "/v2/y"),
    ("prefix=/v2", "/../v1/secret", "/v2/v1/secret"),
    ("prefix=/v2", "/%2e%2e/v1/secret", "/v2/v1/secret"),
    ("prefix=/v2", "/", "/v2/"),
    ("prefix=/v2", "http://a/x", "/v2/x"),
    ("prefix=/v2", "http://a", "/v2/"),
    ("path=/index.html", "/any/where?q=1", "/index.html?q=1"),
]


def test_paths(rig):
    gateway, backend = rig()
    for rules, asked, arrives in PATHS:
        serve(gateway, backend.port, rules=rules)
        assert gateway.get(asked)[0] == 200, asked
        assert backend.requests[-1][0] == f"GET {arrives} HTTP/1.1", (rules, asked)


def test_what_is_for_the_whole_server_is_left_alone(rig):
    gateway, backend = rig()
    serve(gateway, backend.port, rules="path=/x")
    assert gateway.get("*", method="OPTIONS")[0] == 200
    assert backend.requests[-1][0] == "OPTIONS * HTTP/1.1"


def test_the_prefix_that_was_stripped_is_told_and_cannot_be_made_up(rig):
    gateway, backend = rig()
    serve(gateway, backend.port, rules="strip=/api")
    assert gateway.get("/api/x", fields="X-Forwarded-Prefix: /evil\r\nX_Forwarded_Prefix: /evil\r\n")[0] == 200
    assert fields_of(backend, "x-forwarded-prefix") == ["/api"] and fields_of(backend, "x_forwarded_prefix") == []


# ---- redirects -----------------------------------------------------------------------------------

REDIRECTS = [
    # to, keep, what is asked for, where it goes
    ("https://shop.example", KEEP_PATH, "/a/b?c", "https://shop.example/a/b?c"),
    ("https://shop.example/", KEEP_PATH, "/a", "https://shop.example/a"),
    ("https://shop.example/x", KEEP_PATH, "/old/b", "https://shop.example/x/old/b"),
    ("https://shop.example", KEEP_PATH, "http://a", "https://shop.example/"),
    ("/new", KEEP_REST, "/old/b?c", "/new/b?c"),
    ("/new", KEEP_REST, "/old?c", "/new?c"),
    ("/new", KEEP_REST, "/%6fld/b", "/new/b"),
    ("/", KEEP_REST, "/old//evil.example", "/evil.example"),
    ("/", KEEP_REST, "/old/\\evil.example", "/evil.example"),
    ("/", KEEP_PATH, "//evil.example/x", "/evil.example/x"),
    ("/new", KEEP_QUERY, "/old/b?c=d", "/new?c=d"),
    ("/new", KEEP_NOTHING, "/old/b?c=d", "/new"),
]


def test_redirects(rig):
    gateway, backend = rig()
    for to, keep, asked, where in REDIRECTS:
        path = "/old" if keep == KEEP_REST else "/"
        serve(gateway, backend.port, route=f"to={to} keep={keep} status=307 path={path}")
        status, fields, body = gateway.get(asked)
        assert (status, fields["location"], body) == (307, where, b""), asked
    assert gateway.get("/old", method="HEAD")[1]["location"] == "/new"
    assert backend.requests == []


def test_a_redirect_needs_no_instance_and_leaves_the_connection_usable(rig):
    gateway, _ = rig()
    serve(gateway, route="to=https://shop.example status=301")
    sock, reader = gateway.connect()
    for _ in range(2):
        sock.sendall(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        status, fields, _ = reader.answer()
        assert (status, fields["location"]) == (301, "https://shop.example/x")
    assert gateway.metric("unserved", 0) == gateway.metric("requests") == 0
    # A body that was not read: the connection ends, and nothing of it becomes a request.
    sock, reader = gateway.connect(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nGET /evil HTTP/1.1")
    assert reader.answer()[1]["connection"] == "close"


def test_a_target_that_does_not_fit_is_refused(rig):
    gateway, _ = rig()
    serve(gateway, route="to=https://shop.example")
    assert gateway.get("/" + "x" * 9000)[0] == 414


# ---- maintenance ---------------------------------------------------------------------------------


def orders(gateway, *ports, app="", extra=()):
    lines = [f"app slot=0 {app}", *(f"instance id=i{p} slot={i} port={p}" for i, p in enumerate(ports)),
             f"pool first=0 instances={len(ports)}", *extra, "route app=0",
             "share pool=0 weight=1000000 slot=1"]
    answer = gateway.table(lines)
    assert answer.startswith("applied"), answer


LOOPBACK = f"caller ipv4={127 << 24} bits=104"


def test_maintenance_answers_people_and_programs(rig):
    gateway, backend = rig()
    orders(gateway, backend.port, app="maintenance=503 retry_after=300")
    for method in ("GET", "HEAD", "POST"):
        status, fields, body = gateway.get(method=method)
        assert (status, fields["retry-after"], fields["content-type"], fields["cache-control"]) == \
            (503, "300", "text/html; charset=utf-8", "no-store")
        assert (b"maintenance" in body) == (method != "HEAD") and int(fields["content-length"]) > 100
    status, fields, body = gateway.get(fields="Accept: application/json\r\n")
    assert (fields["content-type"], body) == ("application/json", b'{"error":"maintenance","status":503}\n')
    assert "html" in gateway.get(fields="Accept: text/html, application/json\r\n")[1]["content-type"]
    until(lambda: gateway.metric("maintenance", 0) == 5, "what was answered")
    assert backend.requests == []
    assert gateway.metric("unserved", 0) == gateway.metric("requests") == 0
    orders(gateway, backend.port)
    assert gateway.get()[0] == 200


def test_the_gateways_own_answers_have_a_date(rig):
    """RFC 9110 section 6.6.1; also redirects, refusals, and what is no request."""
    gateway, backend = rig()
    begin = int(time.time())
    answers = []
    for app, route in (("maintenance=503", ""), ("stopped=1", ""), ("", "to=/new status=302")):
        gateway.serve(app=app, route=route)
        answers.append(gateway.get())
    _, reader = gateway.connect(b"GET / HTTP/9.9\r\n\r\n")
    answers.append(reader.answer())
    assert [a[0] for a in answers] == [503, 503, 302, 505]
    for _, fields, _ in answers:
        assert begin <= email.utils.parsedate_to_datetime(fields["date"]).timestamp() <= time.time(), fields
        assert fields["date"].endswith(" GMT")


def test_maintenance_has_a_page_of_the_apps_own(rig):
    gateway, _ = rig()
    for length in (0, 100, 17000, 65536):
        orders(gateway, app="maintenance=599 page=1", extra=[f"page type=text/plain len={length}"])
        sock, reader = gateway.connect()
        for _ in range(2):  # on one connection
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            status, fields, body = reader.answer()
            assert (status, fields["content-type"], body) == (599, "text/plain", b"x" * length)
            assert "retry-after" not in fields


def test_who_tests_gets_through_a_maintenance(rig):
    gateway, backend = rig()
    orders(gateway, backend.port, app="maintenance=503 allowed=1", extra=["caller name=x-tester value=me"])
    assert gateway.get(fields="X-Tester: me\r\n")[0] == 200
    assert gateway.get(fields="X-Tester: you\r\n")[0] == gateway.get()[0] == 503
    orders(gateway, backend.port, app="maintenance=503 allowed=1", extra=[LOOPBACK])
    assert gateway.get()[0] == 200
    # The address is the peer's: who is not trusted cannot say another.
    orders(gateway, backend.port, app="maintenance=503 allowed=1", extra=[f"caller ipv4={10 << 24} bits=104"])
    assert gateway.get(fields="X-Forwarded-For: 10.1.2.3\r\n")[0] == 503


def test_a_trusted_proxy_says_whose_request_it_is(rig):
    gateway, backend = rig(trusted="127.0.0.0/8")
    orders(gateway, backend.port, app="maintenance=503 allowed=1", extra=[f"caller ipv4={10 << 24} bits=104"])
    assert gateway.get(fields="X-Forwarded-For: 10.1.2.3\r\n")[0] == 200
    assert gateway.get(fields="X-Forwarded-For: 11.1.2.3\r\n")[0] == 503
    assert gateway.get()[0] == 503


def test_requests_in_flight_go_on_when_a_maintenance_begins(rig):
    told = threading.Event()

    def waits(sock, reader):
        while backend.request(reader):
            told.wait()
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    gateway, backend = rig(waits)
    orders(gateway, backend.port)
    _, reader = gateway.connect(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: backend.requests, "the request at the instance")
    orders(gateway, backend.port, app="maintenance=503")
    assert gateway.get()[0] == 503
    told.set()
    assert reader.answer()[0] == 200


def test_maintenance_can_hold_and_lets_go(rig):
    gateway, backend = rig()
    barred = "maintenance=503 barred_ms=60000 hold_ms=60000 allowed=1"
    orders(gateway, backend.port, app=barred, extra=["caller name=x-tester"])
    _, held = gateway.connect(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: gateway.metric("waiting", 0) == 1, "a held request")
    # Who tests does not wait behind those that may not pass.
    assert gateway.get("/test", fields="X-Tester: 1\r\n")[0] == 200
    orders(gateway, backend.port)
    assert held.answer()[0] == 200
    assert [r[0] for r in backend.requests] == ["GET /test HTTP/1.1", "GET /held HTTP/1.1"]
    assert gateway.metric("maintenance", 0) == 0


def test_what_is_held_gets_the_page_in_the_end(rig):
    gateway, backend = rig()
    # The time is up.
    orders(gateway, backend.port, app="maintenance=503 barred_ms=100 hold_ms=100 retry_after=7")
    status, fields, body = gateway.get()
    assert (status, fields["retry-after"]) == (503, "7") and b"maintenance" in body
    # So many wait already.
    barred = "maintenance=503 barred_ms=60000 hold_ms=60000 hold_limit=1"
    orders(gateway, backend.port, app=barred)
    _, held = gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: gateway.metric("waiting", 0) == 1, "a held request")
    assert gateway.get()[0] == 503
    # It answers from now on.
    orders(gateway, backend.port, app="maintenance=503 retry_after=9")
    assert held.answer()[1]["retry-after"] == "9"
    assert backend.requests == [] and gateway.metric("waiting", 0) == 0


def test_the_time_that_is_ordered_counts_whatever_the_apps_hold_is(rig):
    gateway, backend = rig()
    for own in (600000, 0):
        orders(gateway, backend.port, app=f"hold_ms={own} maintenance=503 barred_ms=300 retry_after=7")
        status, fields, body = gateway.get()
        assert (status, fields["retry-after"]) == (503, "7") and b"maintenance" in body
    assert gateway.metric("held", 0) == 2
    # Also for who waits for an instance already, and for who waits by an order before.
    for before in ("hold_ms=600000 hold=1", "hold_ms=1 maintenance=503 barred_ms=600000"):
        orders(gateway, backend.port, app=before)
        _, held = gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: gateway.metric("waiting", 0) == 1, "a held request")
        orders(gateway, backend.port, app="hold_ms=600000 maintenance=503 barred_ms=300 retry_after=9")
        assert held.answer()[1]["retry-after"] == "9"


# ---- faults --------------------------------------------------------------------------------------


def test_a_fault_aborts_and_is_counted_apart(rig):
    gateway, backend = rig()
    orders(gateway, backend.port, app="fault=1000000 abort=503 struck=1", extra=["caller name=x-game"])
    status, fields, _ = gateway.get(fields="X-Game: day\r\n")
    assert (status, fields["x-sluice-fault"]) == (503, "abort")
    assert gateway.get()[0] == 200
    assert gateway.metric("faults", 0) == 1
    until(lambda: gateway.metric("requests") == 1, "the request that went through")
    assert gateway.metric("unserved", 0) == gateway.metric("failed") == gateway.metric("5xx") == 0


def test_a_fault_strikes_its_share(rig):
    gateway, backend = rig()
    orders(gateway, backend.port, app="fault=500000 abort=500")
    sock, reader = gateway.connect()
    seen = []
    for _ in range(400):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        seen.append(reader.answer()[0])
    assert set(seen) == {200, 500} and 120 < seen.count(500) < 280
    until(lambda: gateway.metric("faults", 0) == seen.count(500), "what it struck")


def test_a_fault_delays_and_that_is_nobodys_latency(rig):
    gateway, backend = rig()
    orders(gateway, backend.port, app="fault=1000000 delay=60000 struck=1", extra=["caller name=x-game"])
    sock, reader = gateway.connect(b"POST / HTTP/1.1\r\nHost: a\r\nX-Game: 1\r\nContent-Length: 2\r\n\r\nhi")
    until(lambda: gateway.metric("faults", 0) == 1, "a delayed request")
    assert gateway.get()[0] == 200 and len(backend.requests) == 1
    sock.close()  # who leaves meanwhile leaves nothing behind
    until(lambda: gateway.metric("left", 0) == 1, "the client that left")
    orders(gateway, backend.port, app="fault=1000000 delay=300")
    before = gateway.instance("latency_us")
    assert gateway.get(method="POST", body=b"hello")[0] == 200
    assert backend.requests[-1][2] == b"hello"
    until(lambda: gateway.metric("requests") == 2, "the count of it")
    assert gateway.instance("latency_us") - before < 300000
    orders(gateway, backend.port, app="fault=1000000 delay=50 abort=504")
    assert gateway.get()[0] == 504


def test_a_fault_meets_who_is_held(rig):
    """Held requests of an app that has no instance: a delay is no second wait in the hold."""
    gateway, backend = rig()
    hold = "hold_ms=60000"
    orders(gateway, app=hold)
    clients = [gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(3)]
    until(lambda: gateway.metric("waiting", 0) == 3, "held requests")
    orders(gateway, app=f"{hold} fault=1000000 delay=100")
    until(lambda: gateway.metric("faults", 0) == 3, "all are struck")
    until(lambda: gateway.metric("waiting", 0) == 3, "they are held again")
    orders(gateway, backend.port, app=hold)
    assert [reader.answer()[0] for _, reader in clients] == [200] * 3
    until(lambda: gateway.metric("waiting", 0) == gateway.instance("in_flight") == 0, "all are counted")


def test_a_fault_ends_by_itself(rig):
    gateway, backend = rig()
    orders(gateway, backend.port, app="fault=1000000 abort=503 until=400")
    until(lambda: gateway.get()[0] == 200, "the end of the fault")


# ---- pages for errors ----------------------------------------------------------------------------

PAGES = ["page type=text/plain len=30", "page type=text/x-busy len=40000", "error status=502 page=1",
         "error status=503 page=2"]


def test_the_gateways_own_errors_have_the_apps_pages(rig):
    gateway, _ = rig()
    broken = Backend(answering(b"nonsense\r\n\r\n"))
    try:
        orders(gateway, broken.port, app="errors=2", extra=PAGES)
        for method in ("GET", "HEAD", "POST"):
            status, fields, body = gateway.get(method=method)
            assert (status, fields["content-type"], fields["content-length"]) == (502, "text/plain", "30")
            assert body == (b"" if method == "HEAD" else b"x" * 30)
        status, fields, body = gateway.get(fields="Accept: application/json\r\n")
        assert (fields["content-type"], body) == (
            "application/json", b'{"error":"the instance\'s answer is not HTTP","status":502}\n')
    finally:
        broken.close()
    orders(gateway, app="errors=2 hold_ms=0", extra=PAGES)
    status, fields, body = gateway.get()
    assert (status, fields["retry-after"], body) == (503, "1", b"x" * 40000)
    # Of no app, or without a page of its own: as ever.
    orders(gateway, app="errors=1 hold_ms=0", extra=PAGES)
    assert gateway.get()[2] == b"sluice: no instance is ready\n"


def test_what_the_app_answers_is_never_replaced(rig):
    gateway, backend = rig(answering(b"HTTP/1.1 502 Mine\r\nContent-Length: 4\r\n\r\nmine"))
    orders(gateway, backend.port, app="errors=2", extra=PAGES)
    assert (gateway.get()[0], gateway.get()[2]) == (502, b"mine")


def test_a_page_comes_behind_a_body_that_was_not_kept(rig):
    def slams(sock, reader):
        reader.head()
        reader.exactly(100000)
        sock.close()

    gateway, backend = rig(slams)
    orders(gateway, backend.port, app="errors=2", extra=PAGES)
    status, fields, body = gateway.get(method="POST", body=b"y" * 100000, fields="Accept: application/json\r\n")
    assert (status, fields["content-type"]) == (502, "text/plain")
