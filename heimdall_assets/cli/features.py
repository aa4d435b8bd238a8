"""`heimdall features`: what every feature means, from the registry that computes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from heimdall_assets.cli.console import DebugOption, JsonOption, out, print_json, reporting
from heimdall_assets.dsp import FEATURES, REFERENCES, Feature

if TYPE_CHECKING:
    from collections.abc import Iterator

INTRODUCTION = """\
# The features

Every feature is computed a chunk of the recording (200 ms by default), then aggregated over the chunks as mean, std
(population), min and max. Chunks where it is undefined are left out; where all are, the four are null, and the notes
beside the features say why. Frequencies are offsets from the centre frequency. This page is what
`heimdall features --markdown` prints, from the registry in `heimdall_assets/dsp/features.py`."""


def features(
    markdown: Annotated[bool, typer.Option("--markdown", help="The page docs/features.md.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List every feature: unit, definition, how it is estimated, source, and when it is null.

    Example: heimdall features
    """
    with reporting(as_json=as_json, debug=debug):
        if as_json:
            print_json(
                [
                    {
                        "name": feature.name,
                        "unit": feature.unit,
                        "description": feature.description,
                        "estimator": feature.estimator,
                        "source": feature.source,
                        "null_when": feature.null_when or None,
                    }
                    for feature in FEATURES
                ]
            )
        else:
            for line in _page() if markdown else _text():
                out.print(line, markup=False)


def _page() -> Iterator[str]:
    yield f"{INTRODUCTION}\n"
    yield "| feature | unit | definition | estimator | source | null when |\n|---|---|---|---|---|---|"
    for feature in FEATURES:
        cells = (feature.unit or "-", feature.description, feature.estimator, feature.source, _null_when(feature))
        yield "| " + " | ".join([f"`{feature.name}`", *(cell.replace("|", "\\|") for cell in cells)]) + " |"
    yield "\n## References\n"
    for name, work in REFERENCES.items():
        yield f"- **{name}**: {work}"


def _text() -> Iterator[str]:
    for feature in FEATURES:
        yield f"{feature.name}{f' in {feature.unit}' if feature.unit else ''}"
        yield f"  {feature.description}"
        yield f"  estimator  {feature.estimator}"
        yield f"  source     {feature.source}"
        yield f"  null       {_null_when(feature)}"
    yield "references"
    for name, work in REFERENCES.items():
        yield f"  {name}: {work}"


def _null_when(feature: Feature) -> str:
    return feature.null_when or "never"
