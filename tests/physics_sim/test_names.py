"""Scenarios from elsewhere: by registration, by a file of one's own, by an installed package."""

import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import physics_sim
from physics_sim import cli, names, scenarios
from physics_sim.errors import SimulationError

PENDULUM = """
import physics_sim
from physics_sim.scene import agent
from physics_sim.shapes import Circle


@physics_sim.register("pendulum")
def scene(draw):
    length, gravity = draw.uniform(1.5, 3.5), draw.gravity(draw.profile.gravity)
    bob = agent(Circle(draw.uniform(0.4, 0.8)), (5.0 + length, 7.0))
    joint = physics_sim.Joint(("agent", 0), None, (5.0, 7.0))
    return physics_sim.Scene((bob,), (joint,), gravity=gravity)
"""


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenarios, "_registered", {})
    monkeypatch.setattr(names, "added", {})
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_every_file_of_a_scenario_is_found_and_no_other() -> None:
    folder = Path(names.__file__).parent / "scenarios"
    found = {path.stem for path in folder.glob("*.py") if "\nmake = " in path.read_text()}
    assert set(names.everything()) == found and len(found) >= 11
    for name in found:
        made = scenarios.find(name)
        assert names.is_law(name) == isinstance(made, physics_sim.Law)
        assert set(made.splits) <= set(physics_sim.SPLITS) and {"train", "val", "test"} <= set(made.splits)


def test_a_law_of_ones_own(clean: None) -> None:
    def scene(draw: physics_sim.Draw) -> physics_sim.Scene:
        from physics_sim.scene import agent
        from physics_sim.shapes import Circle

        return physics_sim.Scene((agent(Circle(0.5), (draw.uniform(2, 8), 5.0)),), gravity=draw.uniform(1, 2))

    assert physics_sim.register("stone", scene) is scene
    assert physics_sim.register("stone", scene) is scene, "the same again is no other"
    assert "stone" in physics_sim.LAWS and "stone" not in physics_sim.SCENARIOS
    clip = physics_sim.make_clip("stone", "test", 3)
    fall = clip.position[0, 0, 1] - clip.position[-1, 0, 1]
    assert fall == pytest.approx(clip.scene.gravity * 1.5**2 / 2, abs=1e-3) and clip.metadata()["law"]
    again = next(physics_sim.stream(["stone"], "test", start=3))
    assert (again.frames == clip.frames).all()
    with pytest.raises(SimulationError, match="already"):
        physics_sim.register("stone", lambda draw: None)
    with pytest.raises(SimulationError, match="already"):
        physics_sim.register("collide", scene)
    with pytest.raises(SimulationError, match="small letters"):
        physics_sim.register("My Stone", scene)
    with pytest.raises(SimulationError, match="not int"):
        physics_sim.register("number", 3)
    with pytest.raises(SimulationError, match="did you mean 'stone'"):
        physics_sim.make_clip("stones")
    with pytest.raises(SimulationError, match="cannot be sent to worker"):
        list(islice(physics_sim.stream(["stone"], workers=1), 1))


def test_a_scenario_of_ones_own_has_pairs(clean: None) -> None:
    drop = scenarios.find("drop")
    physics_sim.register("my-drop", physics_sim.Scenario(drop.layout, drop.launch, splits=("train", "test")))
    one, other = (physics_sim.make_clip("my-drop", "test", index) for index in (0, 1))
    assert "my-drop" in physics_sim.SCENARIOS and one.contact != other.contact
    assert (one.frames[0] == other.frames[0]).all()
    with pytest.raises(SimulationError, match="my-drop has no split 'val'; it has train, test"):
        physics_sim.make_clip("my-drop", "val")


def test_the_command_line_takes_a_file_of_ones_own_with_workers(tmp_path: Path) -> None:
    (tmp_path / "pendulum_file.py").write_text(PENDULUM)
    base = [sys.executable, "-m", "physics_sim", "simulate", "--code", tmp_path / "pendulum_file.py"]
    options = ["--scenario", "pendulum", "--clips", "12", "--shard", "6", "--size", "16", "--out"]
    for workers in ("1", "2"):
        subprocess.run([*base, *options, tmp_path / workers, "--workers", workers], check=True, capture_output=True)
    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes()
    frames, metadata = next(physics_sim.open_dataset(tmp_path / "1"))
    assert frames.shape == (16, 16, 16, 3) and metadata["scenario"] == "pendulum"
    position = np.array(metadata["states"]["position"])[:, 0]
    length = np.hypot(*(position - [5.0, 7.0]).T)
    assert np.abs(length - length[0]).max() < 0.01


def test_files_that_are_no_scenarios(clean: None, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "broken_scenario.py").write_text("1 / 0")
    (tmp_path / "leaving_scenario.py").write_text("raise SystemExit(3)")
    (tmp_path / "json.py").write_text("")
    for name, message in (
        ("broken_scenario.py", "division"),
        ("leaving_scenario.py", "SystemExit: 3"),
        ("json.py", "rename it"),
        ("nothing.py", "not a Python file"),
    ):
        with pytest.raises(SystemExit, match="2"):
            cli.run(cli.cli, ["simulate", "--code", str(tmp_path / name), "--out", str(tmp_path / "out")])
        assert message in capsys.readouterr().err


def test_an_installed_package_offers_scenarios(clean: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    drop = scenarios.find("drop")

    class Entry:
        name = "elsewhere"

        @staticmethod
        def load() -> object:
            return drop

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [Entry] if group == scenarios.GROUP else [])
    scenarios._installed.cache_clear()
    assert physics_sim.make_clip("elsewhere").scenario == "elsewhere"
    scenarios._installed.cache_clear()
