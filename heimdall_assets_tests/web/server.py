"""The application behind real HTTP, in this process: for tests and benchmarks."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import uvicorn

from heimdall_assets.web.app import create_app
from heimdall_assets_tests.dagster_api import wait_for
from heimdall_assets_tests.system import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heimdall_assets.settings import Settings

TOKEN = "the-admin-token-of-the-tests"


@contextlib.contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """The application on a port of its own; its address."""
    config = uvicorn.Config(create_app(settings), port=free_port(), log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started, "the server", timeout_s=20, poll_s=0.02)
    try:
        yield f"http://127.0.0.1:{config.port}"
    finally:
        server.should_exit = True
        thread.join(10)
