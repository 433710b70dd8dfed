"""A training run's checkpoint made ready to ship: fp16, its scores, and a model card."""

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vdt_mlx.checkpoint import (
    cast,
    flat_parameters,
    load_autoencoder,
    load_vdt,
    save_checkpoint,
    save_weights,
    write_sums,
)
from vdt_mlx.config import AUTOENCODER_FILE, CONFIG_FILE, VDT_FILE, read_config
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path
from vdt_mlx.network.autoencoder import Autoencoder
from vdt_mlx.network.dead_blocks import fold_dead_blocks
from vdt_mlx.training.autoencoder import HELD_OUT_CLIPS, held_out_clips
from vdt_mlx.training.config import config_from_dict
from vdt_mlx.training.provenance import different_clips
from vdt_mlx.training.warm_start.other_latents import same_latents

CARD = "README.md"


def pack(
    source: str | Path,
    target: str | Path,
    scorer: Callable[[Path], dict[str, Any]],
    autoencoder: str | Path | None = None,
    dtype: str = "fp16",
) -> list[str]:
    """Writes the checkpoint folder `target`: weights in `dtype`, `config.json`, and `README.md` with the scores.

    Blocks of a tiny autoencoder that only add a constant on the frames that its training held out are folded
    (`network.dead_blocks`); their names are returned.

    Args:
        scorer: called with a folder that holds what is shipped, rounded weights and all; see `score.score_folder`.
        autoencoder: a checkpoint folder whose decoder replaces the source's, and whose run is recorded: that of the
            autoencoder itself, or one with `loss.decoder_only`.

    Other files in `target` stay. Raises VDTError if `source` is not a whole checkpoint folder, or if the other
    autoencoder makes other latents.
    """
    source, target = Path(source), Path(target)
    config = read_config(source)
    vdt, coder = load_vdt(source), load_autoencoder(source)
    if autoencoder is not None:
        coder = _same_latents(coder, load_autoencoder(autoencoder), autoencoder)
        if not (Path(autoencoder) / VDT_FILE).exists():  # else the training told of is the network's
            run = _autoencoder_run(read_config(autoencoder).training or {})
            config = replace(config, training={**(config.training or {}), **run})
    config = replace(config, autoencoder=coder.config)
    coder.load_weights(list(cast(cast(flat_parameters(coder), dtype), "fp32").items()))  # as it will be read
    frames = _held_out_frames(config.training) if coder.config.kind == "tiny" else None
    folded = [] if frames is None else fold_dead_blocks(coder, frames)
    weights = cast(flat_parameters(vdt), dtype), cast(flat_parameters(coder), dtype)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "draft"
        save_checkpoint(draft, config, *weights)
        scores = scorer(draft)
    config = replace(config, training={**(config.training or {}), "scores": scores})
    save_weights(target / VDT_FILE, weights[0])
    save_weights(target / AUTOENCODER_FILE, weights[1])
    for name, text in (
        (CONFIG_FILE, config.to_json()),
        (CARD, card(config.training or {}, config.vdt, scores, config.provenance)),
    ):
        with atomic_path(target / name) as partial:
            partial.write_text(text, encoding="utf-8")
    write_sums(target)
    return folded


def _held_out_frames(training: dict[str, Any] | None) -> np.ndarray | None:
    """Frames (N, H, W, 3) that a run held out, by its `training` section; None where these cannot be had."""
    try:
        clips = held_out_clips(config_from_dict(dict((training or {})["config"]), CONFIG_FILE), HELD_OUT_CLIPS)
    except (KeyError, TypeError, VDTError):
        return None  # somebody else's weights, or a folder of videos that is gone
    return clips.reshape(-1, *clips.shape[2:])


def _same_latents(ours: Autoencoder, other: Autoencoder, where: str | Path) -> Autoencoder:
    """The other autoencoder, if it encodes as ours does; it keeps our normalisation."""
    if not same_latents(ours, other):
        raise VDTError(f"The autoencoder in {where} makes other latents (train it with loss.decoder_only).")
    kept = ("latent_mean", "latent_std", "scaling_factor")
    other.config = replace(other.config, **{name: getattr(ours.config, name) for name in kept})
    return other


def _autoencoder_run(training: dict[str, Any]) -> dict[str, Any]:
    """What a training section says of an autoencoder's run, as `autoencoder` or `decoder`; nothing of another."""
    try:
        settings = training["config"]
        kept = {name: settings[name] for name in ("data", "loss", "autoencoder_optimizer", "autoencoder_loop")}
        run = {"steps": training["steps"], "hours": training["hours"], "config": kept}
        return {"decoder" if settings["loss"]["decoder_only"] else "autoencoder": run}
    except (KeyError, TypeError):
        return {}  # somebody else's section under our name


