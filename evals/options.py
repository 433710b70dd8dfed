"""Options that several of the examiner's commands take, and the old spellings that they still read."""

from typing import Any

import click

from vdt_mlx.commands.options import FlaggedGroup

OLD_FLAGS = {"--rivals-only": "--baselines-only"}
"""Flags of earlier releases, and what they are called now."""


class Numbers(click.ParamType):
    """Comma-separated whole numbers."""

    name = "n,n"

    def __init__(self, example: str = "2,4,8", least: int | None = None) -> None:
        self.example, self.least = example, least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers such as {self.example}", param, ctx)
        if self.least is not None and min(numbers) < self.least:
            self.fail(f"{value!r} has a number below {self.least}", param, ctx)
        return numbers


class Names(click.ParamType):
    """Comma-separated names."""

    name = "name,name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(part.strip() for part in str(value).split(",") if part.strip())


class Group(FlaggedGroup):
    """A click group that reads `OLD_FLAGS` too, silently."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [OLD_FLAGS.get(argument, argument) for argument in args])
