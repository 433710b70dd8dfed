"""Scenes of the page as a suite: the simulator's own clip again, examined beside what it can be examined beside."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

import physics_sim
from evals.physics.examiner import Examiner, Settings
from evals.predictors import Truthful
from evals.suites.scenes import SceneSuite, holds_scenes
from vdt_mlx.errors import VDTError
from vdt_mlx.play.scene import write_scene


@pytest.fixture(scope="module")
def clip() -> physics_sim.Clip:
    return physics_sim.make_clip("collide", "val", 0)


@pytest.fixture
def folder(clip, tmp_path) -> Path:
    """Two scenes, one of them in a group of its own, and one that cannot be simulated."""
    scene = write_scene(clip.scene)
    (tmp_path / "more").mkdir()
    (tmp_path / "first.json").write_text(json.dumps(scene))
    (tmp_path / "more" / "second.json").write_text(json.dumps(scene))
    wrong = copy.deepcopy(scene)
    wrong["bodies"][-1]["parts"][0]["velocity"] = [30, 0]
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    return tmp_path


def test_a_scene_is_the_clip_that_it_was_drawn_from(folder, clip) -> None:
    assert holds_scenes(folder) and holds_scenes(folder / "first.json")
    suite = SceneSuite(folder, given=8)
    assert [suite.count(group, 60) for group in suite.groups] == [1, 1]
    assert [suite.id(group, 0) for group in suite.groups] == ["first", "more-second"]
    assert [name for name, _ in suite.bad] == ["wrong"] and "Too fast" in suite.bad[0][1]
    case = suite.case(suite.groups[0], 0, 8)
    assert np.array_equal(case.frames, clip.frames)
    assert case.truth.contact == clip.contact and case.roles.keys() == {"agent", "patient"}
    assert SceneSuite(folder / "first.json").groups[0].name == "first"
    with pytest.raises(VDTError, match="Unknown group"):
        SceneSuite(folder, ["collide"])


def test_its_content_is_known_by_the_files(folder) -> None:
    before = SceneSuite(folder).content()
    (folder / "first.json").write_text((folder / "first.json").read_text() + " ")
    assert SceneSuite(folder).content() != before


def test_scenes_are_examined_beside_the_simulator(folder, tmp_path) -> None:
    settings = Settings(suite=str(folder), models=(), sections=())
    body = Examiner(settings, [Truthful()]).run(tmp_path / "out", resume=False)
    names = {entry["name"] for entry in body["predictors"]}
    assert {"tracker", "copy_last", "simulator"} <= names and not names & {"nearest", "majority"}
    assert [entry["clip"] for entry in body["bad"]] == ["wrong"]


@pytest.mark.parametrize("text", ["{", "[]", '{"objects": []}'])
def test_what_is_no_scene_makes_no_suite_of_scenes(tmp_path, text) -> None:
    (tmp_path / "one.json").write_text(text)
    assert not holds_scenes(tmp_path) and not holds_scenes(tmp_path / "nothing")


def test_a_suite_without_a_usable_scene_says_why(tmp_path) -> None:
    (tmp_path / "one.json").write_text('{"version": 1, "bodies": []}')
    with pytest.raises(VDTError, match="red agent"):
        SceneSuite(tmp_path)


def test_colours_beside_scenes_are_refused(folder) -> None:
    with pytest.raises(VDTError, match="`colours` would do nothing"):
        Examiner(Settings(suite=str(folder), colours="agent=#dc322f", models=(), sections=()), [Truthful()])
