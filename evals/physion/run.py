"""The job behind `python -m evals.physion`: read clips, extract features, fit and ask the readout, write it down."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from evals.physion import results
from evals.physion.data import Clips, Film, Stimulus, each_film, gap, read_core, read_film
from evals.physion.extract import PROTOCOLS, Wanted, protocols
from evals.physion.readout import LEAST, answers, check_installed, enough, fitted_answers
from evals.physion.settings import Settings
from evals.physion.work import Work, out_folder
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_update
from vdt_mlx.media.streams import check_ffmpeg
from vdt_mlx.progress import Bar

BATCH = 8
TOUCHING = 0.5
"""Pixels, at the model's size, up to which agent and patient count as touching in the picture."""
NAMES = ("results.json", "physion.png", "physion.svg")

Features = dict[str, NDArray[np.float32]]
"""{protocol: (clips, D)}"""


def run(settings: Settings, out: Path | None, as_json: bool, command: Sequence[str], resume: bool = False) -> None:
    """Scores, writes results.json and a picture, prints the verdict and the tables."""
    began = time.perf_counter()
    check_installed()
    check_ffmpeg()
    folder = out_folder(out, resume)
    clips = read_core(Path(settings.data), _path(settings.labels), settings.scenarios, films=settings.films)
    fitting = None
    if settings.readout is not None:
        wanted = tuple(clips.scenarios)
        fitting = read_core(Path(settings.readout), scenarios=("all",), films=settings.films, maps=False)
        lacking = [name for name in wanted if name not in fitting.scenarios]
        if lacking:
            raise VDTError(f"`readout` {settings.readout} has no clips of {', '.join(lacking)} to fit on.")
        fitting.scenarios = {name: fitting.scenarios[name] for name in wanted}
    scoring = Scoring(settings, clips, fitting, folder)
    try:
        body = scoring.run()
    except KeyboardInterrupt:
        click.echo(f"What is done is kept: the same command with --resume --out {folder} goes on.", err=True)
        raise
    body["command"], body["seconds"] = list(command), round(time.perf_counter() - began, 1)
    body["verdict"] = results.verdict(body)
    from evals.physion.report import draw, show

    with atomic_update(folder, NAMES) as partial:
        results.write(body, partial / "results.json")
        draw(body, partial / "physion")
    scoring.work.clear()
    paths = {"results": str(folder / "results.json"), "picture": str(folder / "physion.png")}
    if as_json:
        short = {key: body[key] for key in ("verdict", "rows", "differences", "scenarios", "gap", "bad", "seconds")}
        click.echo(json.dumps({"outputs": paths, **short}, allow_nan=False))
    else:
        show(body, paths)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


