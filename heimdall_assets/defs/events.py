"""What Dagster is told of a session's features: one materialization of its partition, with figures for people."""

import math
from collections.abc import Mapping
from typing import Any

from dagster import AssetKey, AssetMaterialization, MetadataValue

FEATURES_KEY = AssetKey("measurement_features")


def materialization(partition_key: str, summary: Mapping[str, Any]) -> AssetMaterialization:
    """A partition has features, whoever computed them.

    Parameters
    ----------
    partition_key : str
        The session's.
    summary : mapping
        From ``heimdall_assets.extraction.summary_of``.
    """
    return AssetMaterialization(FEATURES_KEY, partition=partition_key, metadata=_metadata(summary))


def _metadata(summary: Mapping[str, Any]) -> dict[str, MetadataValue[Any]]:
    values: dict[str, MetadataValue[Any]] = {}
    for name, value in summary.items():
        if value is None or (isinstance(value, float) and not math.isfinite(value)):  # other code may store NaN
            values[name] = MetadataValue.text("undefined" if name != "reasons" else "none")
        elif isinstance(value, bool | str):
            values[name] = MetadataValue.text(str(value))
        elif isinstance(value, int):
            values[name] = MetadataValue.int(value)
        else:
            values[name] = MetadataValue.float(round(float(value), 4))
    return values
