"""Whether a root answers, without naming a recording below it."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest

from heimdall_assets.errors import BucketMissing, RecordingError
from heimdall_assets.iq.roots import reach
from heimdall_assets.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from heimdall_assets_tests.object_store import ObjectStore


def test_a_folder_a_store_and_an_archive_that_are_there_answer(tmp_path: Path) -> None:
    archive = tmp_path / "2024.zip"
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("session/rx.npy", b"")
    for root in (str(tmp_path), "memory://iq", f"zip://session::{archive}"):
        reach(root, load_settings())


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("{folder}/gone", "gone cannot be listed: No such file or directory"),
        ("{folder}/file", "file cannot be listed: Not a directory"),
        ("zip://session::{folder}/gone.zip", "gone.zip does not exist"),
        ("nostore://bucket/iq", "nostore"),
        ("http://127.0.0.1:9/iq", "are no roots"),
    ],
)
def test_what_is_not_there_says_why(tmp_path: Path, root: str, said: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordingError, match=said):
        reach(root.format(folder=tmp_path), load_settings())


def test_a_bucket_answers_and_one_that_is_missing_does_not(object_store: ObjectStore) -> None:
    object_store.make_bucket("roots")
    reach("s3://roots/iq", load_settings())
    with pytest.raises(BucketMissing, match="there is no such bucket"):
        reach("s3://roots-gone/iq", load_settings())
