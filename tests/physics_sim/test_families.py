"""Counterfactual families: one cause varies and nothing else, and its effect is what mechanics says."""

import math

import numpy as np
import pytest

from physics_sim import families
from physics_sim.clip import Clip
from physics_sim.errors import SimulationError
from physics_sim.families import FAMILIES, make_probe, true_effect
from physics_sim.units import FRAME_TIME, FRAMES, GIVEN, WORLD
from physics_sim.worlds import PROFILES

SEEDS = range(4)
TIMES = np.arange(FRAMES) * FRAME_TIME


def clips(name: str, seed: int = 0, given: int = GIVEN) -> list[Clip]:
    return [make_probe(name, value, seed, given=given) for value in FAMILIES[name].values]


def path(clip: Clip) -> np.ndarray:
    return clip.position[:, families.agent_of(clip)]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_cause_has_an_effect_and_the_agent_stays_in_sight(name: str, seed: int) -> None:
    made = clips(name, seed)
    effects = np.array([true_effect(clip) for clip in made])
    if name == "meeting":
        effects = effects[:5]
    steps = np.diff(effects)
    assert (steps > 0.03).all() or (steps < -0.03).all(), "the effect follows the cause in one direction"
    for clip in made:
        body = clip.bodies[families.agent_of(clip)]
        reach = body.parts[0].shapes[0].reach if body.shape["kind"] == "ball" else 0.9
        assert (path(clip) >= reach - 1e-6).all() and (path(clip) <= WORLD - reach + 1e-6).all()
        assert not clip.contact or name in ("meeting", "mass-ratio")
        assert families.effect(name, np.repeat(path(clip)[:8], [1] * 7 + [9], axis=0), 8) == 0, "of a copy"


@pytest.mark.parametrize("name", FAMILIES)
def test_everything_but_the_cause_stays(name: str) -> None:
    """First frames differ in the agent's motion and material at most, or in what the cause itself is seen by."""
    made = clips(name, 2)
    seen_by = {"meeting": {"patient"}, "mass-ratio": {"patient"}, "slope": {"ramp", "agent"}}.get(name, set())
    for clip in made[1:]:
        for one, other in zip(made[0].bodies, clip.bodies, strict=True):
            assert (one.name, one.colour) == (other.name, other.colour)
            if one.name not in seen_by:
                assert one.parts[0].position == other.parts[0].position and one.parts[0].shapes == other.parts[0].shapes
            if name not in ("horizontal-speed", "vertical-speed"):
                assert one.parts[0].velocity == other.parts[0].velocity
            assert one.friction == other.friction or name == "friction"
            assert one.elasticity == other.elasticity or name == "restitution"
        assert clip.scene.gravity == made[0].scene.gravity or name == "gravity"
        if not seen_by:
            assert (clip.frames[0] == made[0].frames[0]).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_arguments_give_the_same_bytes(name: str) -> None:
    value = FAMILIES[name].values[1]
    one, other = make_probe(name, value, 3), make_probe(name, value, 3)
    assert (one.frames == other.frames).all() and one.metadata() == other.metadata()
    assert (make_probe(name, value, 4).frames != one.frames).any()


@pytest.mark.parametrize("name", ["gravity", "horizontal-speed", "vertical-speed"])
def test_flights_against_closed_form(name: str) -> None:
    for clip in clips(name, 1):
        (x, y), (u, v) = path(clip)[0], clip.velocity[0, 0]
        truth = np.stack([x + u * TIMES, y + v * TIMES - clip.scene.gravity * TIMES**2 / 2], axis=-1)
        expected = families.effect(name, truth, GIVEN)
        assert true_effect(clip) == pytest.approx(expected, abs=1e-6)
    for clip, value in zip(clips(name, 1), FAMILIES[name].values, strict=True):
        cause = clip.scene.gravity if name == "gravity" else clip.velocity[0, 0, FAMILIES[name].axis]
        assert abs(cause) == pytest.approx(abs(value or 0))


