"""From a command line's words to a running training: configuration, folder, task, loop."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vdt_mlx.checkpoint import flat_parameters, load_autoencoder, load_vdt, save_checkpoint
from vdt_mlx.config import AutoencoderConfig, CheckpointConfig
from vdt_mlx.errors import VDTError
from vdt_mlx.training import loop, saving
from vdt_mlx.training.settings import TrainConfig, differences, load_config

AUTOENCODER = "autoencoder"


def train_autoencoder(
    config_name: str,
    out: str | Path,
    changes: tuple[str, ...] = (),
    *,
    resume: bool = False,
    init: str | Path | None = None,
    steps: int | None = None,
    hours: float | None = None,
) -> dict[str, Any]:
    """Trains an autoencoder into the folder `out`; see `loop.run`."""
    from vdt_mlx.training.autoencoder import AutoencoderTask

    if steps is not None:
        changes = (*changes, f"autoencoder_loop.steps={steps}")
    config = load_config(config_name, changes)
    out = Path(out)
    weights = None
    if init is not None:
        if resume:
            raise VDTError("--init starts a new run and --resume goes on with one: give one of them.")
        weights = flat_parameters(load_autoencoder(init))
    loop.prepare(out, "autoencoder", config, resume, {"init": str(init)} if init else {})
    task = AutoencoderTask(config, weights)
    return loop.run(task, out, resume=resume, hours=hours, facts=facts(config))


def train_vdt(
    config_name: str,
    out: str | Path,
    changes: tuple[str, ...] = (),
    *,
    resume: bool = False,
    init: str | Path | None = None,
    autoencoder: str | Path | None = None,
    steps: int | None = None,
    hours: float | None = None,
) -> dict[str, Any]:
    """Trains a VDT into the folder `out`, from the weights of `init` where given; see `loop.run`.

    The autoencoder comes from the checkpoint folder `autoencoder`, else from `init`; a resumed run has its own copy.
    """
    import mlx.core as mx

    from vdt_mlx.training.vdt import VDTTask

    if steps is not None:
        changes = (*changes, f"loop.steps={steps}")
    config = load_config(config_name, changes)
    out = Path(out)
    weights = None
    if init is not None:
        if resume:
            raise VDTError("--init starts a new run and --resume goes on with one: give one of them.")
        initial = load_vdt(init)
        if initial.config != config.vdt:
            lines = differences(asdict(initial.config), asdict(config.vdt))
            raise VDTError(f"The network in {init} is not the one of this configuration: {'; '.join(lines)}.")
        weights = flat_parameters(initial)
    if resume:
        saving.read_run(out)
    source = out / AUTOENCODER if resume else autoencoder or init
    if source is None:
        raise VDTError("Training a VDT needs an autoencoder: name a checkpoint folder with --autoencoder or --init.")
    coder = load_autoencoder(source)
    world = mx.distributed.init()
    if config.loop.batch % (world.size() * config.loop.accumulate):
        raise VDTError(
            f"loop.batch {config.loop.batch} does not divide over {world.size()} ranks "
            f"and loop.accumulate {config.loop.accumulate} parts."
        )
    main = world.rank() == 0
    if main:
        loop.prepare(out, "vdt", config, resume, {"init": str(init)} if init else {})
        if not resume:
            save_checkpoint(
                out / AUTOENCODER,
                CheckpointConfig(vdt=config.vdt, autoencoder=coder.config),
                autoencoder=flat_parameters(coder),
            )
    task = VDTTask(with_autoencoder(config, coder.config), coder, out / "cache", weights, world)
    return loop.run(task, out, resume=resume, hours=hours, main=main, facts=facts(config))


def with_autoencoder(config: TrainConfig, autoencoder: AutoencoderConfig) -> TrainConfig:
    """The configuration with the autoencoder that is really used; raises VDTError where the sizes do not fit."""
    return replace(config, autoencoder=autoencoder)


def facts(config: TrainConfig) -> dict[str, Any]:
    """What a checkpoint says of its training, besides steps and hours."""
    return {"config": config.to_dict(), "splits": {"train": config.data.split, "preview": "val"}}
