"""The whole command as one object, for whoever wants to look at all of it."""

from __future__ import annotations

from heimdall_assets.cli.tree import build_app

app = build_app()
