"""Every path of every command is read by one rule."""

import shutil
from pathlib import Path

import click
import pytest

from vdt_mlx.commands.paths import CheckpointPath, NameOrPath, UserPath


def commands():
    from evals.physics.cli import physics
    from evals.speed import cli as speed
    from physics_sim.cli import cli
    from vdt_mlx.cli import vdt_mlx

    groups = [item for item in vars(speed).values() if isinstance(item, click.Group)]
    waiting, found = [vdt_mlx, cli, physics, *groups], []
    while waiting:
        command = waiting.pop()
        found.append(command)
        if isinstance(command, click.Group):
            context = click.Context(command)
            waiting += [command.get_command(context, name) for name in command.list_commands(context)]
    return found


def test_no_command_has_another_kind_of_path() -> None:
    found = commands()
    assert len(found) > 15
    for command in found:
        for option in command.params:
            plain = isinstance(option.type, click.Path) and type(option.type).__name__ != "UserPath"
            assert not plain, f"{command.name} {option.name}"


def test_paths_that_are_expanded_and_refused(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert str(UserPath().convert("~/a", None, None)) == "/home/me/a"
    assert NameOrPath().convert("~/a", None, None) == "/home/me/a"
    assert NameOrPath().convert("org/name@main", None, None) == "org/name@main"
    for kind in (UserPath(), NameOrPath()):
        for bad in ("~nobody9/x", "caf\udce9"):
            with pytest.raises(click.UsageError):
                kind.convert(bad, None, None)


@pytest.mark.parametrize("bad", ["~nobody9/x", "caf\udce9"])
def test_the_simulators_own_paths(bad, monkeypatch) -> None:
    from physics_sim.cli import UserPath as Theirs

    monkeypatch.setenv("HOME", "/home/me")
    assert Theirs().convert("~/a", None, None) == "/home/me/a"
    with pytest.raises(click.UsageError):
        Theirs().convert(bad, None, None)


def test_checkpoints_are_found_in_runs_and_by_name(tiny_checkpoint, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_checkpoint, run / "checkpoint")
    convert = CheckpointPath().convert
    assert convert(str(run), None, None) == run / "checkpoint"
    assert convert(str(tiny_checkpoint), None, None) == tiny_checkpoint
    assert convert("physics", None, None).name == "physics"
    assert convert("nowhere", None, None) == Path("nowhere")
    with pytest.raises(click.UsageError, match="hf download"):
        convert("sd-vae-ft-mse", None, None)


@pytest.mark.parametrize(
    "text",
    ["https://huggingface.co/org/name", "hf.co/org/name", "https://huggingface.co/org/name/blob/main/vdt.safetensors"],
)
def test_the_address_of_a_repository_is_answered_with_its_name(text) -> None:
    with pytest.raises(click.BadParameter, match="given as org/name"):
        NameOrPath().convert(text, None, None)
    assert NameOrPath().convert("org/name@main", None, None) == "org/name@main"
    with pytest.raises(click.BadParameter, match="is an address"):
        NameOrPath().convert("https://example.com/model", None, None)
