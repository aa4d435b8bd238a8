"""What code a worker needs for a run, so that one whose code is older than the daemon's is noticed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from packaging.version import Version

from heimdall_assets.db.migrate import head_revision
from heimdall_assets.release import Release, this_process


@dataclass(frozen=True)
class Code:
    """A release, and the newest migration that it knows, such as ``0007``."""

    release: Release
    revision: str

    def is_older_than(self, other: "Code") -> bool:
        """True where the other is ahead in a version; each of them only grows."""
        ours, theirs = self.release, other.release
        return (
            Version(ours.package_version) < Version(theirs.package_version)
            or ours.feature_version < theirs.feature_version
            or self.revision < other.revision
        )

    def differs_unseen_from(self, other: "Code") -> bool:
        """True where the versions say the same and the files do not, as with checkouts of a source tree."""
        return self != other and not self.is_older_than(other) and not other.is_older_than(self)

    def as_message(self) -> dict[str, Any]:
        """What goes along with a run."""
        return asdict(self)

    @classmethod
    def from_message(cls, values: Mapping[str, Any]) -> "Code":
        """What came along; what a later release adds to it is not looked at."""
        release = values["release"]
        return cls(
            Release(str(release["package_version"]), int(release["feature_version"]), str(release["digest"])),
            str(values["revision"]),
        )

    def __str__(self) -> str:
        return f"heimdall-assets {self.release}, database revision {self.revision}"


@lru_cache(maxsize=1)
def this_code() -> Code:
    """The code of this process, as it lay on the disk when it was first asked for."""
    return Code(this_process().release, head_revision())
