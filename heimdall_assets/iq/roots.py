"""Whether recordings can be reached at all: asked of a root, not of a recording."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from heimdall_assets.errors import RecordingNotFound, StoreUnavailable
from heimdall_assets.iq import urls
from heimdall_assets.iq.locations import store_url
from heimdall_assets.iq.opening import open_source

if TYPE_CHECKING:
    from heimdall_assets.settings import Settings

PROBE = "heimdall-doctor-probe"
"""Name of an object that is not there: a store that says so answers, and lets us ask."""


def reach(root: str, settings: Settings) -> None:
    """Ask a root for something: a folder for its first entry, a store for an object that is not there.

    Parameters
    ----------
    root : str
        A folder, or the URL of a store.
    settings : Settings
        Of the stores.

    Raises
    ------
    RecordingError
        Recordings below it cannot be read now; says why.
    """
    url = store_url(PROBE, root)
    if url is None:
        try:
            with os.scandir(root) as entries:
                next(entries, None)
        except OSError as error:
            raise StoreUnavailable(f"{root} cannot be listed: {error.strerror}") from error
        return
    if urls.url_scheme(root) == "zip":
        open_source(urls.zip_parts(root)[1], None, settings).close()
        return
    try:
        open_source(url, None, settings).close()
    except RecordingNotFound:
        return
