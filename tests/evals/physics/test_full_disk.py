"""The examiner on a full disk: one sentence, nothing that was there is lost, and `--resume` goes on from there."""

from pathlib import Path

import pytest

from evals.physics import results
from evals.physics.cli import physics
from tests.full_disk import full_disk
from vdt_mlx import cli

FEW = ["--scenario", "collide,uniform", "--clips", "2", "--library", "2", "--sections", "none"]


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Runs `python -m evals.physics ...`, on a disk of so many bytes a file: its status and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(room: int | None, *arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            if room is None:
                cli.run(physics, args=[str(argument) for argument in arguments])
            with full_disk(room):
                cli.run(physics, args=[str(argument) for argument in arguments])
        return ended.value.code or 0, capfd.readouterr().err

    return run


def is_one_sentence(err: str) -> bool:
    return "Traceback" not in err and err.strip().splitlines()[-1].startswith("Error: ")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict:
    """The results of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    with pytest.raises(SystemExit) as ended:
        cli.run(physics, args=["--baselines-only", *FEW, "--out", str(out)])
    assert ended.value.code == 0
    return results.read(out)


@pytest.mark.parametrize("room", [5_000, 40_000])
def test_an_examination_goes_on_when_there_is_room(room, whole, command, tmp_path) -> None:
    """Room for no part, and for no report."""
    options = ["--baselines-only", *FEW, "--out", "out"]
    status, err = command(room, *options)
    assert status == 2 and is_one_sentence(err), err
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in left if ".partial" in path.name]
    status, err = command(None, *options, *(["--resume"] if left else []))
    assert status == 0, err
    found = results.read(Path("out"))
    assert found["values"] == whole["values"] and found["suite"] == whole["suite"]


def test_results_of_before_stay(command, tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    status, err = command(2_000, "--baselines-only", *FEW, "--out", "out")
    assert status == 2 and is_one_sentence(err), err
    assert (out / "notes.txt").read_text() == "mine"


def test_frames_that_are_exported(command, tmp_path) -> None:
    status, err = command(500, "--scenario", "collide", "--clips", "2", "--export", "given")
    assert status == 2 and is_one_sentence(err), err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    status, err = command(None, "--scenario", "collide", "--clips", "2", "--export", "given")
    assert status == 0 and len(list((tmp_path / "given").glob("*.npz"))) == 2, err
