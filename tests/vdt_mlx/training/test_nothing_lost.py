"""What ends a run badly, and what is damaged between two calls: nothing is lost, nothing wrong is taken for right."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from training_runs import losses, make_clips, start

from vdt_mlx.commands.train import train
from vdt_mlx.config import read_config
from vdt_mlx.errors import VDTError
from vdt_mlx.media.folders import clip_entries
from vdt_mlx.training import data
from vdt_mlx.training import state as saving
from vdt_mlx.training.config import DataConfig, load_config
from vdt_mlx.training.provenance import facts
from vdt_mlx.training.recipe import run_recipe
from vdt_mlx.training.release import card
from vdt_mlx.training.start import train_autoencoder
from vdt_mlx.training.vdt import VDTTask

pytestmark = pytest.mark.usefixtures("uncompiled")


@pytest.fixture
def run(whole_run, tmp_path) -> Path:
    """A copy of a whole run of eight steps, the last two of which have states."""
    return Path(shutil.copytree(whole_run, tmp_path / "copy"))


def step_fails_at(monkeypatch, number: int, action) -> None:
    true_step = VDTTask.train_step

    def step(self, at):
        if at == number:
            action()
        return true_step(self, at)

    monkeypatch.setattr(VDTTask, "train_step", step)


# A save is one protocol ----------------------------------------------------------------------------------------------

KILLED = """
import os, sys
from pathlib import Path
import mlx.core as mx
from vdt_mlx.checkpoint import save_checkpoint
from vdt_mlx.config import CheckpointConfig, VDTConfig
from vdt_mlx.training import loop, state
from vdt_mlx.training.config import LoopConfig

class Task:
    def __init__(self, steps):
        self.loop, self.value = LoopConfig(steps=steps, save_minutes=0.0, preview_minutes=0.0), mx.zeros(3)
    def fill(self, step, progress): pass
    def train_step(self, step):
        self.value = self.value + 1
        return {"loss": 1.0}
    def groups(self): return {"parameters": {"value": self.value}}
    def restore(self, groups): self.value = groups["parameters"]["value"]
    def save(self, folder, facts):
        config = CheckpointConfig(vdt=VDTConfig(), training=facts)
        save_checkpoint(folder, config, vdt={"value": self.value}, replace=True)
    def preview(self, folder, step): return {}
    def agree(self, stop): return stop
    def close(self): pass

def train(out, steps):
    with state.owned(out):
        state.remove_leftovers(out)
        return loop.run(Task(steps), out, resume=True)

def in_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def die_at(boundary):
    seen = [0]
    def counted(true):
        def call(*arguments, **options):
            seen[0] += 1
            if seen[0] == boundary:
                os._exit(9)
            return true(*arguments, **options)
        return call
    for name in ("rename", "replace", "fsync", "rmdir", "unlink"):
        setattr(os, name, counted(getattr(os, name)))

def check(out):
    step, groups = state.load_state(out)
    assert groups["parameters"]["value"].tolist() == [step] * 3, step
    assert state.checkpoint_is_of(out / "checkpoint", step), step
    assert mx.load(str(out / "checkpoint" / "vdt.safetensors"))["value"].tolist() == [step] * 3
    assert not [path for path in out.rglob(".*")], list(out.rglob(".*"))
    print(step, flush=True)

folder, boundary, survived = Path(sys.argv[1]), 0, False
while not survived:
    boundary += 1
    out = folder / str(boundary)
    def dies():
        train(out, 2)
        die_at(boundary)
        train(out, 4)
    status = in_child(dies)
    assert status in (0, 9), status
    survived = status == 0
    def resumed():
        train(out, 2)  # nothing is left to train in many cases; what is missing is written all the same
        check(out)
    assert in_child(resumed) == 0, boundary
