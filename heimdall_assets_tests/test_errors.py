"""The exception tree: every kind has a reason of its own, and a session's is the commonest of its receivers'."""

from __future__ import annotations

import inspect

from heimdall_assets import errors
from heimdall_assets.errors import (
    ExtractionFailed,
    HeimdallError,
    RecordingNotFound,
    TooShort,
    TruncatedRecording,
    UnexpectedError,
)

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, HeimdallError)]


def test_every_kind_is_in_the_drawing_and_has_a_reason_of_its_own() -> None:
    drawing = errors.__doc__ or ""
    assert all(kind.__name__ in drawing for kind in KINDS)
    reasons = [kind.reason for kind in KINDS if kind is not ExtractionFailed]
    assert len(reasons) == len(set(reasons))


def test_a_message_is_one_line() -> None:
    assert TooShort("a\n  b\tc").message == "a b c"


def test_a_session_fails_for_the_commonest_reason_and_is_tried_again_if_any_receiver_may_recover() -> None:
    failed = ExtractionFailed([TruncatedRecording("x"), RecordingNotFound("y"), TruncatedRecording("z")])
    assert failed.reason == "truncated"
    assert failed.transient
    assert failed.message == "all 3 receivers failed: truncated (2), not_found (1); for example x"
    assert not ExtractionFailed([TruncatedRecording("x")]).transient
    assert ExtractionFailed.reason == "error"  # an instance's reason does not leak into the class


def test_what_nobody_foresaw_keeps_its_cause() -> None:
    cause = ZeroDivisionError("division by zero")
    wrapped = UnexpectedError.of(cause)
    assert wrapped.__cause__ is cause
    assert wrapped.message == "ZeroDivisionError: division by zero"
