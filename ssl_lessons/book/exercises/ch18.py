"""Chapter 18: drawing a mask, the loss of MAE, the price of a token, the targets of data2vec."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from ssl_lessons.losses.masked import data2vec_targets, mae, normalized_patches

from .core import Check, Exercise


def check_draw_mask(fn) -> Check:
    """fn(noise [N, T], ratio) -> bool [N, T], True = hidden: the round(ratio T) patches with the largest noise."""
    return DRAW_MASK.check(fn)


def check_mae_loss(fn) -> Check:
    """fn(prediction [N, T, P], patches [N, T, P], mask bool [N, T]) -> scalar: MAE's loss with normalised targets."""
    return MAE_LOSS.check(fn)


def check_block_cost(fn) -> Check:
    """fn(tokens, dim) -> multiply-adds of one transformer block with an MLP four times as wide."""
    return BLOCK_COST.check(fn)


def check_teacher_targets(fn) -> Check:
    """fn(layers [L, N, T, D], top_k) -> [N, T, D]: the mean of the last top_k layers, each normalised over D."""
    return TEACHER_TARGETS.check(fn)


def _noise(g: torch.Generator) -> list[tuple]:
    cases = [(5, 16, 0.75), (3, 9, 0.5), (4, 25, 0.1), (6, 64, 0.9)]
    return [(torch.rand(n, t, generator=g).double(), ratio) for n, t, ratio in cases]


def _hide(noise: Tensor, count: int, largest: bool = True) -> Tensor:
    places = noise.topk(count, dim=1, largest=largest).indices
    return torch.zeros_like(noise, dtype=torch.bool).scatter_(1, places, True)


def _hidden(noise: Tensor, ratio: float) -> int:
    return round(ratio * noise.shape[1])


DRAW_MASK = Exercise(
    sample=_noise,
    reference=lambda x, r: _hide(x, _hidden(x, r)),
    mistakes=(
        (
            "the mask is inverted: True must mark the hidden patches",
            lambda x, r: ~_hide(x, _hidden(x, r)),
        ),
        (
            "the number of hidden patches differs from row to row: a threshold on the noise hides the share only on "
            "average, and the visible tokens of a batch must form a tensor",
            lambda x, r: x > 1 - r,
        ),
        (
            "the patches with the smallest noise are hidden: take the largest",
            lambda x, r: _hide(x, _hidden(x, r), largest=False),
        ),
        (
            "this hides 1 - ratio of the patches: ratio is the share that is hidden",
            lambda x, r: _hide(x, _hidden(x, 1 - r)),
        ),
        (
            "every image gets the mask of the first: each row has its own noise",
            lambda x, r: _hide(x, _hidden(x, r))[:1].expand(len(x), -1),
        ),
        (
            "sorted over the batch axis: the patches of one image (a row) compete with each other",
            lambda x, r: _hide(x.T, round(r * len(x))).T,
        ),
        (
            "argsort gives the order, not the rank: scatter True to those places, or sort the order once more",
            lambda x, r: x.argsort(dim=1) >= x.shape[1] - _hidden(x, r),
        ),
    ),
)


