"""What a checkpoint is: kind, sizes, parameters by part, arithmetic, memory, origin. For `vdt-mlx info`."""

import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vdt_mlx.checkpoint import check_size, check_sum
from vdt_mlx.config import (
    AUTOENCODER_FILE,
    CONFIG_FILE,
    TINY_AUTOENCODER_FILE,
    VDT_FILE,
    AutoencoderConfig,
    CheckpointConfig,
    packable,
    read_config,
)
from vdt_mlx.device.chunks import frame_bytes, frames_at_once
from vdt_mlx.errors import VDTError
from vdt_mlx.files import sha256
from vdt_mlx.network.flops import flops, parameters, parameters_by_part
from weights.about_ours import INDEX_FILE, STATE_FILE, about_data_set, about_run, about_state, is_data_set
from weights.autoencoders import LoadedAutoencoder, expected_shapes, open_autoencoder
from weights.formats.source import Checksum, Source, check_member, open_source
from weights.formats.tensors import NUMPY
from weights.names.vdt import configure, infer_vdt, is_vdt, torch_shapes, vdt_shapes
from weights.places import RUN_CHECKPOINT, RUN_FILE, is_own, weights_in
from weights.registry import REGISTRY, resolve

OWN_FILES = (VDT_FILE, AUTOENCODER_FILE, TINY_AUTOENCODER_FILE)
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
_ACTIVATIONS = 24
"""Peak of one network call, in units of one activation (frames x tokens x width); measured, see `network_memory`."""


def about(name_or_path: str | Path, revision: str | None = None, which: str | None = None) -> dict[str, Any]:
    """Describes a checkpoint, a training run, a data set, or a file of one of these or that `convert` could take.

    A checkpoint may be a folder, a registered name or a hub repository. `which` is the part of a training checkpoint
    of others, as in `convert`. Raises VDTError if it is none of these, or
    damaged.
    """
    path = Path(name_or_path).expanduser()
    if which is not None and not path.is_file():
        raise VDTError(f"{path} is no file, so it has no part {which!r} (drop `which`).")
    if str(name_or_path) in REGISTRY or not path.exists():
        if str(name_or_path) not in REGISTRY and path.suffix in (".pt", ".pth", ".ckpt", ".bin", ".safetensors"):
            raise VDTError(f"There is no file {path}.")
        return _about_folder(resolve(name_or_path, revision))
    if revision is not None:
        raise VDTError(f"A revision pins a hub repository, org/name, and {path} is not one.")
    if path.name in (CONFIG_FILE, RUN_FILE, INDEX_FILE) and path.is_file():
        path = path.absolute().parent
    if path.is_dir():
        if is_own(path):
            return _about_folder(path)
        if (path / RUN_FILE).is_file():
            saved = (path / RUN_CHECKPOINT / CONFIG_FILE).is_file()
            return {**about_run(path), "checkpoint": _about_folder(path / RUN_CHECKPOINT) if saved else None}
        if is_data_set(path):
            return about_data_set(path)
        found = weights_in(path)
        return _about_file(found) if found is not None and _is_network(found) else _about_autoencoder(path)
    if which is None and path.name in OWN_FILES and is_own(path.parent):
        return _about_own_file(path)
    if which is None and path.name == STATE_FILE:
        return about_state(path)
    return _about_file(path, which)


def _is_network(path: Path) -> bool:
    with open_source(path) as file:
        return is_vdt(file.tensors)


def _about_own_file(path: Path) -> dict[str, Any]:
    """One of the files of weights in a checkpoint folder."""
    folder = _about_folder(path.parent)
    keep = {
        VDT_FILE: ("vdt", "diffusion", "parameters", "gflops", "quantization"),
        AUTOENCODER_FILE: ("autoencoder",),
        TINY_AUTOENCODER_FILE: ("tiny_autoencoder",),
    }[path.name]
    if path.name not in folder["files"]:
        raise VDTError(f"{path} is not a part of the checkpoint that the {CONFIG_FILE} beside it describes.")
    with open_source(path) as file:
        kinds = stored_types(file)
    what = "network" if path.name == VDT_FILE else "autoencoder"
    return {
        "kind": f"{what} of a checkpoint folder",
        "path": str(path),
        **{key: folder[key] for key in keep},
        "dtype": kinds,
        "files": {path.name: path.stat().st_size},
        "sha256": sha256(path),
    }


