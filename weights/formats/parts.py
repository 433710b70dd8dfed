"""Which of a checkpoint's state dicts is taken, and what wrappers put before its names.

A trainer saves a network once, or also its moving average, under a name of its own, beside an optimizer; wrappers
(data parallel, compile, FSDP, Lightning, `ema_pytorch`) put prefixes before its names. Here every table of tensors in a
file is looked through for the names of a network or an autoencoder: averaged ones come first, for they sample better.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from vdt_mlx.errors import VDTError
from weights.formats.pickle_vm import Inert, Namespace
from weights.formats.tensors import StoredTensor

Tensors = dict[str, StoredTensor]
PLAIN = "plain"
"""What a part is called that lies in the file itself and has no prefix."""

VDT = ("x_embedder.proj.weight", "final_layer.linear.weight", "t_embedder.mlp.0.weight")
AUTOENCODER = (
    "first_stage_model.encoder.conv_in.weight",
    "first_stage_model.decoder.conv_in.weight",
    "encoder.conv_in.weight",
    "decoder.conv_in.weight",
    "encoder.layers.0.weight",
    "decoder.layers.0.weight",
)
"""Names by which a table is known for a network's or an autoencoder's, whatever stands before them."""
TABLES = ("pos_embed", "time_embed")
"""Fixed tables: not trained, so that averages often leave them out."""

_WRAPPER = re.compile(r"module|_[a-z0-9_]*mod(ule)?")
"""Attributes that wrappers add anywhere in a name: `module`, `_orig_mod`, `_fsdp_wrapped_module`, ..."""
_AVERAGE = re.compile(r"ema\d*|swa|avg|averaged?|averages|polyak|shadow|(model|net|g|params|weights)ema")
_BACKUP = re.compile(r"collected|backup|temp|online|raw")
_BOOKKEEPING = re.compile(r"(.*\.)?(n_averaged|initted|step|steps|global_step|num_updates|n_updates|decay|updates)")
_USUAL = ("model", "state_dict", "model_state_dict", "module")
_DEPTH = 6
_LONGEST_LIST, _LONGEST_KEY, _MOST_PARTS = 64, 200, 64
"""What a file may not exceed, lest looking through a hostile one takes for ever; what is longer is passed by."""


@dataclass
class Part:
    """A table of tensors in a checkpoint."""

    path: str
    """The keys that lead to it, joined by dots; empty for the whole file."""
    prefix: str
    """What was taken off its names."""
    tensors: Tensors
    averaged: bool = False
    left_out: list[str] = field(default_factory=list)
    """Tensors of the same table that belong to something else."""
    completed: list[str] = field(default_factory=list)
    """Fixed tables that it takes from the network that was trained, because the average leaves them out."""
    unreadable: dict[str, Inert] = field(default_factory=dict)
    """Tensors of kinds that cannot be read here."""

    wrappers: tuple[str, ...] = ()
    """What else was taken out of its names, wherever it stood in them."""

    @property
    def name(self) -> str:
        return ".".join(filter(None, (self.path, self.prefix.rstrip(".")))) or PLAIN


@dataclass(frozen=True)
class Choice:
    """The part that is taken, and what a user should know of how it was chosen."""

    tensors: Tensors
    part: str | None
    notes: tuple[str, ...] = ()


def choose(content: Any, which: str | None, source: str, anchors: Sequence[str] = VDT) -> Choice:
    """The state dict in what was saved: all of it, or one part of a training checkpoint.

    Args:
        content: what `torch.save` saved, or the table of a safetensors file.
        which: the part to take; by default averaged weights, else the only ones, else those under a usual name.
        anchors: `VDT` or `AUTOENCODER`, what is looked for. Where nothing bears such names, any table of tensors does.

    Raises:
        VDTError: there is none, no such part, or several and no way to tell.
    """
    if isinstance(content, Namespace):
        content = content.values
    if not isinstance(content, dict):
        raise VDTError(f"{source} holds no state dict but a {type(content).__name__}.")
    known = _known(content, source, anchors)
    part = _pick(known or _plain(content, source), which, source, anchors)
    if part.unreadable:
        name, kind = next(iter(part.unreadable.items()))
        raise VDTError(f"{source}: {name[:80]!a} is a tensor of the kind {kind}, which is not supported.")
    alone = sum(other.path == part.path for other in known) < 2
    return Choice(part.tensors, (part.path or None) if alone else part.name, tuple(_notes(part, known, anchors)))


def _pick(parts: list[Part], which: str | None, source: str, anchors: Sequence[str]) -> Part:
    if which is not None:
        for part in parts:
            if which and which in (part.name, part.path, part.prefix.rstrip(".")):
                return part
        if len(parts) == 1 and not parts[0].path:
            raise VDTError(f"{source} is one flat state dict, so there is no part {which!r} (drop `which`).")
        raise VDTError(f"{source} has no part {which!r}; it has: {_list([part.name for part in parts])}.")
    averaged = [part for part in parts if part.averaged]
    candidates = averaged or parts
    if len(candidates) == 1:
        return candidates[0]
    for usual in () if averaged else _USUAL:
        for part in candidates:
            if usual in (part.path, part.prefix.rstrip(".")):
                return part
    title = "several averaged parts" if averaged else "several parts"
    # `which` is about the network.
    way = "choose one with `which`" if anchors is VDT else "give the one that is meant in a file of its own"
    raise VDTError(f"{source} has {title}: {_list([part.name for part in candidates])}; {way}.")


def _notes(part: Part, known: list[Part], anchors: Sequence[str]) -> Iterator[str]:
    others = [other.name for other in known if other is not part]
    if others:
        averaged = " (averaged weights)" if part.averaged else ""
        other = "`which` chooses another" if anchors is VDT else "there are also"
        yield f"Takes the part {shown(part.name)}{averaged}; {other}: {_list(others)}."
    taken = [*([part.prefix] if part.prefix else []), *(f"{wrapper}." for wrapper in part.wrappers)]
    if taken:
        yield f"Takes off the names what wrappers put there: {_list([repr(text) for text in taken])}."
    if part.left_out:
        beginnings = sorted({name.split(".")[0] for name in part.left_out})
        yield f"Leaves out what is no part of it ({len(part.left_out)} of the file's tensors): {_list(beginnings)}."
    if part.completed:
        yield f"The averaged weights lack {_list(part.completed)}, which are fixed: taken from the trained ones."


# --- finding the parts


def _known(content: dict[Any, Any], source: str, anchors: Sequence[str]) -> list[Part]:
    """Every part that bears the names of what is looked for, averages in lists and dotless names included."""
    tables = list(_tables(content))
    parts = [part for path, table in tables if type(table) is dict for part in _groups(path, table, source, anchors)]
    raw = [part for part in parts if not part.averaged]
    for path, table in tables:
        if raw and isinstance(table, dict):
            parts += _dotless(path, table, raw[0])
        elif raw and _is_average(path):
            parts += _listed(path, list(table), raw)
    for part in parts:
        if part.averaged and raw:
            part.completed = [n for n in TABLES if n not in part.tensors and n in raw[0].tensors]
            part.tensors.update({name: raw[0].tensors[name] for name in part.completed})
    return parts


def _tables(content: Any) -> Iterator[tuple[str, Any]]:
    """Every dictionary, and every list of tensors, with the keys that lead to it."""
    seen: set[int] = set()
    queue: list[tuple[tuple[str, ...], Any]] = [((), content)]
    for path, value in queue:
        value = value.values if isinstance(value, Namespace) else value
        if not isinstance(value, dict | list | tuple) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            if any(isinstance(item, StoredTensor | Inert) for item in value.values()):
                yield ".".join(path), value
            items = [(k, item) for k, item in value.items() if isinstance(k, str) and len(k) <= _LONGEST_KEY]
        elif value and all(isinstance(item, StoredTensor) for item in value):
            yield ".".join(path), value
            continue
        else:
            items = [(str(index), item) for index, item in enumerate(value[:_LONGEST_LIST])]
        if len(path) < _DEPTH:
            queue += [((*path, key), item) for key, item in items if isinstance(item, dict | list | tuple | Namespace)]


def _plain(content: dict[Any, Any], source: str) -> list[Part]:
    """Tables of tensors under whatever names: the file itself, or what lies directly in it."""
    flat = _named(content)
    if flat:
        others = [key for key, value in content.items() if not isinstance(value, StoredTensor | Inert)]
        if others:
            raise VDTError(f"{source} mixes tensors with other things in one table: {_list(others)}.")
        return [Part("", "", _unwrapped(flat, source)[0])]
    parts = [
        Part(key, "", _unwrapped(named, source)[0], _is_average(key))
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, dict) and (named := _named(value))
    ]
    if not parts:
        raise VDTError(f"{source} holds no table of tensors.")
    return parts


def _groups(path: str, table: dict[Any, Any], source: str, anchors: Sequence[str]) -> list[Part]:
    """The parts of one table: names that end in an anchor tell the prefixes."""
    named, wrappers = _unwrapped(_named(table), source)
    prefixes: dict[str, None] = {}
    for name in named:
        found = next((anchor for anchor in anchors if name == anchor or name.endswith(f".{anchor}")), None)
        if found is not None:
            prefixes[name.removesuffix(found)] = None
    if not prefixes:
        return []
    if len(prefixes) > _MOST_PARTS:
        raise VDTError(f"{source} holds {len(prefixes)} networks in one table, more than any trainer saves.")

    def owner(name: str) -> str | None:
        return max((prefix for prefix in prefixes if name.startswith(prefix)), key=len, default=None)

    owners = {name: owner(name) for name in named}
    inert = {k: v for k, v in table.items() if isinstance(k, str) and isinstance(v, Inert) and v.tensor}
    parts = []
    for prefix in prefixes:
        part = Part(path, prefix, {}, wrappers=wrappers)
        for name, tensor in named.items():
            bare = name.removeprefix(prefix)
            books = tensor.size == 1 and _BOOKKEEPING.fullmatch(bare)
            if owners[name] == prefix and not books:
                part.tensors[bare] = tensor
            elif owners[name] in (prefix, None):
                part.left_out.append(name)
        part.averaged = _is_average(part.name) or any(n.rpartition(".")[2] == "n_averaged" for n in part.left_out)
        part.unreadable = {name: value for name, value in inert.items() if owner(name) == prefix}
        parts.append(part)
    return parts


def _dotless(path: str, table: dict[Any, Any], raw: Part) -> list[Part]:
    """LDM's averages: a prefix, then the names without their dots."""
    anchor = VDT[0].replace(".", "")
    named = _named(table)
    prefixes = [name.removesuffix(anchor) for name in named if name.endswith(anchor)][:_MOST_PARTS]
    if not prefixes:
        return []
    names = {name.replace(".", ""): name for name in raw.tensors}
    parts = []
    for prefix in prefixes:
        found = {
            names[bare]: tensor
            for name, tensor in named.items()
            if name.startswith(prefix) and (bare := name.removeprefix(prefix)) in names
        }
        parts.append(Part(path, prefix, found, averaged=True))
    for part in parts:
        raw.left_out = [name for name in raw.left_out if not name.startswith(part.prefix)]
    return parts


