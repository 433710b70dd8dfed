"""Every setting of the models, as frozen dataclasses, and the `config.json` that holds them in a checkpoint folder."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vdt_mlx.errors import VDTError
from vdt_mlx.from_values import brief, from_dict
from vdt_mlx.reading import parse_json, read_json

FORMAT = "vdt-mlx"
FORMAT_VERSION = 1

CONFIG_FILE, VDT_FILE = "config.json", "vdt.safetensors"
AUTOENCODER_FILE, TINY_AUTOENCODER_FILE = "autoencoder.safetensors", "tiny_autoencoder.safetensors"
"""What a checkpoint folder holds."""

PREDICTIONS = ("epsilon", "velocity", "flow", "sample")
SCHEDULES = ("linear", "flow")

QUANTIZED, GROUPS = (2, 3, 4, 6, 8), (32, 64, 128)
"""Bits and group sizes of weights that MLX reads."""
MAX_STEPS = 100_000
MAX_LEVELS, MAX_LAYERS, MAX_WIDTH = 16, 64, 8192
"""Of an autoencoder: levels, blocks at one, channels. Beyond them lies no network, but a file that lies."""

CONDITIONINGS = ("tokens", "cross-attention", "adaln")
ATTENTIONS = ("factorized", "spatial-first", "joint")
POSITIONS = ("sincos", "rotary")

USES = ("best-guess", "diverse")
"""What samples are wanted for, where a checkpoint has a sampler for each."""
SAMPLER_KEYS = ("sampler", "steps", "eta", "antithetic", "mirror", "chunk")

TASKS = ("predict", "backward", "interpolate", "unconditional", "single-frame", "arbitrary", "spatial")
"""The paper's seven, each a mask over the clip; see `diffusion.masks`."""
GIVEN_TASKS = ("predict", "backward", "interpolate", "arbitrary")
"""The tasks for which a number of given frames can be chosen."""

LAST = "final_layer.linear"
"""The network's last layer."""


