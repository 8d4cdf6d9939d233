"""Certificates by ACME: `tls: auto` is all that the file says."""

import datetime
import json
import os
import re
import ssl
import stat
import threading

import pytest
from sluice_test import App, wait_until
from sluice_test.build import PATIENCE
from sluice_test.acme import FakeCa, Pebble, free_ports
from test_tls import Tls


class Auto(Tls):
    """A server whose certificates come from `ca`; its listeners are known before it starts."""

    def __init__(self, make_server, ca=None, plain=True, **pebble):
        self.http_port, self.tls_port = free_ports(2)
        self.ca = ca or Pebble(self.http_port if plain else free_ports(1)[0], self.tls_port, **pebble)
        self.server = make_server(start=False, listen=f"127.0.0.1:{self.http_port}", extra=[
            "--tls-listen", f"127.0.0.1:{self.tls_port}", "--acme-directory", self.ca.directory,
            "--acme-ca", str(self.ca.ca), "--acme-email", "ops@shop.test"])
        self.folder, self.made = self.server.data / "acme", self.server.root / "made"
        self.made.mkdir()
        self.start()
        self.app = App(self.server, replicas=1, tls="auto", routes=[{"host": "shop.test"}])

    def state(self, host="shop.test"):
        return json.loads((self.folder / "hosts" / f"{host}.json").read_text())

    def trouble(self, host="shop.test"):
        return self.certificates()[host]["trouble"] or ""

    def issuer(self, host="shop.test"):
        """Verifies it as a browser would; gives what ssl makes of it."""
        context = ssl.create_default_context(cadata=self.ca.root())
        with self.connect(host, context) as sock:
            return sock.getpeercert()

    def wait_served(self, host="shop.test"):
        return wait_until(lambda: self.issuer(host), 30, f"{host} has its certificate")

    def events(self):
        lines = self.server.cli("events").stdout.splitlines()
        return [(e["kind"], e["text"]) for e in map(json.loads, lines) if e["kind"].startswith("certificate")]

    def try_now(self, host="shop.test"):
        """As docs/tls.md says."""
        (self.folder / "hosts" / f"{host}.json").unlink()


@pytest.fixture
def auto(make_server):
    made = []

    def make(**options):
        made.append(Auto(make_server, **options))
        return made[-1]

    yield make
    for one in made:
        one.ca.close()


@pytest.fixture
def fake(auto):
    return auto(ca=FakeCa())


# ---- a real CA ------------------------------------------------------------------------------------


def test_all_that_the_file_says(auto):
    t = auto()
    t.app.deploy(1, ok=True, routes=[{"host": "shop.test", "https": "redirect"}, {"host": "www.shop.test"},
                                     {"host": "shop.test", "path": "/api"}])
    for host in ("shop.test", "www.shop.test"):
        got = t.wait_served(host)
        assert got["subjectAltName"] == (("DNS", host),)
    wait_until(lambda: [kind for kind, _ in t.events()] == ["certificate-obtained"] * 2, 5, "it is told")
    assert t.certificates()["shop.test"]["renewal"] and t.trouble() == ""
    wait_until(lambda: t.server.get("/", Host="shop.test").status == 308, 5, "now it redirects")
    until = ssl.cert_time_to_seconds(got["notAfter"])
    assert t.server.metric("sluice_certificate_expiry_timestamp_seconds", certificate="www.shop.test", automatic="true") == until
    for path in t.folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    # a restart orders nothing
    wait_until(lambda: t.state()["order"] is None and t.state("www.shop.test")["order"] is None, 5, "it is over")
    before = t.serial()
    t.server.stop()
    t.server.start()
    assert t.serial() == before and t.state()["failures"] == 0
    key = (t.folder / "certs" / "shop.test.pem").read_text().split("PRIVATE KEY-----\n")[1].splitlines()[0]
    account = json.loads(next(t.folder.glob("account-*.json")).read_text())
    assert account["url"].startswith("https://127.0.0.1")
    log = t.server.log_text(10 ** 7)
    assert key not in log and account["key"].splitlines()[1] not in log
    assert "orders" not in log and t.ca.text().count("Issued certificate") == 2


def test_by_tls_alone_and_again_and_again(auto):
    """Nothing listens where HTTP-01 would look: TLS-ALPN-01; the certificates live for 6 s."""
    t = auto(plain=False, validity=6, PEBBLE_WFE_NONCEREJECT="30", PEBBLE_AUTHZREUSE="50")
    t.app.deploy(1, ok=True)
    wait_until(lambda: "port 80" in t.trouble(), 15, "HTTP-01 does not work here")
    assert "connection" in t.trouble() and "next try at" in t.trouble()
    t.try_now()
    t.wait_served()
    assert t.state()["challenge"] == "tls-alpn-01"
    connection = t.client()
    seen = set()

    def renewed():
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read()
        seen.add(t.serial())
        return len(seen) >= 2

    wait_until(renewed, 60, "renewed, and an old connection goes on")
    connection.close()
    wait_until(lambda: ("certificate-renewed", "certificate shop.test: renewed") in t.events(), 5, "said")
    assert t.state()["failures"] == 0


