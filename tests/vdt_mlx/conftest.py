"""A tiny checkpoint with random weights, for everything that runs a model without caring how well."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """A checkpoint folder for 64-pixel clips of 16 frames that samples in a second."""
    import mlx.core as mx

    from vdt_mlx.checkpoint import flat_parameters, save_checkpoint
    from vdt_mlx.config import AutoencoderConfig, CheckpointConfig, DiffusionConfig, VDTConfig
    from vdt_mlx.network.autoencoder import build_autoencoder
    from vdt_mlx.network.vdt import VDT

    mx.random.seed(0)
    config = CheckpointConfig(
        vdt=VDTConfig(hidden_size=32, depth=1, num_heads=2, latent_size=(8, 8), learn_sigma=False),
        diffusion=DiffusionConfig(prediction="flow", schedule="flow", sampler="euler", steps=2),
        autoencoder=AutoencoderConfig(
            kind="kl", block_out_channels=(8, 8, 8, 8), layers_per_block=(1, 1), norm_num_groups=4
        ),
    )
    assert config.autoencoder is not None
    vdt, autoencoder = VDT(config.vdt), build_autoencoder(config.autoencoder)
    weights = {
        name: value if name.endswith("_embed") else mx.random.normal(value.shape) * 0.05
        for name, value in flat_parameters(vdt).items()
    }
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    save_checkpoint(folder, config, weights, flat_parameters(autoencoder))
    return folder


@pytest.fixture(scope="module")
def uncompiled():
    """Compiling the kernels takes a C++ compiler longer than all of these runs; the slow tests do compile."""
    import mlx.core as mx

    mx.disable_compile()
    yield
    mx.enable_compile()


@pytest.fixture(scope="module")
def problem(uncompiled, tmp_path_factory) -> dict[str, str]:
    """See `training_runs.make_problem`."""
    from training_runs import make_problem

    return make_problem(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def whole_run(problem, tmp_path_factory) -> Path:
    """A run of 8 steps that nothing disturbed."""
    from training_runs import start

    out = tmp_path_factory.mktemp("whole") / "run"
    start(problem, out)
    return out


@pytest.fixture
def small_network():
    """A VDT of `training_runs.SMALL` with random weights."""
    import mlx.core as mx
    from training_runs import SMALL

    from vdt_mlx.network.vdt import VDT

    mx.random.seed(4)
    model = VDT(SMALL)
    # The untrained output layer is zero, and what becomes of it could not be seen.
    model.final_layer.linear.weight = mx.random.normal(model.final_layer.linear.weight.shape) * 0.1
    return model
