"""Mirroring, the gateway alone: what is copied, what of the answers is compared, and that users never notice."""

import itertools
import random
import socket
import threading

import pytest
from gateway_fixtures import driver, make  # noqa: F401
from gateway_rig import until
from h2.events import RequestReceived
from h2.settings import SettingCodes
from h2_peer import REFUSED_STREAM, H2Backend, H2Client, ended

STABLE, COPIES, COPIED = 1, 2, 3  # request slots
STATUS, BODY, JSON = 1, 2, 4
GET, HEAD, POST, PUT = 1 << 1, 1 << 2, 1 << 3, 1 << 4
COUNTERS = ("compared", "differed", "differed_status", "differed_headers", "differed_body", "uncompared", "uncopied",
            "requests", "5xx", "failed", "cut", "left", "repeats")
RESET = object()


def answer(body=b"same", fields="", status=200):
    return f"HTTP/1.1 {status} x\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body


def chunked(body, size, fields=""):
    pieces = [body[i:i + size] for i in range(0, len(body), size)]
    return (f"HTTP/1.1 200 x\r\n{fields}Transfer-Encoding: chunked\r\n\r\n".encode() +
            b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n")


def as_json(text, kind="application/json", fields=""):
    return answer(text.encode(), f"{fields}Content-Type: {kind}\r\n")


class Instance:
    """Answers each request with `raw`, and closes behind the last part; RESET, or bytes, or None: not at all."""

    def __init__(self, raw=answer(), close=False):
        self.raw, self.close, self.requests, self.sockets = raw, close, [], []
        self.go = threading.Event()  # for those that stall
        self.go.set()

    def __call__(self, sock, reader):
        self.sockets.append(sock)
        while (head := reader.head()) is not None:
            self.requests.append((head[0], head[1], reader.body(head[1])))
            self.go.wait()
            if self.raw is RESET:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return
            if self.raw is not None:
                sock.sendall(self.raw)
            if self.close:
                return


class Rig:
    def __init__(self, make, stable=None, candidate=None, route="", mirror="", extra=(), **options):
        self.stable, self.candidate = stable or Instance(), candidate or Instance()
        self.ports = [i if isinstance(i, int) else make[1](i).port for i in (self.stable, self.candidate)]
        self.gateway = make[0](**{"workers": 1, **options})
        self.get = self.gateway.get
        self.table(self.lines(route, mirror, extra))

    def lines(self, route="", mirror="", extra=()):
        return ["app slot=0", f"instance id=s slot=0 port={self.ports[0]}", f"instance id=c slot=1 port={self.ports[1]}",
                "pool first=0 instances=1", "pool first=1 instances=1 release=2", *extra, f"route app=0 {route}",
                f"share pool=0 weight=1000000 slot={STABLE}", f"mirror pool=1 slot={COPIES} copied={COPIED} {mirror}"]

    def table(self, lines):
        said = self.gateway.table(lines)
        assert said.startswith("applied"), said

    def count(self, name, slot=COPIES):
        return self.gateway.metric(name, slot)

    def over(self, copies):
        """So many turns are over (0: however many there were); the counters that are not 0."""
        def sum_up():
            now = {name: self.count(name) for name in COUNTERS}
            return now["compared"] + now["uncompared"] + now["uncopied"] >= copies and self.quiet() and now
        now = until(sum_up, f"the end of {copies} copies")
        assert copies in (0, now["compared"] + now["uncompared"] + now["uncopied"])
        return {name: n for name, n in now.items() if n}

    def quiet(self):
        return self.count("in_flight") == self.gateway.instance("in_flight", 1) == 0

    def samples(self):
        """[fault, user's status, copy's status, part, where] of each."""
        out = []
        while (words := self.gateway.ask("copy").split()) != ["none"]:
            out.append([words[0], int(words[1]), int(words[2]), *words[3:]])
        return out


SAME = {"compared": 1, "requests": 1}


# ---- what is copied --------------------------------------------------------------------------------------------------


def test_a_copy_is_the_request_that_the_instance_got(make):
    rig = Rig(make)
    sent = "X-One: 1\r\nSluice-Mirror: 7\r\nSluice_Mirror: 8\r\n"
    assert rig.get("/a?b=c", sent)[::2] == (200, b"same")
    assert rig.over(1) == SAME
    (line, fields, _), = rig.stable.requests
    assert line == "GET /a?b=c HTTP/1.1" and ("x-one", "1") in fields
    assert not {"sluice-mirror", "sluice_mirror"} & set(dict(fields))
    assert rig.candidate.requests == [(line, fields + [("sluice-mirror", "1")], b"")]
    assert [rig.count("requests", slot) for slot in (STABLE, COPIED)] == [1, 1]
    assert rig.samples() == []


def test_the_share_is_exact(make):
    rig = Rig(make, mirror="share=50000")
    sock, reader = rig.gateway.connect()
    for _ in range(1000):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert reader.answer()[0] == 200
    until(rig.quiet, "the end of the copies")  # each began before its user was answered
    copies = rig.over(0)["compared"]
    assert 49 <= copies <= 51
    assert rig.count("requests", COPIED) == copies == len(rig.candidate.requests)
    assert rig.count("requests", STABLE) == 1000


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_bodies_are_copied_once_they_are_whole(make, framing):
    rig = Rig(make, mirror=f"methods={POST} body=20000")
    body = bytes(range(256)) * 70
    head = "POST /p HTTP/1.1\r\nHost: a\r\n"
    if framing == "length":
        parts = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:9000], body[9000:]]
    else:
        parts = [f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + b"%x\r\n%s\r\n" % (9000, body[:9000]),
                 b"%x\r\n%s\r\n0\r\n\r\n" % (len(body) - 9000, body[9000:])]
    sock, reader = rig.gateway.connect(parts[0])
    until(lambda: rig.count("in_flight", STABLE) == 1, "the user's request")
    assert rig.candidate.requests == [] and rig.count("in_flight") == 0
    sock.sendall(parts[1])
    assert reader.answer()[0] == 200
    assert rig.over(1) == SAME
    assert [r[2] for r in rig.stable.requests + rig.candidate.requests] == [body, body]


