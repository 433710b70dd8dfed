"""A pickle machine that can build a checkpoint and nothing else.

A pickle is a program: the stock machine imports any module and calls any function that the file names. This one
knows the opcodes that `torch.save` writes, and the short list `ALLOWED` of names, each of which it *interprets*:
nothing is ever imported or called on behalf of a file. Everything else is refused by its name. Work and memory are
bounded: by the size of the pickle, by the number of opcodes, and because no opcode kept here costs more than what it
consumes from the file or the stack (so no opcode may copy or hash a container: that is how a small file grows).
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from vdt_mlx.errors import VDTError
from weights.formats.tensors import STORAGE_TYPES, Storage, StoredTensor

MAX_BYTES = 16 * 2**20
"""Largest pickle; that of a VDT-L/2 training checkpoint, optimizer included, is below 1 MB."""
MAX_OPCODES = 1_000_000
MAX_KEY = 2**60
"""Whole-number keys stay below this: larger ones can be chosen to collide in a dictionary."""
MAX_DIMENSIONS = 8


def resave(source: str) -> str:
    """What to do with a file that cannot be read here: the end of a sentence."""
    return (
        "re-save only the weights, on a machine with PyTorch that may trust the file: "
        f"torch.save(torch.load({source!a}, weights_only=False, map_location='cpu')['model'], 'new.pt'), with the key "
        "of the weights in place of 'model' (or .state_dict() in place of ['model'], where a whole model was saved)"
    )


def resave_script(source: str) -> str:
    """The same for a TorchScript program."""
    return (
        f"{source} is a TorchScript program, not a checkpoint; re-save only the weights, on a machine with PyTorch "
        f"that may trust it: torch.save(torch.jit.load({source!a}, map_location='cpu').state_dict(), 'new.pt')."
    )


@dataclass(frozen=True)
class Name:
    """One of the names that a file may use; a token, not the thing."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass
class Namespace:
    """What stands in for argparse.Namespace: its attributes, inert."""

    values: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Inert:
    """What stands in for a value that no converter needs: a device, a type, a numpy scalar, an unreadable tensor."""

    kind: str
    tensor: bool = False


