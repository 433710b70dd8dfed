"""Versions of the world: their ranges, their laws against closed forms, and the first version as it was."""

import json
import math
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

import physics_sim
from physics_sim import worlds
from physics_sim.clip import Clip
from physics_sim.errors import SimulationError
from physics_sim.units import FRAME_TIME, WORLD

PIXEL = WORLD / 64

FIRST_VERSION = {
    "collide": "9c64d4a5b5a5b5b7e8ccc42757418e761019b83889c344fe3301f73bd2477cea",
    "contain": "9fcb16c2515ccc7a75532590ca314239f9167b0168aa9297efb966a1e2f94166",
    "drape": "f2bb0b6f2a0248b44e3f48dc56a8bd012946888dcc2ef86c141970f3c7475673",
    "uniform": "42b7ff958c9f660c36c501e68b64c4edb4832fc352e9194c316ef7b4f0052510",
    "parabola": "2d277bb2e5e56bba504994b954047d93e87ca18ab9aeb81a9fc710c4751aa235",
    "collision": "58cabfea49d80c064862628a185d3d186b9aed412cbcec6769b2723b86cd758f",
}
"""What the first version's `fingerprint` gave for test clips 0 to 3 before there was a second."""
SECOND_VERSION = {
    "collide": "6cc6eb6de0be6d56910087105e46fb204247c7b34ce0efc7c748da1d5b1e25e9",
    "contain": "9905e4409a7cad6c31ef952a7ad17f491f2de81a75cdf29862be3b764f08a76e",
    "drape": "d39ed8409cc80a12514cc0d75b42592283b1005cdfe9b8eeb70bf1eac076eb2d",
    "uniform": "a77eb8c12a9a47c86d1f619b7db18596948a065121b5426ff32b1f550e938c97",
    "parabola": "be55a231820640b8bf40ee98dcbfa777d0e831301001309206d116941efb9540",
    "collision": "6ddde85c14b2d76316ad888e310d13cad8b5945f75ce98190e4e81e9a81bed42",
}


@pytest.mark.parametrize("name", FIRST_VERSION)
def test_both_versions_are_as_they_were(name: str) -> None:
    clips = [physics_sim.make_clip(name, "test", index, world=1) for index in range(4)]
    assert physics_sim.fingerprint(clips) == FIRST_VERSION[name]
    assert clips[0].world == 1 and clips[0].metadata()["world"] == 1
    assert all(clip.scene.gravity in (0.0, 3.0) for clip in clips)
    clips = [physics_sim.make_clip(name, "test", index) for index in range(4)]
    assert physics_sim.fingerprint(clips) == SECOND_VERSION[name], "another world needs another number"
    later = clips[0]
    assert later.world == later.metadata()["world"] == physics_sim.WORLD_VERSION == 2


def meeting(clip: Clip) -> float:
    """When the two balls of a clip meet, in frames, by closed form: negative before it, nan if never."""
    (x, y), (u, v) = (
        (clip.position[0, 1] - clip.position[0, 0]).tolist(),
        (clip.velocity[0, 1] - clip.velocity[0, 0]).tolist(),
    )
    reach = sum(body.shape["radius"] for body in clip.bodies)
    a, b, c = u * u + v * v, 2 * (x * u + y * v), x * x + y * y - reach**2
    root = b * b - 4 * a * c
    if root < 0:
        return math.nan
    first = (-b - math.sqrt(root)) / (2 * a) / FRAME_TIME
    return first if b < 0 else (-b + math.sqrt(root)) / (2 * a) / FRAME_TIME


