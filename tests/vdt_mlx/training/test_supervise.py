"""A training that dies is started again, one that was ended is not; a Mac stays awake."""

import random
import signal
import subprocess
import sys

import pytest

from vdt_mlx.training import supervise

DIES = """
import os, sys
path, ends = sys.argv[1], sys.argv[2:]
count = int(open(path).read() or 0) if os.path.exists(path) else 0
open(path, "w").write(str(count + 1))
end = ends[min(count, len(ends) - 1)]
if end.startswith("-"):
    os.kill(os.getpid(), -int(end))
sys.exit(int(end))
"""


def times(path) -> int:
    return int(path.read_text())


def command(path, *ends):
    return lambda: [sys.executable, "-c", DIES, str(path), *map(str, ends)]


def test_a_run_that_kills_itself_at_random_is_finished(tmp_path, capfd):
    rng = random.Random(0)
    ends = [rng.choice([-signal.SIGKILL, -signal.SIGABRT, 1]) for _ in range(4)]
    assert supervise.supervised(command(tmp_path / "count", *ends, 0), 5, pause=0.0) == 0
    assert times(tmp_path / "count") == 5
    told = capfd.readouterr().err
    assert told.count("started again") == 4 and "(4 of 5)" in told and "SIGKILL" in told


@pytest.mark.parametrize("status", [0, 2, 130, 143])
def test_what_was_done_refused_or_ended_is_not_started_again(tmp_path, status):
    assert supervise.supervised(command(tmp_path / "count", status), 3, pause=0.0) == status
    assert times(tmp_path / "count") == 1


def test_it_gives_up_after_the_stated_number(tmp_path):
    assert supervise.supervised(command(tmp_path / "count", -signal.SIGKILL), 2, pause=0.0) == 128 + signal.SIGKILL
    assert times(tmp_path / "count") == 3


def test_a_restart_resumes_with_what_is_left_of_its_hours():
    words = ["train", "vdt", "--out", "run", "--init", "old", "--restarts", "3", "--hours=8", "--set", "loop.batch=8"]
    assert supervise.again(words, False, 0.0) == [w for w in words if w not in ("--restarts", "3")]
    left = ["train", "vdt", "--out", "run", "--hours", "5.5000", "--set", "loop.batch=8", "--resume"]
    assert supervise.again(words, True, 2.5) == left
    assert supervise.again([*left, "--restarts=1"], True, 9.0)[5:] == ["0.0000", "--set", "loop.batch=8", "--resume"]


def test_a_mac_stays_awake_while_it_trains(monkeypatch):
    begun = []

    class Process:
        def __init__(self, command):
            begun.append(command)

        def terminate(self):
            begun.append("ended")

        def wait(self):
            return 0

    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.setattr(supervise.shutil, "which", lambda name: f"/usr/bin/{name}")
    with supervise.awake() as kept:
        assert (not kept and begun == []) or sys.platform == "darwin"
    begun.clear()
    monkeypatch.setattr(sys, "platform", "darwin")
    with supervise.awake() as kept:
        assert kept and begun[0][:2] == ["caffeinate", "-i"]
    assert begun[1] == "ended"
    with supervise.awake(False) as kept:
        assert not kept