class Scoring:
    """One model on some clips: scenario after scenario, seed after seed."""

    def __init__(self, settings: Settings, clips: Clips, fitting: Clips | None, folder: Path) -> None:
        from vdt_mlx.commands.replay import made_with
        from vdt_mlx.device import blas
        from vdt_mlx.diffusion.sampling import Sampling
        from vdt_mlx.features import AUTOENCODER, Asked
        from vdt_mlx.pipeline import Pipeline
        from weights.registry import resolve

        self.settings, self.clips, self.fitting = settings, clips, fitting
        if not blas.load():
            click.echo(f"Note: {blas.ADVICE}", err=True)
        checkpoint = resolve(settings.model)
        self.made_with = made_with(checkpoint)
        self.pipeline = Pipeline.load(checkpoint, settings.dtype, settings.autoencoder)
        window = self.pipeline.frames
        if settings.given >= window:
            raise VDTError(f"{settings.given} given frames do not fit: this model takes {window} frames at once.")
        if settings.frames < window:
            raise VDTError(f"Clips of {settings.frames} frames do not fit: this model makes {window} at once.")
        chosen = Sampling().changed(sampler=settings.sampler, steps=settings.steps)
        self.sampling = self.pipeline.resolve(chosen, "predict")
        given = None if settings.part == AUTOENCODER else settings.given
        asked = Asked(settings.part, settings.block, settings.timestep, given).resolved(self.pipeline, window)
        self.features = {"part": asked.part, "block": asked.block, "timestep": asked.timestep}
        self.wanted = Wanted(asked.part, asked.block, asked.timestep, settings.frames, settings.given)
        weights = {key: value for key, value in self.made_with.items() if key.endswith("sha256")}
        self.work = Work(folder, {**asdict(settings), **weights})
        self.bad = list(clips.bad)
        self.held = 0
        self.gaps: list[tuple[float, bool]] = []
        self.skipped: list[dict[str, str]] = []

    def run(self) -> dict[str, Any]:
        """The results, but for command, seconds and verdict."""
        most, seeds = self.settings.clips, len(self.settings.seeds)
        total = sum(min(len(own), most or len(own)) for own in self.clips.scenarios.values())
        if self.fitting is not None:
            total += self.fitting.count
        probabilities: dict[str, dict[str, NDArray[np.float64]]] = {}
        labels: dict[str, dict[str, Any]] = {}
        fitted_on: dict[str, int] = {}
        with Bar(total * seeds, "clips", "reading") as bar:
            for scenario in self.clips.scenarios:
                found = self._scenario(scenario, bar)
                if found is not None:
                    probabilities[scenario], labels[scenario], fitted_on[scenario] = found
        if not probabilities:
            more = f" ({len(self.bad)} clips are bad; {self.bad[0][0]} {self.bad[0][1]})" if self.bad else ""
            raise VDTError(f"No scenario of {self.settings.data} can be scored: {self.skipped[0]['reason']}{more}.")
        body = results.build(probabilities, labels)
        for entry in body["scenarios"]:
            entry["fitted_on"] = fitted_on.get(entry["scenario"]) or None
        return {
            "schema": results.SCHEMA,
            "version": results.VERSION,
            "settings": asdict(self.settings),
            "made_with": {**self.made_with, "sampling": asdict(self.sampling)},
            "features": self.features,
            **body,
            "gap": self._gap(),
            "held": self.held,
            "bad": [{"clip": name, "reason": reason} for name, reason in self.bad],
            "skipped": self.skipped,
        }

    def _scenario(self, scenario: str, bar: Bar) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any], int] | None:
        """Probabilities by protocol (seeds, clips), labels by clip, and on how many clips the readout was fitted."""
        bar.tell(f"{scenario}: reading")
        stimuli = self.clips.scenarios[scenario][: self.settings.clips]
        asked = list(each_film(stimuli, self._read, self.bad))
        bar.advance((len(stimuli) - len(asked)) * len(self.settings.seeds))
        fitting: list[tuple[Stimulus, Film]] = []
        if self.fitting is not None:
            fitting = list(each_film(self.fitting.scenarios[scenario], self._film, self.bad))
        contact = np.array([one.label.contact for one, _ in asked], bool)
        fit_contact = np.array([one.label.contact for one, _ in fitting], bool)
        if not len(asked) or not enough(contact if self.fitting is None else fit_contact):
            reason = (
                f"{scenario} lacks clips: {LEAST} with contact and {LEAST} without are the least to fit a readout on"
            )
            self.skipped.append({"scenario": scenario, "reason": reason})
            return None
        self.held += sum(film.held > 0 for _, film in asked)
        found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in PROTOCOLS}
        names = [one.name for one, _ in asked]
        for seed in self.settings.seeds:
            bar.tell(f"{scenario}, seed {seed}")
            done = self.work.read(scenario, seed, names)
            if done is not None:
                bar.advance(len(asked) + len(fitting))
            else:
                features = self._features([film for _, film in asked], seed, bar)
                others = self._features([film for _, film in fitting], seed, bar) if fitting else None
                bar.tell(f"{scenario}, seed {seed}: readout")
                done = _answered(features, contact, others, fit_contact, seed)
                self.work.write(scenario, seed, names, done)
            for name in PROTOCOLS:
                found[name].append(done[name])
        return {n: np.stack(v) for n, v in found.items()}, {one.name: one.label for one, _ in asked}, len(fitting)

    def _film(self, one: Stimulus) -> Film:
        settings = self.settings
        size = self.pipeline.size
        return read_film(one.film, settings.frames, settings.given, settings.stride, size, settings.fit)

    def _read(self, one: Stimulus) -> Film:
        film = self._film(one)
        assert one.map is not None
        apart = gap(one.map, film.side) * self.pipeline.size[0]
        self.gaps.append((apart, one.label.contact))
        return film

    def _features(self, films: Sequence[Film], seed: int, bar: Bar) -> Features:
        from vdt_mlx.engine import mixed_seed

        found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in PROTOCOLS}
        for start in range(0, len(films), BATCH):
            part = np.stack([film.frames for film in films[start : start + BATCH]])
            seeds = [mixed_seed(seed, start + place) for place in range(len(part))]
            for name, values in protocols(self.pipeline, part, self.wanted, self.sampling, seed, seeds).items():
                found[name].append(values)
            bar.advance(len(part))
        return {name: np.concatenate(values) for name, values in found.items()}

    def _gap(self) -> dict[str, float]:
        touching = np.array([apart <= TOUCHING for apart, _ in self.gaps])
        contact = np.array([contact for _, contact in self.gaps])
        return {
            "touching": results.rounded(touching.mean()),
            "accuracy": results.rounded((touching == contact).mean()),
            "pixels": TOUCHING,
            "size": self.pipeline.size[0],
        }


def _answered(
    features: Features,
    contact: NDArray[np.bool_],
    others: Features | None,
    other_contact: NDArray[np.bool_],
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """(clips,) probabilities of contact by protocol: by folds, or by a readout that is fitted on the others."""
    found = {}
    for name in PROTOCOLS:
        own = features[name].astype(np.float64)
        if others is None:
            found[name] = answers(own, contact, seed)
        else:
            found[name] = fitted_answers(others[name].astype(np.float64), other_contact, own, seed)
    return found
