"""CIE Lab: lightness apart from colour, with distances close to what the eye sees; and colour as classes.

Images are float [N, 3, H, W] with channels first.  sRGB lies in [0, 1]; L in [0, 100], a (green to red) and b (blue to
yellow) around 0.  All conversions are differentiable and keep float64.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.views.constants import constant

# IEC 61966-2-1: chromaticities (x, y) of the primaries; the white point D65 as X, Y, Z (2 degree observer).
PRIMARIES = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
WHITE = (0.95047, 1.0, 1.08883)
_EPSILON, _KAPPA = 216 / 24389, 24389 / 27  # CIE 15: where the cube root becomes a straight line


def rgb_matrix() -> Tensor:
    """The 3 x 3 matrix from linear sRGB to XYZ, float64: its columns are the primaries, scaled to add up to white."""
    xyz = torch.tensor([[x / y, 1.0, (1 - x - y) / y] for x, y in PRIMARIES], dtype=torch.float64).T
    return xyz * torch.linalg.solve(xyz, torch.tensor(WHITE, dtype=torch.float64))


# Numbers, not tensors, and made before any network is traced: an exporter knows nothing of linear equations.
_TO_XYZ = tuple(map(tuple, rgb_matrix().tolist()))
_TO_RGB = tuple(map(tuple, torch.linalg.inv(rgb_matrix()).tolist()))


def _mix(matrix: tuple, x: Tensor) -> Tensor:
    return torch.einsum("ij,njhw->nihw", constant(matrix, x), x)


def _check(x: Tensor) -> None:
    if x.ndim != 4 or x.shape[1] != 3 or not x.is_floating_point():
        raise InputError(f"colours must be floats [N, 3, H, W], not {x.dtype} {list(x.shape)}")


def srgb_to_linear(rgb: Tensor) -> Tensor:
    """Undo the sRGB transfer curve: v / 12.92 below 0.04045, else ((v + 0.055) / 1.055)^2.4."""
    return torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: Tensor) -> Tensor:
    """The sRGB transfer curve, the inverse of `srgb_to_linear`; values below 0 continue the straight part."""
    knee = 0.04045 / 12.92
    return torch.where(linear <= knee, 12.92 * linear, 1.055 * linear.clamp(min=knee) ** (1 / 2.4) - 0.055)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """sRGB in [0, 1] to CIE Lab under D65, both [N, 3, H, W].

    L = 116 f(Y) - 16, a = 500 (f(X) - f(Y)), b = 200 (f(Y) - f(Z)), each divided by white's; f is the cube root, and a
    straight line for dark values (CIE 15; IEC 61966-2-1 for sRGB).
    """
    _check(rgb)
    white = constant(WHITE, rgb).view(3, 1, 1)
    t = _mix(_TO_XYZ, srgb_to_linear(rgb)) / white
    f = torch.where(t > _EPSILON, t.clamp(min=_EPSILON) ** (1 / 3), (_KAPPA * t + 16) / 116)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """CIE Lab to sRGB, both [N, 3, H, W]; colours a screen cannot show come out below 0 or above 1 (clamp them)."""
    _check(lab)
    L, a, b = lab.unbind(1)
    y = (L + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200], dim=1)
    t = torch.where(f**3 > _EPSILON, f**3, (116 * f - 16) / _KAPPA)
    white = constant(WHITE, lab).view(3, 1, 1)
    return linear_to_srgb(_mix(_TO_RGB, t * white))


# ---- colour as classes ---------------------------------------------------------------------------


@lru_cache
def _gamut(samples: int) -> Tensor:
    """The (a, b) of an even grid of samples^3 sRGB colours, [samples^3, 2]."""
    line = torch.linspace(0, 1, samples, dtype=torch.float64)
    cube = torch.cartesian_prod(line, line, line).T.reshape(1, 3, -1, 1)
    return rgb_to_lab(cube)[0, 1:, :, 0].T


@lru_cache
def ab_bins(grid: int = 10, samples: int = 64) -> Tensor:
    """Centres (a, b) of the bins that hold some colour of a screen: float32 [Q, 2], multiples of `grid`.

    The ab plane is cut into squares of side `grid`; a square stays when one of samples^3 evenly spaced sRGB colours
    falls into it (Zhang et al. 2016, section 2.1; they count 313 for grid 10, and do not say how).
    Sorted by a, then b.
    """
    if grid < 1 or samples < 2:
        raise InputError(f"bins need a grid of at least 1 and two samples per channel, got {grid}, {samples}")
    return (
        torch.unique((_gamut(samples) / grid).round() + 0.0, dim=0) * grid
    ).float()  # + 0.0: no minus zero


def nearest_bins(ab: Tensor, bins: Tensor, k: int = 1) -> Tensor:
    """The k nearest bins of every colour: ab [..., 2], bins [Q, 2] -> int64 [..., k], nearest first."""
    distance = torch.cdist(ab.reshape(-1, 2), bins.to(ab))
    return distance.topk(k, dim=1, largest=False).indices.view(*ab.shape[:-1], k)


def soft_encode(ab: Tensor, bins: Tensor, k: int = 5, sigma: float = 5.0) -> tuple[Tensor, Tensor]:
    """Every colour as a distribution over its k nearest bins, weights exp(-d^2 / (2 sigma^2)) normalised.

    (Zhang et al. 2016, section 2.1.)  ab [..., 2] -> bins int64 [..., k] and weights [..., k] of sum 1.
    """
    near = nearest_bins(ab, bins, k)
    square = (bins.to(ab)[near] - ab[..., None, :]).square().sum(dim=-1)
    return near, (-square / (2 * sigma**2)).softmax(dim=-1)


def rebalancing(p: Tensor, lam: float = 0.5) -> Tensor:
    """Weights that make rare colours count: w = c ((1 - lam) p + lam / Q)^-1 with sum_q p_q w_q = 1.

    (Zhang et al. 2016, eq. 4.)  p [Q]: how often each bin occurs, sum 1.  lam mixes in the uniform distribution: 1
    gives equal weights, 0 the inverse frequencies.  Raises InputError when p is no distribution, or lam is 0 and a bin
    never occurs.
    """
    if p.ndim != 1 or float(p.min()) < 0 or abs(float(p.sum()) - 1) > 1e-4 or not 0 <= lam <= 1:
        raise InputError("rebalancing takes bin frequencies [Q] that sum to 1, and lam from 0 to 1")
    if lam == 0 and float(p.min()) == 0:
        raise InputError("a bin that never occurs would weigh infinitely much: use lam > 0")
    w = 1 / ((1 - lam) * p + lam / len(p))
    return w / (p * w).sum()


def smooth_frequencies(p: Tensor, bins: Tensor, sigma: float = 5.0) -> Tensor:
    """Bin frequencies [Q] smoothed by a Gaussian of `sigma` in ab space; the sum stays 1 (Zhang et al. 2016, 2.2).

    Every bin's mass is spread over its neighbours and itself by normalised weights.
    """
    kernel = (-torch.cdist(bins, bins).square() / (2 * sigma**2)).softmax(dim=1).to(p)
    return p @ kernel


def annealed_mean(logits: Tensor, bins: Tensor, temperature: float = 0.38) -> Tensor:
    """One colour from a distribution over bins: the mean of softmax(log p / T), log p = log softmax(logits).

    (Zhang et al. 2016, eq. 5.)  logits [..., Q] -> ab [..., 2].  T = 1 gives the mean (grayish), T -> 0 the mode
    (patchy); the paper takes 0.38.
    """
    if not temperature > 0:
        raise InputError(f"the temperature must be above 0, got {temperature}")
    return (logits / temperature).softmax(dim=-1) @ bins.to(logits)
