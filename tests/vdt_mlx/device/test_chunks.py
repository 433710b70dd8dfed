"""Pieces of an autoencoder's work, by device."""

import pytest

from vdt_mlx.config import AutoencoderConfig
from vdt_mlx.device import chunks
from vdt_mlx.device.kernels import forms

KL = AutoencoderConfig()
TINY = AutoencoderConfig(kind="tiny", block_out_channels=(64,) * 4)


def on_a_gpu(config: AutoencoderConfig, side: int) -> int:
    with forms("gpu"):
        return chunks.frames_at_once(config, side, side)


@pytest.mark.parametrize("config", [KL, TINY])
def test_a_cpu_goes_by_its_unrolled_convolutions(config) -> None:
    with forms("cpu"):
        assert chunks.frames_at_once(config, 128, 96) == config.frames_at_once(128, 96)


def test_a_gpu_goes_by_its_memory(monkeypatch) -> None:
    found = []
    for room in (None, 2 << 30, 11 << 30, 48 << 30, 1 << 40):
        monkeypatch.setattr(chunks, "gpu_bytes", lambda room=room: room)
        found.append(on_a_gpu(KL, 256))
    assert found == [2, 1, 5, 16, 16]


def test_small_frames_and_large_ones(monkeypatch) -> None:
    monkeypatch.setattr(chunks, "gpu_bytes", lambda: 11 << 30)
    assert on_a_gpu(TINY, 64) == 16
    assert on_a_gpu(KL, 4096) == 1
    assert on_a_gpu(TINY, 256) > on_a_gpu(KL, 256)


def test_the_widest_level() -> None:
    assert chunks.widest(KL) == 256
    shipped = AutoencoderConfig(
        kind="tiny", block_out_channels=(16, 32, 64, 128), decoder_block_out_channels=(32, 64, 96, 128)
    )
    assert chunks.widest(shipped) == 64
