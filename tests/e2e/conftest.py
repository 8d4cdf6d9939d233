"""Fixtures of the end-to-end tests. See sluice_test/ for what they are made of."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from sluice_test import App, IS_ROOT, Server  # noqa: E402
from sluice_test.build import BINARY, HELLO, LOAD  # noqa: E402
from sluice_test.server import ordinary_user  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "root: needs root (mounts, other users)")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("root") and not IS_ROOT:
            item.add_marker(pytest.mark.skip(reason="needs root"))


def pytest_sessionstart(session):
    for program in (BINARY, HELLO, LOAD):
        if not program.exists():
            pytest.exit(f"{program} is missing: run make", returncode=2)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for server in getattr(item, "sluice_servers", []):
            for title, text in server.sections():
                report.sections.append((f"sluice {server.data}: {title}", text))


@pytest.fixture
def make_server(request):
    """make_server(**options) starts a Server; at the end it checks that nothing is left behind."""
    servers = request.node.sluice_servers = []

    def make(start=True, **options):
        server = Server(**options)
        servers.append(server)
        if start:
            server.start()
        return server

    yield make
    problems = []
    for server in servers:
        problems += server.close()
    if not os.environ.get("SLUICE_KEEP"):
        for server in servers:
            server.remove()
    assert not problems, "\n".join(problems)


@pytest.fixture
def server(make_server):
    return make_server()


@pytest.fixture(params=["root", "user"] if IS_ROOT else ["user"])
def each_server(request, make_server):
    """Once as root, once as an ordinary user."""
    return make_server(user=ordinary_user() if request.param == "user" else None)


@pytest.fixture
def app(server):
    return App(server)
