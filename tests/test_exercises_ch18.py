"""The checkers of chapter 18 against solutions and wrong versions written as a reader would write them."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch18
from ssl_lessons.book.widgets import masking


def floor_by_loop(context, target):
    total = 0.0
    for c in context.unique():
        same = target[context == c]
        total = total + (same - same.mean(dim=0)).square().sum()
    return total / target.numel()


def floor_in_numpy(context, target):
    context, target = context.numpy(), target.numpy()
    best = np.stack([target[context == c].mean(axis=0) for c in context])
    return float(((target - best) ** 2).mean())


def floor_float32(context, target):
    kinds, place = context.unique(return_inverse=True)
    share = F.one_hot(place, len(kinds)).float()
    best = share @ ((share.T @ target.float()) / share.sum(0)[:, None])
    return F.mse_loss(best, target.float())


def mae_by_loop(prediction, patches, mask):
    errors = []
    for i in range(len(mask)):
        for t in range(mask.shape[1]):
            if mask[i, t]:
                target = (patches[i, t] - patches[i, t].mean()) / (patches[i, t].var() + 1e-6) ** 0.5
                errors.append(((prediction[i, t] - target) ** 2).mean())
    return sum(errors) / len(errors)


def mae_float32(prediction, patches, mask):
    x = patches.float()
    target = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)
    return F.mse_loss(prediction.float()[mask], target[mask])


def cost(tokens, width, depth=1):
    return depth * (12 * tokens * width**2 + 2 * tokens**2 * width)


def decoder_by_trial(tokens, visible, width, depth, narrow, factor):
    n = 0
    while True:
        paints = cost(tokens, narrow, n + 1)
        if (cost(tokens, width, depth) + paints) / (cost(visible, width, depth) + paints) < factor:
            return n
        n += 1


def decoder_by_formula(tokens, visible, width, depth, narrow, factor):
    whole, part = cost(tokens, width, depth), cost(visible, width, depth)
    return torch.tensor((whole - factor * part) / ((factor - 1) * cost(tokens, narrow))).floor()


def decoder_in_one_arm(tokens, visible, width, depth, narrow, factor):
    whole, part = cost(tokens, width, depth), cost(visible, width, depth)
    return int((whole / factor - part) / cost(tokens, narrow))


def leaks(paint, x, mask, patch):
    pixels = masking.hidden_pixels(mask, patch)
    with torch.no_grad():
        answer = paint(x, mask)[mask]
        for seed in range(3):
            other = 100 * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
            if not torch.equal(paint(torch.where(pixels, other, x), mask)[mask], answer):
                return True
    return False


def leaks_by_inversion(paint, x, mask, patch):
    pixels = masking.hidden_pixels(mask, patch)
    ends = [paint(torch.where(pixels, v * torch.rand_like(x), x), mask)[mask] for v in (-50.0, 50.0)]
    return np.bool_((ends[0] - ends[1]).abs().max() > 1e-4)


def leaks_by_gradient(paint, x, mask, patch):
    x = x.clone().requires_grad_()
    total = paint(x, mask)[mask].sum()
    if not total.requires_grad:
        return False
    (g,) = torch.autograd.grad(total, x, allow_unused=True)
    return g is not None and bool(g[masking.hidden_pixels(mask, patch).expand_as(x)].abs().max() > 0)


def leaks_anywhere(paint, x, mask, patch):
    changed = torch.where(masking.hidden_pixels(mask, patch), 100 * torch.randn_like(x), x)
    return not torch.equal(paint(changed, mask), paint(x, mask))


def leaks_with_all_changed(paint, x, mask, patch):
    return not torch.equal(paint(x + 1, mask)[mask], paint(x, mask)[mask])


CORRECT = {
    "check_lowest_loss": [floor_by_loop, floor_in_numpy, floor_float32],
    "check_mae_loss": [mae_by_loop, mae_float32],
    "check_deepest_decoder": [decoder_by_trial, decoder_by_formula],
    "check_leaks_somewhere": [leaks, lambda *a: torch.tensor(leaks(*a)), lambda *a: int(leaks(*a))],
}

WRONG = [
    ("check_lowest_loss", "for everybody", lambda c, t: t.var(0, correction=0).mean()),
    ("check_lowest_loss", "counts alike", lambda c, t: _mean_of_groups(c, t)),
    ("check_lowest_loss", "best for the absolute error", lambda c, t: _median_floor(c, t)),
    ("check_mae_loss", "all patches", lambda p, x, m: mae_by_loop(p, x, torch.ones_like(m))),
    ("check_mae_loss", "visible", lambda p, x, m: mae_by_loop(p, x, ~m)),
    ("check_mae_loss", "raw pixels", lambda p, x, m: F.mse_loss(p[m], x[m])),
    ("check_mae_loss", "absolute", lambda p, x, m: (p - ch18.normalized_patches(x))[m].abs().mean()),
    ("check_deepest_decoder", "runs in both", decoder_in_one_arm),
    ("check_deepest_decoder", "too deep", lambda *a: decoder_by_trial(*a) + 1),
    ("check_deepest_decoder", "round down", lambda *a: _unrounded(*a)),
    ("check_leaks_somewhere", "rounds the whole picture", leaks_by_gradient),
    ("check_leaks_somewhere", "where it paints visible patches", leaks_anywhere),
    ("check_leaks_somewhere", "you refuse it", leaks_with_all_changed),
    ("check_leaks_somewhere", "you pass it", lambda *a: False),
    ("check_leaks_somewhere", "return True or False", lambda *a: "yes"),
]


def _mean_of_groups(context, target):
    groups = [target[context == c] for c in context.unique()]
    return sum(g.var(0, correction=0).mean() for g in groups) / len(groups)


def _median_floor(context, target):
    best = torch.stack([target[context == c].quantile(0.5, dim=0) for c in context])
    return F.mse_loss(best, target)


def _unrounded(tokens, visible, width, depth, narrow, factor):
    whole, part = cost(tokens, width, depth), cost(visible, width, depth)
    return (whole - factor * part) / ((factor - 1) * cost(tokens, narrow))


TestCheckers = checker_tests(ch18, correct=CORRECT, wrong=WRONG)


def test_a_second_way_to_find_leaks_passes():
    torch.manual_seed(0)
    assert ch18.check_leaks_somewhere(leaks_by_inversion).passed


def test_the_paper_s_decoder_fits_into_its_own_figure():
    """ViT-L, eight blocks of 512: 2.8 times was measured (He et al. 2022, table 2); counted, there is room."""
    assert ch18.DEEPEST_DECODER.reference(196, 49, 1024, 24, 512, 2.8) >= 8
    assert not math.isnan(ch18.block_cost(196, 1024))
