"""Checkpoints of other people's trainers: averages under every name, prefixes of wrappers, and what lies beside."""

import contextlib
import time
from collections import Counter, OrderedDict
from functools import reduce

import numpy as np
import pytest

from vdt_mlx.config import VDTConfig
from vdt_mlx.errors import VDTError
from weights.convert import convert
from weights.formats.parts import TABLES
from weights.formats.source import open_source

SMALL = VDTConfig(hidden_size=16, depth=1, num_heads=2, latent_size=(4, 4), num_frames=3)
QKV = "blocks.0.attn.qkv.weight"


@pytest.fixture(scope="module")
def weights(state_dict, save):
    """The averaged weights, and the trained ones, whose every number is 9 more."""
    arrays = state_dict(SMALL)
    return tuple(OrderedDict((k, save.Stored(v + shift)) for k, v in arrays.items()) for shift in (0, 9))


def renamed(table, change):
    return OrderedDict((change(name), value) for name, value in table.items())


def trained(table):
    """Without the fixed tables, which many averages leave out."""
    return OrderedDict((name, value) for name, value in table.items() if name not in TABLES)


def prefixed(prefix, table):
    return renamed(table, lambda name: prefix + name)


def dotless(table):
    return prefixed("model_ema.", renamed(table, lambda name: name.replace(".", "")))


@pytest.fixture
def opened(save, weights, tmp_path):
    """`opened(content, which)`: the source, and whether it holds the averaged weights, whole."""

    def run(content, which=None):
        good, _ = weights
        with open_source(save(tmp_path / "x.pt", content), which) as file:
            found = {name: np.array(tensor.array()) for name, tensor in file.tensors.items()}
        assert set(found) == set(good)
        averaged = [np.array_equal(found[n], good[n].values) for n in found if n not in TABLES]
        assert len(set(averaged)) == 1
        return file, averaged[0]

    return run


KEYS = ("ema", "ema_model", "model_ema", "model_ema_state_dict", "state_dict_ema", "net_ema", "params_ema", "EMA")
KEYS += ("ema_state_dict", "modelEma", "ema_0.9999", "averaged_model", "swa_model", "avg_model_state_dict", "g_ema")


@pytest.mark.parametrize("key", KEYS)
def test_averaged_weights_come_first(key, opened, weights):
    good, raw = weights
    content = {"model": raw, "state_dict": prefixed("module.", raw), key: good, "epoch": 3}
    file, averaged = opened(content)
    assert averaged and file.part == key
    assert any("`which` chooses another: model, state_dict" in note for note in file.notes)
    file, averaged = opened(content, "model")
    assert not averaged and file.part == "model"


@pytest.mark.parametrize("key", ["model", "net", "schema", "semantic_model", "best", "g_emb"])
def test_other_names_are_no_averages(key, opened, weights):
    good, raw = weights
    assert opened({"ema": good, key: raw})[1]
    assert not opened({key: raw, "optimizer": {"state": {0: {"step": 1}}}})[1]


@pytest.mark.parametrize(
    ("ema", "part"),
    [
        (lambda good, raw: {"decay": 0.99, "state_dict": good}, "ema.state_dict"),
        (lambda good, raw: {"shadow": trained(good), "backup": trained(raw)}, "ema.shadow"),
        (lambda good, raw: {"shadow_params": list(good.values()), "temp_stored_params": None}, "ema.shadow_params"),
        (
            lambda good, raw: {
                "shadow_params": list(trained(good).values()),
                "collected_params": list(trained(raw).values()),
            },
            "ema.shadow_params",
        ),
        (lambda good, raw: prefixed("online_model.", raw) | prefixed("ema_model.", good), "ema.ema_model"),
    ],
)
def test_averages_in_tables_and_lists(ema, part, opened, weights):
    good, raw = weights
    file, averaged = opened({"model": raw, "ema": ema(good, raw)})
    assert averaged and file.part == part


def test_fixed_tables_that_an_average_lacks_are_said(opened, weights):
    good, raw = weights
    file, averaged = opened({"model": raw, "ema": trained(good)})
    assert averaged
    assert any("lack pos_embed, time_embed" in note for note in file.notes)


