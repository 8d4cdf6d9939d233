"""Listeners that ask clients for certificates: who is let in, and what instances learn of it."""

import base64
import json
import os
import socket
import ssl

import pytest
from certs import CLIENT, DAY, SERVER, Certificate
from gateway_fixtures import driver, make  # noqa: F401
from gateway_rig import DEADLINE, Reader, until
from h2_peer import H2Client
from sluice_test import App, wait_until

GET = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"


class Pki:
    def __init__(self, folder):
        self.folder = folder
        self.root = Certificate(folder, "root", ca=True)
        self.other_root = Certificate(folder, "other-root", ca=True)
        self.server = self.make("server", names=("shop.test",), usage=SERVER)
        self.good = self.make("good", usage=CLIENT)
        self.stranger = Certificate(folder, "stranger", issuer=self.other_root, usage=CLIENT)

    def make(self, name, issuer=None, **options):
        return Certificate(self.folder, name, issuer=issuer or self.root, **options)

    def file(self, name, *contents):
        path = self.folder / name
        path.write_bytes(b"".join(contents))
        return path

    def context(self, client=None, **options):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        c.load_verify_locations(self.root.crt)
        if client:
            c.load_cert_chain(client.crt, client.key_file)
        for name, value in options.items():
            setattr(c, name, value)
        return c


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


class Front:
    """One gateway with a plain, a TLS and a mutual listener in front of one back end."""

    def __init__(self, make, pki, route="", **options):  # noqa: F811
        gateway, backend = make
        self.pki = pki
        self.backend = backend()
        self.gateway = gateway(workers=1, **options)
        self.gateway.serve(self.backend.port, route=route)
        self.trust(pki.root.pem)
        self.tls, self.mtls = (int(self.gateway.ask(f"listener {kind}:127.0.0.1:0")) for kind in ("tls", "mtls"))

    def trust(self, ca=None, crl=None, server=True):
        if server:
            self.gateway.say(f"certificate server {self.pki.server.crt} {self.pki.server.key_file}")
        if ca is not None:
            crl = f" {self.pki.file('client.crl', crl)}" if crl is not None else ""
            self.gateway.say(f"trust client {self.pki.file('client.ca', ca)}{crl}")
        return self.gateway.ask("certify")

    def connect(self, client=None, port=None, session=None, context=None):
        raw = socket.create_connection(("127.0.0.1", port or self.mtls), timeout=DEADLINE)
        try:
            return (context or self.pki.context(client)).wrap_socket(raw, server_hostname="shop.test", session=session)
        except Exception:
            raw.close()
            raise

    def ask(self, client=None, request=GET, **options):
        """The answer, and the fields that the instance got; None: no handshake, no answer."""
        before = len(self.backend.requests)
        try:
            with self.connect(client, **options) as sock:
                sock.sendall(request)
                answer = Reader(sock).answer()
        except (OSError, AssertionError):
            assert len(self.backend.requests) == before, "it got through"
            return None
        return answer, (self.backend.requests[-1][1] if len(self.backend.requests) > before else None)

    def lets_in(self, client, **options):
        got = self.ask(client, **options)
        assert got is None or got[0][0] == 200
        return got is not None


def said(capfd, why):
    text = ""

    def look():
        nonlocal text
        text += capfd.readouterr().err
        return "the client 127.0.0.1 is turned away: " in text and why in text

    until(look, f"a line of the log with {why!r}")


def certs_of(fields):
    return [value for name, value in fields if name.replace("_", "-") in ("client-cert", "client-cert-chain")]


def field_of(certificate):
    return f":{base64.b64encode(certificate.der).decode()}:"


# ---- who is let in ---------------------------------------------------------------------------------


def test_a_good_certificate_is_let_in_and_told(make, pki):  # noqa: F811
    front = Front(make, pki)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        answer, fields = front.ask(context=pki.context(pki.good, minimum_version=version, maximum_version=version))
        assert answer[0] == 200 and certs_of(fields) == [field_of(pki.good)]
        assert dict(fields)["x-forwarded-proto"] == "https"
    middle = pki.make("middle", ca=True)
    below = pki.make("below", issuer=middle, usage=CLIENT)
    assert certs_of(front.ask(below)[1]) == [field_of(below)]


def expired(pki):
    return pki.make("expired", usage=CLIENT, begins=-9 * DAY, ends=-DAY)


def early(pki):
    return pki.make("early", usage=CLIENT, begins=DAY)


def for_servers(pki):
    return pki.make("for-servers", usage=SERVER)


def self_made(pki):
    return Certificate(pki.folder, "self-made", usage=CLIENT)


