"""The checkers of chapter 8 against solutions in several styles, and plausible wrong ones."""

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch08


def corrupt(ids, chosen, kind, other, mask_id):
    shown = ids.clone()
    shown[chosen & (kind >= 0.2)] = mask_id
    replaced = chosen & (kind < 0.1)
    shown[replaced] = other[replaced]
    return shown


def loss(logits, ids, chosen):
    return torch.nn.functional.cross_entropy(logits[chosen], ids[chosen])


def loss_as_a_number(logits, ids, chosen):
    return loss(logits.float(), ids, chosen).item()


def everything_counts(logits, ids, chosen):
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten())


def bound(ce, mask, t):
    return sum(
        sum(c for c, m in zip(row, hidden, strict=True) if m) / share / len(row)
        for row, hidden, share in zip(ce.tolist(), mask.tolist(), t.tolist(), strict=True)
    ) / len(t)


def merge(ids, gone, mask_id):
    first = gone & ~torch.cat([torch.zeros(1, dtype=torch.bool), gone[:-1]])
    return torch.where(first, mask_id, ids)[~gone | first]


TestChapter08 = checker_tests(
    ch08,
    correct={
        "check_corrupt": [corrupt],
        "check_loss": [loss, loss_as_a_number],
        "check_bound": [bound],
        "check_merge": [merge],
    },
    wrong=[
        ("check_corrupt", "every chosen word", lambda i, c, k, o, m: torch.where(c, m, i)),
        ("check_loss", "everybody can see", everything_counts),
        ("check_bound", "happened to be hidden", lambda ce, m, t: ((ce * m).sum(1) / m.sum(1)).mean()),
        ("check_merge", "one mask per word", lambda i, g, m: torch.where(g, m, i)),
    ],
)  # fmt: skip
