"""One way to read each format: nothing in the tree opens JSON, TOML, npz, pickles, archives or weights by itself.

What is read through `vdt_mlx.reading` (and `physics_sim.files`, which stands alone) has limits on size, depth and range
and one sentence for what is damaged; a reader of its own beside them has none.
"""

import ast
from pathlib import Path

import pytest

from tests.test_house import ROOT, modules

READERS = {
    "json.load": (),
    "json.loads": (
        "vdt_mlx/reading.py",
        "physics_sim/files.py",
        "vdt_mlx/safetensors_header.py",  # a header's names must be unique, and its numbers short
    ),
    "tomllib.load": (),
    "tomllib.loads": ("vdt_mlx/reading.py",),
    "np.load": ("vdt_mlx/reading.py",),
    "np.loadtxt": (),
    "np.genfromtxt": (),
    "np.lib.format.read_array": ("vdt_mlx/reading.py",),
    "zipfile.ZipFile": ("vdt_mlx/reading.py", "weights/formats/torch_writer.py"),
    "tarfile.open": ("physics_sim/dataset.py", "physics_sim/dataset_reader.py"),
    "pickle.load": (),
    "pickle.loads": ("physics_sim/streaming.py",),  # what this process wrote for its workers
    "marshal.loads": (),
    "mx.load": ("vdt_mlx/checkpoint.py", "vdt_mlx/training/state.py"),  # behind a checked header, or a checksum
    "h5py.File": ("physics_sim/phyworld.py",),
    "imageio.imread": (),
    "imageio.v3.imread": (),
}
"""Calls that read a format, and the modules that may make them."""


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Every call of something with a dotted name in a file."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    return [(ast.unparse(node.func).replace("numpy.", "np."), node) for node in nodes]


def round_trip(node: ast.Call) -> bool:
    """`json.loads(json.dumps(value))`: a value of ours as it will come back, nothing that is read."""
    return bool(node.args) and isinstance(node.args[0], ast.Call) and ast.unparse(node.args[0].func) == "json.dumps"


@pytest.fixture(scope="module")
def found() -> list[tuple[str, str, ast.Call]]:
    return [(path.relative_to(ROOT).as_posix(), name, node) for path in modules() for name, node in calls(path)]


@pytest.mark.parametrize("reader", READERS)
def test_formats_are_read_in_one_place(reader: str, found: list[tuple[str, str, ast.Call]]) -> None:
    users = {where for where, name, node in found if name == reader and not round_trip(node)}
    assert users == set(READERS[reader])


def test_pictures_are_opened_with_a_list_of_formats(found: list[tuple[str, str, ast.Call]]) -> None:
    """Without one Pillow tries every decoder it has, PostScript through Ghostscript among them."""
    own = {"vdt_mlx/commands/film.py", "evals/physics/calibrate.py"}  # pictures that they made themselves
    opened = [(where, node) for where, name, node in found if name == "Image.open" and where not in own]
    assert opened
    for where, node in opened:
        assert "formats" in {keyword.arg for keyword in node.keywords}, f"{where}:{node.lineno}"


def test_readers_are_not_imported_by_their_names(found: list[tuple[str, str, ast.Call]]) -> None:
    """`from json import loads` would hide a reader from the test above."""
    hidden = {(module, name) for module, _, name in (reader.rpartition(".") for reader in READERS)}
    hidden = {(module.replace("np", "numpy").replace("mx", "mlx.core"), name) for module, name in hidden}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert not {(node.module, alias.name) for alias in node.names} & hidden, f"{path}:{node.lineno}"
