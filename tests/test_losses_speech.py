"""Losses of sound against loops in float64, with their gradients, their limits, and bad input."""

import math

import pytest
import torch

from ssl_lessons import losses
from ssl_lessons.errors import InputError


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def log_share(own, candidates):
    return own - math.log(sum(math.exp(c) for c in candidates))


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a, b):
    return dot(a, b) / math.hypot(*a) / math.hypot(*b)


def times(matrix, v):
    return [dot(row, v) for row in matrix]


def naive_cpc(c, z, maps, negatives):
    steps = []
    for k, w in enumerate(maps, start=1):
        terms = []
        for b in range(len(c)):
            for t in range(len(c[0]) - k):
                guess = times(w, c[b][t])
                others = [z[i][t + k] for i in range(len(c))] if negatives == "clips" else z[b]
                terms.append(-log_share(dot(guess, z[b][t + k]), [dot(guess, o) for o in others]))
        steps.append(sum(terms) / len(terms))
    return sum(steps) / len(steps)


@pytest.mark.parametrize("negatives", ["clips", "times"])
def test_cpc(negatives):
    c, z, maps = normal(3, 5, 4), normal(3, 5, 2, seed=1), normal(2, 2, 4, seed=2)
    expected = naive_cpc(c.tolist(), z.tolist(), maps.tolist(), negatives)
    assert losses.cpc(c, z, maps, negatives).item() == pytest.approx(expected, rel=1e-9)
    n = 3 if negatives == "clips" else 5
    assert losses.cpc(c, 0 * z, maps, negatives).item() == pytest.approx(math.log(n))
    inputs = [t.requires_grad_() for t in (c, z, maps)]
    assert torch.autograd.gradcheck(lambda *t: losses.cpc(*t, negatives), inputs)


def test_what_a_clip_keeps_tells_nothing_among_its_own_times():
    z = torch.eye(4, dtype=torch.float64)[:, None].expand(4, 6, 4)  # each clip has one constant vector, its room
    maps = 50 * torch.eye(4, dtype=torch.float64)[None]
    assert losses.cpc(z, z, maps, "clips") < 1e-9
    assert losses.cpc(z, z, maps, "times").item() == pytest.approx(math.log(6))


def test_cola():
    a, p, w = normal(4, 3), normal(4, 3, seed=1), normal(3, 3, seed=2)
    rows = [(times(w.T.tolist(), x), i) for i, x in enumerate(a.tolist())]
    expected = -sum(log_share(dot(g, p.tolist()[i]), [dot(g, y) for y in p.tolist()]) for g, i in rows) / 4
    assert losses.cola(a, p, w).item() == pytest.approx(expected, rel=1e-9)
    assert losses.cola(0 * a, p, w).item() == pytest.approx(math.log(4))
    assert torch.autograd.gradcheck(losses.cola, [t.requires_grad_() for t in (a, p, w)])


