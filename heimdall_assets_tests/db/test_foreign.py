"""Which sessions have features by other code, and a sample of them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from heimdall_assets.db.engine import transaction
from heimdall_assets.db.foreign import count_foreign, sample_foreign
from heimdall_assets_tests.db.rows import add_features, add_session
from heimdall_assets_tests.factory import FIRST_START

if TYPE_CHECKING:
    import uuid

    from sqlalchemy.engine import Connection, Engine


def add(connection: Connection, hours: int, **features: object) -> uuid.UUID:
    """A completed session with features by other code unless said."""
    key = add_session(connection, session_start=FIRST_START + timedelta(hours=hours), created_at=FIRST_START)
    add_features(connection, key, **features)  # type: ignore[arg-type]
    return key


def test_only_completed_sessions_with_features_by_other_code_are_found(engine: Engine) -> None:
    with transaction(engine) as connection:
        wanted = [add(connection, 2), add(connection, 1, failed=None), add(connection, 0, metadata=["odd"])]
        add(connection, 3, failed=True)
        add(connection, 4, metadata={"feature_version": 1})
        add_session(connection, session_start=FIRST_START)
        recording = add_session(connection, status="recording")
        add_features(connection, recording)
        assert count_foreign(connection) == 3
        assert sample_foreign(connection, 10, seed=0) == wanted[::-1]


def test_a_sample_takes_one_of_every_stretch_of_time_and_the_seed_says_which(engine: Engine) -> None:
    with transaction(engine) as connection:
        keys = [add(connection, hours) for hours in range(40)]
        samples = [sample_foreign(connection, 8, seed=seed) for seed in range(5)]
        assert samples[3] == sample_foreign(connection, 8, seed=3)
    for sample in samples:
        assert [keys.index(key) // 5 for key in sample] == list(range(8))
    assert len(set(map(tuple, samples))) > 1


def test_of_nothing_the_sample_is_empty(engine: Engine) -> None:
    with transaction(engine) as connection:
        assert (count_foreign(connection), sample_foreign(connection, 5, seed=1)) == (0, [])
