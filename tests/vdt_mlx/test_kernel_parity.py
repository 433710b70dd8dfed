"""The kernels' checks hold here, in the forms for both devices, and notice what they are for."""

import mlx.core as mx
import numpy as np
import pytest

from vdt_mlx import kernel_parity as kernels
from vdt_mlx.device.kernels import forms
from vdt_mlx.parity import compare_kernels

CHECKS = {check.name: check for check in kernels.checks()}


def test_every_check_that_this_machine_has_room_for_holds(cpu) -> None:
    verdicts = compare_kernels()
    assert [verdict for verdict in verdicts if not verdict.passed] == []
    assert {verdict.rung for verdict in verdicts} == {name for name, check in CHECKS.items() if not check.needs_bytes}


def test_they_are_as_large_as_what_they_are_for(monkeypatch) -> None:
    """A GPU takes other kernels from certain sizes on."""
    seen: list[tuple[int, ...]] = []
    monkeypatch.setattr(kernels, "_conv", lambda x, weight: seen.extend((x.shape, weight.shape)))
    CHECKS["convolution, Winograd"].compute(mx.float32)
    (n, height, width, channels), (out, *_) = seen
    assert n * height * width >= 4096
    assert channels % 32 == out % 32 == 0
    assert channels + out >= 256
    monkeypatch.setattr(kernels, "attention", lambda q, k, v, scale: seen.append(q.shape))
    for name in (name for name in CHECKS if name.startswith("attention")):
        CHECKS[name].compute(mx.float32)
    assert {64, 72} <= {shape[-1] for shape in seen[2:] if shape[-2] > 8}


def rounded_to_tf32(x: mx.array) -> mx.array:
    bits = np.array(x).view(np.uint32)
    return mx.array(((bits + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)).view(np.float32))


@pytest.mark.parametrize("name", ["convolution, Winograd", "attention, heads of 72, 256 long"])
def test_products_of_tf32_are_noticed(cpu, monkeypatch, name: str) -> None:
    check = CHECKS[name]
    values = kernels._values
    with forms("gpu"):
        monkeypatch.setattr(
            kernels, "_values", lambda *given: values(*given) if kernels._plain else rounded_to_tf32(values(*given))
        )
        assert kernels.difference(check, "fp32") > kernels.TOLERANCE["fp32"]


@pytest.mark.parametrize("wrong", [0.0, float("nan")])
def test_zeros_and_nan_are_noticed(cpu, wrong: float) -> None:
    check = kernels.Check("faulty", ("fp32",), lambda dtype: mx.ones((3,)) * (1.0 if kernels._plain else wrong))
    assert not kernels.difference(check, "fp32") <= kernels.TOLERANCE["fp32"]


def test_large_checks_are_for_gpus_with_room(monkeypatch) -> None:
    largest = [check for check in CHECKS.values() if check.needs_bytes]
    assert len(largest) == 2
    with forms("gpu"):
        monkeypatch.setattr(kernels, "gpu_bytes", lambda: 5 * kernels.GIB)
        assert [kernels.fits(check) for check in largest] == [True, False]
    with forms("cpu"):
        assert not any(kernels.fits(check) for check in largest)


def test_the_large_checks_look_at_both_ends(cpu, monkeypatch) -> None:
    monkeypatch.setattr(kernels, "BEYOND", 2**20)
    monkeypatch.setattr(kernels, "frames_at_once", lambda *_: 3)
    monkeypatch.setattr(kernels, "SIDE", 16)
    for check in (check for check in CHECKS.values() if check.needs_bytes):
        dtype = check.dtypes[0]
        assert kernels.difference(check, dtype) <= kernels.TOLERANCE[dtype]
