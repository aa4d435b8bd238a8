"""Where the ``heimdall`` script begins."""

from __future__ import annotations

import sys

from heimdall_assets.cli.console import EXIT_USAGE, complain
from heimdall_assets.cli.tree import build_app


def main() -> None:
    """Carry out the command line: bad usage is one line, like every other error."""
    try:
        code = build_app(sys.argv[1] if len(sys.argv) > 1 else None)(standalone_mode=False)
    except Exception as error:
        # Typer brings its own copy of click, older releases use the package: they share the methods, not the class.
        describe = getattr(error, "format_message", None)
        if describe is None:
            raise
        if "NoArgs" not in type(error).__name__:  # then the help was printed already
            complain(" ".join(describe().split()), reason="usage")
        code = EXIT_USAGE
    sys.exit(code)
