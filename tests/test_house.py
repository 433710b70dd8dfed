"""The rules of the house: who may import whom, clean linting and types, a README whose commands CI runs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("vdt_mlx", "physics_sim", "weights", "evals")


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside functions, and those it names in import_module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(path: Path) -> set[str]:
    return {name for name in imports(path) if name.split(".")[0] in PACKAGES}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_plan(path: Path) -> None:
    where = path.relative_to(ROOT).as_posix()
    package = where.split("/")[0]
    reached = {name.split(".")[0] for name in ours(path)}
    if package != "evals":
        assert "evals" not in reached, "nothing imports the examiner"
    if package == "physics_sim":
        assert reached <= {"physics_sim"}
        assert not any(name.split(".")[0] == "mlx" for name in imports(path))
    command_line = where in ("vdt_mlx/cli.py", "vdt_mlx/__main__.py") or where.startswith("vdt_mlx/commands/")
    if package == "vdt_mlx" and not command_line:
        allowed = {"vdt_mlx"} | ({"physics_sim"} if where.startswith("vdt_mlx/training/") else set())
        assert reached <= allowed
    if where in ("vdt_mlx/config.py", "vdt_mlx/masks.py"):
        assert {name.split(".")[1] for name in ours(path) if "." in name} <= {"errors"}


def test_simulator_runs_without_mlx() -> None:
    code = "import sys; sys.modules['mlx'] = None; import physics_sim; physics_sim.make_clip('collide').frames"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_help_is_quick_because_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from vdt_mlx.cli import vdt_mlx\n"
        "vdt_mlx.main(['--help'], standalone_mode=False)\n"
        "heavy = {'mlx', 'numpy', 'PIL', 'pymunk', 'rich', 'imageio_ffmpeg'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_ruff() -> None:
    for arguments in (["check"], ["format", "--check"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "."], cwd=ROOT, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_types() -> None:
    result = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_ci_runs_the_test_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python3 -m venv .*pytest$", readme, re.MULTILINE)
    assert len(commands) == 1
    assert commands[0] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
