"""The `heimdall` command."""

from heimdall_assets.cli.entry import main

__all__ = ["main"]
