"""Scenes as JSON: they come back as they were, and what cannot be simulated is said on the thing that is at fault."""

import copy
import json
import math

import numpy as np
import pytest

import physics_sim
from physics_sim.families import FAMILIES, make_probe
from physics_sim.world import simulate
from vdt_mlx.errors import VDTError
from vdt_mlx.play import pictures, presets
from vdt_mlx.play.scene import faults, overlap, read_scene, write_scene

BALL = {"kind": "ball", "radius": 0.8}


def body(name: str, x: float, y: float, role: str = "distractor", shape: dict = BALL, **more) -> dict:
    part = {"position": [x, y], "angle": 0.0, "velocity": more.pop("velocity", [0, 0]), "spin": 0, "shapes": [shape]}
    return {"name": name, "role": role, "colour": [220, 50, 47], "parts": [part], **more}


def scene(*bodies: dict, **more) -> dict:
    return {"version": 1, "gravity": 0.0, "bodies": list(bodies), "joints": [], **more}


@pytest.mark.parametrize("name", [entry["name"] for entry in presets.names()])
def test_presets_come_back_as_they_were_and_can_be_simulated(name: str) -> None:
    value = json.loads(json.dumps(presets.preset(name).scene))
    read = read_scene(value)
    assert write_scene(read) == value
    if name == presets.ROOM:
        return
    assert faults(read) == []
    if name.startswith(presets.PROBE):
        return
    original = physics_sim.make_clip(name, "val", 0).scene
    again = [simulate(scene, frames=16).position for scene in (read, read_scene(write_scene(original)), original)]
    assert np.array_equal(again[1], again[2])
    if name in physics_sim.SCENARIOS and name not in physics_sim.LAWS:
        assert not math.isnan(simulate(read, frames=16).touch), "the page begins with clips that touch"


def test_the_closest_of_the_simulators_own_scenes_is_no_fault() -> None:
    fit = read_scene(presets.preset("contain", 15).scene)
    assert faults(fit) == [] and overlap(fit["cup"], fit["patient"]) > 0.06


@pytest.mark.parametrize("name", FAMILIES)
def test_a_probe_turns_one_cause_and_leaves_everything_else(name: str) -> None:
    values = FAMILIES[name].values
    first, second, anew = (presets.preset(presets.PROBE + name, number) for number in (0, 1, len(values)))
    assert f"{values[0]:g}" in first.note and f"{values[1]:g}" in second.note
    for number, probe in enumerate((first, second)):
        assert probe.scene == write_scene(make_probe(name, values[number], 0).scene)
    assert anew.scene == write_scene(make_probe(name, values[0], 1).scene) and anew.scene != first.scene
    passing = presets.preset(presets.PROBE + "meeting", len(FAMILIES["meeting"].values) - 1)
    assert "never" in passing.note and math.isnan(simulate(read_scene(passing.scene), frames=16).touch)


def test_faults_are_said_on_the_thing() -> None:
    wall = body(
        "wall", 5, 0, "static", {"kind": "polygon", "vertices": [[-6, -1], [6, -1], [6, 1], [-6, 1]]}, fixed=True
    )
    good = scene(body("a", 3, 3, "agent"), wall)
    assert faults(read_scene(good)) == []
    cases = [
        (scene(body("a", 3, 3), wall), "", "red agent"),
        (scene(body("a", 3, 1.5, "agent"), wall), "a", "Overlaps"),
        (scene(body("a", 3, 3, "agent"), body("b", 3.5, 3)), "b", "Overlaps"),
        (scene(body("a", -3, 3, "agent")), "a", "Out of the picture"),
        (scene(body("a", 3, 3, "agent", velocity=[30, 0])), "a", "Too fast"),
    ]
    for value, name, words in cases:
        found = faults(read_scene(value))
        assert [fault.body for fault in found] == [name] and words in found[0].text


def test_overlap_of_discs_is_how_far_they_reach_into_each_other() -> None:
    first, second = (read_scene(scene(body("a", x, 3, "agent"))).bodies[0] for x in (3.0, 4.2))
    assert overlap(first, second) == pytest.approx(0.4, abs=0.02)
    apart = read_scene(scene(body("a", 5.0, 3, "agent"))).bodies[0]
    assert overlap(first, apart) < 0


