"""The parts of training: draws, losses, optimizers, data, latents, curves and scores."""

import json
import math
import threading
import time

import mlx.core as mx
import numpy as np
import pytest

from vdt_mlx.config import AutoencoderConfig, DiffusionConfig, VDTConfig
from vdt_mlx.diffusion.loss import training_losses
from vdt_mlx.diffusion.schedule import Schedule
from vdt_mlx.errors import VDTError
from vdt_mlx.network.autoencoder import build_autoencoder
from vdt_mlx.pair_score import PERFECT, decibels
from vdt_mlx.training import draw as objective
from vdt_mlx.training.autoencoder import draw_frames, start_as_identity, with_statistics
from vdt_mlx.training.batches import epoch_indices
from vdt_mlx.training.config import DataConfig, ObjectiveConfig
from vdt_mlx.training.data import Pool, build_source
from vdt_mlx.training.latents import LatentStore, check_room, clips_at_once
from vdt_mlx.training.plot import plot_run, smooth, thin
from vdt_mlx.training.prefetch import Ahead

NETWORK = VDTConfig(hidden_size=16, depth=1, num_heads=2, latent_size=(4, 4), num_frames=8, learn_sigma=False)
TINY = AutoencoderConfig(
    kind="tiny", block_out_channels=(4, 8, 8), num_encoder_blocks=(0, 1, 1), num_decoder_blocks=(1, 1, 0)
)


# What a step is asked ---------------------------------------------------------------------------------------------


def test_a_step_draws_the_same_whenever_it_is_drawn():
    schedule = Schedule(DiffusionConfig(prediction="flow", schedule="flow"))
    draws = [objective.draw(ObjectiveConfig(), NETWORK, schedule, 4, objective.step_rng(7, step)) for step in (5, 6, 5)]
    for name in ("mask", "t", "noise"):
        first, other, again = (getattr(draw, name) for draw in draws)
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
    assert draws[0].mask.shape == (4, 8, 4, 4) and draws[0].noise.shape == (4, 8, 4, 4, 4)


def test_tasks_are_drawn_by_their_weights():
    schedule = Schedule(DiffusionConfig(prediction="flow", schedule="flow"))
    config = ObjectiveConfig(tasks={"predict": 3.0, "unconditional": 1.0, "spatial": 0.0}, vary_given=0.0)
    mask = objective.draw(config, NETWORK, schedule, 400, objective.step_rng(0, 0)).mask.mean(axis=(2, 3))
    predict = (mask == [0] * 4 + [1] * 4).all(axis=1)
    assert ((mask == 1).all(axis=1) | predict).all()
    assert 0.68 < predict.mean() < 0.82


def test_given_frames_vary_when_asked():
    schedule = Schedule(DiffusionConfig(prediction="flow", schedule="flow"))
    config = ObjectiveConfig(tasks={"predict": 1.0}, vary_given=1.0)
    mask = objective.draw(config, NETWORK, schedule, 200, objective.step_rng(0, 0)).mask.mean(axis=(2, 3))
    assert set(mask.sum(axis=1).astype(int)) == set(range(1, 8))


@pytest.mark.parametrize(
    ("kind", "sampler", "visited"), [("flow", "euler", {1000, 500}), ("linear", "dpm++", {999, 499})]
)
def test_clips_are_drawn_as_the_sampler_asks_for_them(kind, sampler, visited):
    prediction = "flow" if kind == "flow" else "epsilon"
    diffusion = DiffusionConfig(prediction=prediction, schedule=kind, sampler=sampler, steps=2, chunk=2)
    config = ObjectiveConfig(tasks={"predict": 1.0, "interpolate": 1.0}, vary_given=1.0, as_sampled=1.0)
    drawn = objective.draw(config, NETWORK, Schedule(diffusion), 200, objective.step_rng(0, 0))
    assert set(drawn.t) == visited
    kept = {tuple(np.flatnonzero(mask == 0)) for mask in drawn.mask.mean(axis=(2, 3))}
    assert kept == {(0, 1, 2, 3), (0, 1, 2, 3, 4, 5), (0, 4)}


