"""What MLX's Metal backend has: tests/metal/metal.json, made from a release's kernels and its source.

    python tests/metal/make_table.py WHEEL SOURCE

WHEEL is the release's `mlx_metal-*.whl` for macOS, whose `mlx.metallib` holds the compiled kernels:

    pip download mlx-metal --platform macosx_14_0_arm64 --only-binary=:all: --no-deps

SOURCE is a clone of github.com/ml-explore/mlx (bare or not), which tells what needs no kernel, what is compiled at run
time, what only throws, and the head sizes of fused attention. A clone may be a little older than the wheel; both
versions are written down.
"""

import argparse
import json
import re
import subprocess
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent / "metal.json"

DTYPES = (
    *("bool_", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "bfloat16", "complex64"),
)
"""The types that Metal has names for: all of MLX's but float64."""

# primitive: the start of its kernels' names, up to the (first) dtype
FAMILIES = {
    "AddMM": "steel_gemm_fused_nt_",
    "Arange": "arange",
    "ArgPartition": "carg_block_sort_",
    "ArgReduce": "argmax_",
    "ArgSort": "carg_block_sort_",
    "AsType": "v_copy",
    "BitwiseBinary": "vv_BitwiseAnd",
    "Convolution": "naive_unfold_nd_",
    "LayerNorm": "layer_norm",
    "LayerNormVJP": "vjp_layer_norm",
    "LogSumExp": "block_logsumexp_",
    "Matmul": "steel_gemm_fused_nt_",
    "Partition": "partition_mbsort_",
    "RMSNorm": "rms",
    "RMSNormVJP": "vjp_rms",
    "ScaledDotProductAttention": "steel_attention_",
    "Scan": "contig_scan_inclusive_sum_",
    "SearchSorted": "searchsorted_",
    "Select": "v_Select",
    "Softmax": "block_softmax_",
    "Sort": "sort_mbsort_",
}
ANY = "any"
"""What moves numbers without a look at them, or is compiled at run time, for every dtype that Metal has."""


def kernel_names(library: bytes) -> set[str]:
    """The functions of a metallib: each is listed as NAME, two bytes of length, and a zero-ended string."""
    found = re.finditer(rb"NAME(..)([ -~]+)\0", library, re.DOTALL)
    return {m[2].decode() for m in found if int.from_bytes(m[1], "little") == len(m[2]) + 1}


def dtypes_after(names: Iterable[str], start: str) -> list[str]:
    """The dtypes that follow `start` in the names of kernels."""
    pattern = re.compile(
        re.escape(start) + "(" + "|".join(sorted(DTYPES, key=len, reverse=True)) + ")(?![a-zA-Z]*_loop)"
    )
    found = {match[1] for name in names if (match := pattern.match(name))}
    return [dtype for dtype in DTYPES if dtype in found]


def source_text(repository: Path, revision: str = "HEAD") -> dict[str, str]:
    """The backend's C++ files by path."""
    git = ["git", "-C", str(repository)]
    where = ["mlx/backend/metal", "mlx/backend/gpu", "mlx/version.h"]
    listed = subprocess.run(
        [*git, "ls-tree", "-r", "--name-only", revision, *where], check=True, capture_output=True, text=True
    )
    paths = [p for p in listed.stdout.split() if p.endswith((".cpp", "version.h")) and "/kernels/" not in p]
    return {
        path: subprocess.run([*git, "show", f"{revision}:{path}"], check=True, capture_output=True, text=True).stdout
        for path in paths
    }


def primitives_in(source: dict[str, str]) -> tuple[set[str], set[str]]:
    """The primitives with an `eval_gpu` of their own, and those whose `eval_gpu` does nothing but throw."""
    there, thrown = set(), set()
    for text in source.values():
        there |= set(re.findall(r"^(?:UNARY|BINARY)_GPU(?:_MULTI)?\((\w+)\)", text, re.MULTILINE))
        for match in re.finditer(
            r"^void (?:fast::)?(\w+)::eval_gpu\(([^{]*)\{(.*?)^\}", text, re.MULTILINE | re.DOTALL
        ):
            there.add(match[1])
            if re.match(r"\s*throw ", match[3]):
                thrown.add(match[1])
    return there, thrown