print("boundaries", boundary - 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_every_boundary_of_a_save_it_has_state_and_checkpoint_of_one_step(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) >= 20, done.stdout


def test_a_checkpoint_that_is_missing_or_older_is_written_at_resume(problem, run):
    shutil.rmtree(run / "checkpoint")
    start(problem, run, resume=True)
    assert read_config(run / "checkpoint").training["steps"] == 8
    body = json.loads((run / "checkpoint" / "config.json").read_text())
    body["training"]["steps"] = 7
    (run / "checkpoint" / "config.json").write_text(json.dumps(body))
    start(problem, run, resume=True)
    assert read_config(run / "checkpoint").training["steps"] == 8


def test_a_state_that_was_altered_is_not_taken(run):
    newest = saving.find_states(run)[0] / saving.ARRAYS
    body = bytearray(newest.read_bytes())
    body[-5] ^= 1
    newest.write_bytes(body)
    assert saving.load_state(run)[0] == 7
    with pytest.raises(VDTError, match="not what its manifest says"):
        saving.load_state(run, 8)


def test_a_state_from_before_there_were_manifests_is_read(run):
    (saving.find_states(run)[0] / saving.MANIFEST).unlink()
    assert saving.load_state(run)[0] == 8


# Identity ------------------------------------------------------------------------------------------------------------


def test_settings_are_compared_by_their_whole_path(problem, run):
    with pytest.raises(VDTError, match=r"other settings.*diffusion.steps: 2 -> 3"):
        start(problem, run, "diffusion.steps=3", resume=True)
    assert start(problem, run, "loop.steps=9", resume=True)["step"] == 9


def test_a_lower_rate_may_be_asked_for_and_is_recorded(problem, run):
    with pytest.raises(VDTError, match=r"optimizer.lr: 0.001 -> 0.1"):
        start(problem, run, "optimizer.lr=0.1", resume=True)
    start(problem, run, "optimizer.lr=0.0001", resume=True, at=7)
    record = saving.read_run(run)["lowered"]
    assert record == [{"after": 8, "key": "optimizer.lr", "from": 0.001, "to": 0.0001}]
    start(problem, run, "optimizer.lr=0.0001", resume=True)
    assert saving.read_run(run)["lowered"] == record


def test_going_back_gives_up_later_steps(problem, run):
    with pytest.raises(VDTError, match=r"no state of step 3: it has 7, 8"):
        start(problem, run, resume=True, at=3)
    with pytest.raises(VDTError, match="comes with `resume`"):
        start(problem, run.with_name("new"), at=3)
    before = losses(run)
    start(problem, run, resume=True, at=7, hours=0.0)
    assert losses(run) == before and saving.load_state(run)[0] == 8


def test_the_data_folder_counts_by_its_content(problem, tmp_path):
    first, moved, other = (tmp_path / name for name in ("first", "moved", "other"))
    make_clips(first)
    start(problem, tmp_path / "run", f"data.path={first}", steps=2)
    shutil.copytree(first, moved)
    shutil.copytree(first, other)
    start(problem, tmp_path / "run", f"data.path={moved}", steps=3, resume=True)
    frames = np.load(other / "0.npz")["frames"]
    np.savez(other / "0.npz", frames=frames[::-1])
    with pytest.raises(VDTError, match="not what they were"):
        start(problem, tmp_path / "run", f"data.path={other}", steps=4, resume=True)


def test_a_large_file_is_told_from_another_by_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "WHOLE", 1 << 20)
    file, size = tmp_path / "large.bin", 5 << 20
    file.write_bytes(bytes(size))
    empty = data.content(file)
    for place in (0, size - 1):
        body = bytearray(size)
        body[place] = 1
        file.write_bytes(body)
        assert data.content(file) != empty
    file.write_bytes(bytes(size + 1))
    assert data.content(file) != empty


def test_another_autoencoder_under_a_run_is_refused(problem, run):
    coder = run / "autoencoder" / "autoencoder.safetensors"
    weights = mx.load(str(coder))
    name = sorted(weights)[0]
    mx.save_safetensors(str(coder), {**weights, name: weights[name] + 1}, {"format": "mlx"})
    with pytest.raises(VDTError, match="weights have changed"):
        start(problem, run, resume=True, steps=9)


def test_a_data_set_says_itself_which_split_it_is_of(tmp_path):
    from physics_sim.dataset import DataSetSpec, write

    write(tmp_path / "set", DataSetSpec(("uniform",), "test", 2, seed=3))
    config = load_config("physics", (f"data.path={tmp_path / 'set'}", "data.source=folder"))
    told = data.build_source(config.data).told()
    assert told == {"split": "test", "seed": 3}
    assert facts(config, told)["splits"]["train"] == "test"
    videos = DataConfig(source="videos", path=str(tmp_path / "set"))
    assert data.build_source(videos).told()["split"] == "unknown"


