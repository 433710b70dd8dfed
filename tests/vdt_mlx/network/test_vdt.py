"""The network against the official release's numbers, and what must hold for any size."""

import mlx.core as mx
import numpy as np
import pytest

from vdt_mlx.config import PRESETS, VDTConfig
from vdt_mlx.errors import VDTError
from vdt_mlx.network.flops import parameters
from vdt_mlx.network.vdt import VDT, LabelEmbedder, patchify, spatial_table, temporal_table, unpatchify

SMALL = VDTConfig(hidden_size=32, depth=2, num_heads=2, latent_size=(8, 8), num_frames=8)


def random_vdt(config: VDTConfig = SMALL) -> VDT:
    """A network with no zero weights, so that every part of it acts."""
    model = VDT(config)
    mx.random.seed(1)
    filled = [
        (name, value if name.endswith("_embed") else mx.random.normal(value.shape) * 0.05)
        for name, value in flat(model).items()
    ]
    model.load_weights(filled)
    return model


def flat(model: VDT) -> dict[str, mx.array]:
    from vdt_mlx.checkpoint import flat_parameters

    return flat_parameters(model)


@pytest.mark.parametrize("name", ["vdt_tiny", "vdt_head72"])
def test_matches_the_official_release(golden_vdt, name) -> None:
    model, recorded = golden_vdt(name)
    out = model(mx.array(recorded["x"]), mx.array(recorded["t"]))
    assert np.abs(np.array(out) - recorded["y"]).max() <= 1e-4


@pytest.mark.parametrize("name", ["vdt_tiny", "vdt_head72"])
def test_the_forms_for_a_gpu_match_the_official_release(golden_vdt, gpu_forms, name) -> None:
    test_matches_the_official_release(golden_vdt, name)


@pytest.mark.parametrize("name", ["vdt_tiny", "vdt_head72"])
def test_computed_tables_are_the_official_ones(golden_vdt, name) -> None:
    model, _ = golden_vdt(name)
    size, frames = model.config.hidden_size, model.config.num_frames
    assert np.allclose(model.pos_embed[0], spatial_table(size, model.config.grid), atol=1e-6)
    assert np.allclose(model.time_embed[0], temporal_table(size, np.arange(frames)), atol=1e-6)


@pytest.mark.parametrize(
    ("preset", "latent", "count"),
    [
        ("VDT-L/2", (32, 32), 860_017_568),
        ("VDT-L/2", (16, 16), 859_796_384),
        ("VDT-S/2", (32, 32), 41_465_504),
        ("VDT-S/2", (16, 16), 41_391_776),
    ],
)
def test_parameter_counts_of_the_paper(preset, latent, count) -> None:
    config = VDTConfig(**{**PRESETS[preset].__dict__, "latent_size": latent})
    assert parameters(config) == count


def test_counted_parameters_are_those_of_the_network() -> None:
    assert sum(value.size for value in flat(VDT(SMALL)).values()) == parameters(SMALL)


@pytest.mark.parametrize("shape", [(1, 8, 8, 8, 4), (2, 3, 4, 12, 4), (1, 16, 6, 2, 4), (1, 1, 8, 8, 4)])
def test_any_frames_and_rectangles(shape) -> None:
    out = random_vdt()(mx.random.normal(shape), mx.zeros(shape[0]))
    assert out.shape == (*shape[:-1], 8)
    assert mx.isfinite(out).all()


def test_tables_are_interpolated_between_their_ends() -> None:
    model = random_vdt()
    pos, time = model._tables((7, 4), 15, mx.float32)
    stored = np.array(model.pos_embed).reshape(4, 4, -1)
    assert np.allclose(np.array(pos).reshape(7, 4, -1)[::2], stored, atol=1e-6)
    assert np.allclose(np.array(time)[0, ::2], np.array(model.time_embed)[0], atol=1e-6)


def test_clips_of_a_batch_do_not_see_each_other() -> None:
    model = random_vdt()
    x, t = mx.random.normal((2, 8, 8, 8, 4)), mx.array([10, 700])
    together = model(x, t)
    alone = mx.concatenate([model(x[i : i + 1], t[i : i + 1]) for i in range(2)])
    assert np.allclose(together, alone, atol=1e-5)


def test_every_frame_and_patch_sees_every_other() -> None:
    model = random_vdt()
    x, t = mx.random.normal((1, 8, 8, 8, 4)), mx.zeros(1)
    changed = mx.array(np.array(x))
    changed[0, 0, 0, 0] += 100 * mx.random.normal((4,))
    difference = np.abs(np.array(model(changed, t) - model(x, t))).max(axis=-1)
    assert (difference > 0).all()


def test_a_new_network_answers_zero_as_adaln_zero_asks() -> None:
    model = VDT(SMALL)
    assert not np.array(model(mx.random.normal((1, 8, 8, 8, 4)), mx.array([5]))).any()


def test_tables_are_not_trained() -> None:
    from mlx.utils import tree_flatten

    names = {name for name, _ in tree_flatten(VDT(SMALL).trainable_parameters())}
    assert names == set(flat(VDT(SMALL))) - {"pos_embed", "time_embed"}


def test_patches_there_and_back() -> None:
    x = mx.random.normal((2, 3, 8, 6, 5))
    assert mx.array_equal(unpatchify(patchify(x, 2), (4, 3), 2, 5), x)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_stays_close(dtype) -> None:
    from vdt_mlx.checkpoint import cast

    model, x, t = random_vdt(), mx.random.normal((1, 8, 8, 8, 4)), mx.array([300])
    exact = model(x, t)
    model.load_weights(list(cast(flat(model), "fp16" if dtype == mx.float16 else "bf16").items()))
    rough = model(x.astype(dtype), t).astype(mx.float32)
    assert float(mx.abs(rough - exact).max()) < 0.05 * float(mx.abs(exact).max())


@pytest.mark.parametrize(
    ("shape", "t"), [((1, 8, 8, 8, 3), (1,)), ((8, 8, 8, 4), (1,)), ((1, 8, 7, 8, 4), (1,)), ((2, 8, 8, 8, 4), (1,))]
)
def test_misshapen_input_is_refused(shape, t) -> None:
    with pytest.raises(VDTError):
        random_vdt()(mx.zeros(shape), mx.zeros(t))


@pytest.mark.parametrize("y", [None, [0, 0, 0, 0, 0], [2, 0, 2, 3, 2]], ids=str)
def test_label_rows_are_looked_up_and_learn_as_such(y) -> None:
    embedder, weights = LabelEmbedder(3, 8), mx.random.normal((5, 8))
    labels = None if y is None else mx.array(y)
    rows = mx.array(y or [0] * 5)

    def loss(table: mx.array, look_up) -> mx.array:
        embedder.embedding_table.weight = table
        return (look_up(table) * weights).sum()

    table = embedder.embedding_table.weight
    assert mx.array_equal(embedder(labels, 5), table[rows])
    ours = mx.grad(loss)(table, lambda table: embedder(labels, 5))
    theirs = mx.grad(loss)(table, lambda table: table[rows])
    assert np.allclose(ours, theirs, atol=1e-6)
