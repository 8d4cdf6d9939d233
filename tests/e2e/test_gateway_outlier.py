"""The gateway and instances that are worse than the others: ejection, return, slow start."""

import threading
import time
from collections import Counter

import pytest
from gateway_fixtures import driver, make  # noqa: F401
from gateway_rig import until
from sluice_test import App

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FAIL = b"HTTP/1.1 500 x\r\nContent-Length: 4\r\n\r\nfail"


class Moody:
    """A handler whose answer is what `answer` is at the moment; None: it breaks off."""

    def __init__(self, answer=OK, delay=0):
        self.answer, self.delay, self.count = answer, delay, 0

    def __call__(self, sock, reader):
        while (head := reader.head()) is not None:
            reader.body(head[1])
            self.count += 1
            time.sleep(self.delay)
            if self.answer is None:
                return
            sock.sendall(self.answer)


def ejected(gateway, slot):
    ms, often, why = gateway.ask(f"ejected {slot}").split()
    return int(ms), int(often), why


def load(gateway, n, fields=""):
    """n requests on one connection: their statuses."""
    sock, reader = gateway.connect()
    statuses = Counter()
    for _ in range(n):
        sock.sendall(f"GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode())
        statuses[reader.answer()[0]] += 1
    sock.close()
    return statuses


# ---- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_one_that_only_fails_is_taken_out(make, workers):
    gateway, bad, good = make[0](workers=workers), Moody(FAIL), [Moody(), Moody()]
    ports = [make[1](h).port for h in (bad, *good)]
    gateway.serve(*ports, route="errors=5 base=60000")
    until(lambda: load(gateway, 60) and ejected(gateway, 0)[0] > 0, "the ejection")
    ms, often, why = ejected(gateway, 0)
    assert 0 < ms <= 60000 and (often, why) == (1, "errors")
    until(lambda: load(gateway, 60)[500] == 0, "the other workers' knowledge of it")
    before = bad.count
    assert load(gateway, 200) == {200: 200}
    assert bad.count == before
    assert ejected(gateway, 1)[1] == ejected(gateway, 2)[1] == 0
    # A worker needs five of its own, and what was on its way to it.
    assert bad.count <= 5 * workers + 16


def test_one_that_breaks_off_is_taken_out(make):
    gateway, bad = make[0](), Moody(None)
    gateway.serve(make[1](bad).port, make[1]().port, route="errors=3 base=60000 retries=3")
    assert load(gateway, 300) == {200: 300}
    assert ejected(gateway, 0)[1] == 1
    assert bad.count < 30


def test_the_last_one_is_never_taken_out(make):
    gateway, bad = make[0](), Moody(FAIL)
    gateway.serve(make[1](bad).port, route="errors=1")
    assert load(gateway, 300) == {500: 300}
    assert ejected(gateway, 0)[1] == 0


def test_not_more_than_max_ejected(make):
    gateway, bad = make[0](), [Moody(FAIL) for _ in range(3)]
    ports = [make[1](h).port for h in bad] + [make[1]().port]
    gateway.serve(*ports, route="errors=3 base=60000 share=500000")
    load(gateway, 600)
    assert sum(ejected(gateway, slot)[0] > 0 for slot in range(4)) == 2
    assert ejected(gateway, 3)[1] == 0
    gateway.serve(*ports, route="errors=3 base=60000 share=1000000")
    load(gateway, 600)
    assert sum(ejected(gateway, slot)[0] > 0 for slot in range(4)) == 3
    assert load(gateway, 100) == {200: 100}


def test_where_all_fail_nobody_is_an_outlier(make):
    """What they share is down: taking instances out would only add load to the rest."""
    gateway = make[0]()
    gateway.serve(*[make[1](Moody(FAIL)).port for _ in range(3)], route="errors=3")
    assert load(gateway, 400) == {500: 400}
    assert [ejected(gateway, slot)[1] for slot in range(3)] == [0, 0, 0]


def test_an_error_rate_that_all_have_ejects_nobody(make):
    """Every third request fails, wherever it goes: rows of five are chance."""
    n = [0]

    def third(sock, reader):
        while reader.head() is not None:
            n[0] += 1
            sock.sendall(OK if n[0] % 3 else FAIL)

    gateway = make[0]()
    gateway.serve(*[make[1](third).port for _ in range(3)], route="errors=2")
    assert load(gateway, 600)[500] > 100
    assert [ejected(gateway, slot)[1] for slot in range(3)] == [0, 0, 0]


def test_off_is_off(make):
    gateway, bad = make[0](), Moody(FAIL)
    gateway.serve(make[1](bad).port, make[1]().port, route="errors=0")
    assert load(gateway, 400)[500] > 100
    assert ejected(gateway, 0)[1] == 0


def test_what_the_client_gets_wrong_is_no_failure(make):
    gateway = make[0]()
    gateway.serve(make[1](Moody(b"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n")).port, make[1]().port,
                  route="errors=2")
    assert load(gateway, 300)[404] > 80
    assert ejected(gateway, 0)[1] == 0


def test_it_comes_back_with_a_rising_share_and_goes_for_longer(make):
    gateway, bad, good = make[0](), Moody(FAIL), Moody()
    gateway.serve(make[1](bad).port, make[1](good).port, route="errors=3 base=400 max=100000")
    until(lambda: load(gateway, 20) and ejected(gateway, 0)[1] == 1, "the first ejection")
    until(lambda: load(gateway, 20) and ejected(gateway, 0)[1] == 2, "the second ejection")
    assert ejected(gateway, 0)[0] > 400, "twice as long"
    bad.answer = OK
    until(lambda: ejected(gateway, 0)[0] == 0, "its return")
    bad.count = good.count = 0
    load(gateway, 100)
    assert bad.count < 40, "its share begins at a tenth of what it has later"
    until(lambda: load(gateway, 20) and not reset(bad, good) and load(gateway, 200)
          and bad.count > 60, "its whole share")
    assert ejected(gateway, 0)[1] == 2


def reset(*handlers):
    for h in handlers:
        h.count = 0


def test_a_bad_one_is_better_than_none(make):
    """The good one goes away: what is ejected gets the requests, at once."""
    gateway, bad = make[0](), Moody(FAIL)
    ports = [make[1](bad).port, make[1]().port]
    gateway.serve(*ports, route="errors=3 base=60000")
    until(lambda: load(gateway, 20) and ejected(gateway, 0)[0] > 0)
    gateway.serve(ports[0], route="errors=3 base=60000", app="hold_ms=60000")
    bad.answer = OK
    assert load(gateway, 20) == {200: 20}
    assert gateway.metric("held", 0) == 0


def test_another_instance_in_its_slot_begins_anew(make):
    gateway, bad, good = make[0](), make[1](Moody(FAIL)), make[1]()
    gateway.serve(bad.port, good.port, route="errors=3 base=60000")
    until(lambda: load(gateway, 20) and ejected(gateway, 0)[0] > 0)
    fresh = Moody()
    gateway.serve(make[1](fresh).port, good.port, ids=["new", "good"], route="errors=3")
    assert ejected(gateway, 0) == (0, 0, "errors")
    load(gateway, 100)
    assert fresh.count > 20


# ---- what the judge sees ---------------------------------------------------------------------------


def split(gateway, stable, candidate, weight=500000, route="errors=3 base=60000"):
    lines = ["app slot=0"]
    lines += [f"instance id=i{p} slot={s} port={p}" for s, p in enumerate(stable + candidate)]
    lines += [f"pool first=0 instances={len(stable)}", f"pool first={len(stable)} instances={len(candidate)}",
              f"route app=0 {route}", f"share pool=0 weight={1000000 - weight} slot=1",
              f"share pool=1 weight={weight} slot=2"]
    assert gateway.table(lines).startswith("applied")


def test_while_a_route_is_split_nobody_is_taken_out(make):
    """Half of the candidate's instances fail always: half of its answers are errors, as without this."""
    gateway = make[0]()
    ports = [make[1](h).port for h in (Moody(), Moody(), Moody(FAIL), Moody())]
    split(gateway, ports[:2], ports[2:])
    load(gateway, 400)
    until(lambda: gateway.metric("requests", 1) + gateway.metric("requests", 2) == 400)
    assert gateway.metric("5xx", 2) > 60
    assert gateway.metric("spilled", 1) == 0
    assert [ejected(gateway, slot)[1] for slot in range(4)] == [0] * 4


def test_an_ejection_goes_on_while_the_route_is_split(make):
    gateway, bad = make[0](), Moody(FAIL)
    ports = [make[1](h).port for h in (bad, Moody(), Moody())]
    split(gateway, ports[:2], ports[2:], weight=0)
    until(lambda: load(gateway, 20) and ejected(gateway, 0)[0] > 0)
    split(gateway, ports[:2], ports[2:])
    assert load(gateway, 200) == {200: 200}


# ---- latency ---------------------------------------------------------------------------------------


def test_one_that_is_much_slower_is_taken_out(make):
    gateway, slow = make[0](), Moody(delay=0.03)
    ports = [make[1](h).port for h in (slow, Moody(), Moody())]
    gateway.serve(*ports, route="latency=3000000 base=60000")
    threads = [threading.Thread(target=load, args=(gateway, 300)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    until(lambda: load(gateway, 50) and ejected(gateway, 0)[1] == 1, "the ejection")
    assert ejected(gateway, 0)[2] == "latency"
    assert ejected(gateway, 1)[1] == ejected(gateway, 2)[1] == 0


def test_a_few_slow_answers_are_no_evidence(make):
    def sometimes(sock, reader):
        n = 0
        while reader.head() is not None:
            n += 1
            time.sleep(0.3 if n % 40 == 20 else 0)
            sock.sendall(OK)

    gateway = make[0]()
    gateway.serve(make[1](sometimes).port, *[make[1]().port for _ in range(2)], route="latency=3000000")
    load(gateway, 900)
    assert [ejected(gateway, slot)[1] for slot in range(3)] == [0, 0, 0]


# ---- slow start ------------------------------------------------------------------------------------


def aged(gateway, ports, ages, route):
    lines = ["app slot=0"]
    lines += [f"instance id=i{p} slot={s} port={p} age={age}" for s, (p, age) in enumerate(zip(ports, ages))]
    lines += [f"pool first=0 instances={len(ports)}", f"route app=0 {route}", "share pool=0 weight=1000000 slot=1"]
    assert gateway.table(lines).startswith("applied")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_new_one_begins_with_a_tenth(make, workers):
    gateway, handlers = make[0](workers=workers), [Moody(), Moody(), Moody()]
    ports = [make[1](h).port for h in handlers]
    aged(gateway, ports, [3600_000, 3600_000, 0], "slow_start=600000")
    load(gateway, 900)
    assert 5 <= handlers[2].count <= 75, "30 of 900, not 300"
    assert min(h.count for h in handlers[:2]) > 350


def test_half_way_it_has_half(make):
    gateway, handlers = make[0](), [Moody(), Moody()]
    ports = [make[1](h).port for h in handlers]
    aged(gateway, ports, [3600_000, 300_000], "slow_start=600000")
    load(gateway, 1000)
    assert 200 <= handlers[1].count <= 350, "55% of 500"


def test_all_new_ones_are_equal(make):
    gateway, handlers = make[0](), [Moody(), Moody(), Moody()]
    ports = [make[1](h).port for h in handlers]
    aged(gateway, ports, [0, 0, 0], "slow_start=600000")
    load(gateway, 900)
    assert min(h.count for h in handlers) > 220


def test_without_it_a_new_one_has_its_whole_share(make):
    gateway, handlers = make[0](), [Moody(), Moody()]
    ports = [make[1](h).port for h in handlers]
    aged(gateway, ports, [3600_000, 0], "")
    load(gateway, 400)
    assert handlers[1].count > 140


# ---- chaos -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_no_idempotent_request_is_lost_while_one_instance_is_well(make, workers):
    """Two of three instances flap between well, 503, breaking off and refusing; the third is well. What
    may be sent again is answered well, each time."""
    gateway, moods = make[0](workers=workers), [Moody(), Moody()]
    flapping = [make[1](m) for m in moods]
    well = make[1]()
    gateway.serve(flapping[0].port, flapping[1].port, well.port,
                  route="retries=10 on=15 budget=1000000 backoff=5 errors=5 base=100 max=300")
    stop, results = threading.Event(), []

    def flap():
        n = 0
        while not stop.wait(0.05):
            n += 1
            for k, m in enumerate(moods):
                m.answer = [OK, FAIL.replace(b"500", b"503"), None][(n + k) % 3]

    def client():
        while not stop.is_set():
            results.append(load(gateway, 10))

    threads = [threading.Thread(target=f) for f in [flap] + [client] * 6]
    for t in threads:
        t.start()
    until(lambda: gateway.metric("requests") > 1500, "enough requests")
    stop.set()
    for t in threads:
        t.join()
    total = sum(results, Counter())
    assert set(total) == {200}, (total, gateway.metric("unretried"))
    assert gateway.metric("retried") > 0
    assert sum(ejected(gateway, slot)[1] for slot in (0, 1)) > 0
    assert ejected(gateway, 2)[1] == 0
    until(lambda: all(gateway.instance("in_flight", slot) == 0 for slot in range(3)))


# ---- through sluice.yaml ---------------------------------------------------------------------------


def test_an_ejected_instance_is_told_to_people(make_server):
    """One of two instances fails while a file is there; `status`, events and /metrics say so, and say
    when it is over."""
    server = make_server()
    trouble = server.root / "trouble"
    trouble.touch()
    script = (f"case $SLUICE_INSTANCE in *-1) export HELLO_ERROR_RATE=100% HELLO_FAULT_FILE={trouble};; esac; "
              "exec ./hello")
    app = App(server, run=script, routes=[{"path": "/", "outlier": {"errors": 3, "base": "3s"},
                                           "slow-start": "1s", "retries": {"on": ["reset", 503]}}])
    app.deploy(1, ok=True)

    def out():
        for _ in range(20):
            server.get()
        return [i for i in app.status()["instances"] if i["ejected"]]

    found = until(out, "the ejection")
    assert len(found) == 1 and found[0]["id"].endswith("-1"), found
    assert found[0]["ejected"]["reason"] == "errors" and 0 < found[0]["ejected"]["for_ms"] <= 3000
    assert found[0]["state"] == "ready" and "gets no requests for" in found[0]["detail"]
    assert "it fails while the others do not" in app.cli("status", json_=False).stdout
    assert server.metric("sluice_instance_ejections_total", instance=found[0]["id"]) == 1
    told = until(lambda: [e for e in app.documents("events") if e["kind"] == "instance-ejected"], "the event")
    assert found[0]["id"] in told[0]["text"]
    assert server.get().status == 200
    trouble.unlink()
    until(lambda: not out(), "its return")
    assert server.metric("sluice_instance_ejected", instance=found[0]["id"]) == 0
