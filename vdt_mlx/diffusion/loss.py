"""The training loss, once: the masked denoising loss and, where the variance is learned, its variational bound.

All that depends on the timesteps is an array of `coefficients` by clip, worked out on the host, so that a step with
this loss can be compiled whatever the network learns.
"""

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from vdt_mlx.diffusion.schedule import Ancestral, Network, Schedule, split_output
from vdt_mlx.errors import VDTError

NORMALISATIONS = ("masked", "all")


@dataclass(frozen=True)
class Losses:
    """Each (B,), per clip."""

    total: mx.array
    mse: mx.array
    vb: mx.array | None = None
    """The variational bound, where the variance is learned; part of `total`."""


def coefficients(schedule: Schedule, t: np.ndarray) -> np.ndarray:
    """(B, 10) what the loss takes of timesteps t (B,), float32: see the columns. A flow has no bound: its last are 0.

    alpha and sigma of x_t = alpha x0 + sigma eps; the target's weights of x0 and eps; the squared error's weight; of
    the bound: the posterior mean's weights of x0 and x_t, the log variances of posterior and beta, and whether t is 0.
    """
    t = np.asarray(t)
    alpha, sigma = schedule.alpha_sigma(t)
    x0, eps = {
        "epsilon": (np.zeros_like(alpha), np.ones_like(alpha)),
        "sample": (np.ones_like(alpha), np.zeros_like(alpha)),
        "flow": (-np.ones_like(alpha), np.ones_like(alpha)),
        "velocity": (-sigma, alpha),
    }[schedule.prediction]
    bound = [np.zeros_like(alpha)] * 5
    if not schedule.is_flow:
        process, index = Ancestral.build(schedule), t.astype(np.int64)
        log_variances = process.posterior_log_variance[index], np.log(process.betas[index])
        bound = [process.mean_coef_x0[index], process.mean_coef_xt[index], *log_variances, (index == 0) * 1.0]
    return np.stack([alpha, sigma, x0, eps, schedule.loss_weight(t), *bound], axis=1).astype(np.float32)


def training_losses(
    schedule: Schedule,
    network: Network,
    x0: mx.array,
    mask: mx.array,
    t: np.ndarray,
    noise: mx.array,
    *,
    normalise: str = "masked",
) -> Losses:
    """The losses of `masked_losses` at timesteps t (B,), whole numbers for the linear schedule."""
    values = mx.array(coefficients(schedule, t))
    return masked_losses(schedule, network, x0, mask, mx.array(np.asarray(t)), noise, values, normalise=normalise)


def masked_losses(
    schedule: Schedule,
    network: Network,
    x0: mx.array,
    mask: mx.array,
    t: mx.array,
    noise: mx.array,
    weights: mx.array,
    *,
    normalise: str = "masked",
) -> Losses:
    """The masked denoising loss (paper, eq. 5): given cells stay clean in the input and do not count in the loss.

    Args:
        x0: clean latents, (B, T, H, W, C).
        mask: (B, T, H, W), 1 = generate.
        t: (B,) timesteps, what the network is told.
        weights: (B, 10), `coefficients` of the same timesteps.
        normalise: `masked` divides the squared error by the generated cells of each clip; `all` by all of its cells and
            leaves the variance term unmasked, as the official release does.

    Returns:
        Losses; where the network answers 2C channels, `vb` is the variational bound in bits a dimension, with the
        prediction held fixed, times num_train_steps / 1000 (improved DDPM's hybrid loss), and is part of `total`.

    Raises:
        VDTError: an unknown normalisation, or a learned variance on a flow.
    """
    if normalise not in NORMALISATIONS:
        raise VDTError(f"Unknown loss normalisation {normalise!r}: use {' or '.join(NORMALISATIONS)}.")
    cells = mask[..., None]
    columns = [weights[:, i].reshape(-1, 1, 1, 1, 1) for i in range(weights.shape[1])]
    alpha, sigma, target_x0, target_eps, weight, *bound = columns
    noisy = alpha * x0 + sigma * noise
    answer = network(x0 * (1 - cells) + noisy * cells, t, (x0 * (1 - cells), mask))
    prediction, values = split_output(answer, x0.shape[-1])
    error = weight * (target_x0 * x0 + target_eps * noise - prediction).square() * cells
    counted = cells if normalise == "masked" else None
    mse = _clip_mean(error, counted)
    if values is None:
        return Losses(mse, mse)
    if schedule.is_flow:
        raise VDTError("A learned variance goes with the linear schedule: a flow's process has no posterior.")
    frozen = mx.stop_gradient(prediction)
    if schedule.prediction == "epsilon":
        guess = (noisy - sigma * frozen) / alpha
    else:
        guess = alpha * noisy - sigma * frozen
    nats = _variational_bound(guess, values, x0, noisy, *bound)
    if counted is not None:
        nats = nats * counted
    vb = _clip_mean(nats, counted) * (schedule.config.num_train_steps / 1000)
    return Losses(mse + vb, mse, vb)


def _clip_mean(value: mx.array, cells: mx.array | None) -> mx.array:
    """(B,) the mean over each clip, or over its `cells` (B, T, H, W, 1); 0 where there are none."""
    axes = tuple(range(1, value.ndim))
    if cells is None:
        return value.mean(axis=axes)
    return value.sum(axis=axes) / mx.maximum(cells.sum(axis=axes) * value.shape[-1], 1)


def _variational_bound(
    guess: mx.array,
    values: mx.array,
    x0: mx.array,
    x: mx.array,
    mean_x0: mx.array,
    mean_xt: mx.array,
    low: mx.array,
    high: mx.array,
    first: mx.array,
) -> mx.array:
    """Per element, in bits: KL of the true and the modelled posterior, or at t = 0 the decoder's likelihood.

    Args:
        guess: the clean clip that the network implies.
        values: the network's, -1 to 1: between the log variances `low` (of the posterior) and `high` (of beta).
    """
    true_mean, mean = (mean_x0 * clean + mean_xt * x for clean in (x0, guess))
    fraction = (values + 1) / 2
    log_variance = fraction * high + (1 - fraction) * low
    spread = mx.exp(low - log_variance) + (true_mean - mean).square() * mx.exp(-log_variance)
    kl = 0.5 * (log_variance - low - 1 + spread)
    decoder = _discretized_nll(x0, mean, 0.5 * log_variance)
    return mx.where(first > 0, decoder, kl) / float(np.log(2.0))


def _discretized_nll(x: mx.array, mean: mx.array, log_scale: mx.array) -> mx.array:
    """-log of a Gaussian integrated over a bin of 2/255, open at -1 and 1 (DDPM, eq. 13), by the tanh cdf."""

    def cdf(value: mx.array) -> mx.array:
        return 0.5 * (1 + mx.tanh(float(np.sqrt(2 / np.pi)) * (value + 0.044715 * value**3)))

    inverse = mx.exp(-log_scale)
    upper = cdf(inverse * (x - mean + 1 / 255))
    lower = cdf(inverse * (x - mean - 1 / 255))
    tiny = 1e-12
    log = mx.log(mx.maximum(upper - lower, tiny))
    log = mx.where(x > 0.999, mx.log(mx.maximum(1 - lower, tiny)), log)
    return -mx.where(x < -0.999, mx.log(mx.maximum(upper, tiny)), log)
