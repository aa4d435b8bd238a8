"""URLs of recordings: taken apart, put together, and shown without what is secret in them."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from heimdall_assets.errors import LocationRefused
from heimdall_assets.iq.urls import below, file_path, is_url, joined, shown, zip_parts


def test_chains_are_urls_and_colons_in_names_are_not() -> None:
    for url in ("memory://a", "file:///a", "zip://a::/b.zip", "simplecache::s3://b/k", "file:x"):
        assert is_url(url)
    for path in ("rx::b", "rx-12:30.npy", "/srv/a::b/c", "session/s3://x"):
        assert not is_url(path)


def test_credentials_and_signatures_are_not_shown() -> None:
    assert shown("s3://key:secret@bucket/rx.npy") == "s3://***@bucket/rx.npy"
    assert shown("https://host/rx.npy?X-Amz-Signature=0a1b") == "https://host/rx.npy"
    assert shown("zip://a.wav::https://u:p@host/a.zip?sig=1") == "zip://a.wav::https://***@host/a.zip"


def test_a_file_url_names_an_absolute_path_as_it_stands() -> None:
    assert file_path("file:///srv/a b%20c.wav") == "/srv/a b%20c.wav"
    for url in ("file://host/x", "file:x", "file://", "file:////srv/x"):
        with pytest.raises(LocationRefused, match="a file URL is file:// and an absolute path"):
            file_path(url)


def test_a_zip_url_names_a_member_and_an_archive_that_is_in_no_archive() -> None:
    assert zip_parts("zip://a/b.wav::/srv/x.zip") == ("a/b.wav", "/srv/x.zip")
    assert zip_parts("zip:///b.wav::s3://bucket/x.zip") == ("b.wav", "s3://bucket/x.zip")
    for url in ("zip://a.wav", "zip://::/srv/x.zip", "zip://a.wav::", "zip:///::x"):
        with pytest.raises(LocationRefused, match="a zip URL is zip://member::archive"):
            zip_parts(url)
    with pytest.raises(LocationRefused, match="an archive in an archive"):
        zip_parts("zip://a.wav::zip://b.zip::/srv/x.zip")


@pytest.mark.parametrize(
    ("root", "url"),
    [
        ("s3://bucket", "s3://bucket/a/rx.npy"),
        ("s3://bucket/prefix/", "s3://bucket/prefix/a/rx.npy"),
        ("memory://", "memory://a/rx.npy"),
        ("zip://::/srv/x.zip", "zip://a/rx.npy::/srv/x.zip"),
        ("zip://2024::s3://b/x.zip", "zip://2024/a/rx.npy::s3://b/x.zip"),
        ("simplecache::s3://bucket/prefix", "simplecache::s3://bucket/prefix/a/rx.npy"),
    ],
)
def test_a_name_is_put_below_the_folder_of_a_root(root: str, url: str) -> None:
    assert joined(root, PurePosixPath("a/rx.npy")) == url


def test_only_what_lies_below_a_root_does() -> None:
    assert below("s3://bucket/prefix/a", "s3://bucket/prefix") == "a"
    assert below("S3://bucket/prefix/a/b", "s3://bucket/prefix/") == "a/b"
    assert below("s3://bucket/prefix//a/b", "s3://bucket/prefix") == "a/b"
    assert below("s3://bucket/prefix//", "s3://bucket/prefix") is None
    assert below("memory:///a/b", "memory://a") == "b"
    assert below("memory://a", "memory://") == "a"
    for url in ("s3://bucket/prefix", "s3://bucket/prefix2/a", "s3://bucket2/prefix/a", "gs://bucket/prefix/a",
                "s3://bucket@evil/prefix/a", "s3://evil/bucket/prefix/a", "prefix/a"):  # fmt: skip
        assert below(url, "s3://bucket/prefix") is None
    assert below("zip://a", "zip://::/srv/x.zip") is None
