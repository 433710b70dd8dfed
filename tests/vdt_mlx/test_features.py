"""Features: the layers that are named are the ones that are asked, and nothing hidden reaches them."""

import json

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from vdt_mlx import features
from vdt_mlx.config import VDTConfig
from vdt_mlx.errors import VDTError
from vdt_mlx.features import Asked, blocks, compute, recorded, spelled
from vdt_mlx.network.vdt import VDT, patchify
from vdt_mlx.pipeline import Pipeline


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint, uncompiled) -> Pipeline:
    return Pipeline.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (2, 4, 64, 64, 3)).astype(np.uint8)


def of(pipeline: Pipeline, clips: np.ndarray, **asked: object) -> np.ndarray:
    return compute(pipeline, clips, Asked(**asked).resolved(pipeline, clips.shape[1]))  # type: ignore[arg-type]


def test_the_last_layer_gives_what_the_network_answers(pipeline, clips) -> None:
    found = of(pipeline, clips, block="final_layer.linear", timestep=400, given=1, pool="none", seed=7)
    clean = pipeline.encode(clips).astype(mx.float32)
    noise = mx.random.normal(clean.shape[1:], key=mx.random.key(7))
    x = mx.concatenate([clean[:, :1], (0.6 * clean + 0.4 * noise)[:, 1:]], axis=1)  # a flow at 400 of 1000
    answer = np.array(patchify(pipeline.vdt(x, mx.array([400.0, 400.0])), 2))
    assert found.shape == (2, 4, 4, 4, 16)
    assert found.reshape(answer.shape) == pytest.approx(answer, abs=1e-4)


def test_pooling_takes_means(pipeline, clips) -> None:
    whole = of(pipeline, clips, pool="none")
    assert of(pipeline, clips) == pytest.approx(whole.mean(axis=(2, 3)), abs=1e-5)
    assert of(pipeline, clips, pool="clip") == pytest.approx(whole.mean(axis=(1, 2, 3)), abs=1e-5)


def test_the_same_bytes_again_and_each_clip_by_itself(pipeline, clips) -> None:
    found = of(pipeline, clips)
    assert (of(pipeline, clips) == found).all()
    assert of(pipeline, clips[1:2])[0] == pytest.approx(found[1], abs=1e-4)
    assert not np.allclose(of(pipeline, clips, seed=1), found, atol=1e-4)


def test_blind_features_know_the_given_frames_only(pipeline, clips) -> None:
    other = clips.copy()
    other[:, 3:] = 0
    assert (of(pipeline, clips, given=3, blind=True) == of(pipeline, other, given=3, blind=True)).all()
    assert not np.allclose(of(pipeline, clips, given=3), of(pipeline, other, given=3), atol=1e-4)


def test_all_frames_given_leave_no_noise(pipeline, clips) -> None:
    assert (of(pipeline, clips, given=4) == of(pipeline, clips, given=4, seed=5)).all()


def test_the_autoencoder_has_features_too(pipeline, clips) -> None:
    latents = np.array(pipeline.encode(clips))
    assert of(pipeline, clips, part="autoencoder", pool="none") == pytest.approx(latents, abs=1e-6)
    assert of(pipeline, clips, part="autoencoder") == pytest.approx(latents.mean(axis=(2, 3)), abs=1e-5)
    names = blocks(pipeline, "autoencoder")
    assert names["latents"] == (1, 8, 8, 4)
    assert names["encoder.mid_block"] == (1, 8, 8, 8)
    assert of(pipeline, clips[:1], part="autoencoder", block="encoder.mid_block").shape == (1, 4, 8)


def test_a_layer_of_the_clip_as_a_whole_gives_one_vector(pipeline, clips) -> None:
    found = of(pipeline, clips, block="t_embedder")
    assert found.shape == (2, 32)
    assert (found[0] == found[1]).all()


@pytest.mark.parametrize("conditioning", ["adaln", "cross-attention"])
def test_a_layer_that_is_asked_twice_gives_the_stream(pipeline, clips, conditioning, monkeypatch) -> None:
    """Where given frames come in by another way, the patch embedder sees them first; noise is in the stream alone."""
    config = VDTConfig(
        hidden_size=32, depth=1, num_heads=2, latent_size=(8, 8), learn_sigma=False, conditioning=conditioning
    )
    monkeypatch.setattr(pipeline, "vdt", VDT(config))
    found = of(pipeline, clips, block="x_embedder", given=2)
    assert found.shape == (2, 4, 32)
    assert found[:, :2].std(axis=(0, 1)).max() < 1e-5  # blanks
    assert found[:, 2:].std(axis=(0, 1)).max() > 1e-3


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.rest = [nn.Linear(2, 2), nn.ReLU()]

    def __call__(self, x: mx.array) -> mx.array:
        for layer in (self.first, *self.rest, self.rest[1]):
            x = layer(x)
        return x


def test_every_module_that_is_asked_is_seen_and_is_left_as_it_was() -> None:
    model = Two()
    kinds = [type(module) for _, module in model.named_modules()]
    with recorded(model) as seen:
        answer = model(mx.ones((1, 2)))
    assert {name: len(calls) for name, calls in seen.items()} == {"first": 1, "rest.0": 1, "rest.1": 2}
    assert (seen["rest.1"][-1] == answer).all()
    with pytest.raises(ValueError), recorded(model):
        model(mx.ones((1, 3)))
    assert [type(module) for _, module in model.named_modules()] == kinds


def test_names_in_a_line() -> None:
    names = ["x", *(f"blocks.{i}{part}" for i in range(3) for part in ("", ".attn", ".attn.qkv")), "last.1"]
    assert spelled(names) == "x, blocks.N (N = 0 to 2), blocks.N.attn (N = 0 to 2), last.1"


BAD = {
    "block 'blocks.9'.*did you mean 'blocks.0'.*x_embedder": {"block": "blocks.9"},
    "0 to 1000": {"timestep": 1000.5},
    "timestep nan": {"timestep": float("nan")},
    "17 given frames": {"given": 17},
    "0 given frames": {"given": 0, "blind": True},
    "no other": {"timestep": 5, "blind": True},
    "pooled by": {"pool": "mean"},
    "part": {"part": "decoder"},
    "seed": {"seed": -1},
    "no timestep": {"part": "autoencoder", "given": 3},
}


@pytest.mark.parametrize(("sentence", "asked"), BAD.items())
def test_what_does_not_fit_is_said(pipeline, sentence, asked) -> None:
    with pytest.raises(VDTError, match=sentence):
        Asked(**asked).resolved(pipeline, 16)


def test_the_python_way_in(pipeline, clips, tmp_path) -> None:
    from vdt_mlx.media.video import write_npz

    whole = np.concatenate([clips, clips], axis=1).reshape(16, 64, 64, 3)
    write_npz(tmp_path / "clip.npz", frames=whole)
    made = pipeline.features(str(tmp_path / "clip.npz"), block="blocks.0", timestep=300)
    assert made.values.shape == (1, 16, 32)
    assert made.values == pytest.approx(pipeline.features(whole, timestep=300).values, abs=1e-4)
    assert pipeline.features(clips).values.shape == (2, 4, 32)
    path = made.save(tmp_path / "features.npz")
    with np.load(path) as arrays:
        assert (arrays["features"] == made.values).all()
        assert json.loads(str(arrays["settings"]))["timestep"] == 300
    with pytest.raises(VDTError, match="uint8"):
        compute(pipeline, clips.astype(float), Asked().resolved(pipeline, 16))
    assert features.POOLS == ("frame", "clip", "none")
