"""One loss for many methods against loops, and against the methods it is said to be; the duality; SSL-HSIC."""

import math

import pytest
import torch
import torch.nn.functional as F

from ssl_lessons import losses
from ssl_lessons.errors import InputError


@pytest.fixture
def pair():
    g = torch.Generator().manual_seed(0)
    return [torch.randn(6, 5, generator=g, dtype=torch.float64) for _ in range(2)]


def random_p(n=6, m=6, seed=1):
    return torch.rand(n, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def i_con_loop(p, log_q):
    total = 0.0
    for i in range(len(p)):
        for j in range(p.shape[1]):
            if p[i, j] > 0:
                total += float(p[i, j]) * (math.log(p[i, j]) - float(log_q[i, j]))
    return total / len(p)


def test_i_con_is_the_loop(pair):
    p, log_q = (
        losses.neighbor_probs(random_p()),
        losses.neighbor_log_probs(pair[0] @ pair[1].T),
    )
    assert losses.i_con(p, log_q).item() == pytest.approx(i_con_loop(p, log_q), abs=1e-12)
    assert losses.i_con(p, p.log()).item() == pytest.approx(0, abs=1e-12)
    wide = losses.neighbor_probs(random_p(6, 3))
    log_wide = losses.neighbor_log_probs(random_p(6, 3, 2))
    assert losses.i_con(wide, log_wide).item() == pytest.approx(i_con_loop(wide, log_wide), abs=1e-12)


def test_gradients(pair):
    z = torch.cat(pair).requires_grad_()
    p = losses.neighbor_probs(random_p(12, 12))

    def loss(z):
        return losses.i_con(p, losses.neighbor_log_probs(z @ z.T))

    assert torch.autograd.gradcheck(loss, z)
    scores = (z @ z.T).detach().requires_grad_()
    (slope,) = torch.autograd.grad(losses.i_con(p, losses.neighbor_log_probs(scores)), scores)
    q = losses.neighbor_log_probs(scores).exp()
    torch.testing.assert_close(12 * slope, (q - p).detach())
    assert torch.autograd.gradcheck(losses.ssl_hsic, [v.requires_grad_() for v in pair])


def test_it_is_the_losses_it_is_said_to_be(pair):
    z1, z2 = pair
    z = F.normalize(torch.cat(pair), dim=1)
    log_q = losses.neighbor_log_probs(z @ z.T / 0.3)
    picture = torch.arange(6).repeat(2)
    p = losses.neighbor_probs(picture[:, None] == picture)
    torch.testing.assert_close(losses.i_con(p, log_q), losses.nt_xent(z1, z2, 0.3))
    kinds = torch.tensor([0, 0, 1, 1, 2, 2])
    both = kinds.repeat(2)
    same = losses.neighbor_probs(both[:, None] == both)
    entropy = -(same * same.clamp_min(1e-30).log()).sum(dim=1).mean()
    torch.testing.assert_close(losses.i_con(same, log_q) + entropy, losses.supcon(z1, z2, kinds, 0.3))
    smooth = losses.debias(F.one_hot(kinds, 3).double(), 0.2, itself=True)
    scores = z1[:, :3]
    expected = F.cross_entropy(scores, kinds, label_smoothing=0.2)
    entropy = -(smooth * smooth.log()).sum(dim=1).mean()
    torch.testing.assert_close(losses.i_con(smooth, scores.log_softmax(1)) + entropy, expected)


def test_permuting_rows_changes_nothing(pair):
    order = torch.randperm(6, generator=torch.Generator().manual_seed(3))
    p, log_q = losses.neighbor_probs(random_p()), losses.neighbor_log_probs(pair[0] @ pair[0].T)
    moved = losses.i_con(p[order][:, order], log_q[order][:, order])
    torch.testing.assert_close(moved, losses.i_con(p, log_q))
    torch.testing.assert_close(losses.ssl_hsic(pair[0][order], pair[1][order]), losses.ssl_hsic(*pair))


def test_nobody_is_his_own_neighbour_unless_told():
    p = losses.neighbor_probs(torch.ones(3, 3))
    assert torch.equal(p, (torch.ones(3, 3) - torch.eye(3)) / 2)
    assert torch.equal(losses.neighbor_log_probs(torch.zeros(3, 3)).exp(), p)
    assert torch.allclose(losses.neighbor_probs(torch.ones(3, 3), itself=True), torch.full((3, 3), 1 / 3))
    assert torch.allclose(losses.debias(torch.eye(3).roll(1, 0), 0.5).sum(1), torch.ones(3))
    assert torch.equal(losses.debias(torch.eye(3).roll(1, 0), 0.5).diagonal(), torch.zeros(3))


def test_bfloat16_is_computed_in_float32(pair):
    p = losses.neighbor_probs(random_p().bfloat16())
    assert (
        losses.i_con(p, losses.neighbor_log_probs(pair[0].bfloat16() @ pair[1].bfloat16().T)).dtype
        == torch.float32
    )


@pytest.mark.parametrize(
    ("p", "log_q", "words"),
    [
        (torch.eye(3), torch.zeros(3, 4), "one shape"),
        (torch.eye(3), torch.zeros(3, 3), "row of q"),
        (2 * torch.eye(3), torch.zeros(3, 3).log_softmax(1), "row of p"),
        (torch.tensor([[2.0, -1.0]]), torch.zeros(1, 2).log_softmax(1), "negative"),
        (torch.eye(3), losses.neighbor_log_probs(torch.zeros(3, 3)), "forbids"),
        (torch.empty(0, 2), torch.empty(0, 2), "empty"),
    ],
)
def test_bad_rows_are_named(p, log_q, words):
    with pytest.raises(InputError, match=words):
        losses.i_con(p, log_q)


def test_bad_inputs_have_one_error():
    for call in (
        lambda: losses.neighbor_probs(-torch.ones(3, 3)),
        lambda: losses.neighbor_probs(torch.eye(3)),
        lambda: losses.neighbor_probs(torch.ones(3)),
        lambda: losses.neighbor_log_probs(torch.full((3, 3), math.nan)),
        lambda: losses.neighbor_log_probs(torch.zeros(1, 1)),
        lambda: losses.neighbor_log_probs(torch.zeros(3)),
        lambda: losses.debias(torch.eye(3), 1.5),
        lambda: losses.dual_criteria(torch.ones(3)),
        lambda: losses.ssl_hsic(torch.ones(3, 2), torch.ones(4, 2)),
        lambda: losses.ssl_hsic(torch.ones(3, 2), torch.ones(3, 2), gamma=-1),
        lambda: losses.ssl_hsic(torch.ones(3, 2), torch.ones(3, 2), width=0),
    ):
        with pytest.raises(InputError):
            call()


def test_the_duality_and_its_loops(pair):
    z = pair[0]
    samples, dimensions = losses.dual_criteria(z)
    by_hand = [
        sum(float(m[i] @ m[j]) ** 2 for i in range(len(m)) for j in range(len(m)) if i != j) for m in (z, z.T)
    ]
    assert samples.item() == pytest.approx(by_hand[0]) and dimensions.item() == pytest.approx(by_hand[1])
    fourth = [m.square().sum(1).square().sum() for m in (z, z.T)]
    torch.testing.assert_close(samples + fourth[0], dimensions + fourth[1])
    turned = losses.dual_criteria(z.T)
    torch.testing.assert_close(turned, (dimensions, samples))


def hsic_loop(z1, z2, gamma, width):
    z = [v / v.norm() for v in torch.cat([z1, z2])]
    m, n = len(z), len(z1)
    k = [[width / math.sqrt(width**2 + float((a - b).square().sum())) for b in z] for a in z]
    everything = sum(map(sum, k)) / m**2
    own = sum(k[i][i + n] for i in range(n)) / n
    mean = [sum(row) / m for row in k]
    centred = [[k[i][j] - mean[i] - mean[j] + everything for j in range(m)] for i in range(m)]
    # tr(KHKH) = the sum of squares of HKH
    return gamma * math.sqrt(sum(v**2 for row in centred for v in row)) / m - (own - everything)


@pytest.mark.parametrize(("gamma", "width"), [(3.0, 1.0), (0.0, 0.3), (1.0, 2.0)])
def test_ssl_hsic_is_the_loop(pair, gamma, width):
    assert losses.ssl_hsic(*pair, gamma, width).item() == pytest.approx(
        hsic_loop(*pair, gamma, width), abs=1e-9
    )


def test_ssl_hsic_of_one_point_is_zero_and_has_a_gradient():
    z = torch.ones(4, 3, requires_grad=True)
    loss = losses.ssl_hsic(z, z)
    loss.backward()
    assert abs(loss.item()) < 1e-5 and bool(z.grad.isfinite().all())


def test_t_sne_is_one_row_of_all_pairs_as_in_scikit_learn():
    from sklearn.manifold._t_sne import _kl_divergence

    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(9, d, generator=g, dtype=torch.float64) for d in (5, 2))
    p = losses.neighbor_probs((-torch.cdist(x, x).square() / 2).exp())
    p = (p + p.T) / 18
    scores = -torch.log1p(torch.cdist(y, y).square())
    off = ~torch.eye(9, dtype=torch.bool)
    ours = losses.i_con(p[off][None], losses.neighbor_log_probs(scores[off][None]))
    upper = p[torch.triu(off, 1)].numpy()  # scikit-learn has every pair once, and doubles
    assert ours.item() == pytest.approx(_kl_divergence(y.flatten().numpy(), upper, 1, 9, 2)[0], abs=1e-9)