@dataclass(frozen=True)
class VDTConfig:
    """The network. Defaults are VDT-S/2 for 128-pixel clips of 16 frames (paper, table 1)."""

    hidden_size: int = 384
    """Width of a token. Divides into the heads, and by 4 for the tables of positions."""
    depth: int = 12
    """Blocks, one after the other."""
    num_heads: int = 6
    """Heads of every attention."""
    patch_size: int = 2
    """Side of the square of latent cells that is one token."""
    in_channels: int = 4
    """Channels of a latent cell, as many as the autoencoder gives."""
    latent_size: tuple[int, int] = (16, 16)
    """Height and width, in latent cells, of the clips it was trained on; others work too."""
    num_frames: int = 16
    """Frames of a clip: the network's window."""
    num_classes: int = 1
    """Classes of the label embedding; 1 for a network that knows no labels."""
    labels: tuple[str, ...] = ()
    """Names of the classes that it was trained with, in order; none for a network that knows no labels. Row
    `num_classes` of the label embedding is "no class", for guidance."""
    learn_sigma: bool = True
    """Whether the output carries C more channels for the learned variance."""
    mlp_ratio: float = 4.0
    """Width of the MLP in a block, as a multiple of `hidden_size`."""
    conditioning: str = "tokens"
    """How given frames reach the network (paper, section 3.3): `tokens` (the official release), as tokens of the same
    sequence; `cross-attention`, as keys and values of an attention added to each block; `adaln`, pooled and added to
    the vector that modulates the blocks."""
    attention: str = "factorized"
    """What a block attends along: `factorized` (the official release), time and then space; `spatial-first`, space and
    then time; `joint`, all tokens of the clip at once."""
    position: str = "sincos"
    """`sincos` (the official release): fixed tables added to the tokens; `rotary`: queries and keys are rotated by
    frame, row and column (RoPE, arXiv 2104.09864)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "latent_size", tuple(self.latent_size))
        object.__setattr__(self, "labels", tuple(self.labels))
        if self.labels and (len(self.labels) != self.num_classes or len(set(self.labels)) != len(self.labels)):
            raise VDTError(
                f"{len(self.labels)} labels do not name {self.num_classes} classes, each by a name of its own."
            )
        kinds = {"conditioning": CONDITIONINGS, "attention": ATTENTIONS, "position": POSITIONS}
        for name, known in kinds.items():
            if getattr(self, name) not in known:
                raise VDTError(f"Unknown {name} of a VDT {getattr(self, name)!r}: use one of {', '.join(known)}.")
        names = ("hidden_size", "depth", "num_heads", "patch_size", "in_channels", "num_frames", "num_classes")
        sizes = {name: getattr(self, name) for name in names}
        sizes.update(zip(("latent height", "latent width"), self.latent_size, strict=True))
        for name, value in sizes.items():
            limit = 1000 if name == "depth" else 100_000
            if type(value) is not int or not 1 <= value <= limit:
                raise VDTError(f"The {name} of a VDT must be a positive whole number up to {limit}, not {value!r}.")
        if isinstance(self.mlp_ratio, bool) or not 0 < self.mlp_ratio <= 1000:
            raise VDTError(f"mlp_ratio must be a positive number up to 1000, not {self.mlp_ratio!r}.")
        if int(self.hidden_size * self.mlp_ratio) < 1:
            raise VDTError(f"mlp_ratio {self.mlp_ratio!r} leaves an MLP of hidden_size {self.hidden_size} no width.")
        if self.hidden_size % self.num_heads:
            raise VDTError(f"hidden_size {self.hidden_size} does not divide into {self.num_heads} heads.")
        if self.hidden_size % 4:
            raise VDTError(f"hidden_size {self.hidden_size} must divide by 4 for the sin-cos position tables.")
        if self.position == "rotary" and (self.head_size % 2 or self.head_size < 6):
            raise VDTError(f"Rotary positions need heads of an even size from 6 on, not {self.head_size}.")
        if any(side % self.patch_size for side in self.latent_size):
            raise VDTError(f"latent_size {self.latent_size} does not divide into patches of {self.patch_size}.")

    @property
    def possible_tasks(self) -> tuple[str, ...]:
        """The tasks that its way of conditioning can do: features of whole frames know nothing of a part of one."""
        return tuple(task for task in TASKS if self.conditioning != "adaln" or task != "spatial")

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_heads

    @property
    def out_channels(self) -> int:
        return self.in_channels * (2 if self.learn_sigma else 1)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across."""
        return self.latent_size[0] // self.patch_size, self.latent_size[1] // self.patch_size