def test_a_share_of_the_clips_is_drawn_as_the_sampler_asks_for_them():
    schedule = Schedule(DiffusionConfig(prediction="flow", schedule="flow", sampler="euler", steps=1))
    drawn = objective.draw(ObjectiveConfig(as_sampled=0.6), NETWORK, schedule, 500, objective.step_rng(0, 0))
    assert 0.53 < (drawn.t == 1000).mean() < 0.67
    with pytest.raises(VDTError, match="as_sampled is a share"):
        ObjectiveConfig(as_sampled=1.5)


@pytest.mark.parametrize("kind", ["flow", "linear"])
def test_timesteps_are_skewed_to_noise(kind):
    prediction = "flow" if kind == "flow" else "epsilon"
    schedule = Schedule(DiffusionConfig(prediction=prediction, schedule=kind))
    rng = np.random.default_rng(0)
    t = objective.draw_timesteps(ObjectiveConfig(), schedule, 4000, rng)
    assert t.min() >= 0 and t.max() < 1000
    alpha, sigma = schedule.alpha_sigma(t)
    logit = np.log(sigma / alpha)
    assert abs(np.median(logit) - 0.8) < 0.1 and abs(logit.std() - 1) < 0.1
    uniform = objective.draw_timesteps(ObjectiveConfig(timesteps="uniform"), schedule, 4000, rng)
    assert abs(uniform.mean() - 500) < 20
    assert (t.dtype == np.float32) == (kind == "flow")


def test_given_cells_reach_the_network_clean_and_do_not_count():
    schedule = Schedule(DiffusionConfig(prediction="flow", schedule="flow"))
    drawn = objective.draw(
        ObjectiveConfig(tasks={"predict": 1.0}, vary_given=0.0), NETWORK, schedule, 2, objective.step_rng(0, 0)
    )
    x0 = mx.ones(drawn.noise.shape)
    seen = []

    def network(x, t, given):
        seen.append(x)
        return mx.concatenate([mx.full(x[:, :4].shape, 1e6), mx.array(drawn.noise)[:, 4:] - x0[:, 4:]], axis=1)

    loss = training_losses(schedule, network, x0, mx.array(drawn.mask), drawn.t, mx.array(drawn.noise)).total
    assert mx.array_equal(seen[0][:, :4], x0[:, :4])
    assert loss.max().item() < 1e-9


# Data --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        np.savez(folder / f"{number}.npz", frames=rng.integers(0, 256, (10, 12, 16, 3), np.uint8))
    return folder


def settings(folder, **changes) -> DataConfig:
    return DataConfig(**{"source": "videos", "path": str(folder), "size": (8, 8), "frames": 4, **changes})


def test_videos_are_cut_into_clips_with_a_stride(videos):
    clips = list(build_source(settings(videos)).clips(0))
    assert len(clips) == 3 * 2 and clips[0].shape == (4, 8, 8, 3)
    strided = list(build_source(settings(videos, stride=3)).clips(0))
    assert len(strided) == 3
    assert np.array_equal(strided[0][1], clips[0][3])
    later = list(build_source(settings(videos)).clips(4))
    assert np.array_equal(later[0], clips[4])


def test_broken_and_short_videos_are_named_and_skipped(videos, capsys):
    (videos / "broken.mp4").write_bytes(b"not a video")
    np.savez(videos / "short.npz", frames=np.zeros((3, 8, 8, 3), np.uint8))
    assert len(list(build_source(settings(videos)).clips(0))) == 6
    errors = capsys.readouterr().err
    assert "broken.mp4" in errors and "short.npz" in errors and "2 of 5" in errors
    with pytest.raises(VDTError, match="long enough for a clip of 64"):
        list(build_source(settings(videos, frames=64)).clips(0))


