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


def test_what_may_pass_by_itself_is_tried_again_and_nothing_else_is() -> None:
    transient = {kind.__name__ for kind in KINDS if kind.transient}
    assert transient == {
        "DatabaseUnavailable", "SessionBusy", "RecordingNotFound",
        "StoreUnavailable", "AccessDenied", "CredentialsRefused", "BucketMissing",
        "WebhookFailed",
    }  # fmt: skip


def test_the_drawing_is_the_tree() -> None:
    depths = {
        line.split("──")[1].split()[0]: line.index("──") // 4
        for line in (errors.__doc__ or "").splitlines()
        if "──" in line
    }
    assert set(depths) == {kind.__name__ for kind in KINDS} - {"HeimdallError"}
    for name, depth in depths.items():
        ancestors = [base for base in getattr(errors, name).__mro__ if issubclass(base, HeimdallError)]
        assert len(ancestors) - 2 == depth - 1, name  # itself and the root are not counted


def test_every_kind_says_what_it_means() -> None:
    assert all(inspect.getdoc(kind) for kind in KINDS)
    assert all(kind.reason.islower() and " " not in kind.reason for kind in KINDS)


def test_of_reasons_that_are_equally_frequent_the_first_of_the_alphabet_is_the_sessions() -> None:
    failed = ExtractionFailed([TruncatedRecording("x"), RecordingNotFound("y")])
    assert (failed.reason, failed.failures[0].message) == ("not_found", "x")
    assert failed.message == "all 2 receivers failed: not_found (1), truncated (1); for example y"
