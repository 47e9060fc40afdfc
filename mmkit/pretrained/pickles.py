"""Read a checkpoint's pickle without creating its objects: what it would call, and how much memory it would take.

torch's own reader with `weights_only=True` calls only functions that rebuild tensors. But it trusts the sizes that a
file states, and it copies parts of the file into its error message, which a hundred bytes can make endless.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

OPERATIONS = 10_000_000
"""Largest number of operations; a state dict needs about thirty for each tensor."""

LONGEST = 1000
"""Most characters of a name."""

SIZES = {
    "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1,
    "Bool": 1, "ComplexDouble": 16, "ComplexFloat": 8, "QUInt8": 1, "QInt8": 1, "QInt32": 4, "QUInt4x2": 1,
    "QUInt2x4": 1, "Untyped": 1,
}  # fmt: skip
"""Bytes an element of torch's kinds of storage."""

PLAIN = frozenset(
    {
        "collections.OrderedDict",
        "collections.Counter",
        "torch.serialization._get_layout",
        "torch.Size",
        "torch.device",
        "_codecs.encode",
        "builtins.set",
        "builtins.complex",
        "argparse.Namespace",
    }
)
"""Harmless with any arguments."""

OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""Python 2's names, which torch still writes."""

REBUILD = "torch._utils._rebuild_"


class Unsafe(Exception):  # noqa: N818 - what is found, not an error of ours
    """A pickle that would call something that does not rebuild tensors: `name`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Malformed(Exception):  # noqa: N818
    """A pickle that torch never writes."""


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that a pickle names."""

    full: str


@dataclass(slots=True)
class Storage:
    """A block of numbers that tensors are views of."""

    key: str
    itemsize: int
    nbytes: int


class Thing:
    """Any other object: a table, a tensor, a set."""


@dataclass
class Content:
    """The content of a pickle: its top value, its storages by key, and the bytes of its tensors in memory."""

    value: Any
    storages: dict[str, Storage] = field(default_factory=dict)
    unfolded: int = 0