def test_a_folder_of_frames_is_one_video(tmp_path):
    from PIL import Image

    for number in range(9):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    clips = list(build_source(settings(tmp_path)).clips(0))
    assert [int(clip[0, 0, 0, 0]) for clip in clips] == [0, 4]


def test_some_clips_are_held_out_where_there_are_enough(tmp_path):
    frames = np.repeat(np.arange(40, dtype=np.uint8), 4)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "long.npz", frames=frames)
    train = [int(clip[0, 0, 0, 0]) for clip in build_source(settings(tmp_path)).clips(0)]
    held_out = [int(clip[0, 0, 0, 0]) for clip in build_source(settings(tmp_path), "val").clips(0)]
    assert held_out == [15, 31]
    assert sorted(train + held_out) == list(range(40))


def test_a_folder_that_the_simulator_wrote(tmp_path):
    import physics_sim.dataset as dataset

    dataset.write(tmp_path / "set", dataset.DataSetSpec(("uniform",), "train", 2))
    config = DataConfig(source="folder", path=str(tmp_path / "set"))
    clips = list(build_source(config).clips(0))
    assert len(clips) == 2 and clips[0].shape == (16, 64, 64, 3)
    with pytest.raises(VDTError, match="data asks for"):
        list(build_source(DataConfig(source="folder", path=str(tmp_path / "set"), frames=32)).clips(0))
    with pytest.raises(VDTError, match="not a data set"):
        list(build_source(settings(tmp_path, source="folder")).clips(0))
    with pytest.raises(VDTError, match="no data folder"):
        build_source(settings(tmp_path / "nothing"))


def test_simulated_clips_are_numbered_and_refuse_what_they_cannot_be():
    source = build_source(DataConfig(scenarios=("uniform", "parabola"), workers=1), workers=0)
    clips = source.clips(0)
    first, second = next(clips), next(clips)
    assert np.array_equal(next(source.clips(1)), second) and not np.array_equal(first, second)
    later = build_source(DataConfig(scenarios=("uniform", "parabola"), first=1), workers=0)
    assert np.array_equal(next(later.clips(0)), second)
    assert later.identity() != source.identity()
    held_out = [build_source(DataConfig(scenarios=("uniform",), first=first), "val", workers=0) for first in (0, 5)]
    assert np.array_equal(*(next(each.clips(0)) for each in held_out))
    with pytest.raises(VDTError, match="did you mean 'uniform'"):
        build_source(DataConfig(scenarios=("unifrom",)))
    with pytest.raises(VDTError, match="frames must be a whole number from 10"):
        build_source(DataConfig(frames=8))
    with pytest.raises(VDTError, match="square"):
        build_source(DataConfig(size=(64, 128)))


def test_a_pool_stops_at_the_end_of_the_data(videos):
    pool = Pool(build_source(settings(videos)), 100)
    pool.fill(3)
    assert pool.filled == 3
    pool.fill(50)
    assert pool.filled == pool.capacity == 6


def test_latents_are_encoded_once_and_survive_a_torn_file(cpu, videos, tmp_path):
    mx.random.seed(0)
    autoencoder = build_autoencoder(TINY)
    source = build_source(settings(videos))

    def store(capacity=100):
        return LatentStore(tmp_path / "cache", source, autoencoder, (4, 2, 2, 4), capacity)

    first = store()
    first.fill(3)
    first.close()
    with first.path.open("ab") as file:
        file.write(b"torn")
    calls = []
    second = store()
    autoencoder.encode_clip = lambda *a, **k: calls.append(1) or type(autoencoder).encode_clip(autoencoder, *a, **k)
    second.fill(100)
    assert second.capacity == 6 and len(calls) == 3
    assert np.array_equal(second.array[:3], first.array[:3])
    second.close()
    assert second.path.stat().st_size == 6 * 4 * 2 * 2 * 4 * 2
    plain = np.array(type(autoencoder).encode_clip(autoencoder, next(source.clips(4))[None], chunk=4)[0])
    assert np.array_equal(second.array[4], plain.astype(np.float16))
    other = build_autoencoder(TINY)
    assert LatentStore(tmp_path / "cache", source, other, (4, 2, 2, 4), 100).path != first.path


