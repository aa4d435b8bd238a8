"""Logging in with a token: a page with one field, and a cookie that scripts cannot read."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from heimdall_assets.web.auth import COOKIE, Guard, require_same_origin
from heimdall_assets.web.gate import client_address
from heimdall_assets.web.rendering import page

SEE_OTHER = 303


class LogInFirst(Exception):
    """A page was asked for without a log-in."""


def login_page(target: str = "/", *, code: int = 200, detail: str | None = None) -> HTMLResponse:
    """The page that asks for the token."""
    return page("login.html", status=code, target=target, detail=detail)


def own_path(text: str) -> str:
    """A path of this server to go to after the log-in; anything else is the dashboard."""
    parts = urlsplit(text)
    is_own = text.startswith("/") and not text.startswith(("//", "/\\")) and not (parts.scheme or parts.netloc)
    return text if is_own and text.isprintable() else "/"


def login_router(guard: Guard) -> APIRouter:
    """``/login`` and ``/logout``."""
    router = APIRouter(include_in_schema=False)

    @router.get("/login")
    def ask(to: str = "/") -> HTMLResponse:
        return login_page(own_path(to))

    @router.post("/login")
    async def log_in(request: Request) -> Response:
        require_same_origin(request, must_tell=False)
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        token, target = form.get("token", [""])[0].strip(), own_path(form.get("to", ["/"])[0])
        try:
            caller = await run_in_threadpool(guard.caller_of, token, client_address(request.scope))
        except HTTPException as error:
            if error.status_code == 401 or not token:
                return login_page(target, code=401, detail="That is not a valid token.")
            raise
        content, seconds = guard.cookie(caller)
        answer = RedirectResponse(target, SEE_OTHER)
        answer.set_cookie(
            COOKIE, content, max_age=seconds, httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )
        return answer

    @router.post("/logout")
    def log_out(request: Request) -> Response:
        require_same_origin(request, must_tell=True)
        answer = RedirectResponse("/login", SEE_OTHER)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return answer

    return router
