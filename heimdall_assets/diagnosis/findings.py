"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "failure"]
OK: Status = "ok"
WARNING: Status = "warning"
FAILURE: Status = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's answer.

    Attributes
    ----------
    check : str
        Its stable name.
    status : {"ok", "warning", "failure"}
        warning: it works, and somebody should look; failure: something does not work.
    message : str
        What was seen, in a sentence.
    remedy : str or None
        What to do, in a sentence; None where all is well.
    """

    check: str
    status: Status
    message: str
    remedy: str | None = None
