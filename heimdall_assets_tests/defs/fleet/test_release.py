"""Which of two codes is older."""

from __future__ import annotations

import json
from typing import Any

import pytest

from heimdall_assets.db.migrate import head_revision
from heimdall_assets.defs.fleet.release import Code, this_code
from heimdall_assets.release import Release, installed_release


def code(package: str = "1.9.0", features: int = 3, revision: str = "0009", digest: str = "a") -> Code:
    """A code with these versions."""
    return Code(Release(package, features, digest), revision)


OURS = code()


@pytest.mark.parametrize(
    ("other", "is_older"),
    [
        ({}, False),
        ({"package": "1.10.0"}, True),  # a number, not a text
        ({"package": "1.8.9"}, False),
        ({"features": 4}, True),
        ({"revision": "0010"}, True),
        ({"package": "1.8.0", "features": 2, "revision": "0010"}, True),  # behind in one is behind
        ({"package": "1.10.0.dev1"}, True),
        ({"digest": "b"}, False),
    ],
)
def test_code_is_older_where_the_other_is_ahead_in_a_version(other: dict[str, Any], is_older: bool) -> None:
    assert OURS.is_older_than(code(**other)) is is_older


def test_other_files_under_the_same_versions_are_seen_and_other_versions_are_not_taken_for_it() -> None:
    assert OURS.differs_unseen_from(code(digest="b"))
    assert not OURS.differs_unseen_from(OURS)
    assert not OURS.differs_unseen_from(code(features=4, digest="b"))
    assert not OURS.differs_unseen_from(code(features=2, digest="b"))


def test_code_arrives_as_it_was_sent_and_what_later_releases_add_is_not_looked_at() -> None:
    message = json.loads(json.dumps({**OURS.as_message(), "added_later": 1}))
    message["release"]["added_later"] = 2
    assert Code.from_message(message) == OURS


def test_this_code_is_what_is_installed() -> None:
    assert this_code() == Code(installed_release(), head_revision())
    assert str(this_code()).startswith(f"heimdall-assets {installed_release().package_version} ")
