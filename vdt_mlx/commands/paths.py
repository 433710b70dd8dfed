"""Paths on the command line: `~` is expanded and what is no UTF-8 is refused, before any work."""

import os
import re
from pathlib import Path
from typing import Any

import click

from vdt_mlx.errors import VDTError
from vdt_mlx.files import is_utf8, user_path

_HUB = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)(?:/.*)?", re.ASCII)
"""The address of a repository; what follows its name is a file or a branch of it."""


class UserPath(click.ParamType):
    """A file or folder, as a Path."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        try:
            return user_path(os.fsdecode(value) if isinstance(value, bytes) else value)
        except VDTError as error:
            return self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


class CheckpointPath(UserPath):
    """A checkpoint folder; also a training run's folder, which keeps one, and a registered name."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from weights.registry import checkpoint_folder

        path = super().convert(value, param, ctx)
        try:
            return checkpoint_folder(path)
        except VDTError as error:
            return self.fail(str(error), param, ctx)


class NameOrPath(click.ParamType):
    """A registered name, a hub repository or a path, as text; only a path that begins with `~` is changed."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if repository := _HUB.fullmatch(value):
            return self.fail(f"{value} is an address: a hub repository is given as {repository[1]}.", param, ctx)
        try:
            if value.startswith("~") or "://" in value or not is_utf8(value):
                return str(user_path(value))
        except VDTError as error:
            return self.fail(str(error), param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        from weights.registry import REGISTRY

        names = [CompletionItem(name) for name in REGISTRY if name.startswith(incomplete)]
        return names or [CompletionItem(incomplete, type="file")]
