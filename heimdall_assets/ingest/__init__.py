"""Registering recordings that come as files: a folder with ``stations.json``, or single files."""

from heimdall_assets.ingest.sessions import Ingested, ingest

__all__ = ["Ingested", "ingest"]
