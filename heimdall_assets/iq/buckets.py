"""Buckets of object stores: S3 and what is compatible with it, Google Cloud Storage, Azure Blob Storage.

They are spoken to by obstore, whose client keeps connections, signs, and repeats what failed for a passing reason,
with growing waits. What is added here: no more requests at a time than a setting allows, errors in the project's
words, and a memory of outages, so that a store that is away costs its users seconds and not a time limit each.

Which host is asked is said by the settings and the environment (``AWS_*``, ``GOOGLE_*``, ``AZURE_*``) alone; a URL
gives a bucket's name and a key, and neither can become part of a host's name.

The client has threads of its own, which do not survive a fork: a process that has opened a bucket must not fork
workers that read.
"""

from __future__ import annotations

import os
import re
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from heimdall_assets.errors import LocationRefused, StoreUnavailable
from heimdall_assets.iq.answers import is_outage, refusal
from heimdall_assets.iq.urls import shown, url_scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from obstore import Attributes
    from obstore.store import ClientConfig, RetryConfig

    from heimdall_assets.settings import Settings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
"""Buckets and containers; none of it means anything in the address of a host or a path."""
MODIFIED_KEY = "mtime"
"""Metadata with the time of the original file, Unix seconds, as rclone and others write it."""
PART_BYTES = 8 << 20
PARTS_AT_A_TIME = 4
CONNECT_TIMEOUT = timedelta(seconds=5)
RETRY_LIMIT = 20
"""Repetitions at the most; the time limit comes first, unless answers come at once."""
FIRST_WAIT = timedelta(milliseconds=100)
LONGEST_WAIT = timedelta(seconds=2)


class Facts(NamedTuple):
    """What a store says of an object.

    Attributes
    ----------
    size_bytes : int
        Its size.
    etag : str
        Changes when the object does.
    modified_at : datetime
        UTC time at which it was stored.
    """

    size_bytes: int
    etag: str
    modified_at: datetime


class Outage:
    """What the last answers of a store tell: is it away.

    After three requests without an answer in a row, further ones are refused at once for five seconds; then one that
    fails is enough to begin anew, and one that is answered ends it.
    """

    FAILURES = 3
    PAUSE_S = 5.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._failed_at = 0.0

    def require_over(self, name: str) -> None:
        """Raise StoreUnavailable while the store is known to be away."""
        with self._lock:
            seconds = time.monotonic() - self._failed_at
            is_away = self._failures >= self.FAILURES and seconds < self.PAUSE_S
        if is_away:
            raise StoreUnavailable(f"{name} cannot be reached: its store did not answer {seconds:.1f} s ago")

    def note(self, *, is_away: bool) -> None:
        """Take note of an answer, or that there was none."""
        with self._lock:
            self._failures = self._failures + 1 if is_away else 0
            self._failed_at = time.monotonic()


class Bucket:
    """A bucket, or container, of an object store; for many threads.

    Parameters
    ----------
    scheme, name : str
        Of its URL.
    store : S3Store, GCSStore or AzureStore
        Its client.
    connections : int
        Most requests at a time.
    """

    def __init__(self, scheme: str, name: str, store: S3Store | GCSStore | AzureStore, connections: int) -> None:
        self.url = f"{scheme}://{name}"
        self._store = store
        self._slots = threading.BoundedSemaphore(connections)
        self._outage = Outage()
        self._process = os.getpid()

    def head(self, key: str) -> Facts:
        """Ask for an object's facts; :func:`~heimdall_assets.iq.answers.refusal` names the errors of all methods."""
        with self._asking(key):
            return _facts(obstore.head(self._store, key))

    def get(self, key: str, start: int, stop: int) -> tuple[Facts, obstore.Bytes, dict[str, str]]:
        """Read bytes [start, stop) of an object, fewer where it ends before; with its facts and its metadata.

        The bytes are the client's own, of which slices cost nothing.

        Raises
        ------
        TruncatedRecording
            The object ends at ``start`` or before.
        """
        with self._asking(key):
            answer = obstore.get(self._store, key, options={"range": (start, stop)})
            return _facts(answer.meta), answer.bytes(), {str(k): str(v) for k, v in answer.attributes.items()}

    def is_folder(self, key: str) -> bool:
        """Whether there are objects below a name."""
        with self._asking(key):
            return any(len(page) for page in obstore.list(self._store, f"{key}/" if key else None, chunk_size=1))

    def folders(self, key: str) -> list[str]:
        """Names, up to the next slash, below a name, that have objects below themselves."""
        with self._asking(key):
            return list(obstore.list_with_delimiter(self._store, key or None)["common_prefixes"])

    def put(self, key: str, pieces: Iterable[bytes], modified_at: datetime | None) -> None:
        """Store an object, which appears whole or not at all, with the time of the file that it is made of."""
        attributes: Attributes = {} if modified_at is None else {MODIFIED_KEY: f"{modified_at.timestamp():.6f}"}
        with self._asking(key):
            obstore.put(
                self._store, key, iter(pieces), attributes=attributes, chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_A_TIME,
            )  # fmt: skip

    def delete(self, key: str) -> None:
        """Remove an object."""
        with self._asking(key):
            self._store.delete(key)

    @contextmanager
    def _asking(self, key: str) -> Iterator[None]:
        name = shown(f"{self.url}/{key}")
        if os.getpid() != self._process:
            raise StoreUnavailable(f"{name} cannot be reached: this process was forked from one that reads from stores")
        self._outage.require_over(name)
        with self._slots:
            try:
                yield
            except (BaseError, OSError, ValueError) as error:
                self._outage.note(is_away=is_outage(error))
                # Not from the error, which may repeat credentials.
                raise refusal(error, name) from None
        self._outage.note(is_away=False)


