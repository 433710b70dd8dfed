"""The job behind `vdt-mlx sample`: find the clip and the mask, run the pipeline, write pictures and numbers."""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np

from vdt_mlx.config import from_dict
from vdt_mlx.device import blas
from vdt_mlx.device.about import describe
from vdt_mlx.device.memory import peak_bytes
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path, sha256
from vdt_mlx.media import video

__all__ = ["SampleSettings", "read_settings", "replace", "run"]

FPS = 8
"""Of the animations: slow enough to follow."""
MAX_SAMPLES = 64
MAX_FRAMES = 1024
MASK_SEED = 7919
"""Mixed with --seed for the masks that are drawn, so that they are not the noise's random numbers."""


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
        if self.seed < 0 or self.scene_seed < 0:
            raise VDTError("--seed and --scene-seed are 0 or more.")
        if self.eta is not None and not 0 <= self.eta <= 1:
            raise VDTError(f"--eta {self.eta} does not fit: 0 to 1.")
        if self.steps is not None and self.steps < 1:
            raise VDTError(f"--steps {self.steps} does not fit: at least 1.")
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


@dataclass(frozen=True)
class Clip:
    """What is sampled from: true frames (1, T, H, W, 3) and whether they are of the simulator's world."""

    frames: np.ndarray
    simulated: bool


