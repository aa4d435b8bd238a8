"""`heimdall compare`: features that other code wrote beside what is computed now, before anybody replaces them."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from heimdall_assets.cli.console import DebugOption, JsonOption, err, out, print_json, reporting
from heimdall_assets.cli.database import connected
from heimdall_assets.db import foreign
from heimdall_assets.db.engine import transaction
from heimdall_assets.errors import HeimdallError, SettingError
from heimdall_assets.extraction.comparison import ReceiverPair, compare_feature, pairs_of
from heimdall_assets.extraction.recompute import compare_sessions
from heimdall_assets.settings import load_settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from heimdall_assets.extraction.comparison import FeatureComparison
    from heimdall_assets.records import FeaturePairs
    from heimdall_assets.settings import Settings

PICTURE_SUFFIXES = (".png", ".svg", ".pdf")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of a comparison.

    Attributes
    ----------
    sessions_found : int
        Completed sessions whose features other code wrote.
    sessions_compared : int
        Of the sample.
    sessions_unreadable : mapping
        Reason -> sessions of the sample that cannot be computed.
    receivers_unreadable : mapping
        The same of receivers, in sessions that can.
    receivers_unmatched : int
        Receivers that are in one of the two only.
    pairs : tuple of FeaturePairs
        A feature each, in the registry's order.
    """

    sessions_found: int
    sessions_compared: int
    sessions_unreadable: dict[str, int]
    receivers_unreadable: dict[str, int]
    receivers_unmatched: int
    pairs: tuple[FeaturePairs, ...]


def compare(
    sample: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many sessions.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Which ones: the same seed finds the same.")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Draw them into this PNG, SVG or PDF.")] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare features that other code wrote with what is computed now; nothing is stored.

    Example: heimdall compare --sample 50 -o comparison.png
    """
    with reporting(as_json=as_json, debug=debug):
        settings = load_settings()
        if output is not None:
            _require_drawable(output)
        with connected(settings) as engine:
            found = _compare(engine, settings, sample, seed)
        features = [compare_feature(pairs) for pairs in found.pairs]
        if output is not None:
            _draw(found, output)
        if as_json:
            print_json(_document(found, features, sample, seed))
        else:
            _print(found, features, sample)


def _compare(engine: Engine, settings: Settings, sample: int, seed: int) -> Comparison:
    with transaction(engine) as connection:
        sessions_found = foreign.count_foreign(connection)
        session_ids = foreign.sample_foreign(connection, sample, seed=seed)
    sessions: Counter[str] = Counter()
    receivers: Counter[str] = Counter()
    pairs: list[ReceiverPair] = []
    unmatched = 0
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=err,
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task("comparing", total=len(session_ids))
        for compared in compare_sessions(engine, session_ids, settings):
            bar.advance(task)
            if isinstance(compared, HeimdallError):
                sessions[compared.reason] += 1
                continue
            pairs.extend(compared.pairs)
            receivers.update(compared.failures)
            unmatched += compared.num_unmatched
    return Comparison(
        sessions_found,
        len(session_ids) - sessions.total(),
        dict(sessions.most_common()),
        dict(receivers.most_common()),
        unmatched,
        pairs_of(pairs),
    )


def _require_drawable(output: Path) -> None:
    if output.suffix.lower() not in PICTURE_SUFFIXES:
        raise SettingError(
            f"--output {str(output)!r} is not allowed: a file that ends in {', '.join(PICTURE_SUFFIXES)}"
        )
    if not output.parent.is_dir():
        raise SettingError(f"--output {str(output)!r} is not allowed: there is no folder {str(output.parent)!r}")


def _draw(found: Comparison, output: Path) -> None:
    from heimdall_assets.plots.canvas import save  # noqa: PLC0415  # who draws nothing does not pay for matplotlib
    from heimdall_assets.plots.comparison import comparison_figure  # noqa: PLC0415

    receivers = found.pairs[0].old.size
    figure = comparison_figure(found.pairs, f"{receivers} receivers of {found.sessions_compared} sessions")
    try:
        save(figure, output)
    except OSError as error:
        raise SettingError(f"--output {str(output)!r} cannot be written: {error.strerror or error}") from error


def _document(found: Comparison, features: list[FeatureComparison], sample: int, seed: int) -> dict[str, Any]:
    return {
        "sample": sample,
        "seed": seed,
        "sessions_found": found.sessions_found,
        "sessions_compared": found.sessions_compared,
        "sessions_unreadable": found.sessions_unreadable,
        "receivers_compared": found.pairs[0].old.size,
        "receivers_unreadable": found.receivers_unreadable,
        "receivers_unmatched": found.receivers_unmatched,
        "features": [
            {
                **asdict(feature),
                "worst": None
                if feature.worst is None
                else {**asdict(feature.worst), "difference": feature.worst.difference},
                "why": feature.why,
            }
            for feature in features
        ],
    }


def _print(found: Comparison, features: list[FeatureComparison], sample: int) -> None:
    if not found.sessions_found:
        out.print("No completed session has features that other code wrote: there is nothing to compare.")
        return
    receivers = found.pairs[0].old.size
    out.print(
        f"{receivers} receivers of {found.sessions_compared} sessions; {found.sessions_found} sessions have features "
        f"by other code, at most {sample} were asked for. Nothing was stored.",
        markup=False,
    )
    for what, reasons in (("sessions", found.sessions_unreadable), ("receivers", found.receivers_unreadable)):
        if reasons:
            said = ", ".join(f"{reason} {number}" for reason, number in reasons.items())
            out.print(f"{what} that cannot be computed now: {said}", markup=False)
    if found.receivers_unmatched:
        out.print(f"receivers that only one of the two has: {found.receivers_unmatched}", markup=False)
    if not receivers:
        return
    out.print(_figures_table(features))
    if any(feature.worst is not None and feature.differing for feature in features):
        out.print("\nLargest differences:")
        out.print(_worst_table(features))
    if any(feature.why for feature in features):
        out.print("\nWhy they differ:")
    for feature in features:
        if feature.why:
            out.print(f"  {feature.name}: {feature.why}", markup=False)


def _figures_table(features: list[FeatureComparison]) -> Table:
    table = Table(box=None)
    headings = ("unit", "differ", "old only", "new only", "median old", "new", "difference", "quartiles")
    for heading in ("feature", *headings):
        table.add_column(heading, justify="left" if heading in {"feature", "unit"} else "right", no_wrap=True)
    for each in features:
        counts = map(str, (each.differing, each.old_only, each.new_only))
        medians = map(_figure, (each.median_old, each.median_new))
        table.add_row(each.name, each.unit, *counts, *medians, *_differences(each))
    return table


def _differences(each: FeatureComparison) -> tuple[str, str]:
    """The differences' median and quartiles; what is left of equal figures is rounding, and not shown."""
    if not each.both:
        return "-", "-"
    if not each.differing:
        return "same", ""
    return _figure(each.median_difference), f"{_figure(each.lower_quartile)} .. {_figure(each.upper_quartile)}"


def _worst_table(features: list[FeatureComparison]) -> Table:
    table = Table(box=None)
    for heading in ("feature", "unit", "old", "new", "difference", "session", "receiver"):
        justify = "right" if heading in {"old", "new", "difference"} else "left"
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]  # a Literal to rich
    for feature in features:
        worst = feature.worst
        if worst is not None and feature.differing:
            figures = map(_figure, (worst.old, worst.new, worst.difference))
            table.add_row(feature.name, feature.unit, *figures, str(worst.session_id), worst.receiver)
    return table


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
