"""A disk that is full, for every command that writes: one sentence, nothing half written, nothing lost."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.full_disk import full_disk
from vdt_mlx.media import video

GOLDEN = Path(__file__).parents[2] / "golden"
ROOM = 6000
"""Bytes that a file may have."""


def content(folder: Path) -> dict[str, bytes | None]:
    paths = sorted(path for path in folder.rglob("*") if "leveldb" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


COMMANDS = {
    "sample npz": ["sample", "--format", "npz", "--out", "old", "--force"],
    "sample gif": ["sample", "--format", "gif", "--out", "old", "--force"],
    "sample mp4": ["sample", "--format", "mp4", "--out", "old", "--force"],
    "sample png": ["sample", "--format", "png", "--out", "old", "--force"],
    "sample elsewhere": ["sample", "--format", "npz", "--out", "new/deep"],
    "simulate": ["simulate", "--scenario", "collide", "--clips", "2", "--out", "data"],
    "convert": ["convert", str(GOLDEN / "vdt_tiny.pt"), "converted", "--num-heads", "2"],
    "convert over": ["convert", str(GOLDEN / "vdt_tiny.pt"), "model", "--num-heads", "2", "--force"],
    "export": ["export", "model", "weights.pt"],
    "features": ["features", "clip.npz", "--model", "model", "--out", "old/sample.npz", "--pool", "none"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_loses_nothing(name, tiny_checkpoint, tmp_path, monkeypatch, capsys) -> None:
    from vdt_mlx import cli

    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_checkpoint, "model")
    Path("old").mkdir()
    for file in ("sample.npz", "sample.gif", "sample.json", "notes.txt"):
        (Path("old") / file).write_text("old")
    frames = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    np.savez("clip.npz", frames=frames)
    before = content(tmp_path)
    model = ["--model", "model"] if COMMANDS[name][0] == "sample" else []
    with full_disk(ROOM), pytest.raises(SystemExit) as ended:
        cli.run(cli.vdt_mlx, args=[*COMMANDS[name], *model])
    err = capsys.readouterr().err
    assert ended.value.code == 2, err
    assert "Traceback" not in err and err.strip().splitlines()[-1].startswith("Error: ")
    after = content(tmp_path)
    if name == "simulate":  # what is whole of a data set stays, to go on from
        after = {path: data for path, data in after.items() if not path.startswith("data")}
    assert after == before


def test_a_contact_sheet_and_a_leaderboard_of_before_stay(tmp_path, monkeypatch, capfd) -> None:
    from evals.leaderboard.cli import leaderboard
    from physics_sim.cli import main as simulator
    from vdt_mlx import cli

    monkeypatch.chdir(tmp_path)
    Path("board.md").write_text("old")
    with full_disk(100), pytest.raises(SystemExit) as ended:
        cli.run(leaderboard, args=["build", "--out", "board.md"])
    assert ended.value.code == 2
    with full_disk(1000):
        monkeypatch.setattr("sys.argv", ["physics_sim", "preview", "--out", "preview"])
        with pytest.raises(SystemExit) as ended:
            simulator()
    assert ended.value.code == 2
    err = capfd.readouterr().err
    assert "Traceback" not in err and err.count("Error: ") == 2
    assert Path("board.md").read_text() == "old"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "board.md"]


def test_every_writer_removes_its_partial_file(tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    for path, write in {
        "a.gif": lambda path: video.write_gif(path, noise, 8),
        "a.mp4": lambda path: video.write_mp4(path, noise, 8),
        "a.png": lambda path: video.write_png(path, noise[0]),
        "a": lambda path: video.write_pngs(path, noise),
        "a.npz": lambda path: video.write_npz(path, frames=noise),
    }.items():
        with full_disk(ROOM), pytest.raises(Exception) as caught:
            write(tmp_path / path)
        assert not isinstance(caught.value, AttributeError | TypeError)
        assert list(tmp_path.iterdir()) == [], path
