"""fp32 stays fp32: TF32 is off before MLX computes, whatever starts it, and recorded where it is allowed."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import click
import mlx.core as mx
import pytest
from click.testing import CliRunner

from vdt_mlx.commands.options import allow_tf32
from vdt_mlx.device import about, precision
from vdt_mlx.errors import VDTError

ROOT = Path(__file__).parents[3]
PACKAGES = ("vdt_mlx", "weights", "evals")


def fresh(code: str, **variables: str) -> str:
    """What a new interpreter prints, without the variables of this one that decide precision."""
    environment = {k: v for k, v in os.environ.items() if k != precision.VARIABLE} | variables
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.parametrize("package", ["vdt_mlx", "weights.convert", "evals.physics.cli"])
def test_any_of_our_packages_turns_it_off(package: str) -> None:
    assert fresh(f"import {package}, os; print(os.environ['MLX_ENABLE_TF32'])") == "0"


def test_who_asks_for_it_in_the_environment_gets_it() -> None:
    assert fresh("import vdt_mlx, os; print(os.environ['MLX_ENABLE_TF32'])", MLX_ENABLE_TF32="1") == "1"


def test_every_module_that_uses_mlx_belongs_to_a_package_that_turns_it_off_first() -> None:
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        names = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module or "")
        first = path.relative_to(ROOT).parts[0]
        if any(name.split(".")[0] == "mlx" for name in names) and first != "vdt_mlx":
            assert any(name.split(".")[0] == "vdt_mlx" for name in names), f"{path} uses MLX without vdt_mlx"


@click.command()
@allow_tf32
def command() -> None:
    click.echo(f"allowed: {precision.tf32_allowed()}")


def test_the_flag_acts_before_the_command(monkeypatch) -> None:
    monkeypatch.setenv(precision.VARIABLE, "0")
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))
    assert CliRunner().invoke(command).output == "allowed: False\n"
    assert CliRunner().invoke(command, ["--allow-tf32"]).output == "allowed: True\n"
    assert about.describe()["tf32"] is True


def test_the_flag_is_refused_where_it_does_nothing(cpu, monkeypatch) -> None:
    monkeypatch.setenv(precision.VARIABLE, "0")
    result = CliRunner().invoke(command, ["--allow-tf32"])
    assert isinstance(result.exception, VDTError)
    assert "would do nothing" in str(result.exception)
    assert os.environ[precision.VARIABLE] == "0"