def test_balls_meet_at_any_time_or_never_and_as_elastic_balls_do() -> None:
    seen: Counter[str] = Counter()
    for index in range(120):
        clip = physics_sim.make_clip("collision", "train", index)
        time, last = meeting(clip), len(clip.position) - 1
        inside = 0 <= time <= last
        phase = "never" if math.isnan(time) else "before" if time < 0 else "after" if not inside else "given"
        seen["predicted" if inside and time > clip.given - 1 else phase] += 1
        assert clip.contact == inside
        mass = np.array([body.mass for body in clip.bodies])
        if inside:
            assert clip.contact_time == pytest.approx(time, abs=0.02)
        before, after = clip.velocity[0, :, 0], clip.velocity[-1, :, 0]
        middle = (mass * before).sum() / mass.sum()
        assert np.allclose(after, 2 * middle - before if inside else before, atol=1e-6)
        # Positions: straight lines up to the meeting, and from there on.
        when = np.clip(time, 0, last) if inside else last
        steps = np.arange(last + 1)[:, None] * FRAME_TIME
        free = before * np.minimum(steps, when * FRAME_TIME) + after * np.maximum(steps - when * FRAME_TIME, 0)
        assert np.abs(clip.position[..., 0] - clip.position[0, :, 0] - free).max() < 0.2 * PIXEL
    assert set(seen) == {"before", "given", "predicted", "after", "never"} and min(seen.values()) >= 5


@pytest.mark.parametrize("split", ["train", "ood_gravity", "ood_speed"])
def test_parabolas_have_their_own_gravity_and_any_first_velocity(split: str) -> None:
    profile = worlds.PROFILES[2]
    gravity, lift, sides = [], [], Counter()
    for index in range(60):
        clip = physics_sim.make_clip("parabola", split, index)
        steps = np.arange(len(clip.position)) * FRAME_TIME
        (x, y), (u, v), g = clip.position[0, 0], clip.velocity[0, 0], clip.scene.gravity
        truth = np.stack([x + u * steps, y + v * steps - g * steps**2 / 2], axis=-1)
        assert np.abs(clip.position[:, 0] - truth).max() < 0.01 * PIXEL
        assert clip.metadata()["gravity"] == g
        gravity.append(g)
        lift.append(v)
        sides[u > 0] += 1
    low, high = profile.law_gravity.low, profile.law_gravity.high
    if split == "ood_gravity":
        assert min(gravity) > high
    else:
        assert gravity.count(0.0) >= 1 and low == 0 and max(gravity) <= high and np.std(gravity) > 1
    beyond = [not profile.lift.low <= v <= profile.lift.high for v in lift]
    assert all(beyond) if split == "ood_speed" else not any(beyond)
    assert min(lift) < 0 < max(lift) and min(sides.values()) > 10


def test_the_ranges_of_the_first_version_lie_inside_those_of_the_second() -> None:
    one, two = worlds.PROFILES[1], worlds.PROFILES[2]
    for name in ("law_gravity", "gravity", "lift", "radius", "speed"):
        small, large = getattr(one, name), getattr(two, name)
        assert large.low <= small.low and small.high <= large.high
        for side in (large.below, large.above):
            assert side is None or side[0] >= large.high or side[1] <= large.low


@pytest.mark.parametrize("name", physics_sim.SCENARIOS)
def test_the_gravity_of_a_scenario_is_not_in_its_first_frame(name: str) -> None:
    within = worlds.PROFILES[2].gravity
    pairs = [[physics_sim.make_clip(name, "val", 2 * k + side) for side in (0, 1)] for k in range(3)]
    gravity = np.array([[clip.scene.gravity for clip in pair] for pair in pairs])
    assert len(np.unique(gravity)) == 6 and within.low <= gravity.min() and gravity.max() <= within.high
    assert all((one.frames[0] == other.frames[0]).all() for one, other in pairs)
    beyond = physics_sim.make_clip(name, "ood_gravity", 0).scene.gravity
    assert not within.low <= beyond <= within.high


@pytest.mark.parametrize("name", physics_sim.LAWS)
def test_balls_leave_the_picture_but_not_in_the_given_frames(name: str) -> None:
    clips = [physics_sim.make_clip(name, "test", index) for index in range(30)]
    inside = np.array([((clip.position >= 0) & (clip.position <= WORLD)).all(axis=(1, 2)) for clip in clips])
    assert inside[:, :8].all() and not inside.all()