def test_bodies_that_are_too_long_are_not_copied(make):
    rig = Rig(make, mirror=f"methods={POST | PUT} body=1000")
    for method in ("POST", "PUT"):
        assert rig.get(method=method, body=b"x" * 1001)[0] == 200
    for size in (1001, 200000):  # the second is not kept, either
        sock, reader = rig.gateway.connect(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                                           b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"y" * size))
        assert reader.answer()[0] == 200
    assert rig.over(4) == {"uncopied": 4}
    assert rig.candidate.requests == [] and len(rig.stable.requests[3][2]) == 200000
    assert rig.get(method="POST", body=b"x" * 1000)[0] == 200
    assert rig.over(5) == {"uncopied": 4, **SAME}


def test_what_is_not_copied_at_all(make):
    rig = Rig(make, trusted="127.0.0.0/8", extra=["match name=x-preview"])
    rig.table(rig.lines(extra=["match name=x-preview"]) + ["pin pool=0 slot=9 first=0 matches=1"])
    for method in ("POST", "DELETE", "PURGE"):
        assert rig.get(method=method)[0] == 200
    assert rig.get(fields="X-Preview: 1\r\n")[0] == 200
    assert rig.get(fields="Connection: upgrade\r\nUpgrade: x\r\n")[0] == 200
    assert rig.get(fields="Expect: 100-continue\r\nContent-Length: 0\r\n")[0] == 200
    # A gateway in front made it: it stays marked, and is not copied once more.
    assert rig.get(fields="Sluice-Mirror: 1\r\n")[0] == 200
    assert dict(rig.stable.requests[-1][1])["sluice-mirror"] == "1"
    assert rig.get("/last")[0] == 200
    assert rig.over(1) == SAME
    assert [r[0] for r in rig.candidate.requests] == ["GET /last HTTP/1.1"]