def test_codes():
    logits, noise = normal(5, 2, 4), normal(5, 2, 4, seed=1)
    codes = losses.gumbel_codes(logits, noise, 0.7)
    assert torch.allclose(codes.sum(-1), torch.ones(5, 2, dtype=torch.float64)) and codes.max() <= 1 + 1e-9
    assert torch.equal(codes.argmax(-1), (logits + noise).argmax(-1))
    weight = normal(5, 2, 4, seed=2)
    one, two = (logits.clone().requires_grad_() for _ in range(2))
    (losses.gumbel_codes(one, noise, 0.7) * weight).sum().backward()
    (((two + noise) / 0.7).softmax(-1) * weight).sum().backward()
    assert torch.allclose(one.grad, two.grad)
    # with Gumbel noise the codes are drawn from the softmax of the logits
    u = torch.rand(20_000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = losses.gumbel_codes(logits[0, :1].expand(20_000, 4), -(-u.log()).log()).mean(0)
    assert torch.allclose(drawn, logits[0, 0].softmax(0), atol=0.02)


def test_diversity():
    p = normal(6, 2, 4).softmax(-1)
    mean = [[sum(p[n, g, v].item() for n in range(6)) / 6 for v in range(4)] for g in range(2)]
    expected = sum(v * math.log(v) for row in mean for v in row) / 8
    assert losses.codebook_diversity(p).item() == pytest.approx(expected, rel=1e-9)
    assert losses.codebook_diversity(torch.full((3, 2, 4), 0.25)).item() == pytest.approx(-math.log(4) / 4)
    assert losses.codebook_diversity(torch.eye(4)[:1].expand(3, 2, 4)).item() == 0
    perplexity = sum(math.exp(-sum(v * math.log(v) for v in row)) for row in mean)
    assert losses.codebook_diversity(p, "perplexity").item() == pytest.approx((8 - perplexity) / 8, rel=1e-9)
    x = normal(6, 2, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: losses.codebook_diversity(t.softmax(-1)), [x])


def test_wav2vec2():
    c, q = normal(5, 3), normal(5, 3, seed=1)
    others = torch.tensor([[1, 2], [0, 0], [4, 1], [2, 1], [3, 0]])
    terms = []
    for m, row in enumerate(others.tolist()):
        scores = [cosine(c[m].tolist(), q[i].tolist()) / 0.2 for i in (m, *row)]
        terms.append(-log_share(scores[0], scores))
    assert losses.wav2vec2(c, q, others, 0.2).item() == pytest.approx(sum(terms) / 5, rel=1e-9)
    assert losses.wav2vec2(3 * c, 2 * q, others, 0.2).item() == pytest.approx(sum(terms) / 5, rel=1e-9)
    inputs = [t.requires_grad_() for t in (c, q)]
    assert torch.autograd.gradcheck(lambda *t: losses.wav2vec2(*t, others, 0.2), inputs)


def test_a_distractor_with_the_same_code_is_no_candidate():
    c, q = normal(3, 4), normal(1, 4, seed=1).expand(3, 4)
    assert losses.wav2vec2(c, q, torch.tensor([[1], [2], [0]])).item() == 0


def test_hubert():
    c, e = normal(2, 3, 4), normal(5, 4, seed=1)
    labels, mask = (
        torch.tensor([[0, 1, 4], [2, 2, 3]]),
        torch.tensor([[True, False, True], [False, True, True]]),
    )
    terms = []
    for b, t in mask.nonzero().tolist():
        scores = [cosine(c[b, t].tolist(), u) / 0.1 for u in e.tolist()]
        terms.append(-log_share(scores[labels[b, t]], scores))
    assert losses.hubert(c, e, labels, mask).item() == pytest.approx(sum(terms) / 4, rel=1e-9)
    assert losses.hubert(c, 0 * e, labels, mask).item() == pytest.approx(math.log(5))
    inputs = [t.requires_grad_() for t in (c, e)]
    assert torch.autograd.gradcheck(lambda *t: losses.hubert(*t, labels, mask), inputs)
    (grad,) = torch.autograd.grad(losses.hubert(c, e, labels, mask), c)
    assert not grad[~mask].any()  # what is seen is not asked for


BAD = {
    "cpc, shapes": lambda: losses.cpc(normal(2, 4, 3), normal(2, 3, 3), normal(1, 3, 3)),
    "cpc, maps": lambda: losses.cpc(normal(2, 4, 3), normal(2, 4, 3), normal(1, 3, 2)),
    "cpc, too far": lambda: losses.cpc(normal(2, 4, 3), normal(2, 4, 3), normal(4, 3, 3)),
    "cpc, negatives": lambda: losses.cpc(normal(2, 4, 3), normal(2, 4, 3), normal(1, 3, 3), "rooms"),
    "cpc, alone": lambda: losses.cpc(normal(1, 4, 3), normal(1, 4, 3), normal(1, 3, 3)),
    "cpc, NaN": lambda: losses.cpc(normal(2, 4, 3) * math.nan, normal(2, 4, 3), normal(1, 3, 3)),
    "cola, shapes": lambda: losses.cola(normal(3, 2), normal(2, 2), normal(2, 2)),
    "cola, weight": lambda: losses.cola(normal(3, 2), normal(3, 2), normal(3, 2)),
    "cola, alone": lambda: losses.cola(normal(1, 2), normal(1, 2), normal(2, 2)),
    "codes, noise": lambda: losses.gumbel_codes(normal(3, 2), normal(2)),
    "codes, temperature": lambda: losses.gumbel_codes(normal(3, 2), temperature=0),
    "diversity, logits": lambda: losses.codebook_diversity(normal(3, 2, 4)),
    "diversity, shape": lambda: losses.codebook_diversity(normal(3, 4).softmax(-1)),
    "wav2vec2, shapes": lambda: losses.wav2vec2(normal(3, 2), normal(2, 2), torch.zeros(3, 1).long()),
    "wav2vec2, index": lambda: losses.wav2vec2(normal(3, 2), normal(3, 2), torch.full((3, 1), 3)),
    "wav2vec2, none": lambda: losses.wav2vec2(normal(3, 2), normal(3, 2), torch.zeros(3, 0).long()),
    "hubert, nothing hidden": lambda: losses.hubert(
        normal(1, 2, 3), normal(4, 3), torch.zeros(1, 2).long(), torch.zeros(1, 2).bool()
    ),
    "hubert, mask": lambda: losses.hubert(
        normal(1, 2, 3), normal(4, 3), torch.zeros(1, 2).long(), torch.ones(1, 2)
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input(bad):
    with pytest.raises(InputError):
        BAD[bad]()
