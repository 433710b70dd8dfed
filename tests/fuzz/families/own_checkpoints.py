"""Checkpoint folders of ours: damaged weights, headers that lie, absurd and damaged configurations."""

import difflib  # noqa: F401  what is imported late, is imported now
import json
import random
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import physics_sim.dataset  # noqa: F401
from tests.fuzz.mutations import damaged
from vdt_mlx.checkpoint import flat_parameters, load_autoencoder, load_vdt, save_checkpoint, write_sums
from vdt_mlx.config import AutoencoderConfig, CheckpointConfig, VDTConfig
from vdt_mlx.network.autoencoder import build_autoencoder
from vdt_mlx.network.vdt import VDT
from weights.info import about
from weights.info_text import lines

TITLE = "checkpoint folders of ours"
FILES = ("config.json", "vdt.safetensors", "autoencoder.safetensors")
ABSURD: tuple[Any, ...] = (
    *(0, -1, 1, 2, 3, 10**4, 99_996, 10**5, 10**9, 2**63, 2**64, 10**30, 0.5, -0.0, 1e-300, 1e300),
    *(float("nan"), float("inf"), None, True, "", "x", "\x1b[2J", "9" * 5000, [], [1], [0, 0], [10**5, 10**5], {}),
    *([[]], {"a": {}}, [1] * 1000, [None], ["x", 2], [1.5, 2]),
)


@lru_cache
def good() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory(prefix="vdt-fuzz-") as name:
        folder = Path(name) / "made"
        config = VDTConfig(hidden_size=8, depth=1, num_heads=2, latent_size=(4, 4), num_frames=2)
        autoencoder = AutoencoderConfig(kind="tiny", block_out_channels=(4, 8))
        parts = flat_parameters(VDT(config)), flat_parameters(build_autoencoder(autoencoder))
        save_checkpoint(folder, CheckpointConfig(config, autoencoder=autoencoder), *parts)
        return {file: (folder / file).read_bytes() for file in FILES}


def case(rng: random.Random, folder: Path):
    files = dict(good())
    kind = rng.randrange(6)
    name = rng.choice(FILES[1:])
    if kind == 0:
        files[name] = damaged(rng, files[name])
    elif kind == 1:
        files["config.json"] = damaged(rng, files["config.json"])
    elif kind == 2:
        files[name] = _lying(rng, files[name])
    elif kind == 3:
        files[name] = files[rng.choice(FILES)]
    elif kind == 4:
        del files[rng.choice(FILES)]
    if kind in (2, 5):
        files["config.json"] = files.get("config.json", b"{}")
        if kind == 5:
            files["config.json"] = _absurd(rng, files["config.json"])
    for file, data in files.items():
        (folder / file).write_bytes(data)
    if rng.random() < 0.2:
        write_sums(folder)
    else:
        (folder / "SHA256SUMS").write_bytes(
            rng.choice((b"", b"\xff\x00\n", b"0  x\n", b"a" * 64 + b"  y.safetensors\n"))
        )
    which = rng.randrange(3)
    if which == 0:
        return lambda: flat_parameters(load_vdt(folder))
    if which == 1:
        return lambda: flat_parameters(load_autoencoder(folder))
    return lambda: lines(about(folder), verbose=rng.random() < 0.5)


def check(result) -> str | None:
    if isinstance(result, dict):
        return None
    return next((f"not one line: {line[:60]!a}" for line in result if not line.isprintable()), None)


def _absurd(rng: random.Random, text: bytes) -> bytes:
    """One to three values of the configuration replaced by something that is JSON and no setting."""
    body = json.loads(text)
    for _ in range(rng.choice((1, 1, 2, 3))):
        section = body.get(rng.choice(list(body)))
        table = section if isinstance(section, dict) and section and rng.random() < 0.9 else body
        table[rng.choice([*table, "more", "quantization", "training"])] = rng.choice(ABSURD)
        if not isinstance(body, dict):
            break
    return json.dumps(body).encode()


def _lying(rng: random.Random, data: bytes) -> bytes:
    """A header that says other types, shapes, places or names."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    name = rng.choice(list(header))
    entry = header[name]
    what = rng.randrange(5)
    if what == 0:
        entry["dtype"] = rng.choice(("F16", "F64", "I32", "BF16", "U32", "F8_E4M3", "", 5, None))
    elif what == 1:
        entry["shape"] = rng.choice(([], [0], [-1], [2**40], [2**31] * 2, [1] * 9, "x", None, [True], {}))
    elif what == 2:
        entry["data_offsets"] = rng.choice(([0, 0], [-1, 3], [2**63, 2**63], [0], "x", None, [0.5, 1]))
    elif what == 3:
        header[rng.choice(("", "\x1b[2J", "x" * 10_000, "pos_embed.weight"))] = header.pop(name)
    else:
        header["__metadata__"] = rng.choice(({"a": 1}, [], "x", {"format": "pt"}))
    body = json.dumps(header).encode()
    return len(body).to_bytes(8, "little") + body + data[8 + size :]