ORDERED_DICT = Name("collections", "OrderedDict")
REBUILD_TENSOR = Name("torch._utils", "_rebuild_tensor_v2")
REBUILD_PARAMETER = Name("torch._utils", "_rebuild_parameter")
REBUILD_WITH_STATE = Name("torch._utils", "_rebuild_parameter_with_state")
NAMESPACE = Name("argparse", "Namespace")
SIZE = Name("torch", "Size")
COUNTER = Name("collections", "Counter")
OTHER_STORAGES = (
    Name("torch.storage", "UntypedStorage"),
    Name("torch", "ComplexFloatStorage"),
    Name("torch", "ComplexDoubleStorage"),
    *(Name("torch", f"{kind}Storage") for kind in ("QInt8", "QInt32", "QUInt8", "QUInt2x4", "QUInt4x2")),
)
"""Storages of elements that are not read here."""
OTHER_TENSORS = tuple(
    Name("torch._utils", f"_rebuild_{kind}")
    for kind in ("tensor_v3", "qtensor", "sparse_tensor", "meta_tensor_no_storage", "nested_tensor")
)
_BUILTINS = ("set", "frozenset", "complex", "bytearray")
INERT = (
    Name("torch", "device"),
    Name("torch.serialization", "_get_layout"),
    Name("_codecs", "encode"),
    *(
        Name(module, kind)
        for module in ("builtins", "__builtin__")
        for kind in ("set", "frozenset", "complex", "bytearray")
    ),
    Name("numpy", "dtype"),
    *(Name(f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
)
"""What may be called with anything, and gives nothing but a mark of itself."""
_NUMBERS = (
    *(f"float{bits}" for bits in ("16", "32", "64", "8_e4m3fn", "8_e4m3fnuz", "8_e5m2", "8_e5m2fnuz", "8_e8m0fnu")),
    *("bfloat16", "float4_e2m1fn_x2", "bool", "complex32", "complex64", "complex128"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (*range(1, 9), 16, 32, 64)),
    *("qint8", "qint32", "quint8", "quint2x4", "quint4x2", "bits16", "bits1x8", "bits2x4", "bits4x2", "bits8"),
    *("per_tensor_affine", "per_tensor_symmetric", "per_channel_affine", "per_channel_symmetric"),
    "per_channel_affine_float_qparams",
)
"""torch's types of elements and schemes of quantization, which are named and never called."""
ALLOWED = {
    (name.module, name.name): name
    for name in (
        *(ORDERED_DICT, REBUILD_TENSOR, REBUILD_PARAMETER, REBUILD_WITH_STATE, NAMESPACE, SIZE, COUNTER),
        *(Name("torch", storage) for storage in STORAGE_TYPES),
        *(*OTHER_STORAGES, *OTHER_TENSORS, *INERT),
        *(Name("torch", kind) for kind in _NUMBERS),
    )
}

PersistentLoad = Callable[[tuple[Any, ...], Name], Storage]
"""Given the persistent id ('storage', type, key, location, numel, ...) and its type, finds the storage."""


def load(data: bytes, source: str, persistent_load: PersistentLoad, start: int = 0) -> tuple[Any, int]:
    """Interprets the pickle that begins at `start`; returns what it builds and where it ends.

    The result is made of dicts (for OrderedDict and Counter too), lists (for sets too), tuples, scalars,
    `StoredTensor`, `Namespace` and `Inert`. Raises VDTError, with `source` in its sentence, for whatever is not allowed
    or not well formed.
    """
    machine = _Machine(data, source, persistent_load, start)
    try:
        content = machine.run()
    except (IndexError, struct.error):
        machine.fail("is cut short or damaged")
    except UnicodeDecodeError:
        machine.fail("holds text that is not UTF-8")
    return content, machine.position


class _Machine:
    def __init__(self, data: bytes, source: str, persistent_load: PersistentLoad, start: int):
        self.data = data
        self.source = source
        self.persistent_load = persistent_load
        self.position = start
        self.limit = start + MAX_BYTES
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def fail(self, fault: str) -> NoReturn:
        raise VDTError(f"{self.source}: its pickle {fault} (at byte {self.position}).")

    def run(self) -> Any:
        data, operations = self.data, _OPERATIONS
        for _ in range(MAX_OPCODES):
            opcode = data[self.position]
            self.position += 1
            if opcode == 0x2E:  # STOP
                return self.pop()
            operation = operations.get(opcode)
            if operation is None:
                self.refuse(opcode)
            operation(self)
            if self.position > self.limit:
                self.fail(f"is larger than {MAX_BYTES // 2**20} MB, so it is not a checkpoint's")
        return self.fail(f"takes more than {MAX_OPCODES:,} steps, so it is not a checkpoint's")

    def refuse(self, opcode: int) -> NoReturn:
        if opcode == 0x69:  # INST: a call by name, older than torch
            self.find(self.line(), self.line())
        title = _REFUSED.get(opcode)
        if title is None:
            self.fail(f"has the byte 0x{opcode:02x} where an instruction should be")
        self.fail(f"uses the instruction {title}, which no PyTorch checkpoint needs; nothing of it was run")

    # --- reading

    def take(self, count: int) -> bytes:
        start = self.position
        self.position = start + count
        if self.position > len(self.data):
            raise IndexError
        return self.data[start : self.position]

    def unsigned(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + 512)
        if end < 0:
            raise IndexError
        text = self.data[self.position : end].decode("utf-8")
        self.position = end + 1
        return text

    def text(self, size_bytes: int) -> None:
        self.stack.append(self.take(self.unsigned(size_bytes)).decode("utf-8", "surrogatepass"))

    # --- the stack

    def pop(self) -> Any:
        # Never below the last mark: what a mark guards belongs to the opcode that will take it.
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            self.fail("takes more from its stack than it put there")
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_mark(self) -> list[Any]:
        if not self.marks:
            self.fail("takes more from its stack than it put there")
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    # --- building

    def find(self, module: str, name: str) -> Name:
        found = ALLOWED.get((module, name))
        if found is None:
            raise VDTError(
                f"{self.source} names {_shown(f'{module}.{name}')}, which is not among the few things that a "
                f"checkpoint may hold; nothing of it was run; {resave(self.source)}."
            )
        return found

    def call(self, name: Any, args: Any) -> Any:
        if not isinstance(name, Name) or not isinstance(args, tuple):
            self.fail("calls something that is not a function")
        if name in (ORDERED_DICT, NAMESPACE) and args == ():
            return {} if name is ORDERED_DICT else Namespace()
        if name in (SIZE, COUNTER) and len(args) == 1 and type(args[0]) is (tuple if name is SIZE else dict):
            return args[0]
        if name in (REBUILD_PARAMETER, REBUILD_WITH_STATE) and len(args) in (3, 4) and _is_tensor(args[0]):
            return args[0]
        if name is REBUILD_TENSOR and len(args) in (6, 7):
            return args[0] if isinstance(args[0], Inert) else self.tensor(*args[:4])
        if name in OTHER_TENSORS:
            numbers = next((arg for arg in args if isinstance(arg, Name)), name)
            return Inert(str(numbers), tensor=True)
        if name in INERT:
            return Inert(str(name))
        return self.fail(f"calls {name} in a way that torch.save does not")

    def tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> StoredTensor:
        if not (isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)):
            self.fail("describes a tensor that makes no sense")
        if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS:
            self.fail(f"describes a tensor of {len(shape)} sizes and {len(strides)} strides")
        if any(type(value) is not int or value < 0 for value in (offset, *shape, *strides)):
            self.fail("describes a tensor with sizes that are not whole numbers")
        tensor = StoredTensor(storage, offset, shape, strides)
        problem = tensor.problem()
        if problem:
            self.fail(f"describes a tensor that does not fit its storage: {problem}")
        return tensor

    def set_items(self, target: Any, items: list[Any]) -> None:
        if type(target) is not dict or len(items) % 2:
            self.fail("stores items in something that is not a dictionary")
        for index in range(0, len(items), 2):
            key = items[index]
            # Scalars only: hashing a nested tuple can cost (or recurse) without bound.
            if not (type(key) is str or (isinstance(key, int) and abs(key) < MAX_KEY)):
                self.fail(f"has a dictionary key of type {type(key).__name__}")
            target[key] = items[index + 1]

    # --- opcodes that take more than a line

    def op_protocol(self) -> None:
        version = self.unsigned(1)
        if version > 5:
            self.fail(f"has protocol {version}, which does not exist")

    def op_long(self) -> None:
        size = self.unsigned(1)
        if size > 16:
            self.fail(f"holds a whole number of {size} bytes")
        self.stack.append(int.from_bytes(self.take(size), "little", signed=True))

    def op_get(self, size: int) -> None:
        index = self.unsigned(size)
        if index not in self.memo:
            self.fail(f"refers to the entry {index} of its memo, which is not there")
        self.stack.append(self.memo[index])

    def op_put(self, size: int) -> None:
        self.memo[self.unsigned(size)] = self.top()

    def op_memoize(self) -> None:
        self.memo[len(self.memo)] = self.top()

    def op_tuple(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(items)))

    def op_append(self) -> None:
        self.extend([self.pop()])

    def extend(self, items: list[Any]) -> None:
        target = self.top()
        if type(target) is not list:
            self.fail("appends to something that is not a list")
        target.extend(items)

    def op_set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items(self.top(), [key, value])

    def op_set_items(self) -> None:
        items = self.pop_mark()
        self.set_items(self.top(), items)

    def op_dict(self) -> None:
        items = self.pop_mark()
        target: dict[Any, Any] = {}
        self.set_items(target, items)
        self.stack.append(target)

    def op_pop(self) -> None:
        if self.marks and len(self.stack) == self.marks[-1]:
            self.marks.pop()
        else:
            self.pop()

    def op_stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            self.fail("names something by what is not text")
        self.stack.append(self.find(module, name))

    def op_call(self) -> None:
        args, name = self.pop(), self.pop()
        self.stack.append(self.call(name, args))

    def op_build(self) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Namespace) and type(state) is dict:
            target.values = state
        elif not ((type(target) is dict and type(state) is dict) or isinstance(target, Inert)):
            # An OrderedDict's attributes are `_metadata`.
            self.fail("sets the state of something that has none")

    def op_persistent(self) -> None:
        identity = self.pop()
        if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
            self.fail("refers to something outside of it that is not a storage")
        kind = identity[1]
        if kind in OTHER_STORAGES:
            self.stack.append(Inert(kind.name, tensor=True))
        elif isinstance(kind, Name) and kind.name in STORAGE_TYPES:
            self.stack.append(self.persistent_load(identity, kind))
        else:
            self.fail("refers to a storage of an unknown type")


