"""The heavy work compiled by numba: the same functions as the plain ones, and what they return is the same.

Everything is compiled when the modules are imported, for the types declared, and kept on disk: beside the source where
that folder is writable, else in the user's cache folder, or where the variable NUMBA_CACHE_DIR says. Only
:mod:`heimdall_assets.dsp.passes` imports these modules.
"""
