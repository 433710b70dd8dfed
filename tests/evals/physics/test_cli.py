"""`python -m evals.physics` as a user runs it: outputs, the page in a browser, and every kind of bad input."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from evals.physics import results
from evals.physics.cli import physics
from vdt_mlx.errors import VDTError
from vdt_mlx.play.process import find_browser

ROOT = Path(__file__).parents[3]
FEW = ["--scenario", "collide,uniform", "--clips", "2", "--library", "2", "--sections", "none"]
CODE = f"{Path(__file__).stem}_code"


def run(*arguments):
    """Output of the command; what it raises is raised."""
    result = CliRunner().invoke(physics, [str(a) for a in arguments], catch_exceptions=False, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture(scope="module", autouse=True)
def code(tmp_path_factory):
    """A module with predictors, as a user would have one."""
    folder = tmp_path_factory.mktemp("code")
    (folder / f"{CODE}.py").write_text(
        "import numpy as np\n"
        "def still(given):\n    return np.repeat(given[-1:], 16 - len(given), 0)\n"
        "def short(given):\n    return given\n"
        "text = 'not a function'\n"
    )
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def done(tmp_path_factory, code):
    """A finished run: (folder, printed)."""
    folder = tmp_path_factory.mktemp("run") / "out"
    printed = run("--code", f"{CODE}:still", *FEW, "--out", folder)
    return folder, printed


def test_prints_the_verdict_the_tables_and_where_things_are(done):
    folder, printed = done
    assert "fingerprint" in printed and "constant velocity" in printed and "still" in printed
    assert str(folder / "report.html") in printed
    body = results.read(folder)
    assert body["settings"]["clips"] == 2 and len(body["suite"]["clips"]["collide"]) == 2
    keys = {"predictor", "given", "scenario", "metric", "mean", "low", "high", "count", "missing"}
    assert all(set(row) == keys for row in body["rows"])


def test_the_page_holds_everything_and_asks_the_network_for_nothing(done):
    page = (done[0] / "report.html").read_text()
    assert not re.search(r"""(src|href)=["']?(https?:|//|file:)""", page)
    assert not re.search(r"url\((?!data:)", page)
    for text in (
        "How well “still” predicts motion",
        "collide-test-0000",
        "Fingerprint",
        "ADE",
        "Best",
        "prefers-color-scheme",
    ):
        assert text.lower() in page.lower()
    assert page.count('class="clip"') == 4
    assert len(page) < 3_000_000


@pytest.fixture(scope="module")
def browser():
    found = find_browser()
    if found is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    return found