def bucket_of(url: str, settings: Settings) -> tuple[Bucket, str]:
    """The bucket that a URL names, and the key in it.

    Raises
    ------
    LocationRefused
        It names no bucket, or more than a bucket and a key.
    StoreUnavailable
        The client cannot be made of what settings and environment say.
    """
    scheme = url_scheme(url) or ""
    name, _, key = url.partition("://")[2].partition("/")
    if scheme not in _CLIENTS or not NAME.fullmatch(name) or ".." in name:
        raise LocationRefused(f"{shown(url)!a} is refused: an object's URL is {scheme}://bucket/key")
    try:
        bucket = _bucket(
            scheme,
            name,
            settings.s3_endpoint_url if scheme == "s3" else None,
            settings.store_timeout_seconds,
            settings.store_retry_seconds,
            settings.store_connections,
        )
    except (BaseError, ValueError) as error:
        raise refusal(error, f"{scheme}://{name}") from None
    return bucket, key


def forget_buckets() -> None:
    """Make clients anew at the next use, of the environment as it is then."""
    _bucket.cache_clear()


def _s3(name: str, endpoint: str | None, client: ClientConfig, retry: RetryConfig) -> S3Store:
    address = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    if address.startswith("http://"):
        client["allow_http"] = True
    if endpoint is None:
        return S3Store(name, client_options=client, retry_config=retry)
    return S3Store(name, endpoint=endpoint.rstrip("/"), client_options=client, retry_config=retry)


def _gs(name: str, endpoint: str | None, client: ClientConfig, retry: RetryConfig) -> GCSStore:  # noqa: ARG001
    return GCSStore(name, client_options=client, retry_config=retry)


def _az(name: str, endpoint: str | None, client: ClientConfig, retry: RetryConfig) -> AzureStore:  # noqa: ARG001
    if os.environ.get("AZURE_STORAGE_ENDPOINT", "").startswith("http://"):
        client["allow_http"] = True
    return AzureStore(name, client_options=client, retry_config=retry)


_CLIENTS: dict[str, Callable[[str, str | None, ClientConfig, RetryConfig], S3Store | GCSStore | AzureStore]] = {
    "s3": _s3,
    "gs": _gs,
    "az": _az,
}


@lru_cache(maxsize=64)
def _bucket(scheme: str, name: str, endpoint: str | None, timeout_s: float, retry_s: float, connections: int) -> Bucket:
    timeout = timedelta(seconds=timeout_s)
    client: ClientConfig = {"timeout": timeout, "connect_timeout": min(CONNECT_TIMEOUT, timeout)}
    retry: RetryConfig = {
        "max_retries": RETRY_LIMIT if retry_s else 0,
        "retry_timeout": timedelta(seconds=retry_s),
        "backoff": {"init_backoff": FIRST_WAIT, "max_backoff": LONGEST_WAIT, "base": 2},
    }
    return Bucket(scheme, name, _CLIENTS[scheme](name, endpoint, client, retry), connections)


def _facts(meta: obstore.ObjectMeta) -> Facts:
    etag = (meta["e_tag"] or meta["version"] or meta["last_modified"].isoformat()).strip('"')
    return Facts(meta["size"], f"{etag}-{meta['size']}", meta["last_modified"])