def test_somebody_elses_weights_are_not_called_ours(tiny_checkpoint):
    scores = {"split": "val", "clips": 0, "calls": 2}
    ours = read_config(tiny_checkpoint)
    text = card({}, ours.vdt, scores, {"source": "theirs.pt"})
    assert "converted from theirs.pt, not trained by this repository" in text and "MIT" not in text
    text = card({"steps": 5, "config": {"data": {"split": "train"}}}, ours.vdt, scores)
    assert "trained by this repository" in text and "**Licence**: MIT" in text


# One owner -----------------------------------------------------------------------------------------------------------


def test_a_folder_has_one_owner(problem, run):
    with saving.owned(run), pytest.raises(VDTError, match="Another process is training"):
        start(problem, run, resume=True, steps=9)
    assert start(problem, run, resume=True, steps=9)["step"] == 9


def test_a_folder_that_is_somebodys_gets_no_file(problem, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / ".mine.partial").write_text("mine")
    for call in (lambda: start(problem, tmp_path), lambda: run_recipe("physics", tmp_path)):
        with pytest.raises(VDTError, match="not empty"):
            call()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.partial", "mine.txt"]


def test_a_folder_of_latents_has_one_writer(problem, whole_run, tmp_path):
    import fcntl

    start(problem, tmp_path / "one", f"data.cache={tmp_path / 'cache'}", steps=1)
    [latents] = (tmp_path / "cache").glob("*.f16")
    with latents.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(VDTError, match=r"data\.cache of its own"):
            start(problem, tmp_path / "two", f"data.cache={tmp_path / 'cache'}", steps=1)
    assert not (tmp_path / "two").exists()


# Numbers that are none -----------------------------------------------------------------------------------------------


def test_a_gradient_that_is_infinite_stops_and_says_how_to_go_back(problem, tmp_path, monkeypatch):
    true_step = VDTTask.train_step
    monkeypatch.setattr(
        VDTTask,
        "train_step",
        lambda self, number: true_step(self, number) | ({"grad_norm": float("inf")} if number == 5 else {}),
    )
    with pytest.raises(VDTError, match=r"gradient norm of step 6 is inf.*--resume --from-step 5 --set optimizer.lr"):
        start(problem, tmp_path / "run")
    assert all(json.loads(line) for line in (tmp_path / "run" / saving.LOG).read_text().splitlines())


def test_lines_of_the_log_that_make_no_sense_are_left_out(tmp_path):
    odd = ('"x"', "-1", "1.5", "true", "null", "1e400", "1" + "0" * 5000, "[" * 5000, "{}")
    lines = ['{"step": 1, "loss": 0.5}', *(f'{{"step": {value}}}' for value in odd), '{"note": "x"}', '{"step": 2']
    (tmp_path / saving.LOG).write_text("\n".join(lines))
    assert saving.read_log(tmp_path) == [{"step": 1, "loss": 0.5}, {"note": "x"}]
    saving.Log(tmp_path, 1).close()
    assert (tmp_path / saving.LOG).read_text() == '{"step": 1, "loss": 0.5}\n{"note": "x"}\n'


def test_the_log_is_json_whatever_was_measured(tmp_path):
    log = saving.Log(tmp_path, 0)
    log.write({"step": 1, "preview": {"ade": float("nan"), "rows": [float("inf"), 1.0]}})
    log.close()
    assert json.loads((tmp_path / saving.LOG).read_text()) == {"step": 1, "preview": {"ade": None, "rows": [None, 1.0]}}


def test_the_last_sound_state_outlives_a_divergence(tmp_path):
    def save(step, smoothed):
        loss = {"smoothed": smoothed, "lowest": 1.0}
        saving.save_state(tmp_path, step, {"parameters": {"value": mx.zeros(1)}}, 2, loss)

    for step, smoothed in ((1, 1.2), (2, 1.0), (3, 2.5), (4, 9.0), (5, 50.0)):
        save(step, smoothed)
    assert [saving.step_of(state) for state in saving.find_states(tmp_path)] == [5, 4, 2]
    save(6, 1.1)
    assert [saving.step_of(state) for state in saving.find_states(tmp_path)] == [6, 5]


def test_latents_that_are_no_numbers_are_refused(problem, tmp_path, monkeypatch):
    from vdt_mlx.network.autoencoder import Autoencoder

    monkeypatch.setattr(Autoencoder, "encode_clip", lambda self, clips, **_: mx.full((len(clips), 4, 2, 2, 4), 1e6))
    with pytest.raises(VDTError, match="latents of clip 0 are not finite"):
        start(problem, tmp_path / "run")


