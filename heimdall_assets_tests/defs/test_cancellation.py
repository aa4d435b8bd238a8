"""A run that somebody cancels stops, and the process goes on."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest
from dagster import DagsterExecutionInterruptedError, DagsterRunStatus
from dagster._utils.interrupts import raise_interrupts_as

from heimdall_assets.defs import cancellation
from heimdall_assets.defs.cancellation import stoppable

if TYPE_CHECKING:
    from heimdall_assets_tests.defs.conftest import Dagster


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often."""
    monkeypatch.setattr(cancellation, "POLL_S", 0.05)


def carry_out_until_stopped(dagster: Dagster, run_id: str) -> None:
    """What Dagster does around a step: it raises an interrupt at once."""
    with stoppable(dagster.instance, run_id), raise_interrupts_as(DagsterExecutionInterruptedError):
        threading.Event().wait(20)
        pytest.fail("nothing stopped it")


@pytest.mark.parametrize("status", [DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED, DagsterRunStatus.FAILURE])
def test_a_run_that_is_cancelled_or_was_given_up_is_interrupted_and_signals_mean_what_they_meant(
    dagster: Dagster, status: DagsterRunStatus
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run = dagster.add_run(status)
    with pytest.raises(DagsterExecutionInterruptedError):
        carry_out_until_stopped(dagster, run.run_id)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_run_that_goes_on_is_left_alone(dagster: Dagster) -> None:
    run = dagster.add_run(DagsterRunStatus.STARTED)
    with stoppable(dagster.instance, run.run_id), raise_interrupts_as(DagsterExecutionInterruptedError):
        looks = [thread for thread in threading.enumerate() if thread.name == f"watch {run.run_id}"]
        looks[0].join(0.5)
    assert len(looks) == 1
    assert not looks[0].is_alive()
