"""TLS between the gateway and instances: whom it speaks to, and what becomes of a request otherwise."""

import os
import ssl
import threading

import pytest
from certs import CLIENT, DAY, SERVER, Certificate
from gateway_fixtures import driver, make  # noqa: F401
from gateway_rig import Reader, until
from sluice_test import App

BIG = os.urandom(1 << 20)


class Pki:
    def __init__(self, folder):
        self.folder = folder
        self.root = Certificate(folder, "root", ca=True)
        self.other_root = Certificate(folder, "other-root", ca=True)
        self.good = self.make("good", names=("app.internal",))
        self.client = self.make("client", usage=CLIENT)

    def make(self, name, issuer=None, usage=SERVER, **options):
        return Certificate(self.folder, name, issuer=issuer or self.root, usage=usage, **options)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


def context_of(certificate, ask=None, version=None, alpn=("http/1.1",)):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(certificate.crt, certificate.key_file)
    if version:
        c.minimum_version = c.maximum_version = version
    if ask:
        c.load_verify_locations(ask.crt)
        c.verify_mode = ssl.CERT_REQUIRED
    if alpn:
        c.set_alpn_protocols(list(alpn))
    return c


def speaking(context, seen=None, answer=None):
    """A handler that speaks TLS, then answers all; seen: what it learned of each connection."""

    def handler(backend, sock):
        with context.wrap_socket(sock, server_side=True) as tls:
            if seen is not None:
                seen.append((tls.version(), tls.selected_alpn_protocol(), tls.getpeercert(binary_form=True)))
            reader = Reader(tls)
            while request := backend.request(reader):
                tls.sendall(answer or b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                if answer and b"Content-Length" not in answer:
                    return
                del request

    return handler


class Rig:
    """One gateway of one worker, in front of back ends with these handlers."""

    def __init__(self, make, pki, *handlers, route="tls=app.internal ca=internal", certify=True):  # noqa: F811
        gateway, backend = make
        self.pki = pki
        self.gateway = gateway(workers=1)
        self.backends = []
        for handler in handlers:
            self.backends.append(backend(lambda sock, reader, h=handler, n=len(self.backends):
                                         h(self.backends[n], sock)))
        if certify:
            self.trust(pki.root)
        self.serve(route)

    def serve(self, route):
        self.gateway.serve(*(b.port for b in self.backends), app="hold_ms=500", route=route)

    def trust(self, root):
        self.gateway.say(f"trust internal {root.crt}")
        self.gateway.say(f"certificate client {self.pki.client.crt} {self.pki.client.key_file}")
        assert self.gateway.ask("certify") == "certified"

    @property
    def requests(self):
        return [request for b in self.backends for request in b.requests]


def said(capfd, why):
    text = ""

    def look():
        nonlocal text
        text += capfd.readouterr().err
        return "TLS to the instance i" in text and why in text

    until(look, f"a line of the log with {why!r}")


# ---- good ones ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_requests_go_by_tls_on_connections_that_are_kept(make, pki, version):  # noqa: F811
    seen = []
    rig = Rig(make, pki, speaking(context_of(pki.good, version=version), seen))
    for method, body in (("GET", b""), ("POST", BIG), ("GET", b"")):
        assert rig.gateway.get(method=method, body=body)[0] == 200
    assert len(seen) == 1 and seen[0] == (version.name.replace("_", "."), "http/1.1", None)
    assert [body for _, _, body in rig.requests] == [b"", BIG, b""]
    assert rig.gateway.instance("connect_errors") == 0


def test_large_answers_come_whole(make, pki):  # noqa: F811
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG) + BIG
    rig = Rig(make, pki, speaking(context_of(pki.good), answer=answer))
    assert rig.gateway.get()[2] == BIG and rig.gateway.get()[2] == BIG
    assert rig.backends[0].connections == 1


def test_an_upgraded_connection(make, pki):  # noqa: F811
    def handler(backend, sock):
        with context_of(pki.good).wrap_socket(sock, server_side=True) as tls:
            reader = Reader(tls)
            reader.head()
            tls.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            while data := tls.recv(1 << 16):
                tls.sendall(data)

    rig = Rig(make, pki, handler)
    sock, reader = rig.gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
    assert reader.answer()[0] == 101
    threading.Thread(target=sock.sendall, args=(BIG,), daemon=True).start()
    assert reader.exactly(len(BIG)) == BIG


