"""Golden checkpoints that are kept as differences, and small checkpoints of any configuration."""

import base64
import hashlib
import io
import json
import pickle
import sys
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def derived(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`derived(name)`: a golden file, whole.

    Five of them hold the weights of `vdt_tiny.pt` or `autoencoder_kl` again in another wrapping, so `derived.json`
    keeps only what differs: literal bytes, and ranges of the other file (`bf16`: rounded to bfloat16 on the way).
    The SHA-256 of what is put together is that of the file that PyTorch wrote.
    """
    folder = tmp_path_factory.mktemp("golden")
    recipes = json.loads((GOLDEN / "derived.json").read_text())

    def make(name: str) -> Path:
        if name not in recipes:
            return GOLDEN / name
        path = folder / name
        if not path.exists():
            base = (GOLDEN / recipes[name]["base"]).read_bytes()
            data = b"".join(_part(base, *part) for part in recipes[name]["parts"])
            assert hashlib.sha256(data).hexdigest() == recipes[name]["sha256"]
            path.write_bytes(data)
        return path

    return make


def _part(base: bytes, kind: str, *where: Any) -> bytes:
    if kind == "bytes":
        return zlib.decompress(base64.b85decode(where[0]))
    raw = base[where[0] : where[0] + where[1]]
    if kind == "copy":
        return raw
    bits = np.frombuffer(raw, "<u4")
    return ((bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16).astype("<u2").tobytes()


class Weights:
    """Named tensors that the writers of `weights.export` take."""

    def __init__(self, name: str, values: np.ndarray, dtype: str = "fp32"):
        self.name, self.values, self.dtype, self.shape = name, values, dtype, values.shape

    def pieces(self) -> Iterable[np.ndarray]:
        yield self.values.reshape(-1)


@pytest.fixture(scope="session")
def state_dict() -> Callable[..., dict[str, np.ndarray]]:
    """`state_dict(config, seed=0)`: random weights under the official names, in the official layout."""
    from weights.names.vdt import vdt_shapes

    def make(config: Any, seed: int = 0) -> dict[str, np.ndarray]:
        generator = np.random.default_rng(seed)
        return {n: generator.standard_normal(s).astype(np.float32) for n, s in vdt_shapes(config).items()}

    return make


@pytest.fixture(scope="session")
def write_pt() -> Callable[..., Path]:
    """`write_pt(path, {name: array})` writes a `.pt` file and returns its path."""
    from weights.formats.torch_writer import write_torch

    names = {"float32": "fp32", "float16": "fp16", "float64": "fp64", "uint16": "bf16", "int64": "int64"}

    def write(path: Path, tensors: dict[str, np.ndarray]) -> Path:
        write_torch(path, [Weights(name, value, names[value.dtype.name]) for name, value in tensors.items()])
        return path

    return write


class Stored:
    """An array that `save` pickles as torch.save does a tensor."""

    def __init__(self, values: np.ndarray):
        self.values = np.ascontiguousarray(values, np.float32)


@pytest.fixture(scope="session")
def save() -> Callable[..., Path]:
    """`save(path, content, protocol=2)`: the zip that torch.save makes of any content; `Stored` stands for tensors.

    Names of torch in it are instances of `save.Named(module, name, *arguments)`, pickled as calls.
    """

    class Named:
        def __init__(self, module: str, name: str, *arguments: Any):
            self.place, self.arguments = (module, name), arguments

    class StandIn(ModuleType):
        pass

    class Storage:
        def __init__(self, key: int, count: int):
            self.key, self.count = str(key), count

    def function(module: str, name: str) -> Any:
        """What pickles as this global: looked up under its name, in modules that are there only while pickling."""
        words = module.split(".")
        for end in range(1, len(words) + 1):
            place = ".".join(words[:end])
            if not isinstance(sys.modules.get(place), StandIn):
                sys.modules[place] = StandIn(place)
        made = type(name, (), {"__module__": module, "__qualname__": name})
        setattr(sys.modules[module], name, made)
        return made

    class Writer(pickle.Pickler):
        def __init__(self, file: Any, protocol: int):
            super().__init__(file, protocol)
            self.arrays: list[np.ndarray] = []

        def persistent_id(self, obj: Any) -> Any:
            if isinstance(obj, Storage):
                return ("storage", function("torch", "FloatStorage"), obj.key, "cpu", obj.count)
            return None

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, Named):
                return function(*obj.place), obj.arguments
            if not isinstance(obj, Stored):
                return NotImplemented
            self.arrays.append(obj.values)
            strides = tuple(step // 4 for step in obj.values.strides)
            storage = Storage(len(self.arrays) - 1, obj.values.size)
            arguments = (storage, 0, obj.values.shape, strides, False, OrderedDict())
            return function("torch._utils", "_rebuild_tensor_v2"), arguments

    def write(path: Path, content: Any, protocol: int = 2) -> Path:
        before, buffer = dict(sys.modules), io.BytesIO()
        try:
            writer = Writer(buffer, protocol)
            writer.dump(content)
        finally:
            for name in [name for name, module in sys.modules.items() if isinstance(module, StandIn)]:
                del sys.modules[name]
            sys.modules.update(before)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(f"{path.stem}/data.pkl", buffer.getvalue())
            for index, array in enumerate(writer.arrays):
                archive.writestr(f"{path.stem}/data/{index}", array.tobytes())
            archive.writestr(f"{path.stem}/version", b"3\n")
        return path

    write.Named, write.Stored = Named, Stored  # type: ignore[attr-defined]
    return write


@pytest.fixture(scope="session")
def read_tensors() -> Callable[..., dict[str, np.ndarray]]:
    """`read_tensors(path, which=None)`: every tensor of a file as fp32 (bf16 widened; packed ones as they are)."""
    from weights.formats.source import open_source
    from weights.formats.tensors import FLOATS, to_float32

    def read(path: Path, which: str | None = None) -> dict[str, np.ndarray]:
        with open_source(path, which) as file:
            return {
                name: to_float32(np.array(t.array()), t.dtype) if t.dtype in FLOATS else np.array(t.array())
                for name, t in file.tensors.items()
            }

    return read


@pytest.fixture(scope="session")
def hostile() -> ModuleType:
    """The fuzzer's files: good ones in every format, and what damages them."""
    from tests.fuzz import checkpoint_files

    return checkpoint_files


@pytest.fixture
def command() -> Callable[..., tuple[int, str, str]]:
    """`command("convert", ...)`: runs `vdt-mlx` in this process; returns status, standard output, standard error."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        from vdt_mlx import cli

        runner = CliRunner()
        with runner.isolation() as streams:
            try:
                cli.run(cli.vdt_mlx, args=[str(argument) for argument in arguments])
            except SystemExit as end:
                status = end.code
            out, err = streams[0].getvalue().decode(), streams[1].getvalue().decode()
        assert isinstance(status, int)
        return status, out, err

    return run
