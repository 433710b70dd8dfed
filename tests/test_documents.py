"""What the documents tell people to type can be typed: pasted into zsh as into bash, parsed by the commands named.

In interactive zsh `#` starts no comment, and an unquoted `[`, `?` or `*` must match a file.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parent.parent
LISTED = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True).stdout.split()
DOCUMENTS = sorted(ROOT / name for name in LISTED) or sorted(ROOT.glob("**/README.md"))


def fenced(path: Path) -> list[tuple[int, str, str]]:
    """(line, language, text) of every fenced block."""
    text = path.read_text(encoding="utf-8")
    blocks = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: found.start()].count("\n") + 1, found[1], found[2]) for found in blocks]


BLOCKS = [
    pytest.param(language, text, id=f"{path.relative_to(ROOT)}:{line}")
    for path in DOCUMENTS
    for line, language, text in fenced(path)
]


def lines_of(text: str) -> list[str]:
    """The command lines of a block, continued ones and loops joined."""
    text = re.sub(r"\\\n\s*", "", text)
    text = re.sub(r"; do\n(.*?)\ndone$", _loop, text, flags=re.MULTILINE | re.DOTALL)
    return [line.strip() for line in text.splitlines() if line.strip()]


def _loop(found: re.Match[str]) -> str:
    return "; do " + "; ".join(line.strip() for line in found[1].splitlines()) + "; done"


def once_through(line: str) -> str:
    """What a loop does at its first turn; any other line as it is."""
    loop = re.fullmatch(r"for (\w+) in (\S+)[^;]*; do (.*); done", line)
    return line if loop is None else re.sub(rf"\${loop[1]}\b", loop[2], loop[3])


COMMANDS = sorted({line for block in BLOCKS if block.values[0] == "sh" for line in lines_of(str(block.values[1]))})


def outside_quotes(line: str) -> str:
    """The line without what is quoted."""
    return re.sub(r"'[^']*'|\"(?:[^\"\\]|\\.)*\"|\\.", "", line)


def test_there_are_blocks() -> None:
    assert len(BLOCKS) > 10
    assert len(COMMANDS) > 30


@pytest.mark.parametrize(("language", "text"), BLOCKS)
def test_blocks_can_be_pasted(language: str, text: str) -> None:
    assert language in ("sh", "python", "toml", "json", "text"), "a block names its language"
    if language == "python":
        compile(text, "block", "exec")
    if language != "sh":
        return
    for line in lines_of(text):
        assert shlex.split(line), line
        bare = outside_quotes(line)
        for character in "#[]?*!<>()^":
            assert character not in bare, f"{character!r} in {line!r} is not typed as it is read in zsh"
        assert not re.search(r"(^|\s)[=%]", bare), f"zsh expands {line!r}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_stand_in_fenced_blocks(path: Path) -> None:
    """An indented block has no language, and GitHub offers no button to copy it."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    loose = re.findall(r"^ {4,}(?:\$ )?(?:python3?|vdt-mlx|pip|mlx\.launch|uv|brew) .*", text, re.MULTILINE)
    assert loose == []


def command_of(words: list[str]) -> tuple[click.Command, list[str]] | None:
    """The click command that a command line calls, and its arguments; None for other people's programs."""
    from evals.ablations.cli import ablations
    from evals.card.cli import card
    from evals.leaderboard.cli import leaderboard
    from evals.physics.cli import physics
    from evals.physion.cli import physion
    from evals.score import command as score
    from evals.speed.cli import speed
    from physics_sim.cli import cli as physics_sim
    from vdt_mlx.cli import vdt_mlx
    from vdt_mlx.commands.film import film

    modules = {"evals.physics": physics, "evals.speed": speed, "evals.score": score, "physics_sim": physics_sim}
    modules |= {"vdt_mlx.commands.film": film, "evals.ablations": ablations, "evals.physion": physion}
    modules |= {"evals.card": card, "evals.leaderboard": leaderboard}
    if words[:2] == ["mlx.launch", "-n"]:
        words = words[3:]
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    if words and Path(words[0]).name == "vdt-mlx":
        return vdt_mlx, words[1:]
    if words[1:2] == ["-m"] and words[2] in modules:
        return modules[words[2]], words[3:]
    if words[1:3] == ["-m", "vdt_mlx"]:
        return vdt_mlx, words[3:]
    return None


OTHER_PROGRAMS = ("python3 -m venv", "pip install", ".venv/bin/", "python -m pytest", "python3 -c", "sw_vers", "jq ")


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_have_the_options_that_are_shown(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("physics_sim.scenarios.run_file", "physics_sim.cli.run_file"):
        monkeypatch.setattr(place, lambda path: None, raising=False)  # a reader's own file, which is not here
    for part in re.split(r"\s+(?:&&|\|)\s+", once_through(line)):
        found = command_of(shlex.split(part))
        if found is None:
            bare = re.sub(r"^(?:[A-Z_]+=\S* )+", "", part)
            assert bare.startswith(OTHER_PROGRAMS), f"{part!r} is no command of ours"
            continue
        command, arguments = found
        context = None
        while True:
            context = command.make_context(command.name, list(arguments), parent=context)
            if not isinstance(command, click.Group):
                break
            rest = [*context._protected_args, *context.args] if hasattr(context, "_protected_args") else context.args
            if not rest:
                assert command.invoke_without_command, f"{part!r} names no command"
                break
            _, command, arguments = command.resolve_command(context, rest)
            assert command is not None


def test_the_workflow_is_one_that_github_takes(tmp_path) -> None:
    """Held against GitHub's schema of workflows; a key that it does not know is a fault."""
    path = ROOT / ".github" / "workflows" / "tests.yml"
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(path.read_text(encoding="utf-8").replace("runs-on:", "run-on:"), encoding="utf-8")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    for file, status in ((path, 0), (wrong, 1)):
        result = subprocess.run([*command, str(file)], capture_output=True, text=True)
        assert result.returncode == status, result.stdout + result.stderr


def test_the_workflow_runs_what_this_machine_runs() -> None:
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    for wanted in ("bash .ci/run", "vdt-mlx selftest", "--device cpu", "physics_sim fingerprint", "upload-artifact"):
        assert wanted in workflow
    assert re.findall(r"os: (macos-\S+),", workflow)
