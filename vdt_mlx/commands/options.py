"""Options that several commands have."""

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from vdt_mlx.errors import VDTError

RENAMED = {"--mirror": "--flip-averaging", "--no-mirror": "--no-flip-averaging"}
"""Flags that had another name: the old one is still read."""

F = TypeVar("F", bound=Callable[..., Any])


class Flagged(click.Command):
    """A command whose errors name its flags, where the library's name arguments, `in_backticks`."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VDTError as error:
            raise VDTError(in_flags(str(error), self)) from error


class FlaggedGroup(click.Group):
    """The same for a group and all its commands."""

    command_class = Flagged

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VDTError as error:
            raise VDTError(in_flags(str(error), self)) from error


def in_flags(sentence: str, command: click.Command) -> str:
    """`num_heads` -> --num-heads, for every option that the command has."""
    flags = {option.name: option.opts[0] for option in command.params if isinstance(option, click.Option)}
    return re.sub(r"`(\w+)`", lambda match: flags.get(match[1], match[0]), sentence)


class Renaming(Flagged):
    """A command that still reads the old names of its flags."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [RENAMED.get(arg, arg) for arg in args[:end]] + args[end:])


def completing(names: Callable[[], Iterable[str]]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """For `shell_complete=` of an option whose values are names: those that begin as what was typed does."""

    def complete(_context: click.Context, _option: click.Parameter, typed: str) -> list[str]:
        return [name for name in names() if name.startswith(typed)]

    return complete


def allow_tf32(function: F) -> F:
    """`--allow-tf32`, which is no argument of the command: it acts on the process before MLX first computes."""
    return click.option(
        "--allow-tf32",
        is_flag=True,
        expose_value=False,
        callback=_allow,
        help="Let a GPU round the inputs of fp32 products (an M5 is faster so, and less exact).",
    )(function)


def _allow(_context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from vdt_mlx.device import precision
    from vdt_mlx.device.kernels import on_cpu

    if on_cpu():
        raise VDTError("TF32 is a format of GPUs, and MLX computes on the CPU here: --allow-tf32 would do nothing.")
    precision.allow_tf32()
