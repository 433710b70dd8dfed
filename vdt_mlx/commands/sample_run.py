"""The job behind `vdt-mlx sample`: find the clip and the mask, run the pipeline, write pictures and numbers."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from vdt_mlx.checkpoint import pack
from vdt_mlx.commands.replay import differences, made_with
from vdt_mlx.commands.sample_input import find_clip, find_mask, find_objects
from vdt_mlx.commands.sample_output import NAMES, free_folder, report, writable, write
from vdt_mlx.commands.sample_settings import SampleSettings
from vdt_mlx.device import blas
from vdt_mlx.device.kernels import on_cpu
from vdt_mlx.device.memory import peak_bytes
from vdt_mlx.diffusion.sampling import Sampling
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_update
from vdt_mlx.generated import Generated
from vdt_mlx.low_memory import LowMemoryPipeline, check_fits, needed_bytes
from vdt_mlx.media.video import check_ffmpeg
from vdt_mlx.pipeline import Pipeline
from vdt_mlx.progress import Bar


def run(
    settings: SampleSettings, out: Path | None, as_json: bool, force: bool = False, before: dict[str, Any] | None = None
) -> None:
    """Samples and writes; prints what was written and the scores, or one JSON object.

    A sample that stands in `out` is replaced with `force` only; else the new one goes to `out-2`, `out-3`, ...
    `before` is what the sample that is made again was made with: what is not so now is said.
    """
    began = time.perf_counter()
    out = free_folder(out if out is not None else Path("vdt-out") / settings.name, force)
    if "mp4" in settings.formats:
        check_ffmpeg()
    if not blas.load():
        click.echo(f"Note: {blas.ADVICE}", err=True)
    with writable(out):
        from weights.registry import resolve

        folder = resolve(settings.model)
        now = made_with(folder)
        changed = differences(before, now)
        if changed:
            click.echo(f"Note: the bytes may differ from the first sample's: {'; '.join(changed)}.", err=True)
        made = generate(settings, load(settings, folder))
        peak = round(peak_bytes() / 2**20)
        with atomic_update(out, NAMES.values()) as partial:
            names = write(made, partial, settings.formats)
            result = {
                "outputs": {name: str(out / NAMES[name]) for name in (*names, "settings")},
                "settings": asdict(settings),
                "metrics": made.metrics,
                "seconds": round(time.perf_counter() - began, 3),
                **({"replayed_with_other": changed} if changed else {}),
            }
            recorded = {**asdict(made.sampling), **now, "peak_memory_mib": peak}
            made_in = os.path.relpath(Path.cwd(), out)
            text = json.dumps({**result, "made_in": made_in, "made_with": recorded}, indent=2) + "\n"
            (partial / NAMES["settings"]).write_text(text, encoding="utf-8")
    if as_json:
        click.echo(json.dumps(result))
    else:
        report(result, peak)


def load(settings: SampleSettings, folder: Path) -> Pipeline:
    """The pipeline of a checkpoint folder, packed, compiled and thrifty as the settings say."""
    kind = LowMemoryPipeline if settings.low_memory else Pipeline
    pipeline = kind.load(folder, settings.dtype, settings.autoencoder)
    if settings.quantize:
        pack(pipeline.vdt, settings.quantize)
    if not on_cpu() if settings.compile is None else settings.compile:
        pipeline.compile()
    return pipeline


def generate(settings: SampleSettings, pipeline: Pipeline) -> Generated:
    """What the settings ask for, with a bar on a terminal."""
    sampling = settings.resolved(pipeline)
    if settings.frames is not None and settings.frames < pipeline.frames:
        raise VDTError(f"--frames {settings.frames} does not fit: this model makes {pipeline.frames} at once.")
    mask = find_mask(settings, pipeline)
    batch = pipeline.clips_at_once(settings.samples, sampling)
    wanted = needed_bytes(pipeline.vdt, batch, pipeline.frames, mask.shape[1:])
    check_fits(wanted, f"Sampling {settings.samples} clips with this model")
    clip, known = find_clip(settings, pipeline, mask)
    objects = find_objects(settings, clip, known)
    with _progress(pipeline, mask, sampling, settings) as bar:
        return pipeline.complete(
            clip,
            mask,
            known=known,
            samples=settings.samples,
            seed=settings.seed,
            frames=settings.frames,
            simulated=settings.input is None,
            objects=objects,
            task=settings.chosen_task,
            diverse=settings.wants_diverse,
            on_step=lambda _step: bar.advance(),
            **asdict(sampling),
        )


def _progress(pipeline: Pipeline, mask: np.ndarray, sampling: Sampling, settings: SampleSettings) -> Bar:
    task = "fill in" if settings.mask is not None else settings.task
    return Bar(pipeline.steps(mask, sampling, settings.frames), "steps", f"{task} with {sampling.sampler}")
