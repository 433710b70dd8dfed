"""Every command line of every document is run, as it is written there.

Here, in the suite, those that take a second or two, in this process. All of them, in a shell and one document after the
other, by

    VDT_COMMAND_LINES=all python -m pytest tests/test_command_lines.py

which takes some minutes. In both the project is the one of `tests.shortened`: a tiny checkpoint stands for the shipped
one, training takes a few steps, and the examiner and the simulator make a few clips. What no test runs: `ELSEWHERE`.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import shortened
from tests.fuzz.families.examinations import good_results
from tests.test_documents import DOCUMENTS, ROOT, command_of, fenced, lines_of

ELSEWHERE = {
    r"python3 -m venv .*": "installing it is what .ci/run does, and tests/packaging with the wheel",
    r"(\.venv/bin/)?pip install .*": "the same",
    r"(\S+=\S+ )?python -m pytest.*": "the suite itself",
    r"sw_vers .*": "a command of macOS",
}
"""Lines that are not run, and why."""
NEEDING = {
    r".*evals\.physion .*": "Physion's videos",
    r".*hdf5.*": "PhyWorld's files",
    r".*(--colours|--map) .*": "clips of one's own whose colours are those of the page",
    r".*(labelled|runs/ablations|submission).*": "hours of training or of examination",
    r".*evals\.speed .*": "minutes of measuring each",
    r".*selftest( --train 2m)?": "minutes of measuring and of training",
    r"vdt-mlx features .*(blocks\.5|data/).*": "the shipped network's depth, and a data set",
}
"""Lines that `VDT_COMMAND_LINES=all` leaves out as well, and what they need."""
FAST = re.compile(
    r"vdt-mlx (?:sample|info FILE).*|vdt-mlx convert physion_collide.*|python -m evals\.physics compare runs/a runs/b.*"
    r"|python -m evals\.ablations --list"
)
"""What is run in the suite, unless it is `SLOW`, or needs what a line before it made."""
SLOW = re.compile(r"--(?:frames|low-memory|format|replay|model|steps)|\|")
AT_HAND = ("my.gif", "hole.png", "frames/", "scene.json")
"""Of the files that lines name, those that are quickly made; a line that names another one is not `FAST`."""
ALL = os.environ.get("VDT_COMMAND_LINES") == "all"
LINES = {
    path: [line for _, language, text in fenced(path) if language == "sh" for line in lines_of(text)]
    for path in DOCUMENTS
}
PAGES = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in DOCUMENTS if LINES[path]]
EVERY = sorted({line for lines in LINES.values() for line in lines})


def elsewhere(line: str) -> bool:
    return any(re.fullmatch(pattern, line) for pattern in ELSEWHERE | NEEDING)


def quick(line: str) -> bool:
    named = re.findall(r"--(?:input|mask|scene) (\S+)", line)
    return bool(FAST.fullmatch(line)) and not SLOW.search(line) and set(named) <= set(AT_HAND)


QUICK = [line for line in EVERY if quick(line)]


# ---- the place where somebody types them


def picture(frames: int, height: int = 64, width: int = 64) -> np.ndarray:
    clip = np.full((frames, height, width, 3), 235, np.uint8)
    for index in range(frames):
        clip[index, 20:36, index % 40 : index % 40 + 16] = 220, 50, 47
    return clip


def make_place(folder: Path, model: Path) -> Path:
    """A folder with what the documents take for granted: a reader's own videos, masks, models, scenes and results."""
    from vdt_mlx.media import video

    folder.mkdir()
    video.write_mp4(folder / "my.mp4", picture(64, 64, 96), 10)
    video.write_gif(folder / "my.gif", picture(16), 10)
    video.write_png(folder / "hole.png", np.repeat(np.eye(64, dtype=np.uint8)[..., None] * 255, 3, axis=-1))
    video.write_pngs(folder / "frames", picture(20))
    for name in ("one", "two", "three"):
        video.write_npz(folder / "my-videos" / f"{name}.npz", frames=picture(40))
    code = "import numpy as np\n\n\ndef predict(given):\n    return np.repeat(given[-1:], 16 - len(given), axis=0)\n"
    for name in ("my_model", "my_module"):
        (folder / f"{name}.py").write_text(code)
    page = (ROOT / "docs" / "own-scenario.md").read_text(encoding="utf-8")
    (folder / "pendulum.py").write_text(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0])
    _scenes(folder)
    _labelled(folder / "my_clips")
    for name in ("my_run", "FOLDER", "MODEL", "runs/mine/checkpoint", "weights/physics"):
        shutil.copytree(model, folder / name)
    golden = ROOT / "tests" / "golden"
    for name in ("FILE.pt", "FILE", "physion_collide.pt"):
        shutil.copy(golden / "vdt_tiny.pt", folder / name)
    for name in ("sd-vae-ft-mse", "sd-vae-ft-ema"):
        shutil.copytree(golden / "autoencoder_kl", folder / name)
    shutil.copytree(golden / "autoencoder_tiny", folder / "taesd")
    return folder


def _scenes(folder: Path) -> None:
    from vdt_mlx.play.presets import preset

    (folder / "my_scenes").mkdir()
    for path, name in (("scene.json", "collide"), ("my_scenes/a.json", "collide"), ("my_scenes/b.json", "drop")):
        (folder / path).write_text(json.dumps(preset(name).scene))


