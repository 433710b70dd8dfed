"""Others' packages and modules of our packages' names: ours are found all the same, or what is wrong is said."""

import base64
import hashlib
import importlib.machinery
import importlib.metadata
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from vdt_mlx import siblings
from vdt_mlx.errors import VDTError


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(siblings.ROOT)}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A folder with a `weights.py`, an `evals` and a `physics_sim.py` of somebody else's."""
    for name in ("weights", "physics_sim"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')\n")
    (tmp_path / "evals").mkdir()
    (tmp_path / "evals" / "__init__.py").write_text("raise RuntimeError('not this one')\n")
    return tmp_path


def test_commands_do_not_depend_on_the_folder(crowded) -> None:
    done = run(crowded, "-m", "vdt_mlx", "models")
    assert (done.returncode, done.stderr) == (0, "")
    assert "physics" in done.stdout
    done = run(crowded, "-m", "vdt_mlx", "simulate", "--help")
    assert done.returncode == 0


def test_the_second_door_finds_our_examiner(crowded) -> None:
    assert "not this one" in run(crowded, "-m", "evals.physics", "--help").stderr
    done = run(crowded, "-m", "vdt_mlx", "physics", "--help")
    assert done.returncode == 0
    assert "--predictions" in done.stdout
    done = run(crowded, "-m", "vdt_mlx", "physics", "--clips", "-1", "--out", "out")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_module_of_ones_own_is_found_by_the_second_door(crowded) -> None:
    (crowded / "mine.py").write_text("def predict(given):\n    raise ValueError('it was called')\n")
    done = run(crowded, "-m", "vdt_mlx", "physics", "--code", "mine:nothing", "--clips", "1", "--out", "out")
    assert done.returncode == 2
    assert "nothing" in done.stderr


def test_another_package_that_is_in_use(monkeypatch) -> None:
    other = types.ModuleType("weights")
    other.__spec__ = importlib.machinery.ModuleSpec("weights", None, origin="/elsewhere/weights.py")
    monkeypatch.setitem(sys.modules, "weights", other)
    with pytest.raises(VDTError, match=r"Another package named weights is in use \(/elsewhere/weights.py\)"):
        siblings.claim("weights")


def test_a_package_that_is_gone(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(siblings, "ROOT", tmp_path)
    monkeypatch.delitem(sys.modules, "weights", raising=False)
    with pytest.raises(VDTError, match=r"The package weights of vdt-mlx is missing .* install it again"):
        siblings.claim("weights")


def test_files_that_were_overwritten_are_named(monkeypatch, tmp_path) -> None:
    good, changed = tmp_path / "evals" / "good.py", tmp_path / "evals" / "__init__.py"
    changed.parent.mkdir()
    good.write_text("x = 1\n")
    changed.write_text("their own\n")

    class File(importlib.metadata.PackagePath):
        def locate(self):
            return tmp_path / self

    def file(name: str, text: bytes) -> File:
        found = File(name)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b"=").decode()
        found.hash = importlib.metadata.FileHash(f"sha256={digest}")
        return found

    files = [file("evals/good.py", b"x = 1\n"), file("evals/__init__.py", b"ours\n"), file("evals/gone.py", b"")]
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: types.SimpleNamespace(files=files))
    assert siblings.overwritten() == ["evals/__init__.py", "evals/gone.py"]
    (said,) = siblings.faults()
    assert "(evals/__init__.py, evals/gone.py)" in said
    assert "install it again" in said


def test_what_hides_ours_is_named(crowded) -> None:
    code = f"import sys; sys.path.insert(0, {str(crowded)!r}); from vdt_mlx import siblings; print(siblings.faults())"
    said = run(crowded, "-c", code).stdout
    assert str(crowded / "weights.py") in said
    assert str(crowded / "evals" / "__init__.py") in said


def test_nothing_is_wrong_here() -> None:
    assert siblings.faults() == []
