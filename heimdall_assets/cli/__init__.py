"""The `heimdall` command."""

from heimdall_assets.cli.app import main

__all__ = ["main"]
