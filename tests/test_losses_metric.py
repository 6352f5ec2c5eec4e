"""Metric-learning losses against loops over plain numbers, written from the papers' formulas.

Over 400 lines: each loss beside the loop that it is compared with.
"""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from ssl_lessons.errors import InputError
from ssl_lessons.losses.contrastive import info_nce
from ssl_lessons.losses.metric import (
    contrastive_pairs,
    hardest_triplets,
    lifted_structure,
    n_pair,
    n_pair_batches,
    nca,
    nce,
    phi_psi,
    phi_psi_table,
    semi_hard_triplets,
    soft_nearest_neighbor,
    triplet,
)


def rows(n=7, d=4, seed=0, scale=0.7):
    return scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels_for(n):
    return torch.arange(n) % 3


def same_for(n):
    return torch.arange(n) % 2 == 0


def squared(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


# --- references ------------------------------------------------------------------------------------


def loop_contrastive(z1, z2, margin=1.0):
    """Hadsell et al. 2006, eq. 4, with Y = 0 for a pair of the same thing."""
    total = 0.0
    for a, b, same in zip(z1.tolist(), z2.tolist(), same_for(len(z1)).tolist(), strict=True):
        d = math.sqrt(squared(a, b))
        total += d**2 / 2 if same else max(0.0, margin - d) ** 2 / 2
    return total / len(z1)


def loop_triplet(a, p, margin=0.2):
    """Schroff et al. 2015, eq. 3; the negative is the next row's positive."""
    a, p = a.tolist(), p.tolist()
    n = p[1:] + p[:1]
    return sum(max(0.0, squared(a[i], p[i]) - squared(a[i], n[i]) + margin) for i in range(len(a))) / len(a)


def loop_lifted(z, _, margin=1.0):
    """Oh Song et al. 2016, eq. 4."""
    y, z = labels_for(len(z)).tolist(), z.tolist()
    n = len(z)
    total, pairs = 0.0, 0
    for i in range(n):
        for j in range(i + 1, n):
            if y[i] != y[j]:
                continue
            push = sum(math.exp(margin - math.sqrt(squared(z[i], z[k]))) for k in range(n) if y[k] != y[i])
            push += sum(math.exp(margin - math.sqrt(squared(z[j], z[k]))) for k in range(n) if y[k] != y[j])
            total += max(0.0, math.log(push) + math.sqrt(squared(z[i], z[j]))) ** 2
            pairs += 1
    return total / (2 * pairs)


def loop_n_pair(a, p, l2=0.01):
    """Sohn 2016, section 3.2, plus the penalty on the squared length of the 2N rows."""
    a, p, n = a.tolist(), p.tolist(), len(a)
    total = 0.0
    for i in range(n):
        total += math.log(1 + sum(math.exp(dot(a[i], p[j]) - dot(a[i], p[i])) for j in range(n) if j != i))
    return total / n + l2 * sum(dot(x, x) for x in a + p) / (2 * n)


def same_label_probabilities(z, temperature=1.0):
    y, z = labels_for(len(z)).tolist(), z.tolist()
    for i in range(len(z)):
        w = {k: math.exp(-squared(z[i], z[k]) / temperature) for k in range(len(z)) if k != i}
        yield sum(value for k, value in w.items() if y[k] == y[i]) / sum(w.values())


def loop_nca(z, _):
    """Goldberger et al. 2004, section 2."""
    return 1 - sum(same_label_probabilities(z)) / len(z)


def loop_soft_nearest(z, _, temperature=0.5):
    """Frosst et al. 2019, eq. 1."""
    return -sum(math.log(p) for p in same_label_probabilities(z, temperature)) / len(z)


def loop_nce(a, b):
    """Gutmann & Hyvarinen 2012, section 2.2; columns of a and b play the log-densities."""
    data, noise = a[:, 0].tolist(), b.flatten().tolist()
    q_data, q_noise = a[:, 1].tolist(), (b.flatten() - 0.3).tolist()
    ratio = len(noise) / len(data)
    total = 0.0
    for p, q in zip(data, q_data, strict=True):
        total += math.log(1 / (1 + ratio * math.exp(q - p)))
    for p, q in zip(noise, q_noise, strict=True):
        total += math.log(1 - 1 / (1 + ratio * math.exp(q - p)))
    return -total / len(data)


def negatives_of(positive):
    return positive[torch.arange(1, len(positive) + 1) % len(positive)]


ALL = {
    "contrastive": (lambda a, b: contrastive_pairs(a, b, same_for(len(a))), loop_contrastive),
    "triplet": (lambda a, b: triplet(a, b, negatives_of(b)), loop_triplet),
    "lifted": (lambda a, b: lifted_structure(a, labels_for(len(a))), loop_lifted),
    "n_pair": (lambda a, b: n_pair(a, b, l2=0.01), loop_n_pair),
    "nca": (lambda a, b: nca(a, labels_for(len(a))), loop_nca),
    "soft_nearest": (lambda a, b: soft_nearest_neighbor(a, labels_for(len(a)), 0.5), loop_soft_nearest),
    "nce": (lambda a, b: nce(a[:, 0], b.flatten(), a[:, 1], b.flatten() - 0.3), loop_nce),
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n, d", [(6, 2), (7, 4), (10, 3)])
def test_equals_the_formula(name, n, d):
    loss, loop = ALL[name]
    z1, z2 = rows(n, d), rows(n, d, seed=1)
    right = loop(z1, z2)
    assert loss(z1, z2).item() == pytest.approx(right)
    assert loss(z1.float(), z2.float()).dtype == torch.float32
    assert loss(z1.float(), z2.float()).item() == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_gradcheck(name):
    z1, z2 = rows(6, 3).requires_grad_(), rows(6, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(ALL[name][0], (z1, z2))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(name, dtype):
    loss, loop = ALL[name]
    z1 = rows().to(dtype).requires_grad_()
    z2 = rows(seed=1).to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(z1, z2)
    value.backward()
    assert value.dtype == torch.float32 and z1.grad.isfinite().all()
    if name != "nce":  # there the 0.3 is subtracted in half precision, before the loss
        assert value.item() == pytest.approx(loop(z1.double(), z2.double()), rel=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_values_must_be_finite(name):
    z1 = rows()
    z1[1, 0] = math.nan
    with pytest.raises(InputError, match="NaN"):
        ALL[name][0](z1, rows(seed=1))


@pytest.mark.parametrize("name", ["contrastive", "lifted", "nca", "soft_nearest"])
def test_equal_rows_have_a_finite_gradient(name):
    z = torch.ones(6, 3, requires_grad=True)
    ALL[name][0](z, z.detach().clone()).backward()
    assert z.grad.isfinite().all()


# --- what each loss wants --------------------------------------------------------------------------


def test_contrastive_is_zero_for_near_pairs_and_far_strangers():
    z1 = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    z2 = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert contrastive_pairs(z1, z2, torch.tensor([True, False]), margin=5.0).item() == 0
    # distance 5, margin 6: half of the square of the missing 1, over two pairs
    assert contrastive_pairs(z1, z2, torch.tensor([True, False]), margin=6.0).item() == pytest.approx(0.25)


def test_triplet_with_the_anchor_in_place_of_the_negative_rewards_collapse():
    """The Cookbook's eq. 3 as printed puts z_k = z_i there: without a negative the best answer is a point."""
    z, near = rows(), rows() + 0.1 * rows(seed=1)
    printed = (z - near).square().sum(dim=1).add(0.2).mean()
    assert triplet(z, near, z).item() == pytest.approx(printed.item())
    assert triplet(0 * z, 0 * near, 0 * z) < triplet(z, near, z)  # collapse wins
    assert triplet(0 * z, 0 * z, 0 * z) > triplet(z, near, rows(seed=3))  # with negatives it does not


def brute_force_semi_hard(z, labels):
    found = []
    n = len(z)
    d = [[squared(z[i].tolist(), z[j].tolist()) for j in range(n)] for i in range(n)]
    for a in range(n):
        for p in range(n):
            if a == p or labels[a] != labels[p]:
                continue
            farther = [k for k in range(n) if labels[k] != labels[a] and d[a][k] > d[a][p]]
            if farther:
                found.append([a, p, min(farther, key=lambda k, a=a: d[a][k])])
    return found


@pytest.mark.parametrize("seed", range(4))
def test_semi_hard_triplets(seed):
    z, labels = rows(10, 2, seed=seed), labels_for(10)
    mined = semi_hard_triplets(z, labels)
    assert mined.tolist() == brute_force_semi_hard(z, labels)
    a, p, n = z[mined].unbind(1)
    assert ((a - p).norm(dim=1) < (a - n).norm(dim=1)).all()


def test_semi_hard_triplets_where_there_are_none():
    line = torch.arange(4.0)[:, None]
    assert semi_hard_triplets(line, torch.arange(4)).shape == (0, 3)  # no positive
    assert semi_hard_triplets(line, torch.zeros(4, dtype=torch.long)).shape == (0, 3)  # no negative
    apart = torch.tensor([[0.0], [10.0], [1.0], [9.0]])  # every negative is nearer than the positive
    assert semi_hard_triplets(apart, torch.tensor([0, 0, 1, 2])).shape == (0, 3)


@pytest.mark.parametrize("seed", range(3))
def test_hardest_triplets_by_loops(seed):
    z, labels = rows(10, 2, seed=seed), labels_for(10).tolist()
    d = torch.cdist(z, z)
    wanted = [
        [a, p, min((k for k in range(10) if labels[k] != labels[a]), key=lambda k, a=a: d[a, k])]
        for a in range(10)
        for p in range(10)
        if a != p and labels[a] == labels[p]
    ]
    assert hardest_triplets(z, torch.tensor(labels)).tolist() == wanted
    assert hardest_triplets(z, torch.zeros(10, dtype=torch.long)).shape == (0, 3)  # no negative


@pytest.mark.parametrize(("labels", "most", "shape"), [
    ([0, 1, 2] * 5, None, (2, 2, 3)),  # five rows each: two disjoint pairs
    ([0, 0, 0, 0, 1, 1, 2], None, (1, 2, 2)),  # the rarest pair decides; label 2 is alone
    (list(range(7)) * 2, None, (1, 2, 7)),  # two views of seven images
    (list(range(7)) * 2, 3, (2, 2, 3)),  # in groups of three; one is left over
    (list(range(4)) * 2, 9, (1, 2, 4)),  # fewer than allowed
])  # fmt: skip
def test_n_pair_batches_are_disjoint_sets_of_one_pair_per_label(labels, most, shape):
    labels = torch.tensor(labels)
    sets = n_pair_batches(labels, most)
    assert sets.shape == shape and len(sets.unique()) == sets.numel()
    anchor, positive = labels[sets[:, 0]], labels[sets[:, 1]]
    assert torch.equal(anchor, positive)
    assert all(len(row.unique()) == len(row) for row in anchor)


def test_lifted_structure_meets_the_negatives_of_both_ends():
    z, labels = rows(3, 2), torch.tensor([0, 0, 1])
    d = torch.cdist(z, z)
    one_pair = F.relu(((1 - d[0, 2]).exp() + (1 - d[1, 2]).exp()).log() + d[0, 1]).square() / 2
    assert lifted_structure(z, labels).item() == pytest.approx(one_pair.item())


def test_n_pair_is_info_nce_with_inner_products():
    a, p = (F.normalize(z, dim=1) for z in (rows(), rows(seed=1)))
    assert n_pair(a, p).item() == pytest.approx(info_nce(a, p, temperature=1.0).item())
    assert n_pair(a, p, l2=0.5).item() == pytest.approx(n_pair(a, p).item() + 0.5)
    assert n_pair(torch.ones(8, 3), torch.ones(8, 3)).item() == pytest.approx(math.log(8))
    assert abs(n_pair(3 * a, p) - n_pair(a, p)) > 0.01  # lengths count
    assert n_pair(a, p, temperature=0.2).item() == pytest.approx(info_nce(a, p, temperature=0.2).item())
    long = n_pair(2 * a, 3 * p, l2=0.1).item()  # length is a temperature, but for the penalty
    assert long == pytest.approx(n_pair(a, p, temperature=1 / 6).item() + 0.1 * (4 + 9) / 2)


def test_nca_counts_the_errors_of_a_nearest_neighbour():
    z = 100 * torch.tensor([[0.0], [1.0], [5.0], [6.0], [20.0], [20.5]])
    assert nca(z, torch.tensor([0, 0, 1, 1, 2, 2])).item() == pytest.approx(0, abs=1e-6)
    assert nca(z, torch.tensor([0, 0, 1, 1, 2, 3])).item() == pytest.approx(2 / 6)  # two without a partner


def test_soft_nearest_neighbor_leaves_the_lonely_out():
    z, labels = rows(5, 2), torch.tensor([0, 0, 1, 1, 2])
    everyone = list(lonely_probabilities(z, labels))
    right = -sum(math.log(p) for p in everyone if p > 0) / 4
    assert soft_nearest_neighbor(z, labels).item() == pytest.approx(right)


def lonely_probabilities(z, labels):
    for i in range(len(z)):
        w = [math.exp(-squared(z[i].tolist(), z[k].tolist())) * (k != i) for k in range(len(z))]
        yield sum(w[k] for k in range(len(z)) if labels[k] == labels[i]) / sum(w)


def test_nce_learns_the_density_and_its_normaliser():
    """Data N(0, 1), noise uniform on [-4, 4]: an unnormalised Gaussian with a free constant finds log 1/sqrt(2 pi)."""
    g = torch.Generator().manual_seed(0)
    data = torch.randn(4000, generator=g, dtype=torch.float64)
    noise = 8 * torch.rand(20000, generator=g, dtype=torch.float64) - 4
    theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # log precision, log constant
    optimizer = torch.optim.LBFGS([theta], max_iter=50)

    def log_model(x):
        return theta[1] - theta[0].exp() * x.square() / 2

    def closure():
        optimizer.zero_grad()
        flat = torch.full_like(data, -math.log(8)), torch.full_like(noise, -math.log(8))
        loss = nce(log_model(data), log_model(noise), *flat)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert theta[0].exp().item() == pytest.approx(1, abs=0.08)
    assert theta[1].item() == pytest.approx(-0.5 * math.log(2 * math.pi), abs=0.05)


# --- the phi/psi family ----------------------------------------------------------------------------


def loop_family(z1, z2, phi, psi):
    """Tian 2022, eq. 1, with half squared distances, averaged over i."""
    z1, z2 = z1.tolist(), z2.tolist()
    total = 0.0
    for i in range(len(z1)):
        inner = sum(
            psi(squared(z1[i], z2[i]) / 2 - squared(z1[i], z1[j]) / 2) for j in range(len(z1)) if j != i
        )
        total += phi(inner)
    return total / len(z1)


T, M, C = 0.3, 0.4, 2.0
TABLE = {  # the Cookbook's figure 8, right, in plain numbers
    "info_nce": (lambda x: T * math.log(1 + x), lambda x: math.exp(x / T)),
    "mine": (math.log, math.exp),
    "triplet": (lambda x: x, lambda x: max(0.0, x + M)),
    "soft_triplet": (lambda x: T * math.log(1 + x), lambda x: math.exp(x / T + M)),
    "tuplet": (lambda x: math.log(1 + x), math.exp),
    "lifted_structure": (lambda x: max(0.0, math.log(x)) ** 2, lambda x: math.exp(x + M)),
    "modified_triplet": (lambda x: x, lambda x: 1 / (1 + math.exp(-C * x))),
    "triplet_contrastive": (lambda x: x, lambda x: C * x),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_family_equals_the_formula(name):
    z1, z2 = rows(), rows() + 0.3 * rows(seed=1)
    mine = phi_psi_table(temperature=T, margin=M, c=C)
    assert list(mine) == list(TABLE)
    assert phi_psi(z1, z2, *mine[name]).item() == pytest.approx(loop_family(z1, z2, *TABLE[name]))
    assert phi_psi(z1.half(), z2.half(), *mine[name]).dtype == torch.float32


@pytest.mark.parametrize("name", TABLE)
def test_the_family_gradcheck(name):
    z1, z2 = rows(5, 3).requires_grad_(), rows(5, 3, seed=1).requires_grad_()
    family = partial(
        phi_psi, phi=phi_psi_table(margin=0.43)[name][0], psi=phi_psi_table(margin=0.43)[name][1]
    )
    assert torch.autograd.gradcheck(family, (z1, z2))


def test_rows_of_the_family_that_are_other_losses():
    z1, z2 = (F.normalize(z, dim=1) for z in (rows(), rows() + 0.3 * rows(seed=1)))
    n = len(z1)
    crowd = [torch.cat([z1[:i], z1[i + 1 :]]) for i in range(n)]
    one_by_one = [info_nce(z1[i : i + 1], z2[i : i + 1], crowd[i], T) for i in range(n)]
    info = phi_psi(z1, z2, *phi_psi_table(T)["info_nce"])
    assert info.item() == pytest.approx(T * sum(x.item() for x in one_by_one) / n)

    inner = torch.stack([(crowd[i] @ z1[i] - z1[i] @ z2[i]).exp().sum() for i in range(n)])
    assert phi_psi(z1, z2, *phi_psi_table()["tuplet"]).item() == pytest.approx(inner.log1p().mean().item())

    # DCL: epsilon = 0 takes the positive out of the denominator
    apart = torch.stack([((crowd[i] @ z1[i]) / T).logsumexp(0) - z1[i] @ z2[i] / T for i in range(n)])
    decoupled = phi_psi(z1, z2, *phi_psi_table(T, epsilon=0)["info_nce"])
    assert decoupled.item() == pytest.approx(T * apart.mean().item())

    every = [
        triplet(z1[i].expand(n - 1, -1), z2[i].expand(n - 1, -1), crowd[i], margin=0.8) for i in range(n)
    ]
    # FaceNet's squared distances are twice the family's, and its loss is a mean over triplets.
    batch_all = (n - 1) / 2 * sum(x.item() for x in every) / n
    assert phi_psi(z1, z2, *phi_psi_table(margin=0.4)["triplet"]).item() == pytest.approx(batch_all)


def test_the_tuplet_row_is_not_sohns_loss():
    z1, z2 = (F.normalize(rows(9, 5, seed=k), dim=1).requires_grad_() for k in (0, 1))
    (row,) = torch.autograd.grad(phi_psi(z1, z2, *phi_psi_table()["tuplet"]), z1)
    (sohn,) = torch.autograd.grad(n_pair(z1, z2), z1)
    assert F.cosine_similarity(row.flatten(), sohn.flatten(), dim=0) < 0.9


def test_without_the_half_the_family_has_another_temperature():
    z1, z2 = (F.normalize(z, dim=1) for z in (rows(), rows(seed=1)))
    without = phi_psi(
        2**0.5 * z1, 2**0.5 * z2, *phi_psi_table(0.6)["info_nce"]
    )  # the Cookbook's eq. 15, t = 0.6
    assert without.item() / 0.6 == pytest.approx(
        phi_psi(z1, z2, *phi_psi_table(0.3)["info_nce"]).item() / 0.3
    )


# --- errors ----------------------------------------------------------------------------------------


def test_bad_input():
    z, y = rows(), labels_for(7)
    for call, words in [
        (lambda: contrastive_pairs(z, z[:-1], same_for(7)), "same shape"),
        (lambda: contrastive_pairs(z, z, same_for(6)), "truth values"),
        (lambda: contrastive_pairs(z, z, y), "truth values"),
        (lambda: contrastive_pairs(z, z, same_for(7), margin=0), "margin"),
        (lambda: triplet(z, z, z[:-1]), "same shape"),
        (lambda: triplet(z, z, z, margin=-1), "margin"),
        (lambda: semi_hard_triplets(z, y[:-1]), "labels"),
        (lambda: lifted_structure(z, y * 0), "no negative"),
        (lambda: lifted_structure(z, torch.arange(7)), "No two rows"),
        (lambda: lifted_structure(z, y, margin=0), "margin"),
        (lambda: n_pair(z[:1], z[:1]), "larger batch"),
        (lambda: n_pair(z, z, l2=-1), "l2"),
        (lambda: n_pair(z, z, temperature=0), "temperature"),
        (lambda: hardest_triplets(z, y[:-1]), "labels"),
        (lambda: n_pair_batches(torch.arange(7)), "no N-pair batch"),
        (lambda: n_pair_batches(y, most=1), "two labels"),
        (lambda: nca(z, torch.arange(7)), "No two rows"),
        (lambda: nca(z[0], y), "2-D"),
        (lambda: soft_nearest_neighbor(z, y, temperature=0), "temperature"),
        (lambda: nce(z[0], z[0], z[0], z[0][:2]), "same samples"),
        (lambda: nce(z, z, z, z), "1-D"),
        (lambda: phi_psi(z, z[:-1], torch.log, torch.exp), "same shape"),
    ]:
        with pytest.raises(InputError, match=words):
            call()
