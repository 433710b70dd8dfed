"""`selftest --train`: times as people write them, the arithmetic of its numbers, and a run that dies."""

import os
import signal
import sys

import click
import pytest

from vdt_mlx.commands import selftest_train as training


@pytest.mark.parametrize(("said", "seconds"), [("90s", 90), ("2m", 120), ("1.5h", 5400), (" 2 M ", 120)])
def test_times(said: str, seconds: float) -> None:
    assert training.Duration().convert(said, None, None) == seconds


@pytest.mark.parametrize("said", ["", "2", "m", "-2m", "0s", "25h", "2 minutes", "nan s"])
def test_what_is_no_time(said: str) -> None:
    with pytest.raises(click.BadParameter, match="no time such as 90s"):
        training.Duration().convert(said, None, None)


def test_rate() -> None:
    slow = [{"loss": 3.0 - i, "seconds": 10.0} for i in range(training.WARM_UP)]
    steady = [{"loss": 0.5, "seconds": 2.0}] * 4
    found = training.rate(slow + steady, batch=16, clips=8 * 3600)
    assert found["clips_per_second"] == 8  # the steps in which kernels are compiled do not count
    assert found["hours_to_shipped"] == 1
    assert (found["first_loss"], found["last_loss"], found["steps"]) == (3.0, 0.5, training.WARM_UP + 4)


def test_too_short_a_run_has_no_rate() -> None:
    assert "give it more time" in training.rate([{"loss": 1.0, "seconds": 1.0}], 16, 100)["failed"]


def test_clips_behind_a_checkpoint() -> None:
    run = {
        "steps": 10,
        "config": {"loop": {"batch": 4}},
        "earlier": [{"steps": 5, "batch": 8}, {"steps": 1, "batch": None}],
    }
    assert training.clips_behind(run) == 80
    assert training.clips_behind({}) == 0


def test_a_process_that_is_killed_is_reported(monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", os.path.realpath("/bin/sh"))
    assert training.in_a_process(1.0) == {"failed": "the process that trained ended with status 2"}
    killed = training.subprocess.CompletedProcess([], -signal.SIGKILL, "")
    monkeypatch.setattr(training.subprocess, "run", lambda *_, **__: killed)
    assert training.in_a_process(1.0) == {"failed": "the process that trained ended with signal 9"}


def test_a_process_reports_its_last_line(monkeypatch) -> None:
    seen = {}

    def run(command, env, **_):
        seen.update(env)
        return training.subprocess.CompletedProcess(command, 0, 'chatter\n{"clips_per_second": 3}\n')

    monkeypatch.setattr(training.subprocess, "run", run)
    assert training.in_a_process(1.0, "cpu") == {"clips_per_second": 3}
    assert seen["VDT_DEVICE"] == "cpu"