def look(browser, page, picture, width, height, *options):
    """Opens a page from file://, takes a picture, and returns what its console said."""
    command = [
        browser,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--enable-logging=stderr",
    ]
    command += ["--v=0", f"--screenshot={picture}", f"--window-size={width},{height}", *options, page.as_uri()]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return [line for line in said.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.slow
def test_the_page_in_a_browser(done, browser, tmp_path):
    from PIL import Image

    page = done[0] / "report.html"
    wide, phone, dark = tmp_path / "wide.png", tmp_path / "phone.png", tmp_path / "dark.png"
    assert look(browser, page, wide, 1200, 1600) == []
    assert look(browser, page, phone, 500, 1600) == []
    assert look(browser, page, dark, 1200, 1600, "--blink-settings=preferredColorScheme=0") == []
    light_pixels, dark_pixels = (np.asarray(Image.open(path).convert("L"), float) for path in (wide, dark))
    assert light_pixels.mean() > 200 > 90 > dark_pixels.mean()
    assert light_pixels.std() > 10 and len(np.unique(np.asarray(Image.open(phone).convert("L")))) > 50


@pytest.mark.slow
def test_a_broken_page_would_be_noticed(browser, tmp_path):
    page = tmp_path / "broken.html"
    page.write_text("<!doctype html><title>x</title><script>throw new Error('broken')</script>")
    assert look(browser, page, tmp_path / "x.png", 300, 300)


def test_json_is_one_object(tmp_path):
    one = ["--scenario", "uniform", "--clips", "1", "--library", "1", "--sections", "none"]
    printed = run("--baselines-only", *one, "--out", tmp_path / "o", "--json")
    body = json.loads(printed)
    assert set(body) == {"outputs", "fingerprint", "verdict", "rows", "seconds"}


def test_export_then_predictions_from_a_folder(tmp_path, done):
    given, made = tmp_path / "given", tmp_path / "made"
    run("--export", given, "--scenario", "collide,uniform", "--clips", "2")
    index = json.loads((given / "index.json").read_text())
    assert [entry["id"] for entry in index["clips"]][:2] == ["collide-test-0000", "collide-test-0001"]
    made.mkdir()
    for path in given.glob("*.npz"):
        frames = np.load(path)["frames"]
        assert frames.shape == (8, 64, 64, 3)
        np.savez(made / path.name, frames=np.repeat(frames[-1:], 8, 0))
    out = tmp_path / "out"
    run("--predictions", made, *FEW, "--out", out)
    found = {(r["predictor"], r["scenario"], r["metric"]): r for r in results.read(out)["rows"]}
    other = {(r["predictor"], r["scenario"], r["metric"]): r for r in results.read(done[0])["rows"]}
    assert found["made", "collide", "ade"]["mean"] == other["still", "collide", "ade"]["mean"]

    (made / "collide-test-0001.npz").unlink()
    np.savez(made / "uniform-test-0000.npz", frames=np.zeros((5, 64, 64, 3), np.uint8))
    printed = run("--predictions", made, *FEW, "--out", tmp_path / "holes")
    body = results.read(tmp_path / "holes")
    assert {b["clip"] for b in body["bad"]} == {"collide-test-0001", "uniform-test-0000"}
    assert "collide-test-0001" in printed and "5 frames" in printed


def test_predictions_as_gifs(tmp_path):
    from PIL import Image

    import physics_sim

    folder = tmp_path / "gifs"
    folder.mkdir()
    clip = physics_sim.make_clip("collide", "test", 0)
    images = [Image.fromarray(frame) for frame in clip.frames]
    images[0].save(folder / "collide-test-0000.gif", save_all=True, append_images=images[1:], duration=100)
    one = ["--scenario", "collide", "--clips", "1", "--library", "1", "--sections", "none"]
    run("--predictions", folder, *one, "--out", tmp_path / "out")
    rows = {(r["predictor"], r["metric"]): r["mean"] for r in results.read(tmp_path / "out")["rows"]}
    assert rows["gifs", "ade"] < 0.3 and rows["gifs", "contact"] == 1


def test_compare_says_what_differs(done, tmp_path):
    folder, _ = done
    assert "Nothing differs" in run("compare", folder, folder)
    body = results.read(folder)
    body["values"]["still"]["8"]["collide"]["ade"] = [v + 1 for v in body["values"]["still"]["8"]["collide"]["ade"]]
    results.write(body, tmp_path / "results.json")
    printed = run("compare", folder / "results.json", tmp_path / "results.json", "--scenario", "collide")
    assert "+1.00" in printed
    found = json.loads(run("compare", folder, tmp_path, "--json"))
    (entry,) = [
        e for e in found["differences"] if (e["predictor"], e["scenario"], e["metric"]) == ("still", "collide", "ade")
    ]
    assert entry["difference"] == pytest.approx(1) and entry["significant"]


def test_the_tracker_has_a_table_of_its_own():
    printed = run("tracking", "--clips", "1", "--scenario", "uniform")
    assert "JPEG" in printed and "true frames" in printed


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--scenario", "colide"], "Unknown scenario 'colide'"),
        (["--scenario", "collide:tset"], "Unknown split"),
        (["--metric", "adee"], "Unknown metric 'adee'; did you mean 'ade'"),
        (["--clips", "0"], "1 to 10,000"),
        (["--clips", "1000000000"], "1 to 10,000"),
        (["--library", "1000000000"], "1 to 100,000"),
        (["--seed", "-1"], "0 to 2"),
        (["--seed", str(2**70)], "0 to 2"),
        (["--frames", "1000000"], "2 to 1000"),
        (["--world", "3"], "no version"),
        (["--sections", "x"], "Unknown section"),
        (["tracking", "--clips", "1000000000"], "1 to 10,000"),
        (["calibrate", "--clips", "0"], "1 to 10,000"),
        (["--clips", "3", "--full"], "would do nothing"),
        (["--given", "0"], "1 to 15"),
        (["--given", "16"], "1 to 15"),
        (["--given", "8,8"], "different numbers"),
        (["--samples", "0"], "1 to 64"),
        (["--steps", "0", "--model", "x"], "1 to 10,000"),
        (["--model", "no-such-model"], "no model named"),
        (["--rivals-only", "--code", "a:b"], "would do nothing"),
        (["--rivals-only", "--steps", "3"], "would do nothing"),
        (["--code", "nothing_here:f"], "cannot be imported"),
        (["--code", f"{CODE}:text"], "not a function"),
        (["--predictions", "no/such/folder"], "no folder of predictions"),
        (["--export", "given", "--steps", "3"], "would do nothing"),
        (["--baselines-only", "--resume", "--out", "nothing-there"], "no run in"),
        (["--baselines-only", "--size", "0"], "16 to 512"),
        (["compare", "no.json", "no.json"], "no results file"),
        (["calibrate", "--split", "test"], "never tuned on the test split"),
        (["tracking", "--scenario", "x"], "Unknown scenario"),
    ],
)
def test_bad_input_is_one_sentence(arguments, match, tmp_path, monkeypatch):
    from physics_sim import SimulationError

    monkeypatch.chdir(tmp_path)
    with pytest.raises((VDTError, SimulationError), match=match):
        run(*arguments)
    assert not (tmp_path / "vdt-out").exists()


