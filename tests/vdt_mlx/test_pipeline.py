"""The Python way in: names, files and arrays in; results that save themselves."""

import numpy as np
import pytest
from PIL import Image

import vdt_mlx
from vdt_mlx import Pipeline
from vdt_mlx.diffusion.sampling import Sampling
from vdt_mlx.errors import VDTError
from vdt_mlx.generated import Generated, given_first
from vdt_mlx.media import video
from vdt_mlx.pair_score import PERFECT, decibels, metrics, psnr

CLIP = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
QUICK = {"steps": 1, "sampler": "euler"}


@pytest.fixture(scope="module")
def pipe(tiny_checkpoint) -> Pipeline:
    return Pipeline.from_pretrained(tiny_checkpoint)


def test_every_way_in(pipe, tmp_path) -> None:
    video.write_npz(tmp_path / "clip.npz", frames=CLIP)
    for clip, given in (
        (pipe.predict(tmp_path / "clip.npz", given=3, **QUICK), [*range(3)]),
        (pipe.backward(CLIP, 2, **QUICK), [14, 15]),
        (pipe.interpolate(CLIP, **QUICK), [0, 4, 8, 12]),
    ):
        assert clip.frames.shape == CLIP.shape and clip.frames.dtype == np.uint8
        assert np.flatnonzero(clip.mask.max(axis=(1, 2)) == 0).tolist() == given
        assert (clip.frames[given] == CLIP[given]).all()
        assert set(clip.metrics) == {"psnr"} and clip.sampling.steps == 1
    made = pipe.generate(samples=2, seed=4, **QUICK)
    assert made.samples.shape == (2, *CLIP.shape) and made.metrics == {} and made.truth is None
    hole = np.zeros((64, 64), np.uint8)
    hole[16:32, 16:32] = 255
    Image.fromarray(hole).save(tmp_path / "hole.png")
    filled = pipe.inpaint(CLIP, tmp_path / "hole.png", **QUICK)
    assert filled.mask.sum() == 16 * 4
    assert (pipe.inpaint(CLIP, filled.mask, **QUICK).frames == filled.frames).all()


def test_a_prediction_is_the_arrays_own(pipe) -> None:
    mask = pipe.task_mask("predict", 8)
    assert (pipe.predict(CLIP, 8, seed=3).frames == pipe.fill(CLIP[None], mask, seeds=3)[0]).all()


def test_only_what_is_given_is_needed(pipe) -> None:
    whole = pipe.predict(CLIP, 8, **QUICK)
    half = pipe.predict(CLIP[:8], 8, **QUICK)
    assert (half.frames == whole.frames).all()
    assert half.truth is None and half.metrics == {} and "truth" not in half.columns()
    keys = pipe.interpolate(CLIP[::4], **QUICK)
    assert (keys.frames == pipe.interpolate(CLIP, **QUICK).frames).all()
    with pytest.raises(VDTError, match="8 frames are needed"):
        pipe.predict(CLIP[:5], 8)


def test_a_roll_out(pipe) -> None:
    long = pipe.predict(CLIP, 8, frames=20, **QUICK)
    assert long.frames.shape == (20, 64, 64, 3) and long.mask.shape[0] == 20 and long.rolled


def test_results_save_themselves(pipe, tmp_path) -> None:
    clip = pipe.predict(CLIP, 8, samples=2, **QUICK)
    for name in ("a.gif", "a.mp4", "a.png", "a.npz", "frames"):
        assert clip.save(tmp_path / name).exists()
    with np.load(tmp_path / "a.npz") as arrays:
        assert set(arrays.files) == {"truth", "samples", "mask"}
        assert (arrays["samples"] == clip.samples).all()
    assert len(list((tmp_path / "frames").iterdir())) == 16
    with pytest.raises(VDTError, match="no name for a clip"):
        clip.save(tmp_path / "a.avi")
    assert not (tmp_path / "a.avi").exists()


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda pipe: pipe.predict("nowhere.mp4"), "no file"),
        (lambda pipe: pipe.predict(CLIP, 16), "16 given frames"),
        (lambda pipe: pipe.predict(CLIP, speed=3), "Unknown sampling option 'speed'"),
        (lambda pipe: pipe.predict(CLIP, sampler="magic"), "Unknown sampler"),
        (lambda pipe: pipe.predict(CLIP, steps=0), "at least 1 step"),
        (lambda pipe: pipe.predict(CLIP, samples=0), "At least 1 sample"),
        (lambda pipe: pipe.predict(CLIP.astype(float)), "uint8"),
        (lambda pipe: pipe.predict(CLIP, frames=12), "at least the 16 frames"),
        (lambda pipe: pipe.inpaint(CLIP, np.ones((3, 3))), "latent cells"),
        (lambda pipe: pipe.predict(CLIP, start=2), "frames of a file"),
        (lambda pipe: Pipeline.from_pretrained("nonesuch"), "no model named"),
    ],
)
def test_bad_requests_name_no_flags(pipe, ask, words) -> None:
    with pytest.raises(VDTError, match=words) as refused:
        ask(pipe)
    assert "--" not in str(refused.value)


def test_the_package_offers_it() -> None:
    assert vdt_mlx.Pipeline is Pipeline and "Pipeline" in vdt_mlx.__all__


def test_given_first() -> None:
    mask = np.ones((4, 2, 2))
    for bad in (mask, np.zeros((4, 2, 2)), mask * np.array([0, 1, 0, 1]).reshape(4, 1, 1)):
        with pytest.raises(VDTError):
            given_first(bad)
    assert given_first(mask * np.array([0, 0, 1, 1]).reshape(4, 1, 1)) == 2


def test_the_ratio_is_that_of_all_pixels_of_a_clip() -> None:
    truth = np.full((2, 4, 4, 3), 100, np.uint8)
    ours = truth.copy()
    ours[0] += 10  # a mean square of 50 over the two frames
    assert psnr(ours, truth) == pytest.approx(10 * np.log10(255**2 / 50))
    assert psnr(truth, truth) == PERFECT == decibels(0.0, 1.0)
    assert decibels(0.01, 1.0) == pytest.approx(20)
    mask = np.ones((2, 1, 1))
    both = metrics(truth, np.stack([ours, truth]), mask, simulated=False, predicting=False, by_frame=False)
    assert both == {"psnr": pytest.approx((psnr(ours, truth) + PERFECT) / 2, abs=1e-4)}


def test_sampling_is_resolved_once() -> None:
    made = Generated(CLIP[None], np.ones((16, 8, 8)), Sampling("euler", 2, 1.0, True, True))
    assert made.sampling.title == "euler, 2 steps, eta 1, antithetic pairs, flip averaging"
    assert Sampling("heun", 2, mirror=False).without_effect() == ["mirror"]
