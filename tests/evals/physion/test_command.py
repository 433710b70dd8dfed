"""`python -m evals.physion` from the outside."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evals.physion import readout, report, results
from vdt_mlx.media.video import write_png


@pytest.fixture
def physion(small, tmp_path, monkeypatch, capsys):
    """Runs `python -m evals.physion --model TINY ...` in this process: (exit status, stdout, stderr)."""
    from evals.physion.cli import physion as command
    from vdt_mlx import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(readout, "STRENGTHS", np.array([1.0]))
    monkeypatch.setattr(readout, "OUTER", 2)
    monkeypatch.setattr(readout, "INNER", 2)

    def run(*arguments: object) -> tuple[int, str, str]:
        given = ["--model", str(small), "--stride", "1", "--given", "2", "--frames", "6", "--seeds", "0,1"]
        with pytest.raises(SystemExit) as ended:
            cli.run(command, args=[*given, *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_a_whole_score_with_bad_clips(physion, core, monkeypatch) -> None:
    films, maps = core / "Collide" / "mp4s-redyellow", core / "Collide" / "maps"
    (films / "pilot_collide_0004-redyellow_img.mp4").write_bytes(b"\0" * 300)
    write_png(
        maps / "pilot_collide_0005_map.png", np.tile(np.array([[[255, 0, 0], [255, 255, 0]]], np.uint8), (32, 16, 1))
    )
    status, out, _ = physion("--data", core, "--out", "o")
    assert status == 0
    lines = out.splitlines()
    assert "Will the agent touch the patient?" in out and lines[-1].startswith("Next:")
    assert "pilot_collide_0004" in out and "32 x 32" in out and "odd lacks clips" in out
    assert "2-D gap is not the contact question" in " ".join(out.split())
    body = results.read(Path("o"))
    assert body["clips"] == {"collide": 10} and body["settings"]["seeds"] == [0, 1]
    assert {row["scenario"] for row in body["rows"]} == {"collide", "all"}
    assert all(len(row["by_seed"]) == 2 and 0 <= row["low"] <= row["high"] <= 1 for row in body["rows"])
    assert {entry["clip"] for entry in body["bad"]} == {"pilot_collide_0004", "pilot_collide_0005"}
    assert body["features"] == {"part": "network", "block": "blocks.0", "timestep": 250.0}
    assert Image.open("o/physion.png").width > 600
    assert Path("o/physion.svg").stat().st_size > 1000
    _check_widths(body, monkeypatch)


def _check_widths(body: dict, monkeypatch) -> None:
    """Nothing is cut and nothing runs over, however wide the terminal is."""
    from io import StringIO

    from rich.console import Console

    for width in (60, 80, 120, 200):
        file = StringIO()
        console = Console(file=file, width=width, highlight=False, markup=False, emoji=False)
        monkeypatch.setattr(report, "console_for_results", lambda console=console: console)
        report.show(body, {})
        text = file.getvalue()
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        for row in body["rows"]:
            assert results.percent(row["accuracy"]) in text


def test_fitting_on_other_clips_and_json(physion, core) -> None:
    """Of a folder that is fitted on itself, with no more clips than numbers, everything is known."""
    status, out, _ = physion("--data", core, "--readout", core, "--seeds", "7", "--scenario", "collide", "--json")
    assert status == 0
    body = json.loads(out)
    observed = next(r for r in body["rows"] if (r["scenario"], r["protocol"]) == ("collide", "observed"))
    assert observed["accuracy"] == 1
    assert body["scenarios"][0]["fitted_on"] == 12
    assert Path(body["outputs"]["picture"]).is_file()


def test_a_stopped_run_goes_on(physion, core, monkeypatch) -> None:
    """Stopped after its first seed; the second run makes the second seed only, and the result is the same."""
    from evals.physion import run as job

    asked = ("--data", core, "--scenario", "collide", "--json")
    original, calls = job.protocols, []

    def counted(*arguments):
        calls.append(arguments[4])
        if stop and arguments[4] == 1:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(job, "protocols", counted)
    stop = True
    status, _, err = physion(*asked, "--out", "o")
    assert status == 130 and "--resume --out o goes on" in err
    assert not Path("o/results.json").exists()
    assert "There is a stopped run in o" in physion(*asked, "--out", "o")[2]
    assert "other values of given" in physion(*asked, "--out", "o", "--resume", "--given", "3")[2]
    stop, calls = False, []
    status, out, _ = physion(*asked, "--out", "o", "--resume")
    assert status == 0 and set(calls) == {1} and not Path("o/work").exists()
    status, whole, err = physion(*asked)
    assert status == 0, err
    assert json.loads(out)["rows"] == json.loads(whole)["rows"]
    assert "no stopped run" in physion(*asked, "--resume", "--out", "o")[2]


BAD = {
    "Missing option '--data'": [],
    "There is no folder": ["--data", "nowhere"],
    "not laid out": ["--data", "empty"],
    "There is no label file": ["--data", "CORE", "--labels", "nowhere.csv"],
    "2 given frames leave nothing": ["--data", "CORE", "--frames", "2"],
    "makes 6 at once": ["--data", "CORE", "--frames", "5"],
    "takes 6 frames at once": ["--data", "CORE", "--given", "6", "--frames", "10"],
    "different seeds": ["--data", "CORE", "--seeds", "1,1"],
    "Unknown scenario": ["--data", "CORE", "--scenario", "roll"],
    "no block": ["--data", "CORE", "--block", "blocks.7"],
    "is a file": ["--data", "CORE", "--out", "file"],
    "No scenario": ["--data", "CORE", "--scenario", "odd"],
    "has no clips of collide": ["--data", "CORE", "--readout", "CORE/Odd"],
    "timestep": ["--data", "CORE", "--part", "autoencoder", "--timestep", "3"],
}


@pytest.mark.parametrize(("sentence", "arguments"), BAD.items())
def test_bad_input_is_one_sentence(physion, made_core, tmp_path, sentence, arguments) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    status, out, err = physion(*(word.replace("CORE", str(made_core)) for word in arguments))
    assert status == 2 and out == ""
    assert sentence in err.splitlines()[-1]
    assert not (tmp_path / "vdt-out").exists()


def test_films_that_are_all_broken(physion, core) -> None:
    shutil.rmtree(core / "Odd")
    for film in (core / "Collide" / "mp4s-redyellow").iterdir():
        film.write_bytes(b"broken")
    status, _, err = physion("--data", core)
    assert status == 2 and "13 clips are bad" in err.splitlines()[-1]


def test_without_scikit_learn(physion, made_core, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    status, _, err = physion("--data", made_core)
    assert status == 2 and "vdt-mlx[physion]" in err


def test_given_frames_and_length_follow_the_stride() -> None:
    from evals.physion.settings import usual
    from vdt_mlx.errors import VDTError

    assert usual(9, None, None) == (5, 16)
    assert usual(3, None, None) == (15, 50)
    assert usual(3, 8, None) == (8, 50)
    with pytest.raises(VDTError, match="stride 4"):
        usual(4, None, 16)
