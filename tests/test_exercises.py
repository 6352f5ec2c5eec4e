"""Checkers against solutions and wrong versions written as a reader would write them."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch00, ch13, ch25
from ssl_lessons.book.exercises.core import Exercise
from ssl_lessons.data import label_subset
from ssl_lessons.training import steps_that_fit
from ssl_lessons.training.optimizers import warmup_cosine

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


def info_nce_float32(query, positive, temperature):
    q, p = F.normalize(query.float(), dim=1), F.normalize(positive.float(), dim=1)
    return F.cross_entropy(torch.einsum("nd,md->nm", q, p) / temperature, torch.arange(len(q)))


def info_nce_loops(query, positive, temperature):
    total = 0.0
    for i in range(len(query)):
        scores = [math.exp(torch.cosine_similarity(query[i], p, dim=0) / temperature) for p in positive]
        total -= math.log(scores[i] / sum(scores))
    return total / len(query)


def nt_xent_float32(z1, z2, temperature):
    z = F.normalize(torch.cat([z1, z2]).float(), dim=1)
    logits = z @ z.T / temperature
    logits[torch.arange(len(z)), torch.arange(len(z))] = -1e9
    n = len(z1)
    return F.cross_entropy(logits, torch.cat([torch.arange(n, 2 * n), torch.arange(n)]))


def nt_xent_interleaved(z1, z2, temperature):
    z = F.normalize(torch.stack([z1, z2], dim=1).flatten(0, 1), dim=1)
    total = 0
    for i in range(len(z)):
        scores = [(z[i] @ z[j] / temperature).exp() for j in range(len(z)) if j != i]
        total = total - (z[i] @ z[i ^ 1] / temperature) + sum(scores).log()
    return total / len(z)


def weights_by_hand(similarities, temperature):
    e = ((similarities - similarities.max(dim=1, keepdim=True).values) / temperature).exp()
    return e / e.sum(dim=1, keepdim=True)


def stable_ce_by_hand(logits, target):
    m = logits.max(dim=1).values
    log_z = m + (logits - m[:, None]).exp().sum(dim=1).log()
    return (log_z - logits[range(len(logits)), target]).mean()


def lr_by_hand(step, steps, warmup_steps, peak):
    ramp = min(1.0, (step + 1) / (warmup_steps + 1))
    progress = max(0, step - warmup_steps) / (steps - warmup_steps)
    return torch.tensor(peak * ramp * 0.5 * (1 + math.cos(math.pi * progress)))


def false_negatives_loops(labels):
    views = labels.tolist() * 2
    n, shares = len(labels), []
    for i, y in enumerate(views):
        negatives = [views[j] for j in range(2 * n) if j not in (i, (i + n) % (2 * n))]
        shares.append(sum(c == y for c in negatives) / len(negatives))
    return np.mean(shares)


CORRECT = {
    "check_knn_predict": [knn_loops, knn_float32],
    "check_label_subset": [subset_package, subset_by_sorting, draw_with(lambda m: torch.ones(len(m)))],
    "check_stuck_at": [stuck_by_experiment, lambda n, t: math.log(math.e ** (1 / t) * 2 + 2 * n - 2) - 1 / t],
    "check_fine_tune_from": [from_numpy],
    "check_info_nce": [info_nce_float32, info_nce_loops],
    "check_nt_xent": [nt_xent_float32, nt_xent_interleaved],
    "check_negative_weights": [weights_by_hand, lambda s, t: F.softmax(s.float() / t, dim=-1)],
    "check_mi_bound": [
        lambda loss, k: math.log(k) - loss,
        lambda loss, k: torch.log(torch.tensor(k)) - loss,
        lambda loss, k: np.log(k) - loss,
    ],
    "check_stable_cross_entropy": [
        stable_ce_by_hand,
        lambda x, y: F.cross_entropy(x.float(), y),
        lambda x, y: F.nll_loss(x.log_softmax(1), y),
    ],
    "check_lr_at": [lr_by_hand, lambda step, steps, w, peak: peak * warmup_cosine(step, steps, w)],
    "check_scaled_lr": [lambda base_lr, batch_size: base_lr / 256 * batch_size],
    "check_false_negatives": [
        false_negatives_loops,
        lambda y: ((y[:, None] == y).sum(1) - 1).float().mean() / (len(y) - 1),
    ],
    "check_steps_that_fit": [
        steps_that_fit,
        lambda s, per, n, b: [math.floor(s / per), math.floor(s / per) / (n / b)],
    ],
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


def info_nce_no_positive(query, positive, temperature):
    e = (rows(query) @ rows(positive).T / temperature).exp()
    return -(e.diag() / (e.sum(dim=1) - e.diag())).log().mean()


def info_nce_axis(query, positive, temperature):
    return -(rows(query) @ rows(positive).T / temperature).softmax(dim=0).diag().log().mean()


def nt_xent_with(mask=True, targets=None, reduction="mean", unit=rows, anchors=None, scale=None):
    def loss(z1, z2, temperature):
        z = unit(torch.cat([z1, z2]))
        logits = z @ z.T * (scale(temperature) if scale else 1 / temperature)
        if mask:
            logits[torch.eye(len(z), dtype=torch.bool)] = -torch.inf
        n = len(z1)
        target = targets(n) if targets else (torch.arange(2 * n) + n) % (2 * n)
        keep = anchors(n) if anchors else slice(None)
        return F.cross_entropy(logits[keep], target[keep], reduction=reduction)

    return loss


def clip(z1, z2, temperature):
    """CLIP's symmetric loss: negatives from the other side only."""
    logits, y = rows(z1) @ rows(z2).T / temperature, torch.arange(len(z1))
    return (F.cross_entropy(logits, y) + F.cross_entropy(logits.T, y)) / 2


