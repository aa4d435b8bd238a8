"""The application behind real HTTP, in this process; and an identity provider on this machine."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from heimdall_assets_tests.web.client import Client
from heimdall_assets_tests.web.server import TOKEN, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heimdall_assets.settings import Settings


@pytest.fixture
def web_settings(settings: Settings) -> Settings:
    """The test's settings with a known token."""
    return settings.model_copy(update={"admin_token": SecretStr(TOKEN)})


@pytest.fixture
def api(web_settings: Settings) -> Iterator[Client]:
    """The application on the test's database, asked with the token."""
    with serving(web_settings) as address:
        yield Client(address, TOKEN)


class IdentityProvider:
    """An issuer of tokens with a discovery document and public keys behind real HTTP."""

    AUDIENCE = "heimdall"

    def __init__(self) -> None:
        self.private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.documents: dict[str, Any] = {}
        handler = self._handler()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/realms/heimdall"
        self.documents["/realms/heimdall/.well-known/openid-configuration"] = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/certs",
        }
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self.private_key.public_key(), as_dict=True)
        self.documents["/realms/heimdall/certs"] = {"keys": [{**key, "kid": "one", "use": "sig", "alg": "RS256"}]}
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def token(
        self, *, key: Any = None, algorithm: str = "RS256", roles: tuple[str, ...] = ("admin",), **more: Any
    ) -> str:
        """A token of the issuer; claims that are None are left out."""
        claims = {
            "iss": self.url,
            "aud": self.AUDIENCE,
            "exp": time.time() + 300,
            "preferred_username": "ada",
            "realm_access": {"roles": list(roles)},
            **more,
        }
        kept = {name: value for name, value in claims.items() if value is not None}
        secret = self.private_key if key is None else key
        return jwt.encode(kept, secret, algorithm=algorithm, headers={"kid": "one"})

    def stop(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        documents = self.documents

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = documents.get(self.path)
                self.send_response(404 if found is None else 200)
                self.end_headers()
                self.wfile.write(json.dumps(found).encode())

            def log_message(self, *_args: Any) -> None:
                pass

        return Handler


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    """An identity provider."""
    running = IdentityProvider()
    yield running
    running.stop()
