"""The IQ root as the place that recordings are brought to: a folder, or a bucket."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from heimdall_assets.errors import RecordingError, RecordingNotFound, SettingError, StoreUnavailable
from heimdall_assets.ingest.places import LocalPlace, StorePlace, pieces
from heimdall_assets.iq.locations import LITERAL, store_url
from heimdall_assets.iq.urls import below, is_object_url, is_url, shown

if TYPE_CHECKING:
    from heimdall_assets.ingest.places import Place
    from heimdall_assets.settings import Settings


logger = logging.getLogger(__name__)


class Root(Protocol):
    """Where recordings lie that locations in the database name."""

    def location(self, place: Place) -> str | None:
        """Location of what lies below the root; None for what lies elsewhere."""
        ...

    def keep(self, part: Place, folder: str) -> str:
        """Copy a file into a folder below the root, unless it is there; its location there.

        The copy appears whole or not at all, and keeps its name and its time: recorders write frequency and time into
        names, raw formats are told by suffix, and a KiwiSDR file without a date in its name takes its GPS week from
        its time.
        """
        ...

    def take_back(self) -> None:
        """Remove what was copied since :meth:`settle`."""
        ...

    def settle(self) -> None:
        """Leave what was copied where it is."""
        ...


@dataclass(frozen=True, slots=True)
class FolderRoot:
    """A folder of this machine, links resolved."""

    path: Path
    copied: list[Path] = field(default_factory=list)

    def location(self, place: Place) -> str | None:
        """Path below the folder."""
        if not isinstance(place, LocalPlace):
            return None
        resolved = place.path.resolve()
        return str(resolved.relative_to(self.path)) if resolved.is_relative_to(self.path) else None

    def keep(self, part: Place, folder: str) -> str:
        """Copy the file."""
        name = part.path.resolve().name if isinstance(part, LocalPlace) else part.name
        target = self.path / folder / name
        try:
            if not target.exists():
                _copy(part, target)
                self.copied.append(target)
        except OSError as error:
            raise StoreUnavailable(f"{part} cannot be copied to {target.parent}: {error.strerror}") from error
        return f"{folder}/{name}"

    def take_back(self) -> None:
        """Remove the files, and the folders that are empty then."""
        for target in self.copied:
            try:
                target.unlink(missing_ok=True)
            except OSError as error:
                logger.warning("%s was copied and cannot be removed: %s", target, error.strerror)
            for folder in target.parents:
                if folder == self.path or any(folder.iterdir()):
                    break
                folder.rmdir()
        self.copied.clear()

    def settle(self) -> None:
        """Keep the files."""
        self.copied.clear()


def _copy(part: Place, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(dir=target.parent, prefix=".partial-")
    source = None
    try:
        source = part.open()
        with os.fdopen(descriptor, "wb") as out:
            out.writelines(pieces(source))
        Path(partial).chmod(0o644)
        if isinstance(part, LocalPlace):
            status = part.path.stat()
            os.utime(partial, ns=(status.st_atime_ns, status.st_mtime_ns))
        elif source.modified_at is not None:
            os.utime(partial, (source.modified_at.timestamp(),) * 2)
        Path(partial).replace(target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    finally:
        if source is not None:
            source.close()


@dataclass(frozen=True, slots=True)
class BucketRoot:
    """A bucket, or a folder in it."""

    url: str
    settings: Settings
    copied: list[str] = field(default_factory=list)

    def location(self, place: Place) -> str | None:
        """Key below the root."""
        inside = below(place.url, self.url) if isinstance(place, StorePlace) else None
        if inside is not None:
            store_url(inside, self.url)  # refuses a name that could not be read back
        return inside

    def keep(self, part: Place, folder: str) -> str:
        """Upload the file."""
        from heimdall_assets.iq.buckets import bucket_of  # noqa: PLC0415  # obstore, only for its URLs

        name = part.path.resolve().name if isinstance(part, LocalPlace) else part.name
        location = f"{folder}/{re.sub(LITERAL, '_', name)}"
        bucket, key = bucket_of(store_url(location, self.url) or "", self.settings)
        source = part.open()
        try:
            try:
                is_there = bucket.head(key).size_bytes == source.size_bytes
            except RecordingNotFound:
                is_there = False
            if not is_there:
                bucket.put(key, pieces(source), source.modified_at)
                self.copied.append(location)
        finally:
            source.close()
        return location

    def take_back(self) -> None:
        """Remove the objects."""
        from heimdall_assets.iq.buckets import bucket_of  # noqa: PLC0415  # as above

        for location in self.copied:
            bucket, key = bucket_of(store_url(location, self.url) or "", self.settings)
            try:
                bucket.delete(key)
            except RecordingError as error:
                logger.warning("%s was copied and cannot be removed: %s", location, error.message)
        self.copied.clear()

    def settle(self) -> None:
        """Keep the objects."""
        self.copied.clear()


def writable_root(settings: Settings) -> Root:
    """The IQ root; a folder is made where it is missing.

    Raises
    ------
    SettingError
        It is a URL of something other than an object store, or cannot be made.
    """
    root = settings.resolved_iq_root
    if is_object_url(root):
        return BucketRoot(root.rstrip("/"), settings)
    if is_url(root):
        raise SettingError(
            f"HEIMDALL_IQ_ROOT={shown(root)}: recordings can be ingested into a folder, s3://, gs:// or az:// only"
        )
    path = Path(root).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"HEIMDALL_IQ_ROOT={root} cannot be made: {error.strerror}") from error
    return FolderRoot(path.resolve())
