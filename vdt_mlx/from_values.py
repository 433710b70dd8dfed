"""Dataclasses from plain values, as JSON and TOML have them: every key known, every value of its kind."""

from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from vdt_mlx.errors import VDTError

T = TypeVar("T")


def from_dict(cls: type[T], values: Any, source: str) -> T:
    """Builds a dataclass of ours, and those in its fields, from JSON or TOML values.

    Raises VDTError for a key or a type that does not fit.
    """
    if not isinstance(values, dict):
        raise VDTError(f"{source} must be a table of settings.")
    known = [item.name for item in fields(cls)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise VDTError(f"{source} has an unknown key {brief(key)}{_nearest(key, known)}.")
    hints = get_type_hints(cls)
    built = {}
    for key, value in values.items():
        section = _section(hints[key])
        if section is not None and value is not None and not isinstance(value, section):
            value = from_dict(section, value, f"{source}, section {key!r}")
        if not _fits(value, hints[key]):
            raise VDTError(f"{source}: the setting {key!r} cannot be {brief(value)}.")
        built[key] = value
    try:
        return cls(**built)
    except (TypeError, ValueError) as error:
        raise VDTError(f"{source} does not fit: {error}.") from None


def _section(hint: Any) -> type | None:
    """The dataclass that a field holds, perhaps among other types; None where it holds none."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return next((kind for kind in kinds if isinstance(kind, type) and is_dataclass(kind)), None)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from JSON or TOML suits a field's type (lists count as tuples, whole numbers as floats)."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if hint is Any:
        return True
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        if not isinstance(value, list | tuple):
            return False
        if parts[-1] is Ellipsis:
            return all(_fits(item, parts[0]) for item in value)
        return len(value) == len(parts) and all(map(_fits, value, parts))
    kind = get_origin(hint) or hint
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def brief(value: Any) -> str:
    """A value in a message: what it is, cut to 80 characters."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _nearest(key: str, known: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(key, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(known)})"