def _about_folder(folder: Path) -> dict[str, Any]:
    config = read_config(folder)
    held = {
        VDT_FILE: (folder / VDT_FILE).exists() or config.autoencoder is None,  # a run may train an autoencoder alone
        AUTOENCODER_FILE: config.autoencoder is not None,
        TINY_AUTOENCODER_FILE: config.tiny_autoencoder is not None,
    }
    files, kinds = {}, {}
    for name in (name for name, wanted in held.items() if wanted):
        check_sum(folder / name)
        with open_source(folder / name) as file:
            files[name], kinds[name] = len(file.mapped), stored_types(file)
            if name == VDT_FILE:
                check_size(config.vdt, {key: tensor.shape for key, tensor in file.tensors.items()}, str(file.path))
    network = held[VDT_FILE]
    return {
        "kind": "checkpoint folder" if network else "checkpoint folder with an autoencoder alone",
        "path": str(folder),
        **(_describe_vdt(config, config.vdt.num_heads) if network else {}),
        "dtype": next(iter(kinds.values())),
        "quantization": config.quantization,
        "autoencoder": _describe_autoencoder(config.autoencoder),
        "tiny_autoencoder": _describe_autoencoder(config.tiny_autoencoder),
        "pixels": _pixels(config),
        "memory": memory(config) if network else None,
        "files": files,
        "provenance": config.provenance,
        "training": config.training,
    }


def _about_file(path: Path, which: str | None = None) -> dict[str, Any]:
    with open_source(path, which) as file:
        if not is_vdt(file.tensors):
            described = _about_autoencoder(path)
        else:
            config, heads = _configure_without_heads(file)
            described = {
                "kind": f"VDT checkpoint to convert ({file.format})",
                "path": str(path),
                "part": file.part,
                "notes": list(file.notes),
                **_describe_vdt(config, heads),
                "dtype": stored_types(file),
                "memory": memory(config),
            }
        sums = {part.path.name: _checked(part) for part in file.files}
        files = {part.path.name: len(part.mapped) for part in file.files}
        return {**described, "files": files, "sha256": sums[file.path.name], "checksums": sums}


def _checked(file: Source) -> str:
    """The SHA-256 of a file, after comparing what has a checksum inside of it."""
    checksum = Checksum(file.mapped)
    try:
        for member in sorted(file.members, key=lambda member: member.start):
            check_member(file.mapped, member)
            checksum.keep_near(member.start + member.size)
        return checksum.result()
    finally:
        checksum.stop()


def _configure_without_heads(file: Source) -> tuple[CheckpointConfig, int | None]:
    """The configuration of a file, and its number of heads, or None where only a flag could tell."""
    try:
        config = configure(file)
        return config, config.vdt.num_heads
    except VDTError:
        shapes = torch_shapes(file)
        tokens = shapes["pos_embed"][1] if len(shapes.get("pos_embed", ())) == 3 else 0
        patch = infer_vdt({**shapes, "pos_embed": (1, 1, 1)}, str(file.path), num_heads=1).patch_size
        square = math.isqrt(tokens) ** 2 == tokens
        return configure(file, 1, None if square else (patch, patch * tokens)), None


def _about_autoencoder(path: Path) -> dict[str, Any]:
    try:
        opened = open_autoencoder(path)
    except VDTError as error:
        if "`norm_groups`" not in str(error):
            raise
        opened = open_autoencoder(path, norm_groups=1)
    with opened as loaded:
        return {
            "kind": f"autoencoder to convert ({loaded.naming})",
            "path": str(path),
            "autoencoder": _describe_autoencoder(loaded.config),
            "dtype": sorted({item.tensor.dtype for item in loaded.items}),
            "files": _files_of(loaded),
        }