def test_latents_from_batches_do_not_depend_on_the_pieces(videos, tmp_path, gpu_forms):
    mx.random.seed(0)
    autoencoder, source = build_autoencoder(TINY), build_source(settings(videos))
    assert clips_at_once(autoencoder, (4, 2, 2, 4)) == 16
    assert clips_at_once(build_autoencoder(AutoencoderConfig(kind="kl")), (16, 32, 32, 4)) == 1
    whole = LatentStore(tmp_path / "whole", source, autoencoder, (4, 2, 2, 4), 100)
    pieces = LatentStore(tmp_path / "pieces", source, autoencoder, (4, 2, 2, 4), 100)
    whole.fill(6)
    for count in (1, 4, 6):
        pieces.fill(count)
    assert np.array_equal(whole.array[:6], pieces.array[:6])
    alone = np.stack([np.array(autoencoder.encode_clip(clip[None])[0]) for clip in source.clips(0)])
    assert np.abs(whole.array[:6] - alone).max() <= 2e-3  # fp16


# Preparing a step early ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_thread", [True, False])
def test_on_a_gpu_the_next_step_is_made_early(gpu_forms, in_thread):
    made = []

    def make(step):
        made.append(step)
        if step == 3:
            raise ValueError("three")
        return step * 10

    ahead = Ahead(make, in_thread=in_thread)
    assert ahead.take(0) == 0
    ahead.prepare(1)
    assert ahead.take(1) == 10 and made == [0, 1]
    ahead.prepare(2)
    assert ahead.take(5) == 50  # another step than was prepared: made now
    with pytest.raises(ValueError, match="three"):
        ahead.prepare(3)
        ahead.take(3)


def test_closing_waits_for_what_is_being_made(gpu_forms):
    begun, done = threading.Event(), []

    def make(step):
        begun.set()
        time.sleep(0.2)
        done.append(step)

    ahead = Ahead(make, in_thread=True)
    ahead.prepare(1)
    assert begun.wait(10)
    ahead.close()
    assert done == [1]


def test_on_a_cpu_nothing_is_made_early(cpu):
    made = []
    ahead = Ahead(made.append, in_thread=True)
    ahead.prepare(1)
    assert made == []
    ahead.take(1)
    assert made == [1]


def test_epochs_shuffle_and_miss_nothing():
    order = np.concatenate([epoch_indices(0, 10, start, 4) for start in range(0, 40, 4)])
    for epoch in range(4):
        assert sorted(order[epoch * 10 : epoch * 10 + 10]) == list(range(10))
    assert not np.array_equal(order[:10], order[10:20])


# The autoencoder's own parts ---------------------------------------------------------------------------------------


def test_frames_are_drawn_from_the_clips():
    clips = np.zeros((2, 3, 8, 8, 3), np.uint8)
    clips[1] = 255
    frames = draw_frames(clips, 50, np.random.default_rng(0))
    assert frames.shape == (50, 8, 8, 3) and frames.dtype == np.float32
    assert set(np.unique(frames)) == {-1.0, 1.0}
    assert np.array_equal(frames, draw_frames(clips, 50, np.random.default_rng(0)))


def test_statistics_bring_latents_to_unit_scale():
    mx.random.seed(0)
    autoencoder = build_autoencoder(TINY)
    clips = np.random.default_rng(0).integers(0, 256, (3, 4, 8, 8, 3), np.uint8)
    autoencoder.config = with_statistics(autoencoder, clips)
    latents = np.array(autoencoder.encode_clip(clips)).reshape(-1, 4)
    assert np.allclose(latents.mean(axis=0), 0, atol=1e-3) and np.allclose(latents.std(axis=0), 1, atol=1e-3)


