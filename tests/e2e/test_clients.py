"""Limits for clients and the PROXY protocol through the real server, with TLS."""

import socket

import pytest
from sluice_test import App, wait_until
from test_tls import HOSTS, Tls


class Front(Tls):
    """A server behind a proxy that passes connections on byte for byte."""

    def __init__(self, make_server):
        super().__init__(make_server)
        self.server.extra += ["--proxy-protocol", "--trusted-proxies", "127.0.0.1",
                              "--max-connections-per-client", "2", "--max-connections", "500"]

    def ask(self, client, path="/headers"):
        """(status, what the app saw) of one request over TLS, for this client."""
        raw = socket.create_connection((self.host, int(self.port)), timeout=20)
        raw.sendall(f"PROXY TCP4 {client} 198.51.100.1 1 443\r\n".encode())
        with self.context().wrap_socket(raw, server_hostname="shop.test") as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
        head, body = answer.split(b"\r\n\r\n", 1)
        return int(head.split()[1]), body.decode()


def test_a_proxy_in_front_of_tls(make_server):
    front = Front(make_server)
    front.put("shop", *HOSTS)
    front.start()
    app = App(front.server, routes=[{"path": "/", "rate-limit": {"requests": 2, "per": "1h"},
                                     "limits": {"body": "1Mi", "headers": "8Ki", "min-rate": "500"}}])
    app.deploy(1, ok=True)
    status, seen = front.ask("192.0.2.1")
    assert status == 200
    assert "X-Forwarded-For: 192.0.2.1\r\n" in seen and "X-Forwarded-Proto: https\r\n" in seen
    assert [front.ask(f"192.0.2.{i}")[0] for i in (1, 1, 2)] == [200, 429, 200]
    app.deploy(2, ok=True)  # another release, the same route
    assert front.ask("192.0.2.1")[0] == 429
    wait_until(lambda: front.server.metric("sluice_requests_rate_limited_total", app=app.name) == 2, 10,
               "both are counted")


@pytest.mark.parametrize("words,why", [
    (["--proxy-protocol"], "--trusted-proxies says so"),
    (["--trusted-proxies", "127.0.0.1,10.0.0.1/33"], "--trusted-proxies: `10.0.0.1/33`: expected a length from 0 to 32"),
    (["--tcp-routes", "5432-80"], "expected HOST:PORT or HOST:PORT-PORT"),
    (["--tcp-routes", "127.0.0.1:5432-80"], "ends before it begins"),
    (["--max-connections", "0"], "expected a number of connections"),
    (["--max-connections-per-client", "many"], "expected a number of connections"),
])
def test_options_that_make_no_sense(make_server, words, why):
    server = make_server(start=False)
    result = server.cli("serve", "--data", str(server.data / "other"), *words)
    assert result.returncode == 2 and why in result.stderr
