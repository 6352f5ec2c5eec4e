"""LooC's loss against a float64 loop over queries and candidates, its gradients, its value at chance."""

import math

import pytest
import torch

from ssl_lessons import losses
from ssl_lessons.errors import InputError


def spaces(n_spaces=3, n=5, d=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    made = torch.randn(n_spaces, n_spaces + 1, n, d, generator=g, dtype=torch.float64)
    return [z[0] for z in made], [list(z[1:]) for z in made]


def looc_loop(queries, keys, t, weight=1.0):
    total = 0.0
    for i in range(len(queries)):
        for row, query in enumerate(queries[i]):

            def e(key, query=query):
                return math.exp(float(query @ key / (query.norm() * key.norm())) / t)

            partner = e(keys[i][i][row])
            others = sum(e(keys[i][i][b]) for b in range(len(keys[i][i])) if b != row)
            own = 0.0 if i == 0 else sum(e(keys[i][j][row]) for j in range(len(keys[i])) if j != i)
            total -= (weight if i else 1.0) * math.log(partner / (partner + others + own)) / len(queries[i])
    return total / len(queries)


@pytest.mark.parametrize("n_spaces", [2, 3])
@pytest.mark.parametrize("temperature", [0.1, 0.7])
def test_looc_is_the_loop(n_spaces, temperature):
    queries, keys = spaces(n_spaces)
    assert losses.looc(queries, keys, temperature).item() == pytest.approx(
        looc_loop(queries, keys, temperature)
    )
    lighter = losses.looc(queries, keys, temperature, 0.3)
    assert lighter.item() == pytest.approx(looc_loop(queries, keys, temperature, 0.3))


def test_looc_gradients_and_half_precision():
    queries, keys = spaces(2, 3, 3)
    flat = [*queries, *keys[0], *keys[1]]
    assert torch.autograd.gradcheck(
        lambda *z: losses.looc(z[:2], [z[2:4], z[4:6]], 0.5), [z.requires_grad_() for z in flat]
    )
    half = losses.looc([z.half() for z in queries], [[z.half() for z in k] for k in keys], 0.5)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(losses.looc(queries, keys, 0.5).item(), abs=2e-2)


def test_looc_at_chance_and_what_its_spaces_want():
    same = torch.ones(6, 3)
    expected = (math.log(6) + 2 * math.log(8)) / 3
    assert losses.looc([same] * 3, [[same] * 3] * 3, 0.2).item() == pytest.approx(expected, rel=1e-5)
    queries, keys = spaces(2)
    # space 1 wants the view that shares its augmentation, and not the same picture's other one
    right = losses.looc(queries, [keys[0], [-queries[1], queries[1]]], 0.2)
    wrong = losses.looc(queries, [keys[0], [queries[1], -queries[1]]], 0.2)
    alike = losses.looc(queries, [keys[0], [queries[1], queries[1]]], 0.2)
    assert right < alike < wrong
    # space 0 looks at k_0 alone
    assert losses.looc(queries, [keys[0][:1], keys[1]], 0.2) == losses.looc(queries, keys, 0.2)


def test_looc_refuses_what_does_not_fit():
    queries, keys = spaces(2)
    for q, k in (
        (queries[:1], keys[:1]), (queries, keys[:1]), (queries, [keys[0], keys[1][:1]]), (queries, [[], keys[1]])
    ):  # fmt: skip
        with pytest.raises(InputError, match="n \\+ 1 >= 2 spaces"):
            losses.looc(q, k)
    with pytest.raises(InputError, match="same shape"):
        losses.looc(queries, [keys[0], [keys[1][0], keys[1][1][:4]]])
    with pytest.raises(InputError, match="temperature"):
        losses.looc(queries, keys, 0.0)
