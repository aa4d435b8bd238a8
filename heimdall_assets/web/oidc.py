"""Tokens of an identity provider (OpenID Connect, such as Keycloak): whose they are, and with which roles."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jwt

from heimdall_assets.errors import HeimdallError

if TYPE_CHECKING:
    from heimdall_assets.settings import Settings

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures with a public key. Never "none", nor those with a shared secret: the public key would serve as one."""
LEEWAY_S = 30.0
"""By how much clocks may differ."""
TIMEOUT_S = 5.0
MAX_TOKEN_LENGTH = 16_384
MAX_DOCUMENT_BYTES = 1_000_000


class TokenRefused(HeimdallError):
    """The token is not one of the issuer's, or not for us, or not for now."""

    reason = "token_refused"


class IssuerUnavailable(HeimdallError):
    """The issuer's keys cannot be fetched."""

    reason = "issuer_unavailable"
    transient = True


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a token speaks for, until when (seconds since 1970), and whether as an administrator."""

    name: str
    is_admin: bool
    expires_at: float


class Issuer:
    """An identity provider, found by its discovery document when the first token comes.

    Parameters
    ----------
    url : str
        The issuer, as in the tokens' ``iss``.
    audience : str
        What must be among the tokens' ``aud``.
    admin_role : str
        What must be among ``realm_access.roles``.
    """

    def __init__(self, url: str, audience: str, admin_role: str) -> None:
        self._url = url
        self._audience = audience
        self._admin_role = admin_role
        self._client: jwt.PyJWKClient | None = None
        self._guard = threading.Lock()

    @classmethod
    def of(cls, settings: Settings) -> Issuer | None:
        """The issuer of the settings; None where none is set."""
        if settings.oidc_issuer_url is None or settings.oidc_audience is None:
            return None
        return cls(settings.oidc_issuer_url, settings.oidc_audience, settings.oidc_admin_role)

    def identify(self, token: str) -> Identity:
        """Check a token and read it.

        Raises
        ------
        TokenRefused
            With what is wrong, without the token.
        IssuerUnavailable
            Its keys cannot be fetched.
        """
        if len(token) > MAX_TOKEN_LENGTH:
            raise TokenRefused("the token is too long")
        try:
            # Before its key is looked up: a token that needs none must not get that far.
            if jwt.get_unverified_header(token).get("alg") not in ALGORITHMS:
                raise TokenRefused("the token is not signed by an allowed algorithm")
            claims = jwt.decode(
                token,
                self._keys().get_signing_key_from_jwt(token),
                algorithms=list(ALGORITHMS),
                audience=self._audience,
                issuer=self._url,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise TokenRefused("the token has expired") from None
        except jwt.InvalidAudienceError:
            raise TokenRefused("the token is for another audience") from None
        except jwt.InvalidIssuerError:
            raise TokenRefused("the token is of another issuer") from None
        except jwt.PyJWKClientConnectionError:
            raise IssuerUnavailable(f"the keys of {self._url} cannot be fetched") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            # Their texts may repeat parts of the token.
            raise TokenRefused("the token cannot be verified") from None
        access = claims.get("realm_access")
        roles = access.get("roles") if isinstance(access, dict) else None
        name = claims.get("preferred_username") or claims.get("sub") or "unnamed"
        return Identity(
            name=str(name)[:100],
            is_admin=isinstance(roles, list) and self._admin_role in roles,
            expires_at=float(claims["exp"]),
        )

    def _keys(self) -> jwt.PyJWKClient:
        with self._guard:
            if self._client is None:
                self._client = jwt.PyJWKClient(self._address_of_keys(), timeout=int(TIMEOUT_S))
            return self._client

    def _address_of_keys(self) -> str:
        address = f"{self._url.rstrip('/')}/.well-known/openid-configuration"
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:  # noqa: S310  # http(s): settings.py
                document = json.loads(answer.read(MAX_DOCUMENT_BYTES))
        except (urllib.error.URLError, OSError, ValueError):
            raise IssuerUnavailable(f"{address} does not answer") from None
        keys = document.get("jwks_uri") if isinstance(document, dict) else None
        if not isinstance(keys, str) or not keys.startswith(("https://", "http://")):
            raise IssuerUnavailable(f"{address} names no jwks_uri")
        if document.get("issuer") != self._url:
            raise IssuerUnavailable(f"{address} is of another issuer than HEIMDALL_OIDC_ISSUER_URL")
        return keys
