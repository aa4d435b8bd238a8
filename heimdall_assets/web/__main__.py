"""``python -m heimdall_assets.web HOST PORT``: serve the admin API; `heimdall up` starts this."""

import sys

import uvicorn

from heimdall_assets.settings import load_settings
from heimdall_assets.web.app import create_app

uvicorn.run(create_app(load_settings()), host=sys.argv[1], port=int(sys.argv[2]), server_header=False)
