"""The rules of the house: who may import whom, clean linting and types, a README whose commands CI runs."""

import ast
import importlib.util
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("vdt_mlx", "physics_sim", "weights", "evals")
FLAG = re.compile(r"(^|\W)--[a-z]")


@cache
def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside functions, and those it names in import_module."""
    found = set()
    for node in nodes_of(path):
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
        simulates = where.startswith(("vdt_mlx/training/", "vdt_mlx/play/"))
        allowed = {"vdt_mlx"} | ({"physics_sim"} if simulates else set())
        if where == "vdt_mlx/pipeline.py":  # a checkpoint by its name; the registry knows nothing but folders
            allowed.add("weights")
            assert {name for name in ours(path) if name.startswith("weights")} <= {
                "weights.registry",
                "weights.registry.resolve",
            }
        assert reached <= allowed
    own = {name.split(".")[1] for name in ours(path) if "." in name}
    if where in ("vdt_mlx/config.py", "vdt_mlx/diffusion/masks.py"):
        assert own <= {"config", "errors", "reading", "from_values"}
    if where in ("vdt_mlx/reading.py", "vdt_mlx/from_values.py"):
        assert own <= {"errors"}


# ---- no circles, no climbing


@cache
def _names() -> dict[str, Path]:
    """Dotted name -> file, of every module; a package is its `__init__`."""
    found = {}
    for path in modules():
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def _edges() -> set[tuple[str, str]]:
    """(importing, imported) between our modules: `from package import module` is an import of the module alone."""
    names = _names()
    found = set()
    for name, path in names.items():
        for node in nodes_of(path):
            if isinstance(node, ast.Import):
                wanted = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                each = [f"{node.module}.{alias.name}" for alias in node.names]
                wanted = [full if full in names else node.module or "" for full in each]
            else:
                continue
            found |= {(name, target) for target in wanted if target in names and target != name}
        if name.endswith(".section"):  # found by itself
            found.add(("evals.physics.sections", name))
    return found


def _wing(name: str) -> str:
    """The folder that a module stands in, or the module itself where that folder is a whole package of ours."""
    path = _names()[name].relative_to(ROOT)
    return name if len(path.parts) == 2 else ".".join(path.parts[:-1])


def _circle(edges: set[tuple[str, str]]) -> list[str]:
    """The nodes on circles: what is left when those that import nothing, or that nothing imports, are taken out."""
    while True:
        outgoing, incoming = {a for a, _ in edges}, {b for _, b in edges}
        kept = {(a, b) for a, b in edges if b in outgoing and a in incoming}
        if kept == edges:
            return sorted({a for a, _ in edges})
        edges = kept


def test_no_module_imports_itself_by_a_detour() -> None:
    assert _circle(_edges()) == []


def test_folders_do_not_import_each_other_in_circles() -> None:
    """Folders and the modules beside them have levels: what is imported never imports back."""
    wings = {(_wing(a), _wing(b)) for a, b in _edges()}
    assert _circle({(a, b) for a, b in wings if a != b}) == []


def test_a_circle_would_be_seen() -> None:
    assert _circle({("a", "b"), ("b", "c"), ("c", "a"), ("a", "d"), ("e", "a")}) == ["a", "b", "c"]
    assert _circle({("a", "b"), ("a", "c"), ("b", "c")}) == []


def test_errors_of_libraries_name_no_flags() -> None:
    """They go to Python callers too; commands say which flag an argument is (`vdt_mlx.commands.options.in_flags`)."""
    for path in modules():
        where = path.relative_to(ROOT).as_posix()
        if where.startswith("vdt_mlx/commands/") or "@click.command" in path.read_text() or path.name == "cli.py":
            continue
        raised = [node for node in nodes_of(path) if isinstance(node, ast.Raise)]
        said = [part.value for node in raised for part in ast.walk(node) if isinstance(part, ast.Constant)]
        assert [text for text in said if isinstance(text, str) and FLAG.search(re.sub("`[^`]*`", "", text))] == [], (
            where
        )


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
def test_types(mypy: "subprocess.Popen[str]") -> None:
    output, _ = mypy.communicate()
    assert mypy.returncode == 0, output


def test_ci_runs_the_test_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python3 -m venv .*pytest$", readme, re.MULTILINE)
    assert len(commands) == 1
    assert commands[0] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_map_names_every_module_and_nothing_else() -> None:
    """`python tests/house_map.py` draws it anew."""
    spec = importlib.util.spec_from_file_location("house_map", ROOT / "tests" / "house_map.py")
    assert spec is not None and spec.loader is not None
    house_map = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(house_map)
    found = house_map.named((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    assert len(found) == len(set(found))
    assert set(found) == {path.as_posix() for path in house_map.modules()}
