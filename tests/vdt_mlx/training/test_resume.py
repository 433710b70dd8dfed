"""Whole training runs on a tiny problem: exact resume, kill -9, clean ends, bad folders."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from training_runs import losses, start

from vdt_mlx.checkpoint import load_autoencoder, load_vdt
from vdt_mlx.config import read_config
from vdt_mlx.errors import VDTError
from vdt_mlx.kernel_parity import WAYS
from vdt_mlx.low_memory import LowMemoryPipeline
from vdt_mlx.pipeline import Pipeline
from vdt_mlx.training import state as saving
from vdt_mlx.training.plot import plot_run
from vdt_mlx.training.start import train_autoencoder, train_vdt

pytestmark = pytest.mark.usefixtures("uncompiled")


def test_a_run_leaves_a_checkpoint_that_loads(problem, whole_run):
    config = read_config(whole_run / "checkpoint")
    assert config.training is not None and config.training["steps"] == 8
    model = load_vdt(whole_run / "checkpoint")
    autoencoder = load_autoencoder(whole_run / "checkpoint")
    assert model(mx.zeros((1, 4, 2, 2, 4)), mx.zeros(1)).shape == (1, 4, 2, 2, 4)
    assert autoencoder.config.latent_std is not None
    assert [step for step, _ in losses(whole_run)] == list(range(1, 9))
    assert len(saving.find_states(whole_run)) == 2
    assert all(path.stat().st_size for path in plot_run(whole_run))


def test_the_average_is_saved_and_not_the_last_weights(whole_run):
    _, groups = saving.load_state(whole_run)
    saved = load_vdt(whole_run / "checkpoint").blocks[0].mlp.fc1.weight
    name = "blocks.0.mlp.fc1.weight"
    assert mx.array_equal(saved, groups["ema"][name])
    assert not mx.array_equal(saved, groups["parameters"][name])


@pytest.mark.parametrize("changes", [(), ("optimizer.name=adamw", "loop.accumulate=2")])
def test_a_resumed_run_goes_on_bit_for_bit(problem, tmp_path, changes):
    start(problem, tmp_path / "whole", *changes)
    start(problem, tmp_path / "cut", *changes, steps=3)
    start(problem, tmp_path / "cut", *changes, resume=True)
    # The schedule is the cosine of the configured steps, which the cut run did not have until it was resumed.
    assert losses(tmp_path / "cut")[:3] == losses(tmp_path / "whole")[:3]
    start(problem, tmp_path / "constant", *changes, "optimizer.schedule=constant")
    start(problem, tmp_path / "parts", *changes, "optimizer.schedule=constant", steps=3)
    start(problem, tmp_path / "parts", *changes, "optimizer.schedule=constant", steps=5, resume=True)
    start(problem, tmp_path / "parts", *changes, "optimizer.schedule=constant", resume=True)
    assert losses(tmp_path / "parts") == losses(tmp_path / "constant")
    one = saving.load_state(tmp_path / "parts")[1]
    two = saving.load_state(tmp_path / "constant")[1]
    for group in ("parameters", "optimizer", "ema"):
        assert all(mx.array_equal(value, two[group][name]) for name, value in one[group].items())


@pytest.mark.parametrize("ways", WAYS, ids="-".join)
def test_every_switch_of_the_network_trains_resumes_and_samples(problem, tmp_path, ways):
    names = zip(("conditioning", "attention", "position"), ways, strict=True)
    changes = [f"vdt.{name}={value}" for name, value in names]
    changes += ["vdt.hidden_size=24", "optimizer.schedule=constant", "objective.tasks.spatial=0"]
    start(problem, tmp_path / "whole", *changes, steps=4)
    start(problem, tmp_path / "cut", *changes, steps=2)
    start(problem, tmp_path / "cut", *changes, steps=4, resume=True)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    folder = tmp_path / "whole" / "checkpoint"
    frames = np.random.default_rng(0).integers(0, 256, (1, 4, 8, 8, 3), dtype=np.uint8)
    mask = np.broadcast_to(np.arange(4)[:, None, None] >= 2, (4, 2, 2)).astype(np.float32)
    ordinary = Pipeline.load(folder).fill(frames, mask)
    limits = mx.set_memory_limit(1 << 30), mx.set_cache_limit(1 << 30)
    try:
        careful = LowMemoryPipeline.load(folder).fill(frames, mask)
    finally:
        mx.set_memory_limit(limits[0])
        mx.set_cache_limit(limits[1])
    assert np.abs(ordinary.astype(int) - careful).max() <= 1


SCRIPT = """
import sys
from vdt_mlx.training.start import train_vdt
config, out, autoencoder, resume = sys.argv[1:]
changes = ("optimizer.schedule=constant", "loop.steps=160")
if resume == "1":
    train_vdt(None, out, resume=True)
