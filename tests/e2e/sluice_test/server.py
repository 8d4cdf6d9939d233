"""A sluice server of a test: its processes, its folder, its API."""

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from . import http, proc
from .build import BINARY, IS_ROOT, PATIENCE
from .wait import wait_until

SANITIZER_REPORT = re.compile(
    r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|: runtime error: |assertion failed|"
    r"Assertion .* failed", re.IGNORECASE)


class Server:
    """Starts in its own folder under /tmp; `user`: an ordinary user to be (needs root)."""

    def __init__(self, user=None, data=None, stop_apps=True, workers=2, listen="127.0.0.1:0",
                 extra=(), prefix="sluice-test-"):
        self.root = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
        self.root.chmod(0o755)
        self.user = pwd.getpwnam(user) if user else None
        self.data = Path(data) if data else self.root / "data"
        self.log = self.root / "server.log"
        self.stop_apps, self.workers, self.listen, self.extra = stop_apps, workers, listen, extra
        self.address = None
        self.process = None
        self.children = []
        self.tolerate_reports = False
        self.give(self.root)

    # ---- as whom

    def give(self, path):
        if self.user:
            for folder, _, files in os.walk(path):
                for name in [folder] + [os.path.join(folder, f) for f in files]:
                    os.chown(name, self.user.pw_uid, self.user.pw_gid, follow_symlinks=False)

    def _as_user(self):
        if not self.user:
            return {}
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}

    def environment(self):
        env = {"PATH": os.environ["PATH"], "HOME": str(self.root), "LANG": "C.UTF-8",
               "SLUICE_DATA": str(self.data), "TMPDIR": "/tmp"}
        env.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
        return env

    # ---- life

    def start(self, *more, wait=True):
        words = [str(BINARY), "serve", "--data", str(self.data), "--listen", self.address or self.listen,
                 "--workers", str(self.workers), *self.extra, *more]
        if self.stop_apps:
            words.append("--stop-apps")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            cwd="/", env=self.environment(), start_new_session=True,
                                            **self._as_user())
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, deadline=30.0):
        def ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"serve ended with {self.process.returncode}: {self.log_text()}")
            if self.api("GET", "/ready", timeout=5).status != 200:
                return False
            # An old controller answers too while a new guardian takes over.
            return self.info()["pids"]["guardian"] == self.process.pid
        try:
            wait_until(ready, deadline, "the server is ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_text()}") from None
        if not self.address:
            listener = self.api("GET", "/v1/server").json["listeners"][0]
            self.address = listener if isinstance(listener, str) else listener["address"]
        return self

    def wait_dead(self, deadline=30.0):
        """Until none of the three roles is left."""
        def gone():
            if self.process:
                self.process.poll()
            found = proc.roles(self.data)
            return not (found["guardian"] or found["controller"] or found["gateway"])
        wait_until(gone, deadline, lambda: f"the server ended: {proc.of_data_folder(self.data)}")

    def stop(self, deadline=45.0):
        """SIGTERM to the guardian; waits until it is over."""
        for pid in proc.roles(self.data)["guardian"]:
            proc.kill(pid, signal.SIGTERM)
        self.wait_dead(deadline)
        if self.process:
            self.process.wait(timeout=10 * PATIENCE)
            return self.process.returncode
        return None

    def close(self):
        """The end of a test. Gives what should not have been left, having removed it."""
        for child in self.children:
            if child.poll() is None:
                child.kill()
                child.wait()
        problems = []
        watched = [p for pids in proc.roles(self.data).values() for p in pids]
        zombies = proc.zombies_of(set(watched))
        if zombies:
            time.sleep(0.5)  # one that has just ended is not left behind
            zombies = [z for z in zombies if z in proc.zombies_of(set(watched))]
        problems += [f"zombie {pid}: {name}" for pid, name in zombies]
        if proc.roles(self.data)["guardian"]:
            try:
                self.stop()
            except Exception as error:
                problems.append(f"the server did not stop: {error}")
        if self.stop_apps:
            try:
                wait_until(lambda: not proc.of_data_folder(self.data), 10, "all processes ended")
            except AssertionError:
                problems += [f"left running: {pid} {name}"
                             for pid, name in proc.of_data_folder(self.data).items()]
        self.kill_all()
        if not self.tolerate_reports and self.log.exists():
            for line in self.log_text(10 ** 7).splitlines():
                if SANITIZER_REPORT.search(line):
                    problems.append(f"in the server's log: {line}")
                    break
        return problems

    def kill_all(self):
        for _ in range(100):
            left = proc.of_data_folder(self.data)
            if not left:
                break
            for pid in left:
                proc.kill(pid)
            time.sleep(0.02)
        if self.process:
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def remove(self):
        shutil.rmtree(self.root, ignore_errors=True)

    # ---- its processes

    def pid(self, role):
        """The one process of this role (of several gateways: the newest)."""
        found = proc.roles(self.data)[role]
        assert found, f"no {role} runs"
        return max(found, key=lambda p: (proc.stat(p) or ("", 0, 0))[2])

    def kill(self, role, number=signal.SIGKILL):
        pid = self.pid(role)
        proc.kill(pid, number)
        return pid

    def shims(self):
        return proc.shims(self.data)

    # ---- asking

    def api(self, method, target, body=None, timeout=10.0, headers=None):
        return http.unix(self.data / "api.sock", method, target, body, timeout, headers)

    def info(self):
        return self.api("GET", "/v1/server").json

    def get(self, path="/", **headers):
        return http.get(self.address, path, **headers)

    def metric(self, name, **labels):
        """The sum of a metric's samples that have these labels."""
        total, found = 0.0, False
        for line in self.api("GET", "/metrics").text.splitlines():
            match = re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line)
            if not match or match[1] != name:
                continue
            have = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
            if all(have.get(k) == str(v) for k, v in labels.items()):
                total, found = total + float(match[3]), True
        return total if found else None

    # ---- the command line

    def run(self, *words, limit=60, cwd=None, stdin=None, env=None):
        run = subprocess.run([str(BINARY), *map(str, words)], text=True, capture_output=True,
                             timeout=limit * PATIENCE, cwd=cwd or self.root, input=stdin,
                             stdin=None if stdin is not None else subprocess.DEVNULL,
                             env={**self.environment(), **(env or {})}, **self._as_user())
        report = SANITIZER_REPORT.search(run.stderr)
        assert not report, run.stderr
        return run

    def cli(self, *words, json_=True, **options):
        return self.run(*words, *(["--json"] if json_ else []), **options)

    def start_cli(self, *words):
        child = subprocess.Popen([str(BINARY), *map(str, words)], text=True, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.root,
                                 env=self.environment(), **self._as_user())
        self.children.append(child)
        return child

    def end_cli(self, child, limit=120):
        """Waits for one of start_cli(): (exit status, stdout, stderr)."""
        out, err = child.communicate(timeout=limit * PATIENCE)
        return child.returncode, out, err

    # ---- for the report of a failed test

    def log_text(self, limit=8000):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text[-limit:]

    def sections(self):
        yield "processes", "\n".join(f"{p} {t}" for p, t in proc.of_data_folder(self.data).items())
        for target in ("/v1/server", "/v1/apps"):
            try:
                yield target, json.dumps(self.api("GET", target, timeout=2).json, indent=1)
            except Exception as error:
                yield target, repr(error)
        try:
            yield "events", self.run("events", "--json", limit=5).stdout[-8000:]
        except Exception as error:
            yield "events", repr(error)
        yield "server log", self.log_text()
        for path in sorted(self.data.glob("apps/*/logs/*.log"))[-6:]:
            yield f"log {path.name}", path.read_text(errors="replace")[-1500:]


def ordinary_user():
    """A user to be for the tests of "not as root"; None where we are not root anyway."""
    return "nobody" if IS_ROOT else None