def _push(value: Any) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(value)


def _push_unsigned(size: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(machine.unsigned(size))


def _push_list(machine: _Machine) -> None:
    machine.stack.append([])


_OPERATIONS: dict[int, Callable[[_Machine], Any]] = {
    0x80: _Machine.op_protocol,
    0x95: lambda m: m.take(8),  # FRAME: a hint for readers of streams
    ord("("): lambda m: m.marks.append(len(m.stack)),
    ord("0"): _Machine.op_pop,
    ord("1"): _Machine.pop_mark,
    ord("2"): lambda m: m.stack.append(m.top()),
    ord("N"): _push(None),
    0x88: _push(True),
    0x89: _push(False),
    ord("K"): _push_unsigned(1),
    ord("M"): _push_unsigned(2),
    ord("J"): lambda m: m.stack.append(int.from_bytes(m.take(4), "little", signed=True)),
    0x8A: _Machine.op_long,
    ord("G"): lambda m: m.stack.append(struct.unpack(">d", m.take(8))[0]),
    ord("X"): lambda m: m.text(4),
    0x8C: lambda m: m.text(1),
    0x8D: lambda m: m.text(8),
    ord("T"): lambda m: m.text(4),  # text of Python 2
    ord("U"): lambda m: m.text(1),
    ord("B"): lambda m: m.stack.append(m.take(m.unsigned(4))),
    ord("C"): lambda m: m.stack.append(m.take(m.unsigned(1))),
    0x8E: lambda m: m.stack.append(m.take(m.unsigned(8))),
    0x96: lambda m: m.stack.append(m.take(m.unsigned(8))),  # a bytearray
    ord("}"): lambda m: m.stack.append({}),
    ord("]"): lambda m: m.stack.append([]),
    ord(")"): _push(()),
    ord("t"): lambda m: m.stack.append(tuple(m.pop_mark())),
    0x85: lambda m: m.op_tuple(1),
    0x86: lambda m: m.op_tuple(2),
    0x87: lambda m: m.op_tuple(3),
    ord("l"): lambda m: m.stack.append(m.pop_mark()),
    ord("d"): _Machine.op_dict,
    ord("a"): _Machine.op_append,
    ord("e"): lambda m: m.extend(m.pop_mark()),
    ord("s"): _Machine.op_set_item,
    ord("u"): _Machine.op_set_items,
    ord("q"): lambda m: m.op_put(1),
    ord("r"): lambda m: m.op_put(4),
    0x94: _Machine.op_memoize,
    ord("h"): lambda m: m.op_get(1),
    ord("j"): lambda m: m.op_get(4),
    ord("c"): lambda m: m.stack.append(m.find(m.line(), m.line())),
    0x93: _Machine.op_stack_global,
    ord("R"): _Machine.op_call,
    0x81: _Machine.op_call,  # NEWOBJ
    ord("b"): _Machine.op_build,
    ord("Q"): _Machine.op_persistent,
    0x8F: _push_list,  # EMPTY_SET, ADDITEMS: kept as a list, because hashing what is in it could cost without bound
    0x90: lambda m: m.extend(m.pop_mark()),
    0x91: lambda m: m.stack.append(m.pop_mark()),  # FROZENSET
}

_REFUSED = {
    ord("o"): "OBJ",
    0x82: "EXT1",
    0x83: "EXT2",
    0x84: "EXT4",
    0x92: "NEWOBJ_EX",
    ord("P"): "PERSID",
    ord("I"): "INT",
    ord("L"): "LONG",
    ord("F"): "FLOAT",
    ord("S"): "STRING",
    ord("V"): "UNICODE",
    ord("p"): "PUT",
    ord("g"): "GET",
    0x8B: "LONG4",
    0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
}


def _is_tensor(value: Any) -> bool:
    return isinstance(value, StoredTensor) or (isinstance(value, Inert) and value.tensor)


def _shown(text: str) -> str:
    """Foreign text, safe on a terminal and short."""
    plain = text if text.isascii() and text.isprintable() else ascii(text)
    return plain if len(plain) <= 80 else plain[:77] + "..."
