"""Training samples as files: Parquet, or CSV, of one version of the estimators, in memory that does not grow with them.

pandas and pyarrow are imported by what needs them: no other command pays for them.
"""

from __future__ import annotations

import gzip
import io
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from heimdall_assets.db import training
from heimdall_assets.dsp import FEATURES
from heimdall_assets.errors import NoFeatures, SettingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pandas as pd
    from sqlalchemy.engine import Connection

    from heimdall_assets.db.training import SampleColumn

SUFFIXES = (".parquet", ".csv", ".csv.gz")

PAGE_SESSIONS = 1000
"""Sessions whose samples are held at once, 7,000 rows of 7 receivers; in Parquet, a row group."""

DTYPES = {
    "uuid": "str",
    "text": "str",
    "character varying": "str",
    "timestamp with time zone": "datetime64[us, UTC]",
    "double precision": "float64",
    "integer": "Int64",
    "bigint": "Int64",
    "boolean": "boolean",
}
"""pandas' type for PostgreSQL's; all of them know what is missing."""


@dataclass(frozen=True, slots=True)
class Exported:
    """How much was written."""

    samples: int
    sessions: int


class _Writer(Protocol):
    def write(self, frame: pd.DataFrame) -> None:
        """Append rows."""

    def close(self) -> None:
        """End the file."""


def require_writable_format(name: str) -> None:
    """Raise unless a file of this name can be written here.

    Raises
    ------
    SettingError
        The suffix is none of ``SUFFIXES``, or what writes it is not installed.
    """
    if not name.lower().endswith(SUFFIXES):
        raise SettingError(f"{name!r} is not allowed: a file that ends in {', '.join(SUFFIXES)}")
    if name.lower().endswith(".parquet") and find_spec("pyarrow") is None:
        raise SettingError(
            f"{name!r} needs pyarrow, which is not installed: pip install 'heimdall-assets[export]', "
            "or let the name end in .csv.gz"
        )


def export_samples(
    connection: Connection,
    path: Path,
    *,
    name: str,
    feature_version: int,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Exported:
    """Write every training sample of one version.

    Parameters
    ----------
    connection : Connection
        Heimdall's database, in a transaction of which this is the first statement.
    path : Path
        Is written to.
    name : str
        What it will be called: the suffix says the format.
    feature_version : int
        Of the estimators.
    on_progress : callable
        Called with the samples written so far, and about how many there are.

    Raises
    ------
    NoFeatures
        There is no sample of this version; says of which there are some.
    """
    training.take_snapshot(connection)
    counts = {count.feature_version: count for count in training.sample_counts(connection)}
    total = counts[feature_version].samples if feature_version in counts else 0
    columns = training.sample_columns(connection)
    names = [column.name for column in columns]
    samples, sessions, last_session = 0, 0, None
    with ExitStack() as stack:
        writer: _Writer | None = None
        for rows in training.samples(connection, feature_version=feature_version, page_sessions=PAGE_SESSIONS):
            if writer is None:
                writer = _writer(path, name, columns, feature_version)
                stack.callback(writer.close)
            writer.write(_frame(rows, columns))
            at = names.index("recording_session_id")
            for row in rows:
                sessions += row[at] != last_session
                last_session = row[at]
            samples += len(rows)
            on_progress(samples, max(samples, total))
    if not samples:
        others = ", ".join(
            f"{count.samples:,} of version {number}" for number, count in counts.items() if number is not None
        )
        raise NoFeatures(f"there are no samples of feature version {feature_version} ({others or 'and of no other'})")
    return Exported(samples, sessions)


def _frame(rows: Sequence[Any], columns: Sequence[SampleColumn]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415

    values = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            column.name: pd.Series(_texts(items) if column.sql_type == "uuid" else items, dtype=DTYPES[column.sql_type])
            for column, items in zip(columns, values, strict=True)
        }
    )


def _texts(items: Sequence[object]) -> list[str | None]:
    return [None if item is None else str(item) for item in items]


def _writer(path: Path, name: str, columns: Sequence[SampleColumn], feature_version: int) -> _Writer:
    if name.lower().endswith(".parquet"):
        return _Parquet(path, columns, feature_version)
    return _CSV(path, is_compressed=name.lower().endswith(".gz"))


class _CSV:
    """Comma-separated values with a line of names; what is missing is empty."""

    def __init__(self, path: Path, *, is_compressed: bool) -> None:
        self._stack = ExitStack()
        binary: Any = self._stack.enter_context(path.open("wb"))
        if is_compressed:
            # no name and no time in it: the same samples are the same bytes
            binary = self._stack.enter_context(gzip.GzipFile(filename="", fileobj=binary, mode="wb", mtime=0))
        self._text = self._stack.enter_context(io.TextIOWrapper(binary, encoding="utf-8", newline=""))
        self._is_first = True

    def write(self, frame: pd.DataFrame) -> None:
        frame.to_csv(self._text, index=False, header=self._is_first, lineterminator="\n")
        self._is_first = False

    def close(self) -> None:
        self._stack.close()


class _Parquet:
    """A row group a batch; every column says its unit and meaning, and the file which version it holds."""

    def __init__(self, path: Path, columns: Sequence[SampleColumn], feature_version: int) -> None:
        import pyarrow as pa  # noqa: PLC0415
        from pyarrow import parquet  # noqa: PLC0415

        types = {
            "str": pa.string(),
            "datetime64[us, UTC]": pa.timestamp("us", tz="UTC"),
            "float64": pa.float64(),
            "Int64": pa.int64(),
            "boolean": pa.bool_(),
        }
        described = _described(columns)
        fields = [
            pa.field(column.name, types[DTYPES[column.sql_type]], metadata=described[column.name]) for column in columns
        ]
        about = {"feature_version": str(feature_version), "heimdall_assets": version("heimdall-assets")}
        self._schema = pa.schema(fields, metadata=about)
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, frame: pd.DataFrame) -> None:
        import pyarrow as pa  # noqa: PLC0415

        table = pa.Table.from_pandas(frame, schema=self._schema, preserve_index=False)
        self._writer.write_table(table.replace_schema_metadata(self._schema.metadata))

    def close(self) -> None:
        self._writer.close()


def _described(columns: Sequence[SampleColumn]) -> dict[str, dict[str, str]]:
    """Column -> unit and description; a feature's meaning as the registry says it."""
    meanings = {f"{feature.name}_": feature.description for feature in FEATURES}
    found = {}
    for column in columns:
        prefix = column.name.rpartition("_")[0] + "_"
        more = f". {meanings[prefix]}" if prefix in meanings else ""
        found[column.name] = {"unit": column.unit, "description": column.meaning + more}
    return found
