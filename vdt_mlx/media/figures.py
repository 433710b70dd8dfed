"""matplotlib figures as files: whole or not at all, the same bytes from the same numbers, no window system touched."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vdt_mlx.files import atomic_path


def save_figure(figure: Any, paths: Iterable[Path], **options: Any) -> None:
    """Writes a `matplotlib.figure.Figure` into each path, .png or .svg; options are those of its `savefig`."""
    from matplotlib import rc_context

    for path in paths:
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        with atomic_path(path) as partial, rc_context({"svg.hashsalt": "curves"}):
            figure.savefig(partial, format=path.suffix[1:], metadata=metadata, **options)