def test_failures_are_said_and_end(auto):
    t = auto()
    t.ca.stop()
    t.app.deploy(1, ok=True)
    wait_until(lambda: "no answer" in t.trouble(), 15, "the CA is away")
    assert "this server must reach " + t.ca.directory in t.trouble()
    with pytest.raises((ssl.SSLError, OSError)):
        t.connect()
    assert t.server.get("/", Host="shop.test").status == 200
    t.ca.start()
    t.ca.set_address("shop.test", "127.0.0.9")  # nobody there
    t.try_now()
    wait_until(lambda: "(connection)" in t.trouble(), 15, "the host cannot be seen")
    status = t.server.cli("status", json_=False).stdout
    assert "the certificate shop.test cannot be obtained" in status and "DNS records, firewalls and port forwards" in status
    wait_until(lambda: [kind for kind, _ in t.events()] == ["certificate-failed"] * 2, 5, "it is told")
    before = t.state()
    t.server.kill("controller")  # a new one does not ask sooner
    wait_until(lambda: "(connection)" in t.trouble(), 15, "it knows")
    assert t.state()["retry"] == before["retry"] and t.state()["failures"] == 1
    t.ca.set_address("shop.test", "127.0.0.1")
    t.try_now()
    t.wait_served()
    assert t.trouble() == ""


def test_a_route_that_goes(auto):
    t = auto(validity=30)
    t.app.deploy(1, ok=True)
    t.wait_served()
    t.app.deploy(2, ok=True, routes=[{"host": "shop.test", "tls": "files"}])
    wait_until(lambda: t.certificates()["shop.test"]["renewal"] is None, 15, "it is not renewed")
    assert t.trouble() == "" and t.issuer()  # but served
    t.app.deploy(3, ok=True)
    wait_until(lambda: t.certificates()["shop.test"]["renewal"], 15, "it is again")
    assert t.ca.text().count("Issued certificate") == 1


# ---- a CA that is scripted ------------------------------------------------------------------------

TOKEN = "a-token_of-the-CA"


def ask_for_proof(ca, kind="http-01"):
    """It wants to see the host, and never looks."""
    order = {"status": "pending", "authorizations": [ca.url + "/authz"], "finalize": ca.url + "/finalize"}
    authorization = {"status": "pending", "challenges": [{"type": kind, "url": ca.url + "/challenge", "token": TOKEN}]}
    say = lambda status, value, **headers: lambda r: (status, headers, json.dumps(value).encode())
    ca.answers["/order"] = say(201, order, Location=ca.url + "/order/1")
    ca.answers["/order/1"] = say(200, order)
    ca.answers["/authz"] = say(200, authorization)
    ca.answers["/challenge"] = say(200, {"status": "processing"})


def proof(t, host="shop.test", token=TOKEN):
    return t.server.get(f"/.well-known/acme-challenge/{token}", Host=host)


