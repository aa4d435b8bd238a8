"""The API does what its own description says, for inputs that nobody thought of; and says it without other hosts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings

from heimdall_assets.db import heartbeats
from heimdall_assets.db.engine import transaction
from heimdall_assets_tests.web.client import Client
from heimdall_assets_tests.web.server import TOKEN, serving

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings

EXAMPLES = 12
"""An operation and a kind of data (allowed, not allowed)."""


def test_every_call_answers_what_its_description_allows(web_settings: Settings, engine: Engine) -> None:
    with transaction(engine) as connection:  # else /health rightly says that nothing is planned
        heartbeats.beat(connection, heartbeats.PLANNER)
    settings = web_settings.model_copy(update={"api_rate_limit": "1000000/minute"})
    with serving(settings) as address:
        described = Client(address).get("/openapi.json").document
        for calls in described["paths"].values():
            for call in calls.values():
                call.pop("security", None)  # every case is sent with the token
        schema = schemathesis.openapi.from_dict(described)
        schema.config.update(base_url=address)
        operations: list[Any] = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
        assert len(operations) >= 6
        for operation in operations:
            _try(operation, schemathesis.GenerationMode.POSITIVE)
            if {"parameters", "requestBody"} & set(operation.definition.raw):
                _try(operation, schemathesis.GenerationMode.NEGATIVE)


def _try(operation: Any, mode: schemathesis.GenerationMode) -> None:
    @hypothesis_settings(
        max_examples=EXAMPLES, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers_as_described(case: Any) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"})

    answers_as_described()


def test_the_reference_page_names_every_call_and_loads_nothing_from_elsewhere(api: Client) -> None:
    visitor = Client(api.address)
    document = visitor.get("/openapi.json").document
    text = visitor.get("/docs").text
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            assert path in text
            assert method.upper() in text
            assert call["summary"] in text
    assert "batch_size" in text
    assert "integer 1 to 1000" in text
    assert re.findall(r"(?:src|href)=\"(?!/|#)[^\"]*\"", text) == []


def test_every_call_that_needs_a_token_says_so_and_which_refusals_to_expect(api: Client) -> None:
    for path, calls in Client(api.address).get("/openapi.json").document["paths"].items():
        for call in calls.values():
            needs_token = not path.startswith("/health")
            assert bool(call.get("security")) is needs_token
            if needs_token:
                assert {"401", "403", "422", "429", "503"} <= set(call["responses"])