def _labelled(folder: Path) -> None:
    """Two clips of 16 frames: a red square that moves towards a yellow one."""
    from vdt_mlx.media import video

    for name, row in (("a", 20), ("b", 36)):
        frames = np.full((16, 64, 64, 3), 235, np.uint8)
        frames[:, row : row + 8, 50:58] = 250, 200, 40
        for index, frame in enumerate(frames):
            frame[row : row + 8, 2 * index : 2 * index + 8] = 220, 50, 47
        video.write_npz(folder / f"{name}.npz", frames=frames)
        square = [[-4, -4], [4, -4], [4, 4], [-4, 4]]
        moving = [[2 * index + 4, row + 4] for index in range(16)]
        things = [
            {"name": "agent", "role": "agent", "polygon": square, "positions": moving},
            {"name": "patient", "role": "patient", "polygon": square, "positions": [[54, row + 4]] * 16},
        ]
        (folder / f"{name}.json").write_text(json.dumps({"objects": things, "contact": False}))


def _results(folder: Path) -> None:
    """runs/a and runs/b: a model each, named small and large, scored on the same clips."""
    for name, title in (("a", "small"), ("b", "large")):
        (folder / "runs" / name).mkdir(parents=True)
        text = good_results().replace('"net"', f'"{title}"')
        (folder / "runs" / name / "results.json").write_text(text, encoding="utf-8")


def _predictions(folder: Path) -> None:
    """made: a whole clip for one of the examiner's."""
    import physics_sim
    from vdt_mlx.media import video

    for name in ("collide", "drop"):
        clip = physics_sim.make_clip(name, "test", 0)
        video.write_npz(folder / "made" / f"{name}-test-0000.npz", frames=clip.frames)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shortened.make_model(tmp_path_factory.mktemp("model") / "physics")


@pytest.fixture(scope="module", autouse=True)
def uncompiled() -> Iterator[None]:
    """Compiling the kernels takes longer than all of these lines."""
    import mlx.core as mx

    mx.disable_compile()
    yield
    mx.enable_compile()


@pytest.fixture(scope="module")
def place(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In this process, shortened."""
    with pytest.MonkeyPatch.context() as patch:
        shortened.shorten(model, patch.setattr)
        folder = make_place(tmp_path_factory.mktemp("reader") / "place", model)
        _results(folder)
        _predictions(folder)
        yield folder


# ---- the tests


def test_every_line_has_its_place() -> None:
    assert len(QUICK) > 12
    for pattern in ELSEWHERE:
        assert any(re.fullmatch(pattern, line) for line in EVERY), pattern


@pytest.mark.parametrize("line", QUICK)
def test_a_quick_line_runs(
    line: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from vdt_mlx import cli

    monkeypatch.chdir(place)
    found = command_of(shlex.split(line))
    assert found is not None
    command, arguments = found
    with pytest.raises(SystemExit) as ended:
        cli.run(command, args=arguments)
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    assert said.out.strip() and "Traceback" not in said.err


PROGRAM = '#!/bin/sh\nexport PYTHONPATH="{root}"\n{begin}'


def programs(folder: Path, model: Path) -> Path:
    """`vdt-mlx` and `python`, shortened."""
    folder.mkdir()
    run = f'exec "{sys.executable}" -m tests.shortened "{model}"'
    texts = {
        "vdt-mlx": f'{run} -m vdt_mlx "$@"\n',
        "python": f'if [ "$1" = -m ]; then {run} "$@"; else exec "{sys.executable}" "$@"; fi\n',
    }
    for name, begin in texts.items():
        (folder / name).write_text(PROGRAM.format(root=ROOT, begin=begin))
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not ALL, reason="VDT_COMMAND_LINES=all runs every line of every document")
@pytest.mark.parametrize("path", PAGES)
def test_a_document_can_be_typed_from_top_to_bottom(path: Path, model: Path, place: Path, tmp_path: Path) -> None:
    bin_folder = programs(tmp_path / "bin", model)
    beside = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}:{beside}:{os.environ['PATH']}", "MPLBACKEND": "agg"}
    environment["MLX_DISABLE_COMPILE"] = "1"  # as above
    folder = tmp_path / "place"
    shutil.copytree(place, folder)
    if any("--out runs/mine" in line for line in LINES[path]):
        shutil.rmtree(folder / "runs" / "mine")  # this page makes it itself
    faults = []
    for line in LINES[path]:
        if elsewhere(line):
            continue
        if line.startswith("vdt-mlx convert"):
            shutil.rmtree(folder / "my-model", ignore_errors=True)  # which another section of the page may have made
        began = time.monotonic()
        status, said = type_in(line, folder, environment)
        print(f"{status:4} {time.monotonic() - began:6.1f} s  {line}", flush=True)
        if status != 0 or "Traceback" in said:
            faults.append(f"{line}\nended with {status}: {said[-600:]}")
    assert not faults, "\n\n".join(faults)


def type_in(line: str, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """What became of a line, and what it printed; a server is stopped by Ctrl-C, as its reader stops it."""
    server = line.endswith("vdt-mlx play")
    shell = ["bash", "-o", "pipefail", "-c", line]
    with (folder / ".said").open("w+") as said:
        process = subprocess.Popen(
            shell, cwd=folder, env=environment, stdout=said, stderr=said, text=True, start_new_session=True
        )
        try:
            process.wait(25 if server else 900)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT if server else signal.SIGKILL)
            process.wait(60)
        said.seek(0)
        text = said.read()
    if server:
        return (0 if "http://127.0.0.1" in text or "http://localhost" in text else 1), text
    return process.returncode, text