def test_the_average_of_latent_diffusion_has_names_without_dots(opened, weights, save):
    good, raw = weights
    one = save.Stored(np.ones(()))
    table = prefixed("model.", raw) | dotless(trained(good)) | {"model_ema.decay": one, "model_ema.num_updates": one}
    file, averaged = opened({"state_dict": table})
    assert averaged and file.part == "state_dict.model_ema"
    file, averaged = opened({"state_dict": table}, "state_dict.model")
    assert not averaged


PREFIXES = {
    "lightning": lambda name: "model." + name,
    "nested lightning": lambda name: "model.net.backbone." + name,
    "data parallel": lambda name: "module." + name,
    "compiled": lambda name: "_orig_mod." + name,
    "compiled inside of data parallel, twice": lambda name: "module._orig_mod.module." + name,
    "FSDP": lambda name: "_fsdp_wrapped_module." + name,
    "DeepSpeed and Fabric": lambda name: "_forward_module.module." + name,
    "activation checkpointing": lambda name: name.replace("blocks.0.", "blocks.0._checkpoint_wrapped_module."),
    "FSDP of each block": lambda name: (
        "_fsdp_wrapped_module." + name.replace("blocks.0.", "blocks.0._fsdp_wrapped_module._checkpoint_wrapped_module.")
    ),
    "somebody's own": lambda name: "my_trainer.denoiser." + name,
}


@pytest.mark.parametrize("wrapper", PREFIXES)
@pytest.mark.parametrize("nested", [True, False])
def test_prefixes_are_taken_off_and_said(wrapper, nested, opened, weights):
    table = renamed(weights[0], PREFIXES[wrapper])
    file, averaged = opened({"state_dict": table} if nested else table)
    assert averaged and file.part == ("state_dict" if nested else None)
    assert any("what wrappers put there" in note for note in file.notes)


def test_plain_names_are_left_alone(opened, weights):
    file, averaged = opened(weights[0])
    assert averaged and file.notes == () and file.part is None


def test_a_wrapper_that_counts_is_an_average(opened, weights, save):
    good, raw = weights
    table = {"n_averaged": save.Stored(np.ones(())), **prefixed("module.", good)}
    file, averaged = opened({"model": raw, "swapped": table})
    assert averaged and file.part == "swapped"
    assert any("n_averaged" in note for note in file.notes)


def test_other_networks_in_the_file_are_left_out_and_said(opened, weights, save):
    good, _ = weights
    other = {f"vae.encoder.{i}.weight": save.Stored(np.ones((3, 3))) for i in range(5)}
    file, averaged = opened({"state_dict": {**other, **prefixed("model.", good)}})
    assert averaged
    assert any("5 of the file's tensors" in note and "vae" in note for note in file.notes)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            lambda good, raw: {"ema_0.99": good, "ema_0.999": raw},
            r"averaged parts: ema_0\.99, ema_0\.999; .*`which`",
        ),
        (lambda good, raw: {"best": good, "last": raw}, r"several parts: best, last; choose one with `which`"),
        (lambda good, raw: prefixed("a.", good) | prefixed("b.", raw), r"several parts: a, b; choose one with `which`"),
    ],
)
def test_several_candidates_are_named(content, sentence, opened, weights):
    with pytest.raises(VDTError, match=sentence):
        opened(content(*weights))
    names = {"ema_0.99", "best", "a"}
    tables = content(*weights)
    assert opened(tables, next(n for n in names if n in tables or f"{n}.pos_embed" in tables))[1]
    with pytest.raises(VDTError, match="has no part 'nothing'; it has: "):
        opened(tables, "nothing")


def test_the_command_says_what_was_taken(save, weights, tmp_path, command):
    good, raw = weights
    path = save(tmp_path / "x.pt", {"model": raw, "ema": prefixed("module.", good)})
    status, out, err = command("convert", path, tmp_path / "out", "--num-heads", 2)
    assert (status, err) == (0, "")
    assert "Takes the part ema (averaged weights); --which chooses another: model." in out
    assert "Takes off the names what wrappers put there: 'module.'" in out
    status, out, _ = command("info", path)
    assert status == 0 and "--which chooses another: model." in out


