"""The guardian: roles that die come back, a second serve takes over, no connection is refused.

These tests need no app: the gateway's own 404 shows that it serves. They wait for the ready line and
for what the processes themselves show, not for the API.
"""

import ctypes
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest
from sluice_test import App, BINARY, IS_ROOT, wait_until
from sluice_test import proc
from sluice_test.build import PATIENCE
from sluice_test.server import ordinary_user

READY = re.compile(r"^sluice \S+ ready: listening on (\S.*), api (\S+), data (\S+) \(pid (\d+)\)$",
                   re.MULTILINE)


def log_of(server):
    return server.log_text(10 ** 7)


def ready_lines(server):
    return READY.findall(log_of(server))


def start(server, *more):
    """Starts serve; waits for its ready line; notes its addresses."""
    before = len(ready_lines(server))
    server.start(*more, wait=False)

    def ready():
        assert server.process.poll() is None, "serve has ended"
        return len(ready_lines(server)) > before
    wait_until(ready, 20, lambda: f"the ready line: {log_of(server)[-3000:]}")
    server.addresses = [a.removeprefix("http://") for a in ready_lines(server)[-1][0].split(", ")]
    server.address = server.address or server.addresses[0]
    return server


def pid_file(server, role):
    return int((server.data / "run" / f"{role}.pid").read_text())