PENTAGRAM = [[math.cos(0.8 * math.pi * i), math.sin(0.8 * math.pi * i)] for i in range(5)]


def polygon(*corners: list[float]) -> dict:
    return {"kind": "polygon", "vertices": list(corners)}


BAD = [
    (lambda v: v.update(version=2), "version 2"),
    (lambda v: v.update(gravity=float("nan")), "gravity is a number"),
    (lambda v: v.update(gravity="3"), "gravity is a number"),
    (lambda v: v.update(gravity=10**400), "gravity is a number"),
    (lambda v: v.update(bodies=[v["bodies"][0]] * 10000), "at most 16"),
    (lambda v: v.update(bodies=v["bodies"] * 2), "one name"),
    (lambda v: v.update(bodies={}), "not a list"),
    (lambda v: v["bodies"][0].update(name=""), "no name"),
    (lambda v: v["bodies"][0].update(role="god"), "role of a"),
    (lambda v: v["bodies"][0].update(colour=[1, 2]), "three numbers"),
    (lambda v: v["bodies"][0].update(parts=[]), "no part"),
    (lambda v: v["bodies"][0]["parts"][0].update(shapes=[{"kind": "star"}]), "ball, a polygon or a capsule"),
    (lambda v: v["bodies"][0]["parts"][0].update(shapes=[{"kind": "ball", "radius": -1}]), "radius of a"),
    (lambda v: v["bodies"][0]["parts"][0].update(position=[1]), "pair of numbers"),
    (lambda v: v["bodies"][0]["parts"][0].update(velocity=[1e9, 0]), "velocity of a"),
    (
        lambda v: v["bodies"][0]["parts"][0].update(
            shapes=[{"kind": "polygon", "vertices": [[0, 0], [2, 0], [0.5, 0.5], [0, 2]]}]
        ),
        "convex",
    ),
    (
        lambda v: v["bodies"][0]["parts"][0].update(
            shapes=[{"kind": "capsule", "start": [1, 1], "end": [1, 1], "radius": 1}]
        ),
        "one point",
    ),
    (lambda v: v.update(joints=[{"first": ["nobody", 0], "second": None, "point": [0, 0]}]), "not there"),
    (lambda v: v.update(joints=[{"first": [["a"], 0], "second": None, "point": [0, 0]}]), "not there"),
    (lambda v: v.update(joints=[{"first": ["a", True], "second": None, "point": [0, 0]}]), "not there"),
    (lambda v: v["bodies"][0]["parts"][0].update(shapes=[polygon([0, 0], [2, 0], [2, 0], [0, 2])]), "convex"),
    (lambda v: v["bodies"][0]["parts"][0].update(shapes=[polygon(*PENTAGRAM)]), "convex"),
    (lambda v: v.update(joints=[{"first": ["a", 7], "second": None, "point": [0, 0]}]), "not there"),
]


@pytest.mark.parametrize(("damage", "words"), BAD)
def test_bad_scenes_are_refused_in_one_sentence(damage, words: str) -> None:
    value = copy.deepcopy(scene(body("a", 3, 3, "agent")))
    damage(value)
    with pytest.raises(VDTError, match=words):
        read_scene(value)


@pytest.mark.parametrize("value", [None, 3, [], "scene", {"bodies": [None]}, {"bodies": [{"name": "a", "parts": 3}]}])
def test_what_is_no_scene_is_refused(value) -> None:
    with pytest.raises(VDTError):
        read_scene(value)


def test_touching_is_read_off_true_frames() -> None:
    clips = [physics_sim.make_clip(name, "val", i) for name in ("collide", "drop", "roll") for i in range(6)]
    assert all(pictures.touches(clip.frames[7:]) == clip.contact for clip in clips)
    assert pictures.touches(np.zeros((3, 64, 64, 3), np.uint8)) is None


def test_errors_are_distances_of_centroids() -> None:
    clip = physics_sim.make_clip("collide", "val", 0).frames
    assert max(pictures.errors(clip, clip)) == 0
    assert pictures.errors(clip, np.roll(clip, 2, axis=2))[0] == pytest.approx(2, abs=0.05)
    gone = np.full_like(clip, 230)
    assert pictures.errors(clip, gone)[0] == 20
    assert pictures.errors(gone, clip)[0] is None
