"""Diffusion processes: the official release's (1000 linear betas, learned range) and rectified flow.

Both are seen through one abstraction, a path `x_t = alpha(t) x0 + sigma(t) eps`, so that samplers and losses do not
care which one they run on, nor whether the network predicts epsilon, velocity, flow or the sample. Timesteps `t` are
what the network is told: 0 to 999 for the linear schedule (index of the beta), 1000 times the time for rectified flow.

Papers: DDPM (arXiv 2006.11239), improved DDPM (arXiv 2102.09672), progressive distillation's v (arXiv 2202.00512),
rectified flow (arXiv 2209.03003), predicting the sample on its path (JiT, arXiv 2511.13720).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from vdt_mlx.config import DiffusionConfig
from vdt_mlx.errors import VDTError

LEAST_SIGMA = 0.05
"""Below it the loss of a predicted sample is not weighed up any more (JiT's value)."""

Given = tuple[mx.array, mx.array]
"""The given cells: a clip (B, T, H, W, C) that holds them, and the mask (B, T, H, W), 1 = generate, 0 = given."""

Network = Callable[[mx.array, mx.array, Given | None], mx.array]
"""`network(x, t, given)`: x (B, T, H, W, C), given cells in place, t (B,), given -> (B, T, H, W, C or 2C).

What has its conditioning in x alone (the official network) does not look at `given`."""


class Schedule:
    """A noise path and what the network predicts on it."""

    def __init__(self, config: DiffusionConfig):
        self.config = config
        self.prediction = config.prediction
        self.is_flow = config.schedule == "flow"
        steps = config.num_train_steps
        if not self.is_flow:
            self.betas = np.linspace(config.beta_start, config.beta_end, steps, dtype=np.float64)
            self.alphas_cumprod = np.cumprod(1 - self.betas)

    @property
    def max_timestep(self) -> float:
        """The noisiest timestep: where sampling starts."""
        return float(self.config.num_train_steps - (0 if self.is_flow else 1))

    def alpha_sigma(self, t: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Signal and noise scales (float64) at timesteps t, real-valued; between the 1000 steps, log-SNR is linear.

        For the linear schedule, t = -1 is the clean end: alpha 1, sigma 0.
        """
        t = np.asarray(t, np.float64)
        if self.is_flow:
            time = t / self.config.num_train_steps
            return 1 - time, time
        log_snr = np.log(self.alphas_cumprod) - np.log1p(-self.alphas_cumprod)
        value = np.interp(np.maximum(t, 0), np.arange(len(log_snr)), log_snr)
        variance = 1 / (1 + np.exp(value))
        alpha, sigma = np.sqrt(1 - variance), np.sqrt(variance)
        return np.where(t < 0, 1.0, alpha), np.where(t < 0, 0.0, sigma)

    @property
    def clean(self) -> float:
        """The timestep of the clean end (alpha 1, sigma 0)."""
        return 0.0 if self.is_flow else -1.0

    def target(self, x0: mx.array, noise: mx.array, t: np.ndarray) -> mx.array:
        """What the network should answer at x_t."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "flow":
            return noise - x0
        if self.prediction == "sample":
            return x0
        alpha, sigma = (_column(value, x0.ndim) for value in self.alpha_sigma(t))
        return alpha * noise - sigma * x0

    def loss_weight(self, t: np.ndarray) -> np.ndarray:
        """(B,) what the squared error counts: 1, or where the sample is predicted, what makes it that of the flow."""
        if self.prediction != "sample":
            return np.ones(np.shape(t))
        return np.maximum(self.alpha_sigma(t)[1], LEAST_SIGMA) ** -2

    def add_noise(self, x0: mx.array, noise: mx.array, t: np.ndarray) -> mx.array:
        """x_t for timesteps t (B,)."""
        alpha, sigma = (_column(value, x0.ndim) for value in self.alpha_sigma(t))
        return alpha * x0 + sigma * noise

    def to_x0_eps(self, x: mx.array, output: mx.array, t: float) -> tuple[mx.array, mx.array]:
        """The clean clip and the noise that a network output (C channels) implies at x_t."""
        alpha, sigma = (float(value) for value in self.alpha_sigma(t))
        if self.prediction == "epsilon":
            return (x - sigma * output) / alpha, output
        if self.prediction == "flow":
            return x - sigma * output, x + alpha * output
        if self.prediction == "sample":
            return output, (x - alpha * output) / sigma
        return alpha * x - sigma * output, sigma * x + alpha * output


def split_output(output: mx.array, channels: int) -> tuple[mx.array, mx.array | None]:
    """Prediction and variance values of a network output with C or 2C channels."""
    if output.shape[-1] == channels:
        return output, None
    return output[..., :channels], output[..., channels:]


# Respacing and the ancestral process -------------------------------------------------------------------------------


def space_timesteps(spec: str | int | Iterable[int], total: int = 1000) -> list[int]:
    """The kept timesteps, increasing, as the official release reads its respacing strings.

    `"250"`: 250 of them, first and last included; `"10,20,30"`: that many in each third; `"ddim50"`: a constant stride
    that gives exactly 50. Raises VDTError for a string that cannot be met.
    """
    text = spec if isinstance(spec, str) else str(spec) if isinstance(spec, int) else ",".join(map(str, spec))
    try:
        if text.startswith("ddim"):
            return _ddim_timesteps(int(text[4:]), total)
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        raise VDTError(f"The respacing {text!r} is not a number, a list such as 10,20,30, or ddim50.") from None
    kept: list[int] = []
    start = 0
    for index, count in enumerate(counts):
        size = total // len(counts) + (1 if index < total % len(counts) else 0)
        if not 1 <= count <= size:
            raise VDTError(f"The respacing {text!r} asks for {count} of {size} timesteps.")
        stride = 1.0 if count == 1 else (size - 1) / (count - 1)
        position = 0.0
        for _ in range(count):  # summed, not multiplied: rounding then falls as in the original
            kept.append(start + round(position))
            position += stride
        start += size
    return kept


def _ddim_timesteps(count: int, total: int) -> list[int]:
    for stride in range(1, total + 1):
        steps = list(range(0, total, stride))
        if len(steps) == count:
            return steps
    raise VDTError(f"No constant stride gives exactly {count} of {total} timesteps.")


@dataclass(frozen=True)
class Ancestral:
    """DDPM on a subset of the timesteps: its betas are those that keep the cumulative products of the full process."""

    timesteps: np.ndarray
    """(S,) what the network is told, increasing."""
    betas: np.ndarray
    alphas_cumprod: np.ndarray
    alphas_cumprod_prev: np.ndarray
    posterior_variance: np.ndarray
    posterior_log_variance: np.ndarray
    """Clipped: its first value, log 0, is replaced by the second."""
    mean_coef_x0: np.ndarray
    mean_coef_xt: np.ndarray

    @classmethod
    def build(cls, schedule: Schedule, respacing: str | int = "1000") -> "Ancestral":
        if schedule.is_flow:
            raise VDTError("Ancestral sampling needs a linear schedule; use euler or heun for a flow network.")
        return cls.over(schedule, np.array(space_timesteps(respacing, len(schedule.betas))))

    @classmethod
    def over(cls, schedule: Schedule, timesteps: np.ndarray) -> "Ancestral":
        """On these timesteps (S,), whole and increasing, of a linear schedule."""
        cumulative = schedule.alphas_cumprod[timesteps]
        previous = np.append(1.0, cumulative[:-1])
        betas = 1 - cumulative / previous
        variance = betas * (1 - previous) / (1 - cumulative)
        clipped = np.log(np.append(variance[1] if len(variance) > 1 else betas[0], variance[1:]))
        return cls(
            timesteps=timesteps,
            betas=betas,
            alphas_cumprod=cumulative,
            alphas_cumprod_prev=previous,
            posterior_variance=variance,
            posterior_log_variance=clipped,
            mean_coef_x0=betas * np.sqrt(previous) / (1 - cumulative),
            mean_coef_xt=(1 - previous) * np.sqrt(1 - betas) / (1 - cumulative),
        )

    def posterior_mean(self, x0: mx.array, x: mx.array, index: np.ndarray | int) -> mx.array:
        """Mean of q(x_{t-1} | x_t, x0) at positions `index` (scalar or (B,)) of the kept timesteps."""
        return self._at("mean_coef_x0", index, x.ndim) * x0 + self._at("mean_coef_xt", index, x.ndim) * x

    def model_log_variance(self, values: mx.array | None, index: np.ndarray | int, ndim: int) -> mx.array:
        """Learned range: between the log variances of posterior and beta, by values in [-1, 1]; else the former."""
        low = self._at("posterior_log_variance", index, ndim)
        if values is None:
            return low
        fraction = (values + 1) / 2
        high = _column(np.log(self.betas[index]), ndim)
        return fraction * high + (1 - fraction) * low

    def _at(self, name: str, index: np.ndarray | int, ndim: int) -> mx.array:
        return _column(getattr(self, name)[index], ndim)


def _column(values: np.ndarray, ndim: int) -> mx.array:
    """Values (B,) or () as fp32, shaped to scale an array of `ndim` axes."""
    return mx.array(np.asarray(values, np.float32).reshape((-1,) + (1,) * (ndim - 1)))