def raw_get(address, timeout=20):
    """One request on a new connection; gives the status, raises where it is refused or broken."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while chunk := s.recv(4096):
            data += chunk
    assert data.startswith(b"HTTP/1.1 "), data[:100]
    return int(data.split()[1])


# What a gateway says that has no routes.
ANSWERS = {404, 503}


class Knocking:
    """Connects again and again from a thread, and keeps every failure."""

    def __init__(self, address):
        self.address, self.failures, self.count = address, [], 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while not self.over.is_set():
            try:
                status = raw_get(self.address)
                if status not in ANSWERS:
                    self.failures.append(status)
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))
            self.count += 1

    def __enter__(self):
        self.thread.start()
        wait_until(lambda: self.count > 5, 10, "knocking")
        return self

    def __exit__(self, *_):
        reached = self.count
        wait_until(lambda: self.count > reached + 5 or self.failures, 30, "knocking goes on")
        self.over.set()
        self.thread.join()


@pytest.fixture
def alone(make_server):
    """A server as made by make_server, started without waiting for its API."""
    def make(**options):
        return start(make_server(start=False, **options))
    return make


def test_what_runs(alone):
    server = alone()
    data = str(server.data)
    found = proc.roles(server.data)
    assert {role: len(pids) for role, pids in found.items()} == \
        {"guardian": 1, "controller": 1, "gateway": 1, "shim": 0}
    for role in ("guardian", "controller", "gateway"):
        assert pid_file(server, role) == found[role][0]
        assert proc.title(found[role][0]) == f"sluice: {role} {data}"
    address, api, folder, pid = ready_lines(server)[0]
    assert address == f"http://{server.address}" and not address.endswith(":0")
    assert (api, folder, int(pid)) == (f"unix:{data}/api.sock", data, found["guardian"][0])
    assert server.process.pid == found["guardian"][0]  # serve became the guardian
    assert raw_get(server.address) in ANSWERS
    # The guardian is small: it is what must never die.
    assert proc.pss_kib(found["guardian"][0]) < 2048
    if IS_ROOT:
        assert proc.uid(found["gateway"][0]) != 0


def test_several_addresses(make_server):
    server = start(make_server(start=False), "--listen", "[::1]:0", "--listen", "localhost:0")
    assert len(server.addresses) == 3
    assert server.addresses[1].startswith("[::1]:")
    for address in server.addresses:
        assert raw_get(address) in ANSWERS


def test_a_second_serve_says_so(alone):
    server = alone()
    again = server.run("serve", "--data", str(server.data))
    assert again.returncode == 1
    assert f"already running, pid {server.pid('guardian')}" in again.stderr
    assert raw_get(server.address) in ANSWERS


def test_a_port_that_is_in_use(alone, make_server):
    server = alone()
    other = make_server(start=False)
    run = other.run("serve", "--data", str(other.data), "--listen", server.address)
    assert run.returncode == 1
    assert f"listen on {server.address}" in run.stderr and "in use" in run.stderr
    assert f"pid {server.pid('guardian')}" in run.stderr or "another process" in run.stderr
    assert not proc.of_data_folder(other.data)
    assert raw_get(server.address) in ANSWERS


@pytest.mark.parametrize("words, said", [
    (["--tls-listen", "nowhere"], "--tls-listen: \"nowhere\" is not an address"),
    (["--listen", "tls:127.0.0.1:0"], "expected HOST:PORT"),
    (["--listen", "8080"], "expected HOST:PORT"),
    (["--listen", "example.org:80"], "IP address"),
    (["--listen", "127.0.0.1:99999"], "expected HOST:PORT"),
    (["--workers", "0"], "1 to 16"),
    (["--workers", "17"], "1 to 16"),
    (["--workers", "two"], "1 to 16"),
    (["--api", "unix:"], "unix:PATH"),
    (["--api", "beer"], "HOST:PORT"),
    (["--log-level", "loud"], "debug"),
    (["--frobnicate", "1"], "frobnicate"),
    (["--listen"], "value"),
    (["surplus"], "surplus"),
])
def test_wrong_arguments(make_server, words, said):
    server = make_server(start=False)
    run = server.run("serve", "--data", str(server.data), *words)
    assert run.returncode == 2, run.stderr
    assert said in run.stderr
    assert not server.data.exists()


@pytest.mark.root
def test_the_folder_of_someone_else(make_server):
    server = make_server(start=False, user=ordinary_user())
    server.data.mkdir()
    os.chown(server.data, 0, 0)
    run = server.run("serve", "--data", str(server.data))
    assert run.returncode == 1
    assert "belongs to uid 0" in run.stderr


def test_a_very_long_data_folder(make_server):
    server = make_server(start=False)
    server.data = server.root / ("a" * 90) / ("b" * 90) / "data"
    start(server)
    assert raw_get(server.address) in ANSWERS
    assert server.stop() == 0


def test_a_gateway_that_is_killed_comes_back(alone):
    server = alone()
    old = server.kill("gateway")
    wait_until(lambda: proc.roles(server.data)["gateway"] not in ([], [old]), 10, "a new gateway")
    assert raw_get(server.address) in ANSWERS
    wait_until(lambda: pid_file(server, "gateway") == server.pid("gateway"), 10, "its pid file")
    sockets = sorted(p.name for p in (server.data / "run").glob("gateway-*.sock"))
    assert sockets == ["gateway-2.sock"]


def test_connections_in_the_queue_are_served_by_the_successor(alone):
    server = alone()
    gateway = server.pid("gateway")
    os.kill(gateway, signal.SIGSTOP)
    wait_until(lambda: proc.stat(gateway)[0] == "T", 10, "the gateway is stopped")
    host, port = server.address.rsplit(":", 1)
    waiting = [socket.create_connection((host, int(port)), timeout=20) for _ in range(40)]
    for s in waiting:
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    os.kill(gateway, signal.SIGKILL)
    answers = [s.recv(4096).split()[1] for s in waiting]
    for s in waiting:
        s.close()
    assert set(answers) <= {b"404", b"503"}


def test_a_controller_that_is_killed_comes_back(alone):
    server = alone()
    gateway, old = server.pid("gateway"), server.pid("controller")
    with Knocking(server.address) as knocking:
        server.kill("controller")
        wait_until(lambda: proc.roles(server.data)["controller"] not in ([], [old]), 10,
                   "a new controller")
    assert not knocking.failures
    assert server.pid("gateway") == gateway


def test_take_over_from_both(alone):
    server = alone()
    address = server.address
    before = proc.roles(server.data)
    with Knocking(address) as knocking:
        server.kill("guardian")
        server.process.wait()
        assert proc.roles(server.data)["gateway"] == before["gateway"]
        start(server)
        wait_until(lambda: len(proc.roles(server.data)["gateway"]) == 1 and
                   len(proc.roles(server.data)["controller"]) == 1, 30, "the old ones have left")
    assert not knocking.failures, knocking.failures[:5]
    after = proc.roles(server.data)
    assert after["gateway"] != before["gateway"] and after["controller"] != before["controller"]
    assert server.addresses == [address]
    assert "taking over" in log_of(server)


@pytest.mark.parametrize("left", ["gateway", "controller"])
def test_take_over_from_one(alone, left):
    """Each of the two keeps the listeners alone; what is queued meanwhile is answered."""
    server = alone()
    killed = "controller" if left == "gateway" else "gateway"
    server.kill("guardian")
    server.process.wait()
    server.kill(killed)
    wait_until(lambda: not proc.roles(server.data)[killed], 10, "it is dead")
    host, port = server.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=30) as early:
        early.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        start(server)
        assert int(early.recv(4096).split()[1]) in ANSWERS
    assert raw_get(server.address) in ANSWERS


def test_all_are_killed(alone):
    server = alone()
    for role in ("guardian", "controller", "gateway"):
        server.kill(role)
    server.process.wait()
    wait_until(lambda: not proc.of_data_folder(server.data), 10, "all are dead")
    start(server)  # the same address; nothing is left of the dead
    assert raw_get(server.address) in ANSWERS
    assert len(list((server.data / "run").glob("gateway-*.sock"))) == 1
    assert (server.data / "run" / "generation").read_text() == "2\n"


def test_take_over_with_other_addresses(make_server):
    server = start(make_server(start=False), "--listen", "127.0.0.1:0")
    kept, dropped = server.addresses
    server.kill("guardian")
    server.process.wait()
    start(server, "--listen", "[::1]:0")
    assert server.addresses[0] == kept and server.addresses[1].startswith("[::1]:")
    for address in server.addresses:
        assert raw_get(address) in ANSWERS
    assert f"no longer listening on {dropped}" in log_of(server)
    wait_until(lambda: len(proc.roles(server.data)["gateway"]) == 1, 30, "the old one has drained")

    def refused():
        try:
            raw_get(dropped, timeout=2)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    wait_until(refused, 10, "nobody listens on the dropped address")


def test_take_over_with_another_number_of_workers(alone):
    server = alone(workers=4)
    server.kill("guardian")
    server.process.wait()
    server.workers = 1
    with Knocking(server.address) as knocking:
        start(server)
        wait_until(lambda: len(proc.roles(server.data)["gateway"]) == 1, 30, "the old one is gone")
    assert not knocking.failures, knocking.failures[:5]
    gateway = server.pid("gateway")
    assert len(os.listdir(f"/proc/{gateway}/task")) == 2  # one worker, one control thread


def test_a_hung_gateway_does_not_block_the_take_over(alone):
    """It answers nothing, so the controller is asked; it is not waited for."""
    server = alone()
    hung = server.pid("gateway")
    server.kill("guardian")
    server.process.wait()
    os.kill(hung, signal.SIGSTOP)
    start(server)
    assert wait_until(lambda: raw_get(server.address, timeout=2) in ANSWERS, 20, "it serves")
    os.kill(hung, signal.SIGCONT)
    wait_until(lambda: proc.roles(server.data)["gateway"] == [pid_file(server, "gateway")], 30,
               "it has drained")


def test_a_hung_controller_does_not_block_the_take_over(alone):
    """It does not leave: after 10 s it is killed, and the new one has its lock."""
    server = alone()
    hung = server.pid("controller")
    server.kill("guardian")
    server.process.wait()
    os.kill(hung, signal.SIGSTOP)
    with Knocking(server.address) as knocking:
        start(server)
    assert not knocking.failures, knocking.failures[:5]
    assert not proc.alive(hung)


def test_stop_apps_although_the_controller_dies_of_it(make_server):
    """--stop-apps holds also where the controller is killed while the server stops."""
    server = start(make_server(start=False, stop_apps=True))
    app = App(server, replicas=1)
    wait_until(lambda: server.api("GET", "/ready").status == 200, 20, "the API")
    app.deploy("1", ok=True)
    assert proc.instances(server.data)
    controller = server.pid("controller")
    os.kill(controller, signal.SIGSTOP)
    os.kill(server.process.pid, signal.SIGTERM)
    wait_until(lambda: not proc.roles(server.data)["gateway"], 40, "the gateway has drained")
    os.kill(controller, signal.SIGKILL)
    assert server.process.wait(timeout=60) == 0
    assert not proc.instances(server.data)


def test_sigterm_ends_all(alone):
    server = alone()
    assert server.stop() == 0
    assert not proc.of_data_folder(server.data)
    left = sorted(p.name for p in (server.data / "run").iterdir() if p.name != "instances")
    assert not [name for name in left if name.endswith((".pid", ".sock"))], left
    with pytest.raises(ConnectionRefusedError):
        raw_get(server.address)
    start(server)
    assert raw_get(server.address) in ANSWERS


def test_ctrl_c_reaches_the_guardian_only(alone):
    """SIGINT goes to the whole process group of a terminal; the roles must not die of it."""
    server = alone()
    os.killpg(os.getpgid(server.process.pid), signal.SIGINT)
    assert server.process.wait(timeout=60) == 0
    server.wait_dead()
    assert "died" not in log_of(server)


def test_sighup_is_ignored(alone):
    server = alone()
    os.kill(server.pid("guardian"), signal.SIGHUP)
    server.kill("gateway")  # proves that it still does its work
    assert raw_get(server.address) in ANSWERS
    assert server.process.poll() is None


def test_stop_with_a_hung_gateway_in_a_hurry(alone):
    server = alone()
    os.kill(server.pid("gateway"), signal.SIGSTOP)
    os.kill(server.process.pid, signal.SIGTERM)
    wait_until(lambda: "stopping" in log_of(server), 10, "it stops")
    os.kill(server.process.pid, signal.SIGTERM)
    assert server.process.wait(timeout=60) == 0
    server.wait_dead()
    assert "is killed" in log_of(server)


def test_gateways_that_die_in_a_row_get_the_previous_snapshot(alone):
    """Of themselves, that is: who is killed from outside did not die of its routes."""
    server = alone()
    for number in (signal.SIGKILL,) * 4 + (signal.SIGABRT,) * 3:
        assert "with the previous snapshot" not in log_of(server)
        old = server.kill("gateway", number)
        wait_until(lambda: proc.roles(server.data)["gateway"] not in ([], [old]), 10, "a new one")
    wait_until(lambda: "with the previous snapshot" in log_of(server), 10,
               lambda: log_of(server)[-2000:])
    assert wait_until(lambda: raw_get(server.address) in ANSWERS, 10, "it serves")


def test_systemd_is_told(make_server):
    server = make_server(start=False)
    path = str(server.root / "notify.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        os.chmod(path, 0o666)
        notify.settimeout(30)
        environment = server.environment
        server.environment = lambda: {**environment(), "NOTIFY_SOCKET": path}
        start(server)
        assert notify.recv(200).decode() == f"READY=1\nMAINPID={server.pid('guardian')}"
        for role in ("controller", "gateway"):
            assert "NOTIFY_SOCKET" not in proc.environment(server.pid(role))
        assert server.stop() == 0
        assert notify.recv(200).decode() == "STOPPING=1"


@pytest.mark.parametrize("role", ["controller", "gateway"])
def test_a_role_by_hand_says_what_is_missing(role):
    run = subprocess.run([f"sluice: {role} /tmp"], executable=str(BINARY), capture_output=True,
                         text=True, timeout=20, close_fds=True)
    assert run.returncode == 1
    assert "boot file" in run.stderr


@pytest.mark.root
def test_as_an_ordinary_user(alone):
    server = alone(user=ordinary_user())
    for role in ("guardian", "controller", "gateway"):
        assert proc.uid(server.pid(role)) == server.user.pw_uid
    server.kill("guardian")
    server.process.wait()
    start(server)
    assert raw_get(server.address) in ANSWERS
    assert server.stop() == 0


def holds_signals(pid):
    """SIGTERM waits until the guardian can hear it."""
    status = open(f"/proc/{pid}/status").read()
    blocked = int(re.search(r"^SigBlk:\s*([0-9a-f]+)$", status, re.MULTILINE).group(1), 16)
    return blocked & 1 << signal.SIGTERM - 1


def test_sigterm_while_taking_over_stops_the_apps(make_server):
    """Whenever it comes: before the guardian is there, while the old controller is asked to leave for
    the new one, when that one starts. No app goes on, none is left to nobody."""
    server = make_server()
    app = App(server)
    app.deploy(1, ok=True)
    for delay_ms in (0, 1, 2, 5, 10, 15, 20, 25, 30, 35, 40, 50, 60, 70, 80, 100, 120, 150, 200, 300):
        server.kill("guardian")
        server.process.wait()
        server.start(wait=False)
        wait_until(lambda: holds_signals(server.process.pid), 20, "serve has begun")
        time.sleep(delay_ms / 1000)  # the moment is what is tried
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60 * PATIENCE) == 0, log_of(server)[-3000:]
        # The controllers have left by then; a sanitizer still looks through their memory.
        wait_until(lambda: not proc.of_data_folder(server.data), 10,
                   lambda: f"nothing is left: {delay_ms} ms, {log_of(server)[-3000:]}")
        server.start()
        app.wait_steady(version=1, ready=2)


def test_a_controller_on_its_way_out_when_the_apps_are_to_stop(make_server):
    """The old controller was asked to leave for the new one; it is nearly gone when it hears that the
    apps are to be stopped too. Someone has to stop them all the same."""
    message = struct.Struct("<IIQQ232s")  # wire/gatewayctl.h
    take_over, done, leave = 5, 7, 105

    server = make_server(start=False)
    (server.data / "run").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as old:
        old.bind(str(server.data / "run" / "controller.sock"))
        old.listen(8)
        old.settimeout(20 * PATIENCE)
        server.start(wait=False)
        link, _ = old.accept()  # of the guardian, later
        asking, _ = old.accept()
        assert message.unpack(asking.recv(256))[1] == take_over
        asking.send(message.pack(0x53474331, done, 0, 0, b""))
        link.settimeout(20 * PATIENCE)
        assert message.unpack(link.recv(256))[1:3] == (leave, 0)
        server.process.send_signal(signal.SIGTERM)
        assert message.unpack(link.recv(256))[1:3] == (leave, 1)
        link.close()
    assert server.process.wait(60 * PATIENCE) == 0
    assert "leaving, the apps are stopped" in log_of(server), log_of(server)[-3000:]


def test_a_gateway_that_hangs_is_replaced(make_server):
    """Stopped, not dead: nobody would start another for it. What it had accepted is lost with it; new
    connections are served, and the controller has someone to tell its routes."""
    server = make_server()
    app = App(server)
    app.deploy(1, ok=True)
    hung = server.pid("gateway")
    proc.kill(hung, signal.SIGSTOP)
    wait_until(lambda: not proc.alive(hung), 60, lambda: log_of(server)[-3000:])
    assert "has not moved" in log_of(server)
    assert server.get("/").version == "1"
    app.deploy(2, ok=True)
    assert server.get("/").version == "2"


def test_a_gateway_that_was_away_for_a_moment_stays(make_server):
    server = make_server()
    pid = server.pid("gateway")
    proc.kill(pid, signal.SIGSTOP)
    time.sleep(5)  # two of the guardian's questions and a half
    proc.kill(pid, signal.SIGCONT)
    time.sleep(12)  # as long as it takes to be taken for hung, had it been counted against it
    assert server.pid("gateway") == pid and "has not moved" not in log_of(server)


class Tracer:
    """Stops one thread of another process, and nothing else of it, in the middle of its work."""

    SEIZE, INTERRUPT, CONT, DETACH = 0x4206, 0x4207, 7, 17
    WALL = 0x40000000

    def __init__(self, pid, tid):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.pid, self.tid = pid, tid
        self._ask(self.SEIZE)

    def _ask(self, request):
        null = ctypes.c_void_p(0)
        if self.libc.ptrace(ctypes.c_long(request), ctypes.c_int(self.tid), null, null) < 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    def stop_while_it_works(self):
        """Not where it waits for events."""
        while True:
            self._ask(self.INTERRUPT)
            os.waitpid(self.tid, self.WALL)
            doing = open(f"/proc/{self.pid}/task/{self.tid}/syscall").read().split()[0]
            if doing not in ("232", "281", "22", "running"):  # epoll_wait, epoll_pwait; 22: on ARM
                return
            self._ask(self.CONT)

    def let_go(self):
        try:
            self._ask(self.DETACH)
        except OSError:
            os.waitpid(self.tid, self.WALL)  # it was killed; its process is reaped only after this


@pytest.mark.root
def test_a_gateway_with_one_worker_that_hangs_is_replaced(make_server):
    """The others, and the thread that answers the guardian, go on: the connections of that one do not."""
    server = make_server()
    app = App(server)
    app.deploy(1, ok=True)
    hung = server.pid("gateway")
    worker = next(int(tid) for tid in os.listdir(f"/proc/{hung}/task")
                  if open(f"/proc/{hung}/task/{tid}/comm").read().startswith("gw-worker-"))
    over = threading.Event()

    def knock():
        while not over.is_set():
            try:
                raw_get(server.address, 1)
            except (OSError, AssertionError):
                pass  # of the one that hangs

    threads = [threading.Thread(target=knock) for _ in range(4)]
    for thread in threads:
        thread.start()
    tracer = Tracer(hung, worker)
    try:
        tracer.stop_while_it_works()
        wait_until(lambda: not proc.alive(hung), 60, lambda: log_of(server)[-3000:])
    finally:
        tracer.let_go()
        over.set()
        for thread in threads:
            thread.join()
    assert "has not moved" in log_of(server)
    assert raw_get(server.address) == 200
