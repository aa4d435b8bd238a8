"""HEIMDALL_* environment variables as one frozen, checked object.

Every setting of the project stands here and nowhere else; the README's table is generated from these fields
(``heimdall settings``).
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from heimdall_assets.errors import SettingError

PREFIX = "HEIMDALL_"

WAITING_SESSIONS = 2
"""Begun by a run beside those it works on, once one of these waits; at 30 ms an answer one would have been enough."""
YEAR_S = 365 * 86_400
ROOT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^:/]*(?::\d+(?=[/:]|$))?[^:]*|[^:]+")
"""One of several roots between colons: a URL, perhaps with a port, or a folder."""
MOST_LOCK_TIMEOUT_S = 2_000_000
"""PostgreSQL counts lock_timeout in ms, in 31 bits."""


def default_home() -> Path:
    """Folder for everything that the project keeps: the platform's, or /var/lib/heimdall for root.

    PostgreSQL never runs as root and must be able to reach its data, so root's home will not do.
    """
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/heimdall")
    return platformdirs.user_data_path("heimdall")


def without_password(value: str) -> str:
    """A URL, however misspelt, without the password in it: for error texts."""
    hidden = re.sub(r"((?:^|://)[^:/@]*):(?!//).*@", r"\1:***@", value)
    return re.sub(r"(?i)(password=)[^&\s]*", r"\1***", hidden)


def _postgresql_url(value: str) -> str:
    scheme, separator, _ = value.partition(":")
    if not separator or scheme.partition("+")[0] not in {"postgresql", "postgres"}:
        raise ValueError("a postgresql:// URL")
    return value


def _folder_or_url(value: str) -> str:
    """The folder that a ``file:`` URL names; everything else as it is."""
    if not value.lower().startswith("file:"):
        return value
    if not value.lower().startswith("file:///"):
        raise ValueError("a folder, file:// and an absolute path, or the URL of a store")
    return value[len("file://") :]


PostgresURL = Annotated[str, AfterValidator(_postgresql_url)]


def _http_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", value):
        raise ValueError("an http:// or https:// URL without password, query and fragment")
    return value


HttpURL = Annotated[str, AfterValidator(_http_url)]


def _webhook_url(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s#]*)?", value.get_secret_value()):
        raise ValueError("an http:// or https:// URL")
    return value


WebhookURL = Annotated[SecretStr, AfterValidator(_webhook_url)]
AlertFormat = Literal["json", "slack"]


def _rate_limit(value: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,8}/(second|minute|hour|day)", value):
        raise ValueError("a count and a time, such as 600/minute")
    return value


RateLimit = Annotated[str, AfterValidator(_rate_limit)]

BROKER_SCHEMES = ("amqp", "amqps", "pyamqp", "redis", "rediss", "sentinel")


def _broker_url(value: SecretStr) -> SecretStr:
    scheme, separator, rest = value.get_secret_value().partition("://")
    if scheme not in BROKER_SCHEMES or not separator or not rest:
        raise ValueError(f"a URL of RabbitMQ or Redis: {', '.join(BROKER_SCHEMES)}")
    return value


BrokerURL = Annotated[SecretStr, AfterValidator(_broker_url)]


class Settings(BaseSettings):
    """All settings; built from the environment by :func:`load_settings`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    database_url: PostgresURL | None = Field(
        default=None,
        repr=False,  # it may hold a password
        description="Heimdall's database; unset: the embedded PostgreSQL under HEIMDALL_HOME",
    )
    dagster_database_url: PostgresURL | None = Field(
        default=None,
        repr=False,
        description="Dagster's database; unset: `<name>_dagster` on the same server, created if allowed",
    )
    home: Path = Field(
        default_factory=default_home,
        description="Folder of the embedded PostgreSQL, Dagster's home and embedded IQ files",
    )
    iq_root: str | None = Field(
        default=None,
        description="Folder or URL that relative iq_data_locations are resolved against; "
        "unset: HEIMDALL_HOME/iq, or s3://heimdall-raw-iq where HEIMDALL_DATABASE_URL is set",
    )
    iq_extra_roots: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="More folders and URLs that absolute locations may lie in, separated by `:`, "
        "as in `/mnt/old:s3://archive/iq:/srv/iq`",
    )
    max_object_bytes: int = Field(
        default=64 * 1024**3, ge=1024, description="IQ objects larger than this are refused (too_large)"
    )
    batch_size: int = Field(default=50, ge=1, le=1000, description="Most sessions in one run")
    max_batches: int = Field(
        default=5, ge=1, le=1000, description="Most batches that one tick plans, beside one of fresh sessions"
    )
    oldest_share_percent: int = Field(
        default=20,
        ge=0,
        le=100,
        description="Share of every tick that is kept for the oldest pending sessions",
    )
    grace_seconds: float = Field(
        default=0.0,
        ge=0,
        le=YEAR_S,
        description="A completed session waits so long for measurements that come late",
    )
    input_checks_per_tick: int = Field(
        default=100,
        ge=0,
        le=100_000,
        description="Sessions whose recordings the schedule looks at again, at each tick others; 0: none",
    )
    recompute_stale_per_tick: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="Sessions with stale features that the schedule asks for, behind everything else; 0: none",
    )
    workers: int = Field(
        default_factory=lambda: max(1, min(8, (os.cpu_count() or 1) // 2)),
        ge=1,
        le=64,
        description="Sessions that one run works on at the same time, not counting those that wait for a store; unset: "
        "one for two cores, at most 8, since two runs of a backlog are at work at a time",
    )
    chunk_ms: float = Field(default=200.0, gt=0, le=60_000, description="Duration of a chunk in ms")
    num_chunks: int = Field(default=5, ge=1, le=10_000, description="Chunks measured from a recording's start")
    default_sample_rate_hz: float = Field(
        default=200_000.0, gt=0, allow_inf_nan=False, description="Used where neither file nor measurement says"
    )
    false_alarm_probability: float = Field(
        default=1e-3, gt=0, lt=0.5, description="Of signal_present, for a whole chunk of noise"
    )
    source_tolerance_hz: float = Field(
        default=1000.0,
        ge=0,
        allow_inf_nan=False,
        description="A session without a known source takes the only one that is this near in frequency; "
        "measurements in a session's window must be this near to its source",
    )
    measurement_margin_seconds: float = Field(
        default=86_400.0,
        ge=0,
        le=YEAR_S,
        description="So far outside its session's window the time of a measurement may lie; the schedule finds those "
        "that name a session and lie further off",
    )
    max_attempts: int = Field(default=5, ge=1, le=1000, description="A session that failed this often is quarantined")
    retry_base_seconds: float = Field(
        default=60.0, gt=0, le=YEAR_S, description="Wait before the second attempt; doubles with every further one"
    )
    retry_max_seconds: float = Field(default=3600.0, gt=0, le=YEAR_S, description="Longest wait between two attempts")
    reservation_seconds: float = Field(
        default=3600.0,
        gt=0,
        le=YEAR_S,
        description="Planned sessions whose run never started are planned anew after this",
    )
    lock_timeout_seconds: float = Field(
        default=600.0,
        gt=0,
        le=MOST_LOCK_TIMEOUT_S,
        description="How long a run waits for a session that another run is working on",
    )
    partition_window: int = Field(
        default=80_000,
        ge=1,
        description="Sessions with features that keep a partition in Dagster, the newest; "
        "PostgreSQL knows the others as before",
    )
    retention_days: int = Field(
        default=30,
        ge=1,
        le=3650,
        description="Days after which Dagster forgets an ended run that nothing shown depends on",
    )
    least_coverage_percent: float = Field(
        default=90.0, ge=0, le=100, description="Coverage of what can be computed; below it a check fails"
    )
    most_pending_seconds: float = Field(
        default=3600.0, gt=0, le=YEAR_S, description="A session that waits for longer fails a check"
    )
    beacon_tolerance_ppm: float = Field(
        default=20.0,
        gt=0,
        le=1000,
        description="A receiver that measures known frequencies further off, in parts per million, fails a check",
    )
    admin_token: SecretStr | None = Field(default=None, description="Bearer token of the admin HTTP API")
    oidc_issuer_url: HttpURL | None = Field(
        default=None, description="Identity provider (OpenID Connect, such as a Keycloak realm) whose tokens admit too"
    )
    oidc_authorized_parties: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Clients whose tokens are accepted whatever their audience: one of them must be the token's `azp`; "
        "separated by commas",
    )
    oidc_audience: str | None = Field(
        default=None,
        validate_default=True,
        description="What its tokens must name as audience; with an issuer this or the parties above are needed",
    )
    oidc_jwks_url: HttpURL | None = Field(
        default=None,
        description="Where its public keys are, if the issuer's own address cannot be reached from here; "
        "unset: as the issuer's discovery document says",
    )
    oidc_admin_role: str = Field(
        default="admin", min_length=1, description="Role that its tokens must hold in realm_access.roles"
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Origins of other web pages that may call the admin API with a bearer token, separated by commas, "
        "as in `https://heimdall.example`; unset: none",
    )
    api_rate_limit: RateLimit = Field(default="600/minute", description="Most requests from one address")
    login_rate_limit: RateLimit = Field(default="30/minute", description="Most wrong tokens from one address")
    dagster_ui_url: HttpURL = Field(
        default="http://127.0.0.1:3000", description="Where the dashboard's links to Dagster's UI lead"
    )
    dashboard_url: HttpURL = Field(
        default="http://127.0.0.1:8010", description="Where the links in Dagster's UI to the dashboard's pages lead"
    )
    alert_webhook_url: WebhookURL | None = Field(
        default=None, description="Webhook that is told of failing checks and runs; unset: nobody is told"
    )
    alert_format: AlertFormat = Field(
        default="json", description='What the webhook reads: json, or slack (`{"text": ...}`, for those like it too)'
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="json: one JSON object a line, with the ids of session, run and batch"
    )
    s3_endpoint_url: HttpURL | None = Field(
        default=None, description="Endpoint of an S3-compatible store; unset: AWS, or what AWS_ENDPOINT_URL says"
    )
    store_connections: int = Field(
        default=32, ge=1, le=1000, description="Most requests to one bucket at a time, of one process"
    )
    store_timeout_seconds: float = Field(
        default=30.0, gt=0, le=3600, description="Longest that one request to an object store may take"
    )
    store_retry_seconds: float = Field(
        default=10.0,
        ge=0,
        le=300,
        description="How long a request to an object store that does not answer is repeated; 0: never",
    )
    celery_broker_url: BrokerURL | None = Field(
        default=None,
        description="RabbitMQ or Redis, from which `heimdall worker` takes runs; "
        "unset: runs are processes on this machine",
    )
    max_concurrent_runs: int | None = Field(
        default=None,
        ge=2,
        le=10_000,
        description="Runs at the same time, over all machines, one of them kept for fresh sessions; "
        "unset: as dagster.yaml says, and enough for `heimdall up --workers`",
    )

    @field_validator("iq_extra_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        # The colon separates, and stands in URLs; elsewhere than on POSIX the separator is another character.
        entries = ROOT.findall(value) if os.pathsep == ":" else value.split(os.pathsep)
        return tuple(_folder_or_url(entry) for entry in entries if entry)

    @field_validator("iq_root", mode="after")
    @classmethod
    def _file_url_to_folder(cls, value: str | None) -> str | None:
        return None if value is None else _folder_or_url(value)

    @field_validator("oidc_audience", mode="after")
    @classmethod
    def _audience_of_issuer(cls, value: str | None, info: ValidationInfo) -> str | None:
        # Without either, a token that the issuer made for any other application would be accepted here.
        is_open = value is None and not info.data.get("oidc_authorized_parties")
        if is_open and info.data.get("oidc_issuer_url") is not None:
            raise ValueError(
                "the audience of the issuer's tokens, since HEIMDALL_OIDC_ISSUER_URL is set "
                "(or HEIMDALL_OIDC_AUTHORIZED_PARTIES)"
            )
        return value

    @field_validator("oidc_authorized_parties", "cors_origins", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("cors_origins", mode="after")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not re.fullmatch(r"https?://[^\s/?#@*]+", origin):
                raise ValueError("origins such as https://heimdall.example, without a path, separated by commas")
        return tuple(origin.lower() for origin in value)

    @field_validator("home", mode="after")
    @classmethod
    def _absolute_home(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def is_embedded(self) -> bool:
        """True where the embedded PostgreSQL is used."""
        return self.database_url is None

    @property
    def resolved_iq_root(self) -> str:
        """The root of relative locations, defaults applied."""
        if self.iq_root is not None:
            return self.iq_root if "://" in self.iq_root else str(Path(self.iq_root).expanduser())
        return str(self.home / "iq") if self.is_embedded else "s3://heimdall-raw-iq"

    @property
    def sessions_under_way(self) -> int:
        """Sessions that a run begins at the same time: those it works on, and those that wait for a store meanwhile."""
        return self.workers + WAITING_SESSIONS

    @classmethod
    def variable(cls, field_name: str) -> str:
        """Name of the environment variable behind a field."""
        return f"{PREFIX}{field_name.upper()}"


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment.

    Parameters
    ----------
    **overrides
        Fields that a command-line option sets; they win over the environment.

    Raises
    ------
    SettingError
        Names the variable, its value and what is allowed.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "?"
        is_secret = any(word in name for word in ("token", "broker", "webhook"))
        given = "(hidden)" if is_secret else repr(first["input"])
        allowed = first["msg"].removeprefix("Value error, ")
        raise SettingError(f"{Settings.variable(name)}={without_password(given)} is not allowed: {allowed}") from None


@lru_cache(maxsize=1)
def current_settings() -> Settings:
    """The process's settings, read once; for code that Dagster starts."""
    return load_settings()


def settings_table() -> list[tuple[str, str, str]]:
    """Rows (variable, default, meaning) of every setting, in order; the README's table is made of them."""
    rows = []
    for name, info in Settings.model_fields.items():
        if info.default_factory is not None:
            default = {
                "home": "the platform's data folder; root: /var/lib/heimdall",
                "workers": "half the cores, at most 8",
            }[name]
        elif info.default in (None, ()):
            default = "unset"
        else:
            default = f"{info.default:g}" if isinstance(info.default, float) else str(info.default)
        rows.append((Settings.variable(name), default, info.description or ""))
    return rows
