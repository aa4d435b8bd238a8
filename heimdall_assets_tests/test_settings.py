"""HEIMDALL_* variables: every one is read, and a bad value names itself."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from heimdall_assets.errors import SettingError
from heimdall_assets.settings import Settings, current_settings, default_home, load_settings, settings_table


def test_defaults_are_those_of_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEIMDALL_HOME", str(tmp_path))
    settings = load_settings()
    assert (settings.batch_size, settings.max_batches, settings.chunk_ms, settings.num_chunks) == (50, 5, 200.0, 5)
    assert settings.default_sample_rate_hz == 200_000
    assert settings.is_embedded
    assert settings.resolved_iq_root == str(tmp_path / "iq")
    assert len(settings_table()) == len(Settings.model_fields)


VALUES: dict[str, tuple[str, object]] = {
    "database_url": ("postgresql://db/heimdall", "postgresql://db/heimdall"),
    "dagster_database_url": ("postgres://db/runs", "postgres://db/runs"),
    "home": ("/srv/heimdall", Path("/srv/heimdall")),
    "iq_root": ("s3://bucket", "s3://bucket"),
    "iq_extra_roots": ("/a::/b:", ("/a", "/b")),
    "max_object_bytes": ("1024", 1024),
    "batch_size": ("1000", 1000),
    "max_batches": ("7", 7),
    "oldest_share_percent": ("0", 0),
    "grace_seconds": ("90", 90.0),
    "input_checks_per_tick": ("0", 0),
    "recompute_stale_per_tick": ("100000", 100_000),
    "workers": ("64", 64),
    "chunk_ms": ("0.5", 0.5),
    "num_chunks": ("1", 1),
    "default_sample_rate_hz": ("48e3", 48_000.0),
    "false_alarm_probability": ("1e-2", 0.01),
    "source_tolerance_hz": ("0", 0.0),
    "max_attempts": ("1", 1),
    "retry_base_seconds": ("0.5", 0.5),
    "retry_max_seconds": ("31536000", 31_536_000.0),
    "reservation_seconds": ("1", 1.0),
    "partition_window": ("500", 500),
    "retention_days": ("7", 7),
    "lock_timeout_seconds": ("2000000", 2_000_000.0),
    "least_coverage_percent": ("0", 0.0),
    "most_pending_seconds": ("60", 60.0),
    "beacon_tolerance_ppm": ("0.5", 0.5),
    "admin_token": ("word", SecretStr("word")),
    "oidc_issuer_url": ("https://id.example/realms/heimdall", "https://id.example/realms/heimdall"),
    "measurement_margin_seconds": ("3600", 3600.0),
    "oidc_authorized_parties": ("frontend, scripts,", ("frontend", "scripts")),
    "oidc_audience": ("heimdall", "heimdall"),
    "oidc_jwks_url": ("http://keycloak:8080/certs", "http://keycloak:8080/certs"),
    "cors_origins": ("https://Heimdall.example,http://a:3000", ("https://heimdall.example", "http://a:3000")),
    "oidc_admin_role": ("operator", "operator"),
    "api_rate_limit": ("1/second", "1/second"),
    "login_rate_limit": ("5/hour", "5/hour"),
    "dagster_ui_url": ("https://dagster.example/ui", "https://dagster.example/ui"),
    "alert_webhook_url": ("https://hooks.example/a?b=c", SecretStr("https://hooks.example/a?b=c")),
    "alert_format": ("slack", "slack"),
    "dashboard_url": ("https://heimdall.example/pages", "https://heimdall.example/pages"),
    "log_format": ("json", "json"),
    "s3_endpoint_url": ("http://minio:9000", "http://minio:9000"),
    "store_connections": ("8", 8),
    "store_timeout_seconds": ("0.5", 0.5),
    "store_retry_seconds": ("0", 0.0),
    "celery_broker_url": ("amqp://broker", SecretStr("amqp://broker")),
    "max_concurrent_runs": ("2", 2),
}
"""Of every setting: the text of its variable, some at the edge of what is allowed, and what it means."""


def test_every_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(VALUES) == set(Settings.model_fields)
    for name, (text, _) in VALUES.items():
        monkeypatch.setenv(f"HEIMDALL_{name.upper()}", text)
    settings = load_settings()
    assert {name: getattr(settings, name) for name in VALUES} == {name: value for name, (_, value) in VALUES.items()}


@pytest.mark.parametrize("name", [name for name, (_, value) in VALUES.items() if isinstance(value, int | float)])
def test_every_variable_that_is_a_number_refuses_nonsense_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"HEIMDALL_{name.upper()}", "nonsense")
    with pytest.raises(SettingError, match=f"^HEIMDALL_{name.upper()}='nonsense' is not allowed: .*valid"):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("OIDC_ISSUER_URL", "file:///etc/passwd", "an http:// or https:// URL"),
        ("OIDC_ISSUER_URL", "https://user:hunter2@id.example", "an http:// or https:// URL without password"),
        ("DAGSTER_UI_URL", "javascript:alert(1)", "an http:// or https:// URL"),
        ("API_RATE_LIMIT", "0/minute", "a count and a time, such as 600/minute"),
        ("LOGIN_RATE_LIMIT", "5 per fortnight", "a count and a time, such as 600/minute"),
    ],
)
def test_a_setting_of_the_web_server_is_a_url_or_a_rate(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(f"HEIMDALL_{variable}", value)
    with pytest.raises(SettingError, match=f"^HEIMDALL_{variable}=.* is not allowed: {allowed}") as caught:
        load_settings()
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("origin", ["*", "https://*.example", "heimdall.example", "https://a/path", "https://a,b"])
def test_an_origin_is_a_scheme_and_a_host(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    monkeypatch.setenv("HEIMDALL_CORS_ORIGINS", origin)
    with pytest.raises(SettingError, match=r"^HEIMDALL_CORS_ORIGINS=.* is not allowed: origins such as https://"):
        load_settings()


def test_an_issuer_needs_an_audience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_OIDC_ISSUER_URL", "https://id.example/realms/heimdall")
    with pytest.raises(SettingError, match=r"^HEIMDALL_OIDC_AUDIENCE=None is not allowed: the audience"):
        load_settings()


def test_an_option_of_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_BATCH_SIZE", "10")
    assert load_settings(batch_size=20).batch_size == 20
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", "postgresql://db/heimdall")
    assert load_settings(database_url=None).is_embedded


def test_a_relative_home_is_made_absolute_and_a_tilde_is_somebodys_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert load_settings(home="data").home == tmp_path / "data"
    assert load_settings(home="~/data").home == Path("/home/somebody/data")


def test_the_home_of_root_is_where_a_server_that_is_not_root_can_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_home() == Path("/var/lib/heimdall")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_home() == platformdirs.user_data_path("heimdall")


def test_settings_cannot_be_changed_and_a_process_reads_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_BATCH_SIZE", "10")
    settings = current_settings()
    monkeypatch.setenv("HEIMDALL_BATCH_SIZE", "20")
    assert current_settings() is settings
    with pytest.raises(ValidationError, match="frozen"):
        settings.batch_size = 30


def test_the_table_has_a_row_with_a_default_and_a_meaning_for_every_setting_in_order() -> None:
    table = settings_table()
    assert [variable for variable, _, _ in table] == [f"HEIMDALL_{name.upper()}" for name in Settings.model_fields]
    assert all(default and meaning for _, default, meaning in table)
    defaults = {variable: default for variable, default, _ in table}
    assert defaults["HEIMDALL_BATCH_SIZE"] == "50"
    assert defaults["HEIMDALL_DEFAULT_SAMPLE_RATE_HZ"] == "200000"
    assert defaults["HEIMDALL_DATABASE_URL"] == "unset"
    assert defaults["HEIMDALL_WORKERS"] == "half the cores, at most 8"  # the same on every machine that prints it


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


def test_urls_among_more_roots_keep_their_colons(monkeypatch: pytest.MonkeyPatch) -> None:
    value = "/srv/a:s3://old/iq:memory://x::file:///srv/b:https://host:8080/iq:https://host:90:c"
    monkeypatch.setenv("HEIMDALL_IQ_EXTRA_ROOTS", value)
    assert load_settings().iq_extra_roots == (
        "/srv/a", "s3://old/iq", "memory://x", "/srv/b", "https://host:8080/iq", "https://host:90", "c"
    )  # fmt: skip


def test_a_file_url_as_root_is_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_IQ_ROOT", "file:///srv/iq")
    assert load_settings().resolved_iq_root == "/srv/iq"
    monkeypatch.setenv("HEIMDALL_IQ_ROOT", "file://iq")
    with pytest.raises(SettingError, match=r"HEIMDALL_IQ_ROOT='file://iq' is not allowed: a folder, file:// and an"):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("HEIMDALL_BATCH_SIZE", "0", "greater than or equal to 1"),
        ("HEIMDALL_BATCH_SIZE", "many", "valid integer"),
        ("HEIMDALL_CHUNK_MS", "-1", "greater than 0"),
        ("HEIMDALL_FALSE_ALARM_PROBABILITY", "0.9", "less than 0.5"),
        ("HEIMDALL_OLDEST_SHARE_PERCENT", "101", "less than or equal to 100"),
        ("HEIMDALL_DATABASE_URL", "mysql://db/heimdall", "postgresql:// URL"),
        ("HEIMDALL_DAGSTER_DATABASE_URL", "heimdall", "postgresql:// URL"),
        ("HEIMDALL_MAX_OBJECT_BYTES", "1000", "greater than or equal to 1024"),
        ("HEIMDALL_WORKERS", "65", "less than or equal to 64"),
        ("HEIMDALL_NUM_CHUNKS", "2.5", "valid integer"),
        # infinity and NaN would come to light in a statement or in an array's size, long after the start
        ("HEIMDALL_DEFAULT_SAMPLE_RATE_HZ", "inf", "finite number"),
        ("HEIMDALL_SOURCE_TOLERANCE_HZ", "nan", "finite number"),
        ("HEIMDALL_RETRY_BASE_SECONDS", "inf", "less than or equal to 31536000"),
        ("HEIMDALL_RETRY_MAX_SECONDS", "1e300", "less than or equal to 31536000"),
        ("HEIMDALL_RESERVATION_SECONDS", "1e300", "less than or equal to 31536000"),
        ("HEIMDALL_LOCK_TIMEOUT_SECONDS", "3e6", "less than or equal to 2000000"),
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
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", "postgresql://user:hunter2@db/heimdall")
    monkeypatch.setenv("HEIMDALL_DAGSTER_DATABASE_URL", "postgresql://user:hunter2@db/runs")
    monkeypatch.setenv("HEIMDALL_ADMIN_TOKEN", "hunter2")
    monkeypatch.setenv("HEIMDALL_CELERY_BROKER_URL", "amqp://user:hunter2@broker")
    settings = load_settings()
    assert "hunter2" not in repr(settings) + str(settings)
    assert settings.admin_token is not None
    assert settings.admin_token.get_secret_value() == "hunter2"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:hunter2@db/heimdall",
        "mysql://user:half@hunter2@db/heimdall",  # an @ that should have been %40
        "user:hunter2@db/heimdall",
        "mysql://db/heimdall?user=u&password=hunter2",
        "host=db user=u password=hunter2 dbname=heimdall",
    ],
)
def test_a_password_is_hidden_in_a_url_however_it_is_misspelt(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", url)
    with pytest.raises(SettingError, match=r"HEIMDALL_DATABASE_URL=.*is not allowed: a postgresql:// URL") as caught:
        load_settings()
    assert "hunter2" not in caught.value.message
    assert caught.value.__cause__ is None  # pydantic's own text repeats the input
    assert caught.value.__suppress_context__


@hypothesis_settings(deadline=None)
@given(st.integers(1, 1000), st.floats(0.001, 60_000))
def test_every_value_in_range_is_read_as_it_was_written(batch_size: int, chunk_ms: float) -> None:
    settings = load_settings(batch_size=str(batch_size), chunk_ms=repr(chunk_ms))
    assert (settings.batch_size, settings.chunk_ms) == (batch_size, chunk_ms)


@hypothesis_settings(deadline=None)
@given(st.integers() | st.floats() | st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=12))
def test_whatever_is_written_is_a_value_in_range_or_an_error_with_the_variables_name(value: object) -> None:
    for name, low, high in (("batch_size", 1, 1000), ("lock_timeout_seconds", 0, 2_000_000), ("chunk_ms", 0, 60_000)):
        try:
            read = getattr(load_settings(**{name: str(value)}), name)
        except SettingError as error:
            assert error.message.startswith(f"HEIMDALL_{name.upper()}=")  # noqa: PT017  # many values raise nothing
        else:
            assert low <= read <= high


def test_a_root_in_ones_home_is_found_there_for_every_reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HEIMDALL_IQ_ROOT", "~/iq")
    assert load_settings().resolved_iq_root == str(tmp_path / "iq")


@pytest.mark.parametrize("url", ["ftp://hooks.example/hunter2", "hooks.example/hunter2", "https:///hunter2"])
def test_a_bad_webhook_is_named_and_its_url_hidden(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("HEIMDALL_ALERT_WEBHOOK_URL", url)
    with pytest.raises(SettingError, match=r"HEIMDALL_ALERT_WEBHOOK_URL=\(hidden\) is not allowed: an http") as failure:
        load_settings()
    assert "hunter2" not in str(failure.value)


def test_a_webhook_is_in_no_representation_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_ALERT_WEBHOOK_URL", "https://hooks.example/services/hunter2?wait=true")
    settings = load_settings()
    assert "hunter2" not in repr(settings) + str(settings)
    assert settings.alert_format == "json"
