"""``python -m heimdall_assets.web HOST PORT``: serve admin API and dashboard."""

import sys

import uvicorn

from heimdall_assets.settings import load_settings
from heimdall_assets.web.app import create_app
from heimdall_assets.web.logs import logging_config

host, port = sys.argv[1:]
settings = load_settings()
uvicorn.run(
    create_app(settings),
    host=host,
    port=int(port),
    server_header=False,
    log_config=logging_config(settings.log_format),
)