def naive_softmax(s, t):
    e = (s / t).exp()
    return e / e.sum(dim=1, keepdim=True)


def naive_ce(logits, target):
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    return -p[torch.arange(len(p)), target].log().mean()


def log_of_softmax(logits, target):
    return -logits.softmax(dim=1)[torch.arange(len(logits)), target].log().mean()


def schedule(ramp=lambda s, w: (s + 1) / (w + 1), progress=lambda s, n, w: (s - w) / (n - w)):
    def lr(step, steps, warmup_steps, peak):
        if step < warmup_steps:
            return peak * ramp(step, warmup_steps)
        return peak * (1 + math.cos(math.pi * progress(step, steps, warmup_steps))) / 2

    return lr


def count_views(skip, one_view=False, divide_by=None):
    """Same-class views of the anchor, leaving out what `skip(i, n)` lists."""

    def fraction(labels):
        y, n = labels.tolist(), len(labels)
        views = y if one_view else y * 2
        shares = []
        for i in range(n):
            others = [views[j] for j in range(len(views)) if j not in skip(i, n)]
            shares.append(sum(c == y[i] for c in others) / (divide_by(n) if divide_by else len(others)))
        return sum(shares) / n

    return fraction


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
    (
        "check_info_nce",
        "batch axis",
        lambda q, p, t: F.cross_entropy(
            F.normalize(q, dim=0) @ F.normalize(p, dim=0).T / t, torch.arange(len(q))
        ),
    ),
    ("check_info_nce", "wrong axis", info_nce_axis),
    ("check_info_nce", "temperature is missing", lambda q, p, t: info_nce_float32(q, p, 1)),
    ("check_info_nce", "multiplied", lambda q, p, t: info_nce_float32(q, p, 1 / t)),
    ("check_info_nce", "sum", lambda q, p, t: info_nce_loops(q, p, t) * len(q)),
    ("check_info_nce", "missing from the denominator", info_nce_no_positive),
    ("check_info_nce", "not normalized", lambda q, p, t: F.cross_entropy(q @ p.T / t, torch.arange(len(q)))),
    ("check_info_nce", "sign", lambda q, p, t: -info_nce_loops(q, p, t)),
    ("check_nt_xent", "self-pair is not masked", nt_xent_with(mask=False)),
    ("check_nt_xent", "one-sided", nt_xent_with(anchors=lambda n: slice(n))),
    ("check_nt_xent", "from the other view", clip),
    ("check_nt_xent", "from the other view", info_nce_float32),
    ("check_nt_xent", "wrong positive index", nt_xent_with(targets=lambda n: torch.arange(2 * n) ^ 1)),
    (
        "check_nt_xent",
        "wrong positive index",
        nt_xent_with(targets=lambda n: (torch.arange(2 * n) + 1) % (2 * n)),
    ),
    ("check_nt_xent", "target of a view is itself", nt_xent_with(targets=lambda n: torch.arange(2 * n))),
    ("check_nt_xent", "not normalized", nt_xent_with(unit=lambda z: z)),
    ("check_nt_xent", "batch axis", nt_xent_with(unit=lambda z: z / z.norm(dim=0))),
    ("check_nt_xent", "sum", nt_xent_with(reduction="sum")),
    ("check_nt_xent", "temperature is missing", nt_xent_with(scale=lambda t: 1)),
    ("check_nt_xent", "multiplied", nt_xent_with(scale=lambda t: t)),
    ("check_negative_weights", "temperature is missing", lambda s, t: weights_by_hand(s, 1)),
    ("check_negative_weights", "wrong axis", lambda s, t: weights_by_hand(s.T, t).T),
    ("check_negative_weights", "overflow", naive_softmax),
    ("check_mi_bound", "sign", lambda loss, k: loss - math.log(k)),
    ("check_mi_bound", "loss itself", lambda loss, k: loss),
    ("check_mi_bound", "log2", lambda loss, k: math.log2(k) - loss),
    ("check_mi_bound", "log2", lambda loss, k: np.log2(k / np.exp(loss))),
    ("check_mi_bound", "K - 1", lambda loss, k: math.log(k - 1) - loss),
    ("check_stable_cross_entropy", "overflow", naive_ce),
    ("check_stable_cross_entropy", "log 0", log_of_softmax),
    ("check_stable_cross_entropy", "sum", lambda x, y: stable_ce_by_hand(x, y) * len(x)),
    ("check_stable_cross_entropy", "wrong count", lambda x, y: stable_ce_by_hand(x, y) / x.shape[1]),
    ("check_stable_cross_entropy", "no mean", lambda x, y: F.cross_entropy(x, y, reduction="none")),
    ("check_lr_at", "no warm-up", lambda s, n, w, peak: peak * (1 + math.cos(math.pi * s / n)) / 2),
    ("check_lr_at", "no warm-up", schedule(ramp=lambda s, w: 1)),
    ("check_lr_at", "restarts", schedule(progress=lambda s, n, w: (s - w) % 10 / 10)),
    ("check_lr_at", "restarts", schedule(progress=lambda s, n, w: 2 * (s - w) / (n - w))),
    ("check_lr_at", "starts at 0", schedule(ramp=lambda s, w: s / w)),
    ("check_lr_at", "one step early", schedule(ramp=lambda s, w: (s + 1) / w)),
    ("check_lr_at", "over all steps", schedule(progress=lambda s, n, w: s / n)),
    ("check_lr_at", "over all steps", schedule(progress=lambda s, n, w: (s - w) / n)),
    ("check_lr_at", "multiply it by the peak", lambda s, n, w, peak: lr_by_hand(s, n, w, 1)),
    ("check_scaled_lr", "not scaled", lambda base_lr, batch_size: base_lr),
    ("check_scaled_lr", "square root", lambda base_lr, batch_size: base_lr * (batch_size / 256) ** 0.5),
    ("check_scaled_lr", "wrong way", lambda base_lr, batch_size: base_lr / (batch_size / 256)),
    ("check_false_negatives", "anchor itself", count_views(lambda i, n: ())),
    ("check_false_negatives", "positive pair", count_views(lambda i, n: (i,))),
    ("check_false_negatives", "only one view", count_views(lambda i, n: (i,), True, lambda n: 2 * n - 2)),
    ("check_steps_that_fit", "rounded up", lambda s, p, n, b: (math.ceil(s / p), math.ceil(s / p) * b / n)),
    ("check_steps_that_fit", "not whole", lambda s, p, n, b: (s / p, s / p * b / n)),
    ("check_steps_that_fit", "batch size", lambda s, p, n, b: (int(s / p), int(s / p) / n)),
    ("check_steps_that_fit", "upside down", lambda s, p, n, b: (int(s / p), n / (int(s / p) * b))),
    ("check_steps_that_fit", "tuple of 2", lambda s, p, n, b: int(s / p)),
]


TestCheckers = checker_tests(ch00, ch13, ch25, correct=CORRECT, wrong=WRONG)


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
    assert "one number" in ch13.check_info_nce(lambda q, p, t: info_nce_float32(q, p, t)[None]).message


def test_inputs_are_protected():
    def in_place(a, b):
        a /= a.norm(dim=1, keepdim=True)
        return a @ rows(b).T

    assert "in place" in COSINE.check(in_place).message
    assert COSINE.check(cosine_loops).passed, "the next check gets fresh inputs"


def test_verdict_in_a_notebook():
    check = ch13.check_mi_bound(lambda loss, candidates: math.log(candidates) - loss)
    assert repr(check) == str(check) == "✓ correct"
    assert "✓" in check._repr_html_()
    assert "correct" in check._repr_html_()
