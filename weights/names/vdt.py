"""The official VDT state dict as a table: names and shapes from a configuration, and a configuration from shapes."""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from vdt_mlx.checkpoint import check_size
from vdt_mlx.config import CONFIG_FILE, PRESETS, VDT_FILE, CheckpointConfig, DiffusionConfig, VDTConfig
from vdt_mlx.errors import VDTError
from vdt_mlx.network import parts
from weights.formats.source import Source
from weights.formats.tensors import to_torch_shape

KERNEL = "x_embedder.proj.weight"
"""The patch embedding, whose sizes tell most of the configuration."""
Shapes = Mapping[str, tuple[int, ...]]


def vdt_shapes(config: VDTConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the network, in the order of the official release, and its shape there (517 for VDT-L/2)."""
    return {item.name: to_torch_shape(item.shape) for item in parts.of_config(config)}


def is_vdt(names: Collection[str]) -> bool:
    """Whether these look like the tensors of a VDT, perhaps an incomplete one."""
    return KERNEL in names and any(name.startswith("blocks.") for name in names)


def infer_vdt(
    shapes: Shapes,
    source: str,
    num_heads: int | None = None,
    latent_size: tuple[int, int] | None = None,
) -> VDTConfig:
    """Reads the configuration off the tensors (official layout).

    The number of heads leaves no trace in them: it is that of the preset with this hidden size and depth, or
    `num_heads`. The grid of positions is taken to be square unless `latent_size` (height, width in cells) says more.

    Raises VDTError where the tensors are not a VDT's, where they contradict each other, and, naming the flag, where
    they leave something open.
    """

    def shape(name: str, dimensions: int) -> tuple[int, ...]:
        found = shapes.get(name)
        if found is None:
            raise VDTError(f"{source} is not a VDT checkpoint: it has no tensor {name}.")
        if len(found) != dimensions or 0 in found:
            raise VDTError(f"{source} is not a VDT checkpoint: its {name} has the shape {found}.")
        return found

    size, channels, patch, across = shape(KERNEL, 4)
    if patch != across:
        raise VDTError(f"{source} is not a VDT checkpoint: its patches are {patch} x {across}.")
    tokens = shape("pos_embed", 3)[1]
    frames = shape("time_embed", 3)[1]
    rows = shape("y_embedder.embedding_table.weight", 2)[0]
    hidden = shape("blocks.0.mlp.fc1.weight", 2)[0]
    outputs = shape("final_layer.linear.weight", 2)[0]
    depth = 1 + max(
        int(match.group(1)) for name in shapes if (match := re.match(r"blocks\.(\d{1,6})\.", name)) is not None
    )
    if depth > len(shapes):
        raise VDTError(f"{source} is not a VDT checkpoint: it has a block {depth - 1} but only {len(shapes)} tensors.")
    if rows < 2:
        raise VDTError(f"{source}: its class table has {rows} row, where a VDT has one a class and one more.")
    if outputs not in (patch**2 * channels, 2 * patch**2 * channels):
        raise VDTError(
            f"{source}: its final layer has {outputs} outputs, where patches of {patch} x {patch} x {channels} need "
            f"{patch**2 * channels}, or twice that with a learned variance."
        )
    return VDTConfig(
        hidden_size=size,
        depth=depth,
        num_heads=_heads(size, depth, patch, num_heads, source),
        patch_size=patch,
        in_channels=channels,
        latent_size=_latent_size(tokens, patch, latent_size, source),
        num_frames=frames,
        num_classes=rows - 1,
        learn_sigma=outputs != patch**2 * channels,
        mlp_ratio=_ratio(hidden, size),
    )


def configure(
    file: Source, num_heads: int | None = None, latent_size: tuple[int, int] | None = None
) -> CheckpointConfig:
    """The configuration of a checkpoint file: what one of our exports says in it, else read off its tensors.

    Raises VDTError where the tensors are not a VDT's, or do not fit what is said.
    """
    source = str(file.path)
    if (
        file.metadata.get("format") == "mlx"
        and file.path.name == VDT_FILE
        and file.path.with_name(CONFIG_FILE).exists()
    ):
        raise VDTError(f"{source} is the weights file of an MLX checkpoint; give the folder that it is in.")
    shapes = torch_shapes(file)
    if file.config is not None:
        config = CheckpointConfig.from_json(file.config, f"the configuration in {source}")
        if num_heads not in (None, config.vdt.num_heads) or latent_size not in (None, config.vdt.latent_size):
            raise VDTError(
                f"{source} says that it has {config.vdt.num_heads} heads and latents of "
                f"{config.vdt.latent_size[0]}x{config.vdt.latent_size[1]}: drop `num_heads` and `latent_size`."
            )
        config = replace(config, autoencoder=None, tiny_autoencoder=None, quantization=None)
    else:
        config = CheckpointConfig(vdt=infer_vdt(shapes, source, num_heads, latent_size), diffusion=DiffusionConfig())
    check_tensors(config.vdt, shapes, source)
    return config


def is_mlx_layout(file: Source) -> bool:
    """Whether its patch embedding has MLX's layout, a patch's sides before the channels: MLX saved the file."""
    kernel = file.tensors[KERNEL].shape if KERNEL in file.tensors else ()
    return len(kernel) == 4 and kernel[1] == kernel[2] != kernel[3]


def torch_shapes(file: Source) -> dict[str, tuple[int, ...]]:
    """The shapes of its tensors in PyTorch's layout, whichever they are in."""
    mlx = is_mlx_layout(file)
    return {name: to_torch_shape(t.shape) if mlx else t.shape for name, t in file.tensors.items()}


def check_tensors(config: VDTConfig, shapes: Shapes, source: str) -> None:
    """Raises VDTError where these are not the tensors of the network that `config` describes (PyTorch's layout)."""
    check_size(config, shapes, source)
    differences(vdt_shapes(config), shapes, source)


def _heads(size: int, depth: int, patch: int, given: int | None, source: str) -> int:
    if given is not None:
        if given < 1 or size % given:
            raise VDTError(f"`num_heads` {given} does not divide the hidden size of {source}, which is {size}.")
        return given
    fitting = {
        preset.num_heads
        for preset in PRESETS.values()
        if (preset.hidden_size, preset.depth, preset.patch_size) == (size, depth, patch)
    }
    if len(fitting) != 1:
        raise VDTError(
            f"{source} has hidden size {size} and depth {depth}, which fits no preset ({', '.join(PRESETS)}), and "
            "the number of attention heads cannot be read off a checkpoint: give it with `num_heads`."
        )
    return fitting.pop()


def _latent_size(tokens: int, patch: int, given: tuple[int, int] | None, source: str) -> tuple[int, int]:
    if given is not None:
        if given[0] % patch or given[1] % patch or (given[0] // patch) * (given[1] // patch) != tokens:
            raise VDTError(
                f"`latent_size` {given[0]}x{given[1]} does not fit the {tokens} positions of {source} "
                f"with patches of {patch} x {patch}."
            )
        return given
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise VDTError(
            f"{source} has {tokens} positions a frame, which is no square: give the height and width of its latents "
            "with `latent_size`."
        )
    return side * patch, side * patch


def _ratio(hidden: int, size: int) -> float:
    """The ratio that gives this MLP width: int(size * ratio) == hidden, whatever the rounding."""
    ratio = hidden / size
    while int(size * ratio) < hidden:
        ratio = math.nextafter(ratio, math.inf)
    return ratio


def differences(expected: Shapes, found: Shapes, source: str) -> None:
    """Raises VDTError that lists each missing, unexpected and misshapen tensor; returns if there is none."""
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    misshapen = [
        f"{name} {found[name]} instead of {shape}"
        for name, shape in expected.items()
        if name in found and tuple(found[name]) != tuple(shape)
    ]
    parts = [
        f"{title}: {_list(names)}"
        for title, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if names
    ]
    if parts:
        raise VDTError(f"The tensors of {source} do not fit; {'; '.join(parts)}.")


def _list(names: list[str], most: int = 40) -> str:
    shown = [
        name if name.isascii() and name.isprintable() and len(name) <= 120 else ascii(name[:100]) for name in names
    ]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown[:most]) + more