def test_rules_of_the_copies(make):
    rules = ["rules prefix=/v2", "edit kind=1 name=X-Tenant value=t"]
    rig = Rig(make, extra=rules, mirror="rules=1")
    assert rig.get("/a")[0] == 200
    assert rig.over(1) == SAME
    assert rig.stable.requests[0][0] == "GET /a HTTP/1.1"
    assert rig.candidate.requests[0][0] == "GET /v2/a HTTP/1.1"
    assert dict(rig.candidate.requests[0][1])["x-tenant"] == "t"


def test_many_on_one_connection(make):
    rig = Rig(make, candidate=Instance(chunked(b"same", 3)))
    sock, reader = rig.gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
    assert [reader.answer()[2] for _ in range(50)] == [b"same"] * 50
    assert rig.over(50) == {"compared": 50, "requests": 50}
    rig.stable.raw = rig.candidate.raw = answer(b"")
    sock.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert reader.answer("HEAD")[0] == 200
    assert rig.over(51) == {"compared": 51, "requests": 51}


# ---- what is compared ------------------------------------------------------------------------------------------------


def test_what_counts_as_the_same(make):
    rig = Rig(make)
    json = '{"a": 1, "b": [1, {"c": null}]}'
    same = {
        "chunks": (answer(b"a" * 50000), chunked(b"a" * 50000, 777)),
        "until-close": (answer(b"abc"), b"HTTP/1.0 200 OK\r\n\r\nabc"),
        "json": (as_json(json), chunked(b'{"b":[1.0,{"c":null}],"\\u0061":1}', 2,
                                        "Content-Type: application/problem+json\r\n")),
        "fields": (answer(fields="Date: 1\r\nX-A: 1\r\n"), b"HTTP/1.1 103 x\r\nX-B: 1\r\n\r\n" + answer(fields="Date: 2\r\n")),
        "no-body": (answer(b"", status=304), answer(b"", status=304)),
    }
    for n, (name, (rig.stable.raw, rig.candidate.raw)) in enumerate(same.items(), 1):
        rig.candidate.close = name == "until-close"
        rig.get()
        assert rig.over(n) == {"compared": n, "requests": n}, name


def test_what_differs(make):
    rig = Rig(make, extra=["field name=etag", "field name=vary"], mirror="fields=2")
    cases = {
        "status": (answer(), answer(status=404), ["status"], [200, 404, "status"]),
        "worse": (answer(), answer(status=500), ["status"], [200, 500, "status"]),
        "better": (answer(status=500), answer(), ["status"], [500, 200, "status"]),
        "header": (answer(fields="ETag: a\r\n"), answer(fields="Etag: b\r\n"), ["headers"], [200, 200, "header", "etag"]),
        "order": (answer(fields="Vary: a\r\nVary: b\r\n"), answer(fields="Vary: b\r\nVary: a\r\n"), ["headers"],
                  [200, 200, "header", "vary"]),
        "empty": (answer(fields="Vary: \r\n"), answer(), ["headers"], [200, 200, "header", "vary"]),
        "body": (answer(b"same"), answer(b"samf"), ["body"], [200, 200, "body"]),
        "longer": (answer(b"same"), answer(b"same\0"), ["body"], [200, 200, "body"]),
        "json": (as_json('{"a":{"b":1}}'), as_json('{"a":{"b":2}}'), ["body"], [200, 200, "body", "/a/b"]),
        "half": (as_json('{"a":1'), as_json('{"a": 1'), ["body"], [200, 200, "body"]),
        "type": (as_json('[1]'), as_json('[ 1]', "text/plain"), ["body"], [200, 200, "body"]),
        "coding": (as_json('[1]'), as_json('[ 1]', fields="Content-Encoding: x\r\n"), ["body"], [200, 200, "body"]),
        "all": (answer(b"a", "ETag: a\r\n"), answer(b"b", "ETag: b\r\n", 201), ["status", "headers", "body"],
                [200, 201, "status"]),
    }
    expected = {name: 0 for name in COUNTERS}
    for name, (rig.stable.raw, rig.candidate.raw, parts, sample) in cases.items():
        for counter in ("compared", "requests", "differed", *(f"differed_{p}" for p in parts)):
            expected[counter] += 1
        expected["5xx"] += name == "worse"
        assert rig.get()[0] == sample[0]
        assert rig.over(expected["compared"]) == {k: n for k, n in expected.items() if n}, name
        assert rig.samples() == [["differs", *sample]], name


