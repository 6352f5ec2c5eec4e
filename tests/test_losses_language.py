"""Losses that repair sentences, against loops in float64; the masked-diffusion bound on eight sentences."""

import itertools
import math

import pytest
import torch

from ssl_lessons import losses
from ssl_lessons.errors import InputError, NotFiniteError

B, T, V = 3, 5, 4


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LOGITS = drawn(B, T, V)
TOKENS = torch.randint(V, (B, T), generator=torch.Generator().manual_seed(1))
MASK = torch.arange(B * T).view(B, T) % 3 == 0
REAL = torch.arange(T) < torch.tensor([5, 4, 3])[:, None]


def log_p(row, k):
    return row[k] - math.log(sum(math.exp(v) for v in row))


def loop(logits, where):
    """- mean over where of log p(token), the token and its logits possibly at other places."""
    found = [-log_p(logits[b][t], TOKENS[b, s].item()) for b, t, s in where]
    return sum(found) / len(found)


def test_masked_lm_is_the_loop():
    where = [(b, t, t) for b in range(B) for t in range(T) if MASK[b, t]]
    assert losses.masked_lm(LOGITS, TOKENS, MASK).item() == pytest.approx(
        loop(LOGITS.tolist(), where), abs=1e-12
    )
    assert losses.masked_lm(torch.zeros(B, T, V), TOKENS, MASK).item() == pytest.approx(math.log(V))


def test_causal_lm_is_the_loop():
    where = [(b, t - 1, t) for b in range(B) for t in range(1, T) if REAL[b, t]]
    assert losses.causal_lm(LOGITS, TOKENS, REAL).item() == pytest.approx(
        loop(LOGITS.tolist(), where), abs=1e-12
    )


def test_replaced_token_is_the_loop():
    logits, total, n = LOGITS[..., 0], 0.0, 0
    for b, t in itertools.product(range(B), range(T)):
        if REAL[b, t]:
            d = 1 / (1 + math.exp(-logits[b, t]))
            total, n = total - math.log(d if MASK[b, t] else 1 - d), n + 1
    assert losses.replaced_token(logits, MASK, REAL).item() == pytest.approx(total / n, abs=1e-12)
    assert losses.replaced_token(0 * logits, MASK, REAL).item() == pytest.approx(math.log(2))


def test_masked_diffusion_is_the_loop():
    t, mask, total = torch.tensor([0.2, 0.7, 1.0]), MASK & REAL, 0.0
    for b in range(B):
        length = int(REAL[b].sum())
        hidden = [i for i in range(T) if mask[b, i]]
        total -= sum(log_p(LOGITS[b, i].tolist(), TOKENS[b, i].item()) for i in hidden) / (
            t[b].item() * length
        )
    found = losses.masked_diffusion(LOGITS, TOKENS, mask, t, REAL).item()
    assert found == pytest.approx(total / B, rel=1e-6)
    nothing = torch.zeros_like(mask)
    assert losses.masked_diffusion(LOGITS, TOKENS, nothing, t, REAL).item() == 0


def exact_bound(p, x, model):
    """L * the mean over t and masks of the loss, summed exactly: t is integrated out, 1/(L choose m)/m a mask of m."""
    n, total = len(x), 0.0
    for mask in itertools.product((False, True), repeat=n):
        m = sum(mask)
        if m:
            shown = tuple(None if hidden else w for hidden, w in zip(mask, x, strict=True))
            ce = -sum(math.log(model(p, shown, i)[x[i]]) for i in range(n) if mask[i])
            total += ce / (m * math.comb(n, m))
    return total


def conditional(p, shown, i):
    """The true p(word i | words that are shown)."""
    fits = {y: q for y, q in p.items() if all(a is None or a == b for a, b in zip(shown, y, strict=True))}
    return {w: sum(q for y, q in fits.items() if y[i] == w) / sum(fits.values()) for w in (0, 1)}


