"""All checks, in the order in which somebody would repair what they find."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heimdall_assets.diagnosis.broker import broker_findings
from heimdall_assets.diagnosis.database import dagster_finding, database_findings
from heimdall_assets.diagnosis.machine import (
    disk_finding,
    home_finding,
    processes_finding,
    root_findings,
    server_finding,
)
from heimdall_assets.release import changed_at

if TYPE_CHECKING:
    from heimdall_assets.diagnosis.findings import Finding
    from heimdall_assets.settings import Settings


def diagnose(settings: Settings) -> list[Finding]:
    """Look at everything that the pipeline needs; nothing is started, changed or repaired.

    Parameters
    ----------
    settings : Settings
        Of the system that is looked at.
    """
    return [
        home_finding(settings),
        disk_finding("disk_home", settings.home),
        *([server_finding(settings)] if settings.is_embedded else []),
        *database_findings(settings),
        dagster_finding(settings),
        *broker_findings(settings),
        processes_finding(settings, changed_at()),
        *root_findings(settings),
    ]