@pytest.mark.parametrize("name", ["meeting", "mass-ratio"])
@pytest.mark.parametrize("given", [4, 8])
def test_collisions_against_closed_form(name: str, given: int) -> None:
    for clip, value in zip(clips(name, 1, given), FAMILIES[name].values, strict=True):
        meets = given - 0.5 if name == "mass-ratio" else value
        place = families.agent_of(clip)
        mass = np.array([body.mass for body in clip.bodies])
        before = clip.velocity[0, :, 0]
        after = 2 * (mass * before).sum() / mass.sum() - before
        when = FRAMES if meets is None or meets > FRAMES - 1 else meets
        assert clip.contact == (when < FRAMES)
        assert not clip.contact or clip.contact_time == pytest.approx(when, abs=0.02)
        steps = np.arange(FRAMES)
        way = before[place] * np.minimum(steps, when) + after[place] * np.maximum(steps - when, 0)
        assert np.abs(path(clip)[:, 0] - path(clip)[0, 0] - way * FRAME_TIME).max() < 0.02
        if name == "mass-ratio":
            assert mass[1 - place] / mass[place] == pytest.approx(value)


def test_restitution_friction_and_slope_against_closed_form() -> None:
    for clip, value in zip(clips("restitution", 1), FAMILIES["restitution"].values, strict=True):
        hits = [contact.time for contact in clip.contacts if set(contact.bodies) == {"ground", "agent"}]
        assert hits[0] == pytest.approx(GIVEN - 1 - 1.5, abs=0.05)
        after = math.ceil(hits[0]) + 1
        down, up = clip.velocity[0, 2, 1] - 3.0 * hits[0] * FRAME_TIME, clip.velocity[after, 2, 1]
        up += 3.0 * (after - hits[0]) * FRAME_TIME
        assert value is not None and (value < 0.4 or up / -down == pytest.approx(value, abs=0.02))
    for clip, value in zip(clips("friction", 1), FAMILIES["friction"].values, strict=True):
        assert value is not None
        speed, rate = abs(clip.velocity[0, families.agent_of(clip), 0]), 3.0 * value
        time = np.minimum(TIMES, speed / rate)
        way = np.abs(path(clip)[:, 0] - path(clip)[0, 0])
        assert np.abs(way - speed * time + rate * time**2 / 2).max() < 0.02
    for clip, value in zip(clips("slope", 1), FAMILIES["slope"].values, strict=True):
        assert value is not None
        way = np.hypot(*(path(clip) - path(clip)[0]).T)
        assert np.abs(way - (2 / 3) * 3.0 * math.sin(value) * TIMES**2 / 2).max() < 0.02


def test_the_causes_lie_within_the_training_ranges() -> None:
    two = PROFILES[2]
    for name, within in (("gravity", two.law_gravity), ("horizontal-speed", two.speed), ("vertical-speed", two.lift)):
        values = [value for value in FAMILIES[name].values if value is not None]
        assert within.low <= min(values) and max(values) <= within.high
    for name in ("gravity", "meeting", "mass-ratio"):
        for clip in clips(name, 3):
            for number, body in enumerate(clip.bodies):
                assert two.radius.low <= body.shape["radius"] <= two.radius.high
                assert two.speed.low <= abs(clip.velocity[0, number, 0]) <= two.speed.high


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("weight", 1.0), "no family 'weight'; there are gravity"),
        (("gravity", 9.0), "gravity goes from 0.5 to 5.5, so it cannot be 9.0"),
        (("gravity", None), "cannot be None"),
        (("gravity", float("nan")), "cannot be nan"),
        (("gravity", "3"), "cannot be '3'"),
        (("gravity", 3.0, -1), "seed"),
    ],
)
def test_what_is_no_probe(arguments: tuple, message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        make_probe(*arguments)
    with pytest.raises(SimulationError, match="needs 4 to 12 given frames, not 2"):
        make_probe("restitution", 0.5, given=2)