def scan(file: IO[bytes]) -> Content:
    """Read one pickle from a file; the file's position is then after the pickle.

    Raises `Unsafe` for what torch would refuse to call, and `Malformed`.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in _operations(file):
            machine.step(opcode.name, argument)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, MemoryError) as error:
        raise Malformed(type(error).__name__) from error
    return Content(machine.value, machine.storages, machine.unfolded)


def _operations(file: IO[bytes]) -> Iterator[tuple[Any, Any, Any]]:
    count = 0
    try:
        for operation in pickletools.genops(file):
            count += 1
            if count > OPERATIONS:
                raise Malformed("more operations than a state dict needs")
            yield operation
    except ValueError as error:  # unknown operation, or cut
        raise Malformed(str(error)[:80]) from error


class _Machine:
    """The stack machine of pickles, which only counts objects."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.unfolded = 0
        self.value: Any = None

    def step(self, name: str, argument: Any) -> None:
        """Do one operation."""
        stack = self.stack
        if name in ("PROTO", "FRAME"):
            return
        if name == "STOP":
            self.value = stack.pop()
        elif name in _PUSH_ARGUMENT:
            stack.append(argument)
        elif name in _PUSH_VALUE:
            stack.append(_PUSH_VALUE[name])
        elif name in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"):
            stack.append([] if name == "EMPTY_LIST" else Thing())
        elif name == "GLOBAL":
            stack.append(_named(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(_named(module, attribute))
        elif name == "MARK":
            self.marks.append(stack)
            self.stack = []
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[argument])
        else:
            self._combine(name)

    def _combine(self, name: str) -> None:
        stack = self.stack
        if name.startswith("TUPLE") and name != "TUPLE":
            count = int(name[-1])
            last = tuple(stack[-count:])
            if len(last) < count:
                raise Malformed("a tuple with too few values")
            stack[-count:] = [last]
        elif name in ("TUPLE", "LIST", "DICT", "FROZENSET"):
            items = self._marked()
            made = tuple(items) if name == "TUPLE" else items if name == "LIST" else Thing()
            self.stack.append(made)
        elif name == "APPEND":
            item = stack.pop()
            _list(stack[-1]).append(item)
        elif name == "APPENDS":
            more = self._marked()
            _list(self.stack[-1]).extend(more)
        elif name == "SETITEM":
            stack.pop()
            _check_key(stack.pop())
        elif name in ("SETITEMS", "ADDITEMS"):
            items = self._marked()
            for key in items[:: 2 if name == "SETITEMS" else 1]:
                _check_key(key)
        elif name == "POP":
            stack.pop()
        elif name == "BINPERSID":
            stack.append(self._stored(stack.pop()))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, called = stack.pop(), stack.pop()
            stack.append(self._call(called, arguments))
        elif name == "BUILD":
            state = stack.pop()
            if isinstance(state, tuple) and state and isinstance(state[0], Storage):
                self._view(*state[:4])  # how tensors were written once
        else:
            raise Malformed(f"operation {name}")

    def _marked(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def _stored(self, saved: Any) -> Storage:
        """A storage from its description: ("storage", kind, key, location, elements, view)."""
        if not isinstance(saved, tuple) or len(saved) < 5 or _text(saved[0]) != "storage":
            raise Malformed("something other than a storage is kept apart")
        _, kind, key, _, count = saved[:5]
        if not isinstance(kind, Name) or not isinstance(count, int) or count < 0:
            raise Malformed("a storage of no known size")
        size = SIZES.get(kind.full.rpartition(".")[2].removesuffix("Storage"))
        if size is None:
            raise Malformed("a storage of no known kind")
        known = self.storages.setdefault(_text(key), Storage(_text(key), size, count * size))
        known.nbytes = max(known.nbytes, count * size)
        return Storage(known.key, size, known.nbytes)

    def _call(self, called: Any, arguments: Any) -> Any:
        if not isinstance(called, Name) or not isinstance(arguments, tuple):
            raise Malformed("something is called that has no name")
        name = called.full
        if name == "torch._tensor._rebuild_from_type_v2":
            self._call(arguments[0], arguments[2])
        elif name in (f"{REBUILD}tensor", f"{REBUILD}tensor_v2", f"{REBUILD}tensor_v3", f"{REBUILD}qtensor"):
            storage, offset, size, stride = arguments[:4]
            self._view(storage, offset, size, stride)
        elif name == "builtins.bytearray":
            if any(isinstance(x, int) for x in arguments):
                raise Malformed("a bytearray by its size")
        elif name == "torch.Size":
            return tuple(arguments[0]) if arguments else ()
        elif _is_tensor_class(name) and arguments and not isinstance(arguments[0], Thing):
            raise Malformed("a tensor by its size")
        return Thing()

    def _view(self, storage: Any, offset: Any, size: Any, stride: Any) -> None:
        """Count a tensor that is a view of a storage. Raises `Malformed` if it reaches beyond it."""
        if (
            not isinstance(storage, Storage)
            or not _counts(size)
            or not _counts(stride)
            or not _counts((offset,))
        ):
            raise Malformed("a tensor of no known size")
        if len(size) != len(stride):
            raise Malformed("a tensor of no known size")
        elements = math.prod(size)
        last = offset + sum((s - 1) * t for s, t in zip(size, stride, strict=True)) if elements else -1
        if (last + 1) * storage.itemsize > storage.nbytes:
            raise Malformed("a tensor reaches beyond its storage")
        self.unfolded += elements * storage.itemsize


_PUSH_ARGUMENT = frozenset(
    {
        "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT", "BINUNICODE",
        "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINSTRING", "BINSTRING", "STRING", "BINBYTES",
        "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
    }
)  # fmt: skip
_PUSH_VALUE = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


def _named(module: Any, attribute: Any) -> Name:
    """A class or function. Raises `Unsafe` unless torch rebuilds tensors with it."""
    module = _text(module)
    full = f"{OLD_MODULES.get(module, module)}.{_text(attribute)}"
    if not _known(full):
        raise Unsafe(full)
    return Name(full)


def _known(full: str) -> bool:
    module, _, attribute = full.rpartition(".")
    if full in PLAIN or full.startswith(REBUILD) or full == "torch._tensor._rebuild_from_type_v2":
        return "numpy" not in full
    if full in ("builtins.bytearray", "torch.nn.parameter.Parameter") or _is_tensor_class(full):
        return True
    if module in ("torch", "torch.cuda", "torch.storage") and attribute.removesuffix("Storage") in SIZES:
        return True
    return (
        module == "torch"
        and attribute.islower()
        and attribute.replace("_", "").isalnum()
        and _is_dtype(attribute)
    )


def _is_dtype(attribute: str) -> bool:
    import torch

    found = getattr(torch, attribute, None)
    return isinstance(found, torch.dtype | torch.qscheme | torch.layout)


def _is_tensor_class(full: str) -> bool:
    module, _, attribute = full.rpartition(".")
    known = module in ("torch", "torch.cuda", "torch.sparse", "torch.cuda.sparse")
    return known and attribute.endswith("Tensor") and attribute.isalnum()


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if (isinstance(value, str) and len(value) <= LONGEST) or (
        isinstance(value, int) and abs(value) < 1 << 64
    ):
        return str(value)
    raise Malformed("a name that is not text")


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed("a value is added to something that is not a list")
    return value


def _check_key(key: Any) -> None:
    """Refuse keys that are not plain: the hash of nested tuples takes too long."""
    plain = (str, bytes, int, float, bool, type(None), Name)
    if isinstance(key, plain):
        return
    if isinstance(key, tuple) and len(key) < 100 and all(isinstance(k, plain) for k in key):
        return
    raise Malformed("a key that is neither text nor a number")


def _counts(values: Any) -> bool:
    return (
        isinstance(values, tuple | list)
        and len(values) <= 64
        and all(isinstance(v, int) and 0 <= v < 1 << 62 for v in values)
    )
