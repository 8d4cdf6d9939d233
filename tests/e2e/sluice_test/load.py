"""build/load as a context manager: runs beside what the test does, and accounts for every request."""

import json
import signal
import subprocess
import tempfile

from .build import LOAD, PATIENCE, RATE
from .wait import wait_until

# The app's own answers: no business of the deploy's.
OF_THE_APP = ("app_5xx", "app_4xx")


class Load:
    """with Load(address) as load: ...   then load.result, load.lost(), load.assert_none_lost()"""

    def __init__(self, address, rate=RATE, connections=16, requests=("GET /",), keepalive=True,
                 timeout=30.0, extra=()):
        self.arguments = [str(LOAD), "--url", f"http://{address}", "--connections", str(connections),
                          "--duration", "30m", "--timeout", f"{timeout * PATIENCE:.0f}s", "--live"]
        for request in requests:
            self.arguments += ["--request", request]
        if rate:
            self.arguments += ["--rate", str(int(rate))]
        if not keepalive:
            self.arguments.append("--no-keepalive")
        self.arguments += [str(word) for word in extra]
        self.connections = connections
        self.result = None
        self.process = None

    def start(self):
        self.live_file = tempfile.NamedTemporaryFile(prefix="load-", suffix=".live")
        self.events_file = tempfile.NamedTemporaryFile(prefix="load-", suffix=".events")
        self.process = subprocess.Popen(self.arguments + ["--events", self.events_file.name],
                                        stdout=subprocess.PIPE, stderr=self.live_file, text=True)
        return self

    def stop(self):
        if self.result is None and self.process:
            self.process.send_signal(signal.SIGTERM)
            out, _ = self.process.communicate(timeout=120 * PATIENCE)
            self.result = json.loads(out)
            assert self.result["sent"] == self.result["ok"] + self.result["failed"], "lost count"
        return self.result

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # ---- while it runs

    def seconds(self):
        """One dict per whole second so far: ok, failed, versions, ..."""
        with open(self.live_file.name) as file:
            return [json.loads(line) for line in file if line.endswith("}\n")]

    def failures(self):
        with open(self.events_file.name) as file:
            return [json.loads(line) for line in file if line.endswith("}\n")]

    def wait_flowing(self, seconds=1):
        """Until that many more seconds were answered."""
        before = len(self.seconds())
        wait_until(lambda: len(self.seconds()) >= before + seconds, 30, "load is flowing")

    def wait_version(self, version, deadline=30.0):
        """Until this version answers."""
        before = len(self.seconds())
        wait_until(lambda: any(str(version) in s["versions"] for s in self.seconds()[before:]),
                   deadline, f"version {version} answers")

    def wait_only(self, version, deadline=30.0):
        before = len(self.seconds())
        wait_until(lambda: any(list(s["versions"]) == [str(version)]
                               for s in self.seconds()[before + 1:]),
                   deadline, f"only version {version} answers")

    # ---- afterwards

    def lost(self, *allowed):
        """How many failed that the app did not fail itself; `allowed` are classes to leave out."""
        classes = self.stop()["failures"]
        return sum(f["count"] for name, f in classes.items()
                   if name not in OF_THE_APP and name not in allowed)

    def count(self, name):
        return self.stop()["failures"].get(name, {"count": 0})["count"]

    def explain(self):
        result = self.stop()
        lines = [f"sent {result['sent']}, ok {result['ok']}, failed {result['failed']}, "
                 f"stale retries {result['stale_retries']}, versions "
                 f"{ {v: (n['ok'], n['failed']) for v, n in result['versions'].items()} }"]
        for name, failure in result["failures"].items():
            lines.append(f"  {name}: {failure['count']}")
            lines += [f"    {json.dumps(example)}" for example in failure["examples"]]
        return "\n".join(lines)

    def assert_none_lost(self):
        assert self.lost() == 0, self.explain()
        assert self.result["ok"] > 0, "nothing was sent"

    def assert_lost_at_most(self, bound, classes=("reset", "closed", "cut")):
        """Some may be lost, but only in these ways (never refused, never a 5xx of the gateway)."""
        assert self.lost(*classes) == 0, self.explain()
        assert self.lost() <= bound, f"more than {bound}\n{self.explain()}"

    def version(self, version):
        none = {"ok": 0, "failed": 0, "app_5xx": 0, "first_ms": 0, "last_ms": 0}
        return self.stop()["versions"].get(str(version), none)
