"""Checkers of chapters 13 and 13b against solutions and wrong versions written as a reader would write them."""

import math

import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch13

# --- correct solutions, in several styles ------------------------------------------------------------


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


def many_views_in_loops(z, temperature):
    views, n = len(z), z.shape[1]
    flat = F.normalize(z, dim=2)
    terms = []
    for v in range(views):
        for i in range(n):
            others = [(u, j) for u in range(views) for j in range(n) if (u, j) != (v, i)]
            logits = torch.stack([flat[v, i] @ flat[o] / temperature for o in others])
            shares = logits.log_softmax(0)
            terms += [-shares[others.index((u, i))] for u in range(views) if u != v]
    return torch.stack(terms).mean()


def many_views_float32(z, temperature):
    v, n, d = z.shape
    rows = F.normalize(z.float().transpose(0, 1).reshape(-1, d), dim=1)  # picture by picture
    logits = rows @ rows.T / temperature - 1e9 * torch.eye(v * n)
    blocks = torch.block_diag(*[torch.ones(v, v)] * n) - torch.eye(v * n)
    return -(logits.log_softmax(1) * blocks).sum() / blocks.sum()


def stable_ce_by_hand(logits, target):
    m = logits.max(dim=1).values
    log_z = m + (logits - m[:, None]).exp().sum(dim=1).log()
    return (log_z - logits[range(len(logits)), target]).mean()


def properties(loss):
    """Enough of what follows from the formula."""
    z1, z2 = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(1))
    same, apart = torch.ones(8, 5), torch.eye(8)
    return (
        torch.allclose(loss(same, same, 0.3), torch.tensor(15.0).log())
        and loss(apart, apart, 0.02) < 1e-4
        and torch.allclose(loss(2 * z1, z2, 0.3), loss(z1, z2, 0.3), atol=1e-5)
        and torch.allclose(loss(z1 * torch.arange(1, 9)[:, None], z2, 0.3), loss(z1, z2, 0.3), atol=1e-5)
        and not torch.allclose(loss(z1, z2, 0.3), loss(z1, z2, 0.6), atol=1e-3)
        and not torch.allclose(loss(z1, z2, 0.3), loss(z1, -z2, 0.3), atol=1e-3)
        and both_learn(loss, z1, z2)
    )


def both_learn(loss, z1, z2):
    pair = [z.clone().requires_grad_() for z in (z1, z2)]
    value = loss(*pair, 0.3)
    return all(g is not None for g in torch.autograd.grad(value, pair, allow_unused=True))


def against_a_copy(loss):
    z1, z2 = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(1)).double()
    good = abs(float(loss(z1, z2, 0.3)) - float(nt_xent_interleaved(z1, z2, 0.3))) < 1e-5
    return good and both_learn(loss, z1, z2)


CORRECT = {
    "check_nt_xent": [nt_xent_float32, nt_xent_interleaved],
    "check_nt_xent_many": [many_views_in_loops, many_views_float32],
    "check_candidates_needed": [
        lambda nats, loss: math.ceil(math.exp(nats + loss)),
        lambda nats, loss: torch.tensor(nats + loss).exp().ceil(),
        lambda nats, loss: next(k for k in range(1, 10**6) if math.log(k) - loss >= nats),
    ],
    "check_temperature_for": [
        lambda gap, ratio: gap / math.log(ratio),
        lambda gap, ratio: torch.tensor(gap) / torch.tensor(ratio).log(),
    ],
    "check_stable_cross_entropy": [stable_ce_by_hand, lambda x, y: stable_ce_by_hand(x.float(), y)],
    "check_judge": [properties, against_a_copy],
}


# --- wrong versions: (checker, words the verdict must contain, the function) -------------------------


def rows(x):
    return x / x.norm(dim=1, keepdim=True)


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


def info_nce_float32(query, positive, temperature):
    q, p = F.normalize(query.float(), dim=1), F.normalize(positive.float(), dim=1)
    return F.cross_entropy(torch.einsum("nd,md->nm", q, p) / temperature, torch.arange(len(q)))


