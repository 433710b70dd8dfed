"""A training run's checkpoint made ready to ship: fp16, its scores, and a model card."""

from pathlib import Path
from typing import Any

from vdt_mlx.checkpoint import (
    AUTOENCODER_FILE,
    CONFIG_FILE,
    VDT_FILE,
    cast,
    flat_parameters,
    load_autoencoder,
    load_vdt,
    save_weights,
)
from vdt_mlx.config import read_config
from vdt_mlx.files import atomic_path

CARD = "README.md"


def pack(
    source: str | Path,
    target: str | Path,
    scores: dict[str, Any],
    dtype: str = "fp16",
) -> None:
    """Writes the checkpoint folder `target`: weights in `dtype`, `config.json`, and `README.md` with the scores.

    Other files in `target` stay. Raises VDTError if `source` is not a whole checkpoint folder.
    """
    source, target = Path(source), Path(target)
    config = read_config(source)
    vdt, autoencoder = load_vdt(source), load_autoencoder(source)
    target.mkdir(parents=True, exist_ok=True)
    training = {**(config.training or {}), "scores": scores}
    save_weights(target / VDT_FILE, cast(flat_parameters(vdt), dtype))
    save_weights(target / AUTOENCODER_FILE, cast(flat_parameters(autoencoder), dtype))
    config = type(config)(**{**config.__dict__, "training": training})
    with atomic_path(target / CONFIG_FILE) as partial:
        partial.write_text(config.to_json(), encoding="utf-8")
    with atomic_path(target / CARD) as partial:
        partial.write_text(card(training, config.vdt, scores), encoding="utf-8")


def card(training: dict[str, Any], vdt: Any, scores: dict[str, Any]) -> str:
    """The model card, in Markdown."""
    settings = training.get("config", {})
    data, optimizer, loop = (settings.get(name, {}) for name in ("data", "optimizer", "loop"))
    scenarios = ", ".join(data.get("scenarios") or ["all scenarios and laws of physics_sim"])
    height, width = data.get("size", (64, 64))
    rows = [
        f"| {name} | {row['clips']} | {row['ade']:.2f} | {row['copy_last_ade']:.2f} | {row['fde']:.2f} "
        f"| {row['copy_last_fde']:.2f} | {100 * row['presence']:.1f} |"
        for name, row in {"all": scores, **scores.get("scenarios", {})}.items()
        if row.get("clips")
    ]
    tasks = ", ".join(f"{task} {weight:g}" for task, weight in settings.get("objective", {}).get("tasks", {}).items())
    return f"""# The `{settings.get("name", "physics")}` checkpoint

A VDT of width {vdt.hidden_size}, depth {vdt.depth} and {vdt.num_heads} heads for clips of {vdt.num_frames} frames of
{height} x {width} pixels, with an autoencoder of {vdt.in_channels} latent channels, both trained by this repository.

- **Data**: {scenarios}, split `{data.get("split")}`, simulator seed 0, at most {data.get("pool")} different clips.
  The splits `val` and `test` were never trained on.
- **Tasks**, by weight: {tasks}.
- **Training**: {training.get("steps")} steps of {loop.get("batch")} clips in {training.get("hours")} hours of a shared
  two-core Linux container (Xeon 2.5 GHz, no GPU), {optimizer.get("name")}, seed {loop.get("seed")}; the weights are the
  moving average. The whole configuration is in `config.json`.
- **Licence**: MIT, as the code.

## Scores

`vdt-mlx train score FOLDER --split {scores["split"]} --clips {scores["clips"]}`: centroids of the agent and the patient
in the frames after the given half, in pixels; a vanished object is charged 20. One sample a clip, {scores["calls"]}
network calls.

| scenario | clips | ADE | repeating the last frame | FDE | repeating | presence, % |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

## Limits

It knows this simulated world only: flat colours, side view, 64 pixels. Clips of other sizes or lengths than it was
trained on come out worse. `python -m evals.physics` measures more: laws, contacts, out-of-distribution splits.
"""
