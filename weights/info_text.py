"""`vdt-mlx info` for a person to read: at most 25 lines, or everything."""

import json
from collections.abc import Iterator
from typing import Any

from vdt_mlx.config import VDTConfig
from vdt_mlx.errors import harmless

SWITCHES = ("conditioning", "attention", "position")
"""What a network of ours may have unlike the official one, whose kinds are the defaults of the configuration."""
_WIDTH = 100


def lines(about: dict[str, Any], verbose: bool = False) -> list[str]:
    """What `weights.info.about` found, as lines; the short form ends by saying where the rest is."""
    found = [f"{about['path']}: {about['kind']}", *_told(about)]
    if verbose:
        found += _details(about)
    else:
        found += _next(about)
    return [harmless(line) for line in found]


def _next(about: dict[str, Any]) -> Iterator[str]:
    """What to do with it, and where the rest is."""
    path = json.dumps(about["path"])[1:-1]
    path = f"'{path}'" if " " in path else path
    if about["kind"].startswith("VDT checkpoint to convert"):
        yield f"Next: vdt-mlx convert {path} my-model --autoencoder ..."
    elif about["kind"].startswith("autoencoder to convert"):
        yield f"Next: vdt-mlx convert CHECKPOINT my-model --autoencoder {path}"
    elif about["kind"] == "checkpoint folder" and about.get("autoencoder"):
        yield f"Next: vdt-mlx sample --model {path}"
    elif about["kind"] == "training run":
        yield f"Next: vdt-mlx sample --model {path}" if about["checkpoint"] else "Next: let it train on"
    elif about["kind"].startswith("data set"):
        yield f"Next: vdt-mlx train vdt --set data.source=folder --set data.path={path} --out my-run"
    if any(True for _ in _details(about)):
        yield "All of it: --verbose"


def _row(title: str, value: Any) -> str:
    text = str(value)
    return f"  {title:<22} {text if len(text) <= _WIDTH else text[: _WIDTH - 3] + '...'}"


def _told(about: dict[str, Any]) -> Iterator[str]:
    """The short form."""
    for told in (_data_set, _run, _state, _network):
        yield from told(about)
    if about.get("dtype"):
        yield _row("stored as", ", ".join(about["dtype"]) + _quantized(about))
    for key in ("autoencoder", "tiny_autoencoder"):
        part = about.get(key)
        if part is not None:
            widths, back = part["block_out_channels"], part["decoder_block_out_channels"]
            other = f", of the decoder {back}" if back != widths else ""
            count = part["parameters"]["total"]
            yield _row(key.replace("_", " "), f"{part['kind']}, widths {widths}{other}; {count:,} parameters")
        elif key == "autoencoder" and about["kind"] == "checkpoint folder":
            yield _row("autoencoder", "none (sampling needs one)")
    if about.get("memory"):
        parts = "; ".join(f"{name} {count / 2**20:,.0f}" for name, count in about["memory"].items())
        yield _row("memory for a clip, MB", parts)
    files = about.get("files") or {}
    if files:
        shown = ", ".join(f"{name} {size / 1e6:,.1f} MB" for name, size in list(files.items())[:2])
        yield _row("files", shown + (f", and {len(files) - 2} more" if len(files) > 2 else ""))
    if about.get("sha256"):
        yield _row("SHA-256" if len(files) < 2 else "SHA-256 of the first", about["sha256"])
    yield from _origin(about)


def _network(about: dict[str, Any]) -> Iterator[str]:
    vdt = about.get("vdt")
    if vdt is None:
        return
    if about.get("part"):
        yield _row("part", about["part"])
    for note in about.get("notes", ()):
        yield f"  {note}"
    heads = vdt["num_heads"] if vdt["num_heads"] is not None else "not in the file: convert it with --num-heads"
    variance = "learned" if vdt["learn_sigma"] else "fixed"
    height, width = vdt["latent_size"]
    yield _row("hidden size, depth", f"{vdt['hidden_size']}, {vdt['depth']}")
    yield _row("heads", heads)
    yield _row("patch, MLP ratio", f"{vdt['patch_size']}, {vdt['mlp_ratio']:g}")
    yield _row("frames", vdt["num_frames"])
    pixels = f" ({about['pixels'][0]} x {about['pixels'][1]} pixels)" if about.get("pixels") else ""
    yield _row("latents", f"{height} x {width} x {vdt['in_channels']}{pixels}")
    others = [f"{key} {vdt[key]}" for key in SWITCHES if vdt.get(key) != getattr(VDTConfig, key)]
    if others:
        yield _row("unlike the official", ", ".join(others))
    diffusion = about["diffusion"]
    yield _row("predicts", f"{diffusion['prediction']} ({diffusion['schedule']} schedule, variance {variance})")
    yield _row("sampled by default", f"{diffusion['sampler']}, {diffusion['steps']} steps")
    yield _row("parameters", f"{about['parameters']['total']:,}")
    yield _row("GFLOP a network call", f"{about['gflops']:,.2f}")


