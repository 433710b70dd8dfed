"""Output of every encoding, closed outputs, and the signals that end a command."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vdt_mlx import standard_streams

SCRIPT = """
import sys, time
import click
from vdt_mlx.cli import run
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_folder

@click.command()
@click.argument("what")
def command(what):
    if what == "text":
        click.echo("2 × 3 ± 1 → 6… café 中 █")
    elif what == "fail":
        raise VDTError("a \\x1b[31mred\\x07 name × caf\\udce9")
    elif what == "long":
        for _ in range(100000):
            click.echo("line")
    else:
        with atomic_folder(what) as partial:
            (partial / "a").write_text("")
            print("ready", flush=True)
            time.sleep(60)

run(command)
"""


def start(what, tmp_path, encoding=None, **options):
    environment = {**os.environ, **({"PYTHONIOENCODING": encoding} if encoding else {})}
    command = [sys.executable, "-c", SCRIPT, what]
    return subprocess.Popen(command, cwd=tmp_path, env={**environment, "PYTHONPATH": str(Path.cwd())}, **options)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", b"2 x 3 +- 1 -> 6... cafe ? #\n"),
        ("latin-1", b"2 \xd7 3 \xb1 1 -> 6... caf\xe9 ? #\n"),
        ("utf-8", "2 × 3 ± 1 → 6… café 中 █\n".encode()),
    ],
)
def test_every_encoding_takes_any_text(tmp_path, encoding, expected) -> None:
    process = start("text", tmp_path, encoding, stdout=subprocess.PIPE)
    assert process.communicate()[0] == expected
    assert process.returncode == 0


def test_messages_do_not_drive_the_terminal(tmp_path) -> None:
    process = start("fail", tmp_path, "ascii", stderr=subprocess.PIPE)
    assert process.communicate()[1] == b"Error: a \\x1b[31mred\\x07 name x caf\\udce9\n"
    assert process.returncode == 2


def test_a_reader_that_leaves_ends_it_quietly(tmp_path) -> None:
    process = start("long", tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"line\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() in (0, 1)


def test_a_closed_output_is_no_error(tmp_path) -> None:
    process = start("text", tmp_path, stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1))
    assert process.communicate()[1] == b""
    assert process.returncode == 0


def test_a_closed_input_does_not_give_its_number_to_a_file(tmp_path) -> None:
    """MLX takes the descriptor 0 for a file that could not be opened."""
    (tmp_path / "a.txt").write_text("x")
    code = "import os; from vdt_mlx import standard_streams; standard_streams.prepare(); print(os.open('a.txt', 0) > 2)"
    shell = f'exec "{sys.executable}" -c "{code}" <&-'
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(["sh", "-c", shell], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_every_ending_clears_what_was_begun(tmp_path, number) -> None:
    def usual():
        signal.signal(number, signal.SIG_DFL)

    process = start("out", tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=usual)
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.05)
    process.send_signal(number)
    said = process.communicate()[1]
    assert process.returncode == 128 + number
    assert said.strip(b"\n") + b"\n" in (b"Interrupted.\n", f"Ended by {signal.Signals(number).name}.\n".encode())
    assert list(tmp_path.iterdir()) == []


def test_every_spelling_is_plain() -> None:
    assert all(text.isascii() for text in standard_streams.SPELLED.values())
