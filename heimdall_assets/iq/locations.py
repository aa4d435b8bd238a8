"""From an ``iq_data_location`` to a path that may be opened.

Locations come out of a database that other services write, so they are not trusted: a location never leads out of
the folders that the operator named, whatever it is made of.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from heimdall_assets.errors import LocationRefused, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://|(?P<bare>file|data|s3|https?|ftp|[A-Za-z]):", re.IGNORECASE)


def url_scheme(location: str) -> str | None:
    """Scheme of a URL (or the letter of a drive), lower case; None for a path.

    ``file:`` and its like count without ``//`` too; other colons may stand in file names.
    """
    found = URL.match(location)
    return (found["scheme"] or found["bare"]).lower() if found else None


def resolve_location(location: str, root: str | os.PathLike[str], extra_roots: Iterable[str] = ()) -> Path:
    """The file that a location names.

    Parameters
    ----------
    location : str
        Relative to ``root``, or an absolute path inside of ``root`` or one of ``extra_roots``.
    root : str or path
        Folder of relative locations (``HEIMDALL_IQ_ROOT``).
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
        control characters, or it is a URL of a scheme that is not served.
    StoreUnavailable
        The root of a relative location is a URL of a store that is not served, or no folder.
    """
    path, roots = locate(location, root, extra_roots)
    return confine(path, roots, location)


def locate(
    location: str, root: str | os.PathLike[str], extra_roots: Iterable[str] = ()
) -> tuple[Path, tuple[Path, ...]]:
    """Path of a location before links are followed, and the folders, links resolved, that it has to lie in."""
    relative = lexical_path(location)
    # Object stores: a root, or an extra root, that is a URL will become a store here.
    served = [folder for folder in (root, *extra_roots) if not url_scheme(os.fspath(folder))]
    roots = tuple(Path(os.path.realpath(folder)) for folder in served)
    if relative.is_absolute():
        return Path(relative), roots
    if not served or served[0] != root:
        raise StoreUnavailable(f"{location!r} is relative to {root}, but only folders are served so far")
    try:
        reachable = roots[0].is_dir()
    except OSError as error:
        raise StoreUnavailable(f"{location!r} is relative to {root}: {error.strerror}") from error
    if not reachable:
        raise StoreUnavailable(f"{location!r} is relative to {root}, which is not a folder")
    return roots[0] / relative, roots


def lexical_path(location: str) -> PurePosixPath:
    """Path that a location spells, refused by its text alone, before anything is asked of the file system."""
    if not location:
        raise LocationRefused("the IQ location is empty")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in location):
        raise LocationRefused(f"{location!a} holds control characters")
    scheme = url_scheme(location)
    if scheme is not None:
        # Object stores: here a served scheme (s3, https) will lead to its store.
        raise LocationRefused(f"{location!r} is refused: {scheme}: locations are not served")
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
        resolved = Path(os.path.realpath(path))
        # Behind a loop of links realpath gives up and leaves the rest unresolved, links included.
        settled = resolved == Path(os.path.realpath(resolved))
    except OSError as error:
        raise LocationRefused(f"{shown} is refused: {error.strerror}") from error
    if not settled:
        raise LocationRefused(f"{shown} is refused: its links lead in a circle")
    if not any(resolved.is_relative_to(root) for root in roots):
        raise LocationRefused(f"{shown} is refused: it lies outside of the folders that IQ is read from")
    return resolved