def test_masked_diffusion_bounds_the_log_likelihood():
    """With the true conditionals the bound is -log p itself (the chain rule in any order); with others it is above."""
    weights = drawn(8, seed=5).exp()
    p = dict(zip(itertools.product((0, 1), repeat=3), (weights / weights.sum()).tolist(), strict=True))

    def tempered(p, shown, i):
        c = {w: q**0.5 for w, q in conditional(p, shown, i).items()}
        return {w: q / sum(c.values()) for w, q in c.items()}

    for x, q in p.items():
        assert exact_bound(p, x, conditional) == pytest.approx(-math.log(q), abs=1e-12)
    # for a model that is not the truth: above -log of what it says by unmasking in random order
    for x in p:
        orders = []
        for order in itertools.permutations(range(3)):
            shown, product = [None] * 3, 1.0
            for i in order:
                product *= tempered(p, tuple(shown), i)[x[i]]
                shown[i] = x[i]
            orders.append(product)
        assert exact_bound(p, x, tempered) >= -math.log(sum(orders) / len(orders)) - 1e-12


def test_masked_diffusion_by_drawing_meets_the_exact_sum():
    """The loss of the package, averaged over drawn t and masks, against the exact sum."""
    n, g = 20_000, torch.Generator().manual_seed(0)
    weights = drawn(8, seed=5).exp()
    p = dict(zip(itertools.product((0, 1), repeat=3), (weights / weights.sum()).tolist(), strict=True))
    x = (1, 0, 1)
    t = 1 - torch.rand(n, generator=g, dtype=torch.float64)
    mask = torch.rand(n, 3, generator=g, dtype=torch.float64) < t[:, None]
    table = {}
    for bits in itertools.product((False, True), repeat=3):
        shown = tuple(None if h else w for h, w in zip(bits, x, strict=True))
        table[bits] = [
            [math.log(conditional(p, shown, i)[w]) if bits[i] else 0.0 for w in (0, 1)] for i in range(3)
        ]
    logits = torch.tensor([table[tuple(row)] for row in mask.tolist()], dtype=torch.float64)
    tokens, real = torch.tensor(x).expand(n, 3), torch.ones(n, 3, dtype=torch.bool)
    found = 3 * losses.masked_diffusion(logits, tokens, mask, t, real).item()
    assert found == pytest.approx(-math.log(p[x]), rel=0.05)


CALLS = {
    "masked_lm": lambda z: losses.masked_lm(z, TOKENS, MASK),
    "causal_lm": lambda z: losses.causal_lm(z, TOKENS, REAL),
    "replaced_token": lambda z: losses.replaced_token(z[..., 0], MASK, REAL),
    "masked_diffusion": lambda z: losses.masked_diffusion(
        z, TOKENS, MASK & REAL, torch.tensor([0.2, 0.7, 1.0], dtype=torch.float64), REAL
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_gradients_invariance_and_precision(call):
    assert torch.autograd.gradcheck(call, LOGITS.clone().requires_grad_())
    if call is not CALLS["replaced_token"]:
        assert torch.allclose(call(LOGITS + 7), call(LOGITS))  # a softmax does not see a constant
    assert call(LOGITS.to(torch.bfloat16)).dtype == torch.float32
    with pytest.raises(NotFiniteError):
        call(torch.full_like(LOGITS, math.nan))


@pytest.mark.parametrize(
    "call",
    [
        lambda: losses.masked_lm(LOGITS, TOKENS, MASK.float()),
        lambda: losses.masked_lm(LOGITS, TOKENS, torch.zeros_like(MASK)),
        lambda: losses.masked_lm(LOGITS, TOKENS + V, MASK),
        lambda: losses.masked_lm(LOGITS, TOKENS[:, :-1], MASK),
        lambda: losses.masked_lm(LOGITS, TOKENS.float(), MASK),
        lambda: losses.causal_lm(LOGITS[:, :1], TOKENS[:, :1], REAL[:, :1]),
        lambda: losses.replaced_token(LOGITS, MASK, REAL),
        lambda: losses.replaced_token(LOGITS[..., 0], MASK, torch.zeros_like(REAL)),
        lambda: losses.masked_diffusion(
            LOGITS, TOKENS, MASK, torch.tensor([0.0, 0.5, 1.0]), torch.ones_like(REAL)
        ),
        lambda: losses.masked_diffusion(LOGITS, TOKENS, MASK, torch.ones(B), REAL),
    ],
)
def test_bad_input(call):
    with pytest.raises(InputError):
        call()
