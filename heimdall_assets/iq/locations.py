"""From an ``iq_data_location`` to a path, or the URL of an object, that may be opened.

Locations come out of a database that other services write, so they are not trusted: a location never leads out of
the folders and stores that the operator named, whatever it is made of. Which host, bucket or archive is asked, and
how, is said by the operator's root alone.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from heimdall_assets.errors import LocationRefused, StoreUnavailable
from heimdall_assets.iq import urls

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LITERAL = re.compile(r"[%?#\\]|::")
"""What a store's client could take for something other than a part of a name."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and halves of characters."""
WEB = {"http", "https"}


def resolve_location(location: str, root: str | os.PathLike[str], extra_roots: Iterable[str] = ()) -> Path:
    """The file that a location names.

    Parameters
    ----------
    location : str
        Relative to ``root``, or an absolute path inside of ``root`` or one of ``extra_roots``.
    root : str or path
        Folder of relative locations (``HEIMDALL_IQ_ROOT``); for URLs see :func:`store_url`.
    extra_roots : iterable of str
        More folders that absolute locations may lie in (``HEIMDALL_IQ_EXTRA_ROOTS``).

    Returns
    -------
    Path
        Absolute; symbolic links are followed and end inside of the root or an extra root. The file need not exist.

    Raises
    ------
    LocationRefused
        ``..`` or a symbolic link leads out, the absolute path lies elsewhere, the text holds a backslash or
        control characters or ``::``, or it is a URL (``file:`` excepted).
    StoreUnavailable
        The root of a relative location is no folder.
    """
    path, roots = locate(location, root, extra_roots)
    return confine(path, roots, location)


def locate(
    location: str, root: str | os.PathLike[str], extra_roots: Iterable[str] = ()
) -> tuple[Path, tuple[Path, ...]]:
    """Path of a location before links are followed, and the folders, links resolved, that it has to lie in."""
    if urls.url_scheme(location) == "file":
        location = _literal(urls.file_path(location), location)
    relative = lexical_path(location)
    served = [folder for folder in (root, *extra_roots) if not urls.is_url(os.fspath(folder))]
    roots = tuple(Path(os.path.realpath(folder)) for folder in served)
    if relative.is_absolute():
        return Path(relative), roots
    if urls.is_url(os.fspath(root)):
        raise StoreUnavailable(f"{location!r} is relative to {urls.shown(os.fspath(root))}, which is no folder")
    try:
        reachable = roots[0].is_dir()
    except OSError as error:
        raise StoreUnavailable(f"{location!r} is relative to {root}: {error.strerror}") from error
    if not reachable:
        raise StoreUnavailable(f"{location!r} is relative to {root}, which is not a folder")
    return roots[0] / relative, roots


def store_url(location: str, root: str | os.PathLike[str], extra_roots: Iterable[str] = ()) -> str | None:
    """URL of the object that a location names in a store; None for one that names a file in a folder.

    Parameters
    ----------
    location : str
        Relative to ``root``, where that is a URL, or a URL inside of ``root`` or one of ``extra_roots``.
    root : str or path
        As of :func:`resolve_location`, or the URL of a store.
    extra_roots : iterable of str
        More folders and URLs.

    Returns
    -------
    str or None
        It begins with the root as the operator spelt it; only names of folders and an object are added.

    Raises
    ------
    LocationRefused
        It lies elsewhere, holds ``..``, a percent sign, a query or a chain, or its scheme is none of the roots'.
    StoreUnavailable
        The root is a web server, which could lead on to any other.
    """
    scheme = urls.url_scheme(location)
    base = os.fspath(root)
    if scheme is None:
        if not urls.is_url(base):
            return None
        relative = lexical_path(location)
        return None if relative.is_absolute() else _in_store(base, str(relative), location)
    if "::" in location:
        raise LocationRefused(f"{location!r} is refused: it holds '::', which chains URLs")
    stores = [entry for entry in (base, *extra_roots) if urls.is_url(entry)]
    for entry in stores:
        inside = urls.below(location, entry)
        if inside is not None:
            return _in_store(entry, inside, location)
    if scheme == "file":
        return None
    if scheme in {urls.url_scheme(entry) for entry in stores}:
        raise LocationRefused(
            f"{urls.shown(location)!a} is refused: it lies outside of the stores that IQ is read from"
        )
    raise LocationRefused(f"{urls.shown(location)!a} is refused: {scheme}: locations are not served")


def _in_store(root: str, inside: str, location: str) -> str:
    """URL of a name below a store's root."""
    path = lexical_path(_literal(inside, location))
    if ".." in path.parts:
        raise LocationRefused(f"{location!r} is refused: it holds '..', which stores do not have")
    if not path.parts:
        raise LocationRefused(f"{location!r} is refused: it names the root itself")
    if urls.url_scheme(next(bit for bit in root.split("::") if "://" in bit)) in WEB:
        raise StoreUnavailable(
            f"{location!r} lies in {urls.shown(root)}: web servers, which may lead on to other hosts, are no roots"
        )
    return urls.joined(root, path)


def _literal(path: str, location: str) -> str:
    """The path, if none of it could be taken for something other than names."""
    found = LITERAL.search(path)
    if found:
        raise LocationRefused(f"{location!r} is refused: it holds {found[0]!r}")
    return path


def lexical_path(location: str) -> PurePosixPath:
    """Path that a location spells, refused by its text alone, before anything is asked of the file system."""
    if not location:
        raise LocationRefused("the IQ location is empty")
    if CONTROL.search(location):
        raise LocationRefused(f"{location!a} holds control characters")
    scheme = urls.url_scheme(location)
    if scheme is not None:
        raise LocationRefused(f"{location!r} is refused: {scheme}: locations are not served")
    if "::" in location:
        raise LocationRefused(f"{location!r} is refused: it holds '::', which chains URLs")
    if "\\" in location:
        raise LocationRefused(f"{location!r} is refused: it holds a backslash")
    if location.startswith("//"):
        raise LocationRefused(f"{location!r} is refused: it names a network share")
    path, depth = PurePosixPath(location), 0
    for part in path.parts:
        depth += {"..": -1, "/": 0}.get(part, 1)
        if depth < 0:
            raise LocationRefused(f"{location!r} is refused: its '..' leads out of the root")
    return path


def confine(path: Path, roots: Sequence[Path], location: str | None = None) -> Path:
    """The path with symbolic links followed, which must lie in one of the roots (resolved ones).

    Raises
    ------
    LocationRefused
        It does not.
    """
    shown = repr(location if location is not None else str(path))
    try:
        resolved, settled = _followed(path)
    except OSError as error:
        raise LocationRefused(f"{shown} is refused: {error.strerror}") from error
    if not settled:
        raise LocationRefused(f"{shown} is refused: its links lead in a circle")
    if not any(resolved.is_relative_to(root) for root in roots):
        raise LocationRefused(f"{shown} is refused: it lies outside of the folders that IQ is read from")
    return resolved


def _followed(path: Path) -> tuple[Path, bool]:
    """The path with links followed, and whether all could be."""
    try:
        return Path(os.path.realpath(path, strict=True)), True
    except OSError:  # it does not exist, or its links lead in a circle
        resolved = Path(os.path.realpath(path))
    # Behind a loop of links realpath gives up and leaves the rest unresolved, links included.
    return resolved, resolved == Path(os.path.realpath(resolved))
