"""Every setting of a training configuration, with its type, default and meaning, read off the dataclasses."""

import ast
import inspect
import json
import textwrap
import types
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from vdt_mlx.training.config import TrainConfig


@dataclass(frozen=True)
class Setting:
    """One key."""

    key: str
    """`section.key`, as `--set` takes it."""
    type: str
    default: Any
    meaning: str


def settings() -> list[Setting]:
    """All settings, section by section, in the order of the dataclasses."""
    return list(_settings(TrainConfig, ""))


def _settings(kind: type, prefix: str, given: Any = None) -> Iterator[Setting]:
    """Of a dataclass; `given`: one of it, whose values are the defaults where its own are not."""
    hints, meanings = get_type_hints(kind), meanings_of(kind)
    for item in fields(kind):
        value = getattr(given, item.name) if given is not None else _default(item)
        if is_dataclass(value) and not isinstance(value, type):
            yield from _settings(type(value), f"{prefix}{item.name}.", value)
        else:
            yield Setting(f"{prefix}{item.name}", spoken(hints[item.name]), value, meanings[item.name])


def _default(item: Field) -> Any:
    return item.default_factory() if item.default_factory is not MISSING else item.default


@lru_cache
def meanings_of(kind: type) -> dict[str, str]:
    """The text below each field of a dataclass, on one line; empty where there is none."""
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    found = {item.name: "" for item in fields(kind)}
    for here, below in zip(tree.body, tree.body[1:], strict=False):
        if not isinstance(here, ast.AnnAssign) or not isinstance(here.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            found[here.target.id] = " ".join(below.value.value.split())
    return found


def spoken(hint: Any) -> str:
    """A type as one says it: `whole number`, `list of text`, `number or none`."""
    simple = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "none"}
    if hint in simple:
        return simple[hint]
    parts = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(spoken(part) for part in parts)
    if get_origin(hint) is tuple:
        if parts[-1] is Ellipsis:
            return f"list of {spoken(parts[0])}"
        return f"{len(parts)} {spoken(parts[0])}s"
    if get_origin(hint) is dict:
        return f"table of {spoken(parts[1])}"
    return "value"


def as_toml(config: TrainConfig) -> str:
    """A whole configuration as a TOML file that reads back as it; settings that are none are comments."""
    body = config.to_dict()
    lines = [f"name = {json.dumps(body.pop('name'))}"]
    for section, values in body.items():
        lines += ["", f"[{section}]"]
        for key, value in values.items():
            lines.append(f"# {key}: none" if value is None else f"{key} = {toml_value(value)}")
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, dict):
        inside = ", ".join(f"{json.dumps(key)} = {toml_value(item)}" for key, item in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False)  # numbers, text and booleans are the same in both


def as_text(values: dict[str, Any], width: int = 80) -> str:
    """Every setting in a few lines; `values` (nested by section) instead of the defaults where they differ."""
    lines: list[str] = []
    for setting in settings():
        value = _at(values, setting.key)
        other = "" if value == _json(setting.default) else f"  (default {_shown(setting.default)})"
        lines.append(f"{setting.key} = {_shown(value)}{other}")
        lines += textwrap.wrap(
            f"{setting.type}. {plainly(setting.meaning)}", width - 4, initial_indent="    ", subsequent_indent="    "
        )
    return "\n".join(lines) + "\n"


def as_markdown() -> str:
    """All settings as a page of Markdown."""
    lines = [
        "# Settings of a training run",
        "",
        "Made by `vdt-mlx train config --markdown`. A TOML file holds them by section; `--set section.key=value`",
        "changes one. `vdt-mlx train config NAME` prints a shipped configuration whole.",
    ]
    section = ""
    for setting in settings():
        here, _, key = setting.key.rpartition(".")
        if here != section:
            section = here
            lines += ["", f"## {section}", "", "| key | type | default | meaning |", "|---|---|---|---|"]
        elif not section and key == "name":
            lines += ["", "| key | type | default | meaning |", "|---|---|---|---|"]
        cells = (f"`{key}`", setting.type, f"`{_shown(setting.default)}`", setting.meaning.replace("|", "\\|"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plainly(text: str) -> str:
    """Without the marks of Markdown."""
    return text.replace("`", "")


def _at(values: dict[str, Any], key: str) -> Any:
    found: Any = values
    for part in key.split("."):
        found = found[part]
    return found


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _shown(value: Any) -> str:
    return "none" if value is None else toml_value(_json(value))
