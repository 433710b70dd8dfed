"""The tracker's own error, and the contact threshold that follows from it: what the examiner's numbers stand on."""

import io
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from evals.report.terminal import console_for_results, say, show_table
from evals.scoring import cases, metrics
from vdt_mlx.errors import VDTError
from vdt_mlx.progress import Bar


def degradations() -> dict[str, Any]:
    """name -> function of predicted frames (F, H, W, 3) uint8, for the tracker's table."""
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    def jpeg(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        out = []
        for frame in frames:
            data = io.BytesIO()
            Image.fromarray(frame).save(data, "JPEG", quality=75)
            out.append(np.asarray(Image.open(data).convert("RGB")))
        return np.stack(out)

    def noise(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        generator = np.random.default_rng(0)
        return np.clip(frames + generator.normal(0, 10, frames.shape), 0, 255).astype(np.uint8)

    return {
        "true frames": lambda f: f,
        "blur, 1 px": lambda f: gaussian_filter(f, (0, 1, 1, 0)),
        "noise, 10 of 255": noise,
        "JPEG, quality 75": jpeg,
        "5 % darker": lambda f: (f * 0.95).astype(np.uint8),
    }


def tracking(clips: int, scenarios: tuple[str, ...]) -> None:
    """Prints the tracker's error by degradation: pixels, presence, swaps, on the predicted frames."""
    _check_clips(clips)
    groups = cases.choose_groups(scenarios)
    batch = [cases.make_case(group, i, 8, 0) for group in groups for i in range(clips)]
    with Bar(len(batch), "clips", "tracking") as bar:
        errors: dict[str, list[NDArray]] = {name: [] for name in degradations()}
        facts: dict[str, list[tuple[float, float, int]]] = {name: [] for name in degradations()}
        for case in batch:
            truth = case.truth
            for name, change in degradations().items():
                frames = np.concatenate([case.given_frames, change(case.frames[8:])])
                tracks = case.tracker.track(frames)
                error = metrics.displacement(truth.position, tracks.position, truth.visible)[8:]
                errors[name].append(error[np.isfinite(error)])
                facts[name].append(
                    (
                        metrics.presence(tracks.position[8:], truth.visible[8:]),
                        metrics.duplicates(np.where(truth.visible, tracks.copies, 0)[8:]),
                        metrics.identity_swaps(truth.position[8:], tracks.position[8:], truth.visible[8:]),
                    )
                )
            bar.advance(1)
    rows = []
    for name in errors:
        values = np.concatenate(errors[name])
        presence, copies, swaps = np.array(facts[name], float).T
        rows.append(
            [
                name,
                f"{values.mean():.3f}",
                f"{np.quantile(values, 0.95):.3f}",
                f"{100 * np.nanmean(presence):.2f} %",
                f"{100 * np.nanmean(copies):.2f} %",
                f"{int(swaps.sum())}",
            ]
        )
    console = console_for_results()
    columns = ["", "mean error, px", "95 %, px", "presence", "copies seen", "swaps"]
    show_table(console, "The tracker against the truth, frames 9 to 16", columns, rows)
    say(console, f"{len(batch)} clips of {len(groups)} groups")


def _check_clips(clips: int) -> None:
    if not 1 <= clips <= 10_000:
        raise VDTError(f"`clips` {clips} does not fit: 1 to 10,000.")


def calibrate(clips: int, split: str) -> None:
    """Prints the gap threshold that separates contact from no contact best on true frames of a split."""
    import physics_sim

    _check_clips(clips)
    scores, touches = [], []
    with Bar(clips * len(physics_sim.SCENARIOS), "clips", "calibrating") as bar:
        for scenario in physics_sim.SCENARIOS:
            (group,) = cases.choose_groups([f"{scenario}:{split}"])
            for index in range(clips):
                case = cases.make_case(group, index, 8, 0)
                truth = case.truth
                if truth.contact is not None and truth.patient is not None:
                    gap = truth.tracked.gap(truth.agent, truth.patient)
                    scores.append(metrics.contact_score(gap[truth.given - 1 :]))
                    touches.append(truth.contact)
                bar.advance(1)
    score, touch = np.array(scores), np.array(touches)
    low, high, accuracy = best_threshold(score, touch)
    click.echo(
        f"{len(score)} clips of the {split} split: gaps of {low:.2f} to {high:.2f} px answer "
        f"{100 * accuracy:.1f} % rightly; the middle is {(low + high) / 2:.2f} px."
    )


def best_threshold(score: NDArray, touch: NDArray) -> tuple[float, float, float]:
    """The widest run of thresholds (low, high) with the best accuracy of `score <= threshold`, and that accuracy."""
    grid = np.arange(-1.0, 4.0, 0.05)
    accuracy = np.array([((score <= value) == touch).mean() for value in grid])
    best = np.nonzero(accuracy >= accuracy.max() - 1e-12)[0]
    runs = np.split(best, np.nonzero(np.diff(best) > 1)[0] + 1)
    run = max(runs, key=len)
    return float(grid[run[0]]), float(grid[run[-1]]), float(accuracy.max())
