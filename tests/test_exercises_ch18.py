"""The checkers of chapter 18 against solutions and wrong versions written as a reader would write them."""

import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch18


def mask_by_rank(noise, ratio):
    rank = noise.argsort(dim=1, descending=True).argsort(dim=1)
    return rank < round(ratio * noise.shape[1])


def mask_by_loop(noise, ratio):
    mask = torch.zeros(noise.shape)
    for i, row in enumerate(noise.float()):
        for t in sorted(range(len(row)), key=lambda t: -row[t])[: round(ratio * len(row))]:
            mask[i, t] = 1
    return mask


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


def cost_in_words(tokens, dim):
    projections, scores, values, mlp = 4 * dim * dim, tokens * dim, tokens * dim, 2 * dim * 4 * dim
    return tokens * (projections + scores + values + mlp)


def targets_by_loop(layers, top_k):
    return sum(F.layer_norm(x, x.shape[-1:]) for x in layers[-top_k:]) / top_k


def targets_by_hand(layers, top_k):
    x = layers[-top_k:]
    return ((x - x.mean(-1, keepdim=True)) / x.std(-1, correction=0, keepdim=True)).mean(dim=0).float()


CORRECT = {
    "check_draw_mask": [mask_by_rank, mask_by_loop],
    "check_mae_loss": [mae_by_loop, mae_float32],
    "check_block_cost": [cost_in_words, lambda t, d: torch.tensor(cost_in_words(t, d))],
    "check_teacher_targets": [targets_by_loop, targets_by_hand],
}

WRONG = [
    ("check_draw_mask", "inverted", lambda x, r: ~mask_by_rank(x, r)),
    ("check_draw_mask", "from row to row", lambda x, r: x > 1 - r),
    ("check_draw_mask", "smallest", lambda x, r: x.argsort(dim=1).argsort(dim=1) < round(r * x.shape[1])),
    ("check_draw_mask", "1 - ratio", lambda x, r: mask_by_rank(x, 1 - r)),
    ("check_mae_loss", "all patches", lambda p, x, m: mae_by_loop(p, x, torch.ones_like(m))),
    ("check_mae_loss", "visible", lambda p, x, m: mae_by_loop(p, x, ~m)),
    ("check_mae_loss", "raw pixels", lambda p, x, m: F.mse_loss(p[m], x[m])),
    ("check_mae_loss", "absolute", lambda p, x, m: (p - ch18.normalized_patches(x))[m].abs().mean()),
    ("check_block_cost", "attention itself", lambda t, d: 4 * t * d * d + 8 * t * d * d),
    ("check_block_cost", "MLP is missing", lambda t, d: 4 * t * d * d + 2 * t * t * d),
    ("check_teacher_targets", "averaged first", lambda x, k: F.layer_norm(x[-k:].mean(0), x.shape[-1:])),
    ("check_teacher_targets", "not normalised", lambda x, k: sum(x[-k:]) / k),
    ("check_teacher_targets", "only the last", lambda x, k: F.layer_norm(x[-1], x.shape[-1:])),
]


TestCheckers = checker_tests(ch18, correct=CORRECT, wrong=WRONG)


def test_masks_of_the_exercise_hide_the_same_number_everywhere():
    for noise, ratio in ch18.DRAW_MASK.inputs():
        counts = ch18.DRAW_MASK.reference(noise, ratio).sum(dim=1)
        assert (counts == round(ratio * noise.shape[1])).all()
