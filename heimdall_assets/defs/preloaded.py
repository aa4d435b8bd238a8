"""What a run imports beside its definitions, loaded once by the process that runs are forked from.

Nothing here may open a connection or start a thread: neither survives a fork.
"""

# Dagster loads these by name, as dagster.yaml says.
import heimdall_assets.defs.coordinator
import heimdall_assets.defs.launcher
import heimdall_assets.defs.storage  # noqa: F401
from heimdall_assets.dsp import keep_freed_memory, load_kernels

load_kernels()
keep_freed_memory()