def _files_of(loaded: LoadedAutoencoder) -> dict[str, int]:
    return {source.path.name: len(source.mapped) for source in loaded.sources}


def _describe_vdt(config: CheckpointConfig, heads: int | None) -> dict[str, Any]:
    vdt = config.vdt
    return {
        "vdt": {**asdict(vdt), "num_heads": heads, "latent_size": list(vdt.latent_size)},
        "diffusion": asdict(config.diffusion),
        "parameters": {"total": parameters(vdt), **parameters_by_part(vdt)},
        "gflops": flops(vdt) / 1e9,
    }


def _describe_autoencoder(config: AutoencoderConfig | None) -> dict[str, Any] | None:
    if config is None:
        return None
    shapes = expected_shapes(config)
    halves = {
        half: sum(math.prod(shape) for name, shape in shapes.items() if (name.split(".")[0] in names))
        for half, names in (("encoder", ("encoder", "quant_conv")), ("decoder", ("decoder", "post_quant_conv")))
    }
    return {
        "kind": config.kind,
        "latent_channels": config.latent_channels,
        "downsample": config.downsample,
        "block_out_channels": list(config.block_out_channels),
        "decoder_block_out_channels": list(config.decoder_block_out_channels or config.block_out_channels),
        "parameters": {"total": sum(halves.values()), **halves},
    }


def _pixels(config: CheckpointConfig) -> list[int] | None:
    if config.autoencoder is None:
        return None
    return [side * config.autoencoder.downsample for side in config.vdt.latent_size]


def memory(config: CheckpointConfig, batch: int = 1) -> dict[str, int]:
    """Bytes that sampling one default clip will need, estimated part by part.

    The network's are those of fp32 (its default) unless quantized; see `network_memory`. Decoding goes a few frames
    at a time, as many as this device takes. The parts do not have to be there at the same time: the peak is near the
    weights plus the larger of the other two.
    """
    needed = network_memory(config, batch)
    autoencoder = config.autoencoder
    if autoencoder is not None:
        weights = sum(math.prod(shape) for shape in expected_shapes(autoencoder).values())
        needed["autoencoder weights"] = 4 * weights
        height, width = (side * autoencoder.downsample for side in config.vdt.latent_size)
        frames = min(frames_at_once(autoencoder, height, width), batch * config.vdt.num_frames)
        needed[f"decoding {frames} frames"] = frames * frame_bytes(autoencoder, height, width)
    return needed


def network_memory(config: CheckpointConfig, batch: int = 1, dtype: str = "fp32") -> dict[str, int]:
    """Bytes of the network's weights, and of one call on the default clip.

    The call: 24 activations of (frames x tokens x width) and the spatial attention scores of all heads; what
    `mx.get_peak_memory` shows on a CPU is 23 to 25 of them (the presets `physics` and VDT-S/2, 16 and 64 frames).
    """
    vdt = config.vdt
    weights = parameters(vdt) * BYTES[dtype]
    if config.quantization is not None:
        bits, group = config.quantization["bits"], config.quantization["group_size"]
        weights = 0
        for name, shape in vdt_shapes(vdt).items():
            packed = packable(name, shape, group)
            bits_each = bits + 2 * 8 * BYTES[dtype] / group if packed else 8 * BYTES[dtype]
            weights += int(math.prod(shape) * bits_each / 8)
    tokens = vdt.grid[0] * vdt.grid[1]
    activation = batch * vdt.num_frames * tokens * vdt.hidden_size * BYTES[dtype]
    scores = batch * vdt.num_frames * vdt.num_heads * tokens**2 * BYTES[dtype]
    return {"weights": weights, "network call": _ACTIVATIONS * activation + scores}


def stored_types(file: Source) -> list[str]:
    """The types of element in a file, the one with the most bytes first."""
    counts: Counter[str] = Counter()
    for tensor in file.tensors.values():
        counts[tensor.dtype] += tensor.size * NUMPY[tensor.dtype].itemsize
    return [dtype for dtype, _ in counts.most_common()]
