"""Locations never lead out of the folders that the operator named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heimdall_assets.errors import LocationRefused, RecordingError, StoreUnavailable
from heimdall_assets.iq.locations import resolve_location, store_url
from heimdall_assets.iq.urls import url_scheme


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "session").mkdir(parents=True)
    (root / "session" / "rx.npy").write_bytes(b"x")
    (tmp_path / "secret.npy").write_bytes(b"s")
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "rx.npy").write_bytes(b"e")
    return root


@pytest.mark.parametrize(
    "location", ["session/rx.npy", "./session/rx.npy", "session//rx.npy", "session/../session/rx.npy"]
)
def test_a_relative_location_is_resolved_against_the_root(root: Path, location: str) -> None:
    assert resolve_location(location, root) == root.resolve() / "session" / "rx.npy"
    assert resolve_location(location, str(root)) == root.resolve() / "session" / "rx.npy"


def test_a_location_need_not_exist_and_may_hold_unusual_characters(root: Path) -> None:
    for name in ("gone.npy", "Übung 1.npy", "rx-12:30:00.npy", "%2e%2e/x.npy", "~/x.npy", "..hidden.npy", "a..b"):
        assert resolve_location(name, root) == root.resolve() / name


def test_an_absolute_location_may_lie_in_the_root_or_an_extra_root(root: Path, tmp_path: Path) -> None:
    inside = str(root / "session" / "rx.npy")
    assert resolve_location(inside, root) == Path(inside).resolve()
    extra = str(tmp_path / "extra" / "rx.npy")
    assert resolve_location(extra, root, (str(tmp_path / "extra"),)) == Path(extra).resolve()
    with pytest.raises(LocationRefused, match=r"extra/rx\.npy' is refused: it lies outside"):
        resolve_location(extra, root)


def test_absolute_locations_in_an_extra_root_need_no_reachable_root(tmp_path: Path, root: Path) -> None:
    extra = tmp_path / "extra"
    for unreachable in ("s3://heimdall-raw-iq", str(tmp_path / "not-mounted")):
        assert resolve_location(str(extra / "rx.npy"), unreachable, (str(extra),)) == (extra / "rx.npy").resolve()


@pytest.mark.parametrize(
    "location",
    ["../secret.npy", "session/../../secret.npy", "../root/session/rx.npy", "..", "session/../../root/session/rx.npy"],
)
def test_dot_dot_that_leaves_the_root_is_refused_even_if_it_came_back(root: Path, location: str) -> None:
    with pytest.raises(LocationRefused, match=r"'\.\.' leads out"):
        resolve_location(location, root)


@pytest.mark.parametrize("location", ["/etc/passwd", "/", "/proc/self/environ", "/dev/zero"])
def test_an_absolute_path_elsewhere_is_refused_by_name(root: Path, location: str) -> None:
    with pytest.raises(LocationRefused, match=f"'{location}' is refused: it lies outside"):
        resolve_location(location, root)


def test_a_folder_whose_name_begins_like_the_root_is_not_the_root(root: Path, tmp_path: Path) -> None:
    (tmp_path / "root2").mkdir()
    with pytest.raises(LocationRefused, match="outside"):
        resolve_location(str(tmp_path / "root2" / "rx.npy"), root)


@pytest.mark.parametrize("target", ["../secret.npy", "/etc/passwd", "/etc"])
def test_a_link_that_leaves_the_root_is_refused_wherever_it_stands(root: Path, target: str) -> None:
    (root / "link").symlink_to(target)
    for location in ("link", "link/passwd", "session/../link"):
        with pytest.raises(LocationRefused, match="outside"):
            resolve_location(location, root)


@pytest.mark.parametrize("location", ["loop/../link/passwd", "loop/../link", "session/../loop/../link/passwd"])
def test_a_loop_of_links_hides_no_link_that_leaves_the_root(root: Path, location: str) -> None:
    (root / "loop").symlink_to("loop")
    (root / "link").symlink_to("/etc")
    with pytest.raises(LocationRefused, match="links lead in a circle"):
        resolve_location(location, root)


def test_dot_dot_behind_a_link_counts_from_where_the_link_leads(root: Path, tmp_path: Path) -> None:
    (tmp_path / "extra" / "deep").mkdir()
    (root / "link").symlink_to(tmp_path / "extra" / "deep")
    with pytest.raises(LocationRefused, match="outside"):
        resolve_location("link/../rx.npy", root)


def test_links_inside_of_the_root_and_to_the_root_are_followed(root: Path, tmp_path: Path) -> None:
    (root / "latest").symlink_to("session")
    (tmp_path / "alias").symlink_to(root)
    assert resolve_location("latest/rx.npy", tmp_path / "alias") == (root / "session" / "rx.npy").resolve()
    assert resolve_location(str(tmp_path / "alias" / "session" / "rx.npy"), root).name == "rx.npy"


def test_a_link_into_an_extra_root_is_followed(root: Path, tmp_path: Path) -> None:
    (root / "disk2").symlink_to(tmp_path / "extra")
    resolved = resolve_location("disk2/rx.npy", root, (str(tmp_path / "extra"),))
    assert resolved == (tmp_path / "extra" / "rx.npy").resolve()


@pytest.mark.parametrize(
    "location",
    ["s3://bucket/key", "S3://b/k", "https://host/x.npy",
     "gs://b/k", "http:x", "data:,x", "C:/x.npy", "memory://x", "a+b://x"],
)  # fmt: skip
def test_a_url_of_a_scheme_that_is_not_served_is_refused_by_name(root: Path, location: str) -> None:
    with pytest.raises(LocationRefused, match="not served"):
        resolve_location(location, root)


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("", "empty"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\x7fb", "control"),
        ("a\x85b", "control"),
        ("a\ud800b", "control"),
        ("\\\\host\\share\\x.npy", "backslash"),
        ("session\\rx.npy", "backslash"),
        ("C:\\x.npy", "not served"),
        ("//host/share/x.npy", "network share"),
    ],
)
def test_texts_that_are_no_honest_location_are_refused(root: Path, location: str, why: str) -> None:
    with pytest.raises(LocationRefused, match=why):
        resolve_location(location, root)


def test_a_root_that_is_a_url_leads_to_no_path(root: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"'rx\.npy' is relative to s3://heimdall-raw-iq, which is no folder"):
        resolve_location("rx.npy", "s3://heimdall-raw-iq")


def test_a_file_url_is_the_absolute_path_in_it_and_held_to_the_same_folders(root: Path, tmp_path: Path) -> None:
    inside = root / "session" / "rx.npy"
    for scheme in ("file", "FILE"):
        assert resolve_location(f"{scheme}://{inside}", root) == inside.resolve()
    for elsewhere in ("file:///etc/passwd", f"file://{root}/../secret.npy"):
        with pytest.raises(LocationRefused, match="outside"):
            resolve_location(elsewhere, root)
    for odd in ("file:x", "FILE:/etc/passwd", f"file://localhost{inside}", f"file:///{inside}", "file://"):
        with pytest.raises(LocationRefused, match="a file URL is file:// and an absolute path"):
            resolve_location(odd, root)
    for trick in ("%2e%2e/secret.npy", "session/rx.npy?x", "session/rx.npy#x"):
        with pytest.raises(LocationRefused, match=r"it holds '[%?#]'"):
            resolve_location(f"file://{root}/{trick}", root)


def test_a_chain_of_urls_is_no_location(root: Path) -> None:
    for location in ("zip://rx.npy::/etc/x.zip", "simplecache::s3://b/k", "a::b", "rx.npy::" + str(root)):
        with pytest.raises(LocationRefused, match=r"chains URLs|not served"):
            resolve_location(location, root)


def test_a_root_that_is_not_there_is_a_store_that_may_come_back(root: Path) -> None:
    with pytest.raises(StoreUnavailable, match="not a folder") as caught:
        resolve_location("rx.npy", root / "gone")
    assert caught.value.transient


def test_only_what_begins_like_a_url_has_a_scheme() -> None:
    assert url_scheme("s3://bucket/key") == "s3"
    assert url_scheme("FILE:/x") == "file"
    for path in ("session/rx.npy", "2017-11-27T10:41:56.npy", "rx-12:30.npy", "a/b://c", "/x:/y"):
        assert url_scheme(path) is None


STORE = "s3://bucket/prefix"


def test_a_relative_location_is_put_below_a_store() -> None:
    assert store_url("session/rx.npy", STORE) == "s3://bucket/prefix/session/rx.npy"
    assert store_url("./session//rx 12:30.npy", "memory://iq/") == "memory://iq/session/rx 12:30.npy"
    assert store_url("rx.npy", "zip://2024::/srv/a.zip") == "zip://2024/rx.npy::/srv/a.zip"


def test_a_location_in_a_folder_has_no_url(root: Path) -> None:
    assert store_url("session/rx.npy", root) is None
    assert store_url("/srv/rx.npy", STORE, ("/srv",)) is None
    assert store_url("file:///srv/rx.npy", STORE, ("/srv",)) is None


def test_a_url_may_lie_in_the_root_or_an_extra_root(root: Path) -> None:
    assert store_url("S3://bucket/prefix/a/rx.npy", STORE) == "s3://bucket/prefix/a/rx.npy"
    assert store_url("s3://old/iq/rx.npy", root, ("/srv", "s3://old/iq/")) == "s3://old/iq/rx.npy"
    for url in ("s3://bucket/prefix", "s3://bucket/other/rx.npy", "s3://bucket/prefix2/rx.npy", "s3://evil/prefix/x",
                "s3://bucket@evil/prefix/x"):  # fmt: skip
        with pytest.raises(LocationRefused, match="outside of the stores"):
            store_url(url, STORE)


@pytest.mark.parametrize(
    "url", ["https://169.254.169.254/latest/meta-data", "http://localhost/x", "gs://bucket/prefix/x", "memory://x",
            "zip://x::/etc/a.zip", "simplecache::s3://bucket/prefix/x", "file::s3://bucket/prefix/x", "data:,x"],
)  # fmt: skip
def test_a_url_of_no_root_is_refused_whatever_its_scheme(url: str) -> None:
    with pytest.raises(LocationRefused):
        store_url(url, STORE, ("/srv", "zip://::/srv/a.zip"))


@pytest.mark.parametrize(
    "trick", ["%2e%2e/x", "a%2F..%2Fx", "x?versionId=1", "x#y", "a\\..\\x", "x::memory://y", "../x", "a/../../x",
              "a/../x", "", ".", "a\0b"],
)  # fmt: skip
def test_tricks_are_refused_in_relative_and_absolute_locations(trick: str) -> None:
    for location in (trick, f"{STORE}/{trick}"):
        with pytest.raises(LocationRefused):
            store_url(location, STORE)


@pytest.mark.parametrize("root", ["https://iq.example.org/all", "http://u:secret@10.0.0.1/", "simplecache::https://x"])
def test_a_web_server_is_no_root_since_it_may_lead_on(root: str) -> None:
    with pytest.raises(StoreUnavailable, match="web servers, which may lead on to other hosts") as caught:
        store_url("rx.npy", root)
    assert "secret" not in caught.value.message


@given(st.text(max_size=30) | st.lists(
    st.sampled_from([STORE, "s3://", "::", "..", "/", "%2e", "a", "\\", "?", "@", "zip://", "memory://", "file:///"]),
    max_size=8).map("".join))  # fmt: skip
@settings(deadline=None, max_examples=500)
def test_no_location_whatever_leads_out_of_a_store(location: str) -> None:
    try:
        url = store_url(location, STORE)
    except RecordingError as error:
        assert isinstance(error, LocationRefused)  # noqa: PT017  the error is one of two good outcomes
        return
    if url is not None:
        assert url.startswith(f"{STORE}/")
        inside = url.removeprefix(f"{STORE}/")
        assert not {"", ".", ".."} & set(inside.split("/"))
        assert not any(word in inside for word in ("::", "%", "?", "#", "\\"))


PIECES = st.lists(
    st.sampled_from(["..", ".", "", "session", "rx.npy", "link", "loop", "up", "extra", "/", "~", "\\", "\0", "ü"])
    | st.text(max_size=4),
    max_size=8,
)


@given(PIECES)
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_location_whatever_leads_out_of_the_root(tmp_path: Path, pieces: list[str]) -> None:
    root = tmp_path / "root"
    if not root.exists():
        (root / "session").mkdir(parents=True)
        (root / "link").symlink_to("/etc")
        (root / "session" / "up").symlink_to("../..")
        (root / "loop").symlink_to("loop")
    try:
        resolved = resolve_location("/".join(pieces), root)
    except RecordingError as error:
        assert isinstance(error, LocationRefused)  # noqa: PT017  the error is one of two good outcomes
    else:
        assert Path(os.path.realpath(resolved)).is_relative_to(root.resolve())