def test_a_name_may_be_an_address(make, pki):  # noqa: F811
    local = pki.make("local", names=("127.0.0.1",))
    rig = Rig(make, pki, speaking(context_of(local)), route="tls=127.0.0.1 ca=internal")
    assert rig.gateway.get()[0] == 200
    rig.serve("tls=127.0.0.2 ca=internal")
    assert rig.gateway.get(method="POST")[0] == 503


def test_a_client_certificate_is_shown(make, pki):  # noqa: F811
    seen = []
    handler = speaking(context_of(pki.good, ask=pki.root), seen)
    rig = Rig(make, pki, handler, route="tls=app.internal ca=internal pair=client")
    assert rig.gateway.get()[0] == 200 and seen[0][2] == pki.client.der


def test_without_verification_any_will_do(make, pki):  # noqa: F811
    strange = Certificate(pki.folder, "strange", begins=-9 * DAY, ends=-DAY)
    rig = Rig(make, pki, speaking(context_of(strange)), route="tls=app.internal", certify=False)
    assert rig.gateway.ask("certify") == "certified"  # that there are none
    assert rig.gateway.get()[0] == 200


# ---- others ------------------------------------------------------------------------------------------


def of_another_ca(pki):
    return speaking(context_of(pki.make("foreign", issuer=pki.other_root, names=("app.internal",))))


def of_another_name(pki):
    return speaking(context_of(pki.make("misnamed", names=("other.internal",))))


def of_yesterday(pki):
    return speaking(context_of(pki.make("expired", names=("app.internal",), begins=-9 * DAY, ends=-DAY)))


def of_a_client(pki):
    return speaking(context_of(pki.make("for-clients", names=("app.internal",), usage=CLIENT)))


def self_made(pki):
    return speaking(context_of(Certificate(pki.folder, "self-made", names=("app.internal",))))


def in_clear_text(pki):
    def handler(backend, sock):
        sock.recv(1 << 16)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    return handler


def that_hangs_up(pki):
    return lambda backend, sock: sock.recv(1 << 16)


def of_other_protocols(pki):
    return speaking(context_of(pki.good, alpn=("h2",)))


@pytest.mark.parametrize("bad, why", [
    (of_another_ca, "unable to get local issuer"), (of_another_name, "hostname mismatch"),
    (of_yesterday, "certificate has expired"), (of_a_client, "unsuitable certificate purpose"),
    (self_made, "self-signed certificate"), (in_clear_text, "it does not speak TLS"), (that_hangs_up, ""),
])
def test_nothing_is_said_to_others_and_another_one_is_asked(make, pki, capfd, bad, why):  # noqa: F811
    rig = Rig(make, pki, bad(pki), speaking(context_of(pki.good)))
    for _ in range(8):
        assert rig.gateway.get(method="POST", body=b"secret")[0] == 200
    assert len(rig.requests) == 8 and rig.backends[0].requests == []
    until(lambda: rig.gateway.instance("connect_errors", 0) >= 1, "the failed handshake to count")
    said(capfd, why)


def test_alone_it_is_an_error(make, pki):  # noqa: F811
    rig = Rig(make, pki, of_another_ca(pki))
    assert rig.gateway.get(method="POST", body=b"secret")[0] in (502, 503)
    assert rig.requests == []


def test_a_handshake_that_stalls_ends_with_the_connect_timeout(make, pki):  # noqa: F811
    def handler(backend, sock):
        while sock.recv(1 << 16):
            pass

    rig = Rig(make, pki, handler, speaking(context_of(pki.good)), route="tls=app.internal ca=internal connect=200")
    for _ in range(4):
        assert rig.gateway.get(method="POST", body=b"x")[0] == 200
    assert rig.backends[0].requests == []
    assert rig.gateway.metric("failed") == 0


def test_an_instance_that_wants_a_certificate_and_gets_none(make, pki, capfd):  # noqa: F811
    rig = Rig(make, pki, speaking(context_of(pki.good, ask=pki.root, version=ssl.TLSVersion.TLSv1_3)))
    assert rig.gateway.get(method="POST")[0] == 502
    said(capfd, "it wants a client certificate")
    assert rig.requests == []