def test_inert_values_beside_the_weights(save, weights, tmp_path, opened):
    numbers = save.Named("numpy", "dtype", "f8", False, True)
    encoded = save.Named("_codecs", "encode", "\x00" * 8, "latin1")
    content = {
        "model": weights[0],
        "size": save.Named("torch", "Size", (3, 4)),
        "device": save.Named("torch", "device", "cuda", 0),
        "layout": save.Named("torch.serialization", "_get_layout", "torch.strided"),
        "counter": Counter("abca"),
        "sets": ({1, 2}, frozenset({3})),
        "numbers": (1 + 2j, b"abc", bytearray(b"x")),
        "scalars": [save.Named(f"numpy.{c}.multiarray", "scalar", numbers, encoded) for c in ("core", "_core")],
        "sparse": save.Named("torch._utils", "_rebuild_sparse_tensor", None, (1, 2)),
        "meta": save.Named("torch._utils", "_rebuild_meta_tensor_no_storage", None, (2,), (1,), False),
    }
    for protocol in (2, 3, 4, 5):
        save(tmp_path / "x.pt", content, protocol)
        convert(tmp_path / "x.pt", tmp_path / "out", num_heads=2, force=True)


def test_a_weight_that_cannot_be_read_is_named(save, weights, opened):
    table = weights[0] | {QKV: save.Named("torch._utils", "_rebuild_sparse_tensor", None, (1, 2))}
    with pytest.raises(VDTError, match=r"attn\.qkv\.weight' is a tensor of the kind .*sparse.*not supported"):
        opened({"model": table})


@pytest.mark.parametrize("stem", ["run_12:30:05", "a b (1)", "lr=1e-4,bs=8", "..epoch", "[best]"])
def test_the_names_of_files_and_what_they_were_saved_as(stem, save, weights, tmp_path):
    path = save(tmp_path / f"{stem}.pt", weights[0])
    convert(path, tmp_path / "out", num_heads=2)
    path.rename(tmp_path / "renamed.pt")
    convert(tmp_path / "renamed.pt", tmp_path / "out", num_heads=2, force=True)


def test_the_advice_names_the_file_and_loads_it_with_trust(save, tmp_path):
    path = save(tmp_path / "whole.pt", {"model": save.Named("my_project.models", "VDT", 1)})
    with pytest.raises(
        VDTError, match=r"my_project\.models\.VDT.*torch\.load\('.*whole\.pt', weights_only=False.*'new\.pt'"
    ):
        open_source(path)


def test_info_takes_which_too(save, weights, tmp_path, command):
    good, raw = weights
    path = save(tmp_path / "x.pt", {"ema_0.99": good, "ema_0.999": raw})
    status, _, err = command("info", path)
    assert status == 2 and "choose one with --which" in err
    status, out, err = command("info", path, "--which", "ema_0.99")
    assert (status, err) == (0, "") and "ema_0.99" in out
    status, _, err = command("info", tmp_path, "--which", "ema_0.99")
    assert status == 2 and "drop --which" in err


BOMBS = {
    "long keys above many tables": lambda t: {"k" * 10**6: {f"x{i}": {"t": t} for i in range(50_000)}},
    "many networks": lambda t: {f"p{i}.x_embedder.proj.weight": t for i in range(50_000)},
    "many networks in tables": lambda t: {f"p{i}": {"x_embedder.proj.weight": t} for i in range(5_000)},
    "many averages": lambda t: {
        "x_embedder.proj.weight": t,
        **{f"ema{i}": {"x_embedderprojweight": t} for i in range(20_000)},
    },
    "deep": lambda t: reduce(lambda inner, _: {"a": inner}, range(300), {"t": t}),
    "lists of tensors": lambda t: {"model": {"x_embedder.proj.weight": t}, "ema": [[t] * 300 for _ in range(300)]},
}


@pytest.mark.parametrize("name", BOMBS)
def test_looking_through_a_hostile_file_takes_little(name, weights):
    """However a small pickle repeats what it holds, finding its parts stays quick."""
    from weights.formats.parts import choose
    from weights.formats.tensors import Storage, contiguous

    tensor = contiguous(Storage("fp32", 4, None), (1, 1, 2, 2))
    began = time.process_time()
    with contextlib.suppress(VDTError):
        choose(BOMBS[name](tensor), None, "x.pt")
    assert time.process_time() - began < 3
