"""What must hold whenever the system has come to rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heimdall_assets.db.engine import transaction
from heimdall_assets.db.reconciliation import disagreements

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


def assert_ledger_agrees(engine: Engine) -> None:
    """Every state is what the tables say it is."""
    with transaction(engine) as connection:
        assert disagreements(connection) == []
