"""What `heimdall doctor` finds: each check looks at the real thing, and says what to do about it."""

from heimdall_assets.diagnosis.findings import FAILURE, OK, WARNING, Finding
from heimdall_assets.diagnosis.system import diagnose

__all__ = ["FAILURE", "OK", "WARNING", "Finding", "diagnose"]
