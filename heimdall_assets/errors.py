"""The project's exceptions.

::

    HeimdallError
    ├── SettingError                 a HEIMDALL_* variable or an argument has a bad value
    ├── DatabaseError
    │   ├── DatabaseUnavailable      no server answers, or it went away
    │   ├── WrongDatabase            the server answers, but its tables are not ours (or not yet)
    │   │   ├── DatabaseRefused      the server does not let the role in, or the role lacks a privilege
    │   │   └── UnfitServer          it, or a pooler before it, cannot do what is needed
    │   ├── BadData                  a value that PostgreSQL, its arithmetic or its driver cannot hold
    │   ├── UnknownSession           no recording session has this id
    │   ├── UnknownRequest           no request has this id
    │   ├── UnknownStation           no receiver has this name
    │   └── SessionBusy              another run holds the session's lock for too long
    ├── BadRow                       a row of Heimdall holds a value that cannot be worked with
    ├── RecordingError               one receiver's IQ object cannot be used
    │   ├── UnknownReceiver          it belongs to a receiver that websdr_stations does not have
    │   ├── LocationRefused          outside the allowed roots, or of a scheme that is not served
    │   ├── RecordingNotFound        the object does not exist
    │   ├── StoreUnavailable         the store does not answer, or cannot be read
    │   │   ├── AccessDenied         the credentials may not read (or write) there
    │   │   ├── CredentialsRefused   there are no credentials, or the store does not accept them
    │   │   └── BucketMissing        there is no such bucket
    │   ├── RecordingTooLarge        larger than HEIMDALL_MAX_OBJECT_BYTES
    │   ├── EmptyRecording           no bytes, or a header without samples
    │   ├── UnknownFormat            neither content, hints nor suffix tell the format
    │   ├── MalformedRecording       the header contradicts itself, the format or the file's size
    │   ├── FactMissing              the database demands what neither recording nor description says
    │   └── TruncatedRecording       the file ends before its header says so
    ├── SignalError                  samples that cannot be measured
    │   ├── TooShort                 fewer than 1024 samples in a chunk
    │   ├── NotFinite                NaN or infinity among the samples
    │   ├── AllZero                  nothing but zeros
    │   └── BadParameter             a parameter outside its range
    ├── Paused                       somebody holds planning: what would wait for it is refused
    ├── OutputFailed                 a file that was asked for cannot be written
    ├── WebhookFailed                nobody at the webhook of alerts answers, or not with success
    ├── OutdatedWorker               a worker's code is older than the daemon's
    ├── WorkerFailed                 a worker ended although nobody had asked it to
    ├── StationElsewhere             a description places a station elsewhere than the network does
    ├── NoRecordings                 no measurement of the session has IQ data
    ├── NoFeatures                   nothing is stored that could be looked at again
    ├── SessionNotCompleted          it is still being recorded, or was given up
    ├── SessionIgnored               somebody took the session out of the work list
    ├── UnexpectedError              a failure that nobody foresaw: a defect, here or in a library
    ├── PoorerResult                 a recomputation has fewer usable receivers than what is stored
    ├── NothingNew                   a retry found no more receivers than those that are stored
    └── ExtractionFailed             every receiver of a session failed; carries their reasons

Each class has a ``reason``: the short, stable word that is stored in ``feature_attempts`` and grouped by in
``heimdall failures``; and ``transient``: whether trying again later can help without anybody's doing.
"""

from __future__ import annotations

import re
from typing import ClassVar

_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """A text without what PostgreSQL cannot store: NUL and lone surrogates become U+FFFD."""
    return _NOT_STORABLE.sub("\ufffd", text)


class HeimdallError(Exception):
    """Base class of everything that this project raises on purpose.

    Attributes
    ----------
    reason : str
        Stable, machine-readable word for the kind of failure.
    transient : bool
        True if another attempt later may succeed without a change of the input.
    """

    reason: ClassVar[str] = "error"
    transient: ClassVar[bool] = False

    @property
    def message(self) -> str:
        """The error's text on one line, as PostgreSQL can store it."""
        return storable(" ".join(str(self).split()))


