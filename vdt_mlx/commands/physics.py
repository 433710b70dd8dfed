"""`vdt-mlx physics`: a second door to the examiner, `python -m evals.physics`, from any folder."""

import os
import sys
from typing import NoReturn

import click

from vdt_mlx import siblings
from vdt_mlx.errors import VDTError

# The current folder comes last on the path: a module of one's own for --code is found, a package `evals` of others not.
_START = "import sys; sys.path[0] = {root!r}; sys.path.append(''); from evals.physics.cli import main; main()"


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def physics(arguments: tuple[str, ...]) -> NoReturn:
    """Examine what a checkpoint knows about physics: `python -m evals.physics`, which another package cannot hide."""
    lost = [sentence for sentence in siblings.faults() if "overwritten" in sentence]
    if lost:
        raise VDTError(lost[0])
    siblings.claim("evals")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-c", _START.format(root=str(siblings.ROOT)), *arguments])