def test_who_looks_sees_the_proof_and_nobody_else(fake):
    t, ca = fake, fake.ca
    ask_for_proof(ca)
    t.app.deploy(1, ok=True, routes=[{"host": "shop.test", "https": "redirect"}, {"host": "other.test", "tls": "files"}])
    wait_until(lambda: ca.count("/challenge") == 1, 15, "it was told to look")
    answer = proof(t)
    assert answer.status == 200 and answer.body.startswith(TOKEN.encode() + b".")
    assert proof(t, "SHOP.test:80").body == answer.body
    for other in (proof(t, token="another"), proof(t, "other.test"), proof(t, token=TOKEN + "/x"), proof(t, token="")):
        assert other.body.startswith(b"Hello")  # an app may have a client of its own
    assert proof(t, "unknown.test").status == 404
    assert t.server.get("/", Host="shop.test").status == 200  # it does not redirect yet
    assert "is being obtained" in t.trouble()
    t.app.command("stop")
    assert proof(t).body == answer.body  # others wait for an instance
    t.app.command("start")
    # another gateway knows it as soon as it is there
    old = t.server.kill("gateway")
    wait_until(lambda: t.server.pid("gateway") != old and proof(t).body == answer.body, 15, "it knows")
    # a controller that is killed goes on with the order
    key = t.state()["order"]["key"]
    t.server.kill("controller")
    wait_until(lambda: ca.count("/order/1") >= 1 and ca.count("/challenge") == 2, 20, "it goes on")
    assert ca.count("/order") == 1 and ca.count("/account") == 1 and t.state()["order"]["key"] == key
    assert proof(t).body == answer.body
    # another server takes over: nobody who looks meanwhile misses the proof
    over = threading.Event()
    missed = []

    def look():
        while not over.is_set():
            seen = proof(t)
            if seen.body != answer.body:
                missed.append(seen)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    asked = ca.count("/challenge")
    t.server.kill("guardian")
    t.server.process.wait()
    t.server.start()
    wait_until(lambda: ca.count("/challenge") > asked, 20, "it goes on")
    over.set()
    for thread in threads:
        thread.join()
    assert not missed
    kid = ca.url + "/account/1"
    assert {r["protected"].get("kid") for r in ca.asked if r["method"] == "POST" and r["path"] != "/account"} == {kid}
    used = [r["protected"]["nonce"] for r in ca.asked if r["method"] == "POST"]
    assert len(used) == len(set(used)) and all(r["agent"].startswith("sluice/") for r in ca.asked)
    assert {r["type"] for r in ca.asked if r["method"] == "POST"} == {"application/jose+json"}
    assert [r["payload"] for r in ca.asked if r["path"] == "/account"] == [
        {"termsOfServiceAgreed": True, "contact": ["mailto:ops@shop.test"]}]
    # nobody wants it any more
    t.app.deploy(2, ok=True, routes=[{"host": "other.test", "tls": "files"}])
    wait_until(lambda: proof(t).status == 404 and "shop.test" not in t.certificates(), 15, "the proof is gone")


