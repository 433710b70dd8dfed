"""A Python function as a predictor: `module:function` on the command line."""

import hashlib
import inspect
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from evals.predictors.frames import Bad, Continuation, Frames, Predictor, Start
from vdt_mlx.errors import VDTError
from vdt_mlx.files import sha256

OURS = ("vdt_mlx", "physics_sim", "weights", "evals")
"""Packages whose files are part of a run's identity anyway."""


class Code(Continuation):
    """A Python callable. It gets a copy of the given frames, and nothing else."""

    def __init__(self, function: Predictor | Callable[[Frames], Frames], name: str) -> None:
        self.function = function
        super().__init__(name, name, "model", "Python code")

    @classmethod
    def named(cls, where: str) -> "Code":
        """From `module:function`; raises VDTError, whatever importing the module does."""
        module, colon, attribute = where.partition(":")
        path = "/" in module or "\\" in module or module.endswith(".py")
        if path or not colon or not attribute.isidentifier() or not all(p.isidentifier() for p in module.split(".")):
            hint = ": give a module's name rather than a path, and run from its folder" if path else ""
            raise VDTError(f"`code` {where} is not module:function{hint}.")
        try:
            function = getattr(import_module(module), attribute)
        except KeyboardInterrupt:
            raise
        except (ImportError, AttributeError) as error:
            raise VDTError(f"`code` {where} cannot be imported ({error}); give module:function.") from None
        except BaseException as error:  # a stranger's module may raise anything, or exit
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise VDTError(f"`code` {where} cannot be imported: the module ended with {said}.") from None
        if not callable(function):
            raise VDTError(f"`code` {where} is not a function.")
        return cls(function, attribute)

    def predict(self, starts: Sequence[Start]) -> list[list[Any]]:
        return [[self._one(start) for start in starts]]

    def _one(self, start: Start) -> Any:
        try:
            return self.function(start.frames)
        except VDTError:
            raise
        except (Exception, SystemExit) as error:
            return Bad(f"raised {type(error).__name__} ({error})")

    def content(self) -> str:
        """Of the function's module, and of the modules that stand in the same folder or package and were loaded."""
        module = inspect.getmodule(self.function) or inspect.getmodule(type(self.function))
        file = getattr(module, "__file__", None)
        if module is None or not file:
            code = getattr(self.function, "__code__", None)
            return hashlib.sha256(repr((code.co_code, code.co_consts) if code else self.name).encode()).hexdigest()
        package = module.__name__.partition(".")[0]
        digest = hashlib.sha256()
        for path in sorted({Path(file).resolve(), *_loaded(package, Path(file).resolve().parent)}):
            digest.update(f"{path.name} {sha256(path)}\n".encode())
        return digest.hexdigest()


def _loaded(package: str, folder: Path) -> list[Path]:
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or not file.endswith(".py") or name.partition(".")[0] in OURS:
            continue
        path = Path(file).resolve()
        beside = path.parent == folder and "site-packages" not in path.parts
        if path.is_file() and (beside or name == package or name.startswith(f"{package}.")):
            found.append(path)
    return found