def test_an_answer_cut_without_notice_is_cut_for_the_client(make, pki):  # noqa: F811
    """RFC 9112 section 9.8: its end may have been somebody else's."""
    head = b"HTTP/1.1 200 OK\r\n\r\nhalf"
    notice = []

    def handler(backend, sock):
        tls = context_of(pki.good).wrap_socket(sock, server_side=True)
        backend.request(Reader(tls))
        tls.sendall(head)
        if notice:
            tls.unwrap()
        tls.close()

    rig = Rig(make, pki, handler)
    sock, reader = rig.gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises((ConnectionResetError, EOFError, AssertionError)):
        reader.answer()
    assert rig.gateway.metric("cut") == 1
    notice.append(True)
    assert rig.gateway.get()[2] == b"half"


def test_routes_do_not_share_connections_that_differ(make, pki):  # noqa: F811
    """One shows a certificate, the other does not: the instance must not take one for the other."""
    context = context_of(pki.good)
    context.load_verify_locations(pki.root.crt)
    context.verify_mode = ssl.CERT_OPTIONAL
    asked = []

    def handler(backend, sock):
        with context.wrap_socket(sock, server_side=True) as tls:
            reader = Reader(tls)
            while request := backend.request(reader):
                asked.append((request[0].split()[1], tls.getpeercert(binary_form=True) is not None))
                tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    rig = Rig(make, pki, handler)
    share = "share pool=0 weight=1000000 slot=1"
    answer = rig.gateway.table(["app slot=0", f"instance id=i slot=0 port={rig.backends[0].port}", "pool first=0 instances=1",
                                "route app=0 path=/named tls=app.internal ca=internal pair=client", share,
                                "route app=0 path=/ tls=app.internal ca=internal", share])
    assert answer.startswith("applied"), answer
    for _ in range(3):
        for path in ("/named", "/"):
            assert rig.gateway.get(path)[0] == 200
    assert asked == [("/named", True), ("/", False)] * 3


def in_words(backend, sock):
    """A back end without TLS."""
    reader = Reader(sock)
    while backend.request(reader):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def test_each_release_is_spoken_to_in_its_own_way(make, pki):  # noqa: F811
    """While one that speaks TLS replaces one that does not, and for copies, too."""
    rig = Rig(make, pki, in_words, speaking(context_of(pki.good)))
    instances = [f"instance id=i{n} slot={n} port={b.port}" for n, b in enumerate(rig.backends)]
    pools = ["pool first=0 instances=1", "pool first=1 instances=1 release=2"]
    secure = "tls=app.internal ca=internal"

    def publish(*shares):
        answer = rig.gateway.table(["app slot=0", *instances, *pools, "match name=x-beta", "route app=0", *shares])
        assert answer.startswith("applied"), answer

    publish("share pool=0 weight=500000 slot=1", f"share pool=1 weight=500000 slot=2 {secure}",
            f"pin pool=1 slot=4 {secure}")
    for n in range(8):
        assert rig.gateway.get(fields="x-beta: 1\r\n" if n % 2 else "")[0] == 200
    assert [len(b.requests) for b in rig.backends] == [2, 6]
    publish("share pool=0 weight=1000000 slot=1", f"mirror pool=1 slot=2 {secure}")
    assert rig.gateway.get()[0] == 200
    until(lambda: len(rig.backends[1].requests) == 7, "the copy to be answered")
    assert len(rig.backends[0].requests) == 3
    publish(f"share pool=1 weight=1000000 slot=2 {secure}")
    assert rig.gateway.get(method="POST", body=b"x")[0] == 200
    assert rig.gateway.instance("connect_errors", 0) == rig.gateway.instance("connect_errors", 1) == 0