def pretender(pki):
    """Its CA has the name of ours, and another key."""
    fake = Certificate(pki.folder, "root", ca=True)
    pki.file("root.crt", pki.root.pem)
    return Certificate(pki.folder, "pretender", issuer=fake, usage=CLIENT)


def below_no_ca(pki):
    """By a certificate that is none of a CA."""
    leaf = pki.make("leaf", usage=CLIENT)
    return Certificate(pki.folder, "below-no-ca", issuer=leaf, usage=CLIENT)


def too_deep(pki):
    issuer = pki.root
    for i in range(6):
        issuer = pki.make(f"deep{i}", issuer=issuer, ca=True)
    leaf = Certificate(pki.folder, "too-deep", issuer=issuer, usage=CLIENT)
    chain, at = [leaf.pem], issuer
    while at is not pki.root:
        chain.append(at.pem)
        at = at.issuer
    leaf.crt.write_bytes(b"".join(chain))
    return leaf


def too_large(pki):
    return pki.make("too-large", usage=CLIENT, names=[f"host-{i:04}.of.a.long.list.example" for i in range(250)])


NO_CA = "is of no CA in DATA/certs/client.ca"
TURNED_AWAY = [
    (lambda pki: None, "it has sent no certificate"), (lambda pki: pki.stranger, NO_CA), (self_made, NO_CA),
    (pretender, "signature failure"), (below_no_ca, "invalid CA certificate"), (too_deep, "is turned away"),
    (expired, "has expired"), (early, "not yet valid"), (for_servers, "is not for clients"),
    (too_large, "larger than 6 KiB"),
]


def test_others_are_turned_away_and_the_log_says_why(make, pki, capfd):  # noqa: F811
    for who, why in TURNED_AWAY:
        front = Front(make, pki)
        assert not front.lets_in(who(pki)), why
        said(capfd, why)
        assert front.lets_in(pki.good) and front.backend.connections == 1


def test_the_log_is_bounded(make, pki, capfd):  # noqa: F811
    front = Front(make, pki)
    for _ in range(20):
        assert not front.lets_in(None)
    lines = [line for line in capfd.readouterr().err.splitlines() if "turned away" in line]
    assert 1 <= len(lines) < 20


def test_nobody_is_let_in_without_cas(make, pki):  # noqa: F811
    front = Front(make, pki)
    assert front.trust() == "certified"
    assert not front.lets_in(pki.good) and not front.lets_in(None)
    assert front.lets_in(None, port=front.tls)
    front.trust(pki.root.pem)
    assert front.lets_in(pki.good)
    front.trust(pki.root.pem, server=False)  # nothing to show
    assert not front.lets_in(pki.good)


def test_revoked_ones_are_turned_away(make, pki, capfd):  # noqa: F811
    front = Front(make, pki)
    bad, middle = pki.make("bad", usage=CLIENT), pki.make("middle", ca=True)
    below = pki.make("below", issuer=middle, usage=CLIENT)
    front.trust(pki.root.pem, crl=pki.root.revokes(bad) + middle.revokes())
    assert not front.lets_in(bad)
    said(capfd, "its certificate is revoked")
    assert front.lets_in(pki.good) and front.lets_in(below)
    front.trust(pki.root.pem, crl=pki.root.revokes(middle) + middle.revokes())
    assert not front.lets_in(below) and front.lets_in(bad)
    front.trust(pki.root.pem, crl=pki.root.revokes())  # the middle one says nothing of its own
    assert not front.lets_in(below) and front.lets_in(pki.good)
    front.trust(pki.root.pem, crl=pki.root.revokes(begins=-9 * DAY, ends=-DAY))
    assert not front.lets_in(pki.good), "an old list says nothing"


def test_other_cas_are_taken_up_at_once(make, pki):  # noqa: F811
    front = Front(make, pki)
    open_one = front.connect(pki.good)
    front.trust(pki.other_root.pem)
    assert front.lets_in(pki.stranger) and not front.lets_in(pki.good)
    open_one.sendall(GET)  # what began before goes on
    assert Reader(open_one).answer()[0] == 200
    open_one.close()
    front.trust(pki.other_root.pem + pki.root.pem)
    assert front.lets_in(pki.stranger) and front.lets_in(pki.good)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_ticket_lets_anybody_in(make, pki, version):  # noqa: F811
    front = Front(make, pki)
    context = pki.context(pki.good, minimum_version=version, maximum_version=version)
    for port in (front.mtls, front.tls):  # of the listener itself, and of one that asks nobody
        with front.connect(context=context, port=port) as sock:
            sock.sendall(GET)
            assert Reader(sock).answer()[0] == 200
            session = sock.session
        assert session.has_ticket == (port == front.tls)
        with front.connect(context=context, session=session) as sock:
            sock.sendall(GET)
            assert Reader(sock).answer()[0] == 200 and not sock.session_reused
    front.trust(pki.other_root.pem)
    assert front.ask(context=context, session=session) is None