def test_the_certificate_of_a_proof_is_for_the_ca_alone(fake):
    t, ca = fake, fake.ca
    ask_for_proof(ca, "tls-alpn-01")
    t.app.deploy(1, ok=True)
    wait_until(lambda: ca.count("/challenge") == 1, 15, "it was told to look")

    def connect(protocols, host="shop.test"):
        context = t.context()
        if protocols:
            context.set_alpn_protocols(protocols)
        return t.connect(host, context)

    with connect(["acme-tls/1"]) as sock:
        assert sock.selected_alpn_protocol() == "acme-tls/1"
        der = sock.getpeercert(binary_form=True)
        assert bytes.fromhex("06082b06010505070 11f0101ff0422".replace(" ", "")) in der  # critical, 34 bytes
        sock.sendall(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        try:
            assert sock.recv(1000) == b""  # nothing is said on it
        except OSError:
            pass
    for protocols, host in ((["acme-tls/1"], "other.test"), (["http/1.1"], "shop.test"), (None, "shop.test"),
                            (["acme-tls/1", "http/1.1"], "shop.test")):
        with pytest.raises((ssl.SSLError, OSError)):
            connect(protocols, host)
    t.folder = t.server.data / "certs"
    t.folder.mkdir()
    t.put("default", "default.test")
    wait_until(lambda: t.serial() == t.of_file("default"), 10, "others get the default one")
    with connect(["acme-tls/1"]) as sock:
        assert sock.getpeercert(binary_form=True) == der


def test_limits_are_heeded(fake):
    t, ca = fake, fake.ca
    ca.problem("/order", 429, "rateLimited", "too many\u001b[2J certificates\n\nfor shop.test", **{"Retry-After": "7200"})
    t.app.deploy(1, ok=True)
    wait_until(lambda: "too many [2J certificates for shop.test (rateLimited)" in t.trouble(), 15, "said, and clean")
    state = t.state()
    assert state["failures"] == 1 and state["retry"] / 1000 > os.stat(t.folder / "hosts/shop.test.json").st_mtime + 7100
    t.server.kill("controller")
    t.app.deploy(2, ok=True)
    wait_until(lambda: "rateLimited" in t.trouble(), 15, "it is known still")
    assert ca.count("/order") == 1
    assert "\x1b" not in t.server.cli("status", json_=False).stdout + t.server.log_text()


def test_an_account_is_not_given_up_by_itself(fake):
    t, ca = fake, fake.ca
    ca.problem("/order", 403, "unauthorized", "not you")
    t.app.deploy(1, ok=True)
    wait_until(lambda: "not you" in t.trouble(), 15, "it is refused")
    file = next(t.folder.glob("account-*.json"))
    key = json.loads(file.read_text())["key"]

    def again(change):
        t.server.stop()
        change()
        (t.folder / "hosts" / "shop.test.json").unlink(missing_ok=True)
        t.server.give(t.folder)
        t.server.start()

    def hide():
        file.rename(file.with_suffix(".hidden"))
        file.mkdir()
        (t.folder / "hosts" / "x.json.tmp").write_text("left behind")

    again(hide)
    wait_until(lambda: "waits: the account: " in t.trouble(), 15, "it cannot be read, which is no reason for another")
    assert ca.count("/account") == 1 and not (t.folder / "hosts" / "x.json.tmp").exists()

    def damage():
        file.rmdir()
        file.write_text("{")

    again(damage)
    wait_until(lambda: ca.count("/account") == 2, 15, "it is none: there is another")
    assert file.with_name(file.name + ".broken").read_text() == "{"
    wait_until(lambda: "not you" in t.trouble(), 15, "it is refused too")
    second = json.loads(file.read_text())["key"]
    file.unlink()  # as people are told to
    t.try_now()
    wait_until(lambda: ca.count("/account") == 3, 15, "the next one is new")
    assert len({key, second, json.loads(file.read_text())["key"]}) == 3


def test_a_clock_that_was_ahead(fake):
    """When the last try failed, and was set right while no controller ran."""
    t, ca = fake, fake.ca
    ca.problem("/order", 403, "unauthorized", "not you")
    t.app.deploy(1, ok=True)
    wait_until(lambda: "not you" in t.trouble(), 15, "it is refused")
    t.server.stop()
    day = 86400 * 1000
    state = t.state()
    assert 60000 < state["pause"] < 180000
    state["retry"] += 20 * day
    state["obtained"] = state["retry"]
    (t.folder / "hosts" / "shop.test.json").write_text(json.dumps(state))
    t.server.give(t.folder)
    t.server.start()

    def next_try():
        said = re.search(r"next try at (\S+)Z", t.trouble())
        return said and datetime.datetime.fromisoformat(said[1])

    until = datetime.datetime.utcnow() + datetime.timedelta(milliseconds=state["pause"] + 60000 * PATIENCE)
    assert wait_until(next_try, 15, "it is told") < until


def test_answers_that_are_not_acme(fake):
    t, ca = fake, fake.ca
    hostile = [b"", b"{", b"[" * 100000, os.urandom(5000),
               b"x" * (1 << 20) + b"yy", b'{"a": "' + b"\\u001b" * 10000 + b'"}']
    ca.answers["/dir"] = lambda r: (200, {}, hostile[0])
    t.app.deploy(1, ok=True)
    controller = None
    for i, body in enumerate(hostile):
        hostile[0] = body
        if i > 0:
            t.try_now()
        wait_until(lambda: ca.count("/dir") > i and t.state()["failures"] >= 1, 15, "it was asked, and gave up")
        controller = controller or t.server.pid("controller")
        assert t.server.pid("controller") == controller
    ca.usual()
    ca.answers["/order"] = lambda r: (302, {"Location": "https://127.0.0.1:1/"}, b"{}")
    t.try_now()
    wait_until(lambda: "not ACME" in t.trouble() and ca.count("/order") == 1, 15, "no redirects")


def test_another_ca_is_asked_anew(fake):
    """An order under way is of the CA that it was placed at."""
    t, first, second = fake, fake.ca, FakeCa()
    ask_for_proof(first)
    ask_for_proof(second)
    try:
        t.app.deploy(1, ok=True)
        wait_until(lambda: first.count("/challenge") == 1, 15, "it was told to look")
        t.server.stop()
        asked = len(first.asked)
        t.server.extra = [{first.directory: second.directory, str(first.ca): str(second.ca)}.get(word, word)
                          for word in t.server.extra]
        t.server.start()
        wait_until(lambda: second.count("/challenge") == 1, 15, "the second one was asked for an order")
        assert len(first.asked) == asked and t.state()["order"]["directory"] == second.directory
        kids = {r["protected"].get("kid") for r in second.asked if r["method"] == "POST" and r["path"] != "/account"}
        assert kids == {second.url + "/account/1"}
    finally:
        second.close()


# ---- certificates from files ----------------------------------------------------------------------


def test_files_that_are_broken_or_old_are_said(make_server):
    t = Tls(make_server)
    t.put("fine", "fine.test", days=90)
    t.put("old", "old.test", days=80)
    t.put("odd", "odd.test")
    (t.folder / "odd.key").write_text("no key")
    t.start()
    t.put("soon", "soon.test", days=7)
    assert wait_until(lambda: t.certificates().get("soon"), 5, "it is seen")["trouble"] is None  # it is new
    status = t.server.cli("status", json_=False).stdout
    assert "the certificate odd cannot be used: there is no key in it" in status
    assert "fine" not in status and "the certificate old" not in status