class SettingError(HeimdallError):
    """A setting or an argument is outside what is allowed; names it, its value and the range."""

    reason = "bad_setting"


class DatabaseError(HeimdallError):
    """Base class: PostgreSQL cannot do what was asked."""

    reason = "database_error"


class DatabaseUnavailable(DatabaseError):
    """No server answers, or the connection was lost."""

    reason = "database_unavailable"
    transient = True


class WrongDatabase(DatabaseError):
    """The server answers, but it is not PostgreSQL with Heimdall's tables at the expected revision."""

    reason = "wrong_database"


class DatabaseRefused(WrongDatabase):
    """The server does not let the role in, or the role may not do what was asked."""

    reason = "database_refused"


class UnfitServer(WrongDatabase):
    """The server, or a pooler before it, cannot do what is needed, whatever the tables are.

    Parameters
    ----------
    problem, remedy : str
        What is wrong, and what to do about it.
    """

    reason = "unfit_server"

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        """Both in one sentence."""
        return f"{self.problem}: {self.remedy}"


class BadData(DatabaseError):
    """A value that PostgreSQL, its arithmetic or its driver cannot hold."""

    reason = "bad_data"


class UnknownSession(DatabaseError):
    """No recording session has this id."""

    reason = "unknown_session"


class UnknownRequest(DatabaseError):
    """No request has this id."""

    reason = "unknown_request"


class UnknownStation(DatabaseError):
    """No row of websdr_stations has this name."""

    reason = "unknown_station"


class SessionBusy(DatabaseError):
    """Another run has held the session's lock longer than one is willing to wait."""

    reason = "session_busy"
    transient = True


class BadRow(HeimdallError):
    """A row of Heimdall holds a value that cannot be worked with; names table, column and value.

    Not tried again by itself: the row has to be corrected first.
    """

    reason = "bad_row"


class RecordingError(HeimdallError):
    """Base class: one receiver's IQ object cannot be used."""

    reason = "recording_error"


class UnknownReceiver(RecordingError):
    """The measurement belongs to a receiver that websdr_stations does not have, or names none."""

    reason = "unknown_receiver"


class LocationRefused(RecordingError):
    """The location lies outside the allowed roots, or its scheme is not served."""

    reason = "location_refused"


class RecordingNotFound(RecordingError):
    """There is no object at the location; late uploads do happen, so it is tried again."""

    reason = "not_found"
    transient = True


class StoreUnavailable(RecordingError):
    """The storage does not answer or cannot be read at the moment."""

    reason = "store_unavailable"
    transient = True


class AccessDenied(StoreUnavailable):
    """The store knows the credentials, but they may not do this there.

    Not the recording's fault: once a person has changed the policy, everything that waits goes on by itself. A store
    also answers so for an object that is missing, where the credentials may not list the bucket.
    """

    reason = "access_denied"


class CredentialsRefused(StoreUnavailable):
    """There are no credentials, or the store does not accept them: unknown, expired, or signed with a wrong clock."""

    reason = "credentials_refused"


class BucketMissing(StoreUnavailable):
    """There is no such bucket or container: a setting is wrong, or the bucket is made later."""

    reason = "no_such_bucket"


class RecordingTooLarge(RecordingError):
    """The object is larger than HEIMDALL_MAX_OBJECT_BYTES."""

    reason = "too_large"


class EmptyRecording(RecordingError):
    """The file has no bytes, or a header and no samples."""

    reason = "empty_recording"


class UnknownFormat(RecordingError):
    """Neither the content, nor the hints, nor the suffix tell what format the file has."""

    reason = "unknown_format"


class MalformedRecording(RecordingError):
    """The header contradicts itself, its format or the size of the file."""

    reason = "malformed"