OURS = "both trained by this repository"


def _origin(training: dict[str, Any], provenance: dict[str, Any] | None) -> tuple[str, str]:
    """(who trained the weights, their licence), as far as the checkpoint says: ours only what our training wrote."""
    if training.get("config") and training.get("steps"):
        return OURS, "MIT, as the code"
    source = (provenance or {}).get("source") or (provenance or {}).get("file") or "a file that is not named"
    return (
        f"converted from {source}, not trained by this repository",
        "that of whoever trained the weights; ask them, this repository's does not cover them",
    )


def _coders(training: dict[str, Any]) -> str:
    """The sentences on the runs of the autoencoder and of its decoder alone, as far as they are known."""
    titles = {"autoencoder": "The autoencoder was trained", "decoder": "The decoder was then trained alone,"}
    sentences = []
    for name, title in titles.items():
        run = training.get(name)
        if run:
            batch = run["config"]["autoencoder_loop"]["batch"]
            sentences.append(f"\n  {title} for {run['steps']} steps of {batch} frames ({run['hours']} hours).")
    return "".join(sentences)


def _earlier(training: dict[str, Any]) -> str:
    """The sentence on the runs that a checkpoint went on from, if there were any."""
    runs = training.get("earlier") or []
    if not runs:
        return ""
    each = ", ".join(f"{run['steps']} steps ({run['hours']} hours, {run['clips']} clips)" for run in runs)
    hours = sum(run["hours"] or 0 for run in [*runs, training])
    return f"\n  They went on from the weights of earlier runs, oldest first: {each}. In all {hours:.1f} hours."


def _spoken(split: Any) -> str:
    return ", ".join(split) if isinstance(split, list) else str(split)


def card(training: dict[str, Any], vdt: Any, scores: dict[str, Any], provenance: dict[str, Any] | None = None) -> str:
    """The model card, in Markdown."""
    origin, licence = _origin(training, provenance)
    settings = training.get("config", {})
    data, optimizer, loop = (settings.get(name, {}) for name in ("data", "optimizer", "loop"))
    times = Counter(data.get("scenarios") or ["all scenarios and laws of physics_sim"])
    scenarios = ", ".join(name if count == 1 else f"{name} ({count} times as often)" for name, count in times.items())
    clips = different_clips(training) or "unknown"
    splits = training.get("splits", {}).get("train") or data.get("split")
    unseen = "\n  The splits `val` and `test` were never trained on." if splits == "train" else ""
    height, width = data.get("size", (64, 64))
    rows = [
        f"| {name} | {row['clips']} | {row['pair_error']:.2f} | {row['copy_last_pair_error']:.2f} "
        f"| {row['pair_error_final']:.2f} | {row['copy_last_pair_error_final']:.2f} | {100 * row['presence']:.1f} |"
        for name, row in {"all": scores, **scores.get("scenarios", {})}.items()
        if row.get("clips")
    ]
    tasks = ", ".join(f"{task} {weight:g}" for task, weight in settings.get("objective", {}).get("tasks", {}).items())
    others = _earlier(training) + _coders(training)
    return f"""# The `{settings.get("name", "physics")}` checkpoint

A VDT of width {vdt.hidden_size}, depth {vdt.depth} and {vdt.num_heads} heads for clips of {vdt.num_frames} frames of
{height} x {width} pixels, with an autoencoder of {vdt.in_channels} latent channels, {origin}.

- **Data**: {scenarios}, split `{_spoken(splits)}`, simulator seed 0, {clips} different clips.{unseen}
- **Tasks**, by weight: {tasks}.
- **Training**: {training.get("steps")} steps of {loop.get("batch")} clips in {training.get("hours")} hours on
  {training.get("machine", "a machine that was not named")}; {optimizer.get("name")}, seed {loop.get("seed")};
  the weights are the moving average. The whole configuration is in `config.json`.{others}
- **Licence**: {licence}.

## Scores

`vdt-mlx train score FOLDER --split {scores["split"]} --clips {scores["clips"]}`: centroids of the agent and the patient
in the frames after the given half, in pixels; a vanished object is charged 20. One sample a clip, {scores["calls"]}
network calls.

| scenario | clips | pair error | repeating the last frame | in the last frame | repeating | presence, % |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

## Limits

It knows this simulated world only: flat colours, side view, 64 pixels. Clips of other sizes or lengths than it was
trained on come out worse. `python -m evals.physics` measures more: laws, contacts, out-of-distribution splits.
"""
