"""Chapter 18: the floor of the loss, normalised targets, the depth of the decoder, a leak without a gradient."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ssl_lessons.book.widgets.masking import hidden_pixels
from ssl_lessons.losses.masked import mae, normalized_patches
from ssl_lessons.models import patchify

from .core import Check, Exercise, Stop, call


def check_lowest_loss(fn) -> Check:
    """fn(context int64 [N], target [N, P]) -> scalar: the lowest mean squared error of any painter."""
    return LOWEST_LOSS.check(fn)


def check_mae_loss(fn) -> Check:
    """fn(prediction [N, T, P], patches [N, T, P], mask bool [N, T]) -> scalar: MAE's loss with normalised targets."""
    return MAE_LOSS.check(fn)


def check_deepest_decoder(fn) -> Check:
    """fn(tokens, visible, width, depth, narrow, factor) -> the largest number of decoder blocks that leaves a pass
    `factor` times cheaper with the visible tokens in the encoder than with all."""
    return DEEPEST_DECODER.check(fn)


def check_leaks_somewhere(fn) -> Check:
    """fn(paint, x [N, 3, S, S], mask bool [N, T], patch) -> bool: whether a hidden patch's painting depends on hidden
    pixels."""
    x, mask = _scene()
    for name, paint, leaks in PAINTERS:
        try:
            said = call(fn, (paint, x, mask, PATCH))
        except Stop as stop:
            if stop.check.passed is None:
                return stop.check
            return Check(False, f"with {name}: {stop.check.message}")
        said = said.item() if isinstance(said, Tensor) and said.numel() == 1 else said
        if not (isinstance(said, bool | int | float | np.bool_) and said in (0, 1)):
            return Check(False, "return True or False")
        if bool(said) != leaks:
            return Check(False, f"{name} {_verdict(leaks)}")
    return Check(True, f"correct: {len(PAINTERS)} painters, and no gradient")


def _verdict(leaks: bool) -> str:
    if leaks:
        return "leaks, and you pass it: replace the hidden pixels by very different ones, and compare the answers"
    return "is sound, and you refuse it: change hidden pixels only, and compare the answers at hidden patches only"


# --- 18.1: the floor of the loss ------------------------------------------------------------------------


