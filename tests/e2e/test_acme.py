"""Certificates by ACME: `tls: auto` is all that the file says."""

import json
import os
import signal
import ssl
import stat

import pytest
from sluice_test import App, wait_until
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
        self.folder = self.server.data / "acme"
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
    assert sorted(kind for kind, _ in t.events()) == ["certificate-obtained"] * 2
    assert t.certificates()["shop.test"]["renewal"] and t.trouble() == ""
    wait_until(lambda: t.server.get("/", Host="shop.test").status == 308, 5, "now it redirects")
    for path in t.folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    # a restart orders nothing
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
