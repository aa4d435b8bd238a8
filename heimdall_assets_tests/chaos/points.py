"""Named points at which a process of the system kills itself, or its reads fail, once somebody says so.

The package under test knows nothing of this. Its processes are started with a folder on their PYTHONPATH that holds a
``sitecustomize.py`` (see :func:`write_hook`); that wraps some functions as their modules are imported. A wrapped
function looks for a marker file of its point: whoever takes it away dies, so that each marker kills one process.
"""

from __future__ import annotations

import errno
import functools
import os
import signal
import sys
import time
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

FOLDER_VARIABLE = "HEIMDALL_CHAOS_FOLDER"
"""Names the folder of the markers; it also tells the system's processes from all others of the machine."""

SLOWER_S = 0.15
"""Every session takes so much longer: recordings of tests are so short that no kill would find one at work."""


class Place(NamedTuple):
    """A function of the package, and on which side of it the point lies."""

    module: str
    attribute: str
    is_after: bool = False


KILL_POINTS: Mapping[str, Place] = {
    "registered, not reserved": Place("heimdall_assets.defs.planner", "_register", is_after=True),
    "reserved, not launched": Place("heimdall_assets.defs.sensors", "plan_tick", is_after=True),
    "run started, no lock": Place("heimdall_assets.defs.walk", "run_lock"),
    "computed, not stored": Place("heimdall_assets.extraction.session", "store_result"),
    "before the upsert": Place("heimdall_assets.db.features", "insert_features"),
    "after the upsert, not committed": Place("heimdall_assets.db.features", "insert_features", is_after=True),
    "stored": Place("heimdall_assets.extraction.session", "store_result", is_after=True),
    "before the report": Place("heimdall_assets.defs.walk", "report_materializations"),
    "after the report": Place("heimdall_assets.defs.walk", "_note_reported"),
    "all reported": Place("heimdall_assets.defs.walk", "_note_reported", is_after=True),
}
"""On the way of a session, in its order."""

SLOW = Place("heimdall_assets.extraction.session", "compute_session")
READS = Place("heimdall_assets.iq.sources", "LocalFile._open")
READS_FAIL = "reads fail"


class Markers:
    """The folder through which the driver speaks to the processes, and they to it.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._armed, self._struck = folder / "armed", folder / "struck"
        for each in (self._armed, self._struck):
            each.mkdir(parents=True, exist_ok=True)

    def arm(self, point: str) -> None:
        """Let the next process that comes to a point kill itself."""
        (self._armed / point).touch()

    def disarm(self) -> None:
        """Take back all points that nobody has come to, and let reads succeed."""
        for marker in self._armed.iterdir():
            marker.unlink(missing_ok=True)

    def fail_reads(self, *, fail: bool) -> None:
        """Let all reads fail, or succeed again."""
        if fail:
            (self._armed / READS_FAIL).touch()
        else:
            (self._armed / READS_FAIL).unlink(missing_ok=True)

    def struck(self) -> list[str]:
        """The points at which processes have killed themselves, one entry a kill."""
        return sorted(path.name.partition("@")[0] for path in self._struck.iterdir())

    def strike(self, point: str) -> None:
        """Kill this process if it is the one that the point waits for."""
        try:
            (self._armed / point).rename(self._struck / f"{point}@{os.getpid()}.{time.time_ns()}")
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def reads_fail(self) -> bool:
        """True while reads are to fail."""
        return (self._armed / READS_FAIL).exists()


def write_hook(folder: Path) -> None:
    """Write the ``sitecustomize.py`` that a process with this folder on its PYTHONPATH runs first."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ("from heimdall_assets_tests.chaos.points import install", "install()", "")
    (folder / "sitecustomize.py").write_text("\n".join(lines))


def install() -> None:
    """Wrap the points' functions in this process, as their modules are imported."""
    if folder := os.environ.get(FOLDER_VARIABLE):
        sys.meta_path.insert(0, _Finder(Markers(Path(folder))))


class _Finder(MetaPathFinder):
    """Finds modules as always, and wraps what they define right after they have run."""

    def __init__(self, markers: Markers) -> None:
        self._wrappers: dict[str, list[Callable[[ModuleType], None]]] = {}

        def strike(point: str) -> Callable[[], None]:
            return functools.partial(markers.strike, point)

        def fail() -> None:
            if markers.reads_fail():
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        for point, place in KILL_POINTS.items():
            self._add(place, strike(point))
        self._add(SLOW, functools.partial(time.sleep, SLOWER_S))
        self._add(READS, fail)

    def _add(self, place: Place, action: Callable[[], None]) -> None:
        wrap = functools.partial(_wrap, place=place, action=action)
        self._wrappers.setdefault(place.module, []).append(wrap)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Only modules with points; all others are left to the next finder."""
        wrappers = self._wrappers.get(fullname)
        spec = PathFinder.find_spec(fullname, path, target) if wrappers else None
        if spec is None or spec.loader is None or wrappers is None:
            return None
        run = spec.loader.exec_module

        def run_and_wrap(module: ModuleType) -> None:
            run(module)
            for wrap in wrappers:
                wrap(module)

        spec.loader.exec_module = run_and_wrap  # type: ignore[method-assign]
        return spec


def _wrap(module: ModuleType, *, place: Place, action: Callable[[], None]) -> None:
    *classes, name = place.attribute.split(".")
    owner: Any = functools.reduce(getattr, classes, module)
    function = getattr(owner, name)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not place.is_after:
            action()
        result = function(*args, **kwargs)
        if place.is_after:
            action()
        return result

    setattr(owner, name, wrapped)
