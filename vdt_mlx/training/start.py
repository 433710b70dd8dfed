"""From a command line's words to a running training: configuration, folder, task, loop."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from vdt_mlx.checkpoint import flat_parameters, load_autoencoder, save_checkpoint
from vdt_mlx.config import CheckpointConfig, read_config
from vdt_mlx.diffusion.sampling import Sampling
from vdt_mlx.diffusion.schedule import Schedule
from vdt_mlx.errors import VDTError
from vdt_mlx.network.autoencoder import Autoencoder
from vdt_mlx.training import draw as objective
from vdt_mlx.training import loop
from vdt_mlx.training import state as saving
from vdt_mlx.training.config import TrainConfig, config_from_dict, differences, load_config
from vdt_mlx.training.data import Source, build_source
from vdt_mlx.training.latents import autoencoder_key
from vdt_mlx.training.provenance import facts, lineage
from vdt_mlx.training.tensorboard import require

AUTOENCODER = "autoencoder"


def train_autoencoder(
    config_name: str | None,
    out: str | Path,
    changes: tuple[str, ...] = (),
    *,
    resume: bool = False,
    init: str | Path | None = None,
    steps: int | None = None,
    hours: float | None = None,
    at: int | None = None,
    label: str = "",
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Trains an autoencoder into the folder `out`; see `loop.run` and `choose_config`.

    It may be larger than that of `init`, which is widened first; with `loss.decoder_only` only its decoder may be.
    One process trains it: of several ranks the first does, and the others have nothing to do.
    """
    from vdt_mlx.training.autoencoder import AutoencoderTask

    if mx.distributed.init().rank() > 0:
        return {"step": 0, "seconds": 0.0, "scores": {}}
    if steps is not None:
        changes = (*changes, f"autoencoder_loop.steps={steps}")
    out = Path(out)
    _check_back(at, resume)
    if tensorboard:
        require()
    with _owned(out, resume):
        config = choose_config(config_name, out, changes, resume)
        init, begun = _started_from(out, init, resume)
        initial = _initial_autoencoder(init, config) if init is not None else None
        if initial is None and config.loss.decoder_only and not resume:
            raise VDTError("loss.decoder_only trains the decoder of an autoencoder that there is: name it with `init`.")
        source = build_source(config.data)
        with _claimed(out, "autoencoder", config, resume, begun, source):
            task = AutoencoderTask(config, initial)
        told = facts(config, source.told())
        return loop.run(task, out, resume=resume, at=at, hours=hours, facts=told, label=label, tensorboard=tensorboard)