def test_only_what_was_chosen_is_compared(make):
    rig = Rig(make, Instance(as_json('{"id":1,"list":[{"at":1,"n":1}]}')), Instance(as_json('{"list":[{"n":1}],"id":2}')),
              extra=["pointer text=/id", "pointer text=/list/*/at"], mirror="ignored=2")
    rig.get()
    assert rig.over(1) == SAME
    rig.table(rig.lines(mirror=f"compare={STATUS | BODY}"))
    rig.get()
    assert rig.over(2)["differed_body"] == 1
    rig.table(rig.lines(mirror=f"compare={STATUS}"))
    rig.get()
    assert rig.over(3)["differed"] == 1, "before the candidate answers otherwise"
    rig.table(rig.lines(mirror="compare=0"))
    rig.candidate.raw = answer(status=500)
    rig.get()
    assert rig.over(4)["differed"] == 1


def test_answers_that_are_too_long_to_be_compared(make):
    long = b"z" * (3 << 20)
    rig = Rig(make, Instance(answer(long)), Instance(chunked(long, 65536)))
    assert rig.get()[2] == long
    assert rig.over(1) == {"uncompared": 1, "requests": 1, "left": 1}
    rig.stable.raw, rig.candidate.raw = chunked(long, 60000), answer(b"short")
    assert rig.get()[2] == long
    assert rig.over(2) == {"uncompared": 2, "requests": 2, "left": 1}


def test_long_answers_whose_bodies_are_not_compared(make):
    long = b"z" * 700000  # the kernel moves it to a user, and a copy has nobody
    rig = Rig(make, Instance(answer(long)), Instance(answer(long, status=201)), mirror=f"compare={STATUS}")
    assert rig.get()[2] == long
    assert rig.over(1) == {"compared": 1, "requests": 1, "differed": 1, "differed_status": 1}


# ---- candidates that are not well ------------------------------------------------------------------------------------


def test_a_candidate_that_fails(make):
    rig = Rig(make, route="timeout=300 retries=3 on=15", access=1)
    cases = {
        "resets": (RESET, "failed", [502, "broke-off"]),
        "stalls": (None, "failed", [504, "timed-out"]),
        "garbage": (b"SSH-2.0-x\r\n\r\n", "failed", [502, "bad-answer"]),
        "half": (answer(b"half")[:-2], "cut", [200, "cut"]),
        "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "cut", [200, "cut"]),
        "switches": (b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "failed", [502, "bad-answer"]),
        "only-1xx": (b"HTTP/1.1 100 x\r\n\r\n" * 3, "failed", [504, "timed-out"]),
    }
    expected = {"uncompared": 0, "requests": 0, "failed": 0, "cut": 0}
    for name, (rig.candidate.raw, counter, fault) in cases.items():
        for counter in ("uncompared", "requests", counter):
            expected[counter] += 1
        assert rig.get()[::2] == (200, b"same"), name
        assert rig.over(expected["requests"]) == {k: n for k, n in expected.items() if n}, name
        assert [s[:2] for s in rig.samples()] == [fault[::-1]], name
    # Nobody else hears of it: neither the users' samples and access log nor their release's numbers.
    assert rig.gateway.ask("sample") == "none"
    lines = [rig.gateway.ask("access") for _ in cases]
    assert all('"status":200' in line for line in lines) and rig.gateway.ask("access") == "none"
    assert [rig.count("requests", slot) for slot in (STABLE, COPIED)] == [len(cases)] * 2
    assert sum(rig.count(name, slot) for name in ("failed", "cut", "retried") for slot in (STABLE, COPIED)) == 0
    assert rig.count("retried") == 0


