"""The Tab key: commands, options, and the names that options take."""

import pytest
from click.shell_completion import ShellComplete

from vdt_mlx.cli import vdt_mlx


@pytest.mark.parametrize(
    ("words", "typed", "expected"),
    [
        ([], "sa", {"sample"}),
        (["sample"], "--sc", {"--scenario", "--scene", "--scene-seed"}),
        (["sample", "--scenario"], "d", {"dominoes", "drape", "drop"}),
        (["sample", "--sampler"], "dd", {"ddim", "ddpm"}),
        (["sample", "--task"], "back", {"backward"}),
        (["sample", "--model"], "phy", {"physics"}),
        (["simulate", "--scenario"], "la", {"laws"}),
        (["simulate", "--scenario"], "drop,r", {"drop,roll"}),
        (["train", "config"], "vdt", {"vdt-l", "vdt-s"}),
        (["train", "vdt", "--config"], "ph", {"physics"}),
    ],
)
def test_what_was_begun_is_completed(words, typed, expected) -> None:
    found = ShellComplete(vdt_mlx, {}, "vdt-mlx", "_VDT_MLX_COMPLETE").get_completions(words, typed)
    assert {item.value for item in found if item.type == "plain"} == expected


@pytest.mark.parametrize("words", [["sample", "--model"], ["sample", "--scene"], ["info"]])
def test_what_is_no_name_is_a_file(words) -> None:
    found = ShellComplete(vdt_mlx, {}, "vdt-mlx", "_VDT_MLX_COMPLETE").get_completions(words, "./my")
    assert [(item.value, item.type) for item in found] == [("./my", "file")]
