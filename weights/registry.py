"""Names of checkpoints, and where each is: shipped with the package, in a local folder, or on the hub.

resolve("physics")                  the checkpoint that comes with this package
resolve("path/to/folder")           a folder that `vdt-mlx convert` or `vdt-mlx train` wrote
resolve("org/name", revision=...)   a hub repository, through the optional `huggingface_hub`
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vdt_mlx.config import CONFIG_FILE, VDT_FILE
from vdt_mlx.errors import VDTError
from weights.places import is_own, run_checkpoint

HERE = Path(__file__).parent
_REPOSITORY = re.compile(
    r"(?P<repository>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(@(?P<revision>.{1,200}))?", re.ASCII
)
_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)*", re.ASCII)
"""A commit, tag or branch: the hub's cache has files of that name, so none may lead out of it."""
_WANTED = ("config.json", "vdt.safetensors", "*autoencoder.safetensors", "SHA256SUMS", "README*", "LICENSE*")


@dataclass(frozen=True)
class Entry:
    """One checkpoint that has a name."""

    name: str
    folder: Path
    """Where it is inside the installed package."""
    licence: str
    description: str

    @property
    def available(self) -> bool:
        return (self.folder / CONFIG_FILE).is_file()


@dataclass(frozen=True)
class External:
    """Weights that others publish, and that a user brings in with `vdt-mlx convert`."""

    name: str
    where: str
    licence: str
    description: str
    download: str
    """A command line, or what to do."""
    known_as: tuple[str, ...] = ()
    """Other names that people try, in lower case."""


REGISTRY: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("physics", HERE / "physics", "MIT", "64-pixel clips of simulated objects; trained by this project"),
    )
}

_AUTOENCODER_FILES = "config.json diffusion_pytorch_model.safetensors"

EXTERNAL: tuple[External, ...] = (
    External(
        "VDT-L/2 Physion-Collide, Sky Time-Lapse",
        "https://github.com/RERV/VDT (its README links the file host; download in a browser)",
        "CC BY-NC 4.0: not for commercial use",
        "the authors' checkpoints: `vdt-mlx convert FILE.pt DEST --autoencoder ...`",
        "open https://github.com/RERV/VDT in a browser and follow its links to the files",
        ("vdt", "vdt-l/2", "vdt-l", "vdt-s/2", "physion", "physion-collide", "sky", "sky-time-lapse", "rerv/vdt"),
    ),
    *(
        External(
            name,
            f"https://huggingface.co/stabilityai/{name}",
            "MIT",
            "Stable Diffusion's autoencoder, which the authors' checkpoints need",
            f"hf download stabilityai/{name} {_AUTOENCODER_FILES} --local-dir {name}",
            (f"stabilityai/{name}",),
        )
        for name in ("sd-vae-ft-mse", "sd-vae-ft-ema")
    ),
    External(
        "TAESD",
        "https://huggingface.co/madebyollin/taesd",
        "MIT",
        "a small fast autoencoder for the same latents: `--autoencoder tiny` of `vdt-mlx sample`",
        f"hf download madebyollin/taesd {_AUTOENCODER_FILES} --local-dir taesd",
        ("taesd", "madebyollin/taesd"),
    ),
)


def locate(name_or_path: str | Path) -> Path:
    """The file or folder that holds weights: a path, a training run's folder (its checkpoint), or a registered name.

    Raises VDTError for a known name that is not at hand, with the command that downloads it, and for a path that does
    not exist.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return run_checkpoint(path)
    if path.exists():
        return path
    if str(name_or_path) in REGISTRY:
        return resolve(str(name_or_path))
    _known_elsewhere(str(name_or_path))
    raise VDTError(f"There is no file or folder {path}.")


def checkpoint_folder(name_or_path: str | Path) -> Path:
    """The folder of a registered name or of a training run's checkpoint; any other path as it is, there or not."""
    path = Path(name_or_path).expanduser()
    if not path.exists():
        if str(name_or_path) in REGISTRY:
            return resolve(str(name_or_path))
        _known_elsewhere(str(name_or_path))
    return run_checkpoint(path) if path.is_dir() else path


def _known_elsewhere(name: str) -> None:
    """Raises VDTError with the way to download it, if this is the name of weights that others publish."""
    wanted = name.lower().removeprefix("./").rstrip("/")
    for entry in EXTERNAL:
        if wanted in (entry.name.lower(), *entry.known_as):
            how = f"download it with `{entry.download}` (pip install 'vdt-mlx[hub]' brings hf)"
            how = how if entry.download.startswith("hf ") else entry.download
            raise VDTError(f"{name} is not on this machine: {how}. Licence: {entry.licence}. Then give its path.")


