"""Who may ask: with the admin token, a token of the identity provider, or a log-in's cookie."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import HTTPException, Request, Security, status
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from heimdall_assets.settings import Settings
from heimdall_assets.web.gate import client_address
from heimdall_assets.web.oidc import Identity, Issuer, IssuerUnavailable, TokenRefused
from heimdall_assets.web.rates import Rates
from heimdall_assets.web.tokens import admin_token

COOKIE = "heimdall_session"
SESSION_S = 12 * 3600
RETRY_AFTER_S = 10
READING = frozenset({"GET", "HEAD", "OPTIONS"})
_NEEDED = "a valid bearer token is needed in the Authorization header"

bearer = HTTPBearer(auto_error=False, description="The admin token, or a token of the identity provider.")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and until when that is known (seconds since 1970)."""

    name: str
    expires_at: float


class Guard:
    """Tells who asks, or refuses; as a FastAPI dependency it admits administrators only.

    Parameters
    ----------
    settings : Settings
        Token and issuer.
    rates : Rates
        How often an address may be wrong.
    """

    def __init__(self, settings: Settings, rates: Rates) -> None:
        self._token = admin_token(settings)
        self._issuer = Issuer.of(settings)
        self._rates = rates

    def __call__(
        self, request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]
    ) -> None:
        """Let a request pass and leave its caller in ``request.state.caller``.

        Raises
        ------
        HTTPException
            401 without a token or with a wrong one, 403 without the admin role or from a foreign page, 429 after too
            many wrong ones, 503 while the issuer is away.
        """
        if given is None and COOKIE in request.cookies:
            caller = self.caller_of_cookie(request)
            if caller is not None:
                if request.method not in READING:
                    require_same_origin(request, must_tell=True)
                request.state.caller = caller
                return
        request.state.caller = self.caller_of(given.credentials if given else "", client_address(request.scope))

    def caller_of(self, token: str, address: str) -> Caller:
        """Who a token speaks for; compared in constant time.

        Raises
        ------
        HTTPException
            See :meth:`__call__`.
        """
        if not token:
            raise _unauthorized(_NEEDED)
        self._rates.require_trust(address)
        if hmac.compare_digest(token.encode(), self._token.encode()):
            return Caller("token", time.time() + SESSION_S)
        try:
            identity = self._identify(token)
        except TokenRefused as error:
            self._rates.count_failure(address)
            raise _unauthorized(error.message) from None
        except IssuerUnavailable as error:
            raise HTTPException(
                status.HTTP_503_SERVICE_UNAVAILABLE, error.message, headers={"Retry-After": str(RETRY_AFTER_S)}
            ) from None
        if not identity.is_admin:
            raise HTTPException(status.HTTP_403_FORBIDDEN, "the token lacks the administrator's role")
        return Caller(identity.name, identity.expires_at)

    def _identify(self, token: str) -> Identity:
        if self._issuer is None or token.count(".") != 2:
            raise TokenRefused(_NEEDED)
        return self._issuer.identify(token)

    def cookie(self, caller: Caller) -> tuple[str, int]:
        """A log-in's cookie and the seconds that it is good for; changing the admin token ends it."""
        expires_at = int(min(caller.expires_at, time.time() + SESSION_S))
        name = caller.name.encode().hex()
        return f"{expires_at}.{name}.{self._signature(f'{expires_at}.{name}')}", expires_at - int(time.time())

    def caller_of_cookie(self, request: Request) -> Caller | None:
        """Who logged in; None without a cookie, or with one that is not ours or has expired."""
        content, _, signature = request.cookies.get(COOKIE, "").rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(content).encode()):
            return None
        expires_at, _, name = content.partition(".")
        if int(expires_at) <= time.time():
            return None
        return Caller(bytes.fromhex(name).decode(), float(expires_at))

    def _signature(self, text: str) -> str:
        return hmac.new(self._token.encode(), f"{COOKIE}:{text}".encode(), hashlib.sha256).hexdigest()


def require_same_origin(request: Request, *, must_tell: bool) -> None:
    """Raise 403 where a page of another site sent the request.

    Parameters
    ----------
    request : Request
        With the headers that browsers set and pages cannot.
    must_tell : bool
        True where a request that does not say where it comes from is refused too: every browser says so.

    Raises
    ------
    HTTPException
        403.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        is_ours = site in {"same-origin", "none"}
    elif origin is not None:
        is_ours = origin.partition("://")[2] == request.headers.get("host")
    else:
        is_ours = not must_tell
    if not is_ours:
        raise HTTPException(status.HTTP_403_FORBIDDEN, "the request comes from another site")


def _unauthorized(detail: str) -> HTTPException:
    return HTTPException(status.HTTP_401_UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})
