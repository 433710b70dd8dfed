"""What few steps, narrow weights and long roll-outs cost in trajectory error, on clips that no training saw."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evals.physics.quick import quick_score
from evals.speed.output import Chart, Table, progress
from vdt_mlx.checkpoint import flat_parameters, pack
from vdt_mlx.device.cpu_streams import lanes
from vdt_mlx.diffusion.masks import sample_mask
from vdt_mlx.diffusion.sampling import Sampling, fitting, having
from vdt_mlx.errors import VDTError
from vdt_mlx.pair_score import psnr
from vdt_mlx.pipeline import Pipeline
from vdt_mlx.rollout import roll_out

TOLERANCE = 1.05
"""ADE that few calls may cost, as a multiple of the best (of the affordable runs and the reference)."""
KEPT = 0.02
"""What few calls may cost of presence, kept identities and right answers on contact: ADE alone would take one call or
two, whose answer is near the mean of all futures and blurs the moment of contact."""
BUDGET = 20
"""Network calls that the default sampler may take."""
SPLIT = "val"


def unseen_clips(count: int, size: tuple[int, int]) -> list[Any]:
    """Simulated clips of the validation split, the scenarios in turn."""
    import physics_sim

    if size[0] != size[1]:
        raise VDTError(f"The simulator draws square clips and this model takes {size[1]} x {size[0]}.")
    names = physics_sim.SCENARIOS
    return [physics_sim.make_clip(names[i % len(names)], SPLIT, i // len(names), size=size[0]) for i in range(count)]


class Trial:
    """A checkpoint's predictions of the same clips from the same noise, so that trials differ in one thing only."""

    def __init__(self, model: str, clips: int, batch: int, dtype: str = "fp32", bits: int | None = None):
        from weights.registry import resolve

        folder: Path = resolve(model)
        self.pipeline = Pipeline.load(folder, dtype)
        if bits is not None:
            pack(self.pipeline.vdt, bits)
        self.clips = unseen_clips(clips, self.pipeline.size)
        self.truth = np.stack([clip.frames for clip in self.clips])
        self.batch = batch
        if self.truth.shape[1] != self.pipeline.frames:
            raise VDTError(
                f"Simulated clips have {self.truth.shape[1]} frames; this model makes {self.pipeline.frames}."
            )
        self.given = self.pipeline.frames // 2
        factor, patch = self.pipeline.autoencoder.config.downsample, self.pipeline.config.vdt.patch_size
        cells = self.pipeline.frames, self.pipeline.size[0] // factor, self.pipeline.size[1] // factor
        self.mask = sample_mask("predict", *cells, patch, np.random.default_rng(0), self.given)

    def parts(self) -> Iterator[slice]:
        for start in range(0, len(self.truth), self.batch):
            yield slice(start, min(start + self.batch, len(self.truth)))

    def run(self, sampling: Sampling | None = None) -> dict[str, Any]:
        """Scores and seconds a clip, sampled with these options; `frames` holds the predictions."""
        started = time.perf_counter()
        with lanes():
            made = [
                self.pipeline.fill(self.truth[part], self.mask, sampling, seeds=part.start) for part in self.parts()
            ]
        seconds = (time.perf_counter() - started) / len(self.truth)
        frames = np.concatenate(made)
        scores = quick_score(lambda _frames, _given: frames, self.clips, self.given)
        return {
            **scores,
            "psnr": mean_psnr(frames[:, self.given :], self.truth[:, self.given :]),
            "seconds_per_clip": seconds,
            "frames": frames,
        }


def mean_psnr(ours: np.ndarray, truth: np.ndarray) -> float:
    """The examiner's PSNR (dB), mean over clips (B, T, H, W, 3)."""
    return float(np.mean([psnr(a, b) for a, b in zip(ours, truth, strict=True)]))


def sampler_curve(
    model: str, clips: int, batch: int, calls: Sequence[int], reference_calls: int
) -> tuple[list[Table], dict[str, Any], list[Chart]]:
    """Every sampler that fits the checkpoint at every budget of calls, and the default that follows from it."""
    trial = Trial(model, clips, batch)
    plan = _plan(trial, calls, reference_calls)
    reference, *rows = [_measure(trial, setting) for setting in progress(plan, "sampling")]
    chosen = choose(rows, reference)
    kept = _as_good(chosen, reference, [row for row in rows if row["calls"] <= BUDGET])
    tables = [_sampler_table(f"{model}: {clips} unseen clips, the same noise for all", rows, reference, chosen)]
    verdict = Table("The default that follows", ["sampler", "steps", "calls", "ADE against the reference", "as good"])
    against = f"{chosen['ade']:.3f} / {reference['ade']:.3f}"
    verdict.rows.append([chosen["name"], chosen["steps"], chosen["calls"], against, "yes" if kept else "no"])
    level = f"{reference['sampler']}, {reference['calls']} calls"
    charts = [
        Chart(
            f"{title} against network calls",
            "network calls",
            title,
            _lines(rows, key),
            log_x=True,
            level=(level, reference[key]),
        )
        for title, key in (("ADE (px)", "ade"), ("PSNR (dB)", "psnr"))
    ]
    body = {
        "model": model,
        "clips": clips,
        "split": SPLIT,
        "reference": reference,
        "rows": rows,
        "chosen": {
            key: chosen[key] for key in ("sampler", "steps", "eta", "antithetic", "mirror", "chunk", "calls", "ade")
        },
        "within_tolerance": kept,
    }
    return [*tables, verdict], body, charts


