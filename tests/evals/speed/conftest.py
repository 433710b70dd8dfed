"""A tiny checkpoint for what measures models."""

import pytest


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory) -> str:
    """A folder with random weights for 64-pixel clips of 16 frames."""
    import mlx.core as mx

    from vdt_mlx.checkpoint import flat_parameters, save_checkpoint
    from vdt_mlx.config import AutoencoderConfig, CheckpointConfig, DiffusionConfig, VDTConfig
    from vdt_mlx.network.autoencoder import build_autoencoder
    from vdt_mlx.network.vdt import VDT

    mx.random.seed(0)
    config = CheckpointConfig(
        vdt=VDTConfig(hidden_size=32, depth=1, num_heads=2, latent_size=(8, 8), learn_sigma=False),
        diffusion=DiffusionConfig(prediction="flow", schedule="flow", sampler="euler", steps=2),
        autoencoder=AutoencoderConfig(block_out_channels=(8, 8, 8, 8), layers_per_block=(1, 1), norm_num_groups=4),
    )
    assert config.autoencoder is not None
    vdt, autoencoder = VDT(config.vdt), build_autoencoder(config.autoencoder)
    folder = tmp_path_factory.mktemp("speed") / "model"
    save_checkpoint(folder, config, flat_parameters(vdt), flat_parameters(autoencoder))
    return str(folder)
