"""`--suite phyworld`: a file of PhyWorld's as a suite, every predictor on it, and files that cannot be used."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from evals.physics import compare, results
from evals.physics.cli import physics
from evals.physics.settings import Settings
from evals.physics.sources import build, suite_of
from evals.phyworld.suite import PhyWorldSuite
from evals.phyworld.told import parts
from evals.report import terminal
from evals.report.table import columns
from physics_sim import mp4
from vdt_mlx.errors import VDTError

h5py = pytest.importorskip("h5py")
GOLDEN = Path(__file__).parents[2] / "golden" / "phyworld"
UNIFORM = GOLDEN / "uniform_motion_train.hdf5"


def run(*arguments):
    """Output of the command; what it raises is raised."""
    result = CliRunner().invoke(physics, [str(a) for a in arguments], catch_exceptions=False, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


def as_released(path: Path, inits, *, frames: int = 32, size: int = 64) -> Path:
    """A file of uniform motion as PhyWorld's generator makes it: drawn on one step less than there are pixels."""
    grid = np.arange(size) / (size - 1) * 10
    with h5py.File(path, "w") as file:
        videos = file.create_dataset("video_streams/00000", (len(inits),), dtype=h5py.vlen_dtype(np.dtype("uint8")))
        states = np.zeros((len(inits), frames, 2))
        for n, (radius, speed) in enumerate(inits):
            states[n, :, 0] = 0.2 + radius + speed * (0.01 + 0.1 * np.arange(frames))
            states[n, :, 1] = 3 + 0.1 * n
            dx, dy = grid[None, None] - states[n, :, 0, None, None], grid[None, :, None] - states[n, :, 1, None, None]
            inside = np.clip((radius**2 - dx**2 - dy**2) / (0.03 * radius**2), 0, 1)[:, ::-1, :, None]
            film = ((1 - inside) * 255 + inside * np.array([255, 0, 0])).astype(np.uint8)
            videos[n] = np.frombuffer(mp4.encode(film), np.uint8)
        file["position_streams/00000"] = states
        file["init_streams/00000"] = np.array(inits, float)
    return path


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    inits = [(1.0, 1.5), (1.2, 2.5), (0.5, 2.0), (1.0, 5.0), (1.0, 0.0)]
    return as_released(tmp_path_factory.mktemp("released") / "uniform_motion_eval.hdf5", inits, size=128)


