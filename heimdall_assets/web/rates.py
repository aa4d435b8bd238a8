"""How often a client may ask, and how often it may be wrong about the token."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from fastapi import HTTPException, status
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

if TYPE_CHECKING:
    from heimdall_assets.settings import Settings


class Rates:
    """Moving windows a client address, in this process's memory.

    Parameters
    ----------
    settings : Settings
        HEIMDALL_API_RATE_LIMIT and HEIMDALL_LOGIN_RATE_LIMIT.
    """

    def __init__(self, settings: Settings) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._requests = parse(settings.api_rate_limit)
        self._failures = parse(settings.login_rate_limit)

    def retry_after(self, address: str) -> int | None:
        """Count a request; seconds to wait where it is one too many, else None."""
        if self._limiter.hit(self._requests, "request", address):
            return None
        return self._wait_s(self._requests, "request", address)

    def require_trust(self, address: str) -> None:
        """Raise 429 for an address that gave too many wrong tokens: guessing must stay slow.

        Raises
        ------
        HTTPException
            429 with Retry-After.
        """
        if not self._limiter.test(self._failures, "failure", address):
            wait_s = self._wait_s(self._failures, "failure", address)
            raise HTTPException(
                status.HTTP_429_TOO_MANY_REQUESTS,
                f"too many wrong tokens from this address: try again in {wait_s} s",
                headers={"Retry-After": str(wait_s)},
            )

    def count_failure(self, address: str) -> None:
        """Remember that an address gave a wrong token."""
        self._limiter.hit(self._failures, "failure", address)

    def _wait_s(self, item: RateLimitItem, *keys: str) -> int:
        reset_time, _ = self._limiter.get_window_stats(item, *keys)
        return max(1, math.ceil(reset_time - time.time()))
