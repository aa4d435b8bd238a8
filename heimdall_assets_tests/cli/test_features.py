"""`heimdall features`: the registry in words, and the page that is made of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from heimdall_assets.cli.app import app
from heimdall_assets.dsp import FEATURES, REFERENCES

PAGE = Path(__file__).parents[2] / "docs" / "features.md"


def printed(*options: str) -> str:
    result = CliRunner().invoke(app, ["features", *options])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_the_page_in_docs_is_what_the_command_prints() -> None:
    assert PAGE.read_text(encoding="utf-8") == printed("--markdown"), "heimdall features --markdown > docs/features.md"


def test_the_page_is_a_table_of_six_columns_with_a_row_a_feature() -> None:
    rows = [line for line in printed("--markdown").splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [feature.name for feature in FEATURES]
    assert {row.replace("\\|", "").count("|") for row in rows} == {7}


def test_json_has_an_object_a_feature_with_null_where_it_is_never_null() -> None:
    documents = json.loads(printed("--json"))
    assert [document["name"] for document in documents] == [feature.name for feature in FEATURES]
    for document, feature in zip(documents, FEATURES, strict=True):
        assert list(document) == ["name", "unit", "description", "estimator", "source", "null_when"]
        assert (document["description"], document["source"]) == (feature.description, feature.source)
        assert document["null_when"] == (feature.null_when or None)


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_for_people_every_feature_has_its_unit_definition_and_reason_for_null(feature: object) -> None:
    text = printed()
    for name in ("name", "unit", "description", "estimator", "source", "null_when"):
        assert getattr(feature, name) in text


def test_every_reference_is_printed() -> None:
    text, page = printed(), printed("--markdown")
    assert all(work in text and work in page for work in REFERENCES.values())
