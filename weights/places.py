"""What a folder is: a checkpoint of ours, a training run, or files that somebody else saved."""

import re
from pathlib import Path

from vdt_mlx.config import AUTOENCODER_FILE, CONFIG_FILE, FORMAT, TINY_AUTOENCODER_FILE
from vdt_mlx.errors import VDTError
from vdt_mlx.reading import read_json
from weights.formats.source import INDEX

RUN_FILE, RUN_CHECKPOINT = "run.json", "checkpoint"
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
_PIECE = re.compile(r".*-\d{5}-of-\d{5}\.\w+")


def run_checkpoint(folder: Path) -> Path:
    """The checkpoint that a training run, or a recipe of several, keeps in its folder; else the folder as it is.

    Raises VDTError for a run that has saved none yet.
    """
    if (folder / CONFIG_FILE).is_file():
        return folder
    if (folder / RUN_CHECKPOINT / CONFIG_FILE).is_file():
        return folder / RUN_CHECKPOINT
    if (folder / RUN_FILE).is_file():
        raise VDTError(f"{folder} is a training run that has saved no checkpoint yet.")
    return folder


def is_own(path: Path) -> bool:
    """Whether this is a checkpoint folder of ours, or the file of an autoencoder in one."""
    if path.is_file() and path.name not in (AUTOENCODER_FILE, TINY_AUTOENCODER_FILE):
        return False
    config = (path if path.is_dir() else path.parent) / CONFIG_FILE
    if not config.is_file():
        return False
    body = read_json(config, "configuration", nan=True)
    return isinstance(body, dict) and body.get("format") == FORMAT


def refuse_unpacked(folder: Path) -> None:
    """Raises VDTError for what is inside of a `.pt` file, which an unpacker made a folder of."""
    inner = [path for path in (folder, *folder.glob("*/")) if (path / "data.pkl").is_file()]
    if inner:
        raise VDTError(
            f"{folder} is a checkpoint of PyTorch that was unpacked. Give the .pt file itself, or make it again: "
            f"(cd {inner[0].parent} && zip -0 -r new.pt {inner[0].name})"
        )


def weights_in(folder: Path) -> Path | None:
    """The one file of weights in a folder that another program saved, or the index of several pieces; None without.

    A `.pt` of an unusual name counts only where a config.json lies beside it: folders of all sorts hold such files.
    Raises VDTError where there are several and no usual name tells which.
    """
    if (folder / ".metadata").is_file() and any(folder.glob("*.distcp")):
        raise VDTError(
            f"{folder} is a distributed checkpoint of PyTorch; make one file of it first: "
            f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} new.pt"
        )
    if (folder / "zero_to_fp32.py").is_file():
        raise VDTError(
            f"{folder} is a checkpoint of DeepSpeed; make one file of it first: "
            f"python {folder / 'zero_to_fp32.py'} {folder} new"
        )
    refuse_unpacked(folder)
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    indexes = [path for path in files if INDEX.fullmatch(path.name)]
    whole = [path for path in files if path.suffix in _SUFFIXES and not (indexes and _PIECE.fullmatch(path.name))]
    found = {path.name: path for path in (*whole, *indexes)}
    for stem in _STEMS:
        for suffix in (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json"):
            if stem + suffix in found:
                return found[stem + suffix]
    if not (folder / CONFIG_FILE).is_file():
        found = {n: path for n, path in found.items() if ".safetensors" in n or n.startswith(_STEMS)}
    if len({name.split(".index.")[0].rpartition(".")[0] for name in found}) > 1:
        names = ", ".join(ascii(name[:60])[1:-1] for name in sorted(found)[:8])
        raise VDTError(f"{folder} holds several files of weights ({names}): give one of them.")
    return min(found.values(), key=lambda path: (".safetensors" not in path.name, path.name), default=None)
