"""What a run imports, loaded once by the process that runs are forked from.

Nothing here may open a connection or start a thread: neither survives a fork.
"""

import gc
from importlib import import_module

MODULES = (
    "heimdall_assets.definitions",
    # Dagster loads these by name, as dagster.yaml says.
    "heimdall_assets.defs.coordinator",
    "heimdall_assets.defs.launcher",
    "heimdall_assets.defs.storage",
)


def load() -> None:
    """Import everything, and leave it out of garbage collections for good.

    None of it is garbage: looking for some takes an eighth of the time that the imports take, and in every run it
    would touch, and so copy, the pages that runs share.
    """
    gc.disable()
    try:
        for name in MODULES:
            import_module(name)
        dsp = import_module("heimdall_assets.dsp")
        dsp.load_kernels()
        dsp.keep_freed_memory()
        gc.freeze()
    finally:
        gc.enable()


load()