@dataclass(frozen=True)
class DiffusionConfig:
    """The process that the network was trained to reverse, and how it is sampled unless the user says otherwise."""

    prediction: str = "epsilon"
    """`epsilon` (the official release), `velocity` (v of Salimans & Ho 2022), `flow` (eps - x0), or `sample` (x0, with
    the loss of the flow that it implies: Li & He 2025, arXiv 2511.13720)."""
    schedule: str = "linear"
    """`linear`: 1000 betas from 1e-4 to 0.02; `flow`: x_t = (1 - t) x0 + t eps, t = step / num_train_steps."""
    num_train_steps: int = 1000
    """Timesteps of the process, from clean to pure noise."""
    beta_start: float = 1e-4
    """Of the schedule `linear`: the first beta."""
    beta_end: float = 0.02
    """Of the schedule `linear`: the last beta."""
    sampler: str = "dpm++"
    """How a clip is sampled; `vdt-mlx sample --help` lists the samplers."""
    steps: int = 20
    """Steps of the sampler."""
    eta: float = 0.0
    """Of `ddim` and `euler`: how much of the noise is drawn anew at every step, 0 to 1."""
    antithetic: bool = False
    """Of `ddim` and `euler`: every step asks the network twice, about opposite noise (`samplers.sample`)."""
    mirror: bool = False
    """Of `ddim` and `euler`: every step also asks about the clip as a mirror shows it."""
    chunk: int | None = None
    """Predictions settle so many frames at a time, in the order of time (`masks.passes`); by default all at once."""
    defaults: dict[str, dict[str, Any]] | None = None
    """Other choices of SAMPLER_KEYS for some uses: `best-guess` (one most likely clip), `diverse` (clips that differ as
    the possible ones do), or a task. `{"diverse": {"steps": 8, "antithetic": false}}`."""

    def __post_init__(self) -> None:
        for use, choice in (self.defaults or {}).items():
            if use not in (*USES, *TASKS):
                raise VDTError(f"defaults of a sampler are for {', '.join((*USES, *TASKS))}, not for {use!a}.")
            if not isinstance(choice, dict) or not set(choice) <= set(SAMPLER_KEYS):
                raise VDTError(f"defaults for {use} choose {', '.join(SAMPLER_KEYS)}, not {ascii(choice)[:80]}.")
        if self.prediction not in PREDICTIONS:
            raise VDTError(f"Unknown prediction {brief(self.prediction)}: use one of {', '.join(PREDICTIONS)}.")
        if self.schedule not in SCHEDULES:
            raise VDTError(f"Unknown schedule {brief(self.schedule)}: use one of {', '.join(SCHEDULES)}.")
        if (self.prediction in ("flow", "sample")) != (self.schedule == "flow"):
            raise VDTError("The predictions flow and sample go with the flow schedule, and only with it.")
        for name in ("num_train_steps", "steps"):
            if type(getattr(self, name)) is not int or not 1 <= getattr(self, name) <= MAX_STEPS:
                raise VDTError(f"{name} must be a whole number from 1 to {MAX_STEPS}, not {getattr(self, name)!r}.")
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise VDTError(f"The betas must rise within 0 to 1, not from {self.beta_start!r} to {self.beta_end!r}.")
        if self.chunk is not None and self.chunk < 1:
            raise VDTError(f"Predictions settle at least 1 frame at a time, not {self.chunk}.")
        if not 0 <= self.eta <= 1:
            raise VDTError(f"The eta of a sampler is between 0 and 1, not {self.eta!r}.")
        for task in (None, *TASKS) if self.defaults else ():
            for diverse in (False, True):
                self.for_use(task, diverse)

    def for_use(self, task: str | None = None, diverse: bool = False) -> "DiffusionConfig":
        """With the sampler that is the default for this use; a task's own choice goes before that of its purpose.

        Raises VDTError for a choice that does not fit.
        """
        if not self.defaults:
            return self
        purpose = self.defaults.get("diverse" if diverse else "best-guess", {})
        chosen = {**purpose, **(self.defaults.get(task, {}) if task else {})}
        own = {key: value for key, value in asdict(self).items() if key != "defaults"}
        if chosen.get("sampler", self.sampler) != self.sampler:  # these go with the sampler that they are chosen for
            own |= {"eta": 0.0, "antithetic": False, "mirror": False}
        return from_dict(DiffusionConfig, {**own, **chosen}, "the sampler's defaults")


