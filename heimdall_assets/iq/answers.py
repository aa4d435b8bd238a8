"""What an object store answers when it refuses or fails, in the project's words.

Clients put whole answers into their errors: addresses, and bodies in which a store repeats what was signed, session
tokens included. Messages end up in the database and before people, so they are made of the status, the store's code
and its one sentence; the client's error is not even kept as their cause.
"""

from __future__ import annotations

import os
import re
from html import unescape
from http import HTTPStatus
from typing import NamedTuple

from heimdall_assets.errors import (
    AccessDenied,
    BucketMissing,
    CredentialsRefused,
    LocationRefused,
    RecordingError,
    RecordingNotFound,
    StoreUnavailable,
    TruncatedRecording,
)
from heimdall_assets.iq.urls import shown

STATUS = re.compile(r"status code: (\d{3})")
CODE = re.compile(r"<Code>\s*([A-Za-z0-9.]{1,64})\s*</Code>")
SENTENCE = re.compile(r"<Message>([^<]{1,300})")
PREFIX = re.compile(r"^Generic \w+ error: ")
RETRIES = re.compile(r"after (\d+) retries")
SYSTEM_SAYS = re.compile(r"(?:message|error): \"([^\"]{1,120})\"")
NO_ANSWER = re.compile(r"kind: (?:Connect|Request|Timeout|Interrupted)")
TIMED_OUT = re.compile(r"kind: Timeout|TimedOut|timed out")
CREDENTIALS_ASKED = re.compile(
    r"/latest/(?:api/token|meta-data)|metadata\.google|/metadata/identity|oauth2/token|AssumeRole"
)
"""Addresses of which a client asks for credentials, where it was given none."""

BUCKET_CODES = {"NoSuchBucket", "ContainerNotFound", "InvalidBucketName"}
CREDENTIAL_CODES = {
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired",
    "RequestTimeTooSkewed", "RequestExpired", "InvalidSecurity", "NotSignedUp", "MissingSecurityHeader",
    "AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation",
}  # fmt: skip
SECRET_VARIABLE = re.compile(r"(?:AWS|AZURE|GOOGLE)_.*(?:KEY|SECRET|TOKEN|SAS)")
OF_ONE_OBJECT: dict[int, tuple[type[RecordingError], str]] = {
    HTTPStatus.NOT_FOUND: (RecordingNotFound, "does not exist"),
    HTTPStatus.PRECONDITION_FAILED: (StoreUnavailable, "was replaced while it was read"),
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: (TruncatedRecording, "became shorter while it was read"),
}


class Answer(NamedTuple):
    """An error of a store's client, taken apart.

    Attributes
    ----------
    status : int or None
        Of HTTP; None where nothing answered.
    code : str
        The store's word, such as ``NoSuchBucket``; empty where it said none.
    sentence : str
        Its explanation; empty where it gave none.
    """

    status: int | None
    code: str
    sentence: str

    @classmethod
    def of(cls, text: str) -> Answer:
        """Take apart the text of a client's error."""
        status, code, sentence = (pattern.search(text) for pattern in (STATUS, CODE, SENTENCE))
        return cls(
            int(status[1]) if status else None,
            code[1] if code else "",
            " ".join(unescape(sentence[1]).partition("\n")[0].split()).rstrip(".") if sentence else "",
        )

    def __str__(self) -> str:
        said = " ".join(str(part) for part in (self.status, self.code) if part)
        return without_secrets(f"{said}: {self.sentence}" if self.sentence else said)


def refusal(error: Exception, name: str) -> RecordingError:
    """The project's error for one of an object store's client.

    Parameters
    ----------
    error : Exception
        Of obstore, or one of the built-in ones that it raises.
    name : str
        What messages call the object.
    """
    text = str(error)
    answer = Answer.of(text)
    access = _access_refused(answer, text)
    if access is not None:
        kind, why = access
        return kind(f"{name} cannot be reached: {why}")
    if isinstance(error, FileNotFoundError):
        return RecordingNotFound(f"{name} does not exist")
    if answer.status in OF_ONE_OBJECT:
        of_object, why = OF_ONE_OBJECT[answer.status]
        return of_object(f"{name} {why}")
    if answer.status is not None:
        return StoreUnavailable(f"{name} cannot be reached: the store answers {answer}{_retries(text)}")
    if isinstance(error, ValueError):
        return LocationRefused(f"{name} is no name of an object: {without_secrets(text)}")
    return StoreUnavailable(f"{name} cannot be reached: {_silence(text)}{_retries(text)}")


def _access_refused(answer: Answer, text: str) -> tuple[type[StoreUnavailable], str] | None:
    """Kind and explanation where bucket, credentials or rights are at fault."""
    if answer.code in BUCKET_CODES:
        return BucketMissing, f"there is no such bucket ({answer})"
    if CREDENTIALS_ASKED.search(text):
        return CredentialsRefused, "there are no credentials, or their source does not give any"
    if answer.status == HTTPStatus.UNAUTHORIZED or answer.code in CREDENTIAL_CODES:
        return CredentialsRefused, f"the credentials are refused ({answer})"
    if answer.status == HTTPStatus.FORBIDDEN:
        return AccessDenied, f"access is denied ({answer})"
    return None


def is_outage(error: Exception) -> bool:
    """Whether a client's error tells that the store as a whole is away, and not that it refuses something."""
    text = str(error)
    status = Answer.of(text).status
    if status is None:
        return NO_ANSWER.search(text) is not None and not CREDENTIALS_ASKED.search(text)
    return status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def without_secrets(text: str) -> str:
    """A text without the credentials that the environment holds, which a store may repeat, and without queries."""
    for variable, value in os.environ.items():
        if value and SECRET_VARIABLE.match(variable):
            text = text.replace(value, "***")
    return " ".join(shown(text).split())


def _retries(text: str) -> str:
    found = RETRIES.search(text)
    return f", after {found[1]} retries" if found else ""


def _silence(text: str) -> str:
    """Why nothing answered, in few words."""
    if TIMED_OUT.search(text):
        return "the store did not answer in time"
    found = SYSTEM_SAYS.search(text)
    if found:
        return f"the store does not answer: {without_secrets(found[1])}"
    first, _, _ = text.partition("\n")
    return without_secrets(PREFIX.sub("", first.rpartition(" - ")[2])) or "the store does not answer"
