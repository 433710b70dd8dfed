"""The command line: what it writes, and one sentence with status 2 for what it cannot."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from physics_sim import cli, leak
from physics_sim.sampling import make_clip


def call(*arguments: object) -> int:
    try:
        cli.run(cli.cli, [str(argument) for argument in arguments])
    except SystemExit as error:
        return int(error.code or 0)
    return 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("simulate", "--scenario", "colide"), "did you mean 'collide'?"),
        (("simulate", "--scenario", "laws", "--split", "combinations"), "None of the laws has the split"),
        (("simulate", "--split", "tets"), "no split 'tets'"),
        (("simulate", "--size", 0), "resolution"),
        (("simulate", "--size", 100000), "resolution"),
        (("simulate", "--size", "big"), "not a valid integer"),
        (("simulate", "--clips", 0), "clips"),
        (("simulate", "--workers", 0), "workers"),
        (("simulate", "--seed", -3), "seed"),
        (("preview", "--scenario", "uniform", "--size", 4), "resolution"),
    ],
)
def test_bad_input(arguments: tuple, message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert call(*arguments, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_simulate_and_go_on(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = ("simulate", "--scenario", "laws", "--split", "interpolate", "--clips", 3, "--size", 16, "--out")
    assert call(*command, tmp_path / "out") == 0
    assert "3 clips of uniform, parabola, collision (interpolate)" in capsys.readouterr().out
    assert call(*command, tmp_path / "out") == 0
    assert call(*command, tmp_path / "out", "--seed", 1) == 2
    assert "another data set" in capsys.readouterr().err
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert index["clips"] == 3 and len(index["fingerprint"]) == 64


def test_preview_draws_sheets_and_films(tmp_path: Path) -> None:
    assert call("preview", "--scenario", "collide,uniform", "--clips", 2, "--size", 32, "--out", tmp_path / "p") == 0
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [
        "collide.gif",
        "collide.png",
        "scenarios.png",
        "uniform.gif",
        "uniform.png",
    ]
    with Image.open(tmp_path / "p" / "collide.gif") as film:
        assert film.n_frames == 16 and film.size == (66, 32)
        film.seek(9)
        shown = np.asarray(film.convert("RGB")).astype(float)[:, :32]
    truth = make_clip("collide", "train", 0, size=32).frames[9]
    assert np.abs(shown - truth).mean() < 3


def test_a_folder_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    for command in ("simulate", "preview"):
        assert call(command, "--scenario", "uniform", "--out", tmp_path / "file" / "under") == 2
        assert "cannot be written" in capsys.readouterr().err


def test_fingerprints_are_printed_and_the_same_in_another_process(capsys: pytest.CaptureFixture) -> None:
    arguments = ["fingerprint", "--scenario", "collide,collision", "--clips", "2"]
    assert call(*arguments) == 0
    mine = capsys.readouterr().out
    other = subprocess.run([sys.executable, "-m", "physics_sim", *arguments], capture_output=True, text=True)
    assert other.stdout == mine and len(mine.splitlines()) == 2


def test_help_is_quick_and_lists_the_commands() -> None:
    code = "import sys, physics_sim.cli; print(sorted({'numpy', 'pymunk', 'rich', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
    shown = subprocess.run([sys.executable, "-m", "physics_sim", "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in ("simulate", "preview", "leak", "fingerprint"))


def test_the_first_frame_does_not_give_the_answer_away(capsys: pytest.CaptureFixture) -> None:
    row = leak.measure_leak("drop", fitted=20, tested=20)
    assert row.contact == 0.5 and row.seen < 0.65
    assert call("leak", "--scenario", "contain", "--fitted", 10, "--tested", 10) == 0
    assert "contain" in capsys.readouterr().out
    assert call("leak", "--scenario", "uniform") == 2


def test_the_regression_finds_what_is_there() -> None:
    """Otherwise the report above would be good news from a blind witness."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6))
    y = x @ [2.0, -1.0, 0, 0, 0, 0] + 0.3 * rng.normal(size=400) > 0
    assert leak.accuracy(x[:200], y[:200], x[200:], y[200:]) > 0.9
    coin = rng.random(400) < 0.5
    assert 0.35 < leak.accuracy(x[:200], coin[:200], x[200:], coin[200:]) < 0.65
