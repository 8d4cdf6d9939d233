"""Where the binaries are, and how patient the tests must be with them."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("SLUICE_BUILD", "build"))
if not BUILD.is_absolute():
    BUILD = ROOT / BUILD
PLAIN = ROOT / "build"  # the load generator is never slowed down by a sanitizer

BINARY = BUILD / "sluice"
HELLO = PLAIN / "hello"
LOAD = PLAIN / "load"

SANITIZER = BUILD.name if BUILD.name in ("asan", "tsan") else ""
# Deadlines are multiplied by this: they end a test that hangs, they never measure.
PATIENCE = 4.0 if SANITIZER else 1.0
# How much load a test puts on: the machine has few cores, and a sanitizer costs several times as much.
RATE = 100 if SANITIZER else 300

IS_ROOT = os.geteuid() == 0
