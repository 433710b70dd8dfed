"""The stream's order and bytes do not depend on workers or on where it begins."""

import os
import signal
from itertools import islice
from typing import Any

import pytest

import physics_sim
from physics_sim.errors import SimulationError
from physics_sim.streaming import in_order

NAMES = ("collide", "uniform", "contain")


def test_positions_take_turns_and_any_can_be_the_first() -> None:
    clips = list(islice(physics_sim.stream(NAMES, "train", seed=3), 9))
    assert [(clip.scenario, clip.index) for clip in clips] == [(NAMES[p % 3], p // 3) for p in range(9)]
    later = list(islice(physics_sim.stream(NAMES, "train", seed=3, start=5), 4))
    for clip, same in zip(later, clips[5:], strict=True):
        assert (clip.frames == same.frames).all() and clip.metadata() == same.metadata()
    assert clips[0].seed == 3 and next(physics_sim.stream("uniform", "val", size=32)).frames.shape == (16, 32, 32, 3)


def test_a_name_given_twice_has_two_clips_a_turn() -> None:
    names = ("uniform", "collide", "uniform")
    clips = list(islice(physics_sim.stream(names, "train", start=1), 5))
    assert [(clip.scenario, clip.index) for clip in clips] == [
        ("collide", 0),
        ("uniform", 1),
        ("uniform", 2),
        ("collide", 1),
        ("uniform", 3),
    ]


@pytest.mark.parametrize("start", [0, 7])
def test_workers_change_nothing(start: int) -> None:
    alone = list(islice(physics_sim.stream(NAMES, "train", start=start), 30))
    many = list(islice(physics_sim.stream(NAMES, "train", start=start, workers=2), 30))
    for clip, same in zip(alone, many, strict=True):
        assert (clip.frames == same.frames).all() and clip.metadata() == same.metadata()


def die(number: int) -> Any:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return [number]


def test_a_killed_worker_is_one_sentence() -> None:
    with pytest.raises(SimulationError, match="worker process died"):
        list(in_order(die, iter((n,) for n in range(5)), 2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenarios": ()}, "at least one"),
        ({"scenarios": ("collide", "rol")}, "did you mean 'roll'"),
        ({"split": "tests"}, "no split"),
        ({"start": -1}, "start"),
        ({"workers": 1.5}, "workers"),
        ({"size": 0}, "resolution"),
    ],
)
def test_bad_arguments_are_refused_at_once(changes: dict, message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        physics_sim.stream(**{"scenarios": NAMES, "split": "train", **changes})