def _contexts(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, kinds, p in [(12, 4, 3), (30, 5, 2), (9, 8, 4)]:
        context = torch.randint(kinds, (n,), generator=g)
        cases.append((context * 7 - 3, torch.randn(n, p, generator=g).double() * 2 + context[:, None]))
    return cases


def _groups(context: Tensor, target: Tensor) -> list[Tensor]:
    return [target[context == c] for c in context.unique()]


def _floor(context: Tensor, target: Tensor, answer=lambda rows: rows.mean(0), cost=torch.square) -> Tensor:
    return sum(cost(rows - answer(rows)).sum() for rows in _groups(context, target)) / target.numel()


LOWEST_LOSS = Exercise(
    sample=_contexts,
    reference=_floor,
    mistakes=(
        (
            "this is the loss of one answer for everybody: the painter sees the context",
            lambda c, t: (t - t.mean(0)).square().mean(),
        ),
        (
            "every context counts alike: a context of ten pictures weighs ten times one of one",
            lambda c, t: sum((r - r.mean(0)).square().mean() for r in _groups(c, t)) / len(c.unique()),
        ),
        (
            "n - 1 in the variance estimates a population: here the pictures at hand are painted, divide by n",
            lambda c, t: sum(
                len(r) * r.var(0).sum() for r in _groups(c, t) if len(r) > 1
            ) / t.numel(),
        ),
        (
            "this is the spread of the best answers, what knowing the context saves: the floor is what is left",
            lambda c, t: (t - t.mean(0)).square().mean() - _floor(c, t),
        ),
        ("summed over the pixels: take the mean over pixels too", lambda c, t: _floor(c, t) * t.shape[1]),
        ("summed over pictures and pixels: take the mean", lambda c, t: _floor(c, t) * t.numel()),
        (
            "the median answers, which is best for the absolute error: squared errors want the mean",
            lambda c, t: _floor(c, t, lambda r: r.quantile(0.5, dim=0)),
        ),
        (
            "this is the absolute error: square it",
            lambda c, t: _floor(c, t, cost=torch.abs),
        ),
        (
            "one answer for all pixels of a context: each pixel has its own mean",
            lambda c, t: _floor(c, t, lambda r: r.mean()),
        ),
        ("the root was not asked for: squared error", lambda c, t: _floor(c, t).sqrt()),
    ),
    praise="no painter gets below it, however large",
)  # fmt: skip

# --- 18.2: normalised targets ---------------------------------------------------------------------------


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


# --- 18.3: how deep may the decoder be? -----------------------------------------------------------------


def block_cost(tokens: int, dim: int) -> float:
    """Multiply-adds of a block: four projections and the MLP are linear in the tokens, attention is quadratic."""
    return 12.0 * tokens * dim**2 + 2.0 * tokens**2 * dim


def _room(tokens, visible, width, depth, narrow, factor, cost=block_cost) -> float:
    """Decoder blocks, not yet a whole number."""
    whole, part = depth * cost(tokens, width), depth * cost(visible, width)
    return (whole - factor * part) / ((factor - 1) * cost(tokens, narrow))


DEEPEST_DECODER = Exercise(
    sample=lambda g: [
        (196, 49, 1024, 24, 512, 2.8), (196, 49, 768, 12, 512, 2.0), (1024, 256, 96, 8, 64, 2.5),
        (64, 16, 96, 4, 64, 3.0), (196, 98, 768, 12, 384, 1.5), (256, 64, 384, 12, 192, 3.5),
    ],
    reference=lambda *a: math.floor(_room(*a)),
    mistakes=(
        (
            "the decoder runs in both: with mask tokens in the encoder there is a decoder, too",
            lambda t, v, w, d, n, f: math.floor(
                d * (block_cost(t, w) / f - block_cost(v, w)) / block_cost(t, n)
            ),
        ),
        ("rounded up: that decoder is already too deep", lambda *a: math.ceil(_room(*a))),
        ("a whole number of blocks: round down", lambda *a: _room(*a)),
        (
            "the decoder sees the visible tokens only: it paints all places, so it sees them all",
            lambda t, v, w, d, n, f: math.floor(
                d * (block_cost(t, w) - f * block_cost(v, w)) / ((f - 1) * block_cost(v, n))
            ),
        ),
        (
            "attention itself is missing: scores and sums cost 2 T^2 D more",
            lambda *a: math.floor(_room(*a, cost=lambda t, d: 12.0 * t * d**2)),
        ),
        (
            "the decoder's blocks are narrow: you charge them at the encoder's width",
            lambda t, v, w, d, n, f: math.floor(_room(t, v, w, d, w, f)),
        ),
        (
            "the encoder has one block here: it has `depth`",
            lambda t, v, w, d, n, f: math.floor(_room(t, v, w, 1, n, f)),
        ),
    ),
    praise="so the paper's decoder of eight narrow blocks is no luxury",
)  # fmt: skip

# --- 18.4: a leak that the gradient cannot see ----------------------------------------------------------

PATCH = 4


def _scene() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.rand(3, 3, 16, 16, generator=g) * 4 - 2
    order = torch.rand(3, 16, generator=g).argsort(dim=1)
    return x, torch.zeros(3, 16, dtype=torch.bool).scatter(1, order[:, :12], True)


def _sees(x: Tensor, mask: Tensor) -> Tensor:
    """The picture with its hidden pixels at 0."""
    return torch.where(hidden_pixels(mask, PATCH), torch.zeros_like(x), x)


def _spread(colour: Tensor, x: Tensor) -> Tensor:
    """One number per picture, [N], at all pixels: [N, T, P]."""
    return colour[:, None, None].expand_as(patchify(x, PATCH))


def _mean_of_visible(x: Tensor, mask: Tensor) -> Tensor:
    return _spread(_sees(x, mask).mean((1, 2, 3)), x)


def _mean_of_all(x: Tensor, mask: Tensor) -> Tensor:
    return _mean_of_visible(x - x.mean((1, 2, 3), keepdim=True), mask)


def _rounded(x: Tensor, mask: Tensor) -> Tensor:
    return _spread(x.round().mean((1, 2, 3)), x)


def _copies_visible(x: Tensor, mask: Tensor) -> Tensor:
    """Sound: hidden patches get a constant; at visible ones the answer is all it can read, hidden pixels included."""
    return torch.where(
        mask[:, :, None], torch.full_like(patchify(x, PATCH), 0.5), _spread(x.sum((1, 2, 3)), x)
    )


def _other_picture(x: Tensor, mask: Tensor) -> Tensor:
    """Leaks from the hidden pixels of the last picture into the first."""
    return _mean_of_visible(x, mask) + _spread(x[-1].sign().sum().expand(len(x)), x)


def _one_pixel(x: Tensor, mask: Tensor) -> Tensor:
    """Only one corner of one hidden patch is read, in whole steps."""
    first = patchify(x, PATCH)[torch.arange(len(x)), mask.float().argmax(1), 0]
    return _mean_of_visible(x, mask) + _spread((first / 4).round(), x)


PAINTERS = (
    ("a painter that takes the mean of the visible pixels", _mean_of_visible, False),
    ("a painter that copies the picture", lambda x, m: patchify(x, PATCH), True),
    ("a painter that rounds the whole picture to gray values", _rounded, True),
    ("a painter that subtracts the mean of the whole picture before it masks", _mean_of_all, True),
    ("a painter that reads hidden pixels only where it paints visible patches", _copies_visible, False),
    ("a painter that rounds the visible pixels", lambda x, m: _rounded(_sees(x, m), m), False),
    ("a painter that sees the hidden pixels of another picture of the batch", _other_picture, True),
    ("a painter that reads one hidden pixel in steps of 4", _one_pixel, True),
)
