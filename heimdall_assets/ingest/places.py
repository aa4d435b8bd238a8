"""Where recordings to be ingested lie: files and folders of this machine, or objects of a store and names with slashes.

Both are asked the same few things, so that nothing else here knows which it is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from heimdall_assets.errors import LocationRefused, RecordingNotFound, StoreUnavailable
from heimdall_assets.iq import open_source
from heimdall_assets.iq.urls import is_object_url, shown, url_scheme

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from heimdall_assets.iq.buckets import Bucket
    from heimdall_assets.iq.sources import ByteSource
    from heimdall_assets.settings import Settings

PIECE_BYTES = 8 << 20
"""Read at once where a whole file is needed."""


class Place(Protocol):
    """A file or a folder, or what corresponds to them in a store."""

    @property
    def name(self) -> str:
        """Last part of the path or URL."""
        ...

    def is_folder(self) -> bool:
        """Whether there is something below it."""
        ...

    def is_file(self) -> bool:
        """Whether it is a file, or an object."""
        ...

    def exists(self) -> bool:
        """Whether there is anything at it that is no folder, a file or not."""
        ...

    def child(self, name: str) -> Place:
        """What is called so, below it."""
        ...

    def parent(self) -> Place:
        """The folder that it lies in."""
        ...

    def folders(self) -> Sequence[Place]:
        """The folders in it, sorted."""
        ...

    def open(self, max_bytes: int | None = None) -> ByteSource:
        """Open the file; errors are those of :func:`heimdall_assets.iq.open_iq`."""
        ...


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """A file or folder of this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.name

    def is_folder(self) -> bool:
        """Whether it is a directory."""
        return os.path.isdir(self.path)  # noqa: PTH112  # False for a name that cannot be one

    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return os.path.isfile(self.path)  # noqa: PTH113

    def exists(self) -> bool:
        """Whether there is anything at the path."""
        return os.path.exists(self.path)  # noqa: PTH110

    def child(self, name: str) -> LocalPlace:
        """Join a name."""
        return LocalPlace(self.path / name)

    def parent(self) -> LocalPlace:
        """Its directory."""
        return LocalPlace(self.path.parent)

    def folders(self) -> list[LocalPlace]:
        """The directories in it, sorted."""
        try:
            return [LocalPlace(child) for child in sorted(self.path.iterdir()) if child.is_dir()]
        except OSError as error:
            raise StoreUnavailable(f"{self} cannot be read: {error.strerror}") from error

    def open(self, max_bytes: int | None = None) -> ByteSource:
        """Open the file."""
        return open_source(self.path, max_bytes)


@dataclass(frozen=True, slots=True)
class StorePlace:
    """An object of a store, or all that lies below a name in it.

    Attributes
    ----------
    url : str
        Without a slash at its end.
    settings : Settings
        They say which host is asked.
    """

    url: str
    settings: Settings

    def __str__(self) -> str:
        return shown(self.url)

    @property
    def name(self) -> str:
        """Last part of the URL; the bucket's where there is nothing else."""
        return self.url.rpartition("/")[2]

    def is_folder(self) -> bool:
        """Whether there are objects below its name."""
        bucket, key = self._bucket()
        return bucket.is_folder(key)

    def is_file(self) -> bool:
        """Whether it is an object."""
        bucket, key = self._bucket()
        if not key:
            return False
        try:
            bucket.head(key)
        except RecordingNotFound:
            return False
        return True

    def exists(self) -> bool:
        """Whether it is an object: a store has nothing else."""
        return self.is_file()

    def child(self, name: str) -> StorePlace:
        """Join a name."""
        return StorePlace(f"{self.url}/{name}", self.settings)

    def parent(self) -> StorePlace:
        """All beside it."""
        return StorePlace(self.url.rpartition("/")[0], self.settings)

    def folders(self) -> list[StorePlace]:
        """The names in it that have objects below them, sorted."""
        bucket, key = self._bucket()
        return [StorePlace(f"{bucket.url}/{each}", self.settings) for each in sorted(bucket.folders(key))]

    def open(self, max_bytes: int | None = None) -> ByteSource:
        """Open the object."""
        return open_source(self.url, max_bytes, self.settings)

    def _bucket(self) -> tuple[Bucket, str]:
        from heimdall_assets.iq.buckets import bucket_of  # noqa: PLC0415  # obstore, only for its URLs

        return bucket_of(self.url, self.settings)


def place_of(text: str | Path, settings: Settings) -> Place:
    """The place that a person names.

    Raises
    ------
    LocationRefused
        It is a URL of something other than an object store.
    """
    if isinstance(text, Path):
        return LocalPlace(text)
    if is_object_url(text):
        return StorePlace(text.rstrip("/"), settings)
    if "://" in text and len(url_scheme(text) or "") > 1 and not os.path.exists(text):  # noqa: PTH110
        raise LocationRefused(f"{shown(text)!a} is refused: files, s3://, gs:// and az:// can be ingested")
    return LocalPlace(Path(text))


def pieces(source: ByteSource) -> Iterator[bytes]:
    """All bytes of a source, some megabytes at a time."""
    for offset in range(0, source.size_bytes, PIECE_BYTES):
        yield source.read_at(offset, min(PIECE_BYTES, source.size_bytes - offset))
