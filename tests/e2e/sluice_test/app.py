"""An app of a test: writes its sluice.yaml (as JSON, which is YAML) and deploys versions of hello."""

import json
import shutil

from .build import HELLO
from .load import Load
from .wait import wait_until

STRATEGIES = {
    "recreate": "recreate",
    "rolling": "rolling",
    "blue-green": {"blue-green": {"keep": "1s"}},
    "canary": {"canary": {"steps": [20, 50], "hold": "500ms"}},
}


class Deployed:
    """What a deploy (or rollback, restart) said: exit status, the result object, all lines."""

    def __init__(self, run):
        self.status, self.out, self.err = run.returncode, run.stdout, run.stderr
        self.lines = []
        for line in run.stdout.splitlines():
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                pass
        self.result = self.lines[-1] if self.lines else {}

    @property
    def word(self):
        return self.result.get("result")

    @property
    def reason(self):
        return self.result.get("reason") or {}

    @property
    def text(self):
        return self.out + self.err

    def __repr__(self):
        return f"<exit {self.status}: {self.out[-1500:]} {self.err[-1500:]}>"


class App:
    def __init__(self, server, name="hello", environment=None, **defaults):
        self.server, self.name, self.environment = server, name, environment
        self.dir = server.root / f"source-{name}"
        self.dir.mkdir(exist_ok=True)
        self.spec = {
            "app": name,
            "run": ["./hello"],
            "replicas": 2,
            "routes": [{"path": "/"}],
            "probes": {"readiness": {"http": "/ready", "period": "200ms"}},
            "stop": {"drain": "10s", "grace": "3s"},
            "hold": {"time": "30s"},
            "deadline": "60s",
            "strategy": "rolling",
        }
        self.spec.update(defaults)
        program = self.dir / "hello"
        if not program.exists():
            shutil.copy2(HELLO, program)
            program.chmod(0o755)
        server.give(self.dir)

    # ---- the file

    def write(self, faults=None, without=(), **changes):
        """sluice.yaml with these changes; faults: hello's options, {"error_rate": "5%"}."""
        spec = {**self.spec, **changes}
        if faults:
            env = dict(spec.get("env", {}))
            env.update({f"HELLO_{name.upper()}": str(value) for name, value in faults.items()})
            spec["env"] = env
        for key in without:
            spec.pop(key, None)
        self.file = self.dir / "sluice.yaml"
        self.file.write_text(json.dumps(spec, indent=1))
        self.server.give(self.dir)
        return self.file

    # ---- verbs

    def _env(self):
        return ["-e", self.environment] if self.environment else []

    def cli(self, verb, *words, json_=True, **options):
        return self.server.cli(verb, self.name, *words, *self._env(), json_=json_, **options)

    def deploy_arguments(self, version, detach=False, timeout=None, strategy=None, yes=True):
        words = ["deploy", "-f", str(self.file), *self._env(), "--json"]
        words += ["--version", str(version)] if version is not None else []
        words += ["--detach"] if detach else []
        words += ["--timeout", timeout] if timeout else []
        words += ["--strategy", strategy] if strategy else []
        words += ["--yes"] if yes else []
        return words

    def deploy(self, version, faults=None, detach=False, timeout=None, strategy_word=None, ok=None,
               without=(), **changes):
        """Writes the file, deploys, waits. ok=True asserts exit 0, ok=False asserts exit 1."""
        self.write(faults, without, **changes)
        words = self.deploy_arguments(version, detach, timeout, strategy_word)
        done = Deployed(self.server.run(*words, limit=150))
        if ok is not None:
            assert done.status == (0 if ok else 1), f"{done!r}"
        return done

    def deploy_in_background(self, version, faults=None, timeout=None, **changes):
        self.write(faults, **changes)
        return self.server.start_cli(*self.deploy_arguments(version, timeout=timeout))

    def command(self, verb, *words, ok=True):
        done = Deployed(self.cli(verb, *words, limit=150))
        if ok is not None:
            assert (done.status == 0) == ok, f"{verb}: {done!r}"
        return done

    # ---- questions

    def status(self):
        run = self.cli("status")
        assert run.returncode == 0, f"status: {run.stdout}{run.stderr}"
        return json.loads(run.stdout)

    def documents(self, verb, *words):
        """The JSON documents (one, or one per line) that a verb prints."""
        run = self.cli(verb, *words)
        assert run.returncode == 0, f"{verb}: {run.stdout}{run.stderr}"
        try:
            found = json.loads(run.stdout)
        except ValueError:
            found = [json.loads(line) for line in run.stdout.splitlines() if line.strip()]
        return found

    def instances(self, *states):
        return [i for i in self.status()["instances"] if not states or i["state"] in states]

    def ready(self):
        return self.instances("ready")

    def wait_state(self, state, deadline=30.0):
        return wait_until(lambda: (s := self.status())["state"] == state and s, deadline,
                          f"{self.name} is {state}")

    def wait_steady(self, version=None, ready=None, deadline=30.0):
        """Steady on this version, no instance of another one, and as many ready as wanted."""
        def steady():
            s = self.status()
            if s["state"] != "steady" or s["candidate"] or s["rollout"] or not s["stable"]:
                return None
            if version is not None and s["stable"]["version"] != str(version):
                return None
            if any(i["release"] != s["stable"]["release"] or i["state"] != "ready"
                   for i in s["instances"]):
                return None
            wanted = s["stable"]["wanted"] if ready is None else ready
            return s if len(s["instances"]) == wanted else None
        return wait_until(steady, deadline, lambda: f"{self.name} is steady on {version}: "
                                                    f"{self.cli('status').stdout}")

    def wait_rollout(self, deadline=30.0, **wanted):
        """Until there is a rollout with these values (name="approve", step=3, weight=50 ...)."""
        def there():
            rollout = self.status()["rollout"]
            return rollout if rollout and all(rollout.get(k) == v for k, v in wanted.items()) else None
        return wait_until(there, deadline, lambda: f"a rollout with {wanted}: "
                                                   f"{self.cli('status').stdout}")

    def wait_candidate_traffic(self, deadline=30.0):
        """Until the candidate gets requests."""
        def there():
            s = self.status()
            return s["candidate"] and s["candidate"]["weight"] > 0 and s
        return wait_until(there, deadline, lambda: f"the candidate has traffic: "
                                                   f"{self.cli('status').stdout}")

    def load(self, **options):
        return Load(self.server.address, **options)

    @property
    def folder(self):
        return self.server.data / "apps" / f"{self.name}@{self.environment or 'production'}"
