"""What `installed.py` takes from pyproject.toml; the script itself needs a network and minutes."""

import importlib.util
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("installed", Path(__file__).parent / "installed.py")
installed = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(installed)


def test_lower_bounds() -> None:
    assert installed.lower_bounds(["numpy>=1.26", "mlx[cpu]>=0.32.1; sys_platform != 'darwin'"]) == [
        "numpy==1.26",
        "mlx[cpu]==0.32.1 ; sys_platform != 'darwin'",
    ]


@pytest.mark.parametrize("requirement", ["numpy", "numpy<3", "numpy==1.26", "numpy>=1.26,<3"])
def test_a_dependency_without_a_plain_lower_bound_is_named(requirement: str) -> None:
    with pytest.raises(ValueError, match="declares no lowest version"):
        installed.lower_bounds([requirement])


def test_every_dependency_declares_its_lowest_version() -> None:
    assert len(installed.lower_bounds(installed.declared())) == len(installed.declared())


def test_jobs_name_no_place_that_there_is_not() -> None:
    for command in installed.JOBS.values():
        assert all("{" not in part.format(bin="b", out="o", weights="w") for part in command)
