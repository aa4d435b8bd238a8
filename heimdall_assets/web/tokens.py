"""The admin token: configured, or made at the first start."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from heimdall_assets.settings import Settings

TOKEN_BYTES = 32


def token_file(home: Path) -> Path:
    """Where a generated token is kept, readable by its owner alone."""
    return home / "admin.token"


def admin_token(settings: Settings) -> str:
    """The token that admits: HEIMDALL_ADMIN_TOKEN, or one that is made once and kept under HEIMDALL_HOME."""
    if settings.admin_token is not None:
        return settings.admin_token.get_secret_value()
    path = token_file(settings.home)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Created with its permissions: there is no moment in which others could read it.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="utf-8").strip()
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(token + "\n")
    return token
