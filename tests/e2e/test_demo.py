"""`make demo` does what the issue says, twice, and leaves nothing running."""

import os
import re
import subprocess

import pytest
from sluice_test import SANITIZER
from sluice_test import proc
from sluice_test.build import ROOT

LAST = re.compile(r"^demo passed: (\d+) requests, 0 failed because of a deploy, "
                  r"bad release seen by (\d+) requests, traffic back on stable in (\d+) ms$")



@pytest.mark.skipif(bool(SANITIZER), reason="the demo shows the normal build")
def test_demo_twice():
    for _ in range(2):
        run = subprocess.run([str(ROOT / "demo" / "run")], text=True, capture_output=True, timeout=180,
                             stdin=subprocess.DEVNULL, env={**os.environ, "SLUICE_DEMO_MARK": "1"})
        assert run.returncode == 0, run.stdout + run.stderr
        match = LAST.match(run.stdout.rstrip().splitlines()[-1])
        assert match and int(match[1]) > 1000 and int(match[2]) > 0, run.stdout[-2000:]
        folder = re.search(r"/tmp/sluice-demo-\w+", run.stdout)
        assert folder and not os.path.exists(folder[0])
        assert not proc.of_data_folder(folder[0] + "/data")
