"""Who may ask: the token, an identity provider's tokens, a log-in's cookie; and who may not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from heimdall_assets.web.login import own_path
from heimdall_assets.web.tasks import PREFIX
from heimdall_assets_tests.web.client import Client
from heimdall_assets_tests.web.server import TOKEN, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.web.conftest import IdentityProvider

STATS = f"{PREFIX}/stats"
BACKFILL = f"{PREFIX}/backfill-all"
CALLS = (("GET", STATS), ("POST", BACKFILL), ("POST", f"{PREFIX}/batch-extract"), ("GET", f"{PREFIX}/tasks/x"))


@contextmanager
def with_provider(settings: Settings, provider: IdentityProvider) -> Iterator[str]:
    """The application, told of the provider; its address."""
    update = {"oidc_issuer_url": provider.url, "oidc_audience": provider.AUDIENCE}
    with serving(settings.model_copy(update=update)) as address:
        yield address


def test_no_call_is_answered_without_the_token_or_with_another(api: Client) -> None:
    tokens = (None, "", "wrong", TOKEN[:-1], f"{TOKEN}x", "a.b.c")
    for (method, path), token in itertools.product(CALLS, tokens):
        answer = Client(api.address, token).ask(method, path)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert list(answer.document) == ["detail"]
        assert TOKEN not in answer.text
    assert Client(api.address).get(STATS, Authorization=f"Basic {TOKEN}").status == 401


def test_tokens_of_the_provider_admit_its_administrators(web_settings: Settings, provider: IdentityProvider) -> None:
    with with_provider(web_settings, provider) as address:
        assert Client(address, provider.token()).get(STATS).status == 200
        assert Client(address, provider.token(aud=["account", provider.AUDIENCE])).get(STATS).status == 200
        assert Client(address, TOKEN).get(STATS).status == 200
        for roles in ((), ("viewer", "administrator")):
            answer = Client(address, provider.token(roles=roles)).get(STATS)
            assert (answer.status, answer.document["detail"]) == (403, "the token lacks the administrator's role")
        for access in (None, "admin", {"roles": "admin"}):
            assert Client(address, provider.token(realm_access=access)).get(STATS).status == 403


def test_every_other_token_is_refused(web_settings: Settings, provider: IdentityProvider) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = provider.private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = jwt.decode(provider.token(), options={"verify_signature": False})
    head, _, signature = provider.token().rpartition(".")
    refused = {
        "expired": provider.token(exp=time.time() - 60),
        "without an expiry": provider.token(exp=None),
        "of another issuer": provider.token(iss="http://127.0.0.1/realms/other"),
        "without an issuer": provider.token(iss=None),
        "for another audience": provider.token(aud="account"),
        "without an audience": provider.token(aud=None),
        "for another client": provider.token(aud="account", azp="frontend"),
        "not valid yet": provider.token(nbf=time.time() + 600),
        "of another key": provider.token(key=stranger),
        "of another kind of key": provider.token(key=ec.generate_private_key(ec.SECP256R1()), algorithm="ES256"),
        "unsigned": jwt.encode(claims, "", algorithm="none", headers={"kid": "one"}),
        # the classic: the public key as a shared secret
        "signed with the public key": _hmac_signed(claims, public),
        "of an unknown key": jwt.encode(claims, provider.private_key, algorithm="RS256", headers={"kid": "two"}),
        "with a changed signature": f"{head}.{signature[:-6]}AAAAAA",
        "too long": provider.token(padding="x" * 20_000),
    }
    with with_provider(web_settings.model_copy(update={"login_rate_limit": "100/minute"}), provider) as address:
        for what, token in refused.items():
            answer = Client(address, token).get(STATS)
            assert answer.status == 401, what
            assert token not in answer.text
        answers = {
            what: Client(address, refused[what]).get(STATS).document["detail"] for what in ("expired", "unsigned")
        }
    assert answers == {
        "expired": "the token has expired",
        "unsigned": "the token is not signed by an allowed algorithm",
    }


def test_a_token_without_an_audience_is_accepted_of_an_allowed_client_and_no_other(
    web_settings: Settings, provider: IdentityProvider
) -> None:
    for audience in (None, provider.AUDIENCE):
        update = {
            "oidc_issuer_url": provider.url,
            "oidc_audience": audience,
            "oidc_authorized_parties": ("frontend", "scripts"),
        }
        with serving(web_settings.model_copy(update=update)) as address:
            accepted: tuple[dict[str, Any], ...] = (
                {"aud": None, "azp": "scripts"},
                {"aud": "account", "azp": "frontend"},
            )
            for claims in accepted:
                assert Client(address, provider.token(**claims)).get(STATS).status == 200
            refused: tuple[dict[str, Any], ...] = (
                {"aud": None},
                {"aud": "frontend"},
                {"aud": None, "azp": "other"},
                {"aud": None, "azp": ["frontend"]},
                {"aud": None, "azp": None, "client_id": "frontend"},
            )
            for claims in refused:
                answer = Client(address, provider.token(**claims)).get(STATS)
                assert answer.status == 401
                assert "an azp of 'frontend', 'scripts'" in answer.document["detail"]
            status = Client(address, provider.token()).get(STATS).status
            assert status == (401 if audience is None else 200)


def test_a_refusal_says_what_is_missing(web_settings: Settings, provider: IdentityProvider) -> None:
    with with_provider(web_settings, provider) as address:
        wrong: dict[str, dict[str, Any]] = {
            "aud": {"aud": None, "azp": "frontend"},
            "iss": {"iss": "http://elsewhere/realms/heimdall"},
            "exp": {"exp": None},
        }
        said = {
            what: Client(address, provider.token(**claims)).get(STATS).document["detail"]
            for what, claims in wrong.items()
        }
    assert said["aud"].startswith("the token's aud is missing and its azp 'frontend': needed is 'heimdall' in aud")
    assert said["aud"].endswith("or HEIMDALL_OIDC_AUTHORIZED_PARTIES with its azp")
    assert said["iss"] == (
        f"the token's iss is 'http://elsewhere/realms/heimdall', and HEIMDALL_OIDC_ISSUER_URL is '{provider.url}'"
    )
    assert said["exp"] == "the token has no exp"


def test_keys_may_have_an_address_of_their_own(web_settings: Settings, provider: IdentityProvider) -> None:
    seen_from_outside = "https://login.example/realms/heimdall"
    provider.documents.pop("/realms/heimdall/.well-known/openid-configuration")
    update = {
        "oidc_issuer_url": seen_from_outside,
        "oidc_audience": provider.AUDIENCE,
        "oidc_jwks_url": f"{provider.url}/certs",
    }
    with serving(web_settings.model_copy(update=update)) as address:
        assert Client(address, provider.token(iss=seen_from_outside)).get(STATS).status == 200
        assert Client(address, provider.token()).get(STATS).status == 401


PAGE = "https://heimdall.example"


def test_pages_of_allowed_origins_may_call_with_a_token_and_no_others(web_settings: Settings) -> None:
    wish = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    with serving(web_settings.model_copy(update={"cors_origins": (PAGE,)})) as address:
        first = Client(address, headers={**wish, "Origin": PAGE}).ask("OPTIONS", BACKFILL)
        assert (first.status, first.headers["access-control-allow-origin"]) == (200, PAGE)
        assert "access-control-allow-credentials" not in first.headers
        for token, status in ((TOKEN, 200), ("wrong", 401)):
            answer = Client(address, token).get(STATS, Origin=PAGE)
            assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, PAGE)
        stranger = Client(address, headers={**wish, "Origin": "https://evil.example"}).ask("OPTIONS", BACKFILL)
        assert stranger.status == 400
        assert (
            "access-control-allow-origin"
            not in Client(address, TOKEN).get(STATS, Origin="https://evil.example").headers
        )


def test_without_the_setting_no_page_of_another_origin_is_allowed(api: Client) -> None:
    assert "access-control-allow-origin" not in api.get(STATS, Origin=PAGE).headers
    wish = {"Access-Control-Request-Method": "POST"}
    assert (
        "access-control-allow-origin"
        not in Client(api.address, headers={**wish, "Origin": PAGE}).ask("OPTIONS", BACKFILL).headers
    )


def _hmac_signed(claims: dict[str, object], secret: bytes) -> str:
    """A token signed with HS256, which PyJWT itself refuses to do with a public key."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "typ": "JWT", "kid": "one"}, claims)
    ]
    signature = hmac.new(secret, b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def test_while_the_provider_is_away_its_tokens_are_503_and_work_again_afterwards(
    web_settings: Settings, provider: IdentityProvider
) -> None:
    token = provider.token()
    kept = dict(provider.documents)
    provider.documents.clear()
    with with_provider(web_settings, provider) as address:
        answer = Client(address, token).get(STATS)
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert token not in answer.text
        assert Client(address, TOKEN).get(STATS).status == 200
        provider.documents.update(kept)
        assert Client(address, token).get(STATS).status == 200


def test_a_discovery_document_of_another_issuer_is_not_believed(
    web_settings: Settings, provider: IdentityProvider
) -> None:
    provider.documents["/realms/heimdall/.well-known/openid-configuration"]["issuer"] = "http://127.0.0.1/other"
    with with_provider(web_settings, provider) as address:
        assert Client(address, provider.token()).get(STATS).status == 503


def test_logging_in_gives_a_cookie_that_only_this_server_reads(api: Client) -> None:
    browser = Client(api.address)
    answer = browser.log_in(TOKEN, to="/failures")
    assert (answer.status, answer.headers["location"]) == (303, "/failures")
    cookie = answer.headers["set-cookie"]
    for attribute in ("HttpOnly", "SameSite=strict", "Path=/"):
        assert attribute in cookie
    assert "Secure" not in cookie  # plain http
    assert TOKEN not in cookie
    pair = cookie.partition(";")[0]
    assert browser.get(STATS, Cookie=pair).status == 200
    content, _, signature = pair.partition("=")[2].rpartition(".")
    forged = content.replace(content.partition(".")[0], "99999999999")
    for other in (f"{forged}.{signature}", f"{content}.{signature[:-1]}0x", content, "", "."):
        assert browser.get(STATS, Cookie=f"heimdall_session={other}").status == 401


def test_the_cookie_is_secure_behind_https(api: Client) -> None:
    browser = Client(api.address, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in browser.log_in(TOKEN).headers["set-cookie"]


def test_a_wrong_token_logs_nobody_in(api: Client) -> None:
    for token in ("wrong", ""):
        answer = Client(api.address).log_in(token)
        assert answer.status == 401
        assert "not a valid token" in answer.text
        assert "set-cookie" not in answer.headers


def test_a_log_in_lasts_no_longer_than_the_providers_token(web_settings: Settings, provider: IdentityProvider) -> None:
    with with_provider(web_settings, provider) as address:
        browser = Client(address)
        cookie = browser.log_in(provider.token(exp=time.time() + 100)).headers["set-cookie"]
        max_age = int(cookie.partition("Max-Age=")[2].partition(";")[0])
        assert 90 <= max_age <= 100
        # within the leeway of the clocks, but over
        cookie = browser.log_in(provider.token(exp=time.time() - 5)).headers["set-cookie"]
        assert browser.get(STATS, Cookie=cookie.partition(";")[0]).status == 401
        assert browser.log_in(provider.token(roles=())).status == 403


def test_a_cookie_changes_something_only_for_our_own_pages(api: Client) -> None:
    browser = Client(api.address)
    pair = browser.log_in(TOKEN).headers["set-cookie"].partition(";")[0]
    foreign: tuple[dict[str, str], ...] = (
        {},  # every browser tells
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Origin": api.address},
    )
    for headers in foreign:
        assert browser.post(BACKFILL, Cookie=pair, **headers).status == 403
    assert browser.post(BACKFILL, Cookie=pair, Origin=api.address).status == 200
    assert browser.post(BACKFILL, Cookie=pair, Sec_Fetch_Site="same-origin").status == 200
    # scripts with the token in a header have no cookie that another site could use
    assert api.post(BACKFILL).status == 200


def test_logging_out_takes_the_cookie_away(api: Client) -> None:
    answer = Client(api.address).post("/logout", Origin=api.address)
    assert (answer.status, answer.headers["location"]) == (303, "/login")
    assert 'heimdall_session=""' in answer.headers["set-cookie"]
    assert Client(api.address).post("/logout", Origin="http://evil.example").status == 403


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/failures?reason=truncated", "/failures?reason=truncated"),
        ("//evil.example/x", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nSet-Cookie: x=1", "/"),
        ("", "/"),
    ],
)
def test_a_log_in_leads_only_to_this_server(given: str, path: str) -> None:
    assert own_path(given) == path


def test_guessing_is_slow_and_the_time_to_wait_is_said(web_settings: Settings) -> None:
    with serving(web_settings.model_copy(update={"login_rate_limit": "3/minute"})) as address:
        codes = [Client(address, "wrong").get(STATS).status for _ in range(4)]
        assert codes == [401, 401, 401, 429]
        answer = Client(address, TOKEN).get(STATS)
        assert answer.status == 429
        assert 0 < int(answer.headers["retry-after"]) <= 61
        assert Client(address).log_in("wrong").status == 429
        assert Client(address).get("/health/live").status == 200


def test_too_many_requests_are_429_but_monitors_may_always_ask(web_settings: Settings) -> None:
    with serving(web_settings.model_copy(update={"api_rate_limit": "2/minute"})) as address:
        asked = [Client(address, TOKEN).get(STATS) for _ in range(3)]
        assert [answer.status for answer in asked] == [200, 200, 429]
        assert 0 < int(asked[-1].headers["retry-after"]) <= 61
        assert "too many requests" in asked[-1].document["detail"]
        assert Client(address).get("/health/live").status == 200