def _data_set(about: dict[str, Any]) -> Iterator[str]:
    said = about.get("data_set")
    if said is None:
        return
    names = said.get("scenarios", [])
    yield _row("clips", f"{said.get('clips')} of {said.get('frames')} frames, {said.get('size')} pixels")
    yield _row("scenarios", ", ".join(map(str, names)) if isinstance(names, list) else names)
    yield _row("split, seed", f"{said.get('split', 'not said')}, {said.get('seed', 'not said')}")
    for key in ("start", "given", "world", "contacts", "fingerprint"):
        if key in said:
            yield _row(key, said[key])
    if about["missing"]:
        yield _row("missing files", ", ".join(about["missing"]))


def _run(about: dict[str, Any]) -> Iterator[str]:
    said = about.get("run")
    if said is None:
        return
    yield _row("trains", f"{said['trains']}, configuration {said['configuration']}")
    yield _row("steps", f"{said['done']} of {said['steps']}")
    if said["loss"] is not None:
        yield _row("last loss", said["loss"])
    if isinstance(said["preview"], dict):
        yield _row("last preview", ", ".join(f"{k} {v}" for k, v in said["preview"].items() if not isinstance(v, dict)))
    yield _row("states", ", ".join(said["states"]) or "none yet")
    inner = about.get("checkpoint")
    if inner is None:
        yield _row("checkpoint", "none yet")
    else:
        yield _row("checkpoint", inner["path"])
        yield from (line for line in _network(inner))


def _state(about: dict[str, Any]) -> Iterator[str]:
    said = about.get("state")
    if said is not None:
        yield _row("step", said["step"])
        for group, count in list(said["numbers"].items())[:10]:
            yield _row(f"numbers of {group}", f"{count:,}")


def _origin(about: dict[str, Any]) -> Iterator[str]:
    """Where it came from and how it was trained, in a line or two."""
    came = about.get("provenance")
    if isinstance(came, dict):
        yield _row("came from", ", ".join(str(came[key]) for key in ("source", "part", "date") if came.get(key)))
        if came.get("sha256"):
            yield _row("SHA-256 of that", came["sha256"])
    trained = about.get("training")
    if isinstance(trained, dict):
        shown = [f"{trained[key]} {key}" for key in ("steps", "hours") if key in trained]
        splits = trained.get("splits")
        if isinstance(splits, dict) and "train" in splits:
            shown.append(f"split {splits['train']}")
        yield _row("trained", ", ".join(map(str, (*shown, *filter(None, [trained.get("machine")])))) or "see --verbose")


def _details(about: dict[str, Any]) -> Iterator[str]:
    """What the short form leaves out."""
    inner = about.get("checkpoint")
    if isinstance(inner, dict):
        yield from _details(inner)
    if about.get("parameters"):
        yield "  parameters"
        for part, count in about["parameters"].items():
            yield f"    {part:<20} {count:>15,}"
    for key in ("autoencoder", "tiny_autoencoder"):
        if about.get(key):
            yield f"  {key.replace('_', ' ')}"
            for half, count in about[key]["parameters"].items():
                yield f"    {half:<20} {count:>15,}"
    if about.get("memory"):
        yield "  memory for one default clip, about (network in fp32, decoding on a CPU)"
        for name, count in about["memory"].items():
            yield f"    {name:<20} {count / 2**20:>12,.1f} MB"
    if len(about.get("files") or {}) > 2 or about.get("parameters"):
        yield "  files"
        for name, count in about["files"].items():
            yield f"    {name:<28} {count:>15,} bytes"
    if len(about.get("checksums") or {}) > 1:
        yield "  SHA-256"
        for name, digest in about["checksums"].items():
            yield f"    {name} {digest}"
    for key in ("provenance", "training"):
        if about.get(key):
            yield f"  {'came from' if key == 'provenance' else 'training'}"
            yield from _tree(about[key], 4)


def _quantized(about: dict[str, Any]) -> str:
    said = about.get("quantization")
    return f" (linear layers in {said['bits']} bits, groups of {said['group_size']})" if said else ""


def _tree(table: dict[str, Any], indent: int) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield " " * indent + f"{key}:"
            yield from _tree(value, indent + 2)
        else:
            text = json.dumps(value) if isinstance(value, list) else str(value)
            yield " " * indent + f"{key}: {text if len(text) <= _WIDTH else text[: _WIDTH - 3] + '...'}"
