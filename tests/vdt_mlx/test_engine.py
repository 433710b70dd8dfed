"""What an engine is asked for: labels and guidance, a sampler for each use, questions that go together."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from vdt_mlx.checkpoint import load_autoencoder
from vdt_mlx.config import CheckpointConfig, DiffusionConfig, VDTConfig, read_config
from vdt_mlx.diffusion.sampling import Sampling
from vdt_mlx.engine import flipped
from vdt_mlx.errors import VDTError
from vdt_mlx.from_values import from_dict
from vdt_mlx.network.vdt import VDT
from vdt_mlx.pipeline import Pipeline

CLIP = np.random.default_rng(0).integers(0, 256, (1, 16, 64, 64, 3), dtype=np.uint8)
BOTH = Sampling("euler", 2, 1.0, antithetic=True, mirror=True)


@pytest.fixture(scope="module")
def labelled(tiny_checkpoint) -> Pipeline:
    """A pipeline whose network knows two labels, with random weights."""
    config = read_config(tiny_checkpoint)
    config = replace(config, vdt=replace(config.vdt, num_classes=2, labels=("roll", "drop")))
    mx.random.seed(0)
    vdt = VDT(config.vdt)
    vdt.load_weights([(k, v + 0.1 * mx.random.normal(v.shape)) for k, v in tree_flatten(vdt.parameters())])
    return Pipeline(config, vdt, load_autoencoder(tiny_checkpoint))


@pytest.fixture(scope="module")
def plain(tiny_checkpoint) -> Pipeline:
    return Pipeline.load(tiny_checkpoint)


# Labels and guidance ----------------------------------------------------------------------------------------------


def test_labels_and_guidance(labelled) -> None:
    options = {"sampler": "euler", "steps": 2}
    free, roll, drop = (labelled.generate(label=label, **options) for label in (None, "roll", "drop"))
    assert (roll.frames != drop.frames).any() and (roll.frames != free.frames).any()
    once = labelled.generate(label="roll", guidance=1, **options)
    assert (once.frames == roll.frames).all()  # to the bit
    led = labelled.generate(label="roll", guidance=3, **options)
    assert (led.frames != roll.frames).any()
    assert led.sampling.calls == 2 * roll.sampling.calls == 4


def test_guidance_goes_from_no_class_to_the_label_and_beyond(labelled) -> None:
    shape = (1, 16, *labelled.config.vdt.latent_size, labelled.config.vdt.in_channels)
    x, t = mx.random.normal(shape), mx.array([400.0])
    given = mx.zeros(shape), mx.ones(shape[:-1])
    network = {
        guidance: labelled._labelled(Sampling(label="drop", guidance=guidance))(x, t, given)
        for guidance in (1.0, 0.0, 2.5)
    }
    free, found = (labelled.vdt(x, t, given, mx.array([number])) for number in (2, 1))
    assert mx.array_equal(network[1.0], found)
    channels = shape[-1]
    assert mx.allclose(network[0.0][..., :channels], free[..., :channels], atol=1e-5)
    led = free + 2.5 * (found - free)
    assert mx.allclose(network[2.5][..., :channels], led[..., :channels], atol=1e-4)
    unlabelled = labelled._labelled(Sampling())(x, t, given)
    assert mx.array_equal(unlabelled, free)  # a label that is left out is the empty class


def test_a_compiled_network_takes_labels(labelled) -> None:
    options = {"sampler": "euler", "steps": 1, "label": "drop", "guidance": 2.0}
    ours = labelled.generate(**options).frames
    compiled = Pipeline(labelled.config, labelled.vdt, labelled.autoencoder)
    compiled.compile()
    assert np.abs(compiled.generate(**options).frames.astype(int) - ours).max() <= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label": "melt"}, "does not know the label 'melt': there are roll, drop"),
        ({"guidance": 2.0}, "none is given"),
        ({"label": "roll", "guidance": -1.0}, "between 0 and 100"),
    ],
)
def test_refused_labels(labelled, options, words) -> None:
    with pytest.raises(VDTError, match=words):
        labelled.generate(**options)


def test_a_checkpoint_without_labels_has_none_to_lead_to(plain) -> None:
    with pytest.raises(VDTError, match="trained without labels"):
        plain.generate(label="roll", guidance=2.0)


# A sampler for each use -------------------------------------------------------------------------------------------


def test_each_use_has_its_own_default(tiny_checkpoint) -> None:
    config = read_config(tiny_checkpoint)
    defaults = {"diverse": {"steps": 3, "eta": 0.0, "antithetic": False}, "unconditional": {"sampler": "heun"}}
    diffusion = replace(config.diffusion, sampler="euler", steps=1, eta=1.0, antithetic=True, defaults=defaults)
    again = CheckpointConfig.from_json(replace(config, diffusion=diffusion).to_json())
    assert again.diffusion == diffusion
    pipeline = Pipeline(again, VDT(again.vdt), load_autoencoder(tiny_checkpoint))
    best, diverse = (pipeline.resolve(None, "predict", wanted) for wanted in (False, True))
    assert (best.steps, best.antithetic, best.eta) == (1, True, 1.0)
    assert (diverse.sampler, diverse.steps, diverse.antithetic, diverse.eta) == ("euler", 3, False, 0.0)
    assert pipeline.resolve(None, "unconditional", False).sampler == "heun"
    assert pipeline.resolve(Sampling(steps=7), "predict", True).steps == 7
    assert pipeline.resolve(diverse) == diverse  # resolved once
    assert pipeline.predict(CLIP[0], samples=2).sampling.steps == 3
    assert pipeline.predict(CLIP[0]).sampling.steps == 1
    assert pipeline.predict(CLIP[0], samples=2, diverse=False).sampling.steps == 1


def test_older_checkpoints_have_one_for_all(plain) -> None:
    assert plain.resolve(None, "predict", True) == plain.resolve()


@pytest.mark.parametrize(
    "defaults",
    [{"fast": {}}, {"diverse": {"speed": 3}}, {"diverse": {"eta": 3.0}}, {"predict": {"steps": 0}}, {"diverse": 3}],
)
def test_defaults_that_do_not_fit(defaults) -> None:
    with pytest.raises(VDTError):
        from_dict(DiffusionConfig, {"defaults": defaults}, "a file")


def test_a_sampler_that_does_not_exist_is_said_when_the_checkpoint_is_loaded(tiny_checkpoint) -> None:
    config = read_config(tiny_checkpoint)
    wrong = replace(config, diffusion=replace(config.diffusion, defaults={"diverse": {"sampler": "eulr"}}))
    with pytest.raises(VDTError, match="eulr"):
        Pipeline(wrong, VDT(wrong.vdt), load_autoencoder(tiny_checkpoint))


# Questions that go together ---------------------------------------------------------------------------------------


def test_pairs_and_views_go_into_one_call(plain) -> None:
    sizes = []
    network = plain.network

    def noticed(x, t, given):
        sizes.append(x.shape[0])
        return network(x, t, given)

    made = {}
    for together in (1, 2, 16):
        other = Pipeline(plain.config, plain.vdt, plain.autoencoder)
        other.network, other.together = noticed, together
        sizes.clear()
        made[together] = other.fill(CLIP, plain.task_mask("predict"), BOTH, seeds=2)
        assert sizes == {1: [1] * 8, 2: [2] * 4, 16: [4] * 2}[together]
        assert other.clips_at_once(1, other.resolve(BOTH)) == max(sizes)
    assert np.abs(made[16].astype(int) - made[1]).max() <= 1
    assert np.abs(made[2].astype(int) - made[1]).max() <= 1


def test_the_whole_of_a_large_batch_is_not_asked_at_once(plain) -> None:
    assert plain.clips_at_once(12, plain.resolve(BOTH)) == 12
    assert plain.clips_at_once(8, plain.resolve(BOTH)) == 16


def test_other_ways_of_conditioning_are_sampled(plain) -> None:
    for conditioning in ("cross-attention", "adaln"):
        config = replace(plain.config, vdt=replace(plain.config.vdt, conditioning=conditioning, position="rotary"))
        pipeline = Pipeline(config, VDT(config.vdt), plain.autoencoder)
        assert pipeline.fill(CLIP, plain.task_mask("predict", 3), BOTH).shape == CLIP.shape
        spatial = plain.task_mask("spatial")
        if conditioning == "adaln":
            with pytest.raises(VDTError, match="part of a frame"):
                pipeline.fill(CLIP, spatial, BOTH)
        else:
            assert pipeline.fill(CLIP, spatial, BOTH).shape == CLIP.shape
    assert VDTConfig().conditioning == "tokens"


# NaN and infinity ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_network_that_fails_is_said_with_where_and_when(plain, monkeypatch, value) -> None:
    """At the first step of it, not after the last: frame 11 of the second clip, in the second of three calls."""
    engine, calls = plain, []
    network = engine.network

    def failing(x, *more):
        calls.append(1)
        answer = network(x, *more)
        if len(calls) >= 2:
            answer[1, 10, 2, 3, 0] = value
        return answer

    monkeypatch.setattr(engine, "network", failing)
    mask = np.ones((16, *engine.config.vdt.latent_size), np.float32)
    clips = np.repeat(CLIP, 2, axis=0)
    with pytest.raises(VDTError, match=r"at step 2 of 3 \(timestep [\d.]+\), first in frame 11 of clip 2"):
        engine.fill(clips, mask, Sampling("euler", 3))
    assert len(calls) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("part", ["encode", "decode"])
def test_an_autoencoder_that_fails_is_said_with_where(plain, monkeypatch, part, value) -> None:
    """Infinity too, which the limits of a picture would hide: every frame but one is as it was."""
    engine, seen = plain, []
    function = getattr(engine.autoencoder, part)

    def failing(frames):
        answer = function(frames)
        at = 7 - len(seen)
        if 0 <= at < len(answer):
            answer[at, 0, 1, 0] = value
        seen.extend(range(len(answer)))
        return answer

    monkeypatch.setattr(engine.autoencoder, part, failing)
    mask = np.zeros((16, *engine.config.vdt.latent_size), np.float32)
    mask[8:] = 1
    with pytest.raises(VDTError, match=f"where frame 8 of clip 1 was {part}d"):
        engine.fill(CLIP, mask, Sampling("euler", 2))


def test_reflection_stays_on_the_device_and_is_that_of_the_frames(plain, monkeypatch) -> None:
    latents = plain.encode(CLIP)
    by_hand = plain.encode(flipped(plain.decode(latents)))
    monkeypatch.setattr(np, "array", None)  # nothing is copied to the machine's own arrays
    assert mx.array_equal(plain.reflect(latents), by_hand)
