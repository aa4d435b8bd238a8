"""Tokens of an identity provider (OpenID Connect, such as Keycloak): whose they are, and with which roles."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt

from heimdall_assets.errors import HeimdallError

if TYPE_CHECKING:
    from collections.abc import Collection

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
    audience : str or None
        What must be among the tokens' ``aud``, unless their ``azp`` is one of the parties.
    parties : collection of str
        Clients whose tokens are accepted whatever their audience.
    admin_role : str
        What must be among ``realm_access.roles``.
    keys_url : str, optional
        Where its keys are; None: where its discovery document says.
    """

    def __init__(
        self,
        url: str,
        audience: str | None,
        admin_role: str,
        *,
        parties: Collection[str] = (),
        keys_url: str | None = None,
    ) -> None:
        self._url = url
        self._audience = audience
        self._parties = frozenset(parties)
        self._admin_role = admin_role
        self._keys_url = keys_url
        self._client: jwt.PyJWKClient | None = None
        self._guard = threading.Lock()

    @classmethod
    def of(cls, settings: Settings) -> Issuer | None:
        """The issuer of the settings; None where none is set."""
        if settings.oidc_issuer_url is None:
            return None
        return cls(
            settings.oidc_issuer_url,
            settings.oidc_audience,
            settings.oidc_admin_role,
            parties=settings.oidc_authorized_parties,
            keys_url=settings.oidc_jwks_url,
        )

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
                leeway=LEEWAY_S,
                # audience and issuer are compared below, where a refusal can say what is missing
                options={"require": ["exp"], "verify_aud": False, "verify_iss": False},
            )
        except jwt.ExpiredSignatureError:
            raise TokenRefused("the token has expired") from None
        except jwt.MissingRequiredClaimError as error:
            raise TokenRefused(f"the token has no {error.claim}") from None
        except jwt.PyJWKClientConnectionError:
            raise IssuerUnavailable(f"the keys of {self._url} cannot be fetched") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            # Their texts may repeat parts of the token.
            raise TokenRefused("the token cannot be verified") from None
        self._require_ours(claims)
        access = claims.get("realm_access")
        roles = access.get("roles") if isinstance(access, dict) else None
        name = claims.get("preferred_username") or claims.get("sub") or "unnamed"
        return Identity(
            name=str(name)[:100],
            is_admin=isinstance(roles, list) and self._admin_role in roles,
            expires_at=float(claims["exp"]),
        )

    def _require_ours(self, claims: dict[str, Any]) -> None:
        """Raise unless a token, whose signature was checked, is of the issuer and for us; says what is missing."""
        issuer, audience, party = claims.get("iss"), claims.get("aud"), claims.get("azp")
        if issuer != self._url:
            raise TokenRefused(f"the token's iss is {_shown(issuer)}, and HEIMDALL_OIDC_ISSUER_URL is {self._url!r}")
        named = audience if isinstance(audience, list) else [audience]
        is_for_us = self._audience is not None and self._audience in named
        if is_for_us or (isinstance(party, str) and party in self._parties):
            return
        needed = []
        if self._audience is not None:
            needed.append(f"{self._audience!r} in aud (in Keycloak an audience mapper of the client adds it)")
        if self._parties:
            needed.append(f"an azp of {', '.join(map(repr, sorted(self._parties)))}")
        else:
            needed.append("HEIMDALL_OIDC_AUTHORIZED_PARTIES with its azp")
        raise TokenRefused(
            f"the token's aud is {_shown(audience)} and its azp {_shown(party)}: needed is {', or '.join(needed)}"
        )

    def _keys(self) -> jwt.PyJWKClient:
        with self._guard:
            if self._client is None:
                self._client = jwt.PyJWKClient(self._address_of_keys(), timeout=int(TIMEOUT_S))
            return self._client

    def _address_of_keys(self) -> str:
        if self._keys_url is not None:
            return self._keys_url
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


def _shown(claim: object) -> str:
    """A claim's value for a message; it may be long."""
    return "missing" if claim is None else repr(claim)[:100]