def read_settings(path: Path) -> SampleSettings:
    """The settings of a sample.json. Raises VDTError if it is missing or is none."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VDTError(f"There is no file {path}.") from None
    except (OSError, ValueError) as error:
        raise VDTError(f"{path} is not a readable sample.json ({error}).") from None
    if not isinstance(body, dict) or not isinstance(body.get("settings"), dict):
        raise VDTError(f"{path} has no settings, so it is not a sample.json.")
    return from_dict(SampleSettings, body["settings"], f"{path}, section 'settings'")


def run(settings: SampleSettings, out: Path | None, as_json: bool) -> None:
    """Samples and writes; prints what was written and the scores, or one JSON object."""
    began = time.perf_counter()
    out = out if out is not None else Path("vdt-out") / settings.name
    if not blas.load():
        click.echo(f"Note: {blas.ADVICE}", err=True)
    with _writable(out):
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
        mask = _mask(settings, pipeline)
        wanted = memory.needed_bytes(pipeline.vdt, settings.samples, pipeline.frames, mask.shape[1:])
        memory.check_fits(wanted, f"Sampling {settings.samples} clips with this model")
        clip = _clip(settings, pipeline)
        with _progress(f"{settings.task} with {choice.sampler}") as on_step:
            frames = _imagine(settings, pipeline, clip, mask, asdict(choice), on_step)
        if settings.frames is not None:
            given = int((mask.reshape(len(mask), -1).max(axis=1) == 0).sum())
            mask = np.concatenate([mask[:given], np.ones((settings.frames - given, *mask.shape[1:]), np.float32)])
        metrics = _metrics(settings, clip, frames, mask)
        outputs = _write(settings, out, clip, frames, mask)
        result = {
            "outputs": outputs,
            "settings": asdict(settings),
            "metrics": metrics,
            "seconds": round(time.perf_counter() - began, 3),
        }
        peak = round(peak_bytes() / 2**20)
        made_with = {
            **asdict(choice),
            "chunk": settings.chunk if settings.chunk is not None else pipeline.config.diffusion.chunk,
            "model_sha256": sha256(folder / "vdt.safetensors"),
            "versions": {name: version(name) for name in ("vdt-mlx", "mlx", "numpy", "pymunk")},
            "machine": describe(),
            "peak_memory_mib": peak,
        }
        with atomic_path(out / "sample.json") as partial:
            partial.write_text(json.dumps({**result, "made_with": made_with}, indent=2) + "\n", encoding="utf-8")
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


# The clip and the mask -----------------------------------------------------------------------------------------------


def _clip(settings: SampleSettings, pipeline: Any) -> Clip:
    height, width = pipeline.size
    count = settings.frames or pipeline.frames
    if settings.input is not None:
        frames = video.read_clip(settings.input, count, (height, width), start=settings.start, stride=settings.stride)
        return Clip(frames[None], simulated=False)
    if height != width:
        raise VDTError(f"The simulator draws square clips and this model takes {width} x {height}; use --input.")
    import physics_sim

    clip = physics_sim.make_clip(settings.scenario, "val", settings.scene_seed, size=height)
    if settings.frames is not None:  # the same scene, for longer
        clip = _longer(clip, count)
    if len(clip.frames) < count:
        raise VDTError(f"Simulated clips have {len(clip.frames)} frames and this model takes {count}; use --input.")
    return Clip(clip.frames[None, :count], simulated=True)


def _longer(clip: Any, frames: int) -> Any:
    """A simulated clip that goes on for `frames` frames."""
    from physics_sim.clip import Clip as SimulatedClip
    from physics_sim.world import simulate

    trajectory = simulate(clip.scene, frames=frames)
    return SimulatedClip(clip.scene, trajectory, clip.scenario, clip.split, clip.index, clip.seed, clip.size)


def _mask(settings: SampleSettings, pipeline: Any) -> np.ndarray:
    """(T, h, w) on latent cells."""
    from vdt_mlx.diffusion.masks import sample_mask
    from vdt_mlx.media.mask_file import read_mask

    factor, patch = pipeline.autoencoder.config.downsample, pipeline.config.vdt.patch_size
    cells = pipeline.frames, pipeline.size[0] // factor, pipeline.size[1] // factor
    if settings.mask is None:
        rng = np.random.default_rng([MASK_SEED, settings.seed])
        return sample_mask(settings.task, *cells, patch, rng, settings.given)
    return read_mask(Path(settings.mask), cells, pipeline.size)


def _metrics(settings: SampleSettings, clip: Clip, frames: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
    """The scores, where there is a truth at all."""
    if settings.mask is None and settings.task == "unconditional":
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


@contextmanager
def _writable(out: Path) -> Iterator[None]:
    """Makes sure, before any work, that `out` can be written to; takes a folder that stayed empty away again."""
    if out.exists() and not out.is_dir():
        raise VDTError(f"--out {out} is a file; give a folder.")
    created = [path for path in (out, *out.parents) if not path.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise VDTError(f"--out {out} cannot be written to ({error.strerror or error}).") from None
    try:
        yield
    finally:
        for path in created:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _write(settings: SampleSettings, out: Path, clip: Clip, frames: np.ndarray, mask: np.ndarray) -> dict[str, str]:
    from vdt_mlx.media import pictures

    many = len(frames) > 1
    columns = {f"sample {i + 1}" if many else "prediction": ours for i, ours in enumerate(frames)}
    if settings.mask is not None or settings.task != "unconditional":
        columns = {"truth": clip.frames[0], **columns}
    animation = pictures.side_by_side(dict(list(columns.items())[:9]), mask)
    outputs: dict[str, Path] = {"contact_sheet": out / "contact_sheet.png"}
    video.write_png(outputs["contact_sheet"], pictures.contact_sheet(columns, mask))
    for name in settings.formats:
        if name == "gif":
            outputs["gif"] = out / "sample.gif"
            video.write_gif(outputs["gif"], animation, FPS)
        elif name == "mp4":
            outputs["mp4"] = out / "sample.mp4"
            video.write_mp4(outputs["mp4"], animation, FPS)
        elif name == "npz":
            outputs["npz"] = out / "sample.npz"
            video.write_npz(outputs["npz"], truth=clip.frames[0], samples=frames, mask=mask)
        else:
            outputs["png"] = out / "frames"
            video.write_pngs(outputs["png"], animation)
    outputs["settings"] = out / "sample.json"
    return {name: str(path) for name, path in outputs.items()}


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