def test_a_candidate_that_is_gone(make):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    rig = Rig(make, candidate=port)
    for _ in range(3):
        assert rig.get()[0] == 200
    assert rig.over(3) == {"uncompared": 3, "requests": 3, "failed": 3}
    assert [s[0] for s in rig.samples()] == ["connect-failed"] * 3
    # And one that has no instance.
    rig.table([line.replace("first=1 instances=1", "first=1 instances=0") for line in rig.lines()])
    assert rig.get()[0] == 200
    assert rig.over(4)["uncopied"] == 1


def test_a_candidate_that_closes_kept_connections_has_not_failed(make):
    rig = Rig(make, candidate=Instance(close=True))
    sock, reader = rig.gateway.connect()
    for _ in range(100):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert reader.answer()[0] == 200
    assert rig.over(100) == {"compared": 100, "requests": 100}


def test_an_endless_answer_is_left(make):
    def endless(sock, reader):
        while reader.head() is not None:
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                sock.sendall(b"x" * 65536)

    rig = Rig(make, candidate=endless)
    assert rig.get()[::2] == (200, b"same")
    assert rig.over(1) == {"uncompared": 1, "requests": 1, "left": 1}


def test_copies_that_pile_up_are_no_more_made(make):
    rig = Rig(make)
    rig.candidate.go.clear()
    sock, reader = rig.gateway.connect()
    for _ in range(140):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert reader.answer()[::2] == (200, b"same")
    until(lambda: rig.count("uncopied") == 12, "the limit")
    assert rig.count("in_flight") == 128
    rig.candidate.go.set()
    assert rig.over(140) == {"compared": 128, "requests": 128, "uncopied": 12}
    assert rig.count("requests", COPIED) == 128
    assert rig.get()[0] == 200
    assert rig.over(141)["compared"] == 129


# ---- users that are not well -----------------------------------------------------------------------------------------


def test_a_user_that_leaves_early(make):
    rig = Rig(make)
    rig.stable.go.clear()
    sock, _ = rig.gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: rig.candidate.requests, "the copy")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
    assert rig.over(1) == {"uncompared": 1, "requests": 1}
    assert rig.count("left", COPIED) == 1
    rig.stable.go.set()


def test_a_user_that_leaves_in_its_request(make):
    rig = Rig(make, mirror=f"methods={POST} body=1000")
    sock, _ = rig.gateway.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
    until(lambda: rig.count("in_flight", STABLE) == 1, "the user's request")
    sock.close()
    assert rig.over(1) == {"uncopied": 1}
    assert rig.candidate.requests == []


def test_a_stable_release_that_fails(make):
    rig = Rig(make, stable=Instance(RESET), route="retries=0")
    assert rig.get()[0] == 502
    assert rig.over(1) == {"uncompared": 1, "requests": 1}
    assert (rig.count("failed", COPIED), rig.count("requests", COPIED)) == (1, 1)
    rig.stable.raw = answer(b"half")[:-2]
    rig.stable.close = True
    with pytest.raises((EOFError, ConnectionResetError)):
        rig.get()
    assert rig.over(2) == {"uncompared": 2, "requests": 2}
    assert rig.count("cut", COPIED) == 1


def test_an_answer_before_the_request_is_whole(make):
    def early(sock, reader):
        reader.head()
        sock.sendall(answer(fields="Connection: close\r\n"))
        reader.rest()

    rig = Rig(make, early, mirror=f"methods={POST} body=1000")
    sock, reader = rig.gateway.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
    assert reader.answer()[::2] == (200, b"same")
    sock.close()
    assert rig.over(1) == {"uncopied": 1}


