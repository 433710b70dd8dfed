"""What `vdt-mlx sample` was asked: checked, saved in sample.json, and read back from it."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from vdt_mlx.diffusion.sampling import OPTIONS, Sampling
from vdt_mlx.errors import VDTError
from vdt_mlx.from_values import from_dict
from vdt_mlx.media.video import FITS
from vdt_mlx.pipeline import Pipeline
from vdt_mlx.reading import read_json

MAX_SAMPLES = 64
MAX_FRAMES = 1024
MAX_STEPS = 100_000
MAX_SEED = (1 << 63) - 1
MAX_START = 1 << 40
PATHS = ("input", "mask", "scene", "map", "model", "autoencoder")
"""Settings that can be paths."""


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
    label: str | None = None
    guidance: float | None = None
    diverse: bool | None = None
    """Whether samples should differ as the possible clips do; several should, unless this says otherwise."""
    seed: int = 0
    samples: int = 1
    scenario: str = "collide"
    scene_seed: int = 0
    scene: str | None = None
    """A file with a scene that was drawn on the page of `vdt-mlx play`, in place of a scenario."""
    input: str | None = None
    start: int = 0
    stride: int = 1
    fit: str = "crop"
    """How frames of another shape are fitted (`media.video.FITS`)."""
    colours: str | None = None
    """Of what is followed in `input`: name=#rrggbb,name=#rrggbb."""
    map: str | None = None
    """A picture that shows where agent and patient are in the first frame of `input`."""
    dtype: str = "fp32"
    quantize: int | None = None
    compile: bool | None = None
    """Whether the network is compiled; by default on a GPU."""
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
        if self.fit not in FITS:
            raise VDTError(f"--fit {self.fit} does not fit: there are {', '.join(FITS)}.")
        if self.eta is not None and not 0 <= self.eta <= 1:
            raise VDTError(f"--eta {self.eta} does not fit: 0 to 1.")
        if self.steps is not None and not 1 <= self.steps <= MAX_STEPS:
            raise VDTError(f"--steps {self.steps} does not fit: 1 to {MAX_STEPS}.")
        if self.chunk is not None and self.chunk < 1:
            raise VDTError(f"--chunk {self.chunk} does not fit: at least 1.")
        if self.frames is not None and self.frames > MAX_FRAMES:
            raise VDTError(f"--frames {self.frames} does not fit: at most {MAX_FRAMES}.")

    @property
    def sampling(self) -> Sampling:
        """The sampler and its options, None where the checkpoint decides."""
        return Sampling(**{item.name: getattr(self, item.name) for item in fields(Sampling)})

    @property
    def chosen_task(self) -> str | None:
        """None where a mask is the task."""
        return self.task if self.mask is None else None

    @property
    def wants_diverse(self) -> bool:
        return self.samples > 1 if self.diverse is None else self.diverse

    def resolved(self, pipeline: Pipeline) -> Sampling:
        """How the model samples these. Raises VDTError where an option was asked for that would do nothing."""
        sampling = pipeline.resolve(self.sampling, self.chosen_task, self.wants_diverse)
        own = pipeline.config.diffusion
        if self.diverse is not None and own.for_use(self.chosen_task, True) == own.for_use(self.chosen_task, False):
            flag = "--diverse" if self.diverse else "--best-guess"
            raise VDTError(f"This model has one sampler for best guesses and diverse samples: {flag} would do nothing.")
        for option in self.sampling.changed(sampler=sampling.sampler).without_effect():
            raise VDTError(f"This model's sampler, {sampling.sampler}, has no {OPTIONS[option]}.")
        return sampling

    @property
    def name(self) -> str:
        """A short name for the default output folder."""
        task = "mask" if self.mask else self.task
        file = self.input or self.scene
        clip = Path(file).stem if file else f"{self.scenario}{self.scene_seed}"
        clip = "" if task == "unconditional" else f"-{clip}"
        return f"{task}{clip}-seed{self.seed}"


def read_settings(path: Path) -> SampleSettings:
    """The settings of a sample.json; relative paths in them that are not here are those of the folder it was made in.

    Raises VDTError if it is missing or is none.
    """
    body = read_json(path, "sample.json")
    if not isinstance(body, dict) or not isinstance(body.get("settings"), dict):
        raise VDTError(f"{path} has no settings, so it is not a sample.json.")
    settings = from_dict(SampleSettings, body["settings"], f"{path}, section 'settings'")
    made_in = body.get("made_in")
    return _found_again(settings, path.parent / made_in) if isinstance(made_in, str) else settings


def _found_again(settings: SampleSettings, made_in: Path) -> SampleSettings:
    from weights.registry import REGISTRY

    found: dict[str, Any] = {}
    for name in PATHS:
        value = getattr(settings, name)
        if value is None or value in REGISTRY or _exists(Path(value)):
            continue
        if _exists(made_in / value):
            found[name] = str(made_in / value)
    return replace(settings, **found)


def _exists(path: Path) -> bool:
    """Whether a file or folder is there; `FILE.hdf5#00000/7` is a clip in a file."""
    return Path(str(path).partition("#")[0]).exists() or path.exists()
