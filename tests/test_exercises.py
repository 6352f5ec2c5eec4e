"""Checkers against solutions and wrong versions written as a reader would write them."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch00
from ssl_lessons.book.exercises.core import Exercise
from ssl_lessons.data import label_subset

# --- correct solutions, in several styles ------------------------------------------------------------


def cosine_loops(a, b):
    out = torch.zeros(len(a), len(b))
    for i in range(len(a)):
        for j in range(len(b)):
            dot = sum(x * y for x, y in zip(a[i], b[j], strict=True))
            out[i, j] = dot / math.sqrt((a[i] ** 2).sum() * (b[j] ** 2).sum())
    return out


def knn_loops(train_x, train_y, test_x, k):
    labels = []
    for x in test_x:
        near = F.cosine_similarity(x[None], train_x).argsort(descending=True)[:k]
        labels.append(train_y[near].mode().values)
    return torch.stack(labels)


def knn_float32(train_x, train_y, test_x, k):
    a, b = F.normalize(test_x.float(), dim=1), F.normalize(train_x.float(), dim=1)
    votes = train_y[torch.cdist(a, b).topk(k, largest=False).indices]
    return torch.tensor([max(set(row), key=row.count) for row in votes.tolist()])


def subset_package(labels, per_class, generator):
    return label_subset(labels, per_class, seed=int(torch.randint(2**31, (1,), generator=generator)))


def subset_by_sorting(labels, per_class, generator):
    noise = torch.rand(len(labels), generator=generator)
    rows = [noise.masked_fill(labels != c, 2.0).argsort()[:per_class] for c in range(labels.max() + 1)]
    return torch.cat(rows).int()


def draw_with(weights):
    """A draw whose chances within a class follow `weights(members)`."""

    def draw(labels, per_class, generator):
        members = [(labels == c).nonzero().flatten() for c in range(int(labels.max()) + 1)]
        return torch.cat([m[torch.multinomial(weights(m), per_class, generator=generator)] for m in members])

    return draw


def window(labels, per_class, generator):
    members = [(labels == c).nonzero().flatten() for c in range(int(labels.max()) + 1)]
    starts = [int(torch.randint(len(m), (1,), generator=generator)) for m in members]
    return torch.cat([m.roll(-k)[:per_class] for m, k in zip(members, starts, strict=True)])


def stuck_by_experiment(n, temperature):
    z = torch.eye(n, dtype=torch.float64).repeat(2, 1)
    return F.cross_entropy(z @ z.T / temperature, (torch.arange(2 * n) + n) % (2 * n))


def from_numpy(labels, frozen, tuned, quantile=2.919986):
    d = (tuned - frozen).numpy()
    low = d.mean(1) - quantile * d.std(1, ddof=1) / np.sqrt(d.shape[1])
    sure = [int(c) for k, c in enumerate(labels) if (low[k:] > 0).all()]
    return sure[0] if sure else 0


CORRECT = {
    "check_knn_predict": [knn_loops, knn_float32],
    "check_label_subset": [subset_package, subset_by_sorting, draw_with(lambda m: torch.ones(len(m)))],
    "check_stuck_at": [stuck_by_experiment, lambda n, t: math.log(math.e ** (1 / t) * 2 + 2 * n - 2) - 1 / t],
    "check_fine_tune_from": [from_numpy],
}


# --- wrong versions: (checker, words the verdict must contain, the function) ------------------------------


def rows(x):
    return x / x.norm(dim=1, keepdim=True)


def knn_with(score, k_used=None):
    def predict(train_x, train_y, test_x, k):
        return train_y[score(test_x, train_x).argsort(dim=1)[:, : k_used or k]].mode(dim=1).values

    return predict


def subset_with(pick):
    """A stratified draw in which pick(members, n, generator) chooses inside a class."""

    def draw(labels, per_class, generator):
        classes = [c for c in labels.unique().tolist() if c >= 0]
        return torch.cat([pick((labels == c).nonzero().flatten(), per_class, generator) for c in classes])

    return draw


def anywhere(labels, per_class, generator):
    labelled = (labels >= 0).nonzero().flatten()
    return labelled[torch.randperm(len(labelled), generator=generator)][: per_class * (labels.max() + 1)]


def with_unlabelled(labels, per_class, generator):
    return torch.cat([(labels == c).nonzero().flatten()[:per_class] for c in labels.unique()])


def unpaired(labels, frozen, tuned):
    def edge(x, sign):
        return x.mean(1) + sign * 2.919986 * x.std(1) / x.shape[1] ** 0.5

    apart = edge(tuned, -1) > edge(frozen, 1)
    return next((int(c) for k, c in enumerate(labels) if apart[k:].all()), 0)


def first_win(labels, frozen, tuned):
    return next(
        (
            int(c)
            for c, f, t in zip(labels, frozen, tuned, strict=True)
            if from_numpy(c[None], f[None], t[None])
        ),
        0,
    )


WRONG = [
    ("check_knn_predict", "farthest", knn_with(lambda t, x: rows(t) @ rows(x).T)),
    ("check_knn_predict", "Euclidean", knn_with(lambda t, x: (t[:, None] - x[None]).norm(dim=-1))),
    ("check_knn_predict", "not normalized", knn_with(lambda t, x: -t @ x.T)),
    ("check_knn_predict", "all k must vote", knn_with(lambda t, x: -rows(t) @ rows(x).T, k_used=1)),
    ("check_label_subset", "not stratified", anywhere),
    ("check_label_subset", "first images", subset_with(lambda m, n, g: m[:n])),
    (
        "check_label_subset",
        "first images",
        subset_with(lambda m, n, g: m[:n][torch.randperm(n, generator=g)]),
    ),
    ("check_label_subset", "not random", subset_with(lambda m, n, g: m[-n:])),
    (
        "check_label_subset",
        "duplicates",
        subset_with(lambda m, n, g: m[torch.randint(len(m), (n,), generator=g)]),
    ),
    ("check_label_subset", "unlabelled", with_unlabelled),
    ("check_label_subset", "pass the generator", subset_with(lambda m, n, g: m[torch.randperm(len(m))[:n]])),
    (
        "check_label_subset",
        "never drawn",
        subset_with(lambda m, n, g: m[torch.randperm(len(m) - 1, generator=g)[:n]]),
    ),
    ("check_label_subset", "not fair", draw_with(lambda m: torch.linspace(1, 3, len(m)))),
    ("check_label_subset", "drawn together", window),
    ("check_stuck_at", "right loss", lambda n, t: math.log(1 + (2 * n - 2) * math.exp(-1 / t))),
    ("check_stuck_at", "minus the logit", lambda n, t: math.log(2 * math.exp(1 / t) + 2 * n - 2)),
    ("check_stuck_at", "2n - 2 zeros", lambda n, t: math.log(2 + 2 * n * math.exp(-1 / t))),
    (
        "check_fine_tune_from",
        "once in eight",
        lambda c, f, t: next((int(n) for k, n in enumerate(c) if (t > f)[k:].all()), 0),
    ),
    ("check_fine_tune_from", "95 %", lambda c, f, t: from_numpy(c, f, t, 4.302653)),
    ("check_fine_tune_from", "1.64", lambda c, f, t: from_numpy(c, f, t, 1.644854)),
    (
        "check_fine_tune_from",
        "a position",
        lambda c, f, t: max(0, from_numpy(torch.arange(1, len(c) + 1), f, t) - 1),
    ),
    (
        "check_label_subset",
        "positions",
        lambda y, n, g: torch.cat(
            [torch.randperm(int((y == c).sum()), generator=g)[:n] for c in range(int(y.max()) + 1)]
        ),
    ),
    (
        "check_knn_predict",
        "wrong axis",
        knn_with(lambda t, x: -F.normalize(t, dim=0) @ F.normalize(x, dim=0).T),
    ),
    ("check_stuck_at", "limit at a low temperature", lambda n, t: 0.6931),
    ("check_stuck_at", "2n - 2 zeros", lambda n, t: math.log(2 + (2 * n - 1) * math.exp(-1 / t))),
    ("check_stuck_at", "2n views", lambda n, t: math.log(2 + (n - 2) * math.exp(-1 / t))),
    ("check_stuck_at", "1 / temperature, not 1", lambda n, t: math.log(2 + (2 * n - 2) / math.e)),
    (
        "check_fine_tune_from",
        "only the means",
        lambda c, f, t: from_numpy(c, f.mean(1, True) + 0 * f, t.mean(1, True) + 1e-9 * f),
    ),
    ("check_fine_tune_from", "other way round", lambda c, f, t: from_numpy(c, t, f)),
    ("check_fine_tune_from", "not paired", unpaired),
    ("check_fine_tune_from", "first sure win", first_win),
    ("check_label_subset", "integer tensor", lambda y, n, g: subset_by_sorting(y, n, g).tolist()),
    ("check_label_subset", "do not fit", lambda y, n, g: subset_by_sorting(y, n, g) + len(y)),
]


TestCheckers = checker_tests(ch00, correct=CORRECT, wrong=WRONG)


def test_knn_inputs_leave_enough_rows_without_ties():
    assert all(len(test_x) > 100 for _, _, test_x, _ in ch00.KNN.inputs())


COSINE = Exercise(
    sample=lambda g: [(torch.randn(4, 3, generator=g).double(), torch.randn(6, 3, generator=g).double())],
    reference=lambda a, b: F.cosine_similarity(a[:, None], b[None], dim=-1),
    mistakes=(),
)


def test_wrong_types_shapes_and_values_are_described():
    check = COSINE.check
    assert "None" in check(lambda a, b: None).message
    assert "numpy.ndarray" in check(lambda a, b: cosine_loops(a, b).numpy()).message
    assert "[4] instead of [4, 6]" in check(lambda a, b: a.sum(dim=1)).message
    assert "NaN" in check(lambda a, b: cosine_loops(a, b) * math.nan).message
    assert "at [0, 0]" in check(lambda a, b: cosine_loops(a, b) + 0.1).message
    assert "one number" in ch00.check_stuck_at(lambda n, t: torch.zeros(1)).message


def test_infinities_that_belong_there_are_no_mistake():
    def masked(a, b, fill=-math.inf):
        scores = a @ b.T
        scores[:, 0] = fill
        return scores

    inputs = [(torch.ones(2, 3).double(), torch.ones(4, 3).double())]
    exercise = Exercise(sample=lambda g: inputs, reference=masked, mistakes=())
    assert exercise.check(masked).passed
    assert "got -1e+09 instead of -inf at [0, 0]" in exercise.check(lambda a, b: masked(a, b, -1e9)).message
    assert "got inf instead of -inf at [0, 0]" in exercise.check(lambda a, b: masked(a, b, math.inf)).message
    assert "got -inf instead of 3 at [0, 1]" in exercise.check(lambda a, b: masked(a, b) - math.inf).message
    assert "got nan instead of -inf at [0, 0]" in exercise.check(lambda a, b: masked(a, b, math.nan)).message


def test_inputs_are_protected():
    def in_place(a, b):
        a /= a.norm(dim=1, keepdim=True)
        return a @ rows(b).T

    assert "in place" in COSINE.check(in_place).message
    assert COSINE.check(cosine_loops).passed, "the next check gets fresh inputs"


def test_verdict_in_a_notebook():
    check = COSINE.check(cosine_loops)
    assert repr(check) == str(check) == "✓ correct"
    assert "✓" in check._repr_html_()
    assert "correct" in check._repr_html_()