def test_what_is_no_handshake_gets_nothing(make, pki):  # noqa: F811
    front = Front(make, pki)
    with socket.create_connection(("127.0.0.1", front.mtls), timeout=DEADLINE) as raw:
        raw.sendall(GET)
        assert Reader(raw).answer()[0] == 400
    assert front.backend.requests == [] and front.lets_in(pki.good)


# ---- what instances learn --------------------------------------------------------------------------

SPOOFS = ("Client-Cert", "client-cert", "CLIENT-CERT", "Client_Cert", "client_cert", "Client-Cert-Chain",
          "Client_Cert-Chain", "client_cert_chain")


def test_nobody_can_say_it_for_himself(make, pki):  # noqa: F811
    front = Front(make, pki, trusted="127.0.0.1/32")
    spoofs = "".join(f"{name}: :c3Bvb2Y=:\r\n" for name in SPOOFS).encode()
    hidden = b"Connection: client-cert, close\r\n"
    request = GET[:-2] + spoofs + hidden + b"\r\n"
    assert certs_of(front.ask(pki.good, request)[1]) == [field_of(pki.good)]
    assert certs_of(front.ask(None, request, port=front.tls)[1]) == []
    sock, reader = front.gateway.connect(request)
    assert reader.answer()[0] == 200 and certs_of(front.backend.requests[-1][1]) == []
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n%s: x\r\n\r\n"
    for name in (b"Client-Cert", b"client_cert", b"Client-Cert_Chain"):  # RFC 9440 section 2
        sock, reader = front.gateway.connect(chunked % name)
        assert reader.answer()[0] == 400
    assert all(b"x" not in body for _, _, body in front.backend.requests)


def test_all_streams_of_http2_have_it(make, pki):  # noqa: F811
    front = Front(make, pki)
    context = pki.context(pki.good)
    context.set_alpn_protocols(["h2"])
    client = H2Client(front.mtls, tls=context)
    fields = [(name.lower(), ":c3Bvb2Y=:") for name in SPOOFS]
    streams = [client.request(fields=fields, authority=host, scheme="https") for host in ("a", "b.test", "c.test")]
    for stream in streams:
        assert client.wait(stream).status == 200
    assert [certs_of(fields) for _, fields, _ in front.backend.requests] == [[field_of(pki.good)]] * 3
    client.close()
    context = pki.context()
    context.set_alpn_protocols(["h2"])
    client = H2Client(front.tls, tls=context)
    assert client.wait(client.request(fields=fields, scheme="https")).status == 200
    assert certs_of(front.backend.requests[-1][1]) == []
    client.close()


def test_a_large_one_fits_beside_a_large_head(make, pki):  # noqa: F811
    front = Front(make, pki)
    large = pki.make("large", usage=CLIENT, names=[f"host-{i:04}.of.a.long.list.example" for i in range(150)])
    assert 5000 < len(large.der) <= 6144
    filler = b"".join(b"x-%d: %s\r\n" % (i, b"y" * 1000) for i in range(15))
    answer, fields = front.ask(large, GET[:-2] + filler + b"\r\n")
    assert answer[0] == 200 and certs_of(fields) == [field_of(large)]
    assert len(fields) >= 17


# ---- routes that insist -----------------------------------------------------------------------------


def test_a_route_can_insist(make, pki):  # noqa: F811
    front = Front(make, pki, route="client_cert=1", access=1)
    for ask in (lambda: front.gateway.get()[0], lambda: front.ask(None, port=front.tls)[0][0],
                lambda: front.ask(pki.good, port=front.tls)[0][0]):
        assert ask() == 403
    assert front.backend.requests == []
    assert front.ask(pki.good)[0][0] == 200
    lines = []
    while len(lines) < 4:  # each is written once its answer is out
        lines.append(json.loads(until(lambda: front.gateway.ask("access").removeprefix("none"), "a line")))
    assert [line["status"] for line in lines] == [403, 403, 403, 200]
    assert lines[0]["reason"] == "a client certificate is needed here"
    context = pki.context()
    context.set_alpn_protocols(["h2"])
    client = H2Client(front.tls, tls=context)
    assert client.wait(client.request(scheme="https")).status == 403
    client.close()


