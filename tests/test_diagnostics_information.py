"""Bounds on information against nested loops and closed forms, exact tables, and matched sources."""

import math

import pytest
import torch

from ssl_lessons.diagnostics import information as info
from ssl_lessons.errors import InputError

BOUNDS = (info.info_nce_bound, info.dv_bound, info.nwj_bound)


def scores(k=6, *shape):
    return torch.randn(*shape, k, k, generator=torch.Generator().manual_seed(k)).double()


def by_loops(s, bound):
    k = len(s)
    own = sum(s[i, i].item() for i in range(k)) / k
    if bound is info.info_nce_bound:
        terms = [
            s[i, i].item() - math.log(sum(math.exp(s[i, j].item()) for j in range(k)) / k) for i in range(k)
        ]
        return sum(terms) / k
    others = [math.exp(s[i, j].item()) for i in range(k) for j in range(k) if i != j]
    z = sum(others) / len(others)
    return own - math.log(z) if bound is info.dv_bound else own - z / math.e


@pytest.mark.parametrize("bound", BOUNDS)
def test_bounds_against_nested_loops(bound):
    s = scores()
    assert bound(s).item() == pytest.approx(by_loops(s, bound), rel=1e-12)
    stack = scores(5, 3)
    assert bound(stack).item() == pytest.approx(sum(by_loops(m, bound) for m in stack) / 3, rel=1e-12)
    assert bound(s.float()).item() == pytest.approx(bound(s).item(), rel=1e-5)


@pytest.mark.parametrize("bound", BOUNDS)
def test_gradients_and_order_of_the_pairs(bound):
    s = scores(4).requires_grad_()
    assert torch.autograd.gradcheck(bound, s)
    order = torch.tensor([2, 0, 3, 1])
    assert bound(s[order][:, order]).item() == pytest.approx(bound(s).item(), rel=1e-12)


def test_constants_move_only_nwj_and_rows_only_the_others():
    s = scores()
    for bound in BOUNDS[:2]:
        assert bound(s + 3).item() == pytest.approx(bound(s).item(), rel=1e-12)
    assert info.nwj_bound(s + 3).item() < info.nwj_bound(s).item()
    assert info.info_nce_bound(s + scores()[:, :1]).item() == pytest.approx(info.info_nce_bound(s).item())


def test_the_ceiling_is_reached_and_not_passed():
    sure = 50 * torch.eye(8)
    assert info.info_nce_bound(sure).item() == pytest.approx(math.log(8), abs=1e-6)
    assert info.dv_bound(sure).item() == pytest.approx(50)  # no ceiling
    assert info.nwj_bound(1 + scores().diagonal().diag() * 0).item() == pytest.approx(0, abs=1e-6)


def test_the_best_critic_finds_the_truth_where_there_is_little():
    rho, dim = 0.5, 2
    x, y = info.gaussian_pairs(rho, (200, 64, dim), torch.Generator().manual_seed(0))
    best = info.gaussian_log_ratio(x, y, rho)
    truth = info.gaussian_information(rho, dim)
    assert truth == pytest.approx(-math.log(1 - 0.25))
    assert info.dv_bound(best).item() == pytest.approx(truth, abs=0.02)
    assert info.nwj_bound(best + 1).item() == pytest.approx(truth, abs=0.02)
    assert truth - 0.05 < info.info_nce_bound(best).item() < truth + 0.02


def test_log_ratio_against_the_densities():
    x, y, rho = torch.tensor([[0.3], [-1.0]]).double(), torch.tensor([[0.5], [2.0], [-0.2]]).double(), 0.7
    normal = torch.distributions.Normal
    conditional = normal(rho * x, math.sqrt(1 - rho**2)).log_prob(y.T)
    expected = conditional - normal(0.0, 1.0).log_prob(y.T)
    assert torch.allclose(info.gaussian_log_ratio(x, y, rho), expected)


def test_pairs_have_the_correlation():
    x, y = info.gaussian_pairs(-0.8, (100_000, 1), torch.Generator().manual_seed(0))
    assert torch.corrcoef(torch.stack([x[:, 0], y[:, 0]]))[0, 1].item() == pytest.approx(-0.8, abs=0.01)
    assert y.std().item() == pytest.approx(1, abs=0.01)


def test_tables_by_hand():
    assert info.table_information(torch.eye(4)) == pytest.approx(math.log(4))
    assert info.table_information(torch.tensor([[1.0, 2.0], [2.0, 4.0]])) == pytest.approx(0, abs=1e-12)
    e = 0.2
    noisy = torch.tensor([[1 - e, e], [e, 1 - e]]) / 2
    entropy = -e * math.log(e) - (1 - e) * math.log(1 - e)
    assert info.table_information(noisy) == pytest.approx(math.log(2) - entropy)
    joint = torch.rand(5, 4, generator=torch.Generator().manual_seed(0)).double()
    total, value = joint.sum(), 0.0
    for i in range(5):
        for j in range(4):
            p = joint[i, j] / total
            value += float(p * (p / (joint[i].sum() / total) / (joint[:, j].sum() / total)).log())
    assert info.table_information(joint) == pytest.approx(value)


def test_matched_sources_in_any_order_sign_and_scale():
    s = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    found = torch.stack([-2 * s[:, 2], 5 + s[:, 0], 0.1 * s[:, 1], torch.zeros(500)], dim=1)
    assert info.matched_correlation(s, found) == pytest.approx(1)
    assert info.matched_correlation(s.numpy(), found[:, :3].numpy()) == pytest.approx(1)
    twice = torch.stack([s[:, 0], s[:, 0], s[:, 0]], dim=1)  # one found source serves once
    assert info.matched_correlation(s, twice) < 0.45
    assert info.matched_correlation(s, torch.zeros(500, 3)) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: info.info_nce_bound(torch.zeros(3, 4)),
        lambda: info.dv_bound(torch.zeros(1, 1)),
        lambda: info.nwj_bound([[0.0]]),
        lambda: info.dv_bound(torch.full((3, 3), math.nan)),
        lambda: info.gaussian_information(1.0),
        lambda: info.gaussian_information(0.5, 0),
        lambda: info.gaussian_log_ratio(torch.zeros(3, 2), torch.zeros(3, 1), 0.5),
        lambda: info.table_information(torch.zeros(2, 2)),
        lambda: info.table_information(torch.tensor([[1.0, -1.0]])),
        lambda: info.matched_correlation(torch.zeros(5, 3), torch.zeros(5, 2)),
        lambda: info.matched_correlation(torch.zeros(5, 2), torch.full((5, 2), math.inf)),
    ],
)
def test_bad_input_is_one_clear_error(call):
    with pytest.raises(InputError):
        call()
