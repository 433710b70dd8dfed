"""Features by protocol: the same beginning, nothing of the future in it, and each its own end."""

import numpy as np
import pytest

from evals.physion import extract
from evals.physion.extract import Wanted, protocols
from vdt_mlx.features import Asked, compute
from vdt_mlx.pipeline import Pipeline


@pytest.fixture(scope="module")
def pipeline(small) -> Pipeline:
    return Pipeline.from_pretrained(small)


def noise(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, frames, 64, 64, 3)).astype(np.uint8)


def parts(found: dict[str, np.ndarray], name: str, given: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    values = found[name].reshape(1, -1, size)
    return values[:, :given], values[:, given:]


def test_what_each_protocol_sees(pipeline, monkeypatch) -> None:
    clips, other = noise(6), noise(6, 1)
    other[:, :2] = clips[:, :2]
    monkeypatch.setattr(extract, "generate", lambda *_: other)
    wanted = Wanted("network", "blocks.0", 250.0, 6, 2)
    found = protocols(pipeline, clips, wanted, None, 3, [0])
    first = parts(found, "given", 2, 16)[0]
    blind = compute(pipeline, other, Asked("network", "blocks.0", given=2, blind=True, seed=3).resolved(pipeline, 6))
    assert first == pytest.approx(blind[:, :2], abs=1e-4)  # made from another future
    assert found["given"].shape == (1, 2 * 16)
    for name, frames in (("generated", other), ("observed", clips)):
        start, end = parts(found, name, 2, 16)
        assert (start == first).all()
        asked = Asked("network", "blocks.0", 250.0, 2, seed=3).resolved(pipeline, 6)
        assert end == pytest.approx(compute(pipeline, frames, asked)[:, 2:], abs=1e-4)


def test_long_clips_go_window_by_window(pipeline, monkeypatch) -> None:
    clips = noise(8)
    monkeypatch.setattr(extract, "generate", lambda *_: clips)
    found = protocols(pipeline, clips, Wanted("network", "blocks.0", 250.0, 8, 4), None, 0, [0])
    assert found["observed"].shape == (1, 8 * 16)
    assert (found["observed"] == found["generated"]).all()
    asked = Asked("network", "blocks.0", 250.0, 4).resolved(pipeline, 6)
    last = compute(pipeline, clips[:, 2:], asked)[:, 4:]  # frames 6 and 7, after the four before them
    assert parts(found, "observed", 6, 16)[1] == pytest.approx(last, abs=1e-4)


def test_the_autoencoder_sees_frame_by_frame(pipeline, monkeypatch) -> None:
    clips = noise(6)
    monkeypatch.setattr(extract, "generate", lambda *_: clips)
    found = protocols(pipeline, clips, Wanted("autoencoder", "latents", None, 6, 2), None, 0, [0])
    latents = np.array(pipeline.encode(clips)).mean(axis=(2, 3)).reshape(1, -1)
    assert found["observed"] == pytest.approx(latents, abs=1e-5)


def test_generation_goes_on_for_as_long_as_asked(pipeline) -> None:
    sampling = pipeline.resolve(None, "predict")
    made = extract.generate(pipeline, noise(6), 3, sampling, [1])
    assert made.shape == (1, 6, 64, 64, 3) and (made[:, :3] == noise(6)[:, :3]).all()
    assert extract.generate(pipeline, noise(8), 4, sampling, [1]).shape == (1, 8, 64, 64, 3)