def test_blocks_begin_as_the_identity():
    autoencoder = build_autoencoder(TINY)
    start_as_identity(autoencoder)
    block = autoencoder.encoder.layers[2]
    x = mx.random.uniform(shape=(1, 4, 4, 8))
    assert mx.array_equal(block(x), x)
    assert decibels(0.0, 1.0) == PERFECT and decibels(0.01, 1.0) == pytest.approx(20)
    assert math.isnan(decibels(math.nan))


# Pictures -----------------------------------------------------------------------------------------------


def test_curves(tmp_path):
    entries = [{"step": i + 1, "loss": 1 / (i + 1), "grad_norm": 2.0} for i in range(5000)]
    entries.insert(2500, {"step": 2500, "preview": {"pair_error": 3.5, "clips": 8}})
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries) + '{"step": 5001, "lo')
    (tmp_path / "run.json").write_text(json.dumps({"kind": "vdt", "config": {}}))
    svg, png = plot_run(tmp_path)
    text = svg.read_text()
    assert all(
        f"<!-- {title}" in text for title in ("vdt: training loss", "held-out clips: pair error", "gradient norm")
    )
    assert all(f"<!-- {label} -->" in text for label in ("step", "loss", "px"))  # the axes have names
    assert len(text) < 400_000 and png.read_bytes()[:4] == b"\x89PNG"
    assert plot_run(tmp_path, tmp_path / "other.svg")[0].read_text() == text
    assert smooth([(0.0, 1.0), (1.0, 3.0)], share=1.0) == [(0.0, 1.0), (1.0, 2.0)]
    assert thin([(0.0, 0.0), (1.0, 2.0), (2.0, 4.0)], most=2) == [(0.5, 1.0), (2.0, 4.0)]
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(VDTError, match="no step yet"):
        plot_run(tmp_path)
    with pytest.raises(VDTError, match="not the folder"):
        plot_run(tmp_path / "nothing")


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_own_videos_of_another_shape_are_fitted_as_asked(fit, tmp_path, caplog):
    """Frames twice as wide as high: red at the left, white in the middle, green at the right."""
    frames = np.full((4, 8, 16, 3), 255, np.uint8)
    frames[:, :, :4], frames[:, :, 12:] = (255, 0, 0), (0, 255, 0)
    for name in ("a", "b"):
        np.savez(tmp_path / name, frames=frames)
    source = build_source(settings(tmp_path, fit=fit))
    found = list(source.clips(0))
    assert len(found) == 2 and np.array_equal(*found)
    left, middle, top = (found[0][0, row, column].tolist() for row, column in ((4, 0), (4, 4), (0, 4)))
    assert middle[0] > 200 and middle[1] > 200
    assert (left == [255, 255, 255]) == (fit == "crop")
    assert (top == [0, 0, 0]) == (fit == "pad")
    said = [record for record in caplog.records if "its middle 8 x 8 is used" in record.getMessage()]
    assert len(said) == (fit == "crop")
    assert ("fit" in source.identity()) == (fit != "crop"), "latents that were encoded before stay of use"


def test_a_fit_that_means_nothing_is_refused(tmp_path):
    with pytest.raises(VDTError, match=r"data\.fit does not know 'zoom'"):
        settings(tmp_path, fit="zoom")
    with pytest.raises(VDTError, match="for videos of your own"):
        DataConfig(fit="pad")


def test_latents_that_no_memory_holds_are_refused_with_what_fits():
    check_room(3000, (16, 8, 8, 12), there=100 << 20)
    with pytest.raises(VDTError, match=r"4000 clips take 0\.1 GB .* has 0\.1 GB: data\.pool=3200 fits"):
        check_room(4000, (16, 8, 8, 12), there=100 << 20)
    check_room(3200, (16, 8, 8, 12), there=100 << 20)
