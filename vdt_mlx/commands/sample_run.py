"""The job behind `vdt-mlx sample`: find the clip and the mask, run the pipeline, write pictures and numbers."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np

from vdt_mlx.commands.sample_input import Clip, draw_mask, find_clip
from vdt_mlx.commands.sample_output import NAMES, free_folder, writable, write
from vdt_mlx.config import from_dict
from vdt_mlx.device import blas
from vdt_mlx.device.about import describe
from vdt_mlx.device.memory import peak_bytes
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_update, sha256
from vdt_mlx.media import video
from vdt_mlx.reading import read_json

__all__ = ["SampleSettings", "read_settings", "replace", "run"]

MAX_SAMPLES = 64
MAX_FRAMES = 1024
MAX_STEPS = 100_000
MAX_SEED = (1 << 63) - 1
MAX_START = 1 << 40


@dataclass(frozen=True)
class SampleSettings:
    """All that decides what `vdt-mlx sample` makes; saved in sample.json and replayable from it."""

    task: str = "predict"
    given: int | None = None
    mask: str | None = None
    model: str = "physics"
    sampler: str | None = None
    steps: int | None = None
    eta: float | None = None
    antithetic: bool | None = None
    mirror: bool | None = None
    spacing: str | None = None
    chunk: int | None = None
    """Frames that a prediction settles at a time."""
    seed: int = 0
    samples: int = 1
    scenario: str = "collide"
    scene_seed: int = 0
    input: str | None = None
    start: int = 0
    stride: int = 1
    fit: str = "crop"
    """How frames of another shape are fitted (`media.video.FITS`)."""
    dtype: str = "fp32"
    quantize: int | None = None
    compile: bool = False
    low_memory: bool = False
    frames: int | None = None
    """Of the clip, when it goes on for longer than the network's window."""
    autoencoder: str | None = None
    formats: tuple[str, ...] = ("gif",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "formats", tuple(self.formats))
        if not 1 <= self.samples <= MAX_SAMPLES:
            raise VDTError(f"--samples {self.samples} does not fit: 1 to {MAX_SAMPLES}.")
        if not 0 <= self.seed <= MAX_SEED or not 0 <= self.scene_seed <= MAX_SEED:
            raise VDTError("--seed and --scene-seed are 0 to 2^63 - 1.")
        if self.start < 0 or self.stride < 1 or self.start + self.stride > MAX_START:
            raise VDTError(
                f"--start {self.start} and --stride {self.stride} do not fit: start at 0 or later, stride 1 "
                f"or more, and neither beyond any file."
            )
        if self.fit not in video.FITS:
            raise VDTError(f"--fit {self.fit} does not fit: there are {', '.join(video.FITS)}.")
        if self.eta is not None and not 0 <= self.eta <= 1:
            raise VDTError(f"--eta {self.eta} does not fit: 0 to 1.")
        if self.steps is not None and not 1 <= self.steps <= MAX_STEPS:
            raise VDTError(f"--steps {self.steps} does not fit: 1 to {MAX_STEPS}.")
        if self.chunk is not None and self.chunk < 1:
            raise VDTError(f"--chunk {self.chunk} does not fit: at least 1.")
        if self.frames is not None and self.frames > MAX_FRAMES:
            raise VDTError(f"--frames {self.frames} does not fit: at most {MAX_FRAMES}.")

    @property
    def name(self) -> str:
        """A short name for the default output folder."""
        task = "mask" if self.mask else self.task
        clip = Path(self.input).stem if self.input else f"{self.scenario}{self.scene_seed}"
        clip = "" if task == "unconditional" else f"-{clip}"
        return f"{task}{clip}-seed{self.seed}"


def read_settings(path: Path) -> SampleSettings:
    """The settings of a sample.json. Raises VDTError if it is missing or is none."""
    body = read_json(path, "sample.json")
    if not isinstance(body, dict) or not isinstance(body.get("settings"), dict):
        raise VDTError(f"{path} has no settings, so it is not a sample.json.")
    return from_dict(SampleSettings, body["settings"], f"{path}, section 'settings'")


