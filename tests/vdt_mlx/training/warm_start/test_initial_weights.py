"""Runs that begin with the weights of a checkpoint: as they are, widened, deepened, on other latents or targets."""

import json
import shutil

import mlx.core as mx
import numpy as np
import pytest
from training_runs import losses, start

from vdt_mlx.checkpoint import flat_parameters, load_autoencoder, load_vdt
from vdt_mlx.config import read_config
from vdt_mlx.errors import VDTError
from vdt_mlx.training import state as saving
from vdt_mlx.training.release import _same_latents
from vdt_mlx.training.start import train_autoencoder, train_vdt

pytestmark = pytest.mark.usefixtures("uncompiled")


def test_init_starts_from_the_weights_of_a_checkpoint(problem, whole_run, tmp_path):
    start(
        problem,
        tmp_path / "run",
        "loop.steps=1",
        "optimizer.muon_lr=1e-9",
        "optimizer.lr=1e-9",
        init=str(whole_run / "checkpoint"),
    )
    before, after = load_vdt(whole_run / "checkpoint"), load_vdt(tmp_path / "run" / "checkpoint")
    assert mx.allclose(before.blocks[0].mlp.fc1.weight, after.blocks[0].mlp.fc1.weight, atol=1e-6)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["from"]["init"] == str(whole_run / "checkpoint")


def test_a_decoder_alone_is_trained_and_the_latents_stay(problem, tmp_path):
    only = ("loss.decoder_only=true", "autoencoder_optimizer.schedule=constant")
    train_autoencoder(problem["config"], tmp_path / "whole", only, init=problem["autoencoder"], steps=3)
    train_autoencoder(problem["config"], tmp_path / "cut", only, init=problem["autoencoder"], steps=1)
    train_autoencoder(None, tmp_path / "cut", resume=True, steps=3)
    before = load_autoencoder(problem["autoencoder"])
    whole, cut = (load_autoencoder(tmp_path / name / "checkpoint") for name in ("whole", "cut"))
    clip = np.random.default_rng(0).integers(0, 256, (1, 2, 8, 8, 3), np.uint8)
    for after in (whole, cut):
        assert after.config.latent_mean == pytest.approx(before.config.latent_mean, abs=1e-6)
        assert mx.allclose(after.encode_clip(clip), before.encode_clip(clip), atol=1e-5)
    latents = before.encode_clip(clip)
    assert not mx.allclose(whole.decode_clip(latents), before.decode_clip(latents), atol=1e-4)
    assert mx.array_equal(whole.decode_clip(latents), cut.decode_clip(latents))
    with pytest.raises(VDTError, match="`init`"):
        train_autoencoder(problem["config"], tmp_path / "new", only)


def test_a_widened_decoder_is_trained_on_the_same_latents(problem, tmp_path):
    wide = (
        "loss.decoder_only=true",
        "autoencoder.decoder_block_out_channels=[6, 10, 8]",
        "autoencoder.num_decoder_blocks=[2, 1, 0]",
        "autoencoder_optimizer.schedule=constant",
    )
    train_autoencoder(problem["config"], tmp_path / "whole", wide, init=problem["autoencoder"], steps=3)
    train_autoencoder(problem["config"], tmp_path / "cut", wide, init=problem["autoencoder"], steps=1)
    shutil.rmtree(tmp_path / "cut" / saving.STATES)  # killed before its first save: it is widened again, as before
    train_autoencoder(None, tmp_path / "cut", resume=True, steps=3)
    before = load_autoencoder(problem["autoencoder"])
    whole, cut = (load_autoencoder(tmp_path / name / "checkpoint") for name in ("whole", "cut"))
    clip = np.random.default_rng(0).integers(0, 256, (1, 2, 8, 8, 3), np.uint8)
    latents = before.encode_clip(clip)
    assert mx.allclose(whole.encode_clip(clip), latents, atol=1e-5)
    assert mx.array_equal(whole.decode_clip(latents), cut.decode_clip(latents))
    packed = _same_latents(load_autoencoder(problem["autoencoder"]), whole, "whole")
    assert packed.config.latent_std == before.config.latent_std
    assert packed.config.decoder_block_out_channels == (6, 10, 8)
    more = ("vdt.in_channels=6", "autoencoder.latent_channels=6")
    with pytest.raises(VDTError, match="latent_channels: 4 -> 6"):
        train_autoencoder(problem["config"], tmp_path / "new", (*wide, *more), init=problem["autoencoder"])
    with pytest.raises(VDTError, match="decoder cannot be widened"):
        train_autoencoder(
            problem["config"],
            tmp_path / "new",
            (wide[0], "autoencoder.num_decoder_blocks=[0, 1, 0]"),
            init=problem["autoencoder"],
        )


def test_a_network_goes_over_to_more_channels_and_more_blocks(problem, whole_run, tmp_path):
    """An autoencoder with more channels, then a deeper network on its latents, also where it was killed at once."""
    more = ("vdt.in_channels=6", "autoencoder.latent_channels=6")
    train_autoencoder(problem["config"], tmp_path / "ae", more, init=problem["autoencoder"], steps=2)
    coder = str(tmp_path / "ae" / "checkpoint")
    changes = (*more, "vdt.depth=2", "loop.steps=2")
    for name in ("whole", "cut"):
        train_vdt(problem["config"], tmp_path / name, changes, init=str(whole_run / "checkpoint"), autoencoder=coder)
    shutil.rmtree(tmp_path / "cut" / saving.STATES)
    train_vdt(None, tmp_path / "cut", resume=True)
    whole, cut = (load_vdt(tmp_path / name / "checkpoint") for name in ("whole", "cut"))
    assert (whole.config.in_channels, whole.config.depth) == (6, 2)
    weights = flat_parameters(cut)
    assert all(mx.array_equal(value, weights[name]) for name, value in flat_parameters(whole).items())
    with pytest.raises(VDTError, match="1 blocks can begin as one of 1 to 2 blocks, not 3"):
        start(problem, tmp_path / "new", "vdt.depth=3", init=str(whole_run / "checkpoint"))


def test_a_network_goes_over_to_another_prediction(problem, whole_run, tmp_path):
    """From the flow to the sample: it begins better than if its answers were only taken for something else."""
    changes = ("diffusion.prediction=sample", "loop.steps=1", "optimizer.muon_lr=1e-9", "optimizer.lr=1e-9")
    start(problem, tmp_path / "run", *changes, init=str(whole_run / "checkpoint"))
    assert read_config(tmp_path / "run" / "checkpoint").diffusion.prediction == "sample"
    before, after = (flat_parameters(load_vdt(run / "checkpoint")) for run in (whole_run, tmp_path / "run"))
    assert mx.allclose(before["blocks.0.mlp.fc1.weight"], after["blocks.0.mlp.fc1.weight"], atol=1e-6)
    assert not mx.allclose(before["final_layer.linear.weight"], after["final_layer.linear.weight"], atol=1e-3)
    start(problem, tmp_path / "new", *changes)
    assert losses(tmp_path / "run")[0][1] < losses(tmp_path / "new")[0][1]


def test_a_run_killed_before_its_first_save_begins_again_as_it_began(problem, whole_run, tmp_path):
    changes = ("optimizer.schedule=constant", "loop.steps=3")
    start(problem, tmp_path / "whole", *changes, init=str(whole_run / "checkpoint"))
    start(problem, tmp_path / "killed", *changes, init=str(whole_run / "checkpoint"))
    for name in (saving.STATES, "autoencoder", "checkpoint"):
        shutil.rmtree(tmp_path / "killed" / name)
    train_vdt(None, tmp_path / "killed", resume=True)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
