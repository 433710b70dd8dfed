"""The project with small sizes, for running what the documents tell people to type: the same commands, in seconds.

    python -m tests.shortened MODEL -m vdt_mlx train vdt --config physics --out runs/physics --hours 8

runs a module as `python -m` does, after `shorten`. MODEL is the folder of `make_model`, which stands for the shipped
checkpoint. What is shortened is named in `shorten`: numbers of steps, clips and repetitions, and the network's sizes;
every option is parsed and every file is read and written as ever.
"""

import importlib
import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

SMALL = (
    *("vdt.hidden_size=32", "vdt.depth=1", "vdt.num_heads=2", "vdt.in_channels=4"),
    *("autoencoder.latent_channels=4", "autoencoder.block_out_channels=[4, 8, 8, 8]"),
    *("autoencoder.decoder_block_out_channels=[4, 8, 8, 8]", "loss.dead_units=0.0"),
    *("data.prefill=4", "data.pool=8", "data.frames_pool=4", "loop.steps=2", "loop.batch=2", "loop.preview_clips=2"),
    *("autoencoder_loop.steps=2", "autoencoder_loop.batch=2", "autoencoder_loop.preview_clips=2"),
)
"""Changes to the training configuration `physics`."""
MODEL_FILES = ("config.json", "vdt.safetensors", "autoencoder.safetensors")
Set = Callable[[Any, str, Any], None]


def make_model(folder: Path) -> Path:
    """A checkpoint of the configuration `physics` as it is when shortened, with random weights."""
    import mlx.core as mx

    from vdt_mlx.checkpoint import flat_parameters, save_checkpoint
    from vdt_mlx.config import CheckpointConfig
    from vdt_mlx.network.autoencoder import build_autoencoder
    from vdt_mlx.network.vdt import VDT
    from vdt_mlx.training.config import load_config

    mx.random.seed(0)
    config = load_config("physics", SMALL)
    whole = CheckpointConfig(vdt=config.vdt, diffusion=config.diffusion, autoencoder=config.autoencoder)
    save_checkpoint(
        folder, whole, flat_parameters(VDT(config.vdt)), flat_parameters(build_autoencoder(config.autoencoder))
    )
    return folder


def shorten(model: Path, put: Set = setattr) -> None:
    """Makes sizes small, with `put(object, name, value)`."""
    registry = importlib.import_module("weights.registry")
    put(registry, "REGISTRY", {"physics": replace(registry.REGISTRY["physics"], folder=model)})
    _shorten_training(put)
    _shorten_examiner(put)
    config = importlib.import_module("vdt_mlx.config")
    tiny = replace(config.PRESETS["VDT-S/2"], hidden_size=64, depth=2, num_heads=4)  # that of tests/golden
    for module in (config, importlib.import_module("weights.names.vdt")):
        put(module, "PRESETS", {**config.PRESETS, "tiny": tiny})
    dataset = importlib.import_module("physics_sim.dataset")
    write = dataset.write

    def few(out: Path, spec: Any, **options: Any) -> Any:
        return write(out, replace(spec, clips=min(spec.clips, 4)), **options)

    put(dataset, "write", few)
    for name in ("selftest_train",):
        module = importlib.import_module(f"vdt_mlx.commands.{name}")
        put(module, "SECONDS", dict.fromkeys(module.SECONDS, 1))


def _shorten_training(put: Set) -> None:
    config = importlib.import_module("vdt_mlx.training.config")
    start = importlib.import_module("vdt_mlx.training.start")
    recipe = importlib.import_module("vdt_mlx.training.recipe")
    load = config.load_config

    def small(name: str, changes: tuple[str, ...] = ()) -> Any:
        own = SMALL if name == "physics" or name.endswith(("physics.toml", "recipe.toml")) else ()
        return load(name, (*own, *changes))

    for module in (start, recipe):
        put(module, "load_config", small)
    for name in ("train_vdt", "train_autoencoder"):
        whole = getattr(start, name)

        def few(*arguments: Any, whole: Callable[..., Any] = whole, steps: int | None = None, **options: Any) -> Any:
            return whole(*arguments, steps=None if steps is None else min(steps, 3), **options)

        put(start, name, few)


def _shorten_examiner(put: Set) -> None:
    settings = importlib.import_module("evals.physics.settings")
    cli = importlib.import_module("evals.physics.cli")
    for module in (settings, cli):
        for name, value in (("QUICK", 1), ("FULL", 1), ("QUICK_LIBRARY", 2), ("FULL_LIBRARY", 2)):
            put(module, name, value)
    # Sections have tests of their own, and take a minute each; a suite of one's own has no scenarios.
    fewer = {"sections": "none"} | ({} if "--suite" in sys.argv else {"scenarios": "collide,uniform"})
    for option in cli.physics.params:
        if option.name in fewer:
            put(option, "default", fewer[option.name])
    speed = importlib.import_module("evals.speed.cli").speed
    few = {"rounds": 1, "clips": 2, "batch": 2}
    for command in speed.commands.values():
        for option in command.params:
            if option.name in few:
                put(option, "default", few[option.name])


def main() -> None:
    model, option, module, *arguments = sys.argv[1:]
    assert option == "-m", "only modules are run"
    shorten(Path(model))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