def _predictions(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, t, p in [(3, 4, 12), (2, 9, 27), (4, 6, 3)]:
        patches = torch.randn(n, t, p, generator=g).double() * 2 + torch.randn(n, t, 1, generator=g) + 1
        mask = torch.rand(n, t, generator=g) < 0.5
        mask[0, :2] = torch.tensor([True, False])
        cases.append((torch.randn(n, t, p, generator=g).double(), patches, mask))
    return cases


def _squares(prediction: Tensor, patches: Tensor) -> Tensor:
    return (prediction - normalized_patches(patches)).square()


def _per_image(prediction: Tensor, patches: Tensor, mask: Tensor) -> Tensor:
    """Images count alike, whatever they hide."""
    errors, count = _squares(prediction, patches).mean(2) * mask, mask.sum(1)
    return (errors.sum(1)[count > 0] / count[count > 0]).mean()


MAE_LOSS = Exercise(
    sample=_predictions,
    reference=mae,
    mistakes=(
        ("the loss covers all patches: only the hidden ones count", lambda p, x, m: _squares(p, x).mean()),
        (
            "the loss covers the visible patches: mask is True where hidden",
            lambda p, x, m: _squares(p, x)[~m].mean(),
        ),
        (
            "the targets are raw pixels: normalise each patch by its own mean and standard deviation",
            lambda p, x, m: mae(p, x, m, norm_targets=False),
        ),
        (
            "hidden patches are summed and divided by all patches: divide by the hidden ones",
            lambda p, x, m: (_squares(p, x).mean(2) * m).mean(),
        ),
        (
            "the mean is taken per image first: every hidden patch of the batch counts alike",
            _per_image,
        ),
        (
            "the variance divides, not the standard deviation: take the square root",
            lambda p, x, m: (
                (p - (x - x.mean(2, keepdim=True)) / (x.var(2, keepdim=True) + 1e-6))[m].square().mean()
            ),
        ),
        (
            "the mean of the patch is not subtracted",
            lambda p, x, m: (p - x / (x.var(2, keepdim=True) + 1e-6).sqrt())[m].square().mean(),
        ),
        (
            "the targets are normalised over the tokens of an image (dim=1): each patch (dim=2) has its own mean",
            lambda p, x, m: (
                (p - (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 1e-6).sqrt())[m]
                .square()
                .mean()
            ),
        ),
        (
            "the prediction is normalised too: only the target is",
            lambda p, x, m: _squares(normalized_patches(p), x)[m].mean(),
        ),
        (
            "this is the absolute error (SimMIM): MAE squares it",
            lambda p, x, m: _squares(p, x)[m].sqrt().mean(),
        ),
        ("the sum over the hidden pixels: take the mean", lambda p, x, m: _squares(p, x)[m].sum()),
        (
            "the sum over the pixels of a patch: take the mean over pixels too",
            lambda p, x, m: _squares(p, x).sum(2)[m].mean(),
        ),
    ),
)


def block_cost(tokens: int, dim: int) -> float:
    """Multiply-adds of a block: four projections and the MLP are linear in the tokens, attention is quadratic."""
    return 12.0 * tokens * dim**2 + 2.0 * tokens**2 * dim


BLOCK_COST = Exercise(
    sample=lambda g: [(196, 768), (49, 768), (16, 96), (64, 64)],
    reference=block_cost,
    mistakes=(
        ("the attention itself is missing: scores and weighted sum cost T^2 D each", lambda t, d: 12.0 * t * d**2),
        (
            "attention is counted once: the scores cost T^2 D, and the weighted sum of the values T^2 D more",
            lambda t, d: 12.0 * t * d**2 + t**2 * d,
        ),
        (
            "the MLP is missing: D to 4 D and back costs 8 T D^2",
            lambda t, d: 4.0 * t * d**2 + 2.0 * t**2 * d,
        ),
        (
            "a third of the maps is missing: query, key, value and output are four D x D maps, and the MLP is as "
            "large as eight, D to 4 D and 4 D to D",
            lambda t, d: 8.0 * t * d**2 + 2.0 * t**2 * d,
        ),
        (
            "the output projection of attention is missing: query, key, value and output are four D x D maps",
            lambda t, d: 11.0 * t * d**2 + 2.0 * t**2 * d,
        ),
        (
            "these are floating-point operations: a multiply-add is asked for once, not twice",
            lambda t, d: 2 * block_cost(t, d),
        ),
        ("the maps cost T D^2, not T D", lambda t, d: 12.0 * t * d + 2.0 * t**2 * d),
    ),
)  # fmt: skip


def _layers(g: torch.Generator) -> list[tuple]:
    cases = []
    for depth, n, t, d, top_k in [(4, 2, 3, 5, 2), (3, 1, 4, 8, 3), (6, 3, 2, 4, 1)]:
        scale = torch.arange(1, depth + 1)[:, None, None, None] ** 2
        cases.append((torch.randn(depth, n, t, d, generator=g).double() * scale + scale, top_k))
    return cases


def _normal(x: Tensor, axis: int = -1) -> Tensor:
    return layer_norm(x.transpose(axis, -1), (x.shape[axis],)).transpose(axis, -1)


TEACHER_TARGETS = Exercise(
    sample=_layers,
    reference=lambda x, k: data2vec_targets(list(x), k),
    mistakes=(
        ("the layers are not normalised: the last one drowns the others", lambda x, k: x[-k:].mean(0)),
        (
            "averaged first and normalised after: then the layer with the largest values still decides",
            lambda x, k: _normal(x[-k:].mean(0)),
        ),
        ("the first top_k layers are averaged: take the last ones", lambda x, k: _normal(x[:k]).mean(0)),
        ("all layers are averaged: only the last top_k count", lambda x, k: _normal(x).mean(0)),
        ("only the last layer is used: average the last top_k", lambda x, k: _normal(x[-1])),
        ("layer number top_k from the end is used: average the last top_k", lambda x, k: _normal(x[-k])),
        ("the layers are summed: take the mean", lambda x, k: _normal(x[-k:]).sum(0)),
        (
            "normalised over the tokens: each token is normalised over its own D dimensions",
            lambda x, k: _normal(x[-k:], axis=2).mean(0),
        ),
        (
            "each token is divided by its length: subtract its mean and divide by its standard deviation",
            lambda x, k: (x[-k:] / x[-k:].norm(dim=-1, keepdim=True)).mean(0),
        ),
        (
            "the mean is not subtracted: a constant must become zero",
            lambda x, k: (x[-k:] / (x[-k:].var(-1, correction=0, keepdim=True) + 1e-5).sqrt()).mean(0),
        ),
    ),
)
