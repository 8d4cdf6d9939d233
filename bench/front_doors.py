"""sluice, HAProxy and nginx as front doors of the same back ends, for bench/gateway.

One worker each, pinned to one core. The back ends are two nginx that sluice runs as an app of its own
(100 bytes at /, 64 KiB at /64k, 10 MiB at /10m); they and the load have the other cores.
"""

import os
import resource
import shutil
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from sluice_test import App, Server, get, wait_until  # noqa: E402
from sluice_test import proc  # noqa: E402

CORES = os.cpu_count() or 1
PROXY_CORE = {0}
OTHER_CORES = set(range(1, CORES)) or {0}
PATH = os.environ["PATH"] + ":/usr/sbin"
MAX_CONNECTIONS = 9000  # HAProxy reserves two descriptors for each, of 20,000 here

BACKEND = """worker_processes 1;
pid {state}/nginx-{port}.pid;
error_log /dev/null;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
    client_body_temp_path {state}/b; proxy_temp_path {state}/p; fastcgi_temp_path {state}/f;
    uwsgi_temp_path {state}/u; scgi_temp_path {state}/s;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200 "{body}"; }}
        location /64k {{ alias bodies/64k; }}
        location /10m {{ alias bodies/10m; }}
    }}
}}
"""

HAPROXY = """global
    nbthread 1
    maxconn {connections}
    ssl-default-bind-options ssl-min-ver TLSv1.2
    tune.ssl.default-dh-param 2048
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    http-reuse always
frontend in
    bind 127.0.0.1:{http} backlog 4096
    bind 127.0.0.1:{https} backlog 4096 ssl crt {pem} alpn h2,http/1.1
    option forwardfor
    default_backend out
backend out
    balance random(2)
{servers}
"""

NGINX = """worker_processes 1;
pid {dir}/nginx.pid;
error_log /dev/null;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    proxy_max_temp_file_size 0;
    client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
    uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
    ssl_certificate {pem};
    ssl_certificate_key {pem};
    ssl_protocols TLSv1.2 TLSv1.3;
    http2_max_concurrent_streams 128;
    upstream out {{
{servers}
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{http} backlog=4096;
        listen 127.0.0.1:{https} backlog=4096 ssl http2;
        location / {{
            proxy_pass http://out;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pin(pid, cores):
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), cores)


def cpu_us(pid):
    """CPU time of all threads so far, by the scheduler's own nanoseconds."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as stat:
            total += int(stat.read().split()[0])
    return total / 1000


def pss_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        return next(int(line.split()[1]) << 10 for line in rollup if line.startswith("Pss:"))


class Door:
    """A proxy that runs; `http` and `https` are its addresses."""

    def __init__(self, name, http, https, pid):
        self.name, self.http, self.https, self.pid = name, http, https, pid

    def url(self, path="/", tls=False):
        return f"https://{self.https}{path}" if tls else f"http://{self.http}{path}"


class Doors:
    """All three. Use as a context."""

    def __init__(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        self.server = Server(workers=1, prefix="sluice-bench-", extra=["--tls-listen", "127.0.0.1:0"])
        self.children = []

    def __enter__(self):
        try:
            self.certificate()
            self.server.start()
            self.backends()
            self.doors = [self.sluice(), self.haproxy(), self.nginx()]
            for door in self.doors:
                wait_until(lambda d=door: get(d.http).status == 200, 10, f"{door.name} answers")
                pin(door.pid, PROXY_CORE)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for child in self.children:
            child.terminate()
            child.wait()
        for problem in self.server.close():
            print(problem, file=sys.stderr)
        self.server.remove()

    def certificate(self):
        certs = self.server.data / "certs"
        certs.mkdir(parents=True)
        self.pem = certs / "bench.pem"
        key, crt = self.server.root / "key", self.server.root / "crt"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-keyout", key, "-out", crt, "-days", "2", "-subj", "/CN=bench.test",
                        "-addext", "subjectAltName=DNS:bench.test,IP:127.0.0.1"],
                       check=True, capture_output=True)
        self.pem.touch(0o600)
        self.pem.write_text(crt.read_text() + key.read_text())

    def backends(self):
        app = App(self.server, "bench")
        config = BACKEND.format(state="@STATE@", port="@PORT@", body="x" * 100)
        bodies = self.server.root / "bodies"  # not in the release: nginx's workers are nobody
        bodies.mkdir()
        (bodies / "64k").write_bytes(b"x" * (64 << 10))
        (bodies / "10m").write_bytes(b"x" * (10 << 20))
        (app.dir / "nginx.conf").write_text(config.replace("bodies", str(bodies)))
        app.deploy(1, ok=True, replicas=2, probes={"readiness": {"http": "/", "period": "5s"}},
                   run="sed -e s,@STATE@,$SLUICE_STATE_DIR,g -e s,@PORT@,$PORT,g nginx.conf "
                       "> $SLUICE_STATE_DIR/$PORT.conf && "
                       "exec nginx -e /dev/null -c $SLUICE_STATE_DIR/$PORT.conf -g 'daemon off;'",
                   **({"user": "root"} if os.geteuid() == 0 else {}))
        self.ports = [i["port"] for i in app.ready()]
        for pids in proc.instances(self.server.data).values():
            for pid in pids:
                pin(pid, OTHER_CORES)

    def start(self, program, *words):
        child = subprocess.Popen([shutil.which(program, path=PATH), *map(str, words)],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        self.children.append(child)
        return child

    def sluice(self):
        https = next(a for a in self.server.info()["listeners"] if a.startswith("tls:"))
        return Door("sluice", self.server.address, https.removeprefix("tls:"), self.server.pid("gateway"))

    def haproxy(self):
        http, https = free_port(), free_port()
        config = self.server.root / "haproxy.cfg"
        config.write_text(HAPROXY.format(
            http=http, https=https, pem=self.pem, connections=MAX_CONNECTIONS + 300,
            servers="\n".join(f"    server s{p} 127.0.0.1:{p} maxconn 4096" for p in self.ports)))
        child = self.start("haproxy", "-db", "-f", config)
        return Door("haproxy", f"127.0.0.1:{http}", f"127.0.0.1:{https}", child.pid)

    def nginx(self):
        http, https = free_port(), free_port()
        folder = self.server.root / "nginx"
        folder.mkdir()
        config = folder / "nginx.conf"
        config.write_text(NGINX.format(
            dir=folder, http=http, https=https, pem=self.pem, connections=MAX_CONNECTIONS + 3000,
            servers="\n".join(f"        server 127.0.0.1:{p};" for p in self.ports)))
        folder.chmod(0o777)
        child = self.start("nginx", "-e", "/dev/null", "-c", config, "-g", "daemon off;")
        worker = wait_until(lambda: [p for p in proc.pids() if (s := proc.stat(p)) and s[1] == child.pid], 10)
        return Door("nginx", f"127.0.0.1:{http}", f"127.0.0.1:{https}", worker[0])
