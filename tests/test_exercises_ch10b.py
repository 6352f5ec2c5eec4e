"""The checkers of chapter 10b against solutions in several styles, and plausible wrong ones."""

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch10b


def answers_by_loop(look, moved, looks):
    return torch.stack([moved[look == k].float().mean() for k in range(looks)])


def difference_by_places(thing, down, right):
    side = len(thing)
    before = {(i, j) for i in range(side) for j in range(side) if thing[i, j]}
    after = {((i + down) % side, (j + right) % side) for i, j in before}
    return len(before - after) / len(before | after)


def ranking_by_loops(a, b, margin, k):
    terms = []
    for i, anchor in enumerate(a):
        d = [1 - torch.cosine_similarity(anchor, other, dim=0) for other in b]
        for near in sorted(x for j, x in enumerate(d) if j != i)[:k]:
            terms.append(max(d[i] - near + margin, torch.tensor(0.0)))
    return sum(terms) / len(terms)


CORRECT = {
    "check_answers": [answers_by_loop, lambda x, m, k: answers_by_loop(x, m, k).double()],
    "check_difference": [difference_by_places],
    "check_ranking": [ranking_by_loops],
}


def with_own(a, b, margin, k):
    d = 1 - torch.nn.functional.normalize(a) @ torch.nn.functional.normalize(b).T
    return (d.diag()[:, None] - d.sort(1).values[:, :k] + margin).clamp(min=0).mean()


WRONG = [
    ("check_answers", "majority", lambda x, m, k: answers_by_loop(x, m, k).round()),
    ("check_answers", "one for all", lambda x, m, k: m.double().mean().expand(k)),
    (
        "check_answers",
        "how a moving pixel looks",
        lambda x, m, k: torch.bincount(x[m], minlength=k) / m.sum(),
    ),
    (
        "check_difference",
        "exclusive or",
        lambda a, d, r: a.sum() / (a | a.roll((d, r), (0, 1))).sum(),
    ),
    (
        "check_difference",
        "goes to differs as well",
        lambda a, d, r: (a & ~a.roll((d, r), (0, 1))).sum() / a.sum(),
    ),
    ("check_ranking", "no negative", with_own),
    ("check_ranking", "sum", lambda a, b, m, k: ranking_by_loops(a, b, m, k) * len(a) * k),
]
TestCheckers = checker_tests(ch10b, correct=CORRECT, wrong=WRONG)