def resolve(name_or_path: str | Path, revision: str | None = None) -> Path:
    """Returns the folder of a checkpoint: a registered name, a local folder, or a hub repository `org/name`.

    A registered name wins over a folder of the same name (write `./physics` for the folder). `revision` pins
    a commit, tag or branch of a hub repository and is refused for anything else. The repository is fetched
    once into huggingface_hub's own cache, which also serves it offline (`HF_HUB_OFFLINE=1`).

    Raises VDTError if there is no such checkpoint, or if it cannot be had.
    """
    text = str(name_or_path)
    entry = REGISTRY.get(text) if isinstance(name_or_path, str) else None
    path = Path(name_or_path).expanduser()
    hub = None if entry is not None or path.exists() else _REPOSITORY.fullmatch(text)
    if revision is not None and (hub is None or hub["revision"] is not None):
        raise VDTError(f"A revision pins a hub repository, org/name, and {text} is not one.")
    if entry is not None:
        if not entry.available:
            raise VDTError(f"The checkpoint {text!r} is not in this installation ({entry.folder} is missing).")
        return entry.folder
    if path.is_dir():
        path = run_checkpoint(path)
        if not (path / CONFIG_FILE).is_file():
            raise VDTError(f"{path} has no config.json, so it is not a checkpoint folder.")
        return path
    if path.is_file() and path.name in (CONFIG_FILE, VDT_FILE) and is_own(path.parent):
        return path.parent
    if path.exists():
        raise VDTError(f"{path} is a file, not a checkpoint folder; bring it in with `vdt-mlx convert {path} DEST`.")
    _known_elsewhere(text)
    if hub is not None:
        revision = revision or hub["revision"]
        if revision is not None and not (len(revision) <= 200 and _REVISION.fullmatch(revision)):
            raise VDTError(f"{ascii(revision)[:80]} is no commit, tag or branch of a hub repository.")
        return _from_hub(hub["repository"], revision)
    raise VDTError(
        f"There is no model named {text!r} and no such folder; there are: {', '.join(REGISTRY)}, any folder "
        "made by `vdt-mlx convert` or `vdt-mlx train`, and hub repositories as org/name or org/name@revision."
    )


def _from_hub(repository: str, revision: str | None) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError:
        raise VDTError(
            f"{repository} is no local folder; to read it from the Hugging Face hub, "
            "install the extra: pip install 'vdt-mlx[hub]'."
        ) from None

    def get(**options: bool) -> Path:
        return Path(
            huggingface_hub.snapshot_download(repository, revision=revision, allow_patterns=list(_WANTED), **options)
        )

    if revision is not None and re.fullmatch("[0-9a-f]{40}", revision):  # a commit never changes: no need to ask
        with suppress(Exception):
            folder = get(local_files_only=True)
            if all((folder / name).is_file() for name in ("config.json", "vdt.safetensors")):
                return folder
    at = f"{repository} at revision {revision}" if revision else repository
    try:
        folder = get()
    except errors.GatedRepoError:
        raise VDTError(f"{repository} is gated: accept its terms on huggingface.co, then `hf auth login`.") from None
    except errors.RevisionNotFoundError:
        raise VDTError(f"The hub repository {repository} has no revision {revision!r}.") from None
    except errors.RepositoryNotFoundError:
        raise VDTError(
            f"There is no folder {repository} here, and no hub repository of that name that you may read; "
            f"registered names: {', '.join(REGISTRY)}."
        ) from None
    except Exception as error:  # no network, a proxy, an error of the server: the cache may still have it
        try:
            folder = get(local_files_only=True)
        except Exception:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise VDTError(f"{at} is not in the local cache, and the hub cannot be reached ({reason}).") from None
    if not (folder / "config.json").is_file():
        raise VDTError(f"The hub repository {repository} is not a checkpoint folder (it has no config.json).")
    return folder


def cached() -> list[tuple[str, str, Path]]:
    """Checkpoints of ours in the local hub cache: repository, commit, folder. Empty without `huggingface_hub`."""
    try:
        from huggingface_hub import scan_cache_dir
    except ImportError:
        return []
    try:
        repositories = scan_cache_dir().repos
    except Exception:  # there is no cache, or it is damaged: nothing to list
        return []
    found = []
    for repository in repositories:
        for revision in repository.revisions:
            folder = Path(revision.snapshot_path)
            if (folder / "config.json").is_file() and (folder / "vdt.safetensors").is_file():
                found.append((repository.repo_id, revision.commit_hash, folder))
    return sorted(found)
