"""The frame of the end-to-end tests: a real server in a temporary folder, real apps, real load.

    server   Server: starts `sluice serve`, finds and kills its processes, asks its API
    app      App: writes sluice.yaml and deploys versions of examples/hello
    load     Load: puts requests on it and accounts for every one
    proc     what runs on this machine, from /proc
    http     small HTTP and WebSocket clients that show what happened to a connection
    wait     wait_until(): the only way in which a test waits
    build    where the binaries are (SLUICE_BUILD), how patient to be (sanitizers are slow)

Standard library only.
"""

from .app import App, Deployed
from .build import BINARY, BUILD, HELLO, IS_ROOT, PATIENCE, SANITIZER
from .http import Client, WebSocket, get
from .load import Load
from .server import Server
from .wait import wait_until

__all__ = ["App", "BINARY", "BUILD", "Client", "Deployed", "HELLO", "IS_ROOT", "Load", "PATIENCE",
           "SANITIZER", "Server", "WebSocket", "get", "wait_until"]
