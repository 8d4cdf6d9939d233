"""Fixtures for tests of the gateway alone; a module imports those that it uses."""

import pytest
from gateway_rig import Backend, Gateway, build_driver


@pytest.fixture(scope="module", autouse=True)
def driver():
    build_driver()


@pytest.fixture
def make():
    """(gateway(**options), backend(handler, port)): any number of both."""
    things = []

    def gateway(**options):
        things.append(Gateway(**options))
        return things[-1]

    def backend(handler=None, port=0):
        things.append(Backend(handler, port))
        return things[-1]

    yield gateway, backend
    for thing in things:
        assert thing.close() is not False, "the gateway died"


@pytest.fixture
def rig():
    """start(handler, route, **options): one gateway of one worker before one back end."""
    things = []

    def start(handler=None, route="", **options):
        backend = Backend(handler)
        gateway = Gateway(**{"workers": 1, **options})
        things.extend((backend, gateway))
        gateway.serve(backend.port, route=route)
        return gateway, backend

    yield start
    for thing in things:
        assert thing.close() is not False, "the gateway died"
