"""What a clip promises: purity, balance, contacts in their place, splits that differ as they say."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

import physics_sim
from physics_sim import sampling
from physics_sim.draw import HELD_OUT, Draw
from physics_sim.errors import SimulationError
from physics_sim.scenarios import Scenario
from physics_sim.shapes import KINDS
from physics_sim.units import GIVEN, SUBSTEPS
from physics_sim.worlds import PROFILES

EVERYTHING = [
    (name, split) for name in (*physics_sim.SCENARIOS, *physics_sim.LAWS) for split in physics_sim.splits(name)
]


def forget() -> None:
    sampling._pair.cache_clear()
    sampling._law.cache_clear()


@pytest.mark.parametrize(("scenario", "split"), EVERYTHING)
def test_every_split_of_every_scenario_keeps_its_promises(scenario: str, split: str) -> None:
    """Balance, the place of the contact, what is in sight, the same first frame in a pair, purity."""
    clips = [physics_sim.make_clip(scenario, split, index) for index in (4, 5)]
    for clip in clips:
        assert clip.frames.shape == (16, 64, 64, 3) and clip.frames.dtype == np.uint8
        assert clip.position.shape == (16, len(clip.bodies), 2) and clip.angle.shape == clip.position.shape[:2]
        assert np.isfinite(clip.velocity).all() and np.isfinite(clip.angular_velocity).all()
        roles = [body.role for body in clip.bodies]
        assert roles.count("agent") == 1 and (scenario in physics_sim.LAWS or roles.count("patient") == 1)
        main = [role in ("agent", "patient") for role in roles]
        seen = clip.position[:GIVEN] if scenario in physics_sim.LAWS else clip.position
        assert (seen[:, main] >= 0).all() and (seen[:, main] <= 10).all()
        assert clip.contact == (not math.isnan(clip.contact_time))
        first = 0 if scenario in physics_sim.LAWS else GIVEN - 1
        assert not clip.contact or first < clip.contact_time <= 15
        touches = [c.time for c in clip.contacts if set(c.bodies) == {"agent", "patient"}]
        assert bool(touches) == clip.contact
        assert not touches or touches[0] == pytest.approx(clip.contact_time, abs=1 / SUBSTEPS + 1e-9)
        json.dumps(clip.metadata(), allow_nan=False)
    if scenario in physics_sim.SCENARIOS:
        assert sorted(clip.contact for clip in clips) == [False, True]
        assert (clips[0].frames[0] == clips[1].frames[0]).all()
        assert (clips[0].frames[7] != clips[1].frames[7]).any()
    forget()
    again = physics_sim.make_clip(scenario, split, 5)
    assert (again.frames == clips[1].frames).all() and again.metadata() == clips[1].metadata()


def test_splits_and_seeds_are_strangers() -> None:
    def digest(split: str, seed: int) -> bytes:
        return physics_sim.make_clip("uniform", split, 0, seed=seed).position.tobytes()

    every = [digest(split, seed) for split in ("train", "val", "test") for seed in (0, 1)]
    assert len(set(every)) == len(every)


def test_labels_are_balanced_and_their_order_is_a_coin() -> None:
    labels = np.array([physics_sim.make_clip("contain", "test", index).contact for index in range(40)])
    assert labels.sum() == 20
    assert 0 < labels[::2].sum() < 20


@pytest.mark.parametrize("scenario", ["collide", "drop", "dominoes", "drape"])
def test_a_clip_without_contact_misses_visibly(scenario: str) -> None:
    for index in range(6):
        clip = physics_sim.make_clip(scenario, "val", index)
        if not clip.contact:
            assert sampling.clearance(clip.scene, clip.trajectory, clip.given) >= sampling.MISS


def test_laws_keep_to_their_ranges() -> None:
    for split, inside in (("train", True), ("ood_both", False)):
        for index in range(12):
            for law in physics_sim.LAWS:
                clip = physics_sim.make_clip(law, split, index)
                body = next(i for i, b in enumerate(clip.bodies) if b.role == "agent")
                radius, speed = clip.bodies[body].shape["radius"], abs(clip.velocity[0, body, 0])
                hole = 1.0 <= radius <= 1.2 and 2.2 <= speed <= 2.8
                assert not hole
                assert (0.7 <= radius <= 1.5) == inside and (1 <= speed <= 4) == inside
    clip = physics_sim.make_clip("uniform", "interpolate", 0)
    (low, high), (slow, fast) = PROFILES[2].hole or ((0, 0), (0, 0))
    assert low <= clip.bodies[0].shape["radius"] <= high and slow <= abs(clip.velocity[0, 0, 0]) <= fast


def test_out_of_distribution_goes_beyond() -> None:
    def radius(split: str, index: int) -> float:
        body = next(b for b in physics_sim.make_clip("drop", split, index).bodies if b.role == "patient")
        return math.sqrt(body.parts[0].area / math.pi)

    inside = [radius("train", 2 * k) for k in range(10)]
    outside = [radius("ood_size", 2 * k) for k in range(10)]
    assert min(inside) >= 0.65 and max(inside) <= 1.1
    assert all(r < 0.6 or r > 1.15 for r in outside)

    def fastest(split: str) -> float:
        clips = [physics_sim.make_clip("collide", split, k) for k in range(8)]
        return max(np.hypot(*clip.velocity[0].T).max() for clip in clips)

    assert fastest("train") < 4.7 < fastest("ood_speed")


def test_combinations_are_held_out() -> None:
    rng = np.random.default_rng(0)
    seen = {split: {Draw(rng, split).kinds() for _ in range(300)} for split in ("train", "combinations")}
    assert seen["combinations"] == HELD_OUT and not seen["train"] & HELD_OUT
    for place in (0, 1):
        assert {pair[place] for pair in seen["train"]} == set(KINDS)
    clip = physics_sim.make_clip("drop", "combinations", 0)
    kinds = {body.role: body.shape["kind"] for body in clip.bodies}
    assert (kinds["agent"], kinds["patient"]) in HELD_OUT


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("colide",), "did you mean 'collide'"),
        (("nothing", "train"), "there are collide"),
        (("collide", "training"), "no split 'training'"),
        (("collide", "interpolate"), "collide has no split"),
        (("uniform", "combinations"), "uniform has no split"),
        (("collide", "train", -1), "index"),
        (("collide", "train", 0.5), "index"),
        ((None,), "no scenario None"),
    ],
)
def test_what_there_is_not(arguments: tuple, message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        physics_sim.make_clip(*arguments)


@pytest.mark.parametrize("seed", [-1, 0.5, "0", True])
def test_seeds_that_cannot_be(seed: object) -> None:
    with pytest.raises(SimulationError, match="seed"):
        physics_sim.make_clip("uniform", seed=seed)  # type: ignore[arg-type]


def test_a_search_that_would_not_end_says_which_constraint_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from physics_sim.scenarios import drop

    far = Scenario(drop.layout, lambda scene, draw: scene.swap(scene["agent"].moving((0.0, 30.0))))
    monkeypatch.setattr(sampling, "find", lambda name: far)
    monkeypatch.setattr(sampling, "LAYOUTS", 3)
    with pytest.raises(SimulationError, match="the agent leaves the picture"):
        physics_sim.make_clip("drop", "train", 99_999)
    forget()


def test_the_package_is_light_to_import_and_stands_alone() -> None:
    code = (
        "import sys, physics_sim; light = not {'numpy', 'pymunk'} & set(sys.modules);"
        "physics_sim.make_clip('collide').frames;"
        "names = {name.split('.')[0] for name in sys.modules};"
        "print(light, sorted({'mlx', 'vdt_mlx', 'weights', 'evals', 'PIL', 'rich'} & names))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert answer.strip() == "True []"


def test_what_is_done_to_a_clip_does_not_reach_the_next() -> None:
    first = physics_sim.make_clip("roll", "test", 3)
    kept = first.trajectory.position.copy()
    first.trajectory.position[:] = 0
    first.trajectory.touch = 1.0
    again = physics_sim.make_clip("roll", "test", 3)
    assert np.array_equal(again.trajectory.position, kept) and again.contact_time != 1.0


def test_the_fingerprint_is_of_the_states() -> None:
    clips = [physics_sim.make_clip("roll", "test", index) for index in range(4)]
    whole = physics_sim.fingerprint(clips)
    assert len(whole) == 64 and whole == physics_sim.fingerprint(iter(clips))
    assert physics_sim.fingerprint(clips[::-1]) != whole
    moved = physics_sim.make_clip("roll", "test", 3)
    moved.trajectory.position = moved.trajectory.position + 1e-9
    assert physics_sim.fingerprint([*clips[:3], moved]) == whole
    moved = physics_sim.make_clip("roll", "test", 3)
    moved.position[5, 0, 0] += 1e-5
    assert physics_sim.fingerprint([*clips[:3], moved]) != whole