@pytest.fixture(scope="module")
def done(released, tmp_path_factory):
    """A finished run of a function that holds the last frame: (folder, printed)."""
    folder = tmp_path_factory.mktemp("run") / "out"
    code = tmp_path_factory.mktemp("code")
    (code / "phyworld_still.py").write_text(
        "import numpy as np\ndef still(given):\n    return np.repeat(given[-1:], 32 - len(given), 0)\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(code))
        patch.setenv("COLUMNS", "80")
        options = ("--suite", "phyworld", "--data", released, "--library", "2", "--out", folder)
        printed = run(*options, "--code", "phyworld_still:still")
    return folder, printed


def test_the_groups_are_its_splits_and_the_truth_is_the_states(released):
    suite = PhyWorldSuite(released, clips=8)
    assert [group.name for group in suite.groups] == ["in", "out_speed", "still"]
    assert suite.law == "uniform" and suite.frames == 32 and suite.told()["phyworld"]["splits"]["dropped"] == 1
    case = suite.case(suite.groups[0], 1, 3)
    assert case.id == "00000-00001" and case.frames.shape == (32, 64, 64, 3)
    tracked, seen = case.truth.tracked.position, case.truth.whole & case.truth.visible
    assert seen.sum() > 20
    assert np.abs(tracked - case.truth.position)[seen].max() < 0.1


def test_clips_are_taken_evenly_over_the_file(released):
    assert PhyWorldSuite._spread(list("abcdefg"), 3) == ["a", "d", "g"]
    assert PhyWorldSuite._spread(list("abc"), 8) == ["a", "b", "c"]
    suite = PhyWorldSuite(released, ["in"], clips=1)
    assert [suite.id(suite.groups[0], n) for n in range(suite.count(suite.groups[0], 8))] == ["00000-00000"]


def test_results_have_its_numbers_and_the_paper_beside_them(done):
    folder, printed = done
    body = results.read(folder)
    rows = {(r["predictor"], r["scenario"], r["metric"]): r for r in body["rows"]}
    still = rows["still", "in_distribution", "phyworld_vel_error"]
    assert still["mean"] == pytest.approx(2.0, abs=1e-6) and still["count"] == 2
    # Of true frames the unbiased ruler leaves what thresholds leave at 64 pixels; PhyWorld's own adds v / 128 here.
    own = rows["tracker", "in_distribution", "phyworld_vel_error"]["mean"]
    unbiased = rows["tracker", "in_distribution", "phyworld_vel_error_unbiased"]["mean"]
    assert unbiased < 0.01 and own == pytest.approx(2.0 / 128, abs=0.01)
    assert rows["simulator", "in_distribution", "phyworld_vel_error"]["mean"] < 0.1
    assert rows["constant_velocity", "out_of_distribution", "phyworld_vel_error"]["count"] == 2
    facts = body["phyworld"]
    assert facts["law"] == "uniform" and facts["ruler"] == {"pixels": 64, "steps": 127} and facts["scored"] == [3, 30]
    assert body["settings"]["given"] == [3]
    assert {"0.022", "0.012", "0.33 to 0.43"} <= {cell for row in parts(body)[0].grids[0].rows for cell in row}
    assert "DiT-L, 3M clips" in printed and "127 steps" in printed and "1 of 5 clips" in printed.replace("\n", " ")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_nothing_is_cut_at_any_width(done, width, monkeypatch):
    body, said = results.read(done[0]), io.StringIO()
    console = Console(file=said, width=width, highlight=False, markup=False, emoji=False)
    monkeypatch.setattr(terminal, "console_for_results", lambda: console)
    terminal.show(body, columns(body), parts(body))
    printed = said.getvalue()
    assert max(map(len, printed.splitlines())) <= width and "…" not in printed
    names = ("still", "simulator", "copy_last", "constant_velocity")
    rows = [r for r in body["rows"] if r["predictor"] in names and r["metric"] == "phyworld_vel_error_unbiased"]
    for row in rows:
        if row["scenario"] in body["unions"]:
            assert f"{row['mean']:.4f}" in printed


def test_the_page_has_the_picture(done):
    folder, _ = done
    page = (folder / "report.html").read_text()
    assert "the range of training" in page and "By PhyWorld" in page
    assert page.count('<rect class="shade"') == 2


def test_results_of_another_file_are_not_compared(done):
    body = results.read(done[0])
    other = json.loads(json.dumps(body))
    compare.refuse_other_clips(body, other)
    other["phyworld"]["sha256"] = "0"
    with pytest.raises(VDTError, match="different files"):
        compare.refuse_other_clips(body, other)


def test_a_checkpoint_of_shorter_clips_rolls_out_and_says_so(checkpoint):
    settings = Settings(
        models=(str(checkpoint),), suite="phyworld", data=str(UNIFORM), clips=1, given=(3,), steps=1, world="phyworld"
    )
    suite = suite_of(settings)
    tiny = build(settings, suite)[0]
    assert tiny.details["roll_out"].startswith("16 frames at once") and "rolled out" in tiny.about
    case = suite.case(suite.groups[0], 0, 3)
    ((clip,),) = tiny.complete([case])
    assert clip.shape == (32, 64, 64, 3) and (clip[:3] == case.frames[:3]).all()
    assert len(np.unique(clip[20:])) > 1
    with pytest.raises(VDTError, match="at most 15 can be given"):
        build(replace(settings, given=(16,)), suite)


@pytest.mark.parametrize("law", ["parabola", "collision"])
def test_the_other_laws(law):
    path = GOLDEN / f"{law}_train.hdf5"
    suite = PhyWorldSuite(path, clips=2)
    assert suite.law == law
    case = suite.case(suite.groups[0], 0, 3)
    assert case.clip.scene.gravity == pytest.approx(2.5 if law == "parabola" else 0.0, abs=0.01)
    truth = case.truth
    found = case.own_scores(type("P", (), {"tracks": 1, "frames": case.frames})())
    name = "phyworld_post_vel_error" if law == "collision" else "phyworld_abs_y_err_avg"
    assert found[name + "_unbiased"] < 0.05 and set(found) <= set(case.own_metrics)
    assert (truth.patient is not None) == (law == "collision")


# ---- what cannot be used


def test_a_broken_clip_is_counted_and_named(tmp_path):
    path = Path(shutil.copy(UNIFORM, tmp_path / "a.hdf5"))
    with h5py.File(path, "r+") as file:
        stream = file["video_streams/00000"][2].copy()
        stream[60:] = 0
        file["video_streams/00000"][2] = stream
        file["init_streams/00000"][3] = (1e9, 2.0)
    suite = PhyWorldSuite(path, clips=8)
    names = dict(suite.bad)
    assert "MP4 stream is broken" in names["00000-00002"] and "00000-00003" in names
    assert sum(suite.count(group, 8) for group in suite.groups) == 3


def broken(kind: str, path: Path) -> Path:
    path.write_bytes(UNIFORM.read_bytes())
    if kind == "cut":
        path.write_bytes(UNIFORM.read_bytes()[:9000])
        return path
    if kind == "text":
        path.write_text("clip,x,y\n")
        return path
    with h5py.File(path, "r+") as file:
        if kind == "layout":
            del file["init_streams"]
        elif kind == "combinatorial":
            file.create_group("action_streams")
        elif kind == "small":
            file["init_streams/00000"][:, 0] = 0.4
        elif kind == "streams":
            for n in range(5):
                file["video_streams/00000"][n] = np.zeros(100, np.uint8)
        elif kind == "away":
            file["position_streams/00000"][...] = 20.0
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("cut", "cut"),
        ("text", "no HDF5 file"),
        ("layout", "lacks the group init_streams"),
        ("combinatorial", "combinatorial"),
        ("small", "all 5 are small"),
        ("streams", "No clip of .* can be read"),
        ("away", "None of the 5 clips"),
    ],
)
def test_files_that_cannot_be_used_are_one_sentence(kind, said, tmp_path):
    with pytest.raises(VDTError, match=said) as caught:
        PhyWorldSuite(broken(kind, tmp_path / "a.hdf5"), clips=8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--suite", "phyworld"), "needs --data"),
        (("--data", UNIFORM), "without --suite phyworld"),
        (("--suite", "phyworld", "--data", UNIFORM, "--world", "1"), "--world would do nothing"),
        (("--suite", "phyworld", "--data", UNIFORM, "--frames", "40"), "--frames asks for 40"),
        (("--suite", "phyworld", "--data", UNIFORM, "--frames", "4"), "too short"),
        (("--suite", "phyworld", "--data", UNIFORM, "--given", "32"), "does not fit"),
        (("--suite", "phyworld", "--data", UNIFORM, "--scenario", "fast"), "Unknown split"),
        (("--suite", "phyworld", "--data", "nowhere.hdf5"), "no file"),
        (("--metric", "phyworld_vel_error"), "Unknown metric"),
    ],
)
def test_options_that_do_not_fit(options, said, tmp_path):
    with pytest.raises(VDTError, match=said):
        run(*options, "--baselines-only", "--out", tmp_path / "o")


def test_without_h5py_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(VDTError, match=r"vdt-mlx\[phyworld\]"):
        PhyWorldSuite(UNIFORM, clips=1)