def test_all_at_once(make):
    """Users and candidates of every kind, and new tables meanwhile: users get theirs, and nothing is left behind."""
    kinds = [answer(), answer(status=500), RESET, None, answer(b"half")[:-2], b"nonsense\r\n\r\n",
             as_json("[" * 40 + "]" * 40), chunked(b"y" * 300000, 5000), answer(fields="Connection: close\r\n")]

    def candidate(sock, reader):
        for raw in itertools.cycle(kinds[random.randrange(len(kinds)):] + kinds):
            if (head := reader.head()) is None or raw is RESET:
                return
            reader.body(head[1])
            if raw is not None:
                sock.sendall(raw)

    def user(n):
        for k in range(40):
            leaves, method = (n + k) % 5 == 0, ("GET", "POST")[k % 2]
            body = b"x" * (k % 3) * 500
            sock, reader = rig.gateway.connect(
                f"{method} /{k} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            if leaves:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            else:
                wrong.extend([] if reader.answer()[2] == rig.stable.raw[-200000:] else [(n, k)])
            sock.close()

    wrong = []
    mirror = f"share=700000 methods={GET | POST} body=1000"
    rig = Rig(make, Instance(answer(b"z" * 200000)), candidate, route="timeout=500", mirror=mirror, workers=2)
    users = [threading.Thread(target=user, args=[n]) for n in range(8)]
    for u in users:
        u.start()
    while any(u.is_alive() for u in users):
        rig.table(rig.lines("timeout=500", mirror))
        rig.table([line for line in rig.lines("timeout=500") if "mirror" not in line and "id=c" not in line and
                   "release=2" not in line])
    for u in users:
        u.join()
    assert wrong == []
    until(lambda: all(rig.count("in_flight", slot) == 0 for slot in (STABLE, COPIES)), "the end of all")
    assert rig.gateway.instance("in_flight", 0) == rig.gateway.instance("in_flight", 1) == 0
    over = rig.count("compared") + rig.count("uncompared")
    assert over == rig.count("requests") == rig.count("requests", COPIED) > 0
    assert rig.gateway.ask("drain 60000") == "draining"
    assert rig.gateway.wait() == "exit 0"


# ---- tables and drains -----------------------------------------------------------------------------------------------


def test_a_new_table_does_not_wait_for_copies(make):
    rig = Rig(make)
    rig.candidate.go.clear()
    assert rig.get()[0] == 200
    until(lambda: rig.candidate.requests, "the copy")
    rig.table(rig.lines())  # nothing has changed for it
    assert rig.count("in_flight") == 1
    rig.table([line for line in rig.lines() if "id=c" not in line and "mirror" not in line and "release=2" not in line])
    assert rig.over(1) == {"uncompared": 1, "requests": 1, "left": 1}
    assert rig.get()[0] == 200
    assert rig.count("requests") == 1
    rig.candidate.go.set()


def test_a_pair_outlives_its_table(make):
    rig = Rig(make, Instance(as_json('{"id":1}')), Instance(as_json('{"id":2}')), mirror="fields=1 ignored=1",
              extra=["field name=content-type", "pointer text=/id"])
    rig.stable.go.clear()
    sock, reader = rig.gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: rig.candidate.requests, "the copy")
    rig.table([line for line in rig.lines() if "mirror" not in line])
    rig.stable.go.set()
    assert reader.answer()[0] == 200
    assert rig.over(1) == SAME


def test_a_drain_does_not_wait_for_copies(make):
    rig = Rig(make)
    rig.candidate.go.clear()
    assert rig.get()[0] == 200
    until(lambda: rig.candidate.requests, "the copy")
    assert rig.gateway.ask("drain 60000") == "draining"
    assert rig.gateway.wait() == "exit 0"
    rig.candidate.go.set()