def test_what_is_not_there_yet(make, pki, capfd):  # noqa: F811
    """A gateway that has just started has no CAs: requests wait. One that knows of none refuses."""
    rig = Rig(make, pki, speaking(context_of(pki.good)), certify=False)
    sock, reader = rig.gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: rig.gateway.metric("waiting", 0) == 1, "it waits")
    rig.trust(pki.root)
    assert reader.answer()[0] == 200
    rig.serve("tls=app.internal ca=nowhere")
    refused = rig.gateway.get()
    assert refused[0] == 503 and b"a certificate for TLS to the instances is missing" in refused[2]
    said(capfd, "there is no DATA/certs/nowhere.ca")
    rig.serve("tls=app.internal ca=internal pair=nowhere")
    assert rig.gateway.get()[0] == 503


def test_who_waits_is_told_what_is_missing(make, pki):  # noqa: F811
    rig = Rig(make, pki, speaking(context_of(pki.good)), certify=False)
    rig.gateway.serve(rig.backends[0].port, app="hold_ms=60000", route="tls=app.internal ca=nowhere")
    waiting = [rig.gateway.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")[1] for _ in range(2)]
    until(lambda: rig.gateway.metric("waiting", 0) == 2, "they wait")
    rig.trust(pki.root)
    for reader in waiting:
        answer = reader.answer()
        assert answer[0] == 503 and b"a certificate for TLS to the instances is missing" in answer[2]


def test_connections_that_are_kept_are_found_behind_others(make, pki):  # noqa: F811
    rig = Rig(make, pki, speaking(context_of(pki.good)))
    share = "share pool=0 weight=1000000 slot=1"
    answer = rig.gateway.table(
        ["app slot=0", f"instance id=i slot=0 port={rig.backends[0].port} keepalive=60000", "pool first=0 instances=1",
         "route app=0 path=/named tls=app.internal ca=internal pair=client", share,
         "route app=0 path=/ tls=app.internal ca=internal", share])
    assert answer.startswith("applied"), answer
    for path in ("/named", "/", "/named", "/named", "/", "/"):
        assert rig.gateway.get(path)[0] == 200
    assert rig.backends[0].connections == 2


def test_other_cas_count_from_then_on(make, pki):  # noqa: F811
    rig = Rig(make, pki, speaking(context_of(pki.good)), route="tls=app.internal ca=internal")
    assert rig.gateway.get()[0] == 200
    rig.trust(pki.other_root)  # also for connections that are kept
    assert rig.gateway.get(method="POST")[0] == 503
    rig.trust(pki.root)
    until(lambda: rig.gateway.get(method="POST")[0] == 200, "it is no longer rested")


# ---- the whole server ---------------------------------------------------------------------------------

APP = """
import http.server, os, ssl, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *words):
        pass

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def finish_request(self, request, address):  # in the connection's own thread
        with context.wrap_socket(request, server_side=True) as tls:
            super().finish_request(tls, address)

    def handle_error(self, request, address):
        pass

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("app.crt", "app.key")
Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def test_deploys_of_an_app_that_speaks_tls(make_server, pki):
    server = make_server()
    app = App(server, run=["/usr/bin/python3", "app.py"], deadline="20s",
              routes=[{"path": "/", "protocol": "https",
                       "upstream-tls": {"ca": "internal", "server-name": "app.internal"}}])
    (app.dir / "app.py").write_text(APP)

    def release(certificate):
        (app.dir / "app.crt").write_bytes(certificate.crt.read_bytes())
        (app.dir / "app.key").write_bytes(certificate.key_file.read_bytes())

    release(pki.good)
    done = app.deploy(1)
    assert done.status != 0 and "there is no CA internal" in done.text and "DATA/certs/internal.ca" in done.text
    folder = server.data / "certs"
    folder.mkdir(exist_ok=True)
    (folder / "internal.ca").write_bytes(pki.root.pem)
    server.give(folder)
    app.deploy(1, ok=True)
    with app.load(rate=200) as load:
        release(pki.make("renewed", names=("app.internal",)))
        app.deploy(2, ok=True)
        release(pki.make("wrong", names=("other.internal",)))
        done = app.deploy(3, ok=False, deadline="4s")  # its probe does not believe it either, so it gets nobody's request
        assert "TLS: hostname mismatch" in done.text, done
        (folder / "internal.ca").write_bytes(pki.root.pem + pki.other_root.pem)
        release(pki.make("moved", issuer=pki.other_root, names=("app.internal",)))
        app.deploy(4, ok=True, probes={})  # ready when a handshake succeeds
    load.assert_none_lost()
