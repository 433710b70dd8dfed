"""Impossible twins: they share what is given, break what they say, and how much moves does not tell them apart."""

import numpy as np
import pytest

from physics_sim import twins
from physics_sim.errors import SimulationError
from physics_sim.twins import KINDS, Twins, make_twins, motion
from physics_sim.units import FRAME_TIME, WORLD

made: dict[tuple[str, int], Twins] = {}


def pair(kind: str, index: int) -> Twins:
    if (kind, index) not in made:
        made[kind, index] = make_twins(kind, index)
    return made[kind, index]


def paths(twin: Twins) -> tuple[np.ndarray, np.ndarray]:
    """(T, 2) of the body that is altered: possible, impossible."""
    number = [body.name for body in twin.clip.bodies].index(twin.altered.body)
    part = sum(len(body.parts) for body in twin.clip.bodies[:number])
    return twin.clip.trajectory.position[:, part], twin.altered.position[:, part]


@pytest.mark.parametrize("kind", KINDS)
def test_twins_share_their_first_frames_and_differ_plainly_later(kind: str) -> None:
    for index in range(8):
        twin = pair(kind, index)
        assert twin.possible.shape == twin.impossible.shape == (16, 64, 64, 3)
        assert twin.possible.dtype == twin.impossible.dtype == np.uint8
        assert twin.given <= twin.moment <= 12
        assert (twin.possible[: twin.moment] == twin.impossible[: twin.moment]).all()
        assert (twin.possible == twin.clip.render(64)).all()
        differ = (np.abs(twin.possible[twin.moment :].astype(int) - twin.impossible[twin.moment :]) > 24).any(axis=-1)
        assert differ.any(axis=(1, 2)).sum() >= 3


@pytest.mark.parametrize("kind", KINDS)
def test_how_much_moves_does_not_tell(kind: str) -> None:
    lively = []
    for index in range(8):
        twin = pair(kind, index)
        lively.append(motion(twin.impossible, 8) > motion(twin.possible, 8))
        assert twin.balanced == (lively[-1] == bool(index % 2))
    if kind in twins.UNBALANCED:
        assert all(lively)
    else:
        assert sum(lively) - 4 in ((0,) if kind != "jump" else (0, 1, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_arguments_give_the_same_bytes(kind: str) -> None:
    again, first = make_twins(kind, 1), pair(kind, 1)
    assert (again.impossible == first.impossible).all() and (again.possible == first.possible).all()
    assert (make_twins(kind, 1, seed=1).possible != first.possible).any()
    large = make_twins(kind, 1, size=32)
    assert large.impossible.shape == (16, 32, 32, 3)


def test_what_vanishes_is_gone_and_what_changes_colour_stays() -> None:
    for index in range(4):
        twin = pair("vanish", index)
        body = twin.clip.scene[twin.altered.body]
        seen = (np.abs(twin.impossible[twin.moment :].astype(int) - body.colour).max(axis=-1) < 8).sum(axis=(1, 2))
        assert (seen == 0).all()
        twin = pair("colour", index)
        before, after = paths(twin)
        assert (before == after).all()
        assert twin.altered.scene[twin.altered.body].colour != twin.clip.scene[twin.altered.body].colour


def test_what_jumps_is_elsewhere_and_goes_on() -> None:
    for index in range(4):
        possible, impossible = paths(pair("jump", index))
        shift = (impossible - possible)[pair("jump", index).moment :]
        assert np.allclose(shift, shift[0]) and 1.5 <= np.hypot(*shift[0]) <= 4.0


def test_what_stops_stands_still_and_what_rested_moves() -> None:
    for index in range(4):
        twin = pair("stop", index)
        possible, impossible = paths(twin)
        steps = np.hypot(*np.diff(impossible[twin.moment :], axis=0).T)
        if index % 2 == 0:
            assert (steps == 0).all() and np.hypot(*(possible[-1] - possible[twin.moment])) > 0.3
        else:
            assert (steps > 0.09).all() and np.hypot(*(possible[-1] - possible[0])) < 0.05


def test_what_goes_through_was_to_touch() -> None:
    seen = set()
    for index in range(8):
        twin = pair("through", index)
        seen.add(twin.clip.scenario)
        possible, impossible = paths(twin)
        if twin.clip.scenario == "collision":
            assert twin.moment - 1 < twin.clip.contact_time <= twin.moment
            assert np.allclose(np.diff(impossible, 2, axis=0), 0, atol=1e-9), "in a straight line"
        else:
            radius = twin.clip.bodies[2].shape["radius"]
            ground = twin.clip.bodies[0].parts[0]
            top = ground.position[1] + max(y for _, y in ground.shapes[0].vertices)
            assert impossible[-1, 1] < top + 0.5 * radius < possible[-1, 1] + 0.6 * radius
            bend = np.diff(impossible[:, 1], 2) / FRAME_TIME**2
            assert np.allclose(bend, -twin.clip.scene.gravity, atol=1e-3)
    assert len(seen) == 2


def test_what_bounces_gains_energy() -> None:
    for index in range(4):
        twin = pair("bounce", index)
        possible, impossible = paths(twin)
        fall, weight = twin.moment - 1, twin.clip.scene.gravity
        speed = abs(twin.clip.velocity[fall, 2, 1])
        rises = (impossible[twin.moment, 1] - impossible[fall, 1]) / FRAME_TIME + weight * FRAME_TIME / 2
        assert 1.14 * speed < rises < 1.51 * speed
        assert impossible[twin.moment :, 1].max() >= possible[twin.moment :, 1].max()


def test_gravity_turns_round() -> None:
    for index in range(4):
        twin = pair("gravity", index)
        possible, impossible = (np.diff(path[:, 1], 2) / FRAME_TIME**2 for path in paths(twin))
        weight = twin.clip.scene.gravity
        assert np.allclose(possible, -weight, atol=1e-3) and weight >= 1.5
        assert np.allclose(impossible[twin.moment - 1 :], weight, atol=1e-3)


def test_objects_are_in_the_picture_when_it_happens() -> None:
    for kind in KINDS:
        possible, _ = paths(pair(kind, 2))
        at = possible[pair(kind, 2).moment - 1]
        assert (at > 0).all() and (at < WORLD).all()


@pytest.mark.parametrize("given", [1, 12])
def test_any_number_of_given_frames(given: int) -> None:
    for kind in ("vanish", "stop", "bounce"):
        twin = make_twins(kind, 0, given=given)
        assert twin.given == given <= twin.moment


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("melt",), {}, "no kind of twins 'melt'; there are vanish"),
        (("jump", -1), {}, "index must be a whole number from 0, not -1"),
        (("jump", 0), {"seed": 0.5}, "seed must be"),
        (
            ("jump", 0),
            {"given": 13},
            "given must be a whole number from 1 to 12, not 13",
        ),
        (("jump", 0), {"size": 4}, "resolution"),
    ],
)
def test_what_are_no_twins(arguments: tuple, options: dict, message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        make_twins(*arguments, **options)
