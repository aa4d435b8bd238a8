"""The API's own documentation: ``/openapi.json`` as a page that loads nothing from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from heimdall_assets.web.problems import REFUSALS
from heimdall_assets.web.rendering import page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI


def reference_router(app: FastAPI) -> APIRouter:
    """``/docs``."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    def reference() -> HTMLResponse:
        document = app.openapi()
        refusals = {code: refusal["description"] for code, refusal in REFUSALS.items()}
        return page("reference.html", calls=described_calls(document), refusals=refusals)

    return router


def described_calls(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every call of an OpenAPI document with its parameters and answers, references resolved.

    What every call with a token may be refused for is left out: the page says it once.
    """
    return [
        {
            "method": method.upper(),
            "path": path,
            "summary": call.get("summary", ""),
            "description": call.get("description", ""),
            "needs_token": bool(call.get("security")),
            "fields": [*_parameters(call), *_body(document, call)],
            "answers": [
                {"code": code, "meaning": answer.get("description", ""), "names": _names(document, answer)}
                for code, answer in sorted(call.get("responses", {}).items())
                if not (call.get("security") and int(code) in REFUSALS)
            ],
        }
        for path, calls in document["paths"].items()
        for method, call in calls.items()
    ]


def _parameters(call: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {"name": item["name"], "where": item["in"], "allowed": _allowed(item["schema"]), "meaning": _meaning(item)}
        for item in call.get("parameters", [])
    ]


def _body(document: Mapping[str, Any], call: Mapping[str, Any]) -> list[dict[str, str]]:
    content = call.get("requestBody", {}).get("content", {}).get("application/json", {})
    return [
        {"name": name, "where": "body", "allowed": _allowed(schema), "meaning": schema.get("description", "")}
        for model in _models(document, content.get("schema", {}))
        for name, schema in model.get("properties", {}).items()
    ]


def _names(document: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    return [", ".join(model["properties"]) for model in _models(document, schema) if "properties" in model]


def _models(document: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if "anyOf" in schema:
        return [model for option in schema["anyOf"] for model in _models(document, option)]
    name = schema.get("$ref", "").rpartition("/")[2]
    return [document["components"]["schemas"][name]] if name else []


def _allowed(schema: Mapping[str, Any]) -> str:
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    option = options[0] if options else {}
    kind = option.get("format") or option.get("type", "")
    low, high = option.get("minimum"), option.get("maximum")
    if "enum" in option:
        return ", ".join(map(str, option["enum"]))
    return f"{kind} {low:g} to {high:g}" if low is not None and high is not None else str(kind)


def _meaning(parameter: Mapping[str, Any]) -> str:
    return str(parameter.get("description") or parameter["schema"].get("description", ""))
