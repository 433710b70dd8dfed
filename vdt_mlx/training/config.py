"""Every setting of a training run, as frozen dataclasses, read from TOML with `--set key=value` on top."""

import json
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from vdt_mlx import reading
from vdt_mlx.config import AutoencoderConfig, DiffusionConfig, VDTConfig
from vdt_mlx.diffusion.masks import TASKS
from vdt_mlx.errors import VDTError
from vdt_mlx.files import user_path
from vdt_mlx.from_values import from_dict

CONFIGS = Path(__file__).parent / "configs"
SOURCES = ("simulate", "folder", "videos", "phyworld")
FITS = ("crop", "pad", "stretch")
"""Those of `media.video`, which takes longer to load."""
LABELLED = ("simulate", "folder")
"""Those whose clips have a scenario, which `vdt.labels` names."""


def _choose(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        from difflib import get_close_matches

        close = get_close_matches(str(value), known, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise VDTError(f"{name} does not know {value!r}{hint}: use one of {', '.join(known)}.")


def _positive(section: str, config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise VDTError(f"{section}.{name} must be a whole number of at least 1, not {value!r}.")


@dataclass(frozen=True)
class DataConfig:
    """Where the clips come from."""

    source: str = "simulate"
    """`simulate`: on the fly; `folder`: clips that `python -m physics_sim` wrote; `videos`: files or frame folders;
    `phyworld`: HDF5 files as PhyWorld released them."""
    path: str | None = None
    """The folder of `folder`, `videos` and `phyworld` (or one of its files)."""
    scenarios: tuple[str, ...] = ()
    """`simulate`: which scenarios and laws, all by default; one that is named twice is seen twice as often."""
    split: str = "train"
    """`simulate` and `folder`: the simulator's split to train on."""
    size: tuple[int, int] = (64, 64)
    """Height and width in pixels that frames are brought to."""
    fit: str = "crop"
    """`videos`: how frames of another shape are brought there: their middle (`crop`), with black bars (`pad`) or pulled
    to shape (`stretch`)."""
    frames: int = 16
    """Frames of a clip."""
    stride: int = 1
    """`videos`: every n-th frame of a file."""
    pool: int = 65536
    """`simulate`: the most different clips; after that many, old ones are drawn again."""
    frames_pool: int = 2048
    """The most clips that the autoencoder's training keeps in memory, as pixels (0.2 MB each at 64 x 64 x 16)."""
    first: int = 0
    """`simulate`: number of the first clip; a run that goes on from another's weights can see new ones."""
    fresh: int = 2
    """`simulate`: new clips in every batch while the pool grows; the others are drawn from those there are."""
    prefill: int = 256
    """`simulate`: clips made before the first step."""
    workers: int = 1
    """`simulate`: processes that run the simulator beside the training."""
    cache: str | None = None
    """Folder for latents that are encoded once; by default `cache` in the run's folder."""

    def __post_init__(self) -> None:
        for name in ("scenarios", "size"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _choose("data.source", self.source, SOURCES)
        _choose("data.fit", self.fit, FITS)
        if self.fit != "crop" and self.source != "videos":
            raise VDTError(
                f"data.fit is for videos of your own; data.source {self.source!r} has clips of the right size."
            )
        if self.source != "simulate" and not self.path:
            raise VDTError(f"data.source {self.source!r} needs data.path, the folder to read.")
        _positive("data", self, "frames", "stride", "pool", "frames_pool", "prefill", "workers")
        if self.first < 0 or (self.first and self.source != "simulate"):
            raise VDTError(f"data.first counts simulated clips from 0, so it cannot be {self.first} here.")
        if len(self.size) != 2 or min(self.size) < 8:
            raise VDTError(f"data.size must be a height and a width of at least 8 pixels, not {self.size}.")


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is learned: tasks and their weights, timesteps, the loss's normalisation."""

    tasks: dict[str, float] = field(
        default_factory=lambda: {task: (4.0 if task == "predict" else 1.0) for task in TASKS}
    )
    """How often each of the paper's seven tasks is drawn, relative to the others."""
    vary_given: float = 0.25
    """Share of the clips of tasks with a number of given frames for which that number is drawn at random."""
    given: tuple[int, int] | None = None
    """The fewest and the most given frames of those draws; by default from one to all but one."""
    as_sampled: float = 0.0
    """Share of the clips that are drawn as the checkpoint's own sampler will ask for them: at one of its few timesteps,
    the first of which is pure noise, with the given frames of one of its passes (`diffusion.steps` and `chunk`)."""
    label_dropout: float = 0.1
    """Share of the clips whose label is dropped, so that a network with `vdt.labels` also learns "no class", which
    guidance leads away from."""
    timesteps: str = "logit-normal"
    """`logit-normal` (Esser et al. 2024, here on the share of the noise) or `uniform`."""
    timestep_mean: float = 0.8
    """Of the logit: above 0 is skewed to noise."""
    timestep_std: float = 1.0
    """Of the logit."""
    normalise: str = "masked"
    """The loss is divided by the generated cells (`masked`) or by `all` cells, as the official release does."""

    def __post_init__(self) -> None:
        for task, weight in self.tasks.items():
            _choose("objective.tasks", task, TASKS)
            if not isinstance(weight, int | float) or weight < 0:
                raise VDTError(f"objective.tasks.{task} must be a number of at least 0, not {weight!r}.")
        if not sum(self.tasks.values()):
            raise VDTError("objective.tasks draws no task at all: give one a weight above 0.")
        _choose("objective.timesteps", self.timesteps, ("logit-normal", "uniform"))
        _choose("objective.normalise", self.normalise, ("masked", "all"))
        if not 0 <= self.label_dropout <= 1:
            raise VDTError(f"objective.label_dropout is a share between 0 and 1, not {self.label_dropout}.")
        if not 0 <= self.as_sampled <= 1:
            raise VDTError(f"objective.as_sampled is a share between 0 and 1, not {self.as_sampled}.")
        if self.given is not None:
            object.__setattr__(self, "given", tuple(self.given))
            if not 1 <= self.given[0] <= self.given[1]:
                raise VDTError(f"objective.given is the fewest and the most given frames, not {self.given}.")
        if not 0 <= self.vary_given <= 1:
            raise VDTError(f"objective.vary_given is a share between 0 and 1, not {self.vary_given}.")


@dataclass(frozen=True)
class AutoencoderLossConfig:
    """The autoencoder's loss: L2 + l1 * L1 + a soft bound on the latents, which also see a little noise."""

    decoder_only: bool = False
    """Trains the decoder of `--init`, widened first where `autoencoder` asks for a larger one. Its latents stay as they
    are, and a VDT on them valid."""
    l1: float = 0.3
    """Weight of the mean absolute error beside the mean square."""
    kl: float = 1e-4
    """Weight of the KL divergence (kind kl only)."""
    latent_penalty: float = 1e-4
    """Weight of the mean square of the latents (kind tiny only): keeps them near unit scale."""
    latent_noise: float = 0.02
    """Deviation of the noise that the decoder must bear, in units of the latents' own (kind tiny only)."""
    dead_units: float = 0.0
    """Weight of the pull on hidden units of residual blocks that hardly ever are active (kind tiny only). Inputs of a
    block are positive, so a few steps in one direction can switch off all of a layer's units, for good."""


@dataclass(frozen=True)
class OptimizerConfig:
    """Muon for the blocks' matrices and AdamW for the rest, or AdamW alone."""

    name: str = "muon"
    """`muon`: Muon for the matrices that carry features to features, AdamW for the rest; `adamw`: AdamW for all."""
    muon_lr: float = 0.01
    """Muon's learning rate."""
    lr: float = 1e-3
    """AdamW's learning rate."""
    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's: decays of the gradient's average and of its square's."""
    weight_decay: float = 0.0
    """Of both, decoupled from the gradient (AdamW) or added to it (Muon), as MLX has them."""
    warmup: int = 100
    """Steps over which both learning rates rise."""
    schedule: str = "cosine"
    """`cosine` down to `final` of the rate at `steps`; `constant`; `decay`: linear over the last fifth."""
    final: float = 0.02
    """Share of the learning rates that is left at the end of `cosine` and `decay`."""
    clip: float = 1.0
    """The gradient's norm is clipped to this; 0 does not clip."""
    ema: float = 0.999
    """Decay of the weights' moving average, which is what is saved for use; 0 keeps none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        _choose("optimizer.name", self.name, ("muon", "adamw"))
        _choose("optimizer.schedule", self.schedule, ("cosine", "constant", "decay"))
        if not 0 <= self.ema < 1:
            raise VDTError(f"optimizer.ema is a decay in [0, 1), not {self.ema}.")
        if self.lr <= 0 or self.muon_lr <= 0:
            raise VDTError("optimizer.lr and optimizer.muon_lr must be above 0.")


@dataclass(frozen=True)
class LoopConfig:
    """How long, how large, how often saved."""

    steps: int = 20000
    """Steps in all."""
    batch: int = 16
    """Clips (frames, for an autoencoder) a step, over all ranks and all accumulated parts."""
    accumulate: int = 1
    """Parts that a rank's share of the batch is computed in: more parts, less memory."""
    seed: int = 0
    """Of the first weights and of every step's draws."""
    precision: str = "fp32"
    """`fp32` or `bf16` for the network's arithmetic; the weights that are trained stay fp32."""
    checkpointing: bool = False
    """Gradient checkpointing: recomputes each block's activations in the backward pass; less memory, a third slower."""
    save_minutes: float = 10.0
    """Minutes between saves; 0 saves after every step."""
    preview_minutes: float = 30.0
    """Minutes between contact sheets with a score on held-out clips; 0 draws none."""
    preview_clips: int = 16
    """Held-out clips that a preview scores; the first eight are drawn."""
    keep: int = 2
    """Training states kept."""
    lanes: int = 0
    """On a CPU: parts of the batch computed side by side; 0: one for each core. Rounding differs between numbers."""

    def __post_init__(self) -> None:
        _choose("loop.precision", self.precision, ("fp32", "bf16"))
        _positive("loop", self, "steps", "batch", "accumulate", "keep", "preview_clips")
        if not 0 <= self.seed < 1 << 63:
            raise VDTError(f"loop.seed {self.seed} does not fit: 0 to 2^63 - 1.")
        if self.batch % self.accumulate:
            raise VDTError(f"loop.batch {self.batch} does not divide into loop.accumulate {self.accumulate} parts.")


@dataclass(frozen=True)
class TrainConfig:
    """A whole training configuration, as a TOML file holds it."""

    name: str = "custom"
    """What the model card calls it."""
    vdt: VDTConfig = field(default_factory=VDTConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    data: DataConfig = field(default_factory=DataConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    loss: AutoencoderLossConfig = field(default_factory=AutoencoderLossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    autoencoder_optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(name="adamw", lr=2e-3, warmup=50)
    )
    autoencoder_loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=2000, batch=32))

    def __post_init__(self) -> None:
        factor = self.autoencoder.downsample
        height, width = self.data.size
        if height % factor or width % factor:
            raise VDTError(f"data.size {self.data.size} does not divide into latent cells of {factor} pixels.")
        if (height // factor, width // factor) != self.vdt.latent_size:
            raise VDTError(
                f"data.size {self.data.size} gives latents of {height // factor} x {width // factor}, "
                f"but vdt.latent_size is {self.vdt.latent_size}."
            )
        if self.vdt.in_channels != self.autoencoder.latent_channels:
            raise VDTError(
                f"vdt.in_channels is {self.vdt.in_channels}, but the autoencoder has "
                f"{self.autoencoder.latent_channels} latent channels."
            )
        if self.data.frames != self.vdt.num_frames:
            raise VDTError(f"data.frames is {self.data.frames}, but vdt.num_frames is {self.vdt.num_frames}.")
        if self.objective.given is not None and self.objective.given[1] >= self.vdt.num_frames:
            raise VDTError(
                f"objective.given is {self.objective.given}, but a clip of {self.vdt.num_frames} frames needs one to "
                "generate."
            )
        for task, weight in self.objective.tasks.items():
            if weight and task not in self.vdt.possible_tasks:
                raise VDTError(
                    f"A network with vdt.conditioning = {self.vdt.conditioning!r} sees whole frames only and cannot be "
                    f"trained for the task {task!r}: set objective.tasks.{task} = 0."
                )
        if self.vdt.labels and self.data.source not in LABELLED:
            raise VDTError(
                f"data.source {self.data.source!r} has no labels, so vdt.labels cannot be learned from it "
                f"({' and '.join(LABELLED)} have)."
            )
        if self.vdt.learn_sigma and self.diffusion.prediction != "epsilon":
            raise VDTError("vdt.learn_sigma goes with diffusion.prediction = 'epsilon', and only with it.")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return json.loads(json.dumps(asdict(self)))


def config_names() -> list[str]:
    """The shipped configurations."""
    return sorted(path.stem for path in CONFIGS.glob("*.toml"))


def load_config(name: str, changes: tuple[str, ...] = ()) -> TrainConfig:
    """Reads a shipped configuration by name or a TOML file by path, and applies `section.key=value` changes.

    Raises:
        VDTError: no such file, not TOML, an unknown section or key (names the nearest), a value that does not fit.
    """
    path = CONFIGS / f"{name}.toml" if name in config_names() else user_path(name)
    if not path.is_file():
        raise VDTError(f"There is no training configuration {name!r} (shipped: {', '.join(config_names())}).")
    values = read_toml(path)
    values.pop("recipe", None)  # stages that are made of this configuration: see `training.recipe`
    return config_from_dict(values, name, changes)


def config_from_dict(values: dict[str, Any], source: str, changes: tuple[str, ...] = ()) -> TrainConfig:
    """Builds a configuration from plain values and changes; see `load_config`."""
    for change in changes:
        _apply_change(values, change)
    return from_dict(TrainConfig, values, source)


def changed(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """(dotted key, old value, new value) wherever two nested dictionaries differ; a missing value is None."""
    result = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            result += changed(a, b, f"{prefix}{key}.")
        elif a != b:
            result.append((f"{prefix}{key}", a, b))
    return result


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The dotted keys in which two configurations differ, as 'key: old -> new'."""
    return [f"{key}: {a!r} -> {b!r}" for key, a, b in changed(old, new)]


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a TOML file; raises VDTError for one that cannot be read."""
    return reading.read_toml(path, "configuration")


def _apply_change(values: dict[str, Any], change: str) -> None:
    """Applies 'section.key=value'; the value is TOML, or text where the key holds text or where it is no TOML."""
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise VDTError(f"`changes` takes section.key=value, not {change!r}.")
    parts = key.strip().split(".")
    table = values
    for place, part in enumerate(parts[:-1]):
        weights = parts[: place + 1] == ["objective", "tasks"]  # one weight is changed, the others stay
        table = table.setdefault(part, dict(ObjectiveConfig().tasks) if weights else {})
        if not isinstance(table, dict):
            raise VDTError(f"`changes` {change}: {part!r} is a value, not a section.")
    table[parts[-1]] = _parse_value(parts, text.strip())


def _parse_value(keys: list[str], text: str) -> Any:
    try:
        value = reading.parse_toml(f"value = {text}", f"--set ...={text[:40]}")["value"]
    except reading.Malformed:
        return text
    return text if _holds_text(keys) and not isinstance(value, str) else value


def _holds_text(keys: list[str]) -> bool:
    """Whether a setting is a text, such as a path that may look like a number or a date."""
    hint: Any = TrainConfig
    for key in keys:
        hint = get_type_hints(hint).get(key) if is_dataclass(hint) else None
    return hint in (str, str | None)