def head_sizes(source: dict[str, str]) -> dict[str, list[int]]:
    """Head sizes of the fused attention for more than 8 queries, and for 8 or fewer, as the source lists them."""
    text = source["mlx/backend/metal/scaled_dot_product_attention.cpp"]
    lists = re.findall(r"supports head dims \"\s*<< \"\{([\d, ]+)\}", text)
    full, few = ([int(size) for size in found.split(",")] for found in lists[:2])
    return {"full": full, "vector": few}


def make(wheel: Path, repository: Path) -> dict[str, Any]:
    """The table."""
    with zipfile.ZipFile(wheel) as archive:
        library = next(name for name in archive.namelist() if name.endswith("mlx.metallib"))
        names = kernel_names(archive.read(library))
    source = source_text(repository)
    there, thrown = primitives_in(source)
    primitives: dict[str, Any] = {}
    for name in sorted(there):
        starts = [FAMILIES[name]] if name in FAMILIES else [f"v_{name}", f"vv_{name}"]
        dtypes = next((found for start in starts if (found := dtypes_after(names, start))), None)
        primitives[name] = [] if name in thrown else dtypes or list(DTYPES)
    del primitives["Compiled"]
    for kernel in ("Rsqrt", "Log2", "Log10"):
        primitives[kernel] = dtypes_after(names, f"v_{kernel}")
    for operation in ("and", "or", "sum", "prod", "min", "max"):
        primitives[f"Reduce {operation}"] = dtypes_after(names, f"init_reduce_{operation}")
    eight_bytes = {"int64", "uint64", "complex64"}
    for name in ("Scatter", "ScatterAxis"):
        assert "Does not support" in source["mlx/backend/metal/indexing.cpp"]
        primitives[name] = [dtype for dtype in DTYPES if dtype not in eight_bytes]
    packed = {m.groups() for n in names if (m := re.match(r"affine_qmm_t_(\w+?)(?:_t)?_gs_(\d+)_b_(\d+)_", n))}
    kinds = {kind.replace("float", "float32") if kind == "float" else kind for kind, _, _ in packed}
    primitives["QuantizedMatmul"] = [dtype for dtype in DTYPES if dtype in kinds]
    version = re.search(r"mlx_metal-([\d.]+)-", wheel.name)
    numbers = re.findall(r"#define MLX_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", source["mlx/version.h"])
    commit = subprocess.run(["git", "-C", str(repository), "rev-parse", "HEAD"], capture_output=True, text=True)
    return {
        "mlx": version[1] if version else None,
        "source": {"version": ".".join(numbers), "commit": commit.stdout.strip()},
        "kernels": len(names),
        "dtypes": list(DTYPES),
        "attention": {**head_sizes(source), "dtypes": dtypes_after(names, "steel_attention_")},
        "quantized": {
            "bits": sorted({int(bits) for _, _, bits in packed}),
            "group_sizes": sorted({int(group) for _, group, _ in packed}),
        },
        "primitives": {name: ANY if set(found) == set(DTYPES) else found for name, found in primitives.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("source", type=Path)
    chosen = parser.parse_args()
    table = make(chosen.wheel, chosen.source)
    body = json.dumps(table, indent=1)
    body = re.sub(r"\[\n\s+([^\[\]{}]*?)\n\s+\]", lambda m: "[" + re.sub(r"\s*\n\s*", " ", m[1]) + "]", body)
    TABLE.write_text(body + "\n", encoding="utf-8")
    print(f"wrote {TABLE}: {len(table['primitives'])} primitives, {table['kernels']} kernels, MLX {table['mlx']}")


if __name__ == "__main__":
    main()