def test_latents_that_were_altered_are_made_again(problem, whole_run, tmp_path, capsys):
    out = tmp_path / "run"
    start(problem, out, steps=4)
    [latents] = (out / "cache").glob("*.f16")
    whole = latents.read_bytes()
    body = bytearray(whole)
    body[len(body) // 2] ^= 64
    latents.write_bytes(body)
    start(problem, out, resume=True)
    assert "is damaged: made again" in capsys.readouterr().err
    assert latents.read_bytes() == whole


# Ends ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_and_sigterm_save_and_end(problem, tmp_path, monkeypatch, number):
    before = signal.signal(number, signal.default_int_handler)  # as a command line has it
    try:
        step_fails_at(monkeypatch, 3, lambda: os.kill(os.getpid(), number))
        with pytest.raises(KeyboardInterrupt):
            start(problem, tmp_path / "run", "loop.save_minutes=60.0")
    finally:
        signal.signal(number, before)
    assert saving.load_state(tmp_path / "run")[0] == 4


def test_an_error_in_a_step_loses_nothing_before_it(problem, tmp_path, monkeypatch):
    def broken():
        raise RuntimeError("the device is gone")

    step_fails_at(monkeypatch, 5, broken)
    with pytest.raises(RuntimeError, match="device is gone"):
        start(problem, tmp_path / "run", "loop.save_minutes=60.0")
    monkeypatch.undo()
    assert saving.load_state(tmp_path / "run")[0] == 5
    start(problem, tmp_path / "run", resume=True)
    start(problem, tmp_path / "whole")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_a_dead_simulator_is_started_again_where_it_was(monkeypatch, capsys):
    import physics_sim

    true_stream, calls = physics_sim.stream, []

    def stream(names, split, **numbers):
        calls.append(numbers.get("start"))
        for count, clip in enumerate(true_stream(names, split, **{**numbers, "workers": 0})):
            if len(calls) in (2, 3) and count == 2:
                raise physics_sim.SimulationError("A worker process died.")
            yield clip

    source = data.Simulated(DataConfig(scenarios=("uniform",)), workers=1)
    plain = [clip for clip, _ in zip(data.Simulated(source_config(), workers=0).clips(5), range(6), strict=False)]
    monkeypatch.setattr(physics_sim, "stream", stream)
    calls.append(None)  # the one that checks
    found = [clip for clip, _ in zip(source.clips(5), range(6), strict=False)]
    assert calls[1:] == [5, 7, 9] and all(np.array_equal(a, b) for a, b in zip(found, plain, strict=True))
    assert "started again at clip 7" in capsys.readouterr().err


def source_config() -> DataConfig:
    return DataConfig(scenarios=("uniform",))


def test_a_simulator_that_never_gives_a_clip_ends_the_run(monkeypatch):
    import physics_sim

    source = data.Simulated(source_config(), workers=1)

    def stream(*_, **__):
        raise physics_sim.SimulationError("A worker process died.")
        yield

    monkeypatch.setattr(physics_sim, "stream", stream)
    with pytest.raises(VDTError, match="worker process died"):
        next(source.clips(0))


def test_a_training_that_ends_says_where_and_what_next(problem, tmp_path):
    out = tmp_path / "run"
    options = ["--config", problem["config"], "--out", str(out), "--autoencoder", problem["autoencoder"]]
    text = CliRunner().invoke(train, ["vdt", *options, "--steps", "2"]).output
    assert f"Wrote {out}/checkpoint: 2 steps" in text and f"Next: vdt-mlx sample --model {out}/checkpoint" in text


def test_a_run_inside_of_its_own_data_goes_on(problem, tmp_path):
    """What training writes there is no clip, and changes nothing of what it was trained on."""
    shutil.copytree(Path(problem["folder"]) / "videos", tmp_path / "videos")
    out = tmp_path / "videos" / "run"
    changes = (f"data.path={tmp_path / 'videos'}", "autoencoder_loop.save_minutes=60.0")
    train_autoencoder(problem["config"], out, (*changes, "autoencoder_loop.steps=2"))
    (out / "previews" / "sheet").mkdir(parents=True)
    for number in range(8):
        Image.new("RGB", (8, 8)).save(out / "previews" / "sheet" / f"{number}.png")
    train_autoencoder(None, out, ("autoencoder_loop.steps=4",), resume=True)
    assert saving.load_state(out)[0] == 4
    assert [path.name for path in clip_entries(tmp_path / "videos").paths] == [f"{number}.npz" for number in range(6)]
