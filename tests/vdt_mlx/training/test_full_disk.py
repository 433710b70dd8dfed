"""Training on a full disk: one sentence, nothing lost, and with room again the run goes on to the same end."""

import json
import re
import resource
import shutil
from pathlib import Path

import pytest
from training_runs import losses, start

from tests.full_disk import full_disk
from vdt_mlx import cli
from vdt_mlx.training import state as saving


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Runs `vdt-mlx ...` on a disk of so many bytes a file: its status and what it said on standard error."""
    monkeypatch.chdir(tmp_path)

    def run(room: int | None, *arguments: object) -> tuple[int, str]:
        # What is printed goes to files, which end where the test's do.
        with pytest.raises(SystemExit) as ended, full_disk(room or resource.getrlimit(resource.RLIMIT_FSIZE)[0]):
            cli.run(cli.vdt_mlx, args=[str(argument) for argument in arguments])
        return ended.value.code or 0, capfd.readouterr().err

    return run


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_one_sentence(err: str) -> bool:
    return "Traceback" not in err and err.strip().splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize("room", [100, 20_000, 60_000])
def test_a_run_of_the_network_goes_on_when_there_is_room(room, problem, whole_run, command, tmp_path) -> None:
    """Room for not even the run's description, for that but not the autoencoder, and for both but no state."""
    options = ["--config", problem["config"], "--autoencoder", problem["autoencoder"], "--out", "run"]
    status, err = command(room, "train", "vdt", *options)
    assert status == 2 and is_one_sentence(err), err
    begun = (tmp_path / "run" / saving.RUN).is_file()
    status, err = command(None, "train", "vdt", *(["--out", "run", "--resume"] if begun else options))
    assert status == 0, err
    assert losses(tmp_path / "run") == losses(whole_run)
    assert not [path for path in (tmp_path / "run").rglob("*") if ".partial" in path.name]
    same = [path.relative_to(whole_run) for path in (whole_run / "checkpoint").glob("*.safetensors")]
    assert same and all((tmp_path / "run" / path).read_bytes() == (whole_run / path).read_bytes() for path in same)


@pytest.mark.parametrize("room", [100, 3_000])
def test_a_run_of_the_autoencoder_too(room, problem, command, tmp_path) -> None:
    options = ["--config", problem["config"], "--out", "run"]
    status, err = command(room, "train", "autoencoder", *options)
    assert status == 2 and is_one_sentence(err), err
    begun = (tmp_path / "run" / saving.RUN).is_file()
    status, err = command(None, "train", "autoencoder", *(["--out", "run", "--resume"] if begun else options))
    assert status == 0, err
    assert losses(tmp_path / "run") == losses(Path(problem["autoencoder"]).parent)


COMMANDS = {
    "resume with more steps": ["vdt", "--out", "run", "--resume", "--steps", "10"],
    "plot": ["plot", "run"],
    "pack": ["pack", "run/checkpoint", "packed", "--autoencoder", "run/checkpoint"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_was_there_stays(name, whole_run, command, tmp_path) -> None:
    shutil.copytree(whole_run, tmp_path / "run")
    (tmp_path / "run" / "curves.svg").write_text("drawn before")
    before = content(tmp_path)
    status, err = command(2_000, "train", *COMMANDS[name])
    assert status == 2 and is_one_sentence(err), err
    after = content(tmp_path)
    kept = re.compile(r"run/(log\.jsonl|run\.json|.*\.lock|states/.*)")  # which a run goes on with
    assert {path: data for path, data in after.items() if not kept.fullmatch(path)} == {
        path: data for path, data in before.items() if not kept.fullmatch(path)
    }
    assert saving.load_state(tmp_path / "run")[0] == 8
    assert json.loads((tmp_path / "run" / saving.RUN).read_text())["kind"] == "vdt"


def test_states_of_before_survive_a_disk_that_fills_up(problem, tmp_path, monkeypatch) -> None:
    """However much room there is: the newest whole state is the one that was saved last."""
    out = tmp_path / "run"
    start(problem, out, "loop.steps=4")
    size = max(path.stat().st_size for path in (out / saving.STATES).rglob("*"))
    for room in (size // 10, size // 2, size - 1):
        with full_disk(room), pytest.raises(Exception) as caught:
            start(problem, out, resume=True, steps=8)
        assert "state" in str(caught.value) or "written" in str(caught.value)
        assert saving.load_state(out)[0] == 4
