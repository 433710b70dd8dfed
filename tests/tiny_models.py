"""Checkpoints of tiny networks with random weights, for tests that do not care how well a model does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def save_tiny(
    folder: Path,
    *,
    spread: float | None = None,
    vdt: Mapping[str, Any] | None = None,
    autoencoder: Mapping[str, Any] | None = None,
    steps: int = 2,
    training: dict[str, Any] | None = None,
) -> Path:
    """Writes a checkpoint for 64-pixel clips of 16 frames; returns its folder.

    Args:
        spread: of random weights in the place of a new network's, which adds nothing to its input.
        vdt, autoencoder: settings that differ from the tiny ones'.
        training: what the checkpoint says of its training.
    """
    import mlx.core as mx

    from vdt_mlx.checkpoint import flat_parameters, save_checkpoint
    from vdt_mlx.config import AutoencoderConfig, CheckpointConfig, DiffusionConfig, VDTConfig
    from vdt_mlx.network.autoencoder import build_autoencoder
    from vdt_mlx.network.vdt import VDT

    mx.random.seed(0)
    network: dict[str, Any] = {"hidden_size": 32, "depth": 1, "num_heads": 2, "latent_size": (8, 8)}
    coder: dict[str, Any] = {"block_out_channels": (8, 8, 8, 8), "layers_per_block": (1, 1), "norm_num_groups": 4}
    config = CheckpointConfig(
        vdt=VDTConfig(**{**network, "learn_sigma": False, **(vdt or {})}),
        diffusion=DiffusionConfig(prediction="flow", schedule="flow", sampler="euler", steps=steps),
        autoencoder=AutoencoderConfig(**{**coder, **(autoencoder or {})}),
        training=training,
    )
    assert config.autoencoder is not None
    model, decoder = VDT(config.vdt), build_autoencoder(config.autoencoder)
    weights = flat_parameters(model)
    if spread is not None:
        weights = {
            name: value if name.endswith("_embed") else mx.random.normal(value.shape) * spread
            for name, value in weights.items()
        }
    save_checkpoint(folder, config, weights, flat_parameters(decoder))
    return folder
