"""Settings describe themselves: types, defaults and meanings come from the dataclasses."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from vdt_mlx.commands.train import train
from vdt_mlx.training import describe
from vdt_mlx.training.config import config_names, load_config

DOCS = Path(__file__).parents[3] / "docs"


def test_every_setting_has_a_meaning_and_a_type():
    settings = describe.settings()
    assert len({setting.key for setting in settings}) == len(settings) > 80
    assert [s.key for s in settings if not s.meaning] == []
    assert [s.key for s in settings if s.type == "value"] == []
    by_key = {setting.key: setting for setting in settings}
    assert by_key["loop.batch"].type == "whole number" and by_key["loop.batch"].default == 16
    assert by_key["data.scenarios"].type == "list of text" and by_key["data.path"].type == "text or none"
    assert "gradient checkpointing" in by_key["loop.checkpointing"].meaning.lower()


@pytest.mark.parametrize("name", config_names())
def test_a_configuration_that_is_printed_reads_back(name, tmp_path):
    config = load_config(name)
    (tmp_path / "printed.toml").write_text(describe.as_toml(config), encoding="utf-8")
    assert load_config(str(tmp_path / "printed.toml")) == config


def test_the_command_prints_describes_and_takes_changes(tmp_path):
    def printed(*arguments):
        result = CliRunner().invoke(train, ["config", *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    (tmp_path / "one.toml").write_text(printed("vdt-s", "--set", "loop.batch=3"), encoding="utf-8")
    assert load_config(str(tmp_path / "one.toml")) == load_config("vdt-s", ("loop.batch=3",))
    text = printed("physics", "--describe", "--set", "loop.batch=3")
    assert "loop.batch = 3  (default 16)\n    whole number. Clips (frames, for an autoencoder) a step" in text
    assert max(map(len, text.splitlines())) < 400 and "`" not in text
    assert "did you mean 'batch'" in str(CliRunner().invoke(train, ["config", "--set", "loop.bach=3"]).exception)


def test_a_page_of_markdown_has_every_setting():
    page = CliRunner().invoke(train, ["config", "--markdown"]).output
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) == len(describe.settings())
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == page, (
        "vdt-mlx train config --markdown > docs/settings.md"
    )
    assert "| `batch` | whole number | `16` | Clips (frames, for an autoencoder) a step" in page