def test_copies_of_a_worker_that_has_drained(make):
    """Another one still has a user: the gateway and its numbers live on."""
    rig = Rig(make, workers=2)
    rig.candidate.go.clear()
    for _ in range(32):  # both have some
        assert rig.get()[0] == 200
    rig.stable.go.clear()
    sock, reader = rig.gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: len(rig.stable.requests) == len(rig.candidate.requests) == 33, "the last user and the copies")
    assert rig.count("in_flight") == 33
    assert rig.gateway.ask("drain 60000") == "draining"
    until(lambda: rig.count("in_flight") < 33, "the end of one worker")
    rig.candidate.go.set()
    until(rig.quiet, "the end of the other's copies")
    assert rig.count("in_flight", STABLE) == 1
    rig.stable.go.set()
    assert reader.answer()[0] == 200
    sock.close()
    assert rig.gateway.wait() == "exit 0"


# ---- HTTP/2 ----------------------------------------------------------------------------------------------------------


def test_users_of_http2(make):
    rig = Rig(make, mirror=f"methods={GET | POST} body=1000")
    client = H2Client(rig.gateway.port)
    streams = [client.request() for _ in range(20)]
    assert [client.wait(s).body for s in streams] == [b"same"] * 20
    assert client.get("POST", "/p", body=b"abc").status == 200
    assert rig.over(21) == {"compared": 21, "requests": 21}
    assert [body for line, _, body in rig.candidate.requests if line == "POST /p HTTP/1.1"] == [b"abc"]
    client.close()


def test_instances_of_http2(make):
    def echo(connection, stream, request, event):
        if ended(event):
            grpc = request.fields.get("content-type") == "application/grpc"
            trailers = [("grpc-status", "13" if "sluice-mirror" in request.fields else "0")] if grpc else None
            connection.answer(stream, 200, [("content-type", "application/grpc")] if grpc else [], request.body, trailers)

    backends = [H2Backend(echo), H2Backend(echo)]
    rig = Rig(make, *[b.port for b in backends], route="h2c=1", mirror=f"methods={GET | POST} body=1000")
    assert rig.get(method="POST", body=b"abc")[::2] == (200, b"abc")
    assert rig.over(1) == SAME
    assert backends[1].requests[0].fields["sluice-mirror"] == "1" and backends[1].requests[0].body == b"abc"
    # What fails in a trailer counts as what it means.
    assert rig.get(method="POST", body=b"abc", fields="Content-Type: application/grpc\r\nTE: trailers\r\n")[0] == 200
    assert rig.over(2)["differed_status"] == 1
    assert [s[3] for s in rig.samples() if s[0] == "differs"] == ["status"]
    for b in backends:
        b.close()


def test_a_body_of_which_the_beginning_was_kept_is_not_copied(make):
    """It is sent once more, and answered before all of it has come: what comes then is not kept."""
    most, rest = b"m" * 24000, b"r" * 8000

    def stable(connection, stream, request, event):
        if stream == 1 and len(request.body) == len(most):
            connection.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
            connection.h2.reset_stream(stream, REFUSED_STREAM)
        elif stream == 3 and isinstance(event, RequestReceived):
            connection.h2.send_headers(stream, [(":status", "200"), ("content-length", "4")])
        elif stream == 3 and ended(event):
            connection.data(stream, b"same")

    backends = [H2Backend(stable), H2Backend()]
    rig = Rig(make, *[b.port for b in backends], route="h2c=1", mirror=f"methods={PUT} body=32768")
    sock, reader = rig.gateway.connect(
        f"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(most + rest)}\r\n\r\n".encode() + most)
    line, fields = reader.head()
    assert line.split()[1] == "200" and not backends[0].requests[1].body
    sock.sendall(rest)
    with backends[0].connections[0].lock:
        backends[0].connections[0].h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 65535})
        backends[0].connections[0].flush()
    assert reader.body(fields) == b"same"
    assert bytes(backends[0].requests[1].body) == most + rest
    assert rig.over(1) == {"uncopied": 1} and backends[1].requests == []
    for b in backends:
        b.close()