class TruncatedRecording(RecordingError):
    """The file ends before the point that its header announces."""

    reason = "truncated"


class FactMissing(RecordingError):
    """The database demands a value that neither the recording nor its description says."""

    reason = "fact_missing"


class SignalError(HeimdallError):
    """Base class: the samples were read, but cannot be measured."""

    reason = "signal_error"


class TooShort(SignalError):
    """Fewer samples than one chunk needs at the least."""

    reason = "too_short"


class NotFinite(SignalError):
    """NaN or infinite samples."""

    reason = "not_finite"


class AllZero(SignalError):
    """Nothing but zero samples: a receiver that was switched off or disconnected."""

    reason = "all_zero"


class BadParameter(SignalError):
    """A parameter of an estimator is outside its range."""

    reason = "bad_parameter"


class Paused(HeimdallError):
    """Somebody paused sensor and schedule; says who, and how it goes on."""

    reason = "paused"


class OutputFailed(HeimdallError):
    """A file that was asked for cannot be written: no such folder, no right to, no space."""

    reason = "output_failed"


class WebhookFailed(HeimdallError):
    """The webhook of alerts does not answer, or not with success; its URL, a secret, is not in the message."""

    reason = "webhook_failed"
    transient = True


class OutdatedWorker(HeimdallError):
    """The worker was sent a run by a daemon of a newer release; it must be upgraded."""

    reason = "outdated_worker"


class WorkerFailed(HeimdallError):
    """A worker ended although nobody had asked it to: its processes do not start, or the broker refuses it."""

    reason = "worker_failed"


class StationElsewhere(HeimdallError):
    """A description places a station that is there elsewhere; nothing is moved unless that is asked for."""

    reason = "station_elsewhere"


class NoRecordings(HeimdallError):
    """No measurement of the session points at IQ data: there is nothing to compute."""

    reason = "no_iq"


class NoFeatures(HeimdallError):
    """The session has no features that could be compared or verified."""

    reason = "no_features"


class SessionNotCompleted(HeimdallError):
    """The session's status is not completed: it is still being recorded, or was given up."""

    reason = "not_completed"


class SessionIgnored(HeimdallError):
    """Somebody took the session out of the work list."""

    reason = "ignored"


class UnexpectedError(HeimdallError):
    """A failure that nobody foresaw; the original is its ``__cause__``, so that the traceback can be stored."""

    reason = "unexpected"

    @classmethod
    def of(cls, error: Exception) -> UnexpectedError:
        """Wrap an exception, keeping its traceback."""
        wrapped = cls(f"{type(error).__name__}: {error}")
        wrapped.__cause__ = error
        return wrapped


class PoorerResult(HeimdallError):
    """A recomputation has fewer usable receivers than the features that are there, which therefore stay."""

    reason = "poorer"


class NothingNew(HeimdallError):
    """A retry for receivers that were missing found the same as before, so what is stored stays untouched."""

    reason = "nothing_new"


class ExtractionFailed(HeimdallError):
    """Every receiver of a session failed.

    Parameters
    ----------
    failures : list of HeimdallError
        The receivers' errors, at least one. The session's ``reason`` is the most frequent of theirs, and it is
        transient if any of them is.
    """

    def __init__(self, failures: list[HeimdallError]) -> None:
        counts: dict[str, int] = {}
        for failure in failures:
            counts[failure.reason] = counts.get(failure.reason, 0) + 1
        by_count = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        summary = ", ".join(f"{reason} ({count})" for reason, count in by_count)
        first = next(failure for failure in failures if failure.reason == by_count[0][0])
        super().__init__(f"all {len(failures)} receivers failed: {summary}; for example {first.message}")
        self.failures = failures
        self.reason = by_count[0][0]  # type: ignore[misc]  # an instance's own reason, not the class's
        self.transient = any(failure.transient for failure in failures)  # type: ignore[misc]
