"""Instance discrimination with a memory bank (Wu et al. 2018): every training image is its own class.

The bank holds one embedding per image, from the last time the image was seen. Loss functions only read
it; the method writes it. Pass it detached. Half precision is computed in float32, also under autocast.
"""

import math
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_matrices, check_positive, unit_rows
from ssl_lessons.losses.metric import nce


def instdisc(
    z: Tensor, bank: Tensor, index: Tensor, temperature: float = 0.07, proximal: float = 0.0
) -> Tensor:
    """The non-parametric softmax over the whole bank (Wu et al. 2018, eq. 2 and section 3.3).

        loss = -mean_i log( exp(z_i.b_y(i) / t) / sum_k exp(z_i.b_k / t) ) + proximal mean_i |z_i - b_y(i)|^2

    A classifier with one class per image whose weight vectors are the embeddings themselves. The
    proximal term keeps an image near its previous embedding, which each step sees once per epoch.

    z: [N, D]; bank: [M, D]; index: [N], the row of the bank each z belongs to; all rows are divided by
    their length. Returns a scalar: log M if all embeddings are equal.
    Raises InputError for shapes or indices that do not fit, or values that are not finite.
    """
    _check(z, bank, index, temperature, proximal)
    with torch.autocast(z.device.type, enabled=False):
        z, bank = unit_rows(z, bank)
        softmax = F.cross_entropy(z @ bank.T / temperature, index)
        return softmax + proximal * _movement(z, bank, index)


def instdisc_nce(
    z: Tensor,
    bank: Tensor,
    index: Tensor,
    noise: Tensor,
    normalizer: float | Tensor,
    temperature: float = 0.07,
    proximal: float = 0.0,
) -> Tensor:
    """The same softmax by noise-contrastive estimation (Wu et al. 2018, section 3.2), for large banks.

        P(k | z) = exp(z.b_k / t) / Z,   h(k, z) = P(k | z) / (P(k | z) + m / M)
        loss = -mean_i [ log h(y(i), z_i) + sum_{k in noise_i} log(1 - h(k, z_i)) ]
               + proximal mean_i |z_i - b_y(i)|^2

    Is this entry the image's own, or one of m drawn uniformly from the M in the bank? The constant Z is
    estimated once, from a first batch (`instdisc_normalizer`), and then kept.

    z: [N, D]; bank: [M, D]; index: [N]; noise: [N, m], rows of the bank drawn uniformly.
    Returns a scalar. Raises InputError for shapes, indices, a normalizer, or values that do not fit.
    """
    _check(z, bank, index, temperature, proximal)
    _check_index(noise, (len(z), noise.shape[-1]), len(bank), "noise")
    check_positive(normalizer=float(normalizer))
    with torch.autocast(z.device.type, enabled=False):
        z, bank = unit_rows(z, bank)
        log_z = math.log(normalizer)
        own = (z * bank[index]).sum(dim=1) / temperature - log_z  # log P(y(i) | z_i), [N]
        others = torch.einsum("nd,nmd->nm", z, bank[noise]) / temperature - log_z  # [N, m]
        uniform = torch.tensor(-math.log(len(bank)), dtype=z.dtype, device=z.device)
        loss = nce(own, others.flatten(), uniform.expand_as(own), uniform.expand(others.numel()))
        return loss + proximal * _movement(z, bank, index)


@torch.no_grad()
def instdisc_normalizer(z: Tensor, bank: Tensor, noise: Tensor, temperature: float = 0.07) -> float:
    """Z of `instdisc_nce`: M times the mean of exp(z.b_k / t) over the sampled entries (section 3.2).

    z: [N, D]; bank: [M, D]; noise: [N, m], rows of the bank drawn uniformly.
    """
    check_positive(temperature=temperature)
    check_matrices(z, bank)
    _check_index(noise, (len(z), noise.shape[-1]), len(bank), "noise")
    z, bank = unit_rows(z.double(), bank.double())
    return float(len(bank) * (torch.einsum("nd,nmd->nm", z, bank[noise]) / temperature).exp().mean())


def _movement(z: Tensor, bank: Tensor, index: Tensor) -> Tensor:
    return (z - bank[index]).square().sum(dim=1).mean()


def _check(z: Tensor, bank: Tensor, index: Tensor, temperature: float, proximal: float) -> None:
    check_positive(temperature=temperature)
    if not isinstance(proximal, Real) or not math.isfinite(proximal) or proximal < 0:
        raise InputError(f"proximal must be 0 or a positive number, not {proximal!r}.")
    check_matrices(z, bank)
    if z.shape[1] != bank.shape[1]:
        raise InputError(
            f"The bank has {bank.shape[1]} dimensions and the embeddings {z.shape[1]}; "
            "both must come from the same projector."
        )
    if not len(z):
        raise InputError("At least one embedding is needed.")
    _check_index(index, (len(z),), len(bank), "index")


def _check_index(index: Tensor, shape: tuple[int, ...], size: int, name: str) -> None:
    whole = isinstance(index, Tensor) and not index.is_floating_point() and index.dtype != torch.bool
    if not whole or index.shape != shape or not index.numel() or index.min() < 0 or index.max() >= size:
        raise InputError(f"{name} must hold whole numbers from 0 to {size - 1}, of shape {list(shape)}.")