def naive_ce(logits, target):
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    return -p[torch.arange(len(p)), target].log().mean()


def log_of_softmax(logits, target):
    return -logits.softmax(dim=1)[torch.arange(len(logits)), target].log().mean()


CASE = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(1)).double()


def only_the_value_at_chance(loss):
    same = torch.ones(8, 5)
    return torch.allclose(loss(same, same, 0.3), torch.tensor(15.0).log())


def many_views_unscaled(z, temperature):
    rows = z.flatten(0, 1)
    logits = (rows @ rows.T / temperature).fill_diagonal_(-torch.inf).log_softmax(1)
    n = z.shape[1]
    return -torch.stack(
        [logits[i, k] for i in range(len(rows)) for k in range(i % n, len(rows), n) if k != i]
    ).mean()


def many_views_times_mask(z, temperature):
    rows = F.normalize(z, dim=2).flatten(0, 1)
    log_p = (rows @ rows.T / temperature).fill_diagonal_(-torch.inf).log_softmax(1)
    picture = torch.arange(len(rows)) % z.shape[1]
    mask = ((picture[:, None] == picture) & ~torch.eye(len(rows), dtype=torch.bool)).double()
    return -(log_p * mask).sum() / mask.sum()


def pairs_alone(z, temperature):
    pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j]
    return sum(nt_xent_interleaved(z[i], z[j], temperature) for i, j in pairs) / len(pairs)


WRONG = [
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
    ("check_stable_cross_entropy", "overflow", naive_ce),
    ("check_stable_cross_entropy", "log 0", log_of_softmax),
    ("check_stable_cross_entropy", "sum", lambda x, y: stable_ce_by_hand(x, y) * len(x)),
    ("check_stable_cross_entropy", "wrong count", lambda x, y: stable_ce_by_hand(x, y) / x.shape[1]),
    ("check_stable_cross_entropy", "no mean", lambda x, y: F.cross_entropy(x, y, reduction="none")),
    ("check_stable_cross_entropy", "cross_entropy did the work", lambda x, y: F.cross_entropy(x.float(), y)),
    ("check_stable_cross_entropy", "log_softmax and nll_loss", lambda x, y: F.nll_loss(x.log_softmax(1), y)),
    (
        "check_stable_cross_entropy",
        "logsumexp did the work",
        lambda x, y: (x.logsumexp(1) - x.gather(1, y[:, None])[:, 0]).mean(),
    ),
    ("check_nt_xent_many", "not normalized", lambda z, t: many_views_unscaled(z, t)),
    ("check_nt_xent_many", "two views at a time", pairs_alone),
    ("check_nt_xent_many", "choose the partners by indexing", many_views_times_mask),
    ("check_candidates_needed", "one too few", lambda nats, loss: math.exp(nats + loss) // 1),
    ("check_candidates_needed", "wrong sign", lambda nats, loss: math.ceil(math.exp(nats) / math.exp(loss))),
    ("check_candidates_needed", "cannot be split", lambda nats, loss: math.exp(nats) * math.exp(loss)),
    ("check_temperature_for", "upside down", lambda gap, ratio: math.log(ratio) / gap),
    ("check_temperature_for", "logarithm of the ratio is missing", lambda gap, ratio: gap / ratio),
    ("check_judge", "lets pass", only_the_value_at_chance),
    (
        "check_judge",
        "lets pass: the second views are detached",
        lambda loss: abs(float(loss(*CASE, 0.3)) - float(nt_xent_interleaved(*CASE, 0.3))) < 1e-5,
    ),
    ("check_judge", "refuses: NT-Xent as the package", lambda loss: False),
    ("check_judge", "lets pass: the self-pair", lambda loss: True),
    ("check_judge", "True or False", lambda loss: 0.5),
]


TestCheckers = checker_tests(ch13, correct=CORRECT, wrong=WRONG)