@pytest.mark.parametrize(("name", "frames"), [("collide", 10), ("drop", 32), ("parabola", 5), ("collision", 32)])
def test_any_number_of_frames(name: str, frames: int) -> None:
    clip = physics_sim.make_clip(name, "train", 3, frames=frames)
    given = min(8, frames // 2)
    assert clip.frames.shape == (frames, 64, 64, 3) and clip.masks().shape == (frames, 64, 64) and clip.given == given
    body = clip.metadata()
    assert (body["frames"], body["given"]) == (frames, given) and len(body["states"]["position"]) == frames
    if clip.contact and name == "collide":
        assert given - 1 < clip.contact_time <= frames - 1
    fewer = physics_sim.make_clip(name, "train", 3, frames=frames, given=3)
    assert fewer.given == 3
    again = next(physics_sim.stream(name, "train", start=3, frames=frames))
    assert (again.frames == clip.frames).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 1}, "frames must be a whole number from 10"),
        ({"frames": 10**9}, "frames must be"),
        ({"frames": 16.0}, "frames must be"),
        ({"given": 0}, "given must be a whole number from 1 to 15"),
        ({"given": 16}, "given must be"),
        ({"world": 3}, "no version 3 of the world; there are 1, 2, phyworld"),
        ({"world": True}, "no version True"),
        ({"world": None}, "no version None"),
        ({"world": "phyworld"}, "has laws only"),
    ],
)
def test_what_no_world_has(options: dict, message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        physics_sim.make_clip("collide", **options)
    with pytest.raises(SimulationError, match="in world 1"):
        physics_sim.make_clip("parabola", "ood_gravity", world="1")


@pytest.mark.parametrize("name", physics_sim.LAWS)
def test_phyworld_has_its_own_numbers(name: str) -> None:
    radii = (0.5, 1.5) if name == "collision" else (0.7, 1.4)
    for index in range(8):
        clip = physics_sim.make_clip(name, "train", index, world="phyworld")
        assert clip.frames.shape == (32, 64, 64, 3) and clip.given == 3
        assert all(radii[0] <= body.shape["radius"] <= radii[1] for body in clip.bodies)
        agent = next(i for i, body in enumerate(clip.bodies) if body.role == "agent")
        u, v = clip.velocity[0, agent]
        assert 1 <= u <= 4 and v == pytest.approx(-0.025 if name == "parabola" else 0.0)
        assert clip.scene.gravity == (2.5 if name == "parabola" else 0.0)
        if name == "collision":
            assert 8 <= clip.contact_time <= 24
    assert physics_sim.splits(name, "phyworld") == ("train", "val", "test", "ood_size", "ood_speed", "ood_both")
    beyond = physics_sim.make_clip(name, "ood_both", 0, world="phyworld").bodies[0].shape["radius"]
    assert not radii[0] <= beyond <= radii[1]


NOISY = """
import hashlib, json, random, sys
hold = [bytearray(random.Random(int(sys.argv[1])).randrange(1, 5000)) for _ in range(int(sys.argv[1]) * 997)]
import physics_sim
hold += [object() for _ in range(int(sys.argv[1]) * 131)]
digest = hashlib.sha256()
for name, index in (("contain", 149), ("contain", 21), ("support", 5), ("link", 2), ("drape", 4), ("dominoes", 7)):
    for world in (1, 2):
        clip = physics_sim.make_clip(name, "train", index, world=world)
        digest.update(json.dumps(clip.metadata()).encode() + clip.trajectory.position.tobytes())
print(digest.hexdigest())
"""


def test_no_byte_depends_on_addresses_in_memory() -> None:
    """pymunk keeps its arbiters in sets that are ordered by address: impulses must not follow that order."""
    digests = set()
    for noise in range(4):
        environment = {**os.environ, "PYTHONHASHSEED": str(noise)}
        command = [sys.executable, "-c", NOISY, str(noise)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        digests.add(answer.stdout)
    assert len(digests) == 1


def test_metadata_hold_every_cause() -> None:
    clip = physics_sim.make_clip("collide", "train", 2)
    body = json.loads(json.dumps(clip.metadata(), allow_nan=False))
    assert body["gravity"] == clip.scene.gravity and body["side"] == WORLD
    for told, there in zip(body["bodies"], clip.bodies, strict=True):
        assert told["mass"] == (None if there.fixed else pytest.approx(there.mass, abs=1e-6))
        assert told["elasticity"] == pytest.approx(there.elasticity, abs=1e-6)
        assert told["friction"] == pytest.approx(there.friction, abs=1e-6)
    assert np.allclose(body["states"]["velocity"][0], clip.velocity[0], atol=1e-6)
