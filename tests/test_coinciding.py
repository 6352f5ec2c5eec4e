"""Points that coincide, or lie very far apart, have finite gradients: roots, logarithms and powers are steep at 0."""

import math

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.losses import align_uniform, metric
from ssl_lessons.models import embedding

SAME = torch.tensor([True, True, False, False, False, True])
LABELS = torch.tensor([0, 0, 1, 1, 1, 0])
TARGETS = torch.tensor([[1], [0], [3], [2], [3], [0]])


def pairs():
    """Six pairs [6, 4]; those from the third on coincide, two of them similar and two dissimilar; and z[2] = z[3]."""
    a = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a[3] = a[2]
    b = a.clone()
    b[:3] += 1
    return a, b


def gradients(loss, *points):
    points = [x.clone().requires_grad_() for x in points]
    value = loss(*points)
    value.backward()
    return value.item(), [x.grad for x in points]


TABLE = metric.phi_psi_table()
OF_PAIRS = {
    "side_information": lambda a, b: embedding.side_information(a, b, SAME),
    "contrastive_pairs": lambda a, b: metric.contrastive_pairs(a, b, SAME, margin=5.0),
    "triplet": lambda a, b: metric.triplet(a, b, a),
    "n_pair": lambda a, b: metric.n_pair(a, b, l2=0.1),
    **{
        f"align_uniform {alpha}": lambda a, b, alpha=alpha: align_uniform(a, b, alpha=alpha)
        for alpha in (0.5, 1.0, 2.0)
    },
    **{f"phi_psi {name}": lambda a, b, f=f: metric.phi_psi(a, b, *f) for name, f in TABLE.items()},
}
OF_SETS = {
    "lifted_structure": lambda z: metric.lifted_structure(z, LABELS),
    "nca": lambda z: metric.nca(z, LABELS),
    "soft_nearest_neighbor": lambda z: metric.soft_nearest_neighbor(z, LABELS),
    "lmnn": lambda z: embedding.lmnn(z, LABELS, TARGETS),
}


@pytest.mark.parametrize("name", OF_PAIRS)
def test_pairs_that_coincide(name):
    value, grads = gradients(OF_PAIRS[name], *pairs())
    assert math.isfinite(value) and all(g.isfinite().all() for g in grads)
    assert any(g.abs().max() > 0 for g in grads)


@pytest.mark.parametrize("name", OF_SETS)
@pytest.mark.parametrize("z", [pairs()[0], torch.zeros(6, 4, dtype=torch.float64)], ids=["two", "all"])
def test_rows_that_coincide(name, z):
    value, (grad,) = gradients(OF_SETS[name], z)
    assert math.isfinite(value) and grad.isfinite().all()


@pytest.mark.parametrize("name", TABLE)
def test_negatives_so_far_away_that_their_exponentials_vanish(name):
    far = 60 * torch.eye(4)
    value, grads = gradients(lambda a, b: metric.phi_psi(a, b, *TABLE[name]), far, far)
    assert math.isfinite(value) and all(g.isfinite().all() for g in grads)


def test_a_dissimilar_pair_that_coincides_adds_nothing_to_side_information():
    a, b = pairs()
    value, (grad, _) = gradients(OF_PAIRS["side_information"], a, b)
    rest = torch.tensor([True, True, True, False, False, True])
    others, (grad_of_others, _) = gradients(
        lambda a, b: embedding.side_information(a, b, SAME[rest]), a[rest], b[rest]
    )
    assert value == others == pytest.approx(2 * 4 - math.log(2))
    assert torch.equal(grad[rest], grad_of_others) and grad[~rest].abs().max() == 0


def test_side_information_needs_something_apart():
    a, b = pairs()
    with pytest.raises(InputError, match="coincide"):
        embedding.side_information(a, torch.where(SAME[:, None], b, a), SAME)


def test_alignment_of_half_a_power():
    """Two pairs at right angles, sqrt 2 apart, and two that coincide: the mean of |z1 - z2|^(1/2) is 2^(1/4) / 2."""
    a = torch.eye(4, dtype=torch.float64)
    b = a[[1, 0, 2, 3]]
    value, (grad, _) = gradients(lambda a, b: align_uniform(a, b, alpha=0.5, uniform_weight=0), a, b)
    assert value == pytest.approx(2**0.25 / 2)
    assert grad[:2].abs().max() > 0 and grad[2:].abs().max() == 0
