"""URLs of recordings and of stores, in the notation of fsspec: ``s3://bucket/key``, ``zip://member::/path/a.zip``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from heimdall_assets.errors import LocationRefused

if TYPE_CHECKING:
    from pathlib import PurePosixPath

URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://|(?P<bare>file|data|s3|https?|ftp|[A-Za-z]):", re.IGNORECASE)
CHAIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(://[^:]*)?::")
"""A URL inside of what another names, as in ``zip://rx.wav::s3://bucket/a.zip`` and ``simplecache::s3://bucket/key``."""
CREDENTIALS = re.compile(r"://[^/@\s]*@")
QUERY = re.compile(r"\?\S+")
ZIP = "zip://"
OBJECT_SCHEMES = {"s3", "gs", "az"}
"""Of object stores that are read by their own client; all others are fsspec's."""


def url_scheme(location: str) -> str | None:
    """Scheme of a URL (or the letter of a drive), lower case; None for a path.

    ``file:`` and its like count without ``//`` too; other colons may stand in file names.
    """
    found = URL.match(location)
    return (found["scheme"] or found["bare"]).lower() if found else None


def is_url(text: str) -> bool:
    """Whether a text is to be read as a URL, chained ones included, and not as a path."""
    return url_scheme(text) is not None or (CHAIN.match(text) is not None and "://" in text)


def is_object_url(url: str) -> bool:
    """Whether a URL names a place in an object store."""
    return url_scheme(url) in OBJECT_SCHEMES and "://" in url and "::" not in url


def shown(url: str) -> str:
    """A URL for messages: without the credentials and signatures that may stand in it."""
    return QUERY.sub("", CREDENTIALS.sub("://***@", url))


def file_path(url: str) -> str:
    """The path that a ``file:`` URL names, taken as it stands: no percent-encoding is undone.

    Raises
    ------
    LocationRefused
        It is no absolute path of this machine.
    """
    path = url[len("file://") :]
    if not url.lower().startswith("file:///") or path.startswith("//"):
        raise LocationRefused(f"{url!r} is refused: a file URL is file:// and an absolute path")
    return path


def zip_parts(url: str) -> tuple[str, str]:
    """Member and archive of a ``zip://`` URL.

    Raises
    ------
    LocationRefused
        It names no member or no archive, or an archive in an archive.
    """
    member, _, archive = url[len(ZIP) :].partition("::")
    member = member.strip("/")
    if not member or not archive:
        raise LocationRefused(f"{shown(url)!r} is refused: a zip URL is zip://member::archive")
    if archive.lower().startswith("zip:"):
        raise LocationRefused(f"{shown(url)!r} is refused: an archive in an archive is not read")
    return member, archive


def joined(root: str, relative: PurePosixPath) -> str:
    """URL of what lies below a root; of a chained root, below its first part that holds a path."""
    bits = root.split("::")
    number = next(k for k, bit in enumerate(bits) if "://" in bit)
    scheme, _, folder = bits[number].partition("://")
    folder = folder.rstrip("/")
    bits[number] = f"{scheme}://{folder}/{relative}" if folder else f"{scheme}://{relative}"
    return "::".join(bits)


def below(url: str, root: str) -> str | None:
    """What a URL adds to that of a root that it lies in, no slash before it; None where it does not lie there."""
    if "::" in root or url_scheme(url) != url_scheme(root):
        return None
    path, folder = (text.partition("://")[2].strip("/") for text in (url, root))
    if not folder:
        return path or None
    return path[len(folder) + 1 :].lstrip("/") or None if path.startswith(f"{folder}/") else None