def run(settings: SampleSettings, out: Path | None, as_json: bool, force: bool = False) -> None:
    """Samples and writes; prints what was written and the scores, or one JSON object.

    A sample that stands in `out` is replaced with `force` only; else the new one goes to `out-2`, `out-3`, ...
    """
    began = time.perf_counter()
    out = free_folder(out if out is not None else Path("vdt-out") / settings.name, force)
    if "mp4" in settings.formats:
        video.check_ffmpeg()
    if not blas.load():
        click.echo(f"Note: {blas.ADVICE}", err=True)
    with writable(out):
        from vdt_mlx import low_memory as memory
        from vdt_mlx.diffusion import samplers
        from vdt_mlx.diffusion.masks import check_request
        from weights.registry import resolve

        folder = resolve(settings.model)
        pipeline = _load(settings, folder)
        choice = pipeline.choose_sampler(
            settings.sampler, settings.steps, settings.eta, settings.antithetic, settings.mirror
        )
        if choice.sampler not in samplers.WITH_ETA:
            for flag, what in (("eta", "an eta"), ("antithetic", "antithetic pairs"), ("mirror", "a mirror")):
                if getattr(settings, flag) is not None:
                    raise VDTError(
                        f"Only the samplers ddim and euler have {what}, and this model's is {choice.sampler}."
                    )
        samplers.check(**asdict(choice), schedule=pipeline.schedule, spacing=settings.spacing)
        if settings.mask is None:
            check_request(settings.task, pipeline.frames, settings.given)
        if settings.frames is not None and settings.frames < pipeline.frames:
            raise VDTError(f"--frames {settings.frames} does not fit: this model makes {pipeline.frames} at once.")
        mask = draw_mask(settings, pipeline)
        wanted = memory.needed_bytes(pipeline.vdt, settings.samples, pipeline.frames, mask.shape[1:])
        memory.check_fits(wanted, f"Sampling {settings.samples} clips with this model")
        clip = find_clip(settings, pipeline, mask)
        with _progress(f"{settings.task} with {choice.sampler}") as on_step:
            frames = _imagine(settings, pipeline, clip, mask, asdict(choice), on_step)
        if settings.frames is not None:
            given = int((mask.reshape(len(mask), -1).max(axis=1) == 0).sum())
            mask = np.concatenate([mask[:given], np.ones((settings.frames - given, *mask.shape[1:]), np.float32)])
        metrics = _metrics(settings, clip, frames, mask)
        peak = round(peak_bytes() / 2**20)
        made_with = {
            **asdict(choice),
            "chunk": settings.chunk if settings.chunk is not None else pipeline.config.diffusion.chunk,
            "model_sha256": sha256(folder / "vdt.safetensors"),
            "versions": {name: version(name) for name in ("vdt-mlx", "mlx", "numpy", "pymunk")},
            "machine": describe(),
            "peak_memory_mib": peak,
        }
        with atomic_update(out, NAMES.values()) as partial:
            made = write(partial, settings.formats, clip, frames, mask, truth=_has_truth(settings, clip))
            result = {
                "outputs": {name: str(out / NAMES[name]) for name in (*made, "settings")},
                "settings": asdict(settings),
                "metrics": metrics,
                "seconds": round(time.perf_counter() - began, 3),
            }
            text = json.dumps({**result, "made_with": made_with}, indent=2) + "\n"
            (partial / NAMES["settings"]).write_text(text, encoding="utf-8")
    if as_json:
        click.echo(json.dumps(result))
    else:
        _report(result, peak)


def _load(settings: SampleSettings, folder: Path) -> Any:
    from vdt_mlx import low_memory as memory
    from vdt_mlx.pipeline import Pipeline

    pipeline = Pipeline.load(folder, settings.dtype, settings.autoencoder)
    if settings.quantize:
        memory.pack(pipeline.vdt, settings.quantize)
    if settings.low_memory:
        pipeline = memory.LowMemoryPipeline(pipeline.config, pipeline.vdt, pipeline.autoencoder, folder)
    if settings.compile:
        pipeline.compile()
    return pipeline


def _imagine(
    settings: SampleSettings,
    pipeline: Any,
    clip: Clip,
    mask: np.ndarray,
    choice: dict[str, Any],
    on_step: Any,
) -> np.ndarray:
    """(samples, T, H, W, 3) uint8."""
    truth = np.broadcast_to(clip.frames, (settings.samples, *clip.frames.shape[1:]))
    options = {
        **choice,
        "spacing": settings.spacing,
        "chunk": settings.chunk,
        "seeds": settings.seed,
        "on_step": on_step,
    }
    from vdt_mlx.device.cpu_streams import lanes
    from vdt_mlx.rollout import roll_out

    with nullcontext() if settings.low_memory else lanes():  # each lane unpacks or widens a layer's weights for itself
        if settings.frames is None:
            return pipeline.generate(truth, np.broadcast_to(mask, (settings.samples, *mask.shape)), **options)
        given = int((mask.reshape(len(mask), -1).max(axis=1) == 0).sum())
        return roll_out(pipeline, truth[:, :given], settings.frames, **options)


def _has_truth(settings: SampleSettings, clip: Clip) -> bool:
    """Whether there is a clip to compare with: all of it in the file, and a part of it given."""
    return clip.whole and (settings.mask is not None or settings.task != "unconditional")


def _metrics(settings: SampleSettings, clip: Clip, frames: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
    """The scores, where there is a truth at all."""
    if not _has_truth(settings, clip):
        return {}
    from vdt_mlx.commands.sample_scores import metrics

    return metrics(
        clip.frames[0],
        frames,
        mask,
        simulated=clip.simulated,
        predicting=settings.mask is None and settings.task == "predict",
        by_frame=settings.frames is not None,
    )


# Output --------------------------------------------------------------------------------------------------------------


def _report(result: dict[str, Any], peak: int) -> None:
    metrics = result["metrics"]
    for name, path in result["outputs"].items():
        click.echo(f"{name.replace('_', ' ') + ':':15} {path}")
    if "ade" in metrics:
        line = f"{'distance:':15} {metrics['ade']:.2f} px from true to imagined positions (ADE)"
        line += f", {metrics['fde']:.2f} at the end"
        if "ade_copy_last" in metrics:
            line += f"; repeating the last given frame: {metrics['ade_copy_last']:.2f}"
        click.echo(line)
        click.echo(f"{'presence:':15} {metrics['presence']:.0%} of the objects are there")
    if "psnr" in metrics:
        click.echo(f"{'PSNR:':15} {metrics['psnr']:.1f} dB over the generated frames")
    drift = metrics.get("ade_by_frame")
    if drift:
        shown = [f"{value:.1f}" if value is not None else "-" for value in drift[:: max(1, len(drift) // 8)]]
        click.echo(f"{'drift:':15} {' '.join(shown)} px, every {max(1, len(drift) // 8)} frames")
    click.echo(f"{'time:':15} {result['seconds']:.1f} s, {peak} MiB at most")


@contextmanager
def _progress(title: str) -> Iterator[Any]:
    """Yields a callback for each sampling step; a bar with time and memory on a terminal, silence in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    import mlx.core as mx
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[memory]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=None, memory="")

        def on_step(step: Any) -> None:
            memory = f"{mx.get_peak_memory() / 2**20:.0f} MiB"
            progress.update(task, total=step.total, completed=step.index, memory=memory)

        yield on_step
