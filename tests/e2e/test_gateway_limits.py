"""What a route takes from clients: how often, how much, how slowly."""

import os
import signal
import socket
import threading
import time

import pytest
from gateway_fixtures import driver, rig  # noqa: F401
from gateway_rig import until
from h2_peer import H2Client

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HOUR = 3600000


def statuses(gateway, n, fields=""):
    """Of n requests over one connection."""
    sock, reader = gateway.connect()
    out = []
    for _ in range(n):
        sock.sendall(f"GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode())
        out.append(reader.answer()[0])
    sock.close()
    return out


# ---- how often ------------------------------------------------------------------------------------


def test_a_burst_then_429_until_the_time_said(rig):
    gateway, backend = rig(route="rate=1 per=2000 burst=3")
    sock, reader = gateway.connect()
    began = time.monotonic()
    for _ in range(3):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert reader.answer()[0] == 200
    sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    status, fields, body = reader.answer()
    assert (status, fields["server"], body) == (429, "sluice", b"sluice: too many requests\n")
    assert fields["retry-after"] in ("1", "2")
    refused = 1
    while True:  # asking again costs nothing, and the connection stays
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        status, fields, _ = reader.answer()
        if status == 200:
            break
        refused += 1
        assert status == 429 and "connection" not in fields
        time.sleep(0.01)
    assert 1.99 < time.monotonic() - began
    until(lambda: gateway.metric("rate_limited", 0) == refused)
    assert gateway.metric("unserved", 0) == 0, "a client's own fault is nobody's failure"
    assert len(backend.requests) == 4


def test_a_limit_holds_over_all_workers_and_tables(rig):
    gateway, backend = rig(route=f"rate=1 per={HOUR} burst=50", workers=4)
    got = []
    threads = [threading.Thread(target=lambda: got.extend(statuses(gateway, 20))) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(got) == 320 and set(got) == {200, 429}
    assert 50 <= got.count(200) <= 53, "one more per other worker, for the first ones"
    gateway.serve(backend.port, route=f"rate=1 per={HOUR} burst=50")
    assert statuses(gateway, 3) == [429] * 3, "a new table forgets nothing"
    gateway.serve(backend.port, route=f"path=/other rate=1 per={HOUR} burst=2")
    assert gateway.get("/other/x")[0] == 200, "another route has limits of its own"
    gateway.serve(backend.port)
    assert statuses(gateway, 100) == [200] * 100


def test_by_header(rig):
    gateway, _ = rig(route=f"rate=1 per={HOUR} burst=2 by=x-api-key")
    assert statuses(gateway, 3, "X-Api-Key: a\r\n") == [200, 200, 429]
    assert statuses(gateway, 3, "x-api-KEY:  b \r\n") == [200, 200, 429]
    assert statuses(gateway, 1, "X-Api-Key: b\r\n") == [429]
    # Without it, or with a choice of them, by address.
    assert statuses(gateway, 1) == [200]
    assert statuses(gateway, 2, "X-Api-Key: c\r\nX-Api-Key: d\r\n") == [200, 429]
    assert statuses(gateway, 1, "X-Api-Key: e\r\nX-Api-Key: f\r\n") == [429]


def test_by_the_address_that_a_trusted_proxy_names(rig):
    gateway, _ = rig(route=f"rate=1 per={HOUR} burst=1", trusted="127.0.0.1")

    def of(address):
        return statuses(gateway, 1, f"X-Forwarded-For: {address}\r\n")[0]

    assert [of("192.0.2.1"), of("192.0.2.1"), of("192.0.2.2")] == [200, 429, 200]
    assert [of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::4"), of("2001:db8:1:3::3")] == [200, 429, 200]
    assert [of("::ffff:192.0.2.2"), of("6.6.6.6, 192.0.2.2")] == [429, 429], "the rightmost counts"


def test_what_untrusted_ones_say_of_themselves_does_not_count(rig):
    gateway, _ = rig(route=f"rate=1 per={HOUR} burst=1")
    assert statuses(gateway, 1, "X-Forwarded-For: 192.0.2.1\r\n") == [200]
    assert statuses(gateway, 1, "X-Forwarded-For: 192.0.2.2\r\n") == [429]


def test_a_refused_request_with_a_body(rig):
    gateway, backend = rig(route=f"rate=1 per={HOUR} burst=1")
    assert statuses(gateway, 1) == [200]
    # All of it there: the connection goes on with the next request.
    sock, reader = gateway.connect(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [reader.answer()[0], reader.answer()[0]] == [429, 429]
    # Not all of it: what comes later must not be read as a request.
    sock, reader = gateway.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n")
    status, fields, _ = reader.answer()
    assert (status, fields["connection"]) == (429, "close")
    sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert reader.closed()
    assert len(backend.requests) == 1


# ---- how much -------------------------------------------------------------------------------------


def chunk(n):
    return f"{n:x}\r\n".encode() + b"x" * n + b"\r\n"


def test_a_body_that_is_too_large_by_its_length(rig):
    gateway, backend = rig(route="body=1000")
    sock, reader = gateway.connect(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n"
                                   b"Expect: 100-continue\r\n\r\n")
    status, fields, _ = reader.answer()
    assert (status, fields["connection"]) == (413, "close"), "before any of it was sent"
    assert gateway.get(method="PUT", body=b"x" * 1000)[0] == 200
    assert gateway.metric("too_large", 0) == 1
    assert len(backend.requests) == 1 and backend.connections == 1


@pytest.mark.parametrize("sizes", [[1001], [500, 501], [1] * 1001, [1000, 1], [0xfffffffffffffff]])
def test_a_chunked_body_that_grows_too_large(rig, sizes):
    gateway, backend = rig(route="body=1000")
    sock, reader = gateway.connect(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for n in sizes:
        try:
            sock.sendall(chunk(n) if n < 10000 else f"{n:x}\r\n".encode())
        except ConnectionError:
            break  # refused already
    status, fields, _ = reader.answer()
    assert (status, fields["connection"]) == (413, "close")
    until(lambda: backend.closed == backend.connections, "the instance is told by a close")
    assert backend.requests == []
    until(lambda: gateway.metric("too_large", 0) == 1)
    assert gateway.metric("failed") == 0


def test_a_chunked_body_up_to_the_limit(rig):
    gateway, backend = rig(route="body=1000")
    sock, reader = gateway.connect(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for n in (999, 1):
        sock.sendall(chunk(n))
    sock.sendall(b"0\r\nA: b\r\n\r\n")
    assert reader.answer()[0] == 200
    assert len(backend.requests[0][2]) == 1000


def test_an_answer_has_begun_when_the_body_gets_too_large(rig):
    def early(sock, reader):
        reader.head()
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        reader.rest()

    gateway, backend = rig(early, route="body=1000")
    sock, reader = gateway.connect(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(10))
    assert reader.head()[0] == "HTTP/1.1 200 OK"
    sock.sendall(chunk(1000))
    with pytest.raises((EOFError, ConnectionError)):
        reader.exactly(100)
    until(lambda: backend.closed == 1)
    assert gateway.metric("too_large", 0) == 1


def test_a_head_that_is_too_large(rig):
    gateway, backend = rig(route="head=512")
    line = len(b"GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n")
    assert statuses(gateway, 1, "X: " + "x" * (512 - line) + "\r\n") == [200]
    assert statuses(gateway, 1, "X: " + "x" * (513 - line) + "\r\n") == [431]
    assert gateway.metric("too_large", 0) == 1 and len(backend.requests) == 1
    # Without a limit of the route's own: 16 KiB.
    gateway.serve(backend.port)
    assert statuses(gateway, 1, "X: " + "x" * (16384 - line) + "\r\n") == [200]
    sock, reader = gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (16385 - line) + b"\r\n\r\n")
    assert reader.answer()[0] == 431


# ---- who it was -----------------------------------------------------------------------------------


def fields_of(backend, name):
    return [value for key, value in backend.requests[-1][1] if key == name]


def test_forwarded_and_via(rig):
    gateway, backend = rig(route="forwarded=1 via=1")
    ask = b"GET / HTTP/1.1\r\nHost: a.example:8080\r\nForwarded: for=6.6.6.6\r\nVia: 1.0 cache\r\n\r\n"
    sock, reader = gateway.connect(ask)
    status, fields, _ = reader.answer()
    assert (status, fields["via"]) == (200, "1.1 sluice")
    assert fields_of(backend, "forwarded") == ['for=127.0.0.1;proto=http;host="a.example:8080"']
    assert fields_of(backend, "via") == ["1.0 cache", "1.1 sluice"]
    assert fields_of(backend, "x-forwarded-for") == ["127.0.0.1"]
    sock, reader = gateway.connect(b"GET / HTTP/1.0\r\n\r\n")
    assert reader.answer()[0] == 200
    assert fields_of(backend, "forwarded") == ["for=127.0.0.1;proto=http"]
    assert fields_of(backend, "via") == ["1.0 sluice"]
    gateway.serve(backend.port)
    sock, reader = gateway.connect(ask)
    assert "via" not in reader.answer()[1]
    assert fields_of(backend, "forwarded") == [] and fields_of(backend, "via") == ["1.0 cache"]


def test_forwarded_of_ipv6_and_behind_a_trusted_proxy(rig):
    gateway, backend = rig(route="forwarded=1", trusted="::1", listen="[::1]:0")
    sock, reader = gateway.connect(b'GET / HTTP/1.1\r\nHost: [2001:db8::2]\r\nForwarded: for="[2001:db8::1]"\r\n\r\n',
                                   address=("::1", None))
    assert reader.answer()[0] == 200
    assert fields_of(backend, "forwarded") == ['for="[2001:db8::1]"',
                                               'for="[::1]";proto=http;host="[2001:db8::2]"']


def test_forwarded_survives_another_try_and_long_heads(rig):
    """The first instance breaks off; a head that fills its buffer gets a larger one."""
    tries = []

    def flaky(sock, reader):
        head = reader.head()
        tries.append(head)
        if len(tries) > 1:
            sock.sendall(OK)
        reader.rest() if len(tries) > 1 else None

    gateway, backend = rig(flaky, route="forwarded=1 via=1")
    long = "X: " + "x" * 16000 + "\r\n"
    sock, reader = gateway.connect(f"GET / HTTP/1.1\r\nHost: a\r\n{long}\r\n".encode())
    assert reader.answer()[0] == 200
    assert len(tries) == 2 and tries[0] == tries[1]
    assert dict(tries[1][1])["forwarded"] == 'for=127.0.0.1;proto=http;host="a"'


# ---- over HTTP/2 ----------------------------------------------------------------------------------


def test_each_stream_is_a_request(rig):
    gateway, backend = rig(route=f"rate=1 per={HOUR} burst=3 body=1000 head=300 forwarded=1 via=1")
    client = H2Client(gateway.port)
    try:
        answer = client.get()
        assert (answer.status, answer.fields["via"]) == (200, "1.1 sluice")
        assert fields_of(backend, "via") == ["2 sluice"]
        assert fields_of(backend, "forwarded") == ['for=127.0.0.1;proto=http;host="a"']
        assert client.get(fields=[("x", "y" * 300)]).status == 431
        large = client.request("POST", fields=[("content-length", "1001")], end=False)
        assert client.wait(large).status == 413
        growing = client.request("POST", end=False)
        client.send(growing, b"x" * 700)
        client.send(growing, b"x" * 700)
        assert client.wait(growing).status == 413
        assert client.get(method="POST", body=b"x" * 1000).status == 200
        refused = client.get()
        assert refused.status == 429 and int(refused.fields["retry-after"]) in (3599, 3600)
        assert not client.closed, "the connection is not to blame"
    finally:
        client.close()
    assert gateway.metric("too_large", 0) == 3 and gateway.metric("rate_limited", 0) == 1


# ---- how slowly -----------------------------------------------------------------------------------


def end_of(sock):
    """Something came, or the connection ended."""
    sock.setblocking(False)
    try:
        sock.send(b"x")
        return sock.recv(1, socket.MSG_PEEK) is not None
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    finally:
        sock.setblocking(True)


def test_who_is_too_slow_is_given_up_and_others_are_not(rig):
    """A hundred trickled bodies and some answers that are not taken; a client that is waited for by
    nobody (its instance is slow) and honest ones go on."""

    def instance(sock, reader):
        while True:
            head = reader.head()
            if head is None:
                return
            if "/lazy" in head[0]:
                time.sleep(12)
            reader.body(head[1])
            if "/big" in head[0]:
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 50000000)
            else:
                sock.sendall(OK)

    gateway, backend = rig(instance, route="min_rate=1000")
    post = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    began = time.monotonic()
    trickling = [gateway.connect(post % (b"/", 100000)) for _ in range(100)]
    deaf = [gateway.connect(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n", rcvbuf=4096) for _ in range(4)]
    lazy_sock, lazy = gateway.connect(post % (b"/lazy", 20 << 20))
    threading.Thread(target=lazy_sock.sendall, args=(b"x" * (20 << 20),), daemon=True).start()
    honest, answers = gateway.connect()
    ended = {}
    while len(ended) < len(trickling):
        assert time.monotonic() - began < 60
        for i, (sock, _) in enumerate(trickling):
            if i not in ended and end_of(sock):
                ended[i] = time.monotonic() - began
        honest.sendall(post % (b"/", 2) + b"ok")
        assert answers.answer()[0] == 200
        time.sleep(0.05)
    assert min(ended.values()) > 9.9, "the grace is theirs"
    answered = 0
    for sock, reader in trickling:
        try:
            status, fields, _ = reader.answer()
            assert (status, fields["connection"]) == (408, "close")
            answered += 1
        except ConnectionError:
            pass  # what it sent on met a closed connection
    assert answered > 0
    until(lambda: gateway.metric("too_slow", 0) == len(trickling) + len(deaf))
    for _, reader in deaf:
        with pytest.raises((ConnectionError, EOFError)):
            reader.answer()
    assert lazy.answer()[0] == 200, "its instance was what was waited for"
    assert gateway.metric("failed") == 0
    until(lambda: gateway.instance("in_flight") == 0)


# ---- more than a worker can do --------------------------------------------------------------------


def thread_states(pid):
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/stat") as file:
            yield file.read().rsplit(")", 1)[1].split()[0]


def test_a_worker_that_is_late_says_so_at_once(rig):
    """Stopped for longer than a second, it finds more than eight turns full of requests: from the ninth on
    they are answered before any work is spent on them, and then it has caught up."""
    gateway, _ = rig(route="to=https://shop.example status=301")  # which needs no instance
    clients = [gateway.connect() for _ in range(3000)]
    until(lambda: gateway.ask("connections") == str(len(clients)), "all are accepted")
    os.kill(gateway.pid, signal.SIGSTOP)
    until(lambda: set(thread_states(gateway.pid)) == {"T"}, "it stands")
    try:
        began = time.monotonic()
        for sock, _ in clients:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while time.monotonic() - began < 1.1:  # the time is what makes it late
            time.sleep(0.01)
    finally:
        os.kill(gateway.pid, signal.SIGCONT)
    answers = [reader.answer() for _, reader in clients]
    shed = [a for a in answers if a[0] == 503]
    assert {a[0] for a in answers} == {301, 503}
    assert all(fields["retry-after"] == "1" for _, fields, _ in shed)
    assert int(gateway.ask("worker shed")) == len(shed) < len(answers) / 2
    for (sock, reader), (status, fields, _) in zip(clients, answers):
        if fields.get("connection") != "close":
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert reader.answer()[0] == 301, "it has caught up"