class Setting(NamedTuple):
    """A sampler as it is tried."""

    sampler: str
    steps: int
    eta: float
    chunk: int
    antithetic: bool = False
    mirror: bool = False


def _plan(trial: Trial, calls: Sequence[int], reference_calls: int) -> list[Setting]:
    """The reference first, then every sampler that fits the schedule at every budget."""
    schedule, future = trial.pipeline.schedule, trial.pipeline.frames - trial.given
    reference = "heun" if schedule.is_flow else "ddpm"
    half = -(-future // 2)
    plan = [Setting(reference, _steps_for(reference, reference_calls), 0.0, future)]
    for sampler in fitting(schedule.config.schedule):
        all_steps = sorted({_steps_for(sampler, budget) for budget in calls})
        plan += [Setting(sampler, steps, 0.0, future) for steps in all_steps]
        if sampler not in having("eta"):
            continue
        plan += [Setting(sampler, steps, 1.0, future) for steps in all_steps]
        # The same calls in two passes, the second of which starts from half of the first's frames.
        two = sorted({budget // 2 for budget in calls if budget > 1})
        plan += [Setting(sampler, steps, eta, half) for eta in (0.0, 1.0) for steps in two]
        # And again, every call about opposite noise as well.
        pairs = sorted({budget // 4 for budget in calls if budget > 3})
        plan += [Setting(sampler, steps, 1.0, half, True) for steps in pairs]
        # And of the clip in a mirror too, in one pass or in two.
        plan += [Setting(sampler, steps, 1.0, future, True, True) for steps in pairs]
        both = sorted({budget // 8 for budget in calls if budget > 7})
        plan += [Setting(sampler, steps, 1.0, half, True, True) for steps in both]
    return plan


def _measure(trial: Trial, setting: Setting) -> dict[str, Any]:
    """A row of the results."""
    future = trial.pipeline.frames - trial.given
    sampler, steps, eta, chunk, antithetic, mirror = setting
    options: dict[str, Any] = {"sampler": sampler, "steps": steps, "eta": eta, "antithetic": antithetic}
    options |= {"mirror": mirror, "chunk": chunk}
    choice = Sampling(**options)
    found = trial.run(choice)
    del found["frames"]
    name = sampler + (f", eta {eta:g}" if eta else "") + (", pairs" if antithetic else "")
    name += (", mirror" if mirror else "") + (f", by {chunk}" if chunk < future else "")
    return {"name": name, **options, "calls": choice.calls * -(-future // chunk), **found}


def _sampler_table(
    title: str, rows: Sequence[dict[str, Any]], reference: dict[str, Any], chosen: dict[str, Any]
) -> Table:
    columns = ["sampler", "steps", "calls", "ADE px", "of reference", "FDE px", "presence", "identity kept", "contact"]
    table = Table(title, [*columns, "PSNR dB", "s a clip"])
    for row in [*rows, reference]:
        table.rows.append(
            [
                row["name"] + (" (reference)" if row is reference else " (chosen)" if row is chosen else ""),
                row["steps"],
                row["calls"],
                row["ade"],
                f"{row['ade'] / reference['ade'] - 1:+.1%}",
                row["fde"],
                f"{row['presence']:.1%}",
                f"{row['identity_kept']:.1%}",
                f"{row['contact']:.1%}",
                row["psnr"],
                row["seconds_per_clip"],
            ]
        )
    table.rows.append(["copying the last frame", None, 0, reference["ade_copy_last"], *[None] * 7])
    return table


def choose(rows: Sequence[dict[str, Any]], reference: dict[str, Any]) -> dict[str, Any]:
    """Of at most BUDGET calls: the fewest that are as good as any (TOLERANCE, KEPT), else the best ADE."""
    affordable = [row for row in rows if row["calls"] <= BUDGET]
    if not affordable:
        raise VDTError(f"No run of at most {BUDGET} network calls was asked for, so there is none to choose.")
    good = [row for row in affordable if _as_good(row, reference, affordable)]
    if good:
        return min(good, key=lambda row: (row["calls"], row["ade"]))
    return min(affordable, key=lambda row: row["ade"])


def _as_good(row: dict[str, Any], reference: dict[str, Any], affordable: Sequence[dict[str, Any]]) -> bool:
    def keeps(row: dict[str, Any]) -> bool:
        return all(row[name] >= reference[name] - KEPT for name in ("presence", "identity_kept", "contact"))

    best = min([reference["ade"], *(other["ade"] for other in affordable if keeps(other))])
    return keeps(row) and row["ade"] <= TOLERANCE * best


def _steps_for(sampler: str, calls: int) -> int:
    """The most steps that take at most so many calls, and at least one."""
    return max(1, (calls + 1) // 2) if sampler == "heun" else calls


def _lines(rows: Sequence[dict[str, Any]], key: str) -> dict[str, list[tuple[float, float]]]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        lines.setdefault(row["name"], []).append((row["calls"], row[key]))
    return lines


PRECISIONS = (("fp32", None), ("fp16", None), ("bf16", None), ("fp32", 8), ("fp16", 8), ("fp32", 4), ("fp16", 4))


def precisions(model: str, clips: int, batch: int) -> tuple[list[Table], dict[str, Any]]:
    """The same clips and noise with every dtype and width of the weights."""
    columns = ["computed in", "weights", "MB", "ADE px", "of fp32", "FDE px", "PSNR dB", "PSNR to fp32 dB", "s a clip"]
    table = Table(f"{model}: {clips} unseen clips, the default sampler, the same noise for all", columns)
    rows: list[dict[str, Any]] = []
    wide: dict[str, Any] = {}
    for dtype, bits in progress(PRECISIONS, "sampling"):
        trial = Trial(model, clips, batch, dtype, bits)
        try:
            found = trial.run()
        except VDTError as error:
            table.rows.append([dtype, f"{bits}-bit" if bits else dtype, *[None] * 6, str(error)])
            continue
        frames = found.pop("frames")
        if not wide:
            wide = {"frames": frames, "ade": found["ade"]}
        size = sum(value.nbytes for value in flat_parameters(trial.pipeline.vdt).values())
        row = {"dtype": dtype, "bits": bits, "bytes": size, **found, "psnr_to_fp32": None}
        if rows:
            row["psnr_to_fp32"] = mean_psnr(frames, wide["frames"])
        rows.append(row)
        table.rows.append(
            [
                dtype,
                f"{bits}-bit" if bits else dtype,
                size / 1e6,
                row["ade"],
                f"{row['ade'] / wide['ade'] - 1:+.1%}",
                row["fde"],
                row["psnr"],
                row["psnr_to_fp32"],
                row["seconds_per_clip"],
            ]
        )
    return [table], {"model": model, "clips": clips, "split": SPLIT, "rows": rows}


def drift(model: str, clips: int, batch: int, frames: int) -> tuple[list[Table], dict[str, Any], list[Chart]]:
    """Centroid error by frame of roll-outs, beside repeating the last given frame; scenes simulated for as long."""
    from physics_sim.clip import Clip
    from physics_sim.world import simulate
    from vdt_mlx.pair_score import score

    trial = Trial(model, clips, batch)
    long = [
        Clip(c.scene, simulate(c.scene, frames=frames), c.scenario, c.split, c.index, c.seed, c.size)
        for c in trial.clips
    ]
    truth = np.stack([clip.frames for clip in long])
    with lanes():
        made = np.concatenate(
            [
                roll_out(trial.pipeline, truth[part, : trial.given], frames, seeds=part.start)
                for part in progress(list(trial.parts()), "rolling out")
            ]
        )
    copied = np.repeat(truth[:, trial.given - 1 : trial.given], frames, axis=1)
    rows = []
    for frame in range(trial.given, frames):
        only = np.arange(frames) == frame
        row: dict[str, Any] = {"frame": frame + 1}
        for name, predicted in (("model", made), ("copy_last", copied)):
            found = [score(t, p, only) for t, p in zip(truth, predicted, strict=True)]
            seen = [item for item in found if item is not None]
            row[name] = float(np.mean([item.pair_error for item in seen])) if seen else None
            row[f"{name}_presence"] = float(np.mean([item.presence for item in seen])) if seen else None
        rows.append(row)
    table = Table(
        f"{model}: {clips} clips rolled out to {frames} frames, {trial.given} given",
        ["frame", "error px", "presence", "copy last px"],
    )
    for row in rows[:: max(1, len(rows) // 14)]:
        presence = row["model_presence"]
        shown = f"{presence:.0%}" if presence is not None else None
        table.rows.append([row["frame"], row["model"], shown, row["copy_last"]])
    lines = {
        title: [(row["frame"], row[name]) for row in rows if row[name] is not None]
        for title, name in (("model", "model"), ("copy last", "copy_last"))
    }
    chart = Chart("Drift of a roll-out", "frame", "centroid error (px)", lines)
    return [table], {"model": model, "clips": clips, "frames": frames, "given": trial.given, "rows": rows}, [chart]