def test_lpips_without_its_package(tmp_path):
    if importlib.util.find_spec("lpips") is not None:
        pytest.skip("lpips is installed")
    with pytest.raises(VDTError, match="needs the package lpips"):
        run("--baselines-only", "--lpips", *FEW, "--out", tmp_path / "o")


def test_a_damaged_prediction_is_named(tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    np.savez(folder / "collide-test-0000.npz", frames=np.zeros((16, 64, 64, 3), np.uint8))
    (folder / "collide-test-0001.gif").write_bytes(b"GIF89a\x40\x00\x40\x00 cut short")
    arguments = ["--scenario", "collide", "--clips", "2", "--library", "1", "--sections", "none"]
    assert "collide-test-0001" in run("--predictions", folder, *arguments, "--out", tmp_path / "o")
    (bad,) = results.read(tmp_path / "o")["bad"]
    assert "cannot be used" in bad["reason"]


def test_an_empty_folder_and_one_of_wrong_sizes(tmp_path):
    empty, wrong, other = tmp_path / "empty", tmp_path / "wrong", tmp_path / "other"
    for folder in (empty, wrong, other):
        folder.mkdir()
    with pytest.raises(VDTError, match="holds no predictions"):
        run("--predictions", empty, *FEW, "--out", tmp_path / "o")
    np.savez(wrong / "collide-test-0000.npz", frames=np.zeros((16, 32, 32, 3), np.uint8))
    with pytest.raises(VDTError, match=r"No prediction in .* fits: .*\(16, 32, 32, 3\)"):
        run("--predictions", wrong, *FEW, "--out", tmp_path / "o")
    np.savez(other / "someone.npz", frames=np.zeros((16, 64, 64, 3), np.uint8))
    with pytest.raises(VDTError, match="no prediction for any"):
        run("--predictions", other, *FEW, "--out", tmp_path / "o")


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VDTError, match="is a file"):
        run("--rivals-only", *FEW, "--out", tmp_path / "file")


def test_status_2_and_no_traceback():
    command = [sys.executable, "-m", "evals.physics", "--scenario", "nowhere"]
    said = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    lines = [line for line in said.stderr.splitlines() if not line.startswith("Note: ")]  # advice to install OpenBLAS
    assert said.returncode == 2 and said.stdout == "" and len(lines) == 1
    assert lines[0].startswith("Error: Unknown scenario 'nowhere'")