def train_vdt(
    config_name: str | None,
    out: str | Path,
    changes: tuple[str, ...] = (),
    *,
    resume: bool = False,
    init: str | Path | None = None,
    autoencoder: str | Path | None = None,
    steps: int | None = None,
    hours: float | None = None,
    at: int | None = None,
    label: str = "",
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Trains a VDT into the folder `out`, from the weights of `init` where given; see `loop.run` and `choose_config`.

    The autoencoder comes from the checkpoint folder `autoencoder`, else from `init`; a resumed run has its own copy.
    Where both are given and their latents differ, the weights are translated first (`translate`); where another
    prediction is asked for, the last layer is fitted anew (`repredict`); where more blocks are asked for than `init`
    has, they are added (`deepen`).
    """
    from vdt_mlx.training.vdt import VDTTask

    if steps is not None:
        changes = (*changes, f"loop.steps={steps}")
    out = Path(out)
    world = mx.distributed.init()
    main = world.rank() == 0
    _check_back(at, resume)
    if tensorboard:
        require()
    with _owned(out, resume) if main else nullcontext():
        config = choose_config(config_name, out, changes, resume)
        init, begun = _started_from(out, init, resume)
        _check_plan(config, world.size(), resume)
        if init is not None and not resume:
            begun = {**begun, "earlier": lineage(read_config(init).training)}
        coder, begun, copied = _coder(out, init, autoencoder, begun, resume)
        used = replace(config, autoencoder=coder.config)  # checks that the sizes fit
        weights = _warm(init, used, coder) if init is not None else None
        source = build_source(config.data)
        with _claimed(out, "vdt", config, resume, begun, source) if main else nullcontext():
            if main and not copied:
                own = CheckpointConfig(vdt=config.vdt, autoencoder=coder.config)
                save_checkpoint(out / AUTOENCODER, own, autoencoder=flat_parameters(coder))
            task = VDTTask(used, coder, out / "cache", weights, world)
        told = facts(config, source.told(), begun.get("earlier", []))
        return loop.run(
            task, out, resume=resume, at=at, hours=hours, main=main, facts=told, label=label, tensorboard=tensorboard
        )


def _check_back(at: int | None, resume: bool) -> None:
    if at is not None and not resume:
        raise VDTError("`at` goes back in a run that there is: it comes with `resume`.")


def _check_plan(config: TrainConfig, ranks: int, resume: bool) -> None:
    """Raises VDTError for what the first preview, or whoever samples the checkpoint, would be the one to find out."""
    if not resume:
        Sampling().resolved(config.diffusion)
    if config.loop.batch % (ranks * config.loop.accumulate):
        raise VDTError(
            f"loop.batch {config.loop.batch} does not divide over {ranks} ranks "
            f"and loop.accumulate {config.loop.accumulate} parts."
        )


def _initial_autoencoder(init: str | Path, config: TrainConfig) -> Autoencoder:
    """The autoencoder of `init`, widened to the configuration's sizes."""
    from vdt_mlx.training.warm_start.wider_autoencoder import widen

    initial = load_autoencoder(init)
    known = ("latent_mean", "latent_std", "scaling_factor")  # normalisation is measured anew
    if config.autoencoder.kind == "tiny":
        mx.random.seed(config.autoencoder_loop.seed)
        initial = widen(initial, config.autoencoder, config.loss.decoder_only)
    found, wanted = (
        {name: value for name, value in asdict(part).items() if name not in known}
        for part in (initial.config, config.autoencoder)
    )
    if found != wanted:
        lines = "; ".join(differences(found, wanted))
        raise VDTError(f"The autoencoder in {init} is not the one of this configuration: {lines}.")
    return initial


def _coder(
    out: Path, init: str | Path | None, autoencoder: str | Path | None, begun: dict[str, Any], resume: bool
) -> tuple[Autoencoder, dict[str, Any], bool]:
    """The run's autoencoder, what `run.json` says it began with, and whether the folder has its copy already.

    Raises VDTError if there is none, or if it is not the one that the run began with.
    """
    if resume and autoencoder is not None:
        raise VDTError("A resumed run has its own copy of the autoencoder: leave `autoencoder` out.")
    source: str | Path | None = out / AUTOENCODER
    copied = resume and (out / AUTOENCODER).is_dir()
    if not copied:  # a run that was killed while it began has not got its copy yet
        source = begun.get("autoencoder") if resume else autoencoder or init
    if source is None:
        raise VDTError("Training a VDT needs an autoencoder: name a checkpoint folder with `autoencoder` or `init`.")
    coder = load_autoencoder(source)
    key = autoencoder_key(coder)
    if begun.get("autoencoder_key", key) != key:
        raise VDTError(f"The autoencoder in {source} is not the one that {out} began with: its weights have changed.")
    return coder, begun if copied else {**begun, "autoencoder": str(source), "autoencoder_key": key}, copied


def choose_config(name: str | None, out: Path, changes: tuple[str, ...], resume: bool) -> TrainConfig:
    """The named configuration (`physics` by default); a resumed run's own unless one is named, to be compared."""
    if not resume:
        return load_config(name or "physics", changes)
    own = saving.read_run(out)["config"]
    return load_config(name, changes) if name else config_from_dict(own, str(out / saving.RUN), changes)


def _started_from(out: Path, init: str | Path | None, resume: bool) -> tuple[str | Path | None, dict[str, Any]]:
    """The checkpoint whose weights a run begins with, and what `run.json` says that it began with."""
    if not resume:
        return init, {"init": str(init)} if init else {}
    if init is not None:
        raise VDTError("`init` starts a new run and `resume` goes on with one: give one of them.")
    begun = saving.read_run(out).get("from", {})
    return (None if saving.find_states(out) else begun.get("init")), begun


def _warm(init: str | Path, config: TrainConfig, coder: Autoencoder) -> dict[str, mx.array]:
    """The weights of `init`, made to fit the configuration on clips that the run will train on."""
    from vdt_mlx.training.warm_start.initial_weights import initial_weights

    def clips(count: int) -> np.ndarray:
        return np.stack(list(islice(build_source(config.data, workers=0).clips(0), count)))

    def draws(batch: int, number: int) -> objective.Draw:
        schedule = Schedule(config.diffusion)
        return objective.draw(config.objective, config.vdt, schedule, batch, objective.step_rng(0, number))

    return initial_weights(init, config.vdt, config.diffusion, coder, clips, draws)


@contextmanager
def _owned(out: Path, resume: bool) -> Iterator[None]:
    """Holds the run's folder for this process; what a killed one left in it is cleared."""
    if resume and not out.is_dir():
        saving.read_run(out)  # says that there is none
    with saving.owned(out):
        if resume:
            saving.remove_leftovers(out)
        yield


@contextmanager
def _claimed(
    out: Path, kind: str, config: TrainConfig, resume: bool, started_from: dict[str, Any], source: Source
) -> Iterator[None]:
    """Claims the run's folder; empties a new one if the block fails, so that the next try is not refused."""
    loop.prepare(out, kind, config, resume, started_from, source.identity())
    try:
        yield
    except BaseException:
        if not resume:
            for path in out.iterdir():
                if path.name != saving.LOCK:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise
