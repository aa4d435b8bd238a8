"""HEIMDALL_* variables: every one is read, and a bad value names itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heimdall_assets.errors import SettingError
from heimdall_assets.settings import Settings, load_settings, settings_table

if TYPE_CHECKING:
    from pathlib import Path


def test_defaults_are_those_of_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEIMDALL_HOME", str(tmp_path))
    settings = load_settings()
    assert (settings.batch_size, settings.max_batches, settings.chunk_ms, settings.num_chunks) == (50, 5, 200.0, 5)
    assert settings.default_sample_rate_hz == 200_000
    assert settings.is_embedded
    assert settings.resolved_iq_root == str(tmp_path / "iq")
    assert len(settings_table()) == len(Settings.model_fields)


def test_with_a_database_of_ones_own_recordings_are_in_the_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", "postgresql://heimdall@db/heimdall")
    assert load_settings().resolved_iq_root == "s3://heimdall-raw-iq"


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", "")
    monkeypatch.setenv("HEIMDALL_BATCH_SIZE", "")
    assert load_settings().is_embedded
    assert load_settings().batch_size == 50


def test_more_roots_are_separated_like_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_IQ_EXTRA_ROOTS", "/srv/a:/srv/b")
    assert load_settings().iq_extra_roots == ("/srv/a", "/srv/b")


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("HEIMDALL_BATCH_SIZE", "0", "greater than or equal to 1"),
        ("HEIMDALL_BATCH_SIZE", "many", "valid integer"),
        ("HEIMDALL_CHUNK_MS", "-1", "greater than 0"),
        ("HEIMDALL_FALSE_ALARM_PROBABILITY", "0.9", "less than 0.5"),
        ("HEIMDALL_OLDEST_SHARE_PERCENT", "101", "less than or equal to 100"),
        ("HEIMDALL_DATABASE_URL", "mysql://db/heimdall", "postgresql:// URL"),
    ],
)
def test_a_bad_value_names_variable_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingError, match=f"{variable}='{value}' is not allowed: .*{allowed}"):
        load_settings()


def test_no_secret_is_ever_in_an_error_or_a_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", "mysql://user:hunter2@db/heimdall")
    with pytest.raises(SettingError) as caught:
        load_settings()
    assert "hunter2" not in caught.value.message
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", "postgresql://db/heimdall")
    monkeypatch.setenv("HEIMDALL_ADMIN_TOKEN", "hunter2")
    assert "hunter2" not in repr(load_settings())


@given(st.integers(1, 1000), st.floats(0.001, 60_000))
def test_every_value_in_range_is_read_as_it_was_written(batch_size: int, chunk_ms: float) -> None:
    settings = load_settings(batch_size=str(batch_size), chunk_ms=repr(chunk_ms))
    assert (settings.batch_size, settings.chunk_ms) == (batch_size, chunk_ms)