@dataclass(frozen=True)
class AutoencoderConfig:
    """An image autoencoder. Defaults are Stable Diffusion's (`sd-vae-ft-mse`)."""

    kind: str = "kl"
    """`kl`: AutoencoderKL; `tiny`: TAESD's AutoencoderTiny (which works in [0, 1] and needs no normalisation)."""
    in_channels: int = 3
    """Channels of a frame: 3 for red, green and blue."""
    latent_channels: int = 4
    """Channels of a latent cell."""
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    """Widths of the levels, fine to coarse; every level but the last halves the resolution."""
    decoder_block_out_channels: tuple[int, ...] | None = None
    """Tiny: the decoder's widths, fine to coarse as the encoder's, where they are others."""
    layers_per_block: tuple[int, int] = (2, 2)
    """KL: residual blocks a level in encoder and decoder, as diffusers counts (the decoder has one more)."""
    num_encoder_blocks: tuple[int, ...] | None = None
    """Tiny: residual blocks at each level, fine to coarse; by default TAESD's 1, 3, 3, 3."""
    num_decoder_blocks: tuple[int, ...] | None = None
    """Tiny: residual blocks at each level, coarse to fine; by default TAESD's 3, 3, 3, 1."""
    norm_num_groups: int = 32
    """KL: groups of every group normalisation."""
    scaling_factor: float = 0.18215
    """Latents are multiplied by this before diffusion."""
    latent_mean: tuple[float, ...] | None = None
    """Per-channel normalisation instead of the scaling factor: z = (latent - mean) / std."""
    latent_std: tuple[float, ...] | None = None
    """See `latent_mean`; given together with it, or not at all."""

    def __post_init__(self) -> None:
        blocks = ("decoder_block_out_channels", "num_encoder_blocks", "num_decoder_blocks")
        for name in ("block_out_channels", "layers_per_block", "latent_mean", "latent_std", *blocks):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, tuple(value))
        if self.kind not in ("kl", "tiny"):
            raise VDTError(f"Unknown autoencoder kind {brief(self.kind)}: use kl or tiny.")
        for name in blocks:
            value = getattr(self, name)
            if value is not None and self.kind == "kl":
                raise VDTError(f"{name} is for the kind tiny.")
            if value is not None and len(value) != len(self.block_out_channels):
                raise VDTError(f"{name} has {len(value)} values for {len(self.block_out_channels)} levels.")
        for name in ("latent_mean", "latent_std"):
            value = getattr(self, name)
            if value is not None and len(value) != self.latent_channels:
                raise VDTError(f"{name} has {len(value)} values for {self.latent_channels} latent channels.")
        if (self.latent_mean is None) != (self.latent_std is None):
            raise VDTError("latent_mean and latent_std are given together or not at all.")
        self._check_sizes()

    def _check_sizes(self) -> None:
        widths = (*self.block_out_channels, *(self.decoder_block_out_channels or ()))
        sizes = (*widths, self.in_channels, self.latent_channels, self.norm_num_groups)
        if not 1 <= len(self.block_out_channels) <= MAX_LEVELS or not all(1 <= size <= MAX_WIDTH for size in sizes):
            raise VDTError(
                f"An autoencoder has 1 to {MAX_LEVELS} levels, and 1 to {MAX_WIDTH} channels and groups, not {sizes}."
            )
        layers = (*(self.num_encoder_blocks or ()), *(self.num_decoder_blocks or ()))  # a level may have none
        if not all(0 <= count <= MAX_LAYERS for count in layers) or not all(
            1 <= count <= MAX_LAYERS for count in self.layers_per_block
        ):
            raise VDTError(f"A level of an autoencoder has at most {MAX_LAYERS} blocks.")
        if self.kind == "kl" and any(width % self.norm_num_groups for width in self.block_out_channels):
            raise VDTError(f"Widths {self.block_out_channels} do not divide into {self.norm_num_groups} groups.")
        scales = (self.scaling_factor, *(self.latent_std or ()))
        if not all(0 < scale < 1e30 for scale in scales) or not all(abs(m) < 1e30 for m in self.latent_mean or ()):
            raise VDTError("scaling_factor and latent_std are positive numbers, and latent_mean is finite.")

    @property
    def downsample(self) -> int:
        """Pixels a latent cell, along a side."""
        return 2 ** (len(self.block_out_channels) - 1)

    @property
    def frame_activations(self) -> int:
        """Channels that a pixel takes at the peak of decoding on a CPU, where convolutions are unrolled (measured)."""
        if self.kind == "kl":
            return 38 * max(self.block_out_channels[:2])
        return 60 * max(self.block_out_channels[0], (self.decoder_block_out_channels or (0,))[0])

    def frames_at_once(self, height: int, width: int) -> int:
        """How many frames of this size to encode or decode at once: as many as 1 GiB holds, 1 to 16."""
        return max(1, min(16, (1 << 30) // (4 * self.frame_activations * height * width)))


@dataclass(frozen=True)
class CheckpointConfig:
    """What `config.json` in a checkpoint folder says."""

    vdt: VDTConfig
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    autoencoder: AutoencoderConfig | None = None
    tiny_autoencoder: AutoencoderConfig | None = None
    """A small fast autoencoder (TAESD) for the same latents, for `sample --autoencoder tiny`."""
    quantization: dict[str, int] | None = None
    """`{"bits": 8, "group_size": 64}` when the VDT's weights are stored quantized."""
    training: dict[str, Any] | None = None
    """How it was trained: data, splits and seeds, steps, hours (free form; the examiner reads `splits`)."""
    provenance: dict[str, Any] | None = None
    """Where it came from: source file, SHA-256, date, converter version (free form)."""

    def __post_init__(self) -> None:
        said = self.quantization
        if said is None:
            return
        if set(said) != {"bits", "group_size"} or said["bits"] not in QUANTIZED or said["group_size"] not in GROUPS:
            raise VDTError(
                f"quantization says bits ({', '.join(map(str, QUANTIZED))}) and group_size "
                f"({', '.join(map(str, GROUPS))}), not {ascii(said)[:80]}."
            )

    def to_json(self) -> str:
        body = {key: value for key, value in asdict(self).items() if value is not None}
        return json.dumps({"format": FORMAT, "version": FORMAT_VERSION, **body}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = "config.json") -> "CheckpointConfig":
        """Parses and checks `config.json`. Raises VDTError naming `source` and the fault."""
        return cls.from_body(parse_json(text, source), source)

    @classmethod
    def from_body(cls, body: Any, source: str) -> "CheckpointConfig":
        """The same for JSON that was parsed."""
        if not isinstance(body, dict) or body.pop("format", None) != FORMAT:
            raise VDTError(f"{source} is not a {FORMAT} configuration (run `vdt-mlx convert` on the original file).")
        version = body.pop("version", None)
        if version != FORMAT_VERSION:
            raise VDTError(
                f"{source} has format version {brief(version)}; this release reads version {FORMAT_VERSION}."
            )
        if not isinstance(body.get("vdt"), dict):
            raise VDTError(f"{source} lacks the section 'vdt'.")
        return from_dict(cls, body, source)


def packable(name: str, shape: Sequence[int], group_size: int) -> bool:
    """Whether a tensor is one that quantization packs: a linear layer's matrix whose rows divide into groups.

    The last layer stays wide: it is small, and nothing after it evens out its errors, which are the prediction's own.
    """
    return len(shape) == 2 and shape[1] % group_size == 0 and not name.startswith(("y_embedder.", f"{LAST}."))


def read_config(folder: str | Path) -> CheckpointConfig:
    """Reads `config.json` of a checkpoint folder; raises VDTError if the folder or the file is missing or wrong."""
    folder = Path(folder)
    path = folder / CONFIG_FILE
    if not folder.is_dir():
        raise VDTError(f"There is no checkpoint folder at {folder}.")
    if not path.exists():
        raise VDTError(f"{folder} has no {CONFIG_FILE}, so it is not a checkpoint folder.")
    return CheckpointConfig.from_body(read_json(path, "configuration"), str(path))


PRESETS: dict[str, VDTConfig] = {
    "VDT-S/2": VDTConfig(),
    "VDT-L/2": VDTConfig(hidden_size=1152, depth=28, num_heads=16, latent_size=(32, 32)),
    "physics": VDTConfig(hidden_size=192, depth=7, num_heads=4, in_channels=12, latent_size=(8, 8), learn_sigma=False),
}
