"""TLS at the front: which certificate, how it changes, and that nothing else differs."""

import datetime
import http.client
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import zlib

import pytest
from certs import Certificate, DAY
from h2_peer import H2Client
from sluice_test import App, wait_until
from sluice_test.build import PATIENCE

HOSTS = ("shop.test", "*.shop.test")


def certificate(path, *hosts, key_type="ec", days=30):
    """path.crt and path.key for these hosts."""
    kind = {"ec": ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"], "rsa": ["rsa:2048"]}[key_type]
    names = ",".join(f"DNS:{host}" for host in hosts)
    subprocess.run(["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-keyout", f"{path}.key", "-out",
                    f"{path}.crt", "-days", str(days), "-subj", f"/CN={hosts[0]}", "-addext",
                    f"subjectAltName={names}"], check=True, capture_output=True)
    os.chmod(f"{path}.key", 0o600)


class Tls:
    """A server with a TLS listener; its certificates lie in self.folder."""

    def __init__(self, make_server):
        self.server = make_server(start=False, extra=["--tls-listen", "127.0.0.1:0"])
        self.folder = self.server.data / "certs"
        self.folder.mkdir(parents=True)
        self.made = self.server.root / "made"
        self.made.mkdir()

    def start(self):
        self.server.start()
        listeners = self.server.info()["listeners"]
        self.address = next(a for a in listeners if a.startswith("tls:")).removeprefix("tls:")
        self.host, self.port = self.address.rsplit(":", 1)
        return self

    def put(self, name, *hosts, **options):
        certificate(self.made / name, *hosts, **options)
        for end in (".key", ".crt"):
            shutil.copy2(self.made / f"{name}{end}", self.folder / f"{name}{end}.new")
            os.rename(self.folder / f"{name}{end}.new", self.folder / f"{name}{end}")
        self.server.give(self.folder)

    def certificates(self):
        return {c["name"]: c for c in self.server.info()["certificates"]}

    def context(self, **options):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        c.check_hostname = False
        c.verify_mode = ssl.CERT_NONE
        for name, value in options.items():
            setattr(c, name, value)
        return c

    def connect(self, host="shop.test", context=None, session=None, timeout=20, **options):
        raw = socket.create_connection((self.host, int(self.port)), timeout=timeout * PATIENCE)
        try:
            return (context or self.context()).wrap_socket(raw, server_hostname=host, session=session, **options)
        except Exception:
            raw.close()
            raise

    def serial(self, host="shop.test"):
        """The certificate that is served, as bytes."""
        with self.connect(host) as sock:
            return sock.getpeercert(binary_form=True)

    def of_file(self, name):
        return ssl.PEM_cert_to_DER_cert((self.folder / f"{name}.crt").read_text())

    def client(self, host="shop.test", **options):
        connection = http.client.HTTPSConnection(host, context=self.context())
        connection.sock = self.connect(host, **options)
        return connection

    def get(self, path="/", host="shop.test"):
        connection = self.client(host)
        try:
            return ask(connection, "GET", path)
        finally:
            connection.close()


def ask(connection, method, path, body=None, headers=None):
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    data = answer.read()
    return answer.status, data, {name.lower(): value for name, value in answer.getheaders()}


def http_request(address, method, path, headers):
    connection = http.client.HTTPConnection(*address.rsplit(":", 1), timeout=20 * PATIENCE)
    connection.putrequest(method, path, skip_host=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, data, {name.lower(): value for name, value in answer.getheaders()}


@pytest.fixture
def tls(make_server):
    t = Tls(make_server)
    t.put("shop", *HOSTS)
    t.start()
    app = App(t.server)
    app.deploy(1, ok=True)
    t.app = app
    return t


# ---- which certificate ----------------------------------------------------------------------------


def test_each_host_has_its_own(tls):
    tls.put("other", "other.test", key_type="rsa")
    wait_until(lambda: "other" in tls.certificates(), 10, "it is read")
    assert tls.certificates()["other"]["hosts"] == ["other.test"] and not tls.certificates()["other"]["error"]
    wait_until(lambda: tls.serial("other.test") == tls.of_file("other"), 10, "it is served")
    for host in ("shop.test", "a.shop.test", "A.Shop.TEST"):
        assert tls.serial(host) == tls.of_file("shop"), host
    for host in ("a.b.shop.test", "unknown.test", None):  # nobody's: the first one
        assert tls.serial(host) == tls.of_file("other"), host
    tls.put("default", "default.test")
    wait_until(lambda: tls.serial("unknown.test") == tls.of_file("default"), 10, "the default one is the first")


def test_a_renewed_one_is_served_and_connections_go_on(tls):
    before = tls.of_file("shop")
    connection = tls.client()
    assert ask(connection, "GET", "/")[0] == 200
    tls.put("shop", *HOSTS)
    assert tls.of_file("shop") != before
    wait_until(lambda: tls.serial() == tls.of_file("shop"), 10, "the new one is served")
    assert ask(connection, "GET", "/")[0] == 200
    assert connection.sock.getpeercert(binary_form=True) == before
    connection.close()
    (tls.folder / "shop.crt").unlink()
    tls.put("other", "other.test")
    wait_until(lambda: tls.serial() == tls.of_file("other"), 10, "what is gone is not served")


def test_what_does_not_fit_changes_nothing(tls):
    good = tls.of_file("shop")
    certificate(tls.made / "stranger", "shop.test")
    for what, part in ((tls.made / "stranger.key", "another certificate"), (b"", "no key"),
                       (b"-----BEGIN PRIVATE KEY-----\nxxxx\n", "no key")):
        (tls.folder / "shop.key").write_bytes(what if isinstance(what, bytes) else what.read_bytes())
        wait_until(lambda: part in (tls.certificates()["shop"]["error"] or ""), 10, f"{part} is said")
        assert tls.serial() == good
    os.chmod(tls.folder / "shop.key", 0o644)
    shutil.copyfile(tls.made / "shop.key", tls.folder / "shop.key")
    wait_until(lambda: "everybody can read" in (tls.certificates()["shop"]["error"] or ""), 10, "open to all")
    os.chmod(tls.folder / "shop.key", 0o600)
    os.utime(tls.folder / "shop.key")
    wait_until(lambda: tls.certificates()["shop"]["error"] is None, 10, "it is well again")
    key = (tls.made / "shop.key").read_text().splitlines()[1]
    assert key not in tls.server.log_text(10 ** 7)


def test_what_does_not_fit_changes_nothing_for_the_next_controller_either(tls):
    tls.put("aaa", "aaa.test")  # comes first, and so is what others would get
    wait_until(lambda: tls.serial("aaa.test") == tls.of_file("aaa"), 10, "another one is served")
    good = tls.of_file("shop")
    (tls.folder / "shop.key").write_bytes(b"garbage")
    wait_until(lambda: tls.certificates()["shop"]["error"], 10, "it is told")
    copies = tls.server.data / "run" / "certificates"
    assert copies.stat().st_mode & 0o777 == 0o600
    for restarted in ("controller", "all"):
        if restarted == "all":
            tls.server.stop()
            tls.server.start()
        else:
            tls.server.kill("controller")
            tls.server.wait_ready()
        tls.address = next(a for a in tls.server.info()["listeners"] if a.startswith("tls:")).removeprefix("tls:")
        tls.host, tls.port = tls.address.rsplit(":", 1)
        told = wait_until(lambda: tls.certificates().get("shop"), 10, "it has looked")
        assert "stays as it was" in told["trouble"] and told["hosts"] == sorted(HOSTS, key=HOSTS.index), told
        assert tls.serial() == good and tls.serial("aaa.test") == tls.of_file("aaa")
    for end in (".crt", ".key"):
        (tls.folder / f"shop{end}").unlink()
    wait_until(lambda: tls.serial() == tls.of_file("aaa"), 10, "what is gone is not served")
    assert (tls.made / "shop.crt").read_bytes() not in copies.read_bytes()
    (tls.folder / "shop.crt").write_bytes((tls.made / "shop.crt").read_bytes())
    tls.server.kill("controller")
    wait_until(lambda: "shop" in tls.certificates(), 10, "a pair without its key")
    assert "cannot be used" in tls.certificates()["shop"]["trouble"] and tls.serial() == tls.of_file("aaa")


def test_all_layouts_of_the_folder(tls):
    live = tls.folder / "live.test"
    live.mkdir()
    certificate(tls.made / "live", "live.test")
    archive = tls.made / "archive"  # certbot's own are links
    archive.mkdir()
    shutil.copy2(tls.made / "live.crt", archive / "fullchain1.pem")
    shutil.copy2(tls.made / "live.key", archive / "privkey1.pem")
    (live / "fullchain.pem").symlink_to(archive / "fullchain1.pem")
    (live / "privkey.pem").symlink_to(archive / "privkey1.pem")
    certificate(tls.made / "one", "one.test")
    one = tls.folder / "one.pem"
    one.touch(0o600)
    one.write_text((tls.made / "one.crt").read_text() + (tls.made / "one.key").read_text())
    (tls.folder / "README").write_text("nothing of ours")
    tls.server.give(tls.folder)
    wait_until(lambda: {"live.test", "one", "shop"} == set(tls.certificates()), 10, "all are there")
    der = {name: ssl.PEM_cert_to_DER_cert((tls.made / f"{name}.crt").read_text()) for name in ("live", "one")}
    wait_until(lambda: tls.serial("one.test") == der["one"], 10, "served")
    assert tls.serial("live.test") == der["live"]


def test_what_has_expired_gives_way(tls):
    """Also to a file, where one by ACME expired and is not renewed."""
    automatic = tls.server.data / "acme" / "certs"
    automatic.mkdir(parents=True)

    def by_acme(host, **times):
        made = Certificate(tls.made, host, names=[host], **times)
        path = automatic / f"{host}.pem"
        path.touch(0o600)
        path.write_bytes(made.pem + made.key_file.read_bytes())
        return made.der

    def served(host, what):
        wait_until(lambda: tls.serial(host) == what, 15, f"{host} is served by it")

    old = {"begins": -90 * DAY, "ends": -DAY}
    by_acme("shop.test", **old)
    by_acme("a.shop.test", **old)  # there is one for *.shop.test
    alone = by_acme("alone.test", **old)
    soon = by_acme("b.shop.test", ends=datetime.timedelta(seconds=8))
    good = by_acme("other.test")
    tls.put("other", "other.test")
    tls.server.give(tls.server.data / "acme")
    served("b.shop.test", soon)
    served("alone.test", alone)
    served("shop.test", tls.of_file("shop"))
    served("a.shop.test", tls.of_file("shop"))
    served("other.test", tls.of_file("other"))  # nobody renews the one by ACME
    served("b.shop.test", tls.of_file("shop"))  # now
    assert tls.certificates()["alone.test"]["trouble"] is None
    tls.app.deploy(2, ok=True, routes=[{"path": "/"}, {"host": "alone.test"}, {"host": "shop.test"}])
    wait_until(lambda: "has expired" in (tls.certificates()["alone.test"]["trouble"] or ""), 5, "it is said")
    assert tls.certificates()["shop.test"]["trouble"] is None
    (tls.folder / "other.crt").unlink()
    served("other.test", good)


def test_a_folder_that_cannot_be_looked_at(make_server):
    """Holds up nothing that is not from there, and takes nothing away."""
    tls = Tls(make_server)
    tls.put("shop", *HOSTS)
    automatic = tls.server.data / "acme"
    automatic.mkdir()
    (automatic / "certs").symlink_to("certs")  # ELOOP
    tls.server.give(automatic)
    tls.start()
    assert tls.serial() == tls.of_file("shop")
    shop = tls.of_file("shop")
    tls.folder.rename(tls.server.data / "elsewhere")
    tls.folder.symlink_to("certs")
    wait_until(lambda: "DATA/certs cannot be read" in tls.server.log_text(), 10, "it is said")
    old = tls.server.kill("gateway")
    wait_until(lambda: tls.server.pid("gateway") not in (None, old), 10, "there is another gateway")
    assert tls.serial() == shop


def test_without_any(make_server):
    t = Tls(make_server).start()
    App(t.server).deploy(1, ok=True)
    with pytest.raises((ssl.SSLError, ConnectionError, OSError)):
        t.connect()
    t.put("shop", *HOSTS)
    wait_until(lambda: t.get()[0] == 200, 10, "it is there")


# ---- the protocol ---------------------------------------------------------------------------------


def test_versions_and_ciphers(tls):
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        context = tls.context(minimum_version=version, maximum_version=version)
        context.set_alpn_protocols(["h2", "http/1.1"])
        with tls.connect(context=context) as sock:
            assert sock.version() == name and sock.selected_alpn_protocol() == "h2"
            assert "GCM" in sock.cipher()[0] or "CHACHA20" in sock.cipher()[0]
    old = tls.context()
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    weak = tls.context(maximum_version=ssl.TLSVersion.TLSv1_2)
    weak.set_ciphers("AES128-SHA:AES256-GCM-SHA384:ECDHE-ECDSA-AES128-SHA")
    other = tls.context()
    other.set_alpn_protocols(["spdy/3"])
    for context in (old, weak, other):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            tls.connect(context=context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_http2(tls, version):
    context = tls.context(minimum_version=version, maximum_version=version)
    context.set_alpn_protocols(["h2", "http/1.1"])
    client = H2Client(int(tls.port), tls.host, tls=context)
    body = bytes(range(256)) * 4000
    streams = [client.request("POST", "/echo", body=body, authority="shop.test", scheme="https") for _ in range(3)]
    assert all(client.wait(s).body == body for s in streams)
    assert client.get(path="/", authority="shop.test").status == 200
    client.close()
    run = subprocess.run(["curl", "-sSik", "--http2", "--connect-to", f"::{tls.address}", "https://shop.test/"],
                         capture_output=True, text=True)
    assert run.stdout.startswith("HTTP/2 200"), run


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(tls, version):
    context = tls.context(minimum_version=version, maximum_version=version)
    with tls.connect(context=context) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 200")  # a ticket of 1.3 comes behind the handshake
        session = sock.session
    for _ in range(8):  # whichever worker it is
        with tls.connect(context=context, session=session) as sock:
            assert sock.session_reused


def test_the_app_knows_that_it_was_tls(tls):
    assert b"X-Forwarded-Proto: https" in tls.get("/headers")[1]
    assert b"X-Forwarded-Proto: http\n" in tls.server.get("/headers").body.replace(b"\r", b"")


def test_large_bodies_both_ways(tls):
    body = random.Random(1).randbytes(20 << 20)
    connection = tls.client()
    status, back, _ = ask(connection, "POST", "/upload", body)
    assert status == 200 and json.loads(back) == {"bytes": len(body), "crc32": f"{zlib.crc32(body):08x}"}
    status, back, _ = ask(connection, "GET", f"/bytes?n={30 << 20}")
    assert status == 200 and len(back) == 30 << 20
    chunks = [body[i:i + 10000] for i in range(0, 500000, 10000)]
    connection.request("POST", "/echo", iter(chunks), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    assert connection.getresponse().read() == b"".join(chunks)
    connection.close()


def test_a_slow_reader_holds_nobody_up(tls):
    slow = tls.connect()
    slow.sendall(f"GET /bytes?n={64 << 20} HTTP/1.1\r\nHost: shop.test\r\n\r\n".encode())
    for _ in range(50):
        assert tls.get()[0] == 200
    total = 0
    while total < 64 << 20:
        data = slow.recv(1 << 20)
        assert data, total
        total += len(data)
    slow.close()


@pytest.mark.parametrize("before", [0, 20])
def test_pipelined_requests_and_the_end(tls, before):
    context = tls.context()
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    sock = tls.connect(context=context, suppress_ragged_eofs=False)
    sock.sendall(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n" * before +
                 b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
    data = b""
    while piece := sock.recv(65536):  # an end without close_notify raises
        data += piece
    assert data.count(b"HTTP/1.1 200 OK") == before + 1
    sock.close()


def test_what_comes_while_a_request_is_answered_is_read_after_it(tls):
    """Two records come at once, more while the first of them is answered: OpenSSL has the second one already,
    so its read leaves the socket alone, and says nothing of what has come there since."""
    raw = socket.create_connection((tls.host, int(tls.port)), timeout=20 * PATIENCE)
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = tls.context().wrap_bio(came, goes, server_hostname="shop.test")

    def call(function, *args):
        while True:
            try:
                return function(*args)
            except ssl.SSLWantReadError:
                raw.sendall(goes.read())
                came.write(raw.recv(65536))

    with raw:
        call(peer.do_handshake)
        peer.write(b"GET /slow?ms=700 HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        peer.write(b"GET /version HTTP/1.1\r\nHost: shop.t")
        raw.sendall(goes.read())
        tls.get("/version")  # by then those records are read
        peer.write(b"est\r\n\r\n")
        raw.sendall(goes.read())
        answers = b""
        while answers.count(b"HTTP/1.1 ") < 2:
            more = call(peer.read, 65536)
            assert more, answers
            answers += more
    assert answers.count(b"HTTP/1.1 200 ") == 2, answers


def test_websocket(tls):
    sock = tls.connect()
    sock.sendall(b"GET /ws HTTP/1.1\r\nHost: shop.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(1)
    assert b" 101 " in head and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    for text in (b"hello", b"again"):
        sock.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
        answer = b""
        while len(answer) < 2 + len(text):
            answer += sock.recv(100)
        assert answer[2:] == text
    sock.close()


# ---- routes ---------------------------------------------------------------------------------------


def test_redirect_and_hsts(tls):
    tls.app.deploy(2, ok=True, routes=[{"path": "/", "https": "redirect", "hsts": "180d"},
                                       {"path": "/headers", "https": "optional"}])
    wait_until(lambda: tls.server.get("/").status == 308, 10, "it redirects")

    def location(path, host, **headers):
        answer = http_request(tls.server.address, "GET", path, {"Host": host, **headers})
        assert answer[0] == 308 and answer[2]["server"].startswith("sluice"), answer
        return answer[2]["location"]

    assert location("/a/b?c=d&e", "shop.test") == f"https://shop.test:{tls.port}/a/b?c=d&e"
    assert location("/", "shop.test:8080") == f"https://shop.test:{tls.port}/"
    assert location("/", "[::1]:8080") == f"https://[::1]:{tls.port}/"
    assert location("http://shop.test/abs?x", "shop.test") == f"https://shop.test:{tls.port}/abs?x"
    # nobody trusted says so
    assert location("/", "shop.test", **{"X-Forwarded-Proto": "https"}) == f"https://shop.test:{tls.port}/"
    assert http_request(tls.server.address, "GET", "/x" * 4080, {"Host": "shop.test"})[0] in (308, 414)
    assert tls.server.get("/headers").status == 200
    assert "strict-transport-security" not in tls.server.get("/headers").headers
    status, _, fields = tls.get("/")
    assert status == 200 and fields["strict-transport-security"] == f"max-age={180 * 86400}"
    assert "strict-transport-security" not in tls.get("/headers")[2]
    # a redirected request is over for the connection, its body is not the next one
    with socket.create_connection(tuple(tls.server.address.rsplit(":", 1)), timeout=20 * PATIENCE) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2 +
                     b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\nGET /headers HTTP/1.1\r\n")
        sock.shutdown(socket.SHUT_WR)
        data = b""
        while piece := sock.recv(65536):
            data += piece
    assert data.count(b"HTTP/1.1 ") == 3 == data.count(b" 308 "), data
    result = tls.app.deploy(3, ok=True)
    assert result.result["failed"] == 0


def test_a_trusted_proxy_says_that_it_was_tls(make_server):
    server = make_server(extra=["--trusted-proxies", "127.0.0.1"])
    App(server, routes=[{"path": "/", "https": "redirect", "hsts": "1h"}]).deploy(1, ok=True)
    ask_it = lambda proto: http_request(server.address, "GET", "/", {"Host": "a.test", "X-Forwarded-Proto": proto})
    assert ask_it("http")[0] == 308 and ask_it("http")[2]["location"] == "https://a.test/"
    for proto in ("https", "HTTPS", "https, http"):
        status, _, fields = ask_it(proto)
        assert status == 200 and fields["strict-transport-security"] == "max-age=3600"
    assert ask_it("httpsx")[0] == 308


# ---- failures -------------------------------------------------------------------------------------


def test_hostile_bytes(tls):
    rng = random.Random(7)
    hello = bytes.fromhex("16030100c8010000c40303") + rng.randbytes(60)
    for i in range(150):
        with socket.create_connection((tls.host, int(tls.port)), timeout=20 * PATIENCE) as sock:
            data = rng.randbytes(rng.randrange(1, 2000)) if i % 3 else hello[:rng.randrange(1, len(hello))]
            if i % 7 == 0:
                data = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(4096):
                    pass
            except (ConnectionError, OSError):
                pass
    pid = tls.server.pid("gateway")
    assert tls.get()[0] == 200 and tls.server.pid("gateway") == pid


def test_plain_http_on_the_port_of_tls_is_told_so(tls):
    with socket.create_connection((tls.host, int(tls.port)), timeout=20 * PATIENCE) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        answer = b""
        while piece := client.recv(4096):
            answer += piece
    head, body = answer.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 400 ") and b"try https" in body
    assert f"Content-Length: {len(body)}".encode() in head


def test_who_does_not_finish_the_handshake_is_closed(tls):
    with socket.create_connection((tls.host, int(tls.port)), timeout=30 * PATIENCE) as sock:
        sock.sendall(bytes.fromhex("160301"))
        assert sock.recv(100) == b""  # after the time for a head
    assert tls.get()[0] == 200


def test_nobody_is_refused_while_a_gateway_is_replaced(tls):
    """Who connects before the new gateway has its certificates waits for them."""
    for _ in range(3):
        old = tls.server.pid("gateway")
        os.kill(old, signal.SIGKILL)
        connection = tls.client()
        assert ask(connection, "GET", "/")[0] == 200
        connection.close()
        wait_until(lambda: tls.server.pid("gateway") not in (None, old), 20, "another gateway")


def test_deploys_lose_nothing_over_tls(tls):
    stop, failures, versions, done = threading.Event(), [], set(), [0]

    def visit():
        connection = tls.client()
        while not stop.is_set():
            try:
                status, _, fields = ask(connection, "GET", "/")
                assert status == 200, status
                versions.add(fields["x-version"])
                done[0] += 1
                if fields.get("connection") == "close":
                    connection = tls.client()
            except Exception as error:  # told below
                failures.append(repr(error))
                connection = tls.client()

    threads = [threading.Thread(target=visit) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        for version in (2, 3):
            tls.app.deploy(version, ok=True)
            wait_until(lambda: str(version) in versions, 10, "it answers")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures and done[0] > 100, (failures[:3], done)
