"""Commands as they are typed."""

import pytest


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys):
    """Runs `vdt-mlx ...` in this process and an empty folder: (exit status, stdout, stderr)."""
    from vdt_mlx import cli

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.run(cli.vdt_mlx, args=[str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run