def _listed(path: str, tensors: list[StoredTensor], raw: list[Part]) -> list[Part]:
    """An average that is a bare list, in the order of the parameters: of the network whose sizes it has."""
    for part in raw:
        for names in (list(part.tensors), [name for name in part.tensors if name not in TABLES]):
            if [tensor.shape for tensor in tensors] == [part.tensors[name].shape for name in names]:
                return [Part(path, "", dict(zip(names, tensors, strict=True)), averaged=True)]
    return []


def _named(table: dict[Any, Any]) -> Tensors:
    return {k: v for k, v in table.items() if isinstance(k, str) and isinstance(v, StoredTensor)}


def _unwrapped(tensors: Tensors, source: str) -> tuple[Tensors, tuple[str, ...]]:
    """Names without what wrappers put into them, anywhere; and what that was."""
    plain: Tensors = {}
    taken: dict[str, None] = {}
    for name, tensor in tensors.items():
        words = name.split(".")
        taken.update({word: None for word in words if _WRAPPER.fullmatch(word)})
        if (bare := ".".join(word for word in words if word not in taken)) in plain:
            raise VDTError(f"{source} holds {bare[:80]!a} twice, under two prefixes.")
        plain[bare] = tensor
    return plain, tuple(taken)


def _is_average(path: str) -> bool:
    """Whether one of the words of a path says that what it leads to is an average (`model_ema`, `ema.shadow`, ...)."""
    words = [w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+\d*|\d+", path)]
    return any(map(_AVERAGE.fullmatch, words)) and not any(map(_BACKUP.fullmatch, words))


def shown(text: str) -> str:
    """Text of a file, safe on a terminal and short."""
    return text[:60] if text.isascii() and text.isprintable() else ascii(text[:60])[1:-1]


def _list(names: Sequence[Any]) -> str:
    return (", ".join(shown(str(name)) for name in names[:8]) + (", ..." if len(names) > 8 else "")) or "none"