else:
    train_vdt(config, out, changes, autoencoder=autoencoder)
"""


@pytest.mark.slow
def test_kill_9_at_any_moment_loses_nothing(problem, tmp_path):
    """More than 20 kills; saving after every step takes most of the time, so most kills fall into a save."""
    out = tmp_path / "run"

    def begin(resume: bool, out: Path = out) -> subprocess.Popen:
        arguments = [problem["config"], str(out), problem["autoencoder"], "1" if resume else "0"]
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "MLX_DISABLE_COMPILE": "1"},
        )

    rng = random.Random(0)
    kills, resume = 0, False
    while True:
        process = begin(resume)
        if kills < 22:
            seen = len(losses(out)) if (out / saving.LOG).exists() else 0
            end = time.monotonic() + 60
            while time.monotonic() < end and process.poll() is None:
                if (out / saving.LOG).exists() and len(losses(out)) > seen:
                    break
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.03))
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            resume = (out / saving.RUN).exists()
            continue
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
        break
    assert kills >= 20
    assert begin(False, tmp_path / "whole").wait(timeout=300) == 0
    assert losses(out) == losses(tmp_path / "whole")
    assert not list(out.rglob("*.partial*"))


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_state(problem, tmp_path, monkeypatch):
    from vdt_mlx.training.vdt import VDTTask

    true_step = VDTTask.train_step

    def step(self, number):
        metrics = true_step(self, number)
        return {**metrics, "loss": float("nan")} if number == 5 else metrics

    monkeypatch.setattr(VDTTask, "train_step", step)
    with pytest.raises(VDTError, match=r"step 6 is nan.*state of step 5"):
        start(problem, tmp_path / "run")
    assert saving.load_state(tmp_path / "run")[0] == 5


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "full"), RuntimeError("[save_safetensors] Failed to write")])
def test_a_full_disk_stops_and_keeps_the_last_state(problem, tmp_path, monkeypatch, failure):
    true_save, count = mx.save_safetensors, [0]

    def save(path, arrays, metadata=None):
        count[0] += "states" in str(path)
        if count[0] == 4:
            Path(path).write_bytes(b"half")
            raise failure
        true_save(path, arrays, metadata)

    monkeypatch.setattr(mx, "save_safetensors", save)
    with pytest.raises(VDTError, match="last saved state is intact"):
        start(problem, tmp_path / "run")
    monkeypatch.undo()
    assert saving.load_state(tmp_path / "run")[0] == 3
    start(problem, tmp_path / "run", resume=True)
    assert saving.load_state(tmp_path / "run")[0] == 8


def test_ctrl_c_saves_and_ends(problem, tmp_path, monkeypatch):
    from vdt_mlx.training.vdt import VDTTask

    true_step = VDTTask.train_step

    def step(self, number):
        if number == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return true_step(self, number)

    monkeypatch.setattr(VDTTask, "train_step", step)
    with pytest.raises(KeyboardInterrupt):
        start(problem, tmp_path / "run", "loop.save_minutes=60.0")
    assert saving.load_state(tmp_path / "run")[0] == 4
    assert len(losses(tmp_path / "run")) == 4


def test_hours_end_a_run_with_a_save(problem, tmp_path):
    result = start(problem, tmp_path / "run", "loop.save_minutes=60.0", hours=0.0)
    assert result["step"] == 1
    assert saving.load_state(tmp_path / "run")[0] == 1


def test_a_damaged_newest_state_falls_back_to_the_one_before(problem, tmp_path):
    start(problem, tmp_path / "run")
    newest = saving.find_states(tmp_path / "run")[0] / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:100])
    assert saving.load_state(tmp_path / "run")[0] == 7


def test_folders_that_do_not_fit(problem, whole_run, tmp_path):
    with pytest.raises(VDTError, match=r"not empty.*--resume"):
        start(problem, whole_run)
    with pytest.raises(VDTError, match=r"other settings.*loop.batch: 4 -> 8"):
        start(problem, whole_run, "loop.batch=8", resume=True)
    with pytest.raises(VDTError, match="not the folder of a training run"):
        start(problem, tmp_path / "nothing", resume=True)
    with pytest.raises(VDTError, match="leave `autoencoder` out"):
        train_vdt(None, whole_run, resume=True, autoencoder=problem["autoencoder"])
    with pytest.raises(VDTError, match="holds the training of a vdt"):
        train_autoencoder(problem["config"], whole_run, resume=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(VDTError, match="exists"):
        start(problem, tmp_path / "file")
    with pytest.raises(VDTError, match="one of them"):
        start(problem, whole_run, resume=True, init=str(whole_run / "checkpoint"))
    with pytest.raises(VDTError, match="needs an autoencoder"):
        train_vdt(problem["config"], tmp_path / "new")
    with pytest.raises(VDTError, match="num_heads: 2 -> 4"):
        start(problem, tmp_path / "new", "vdt.num_heads=4", init=str(whole_run / "checkpoint"))
    with pytest.raises(VDTError, match="heun has no eta"):
        start(problem, tmp_path / "new", "diffusion.sampler=heun", "diffusion.eta=1")
    with pytest.raises(VDTError, match="ddim is for linear networks"):
        start(problem, tmp_path / "new", "diffusion.sampler=ddim")
    with pytest.raises(VDTError, match="no data folder"):
        start(problem, tmp_path / "new", "data.path=nowhere")
    with pytest.raises(VDTError, match="in_channels is 8"):
        start(problem, tmp_path / "new", "vdt.in_channels=8", "autoencoder.latent_channels=8")
    assert not (tmp_path / "new").exists()


def test_a_resumed_run_needs_no_configuration(problem, whole_run, tmp_path):
    start(problem, tmp_path / "run", "loop.batch=2", steps=2)
    assert train_vdt(None, tmp_path / "run", resume=True, steps=3)["step"] == 3


def test_a_run_from_before_an_option_existed_goes_on_with_its_default(problem, tmp_path):
    start(problem, tmp_path / "run", steps=2)
    record = tmp_path / "run" / saving.RUN
    run = json.loads(record.read_text())
    del run["config"]["diffusion"]["antithetic"]
    record.write_text(json.dumps(run))
    with pytest.raises(VDTError, match=r"other settings.*diffusion.antithetic: False -> True"):
        start(problem, tmp_path / "run", "diffusion.antithetic=true", resume=True)
    assert start(problem, tmp_path / "run", resume=True, steps=3)["step"] == 3


def test_previews_draw_a_sheet_and_a_score(problem, tmp_path):
    result = start(problem, tmp_path / "run", "loop.preview_minutes=1e-9", "loop.preview_clips=2", "loop.steps=2")
    assert (tmp_path / "run" / "previews" / "step-00000002.png").stat().st_size > 100
    assert result["scores"].keys() == {"clips", "psnr", "ssim", "copy_last_psnr", "copy_last_ssim"}, (
        "of one's own videos"
    )


def test_the_learned_variance_trains(problem, tmp_path):
    changes = (
        "vdt.learn_sigma=true",
        "diffusion.prediction=epsilon",
        "diffusion.schedule=linear",
        "diffusion.sampler=ddim",
    )
    start(problem, tmp_path / "run", *changes, "loop.steps=2")
    assert all(np.isfinite(loss) for _, loss in losses(tmp_path / "run"))


@pytest.mark.parametrize("changes", [("loop.accumulate=2",), ("loop.checkpointing=true",)])
def test_accumulation_and_checkpointing_change_nothing_but_memory(problem, whole_run, tmp_path, changes):
    start(problem, tmp_path / "run", *changes)
    plain = [loss for _, loss in losses(whole_run)]
    assert np.allclose([loss for _, loss in losses(tmp_path / "run")], plain, atol=1e-4)


def test_the_forms_for_a_gpu_follow_those_for_a_cpu(problem, whole_run, tmp_path, gpu_forms):
    start(problem, tmp_path / "run")
    plain = [loss for _, loss in losses(whole_run)]
    assert np.allclose([loss for _, loss in losses(tmp_path / "run")], plain, atol=1e-4)


def test_a_run_that_prepares_steps_ahead_is_resumed_bit_for_bit(problem, tmp_path, gpu_forms):
    test_a_resumed_run_goes_on_bit_for_bit(problem, tmp_path, ())


def test_bf16_follows_fp32_roughly(problem, whole_run, tmp_path):
    start(problem, tmp_path / "run", "loop.precision=bf16")
    ours = [loss for _, loss in losses(tmp_path / "run")]
    assert np.allclose(ours, [loss for _, loss in losses(whole_run)], rtol=0.05)
    assert saving.load_state(tmp_path / "run")[1]["parameters"]["blocks.0.mlp.fc1.weight"].dtype == mx.float32


RANKS = """
import sys
from vdt_mlx.training.start import train_vdt
config, out, autoencoder = sys.argv[1:]
changes = ("optimizer.schedule=constant", "loop.save_minutes=60.0", "loop.steps=50")
train_vdt(config, out, changes, autoencoder=autoencoder)
"""


@pytest.mark.slow
def test_two_ranks_follow_one(problem, tmp_path):
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    launch = [Path(sys.executable).parent / "mlx.launch", "-n", "2", "--python", sys.executable, str(script)]
    done = subprocess.run(
        [*launch, problem["config"], str(tmp_path / "two"), problem["autoencoder"]],
        capture_output=True,
        timeout=240,
    )
    assert (tmp_path / "two" / saving.LOG).exists(), done.stderr.decode()
    start(problem, tmp_path / "one", "optimizer.schedule=constant", "loop.save_minutes=60.0", "loop.steps=50")
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == 50
    assert np.allclose([loss for _, loss in one], [loss for _, loss in two], atol=1e-4)


def test_checkpoints_say_how_well_their_autoencoder_shows_the_clips(problem, whole_run):
    """Of the network and of the autoencoder, the same: both were trained on these clips."""
    network, coder = (read_config(path).training for path in (whole_run / "checkpoint", problem["autoencoder"]))
    assert 5 < network["reconstruction_psnr"] < 60
    assert network["reconstruction_psnr"] == coder["reconstruction_psnr"]


def test_clips_that_are_gone_do_not_keep_a_run_from_saving(problem, tmp_path):
    shutil.copytree(Path(problem["folder"]) / "videos", tmp_path / "videos")
    start(problem, tmp_path / "run", f"data.path={tmp_path / 'videos'}", "loop.steps=4")
    shutil.rmtree(tmp_path / "videos")
    from vdt_mlx.training.autoencoder import reconstruction_of
    from vdt_mlx.training.config import load_config

    config = load_config(problem["config"], (f"data.path={tmp_path / 'videos'}",))
    assert reconstruction_of(config, load_autoencoder(problem["autoencoder"])) == {}
