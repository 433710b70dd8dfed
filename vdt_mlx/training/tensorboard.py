"""A run's log for TensorBoard, through tensorboardX; `log.jsonl` stays the record."""

from pathlib import Path
from typing import Any

from vdt_mlx.errors import VDTError
from vdt_mlx.training.state import LOG, read_log

FOLDER = "tensorboard"


def require() -> Any:
    """The library. Raises VDTError, with how to get it, where it is not installed."""
    try:
        import tensorboardX
    except ImportError:
        raise VDTError(
            "Files for TensorBoard need the package tensorboardX: pip install 'vdt-mlx[tensorboard]'"
        ) from None
    return tensorboardX


class Board:
    """Event files in the run's folder `tensorboard`, with everything that the log has by `step`, and what follows.

    Numbers are named `train/loss`, `preview/pair_error`, `memory/memory_gb`. Curves after `step` are given up, as the
    log's lines are.
    """

    def __init__(self, out: Path, step: int):
        known = (out / FOLDER).is_dir()
        self.writer = require().SummaryWriter(str(out / FOLDER), purge_step=step + 1 if known else None)
        if not known and (out / LOG).is_file():
            for entry in read_log(out):
                self.write(entry)

    def write(self, entry: dict[str, Any]) -> None:
        """One line of the log."""
        step = entry.get("step", 0)
        for name, value in entry.items():
            if isinstance(value, dict):
                for key, number in value.items():
                    self._add(f"{name}/{key}", number, step)
            elif name != "step":
                self._add(f"train/{name}", value, step)

    def _add(self, name: str, value: Any, step: int) -> None:
        if isinstance(value, int | float):
            self.writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()
