"""The packages beside this one (`physics_sim`, `weights`, `evals`), and what others of their names do to them.

Other projects have an `evals` too, and people have a `weights.py` in their folder. Python takes the first that it
finds: with `python -m`, what lies in the current folder. `claim` makes ours be found; `faults` says what was
overwritten.
"""

import base64
import hashlib
import importlib.util
import sys
from pathlib import Path

from vdt_mlx.errors import VDTError

ROOT = Path(__file__).resolve().parent.parent
"""Where our packages lie, in a checkout or among installed packages."""
NAMES = ("physics_sim", "weights", "evals")


def claim(*names: str) -> None:
    """Makes `import NAME` mean ours, whatever the current folder holds.

    Raises VDTError: ours is not where it was installed, or another of that name is in use already.
    """
    for name in names:
        ours = ROOT / name / "__init__.py"
        held = sys.modules.get(name)
        if held is not None and held.__spec__ is not None and _same(held.__spec__.origin, ours):
            continue
        if not ours.is_file():
            raise VDTError(f"The package {name} of vdt-mlx is missing from {ROOT}: {REPAIR}")
        if held is not None:
            origin = held.__spec__.origin if held.__spec__ is not None else "of unknown origin"
            raise VDTError(f"Another package named {name} is in use ({origin}): {ASIDE}")
        found = importlib.util.find_spec(name)
        if found is not None and _same(found.origin, ours):
            continue
        spec = importlib.util.spec_from_file_location(name, ours, submodule_search_locations=[str(ours.parent)])
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)


ASIDE = "start Python in a folder without it, or rename it."
REPAIR = "install it again (pip install --force-reinstall --no-deps vdt-mlx)."


def _same(origin: str | None, path: Path) -> bool:
    return origin is not None and Path(origin).resolve() == path


def hidden(name: str) -> str | None:
    """The file that Python finds under the name of one of our packages in place of ours; None where it finds ours."""
    try:
        found = importlib.util.find_spec(name)
    except ValueError:  # a module without a specification
        return None
    if found is None or _same(found.origin, ROOT / name / "__init__.py"):
        return None
    return found.origin or str(next(iter(found.submodule_search_locations or [""])))


def overwritten() -> list[str]:
    """The files of our installed packages that are missing, or not those that were installed."""
    from importlib import metadata  # slow to import, and wanted where something is wrong

    try:
        files = metadata.distribution("vdt-mlx").files or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for file in files:
        if file.parts[0] not in NAMES or file.hash is None or file.suffix != ".py":
            continue
        path = Path(str(file.locate()))
        if not path.is_file() or _digest(path, file.hash.mode) != file.hash.value:
            found.append(file.as_posix())
    return found


def _digest(path: Path, mode: str) -> str:
    return base64.urlsafe_b64encode(hashlib.new(mode, path.read_bytes()).digest()).rstrip(b"=").decode()


def faults() -> list[str]:
    """A sentence for everything that is hidden or overwritten."""
    said = [
        f"Python finds {origin} where it should find the package {name} of vdt-mlx: {ASIDE}"
        for name in NAMES
        if (origin := hidden(name)) is not None
    ]
    if lost := overwritten():
        shown = ", ".join(lost[:4]) + (f" and {len(lost) - 4} more" if len(lost) > 4 else "")
        said.append(f"Another package has overwritten or removed files of vdt-mlx ({shown}): {REPAIR}")
    return said
