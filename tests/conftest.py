from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says something about the machine, nothing about the code.
settings.register_profile("default", deadline=None)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", default=os.environ.get("EVALUATION_DATA"), help="evaluation data")


@pytest.fixture
def data_folder(request: pytest.FixtureRequest) -> Path:
    """The folder of public evaluation data, which is not part of the repository."""
    given = request.config.getoption("--data")
    if not given or not Path(given).is_dir():
        pytest.skip("no evaluation data: pass --data FOLDER")
    return Path(given)


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests reach no server, except the ones marked so, and these reach loopback only."""
    loopback = any(
        request.node.get_closest_marker(mark) for mark in ("loopback", "engine", "server")
    )
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        local = isinstance(address, tuple) and address[0] in ("127.0.0.1", "::1", "localhost")
        if self.family != getattr(socket, "AF_UNIX", None) and not (loopback and local):
            raise AssertionError(f"test tried to connect to {address}; mark it loopback")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)