def test_who_asks_for_a_candidate_that_insists(make, pki):  # noqa: F811
    """Without a certificate it is one of the others' requests."""
    front = Front(make, pki)
    candidate = make[1]()
    answer = front.gateway.table(
        ["app slot=0", f"instance id=a slot=0 port={front.backend.port}", f"instance id=b slot=1 port={candidate.port}",
         "pool first=0 instances=1", "pool first=1 instances=1 release=2", "match name=x-beta", "route app=0",
         "share pool=0 weight=1000000 slot=1", "pin pool=1 slot=2 client_cert=1"])
    assert answer.startswith("applied"), answer
    beta = GET[:-2] + b"x-beta: 1\r\n\r\n"
    assert front.ask(None, port=front.tls, request=beta)[0][0] == 200
    assert len(front.backend.requests) == 1 and candidate.requests == []
    assert front.ask(pki.good, request=beta)[0][0] == 200
    assert len(front.backend.requests) == len(candidate.requests) == 1


# ---- the whole server -------------------------------------------------------------------------------


def test_a_server_with_client_ca(make_server, pki):
    server = make_server(start=False, extra=["--tls-listen", "127.0.0.1:0", "--mtls-listen", "127.0.0.1:0"])
    folder = server.data / "certs"
    folder.mkdir(parents=True)
    for path, mode in ((pki.server.crt, 0o644), (pki.server.key_file, 0o600)):
        (folder / path.name).touch(mode)
        (folder / path.name).write_bytes(path.read_bytes())
    server.give(folder)
    server.start()
    app = App(server)
    app.deploy(1, ok=True)

    def put(name, data):
        (folder / f"{name}.new").write_bytes(data)
        server.give(folder)
        os.rename(folder / f"{name}.new", folder / name)

    def authority():
        return server.info()["authorities"][0]

    port = next(int(a.rsplit(":", 1)[1]) for a in server.info()["listeners"] if a.startswith("mtls:"))

    def ask(client):
        context = pki.context(client)
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as raw, \
                    context.wrap_socket(raw, server_hostname="shop.test") as sock:
                sock.sendall(GET)
                return Reader(sock).answer()[0]
        except (OSError, AssertionError):
            return None

    # Nobody is let in before there are CAs, and everybody is told.
    assert "is needed by --mtls-listen" in authority()["trouble"]
    assert "the CA client is needed by --mtls-listen" in server.log_text(10 ** 7)
    assert "the CA client is needed by --mtls-listen" in server.cli("status", json_=False).stdout
    assert ask(pki.good) is None
    put("client.ca", pki.root.pem)
    wait_until(lambda: ask(pki.good) == 200, 10, "it is let in")
    assert ask(pki.stranger) is None and ask(None) is None
    assert authority()["certificates"] == 1 and authority()["lists"] == 0 and authority()["trouble"] is None
    # What cannot be read changes nothing.
    put("client.ca", b"no certificate")
    wait_until(lambda: "there is no certificate in it" in (authority()["trouble"] or ""), 10, "it is said")
    assert ask(pki.good) == 200
    os.symlink("nowhere", folder / "client.crl")
    put("client.ca", pki.root.pem)
    wait_until(lambda: "client.crl: No such file" in (authority()["trouble"] or ""), 10, "lists that are not there")
    assert ask(pki.good) == 200
    put("client.ca", pki.root.pem + pki.other_root.pem)
    put("client.crl", pki.root.revokes(pki.good) + pki.other_root.revokes())
    wait_until(lambda: ask(pki.good) is None, 10, "it is revoked")
    assert ask(pki.stranger) == 200 and authority()["lists"] == 2
    # Nor does it revoke less, as when `openssl ca -gencrl > client.crl` fails.
    put("client.crl", b"")
    wait_until(lambda: "client.crl is empty" in (authority()["trouble"] or ""), 10, "an empty list is told")
    assert authority()["lists"] == 2 and ask(pki.good) is None and ask(pki.stranger) == 200
    # Not for the next controller either.
    server.kill("controller")
    server.wait_ready()
    told = wait_until(authority, 10, "it has looked")
    assert "stays as it was" in told["trouble"] and (told["certificates"], told["lists"]) == (2, 2), told
    assert ask(pki.good) is None and ask(pki.stranger) == 200
    (folder / "client.ca").unlink()
    wait_until(lambda: ask(pki.stranger) is None, 10, "nobody is let in any more")
    copies = (server.data / "run" / "certificates").read_bytes()
    assert pki.other_root.pem not in copies and pki.server.crt.read_bytes() in copies
