"""The clustering losses against float64 loops written from the papers, and what must and must not matter.

Over 400 lines: each loss beside the loop that it is compared with.
"""

import itertools
import math

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.losses import info_nce
from ssl_lessons.losses.clustering import (
    balancing_center,
    deepcluster,
    kmeans,
    msn,
    nat,
    nat_assignment,
    power_law_prior,
    protonce,
    prototype_concentration,
    sela_labels,
    sinkhorn_knopp,
    swav,
)

LOW = [torch.float16, torch.bfloat16]
N, K, D = 6, 4, 5


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosines(n=N, k=K, seed=0):
    return random(n, k, seed=seed).div(2).tanh()


def softmax(row, temperature):
    weights = [math.exp(s / temperature) for s in row]
    return [w / sum(weights) for w in weights]


def unit(row):
    length = math.sqrt(sum(x * x for x in row))
    return [x / length for x in row]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


# --- Sinkhorn-Knopp --------------------------------------------------------------------------------


def loop_sinkhorn(scores, epsilon, iterations, prior=None):
    """Cuturi 2013: alternate scalings of exp(scores / epsilon); the last one gives rows of sum 1."""
    n, k = len(scores), len(scores[0])
    prior = [1 / k] * k if prior is None else prior
    q = [[math.exp(s / epsilon) for s in row] for row in scores]
    for _ in range(iterations):
        for j in range(k):
            column = sum(q[i][j] for i in range(n))
            for i in range(n):
                q[i][j] *= prior[j] / column
        q = [[x / sum(row) for x in row] for row in q]
    return [[x / sum(row) for x in row] for row in q]


@pytest.mark.parametrize("epsilon", [0.05, 0.5])
@pytest.mark.parametrize("iterations", [0, 1, 3, 20])
@pytest.mark.parametrize("prior", [None, [0.4, 0.3, 0.2, 0.1]])
def test_sinkhorn_equals_the_loop(epsilon, iterations, prior):
    scores = cosines()
    right = torch.tensor(loop_sinkhorn(scores.tolist(), epsilon, iterations, prior), dtype=torch.float64)
    given = None if prior is None else torch.tensor(prior)
    assert torch.allclose(sinkhorn_knopp(scores, epsilon, iterations, given), right, atol=1e-6)


@pytest.mark.parametrize("prior", [None, power_law_prior(K, 1.0)])
def test_sinkhorn_balances_and_is_optimal(prior):
    scores, epsilon = cosines(12), 0.1
    q = sinkhorn_knopp(scores, epsilon, 500, prior)
    wanted = torch.full((K,), 1 / K, dtype=torch.float64) if prior is None else prior.double()
    assert torch.allclose(q.sum(dim=1), torch.ones(12, dtype=torch.float64))
    assert torch.allclose(q.sum(dim=0), 12 * wanted / wanted.sum(), atol=1e-5)

    def value(plan):
        return (plan * scores).sum() - epsilon * (plan * plan.log()).sum()

    # Shifting mass around a square keeps all sums: no such move may do better.
    for i, j, a, b in itertools.product(range(3), range(3, 6), range(2), range(2, 4)):
        move = torch.zeros_like(q)
        move[i, a] = move[j, b] = 1
        move[i, b] = move[j, a] = -1
        for step in (1e-3, -1e-3):
            moved = q + step * q[[i, i, j, j], [a, b, a, b]].min() * move
            assert value(moved) <= value(q) + 1e-12


@pytest.mark.parametrize("iterations", [0, 1, 3, 50])
def test_balancing_center_is_sinkhorn_as_a_centre(iterations):
    """softmax((logits - c) / temperature) is the balanced plan; c is what a constant per column does to it."""
    logits = torch.randn(12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    c = balancing_center(logits, 0.3, iterations)
    right = torch.tensor(loop_sinkhorn(logits.tolist(), 0.3, iterations), dtype=torch.float64)
    assert torch.allclose(((logits - c) / 0.3).softmax(dim=1), right, atol=1e-9)
    assert c.shape == (5,) and abs(float(c.mean())) < 1e-9
    if iterations == 50:
        shift = torch.tensor([3.0, -1.0, 0.0, 2.0, -4.0], dtype=torch.float64)
        assert torch.allclose(balancing_center(logits + shift, 0.3, 50) - c, shift, atol=1e-6)


def test_balancing_center_in_half_precision_and_of_nonsense():
    logits = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    c = balancing_center(logits.half(), 0.01)
    assert c.dtype == torch.float32 and bool(c.isfinite().all())
    assert torch.equal(balancing_center(logits.requires_grad_(), 0.1), balancing_center(logits.detach(), 0.1))
    others = (logits[0], logits[:0], logits * math.nan)
    for wrong in (*((x, 0.1, 3) for x in others), (logits, 0.0, 3), (logits, 0.1, -1)):
        with pytest.raises(InputError):
            balancing_center(*wrong)


def test_sinkhorn_limits():
    scores = cosines(8)
    assert torch.allclose(sinkhorn_knopp(scores, 0.1, 0), (scores / 0.1).softmax(dim=1))
    assert torch.allclose(sinkhorn_knopp(scores, 1e6), torch.full_like(scores, 1 / K), atol=1e-5)
    hard = sinkhorn_knopp(scores, 1e-3, 5000)  # a sharp plan is a balanced hard assignment: two images each
    best = max(
        sum(scores[i, a] for i, a in enumerate(labels)).item()
        for labels in set(itertools.permutations([0, 0, 1, 1, 2, 2, 3, 3]))
    )
    assert (hard * scores).sum().item() == pytest.approx(best, abs=1e-2)


def test_sinkhorn_ignores_a_bonus_per_cluster_and_the_softmax_does_not():
    scores, bonus = cosines(), torch.tensor([2.0, 0, 0, 0], dtype=torch.float64)
    for iterations in (1, 3):  # the first column step removes it
        assert torch.allclose(
            sinkhorn_knopp(scores + bonus, 0.1, iterations), sinkhorn_knopp(scores, 0.1, iterations)
        )
    assert sinkhorn_knopp(scores + bonus, 0.1, 0)[:, 0].min() > 0.9


def test_sinkhorn_survives_where_exponentials_overflow():
    scores = 100 * cosines()
    assert scores.div(0.05).exp().isinf().any()
    q = sinkhorn_knopp(scores, 0.05)
    assert q.isfinite().all() and torch.allclose(q.sum(dim=1), torch.ones(N, dtype=torch.float64))


@pytest.mark.parametrize("dtype", LOW)
def test_sinkhorn_half_precision(dtype):
    scores = cosines().to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        q = sinkhorn_knopp(scores, 0.05)
    assert q.dtype == torch.float32
    assert torch.allclose(q.double(), sinkhorn_knopp(scores.double(), 0.05), atol=1e-5)


def test_sinkhorn_gradcheck():
    assert torch.autograd.gradcheck(lambda s: sinkhorn_knopp(s, 0.5, 2), (cosines(3, 3).requires_grad_(),))


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": math.nan}, "epsilon"),
        ({"iterations": -1}, "iterations"),
        ({"iterations": 1.5}, "iterations"),
        ({"prior": torch.ones(K)}, "sum to 1"),
        ({"prior": torch.tensor([0.5, 0.5, 0.5, -0.5])}, "positive"),
        ({"prior": torch.tensor([0.0, 0.5, 0.25, 0.25])}, "positive"),
        ({"prior": torch.ones(3) / 3}, "per cluster"),
        ({"scores": torch.zeros(3)}, "2-D"),
        ({"scores": torch.zeros(0, 3)}, "one example"),
        ({"scores": torch.full((2, 3), math.nan)}, "NaN"),
    ],
)
def test_sinkhorn_refuses(arguments, match):
    with pytest.raises(InputError, match=match):
        sinkhorn_knopp(**{"scores": cosines(), **arguments})


# --- k-means, SeLa, NAT, the power law -------------------------------------------------------------


def test_kmeans_finds_separate_groups_and_repeats_itself():
    centers = torch.tensor([[0.0, 0], [10, 0], [0, 10]])
    x = centers.repeat_interleave(20, dim=0) + 0.1 * random(60, 2).float()
    labels, centroids = kmeans(x, 3)
    for group in range(3):
        assert len(set(labels[20 * group : 20 * group + 20].tolist())) == 1
        assert torch.allclose(
            centroids[labels[20 * group]], x[20 * group : 20 * group + 20].mean(dim=0), atol=1e-5
        )
    again, _ = kmeans(x, 3)
    assert torch.equal(labels, again) and labels.dtype == torch.long


def test_kmeans_is_a_fixed_point_of_assign_and_average():
    x = random(200, 3, seed=1).float()
    labels, centroids = kmeans(x, 5, iterations=300)
    assert torch.equal(labels, torch.cdist(x, centroids).argmin(dim=1))
    for j in range(5):
        assert torch.allclose(centroids[j], x[labels == j].mean(dim=0), atol=1e-4)


@pytest.mark.parametrize("k", [0, 7])
def test_kmeans_refuses(k):
    with pytest.raises(InputError, match="k must"):
        kmeans(random(6, 2), k)
    with pytest.raises(InputError, match="NaN"):
        kmeans(torch.full((6, 2), math.nan), 2)


def test_sela_labels_are_the_best_balanced_ones():
    log_p = (3 * random(8, 4, seed=3)).log_softmax(dim=1)
    labels = sela_labels(log_p, sharpness=200, iterations=3000)
    assert torch.bincount(labels, minlength=4).tolist() == [2, 2, 2, 2]
    cost = -log_p[torch.arange(8), labels].sum().item()
    best = min(
        -sum(log_p[i, a] for i, a in enumerate(order)).item()
        for order in set(itertools.permutations([0, 0, 1, 1, 2, 2, 3, 3]))
    )
    assert cost == pytest.approx(best)
    unbalanced = -log_p.max(dim=1).values.sum().item()
    assert unbalanced < best  # the balance costs something: the test is not empty


def test_nat_assignment_is_the_best_permutation():
    z, targets = random(5, 3, seed=1), random(5, 3, seed=2)
    order = nat_assignment(z, targets)
    assert sorted(order.tolist()) == list(range(5))

    def distance(permutation):
        return sum(
            sum((x - y) ** 2 for x, y in zip(unit(z[i].tolist()), unit(targets[j].tolist()), strict=True))
            for i, j in enumerate(permutation)
        ) / (2 * 5)

    best = min(distance(p) for p in itertools.permutations(range(5)))
    assert distance(order.tolist()) == pytest.approx(best)
    assert nat(z, targets[order]).item() == pytest.approx(best)
    assert nat(z, targets[order.roll(1)]).item() > best + 1e-3


def test_nat_known_values():
    z = random(4, 3)
    assert nat(z, 5 * z).item() == pytest.approx(0)
    assert nat(z, -z).item() == pytest.approx(2)
    assert nat(torch.eye(3), torch.eye(3).roll(1, 0)).item() == pytest.approx(1)
    assert torch.autograd.gradcheck(lambda a: nat(a, random(4, 3, seed=9)), (z.requires_grad_(),))
    with pytest.raises(InputError, match="same shape"):
        nat(z, z[:3])


def test_power_law_prior():
    prior = power_law_prior(4, 1.0)
    assert torch.allclose(prior, torch.tensor([12.0, 6, 4, 3]) / 25)
    assert torch.allclose(power_law_prior(4, 0.0), torch.full((4,), 0.25))
    for k, exponent in ((0, 1.0), (3, -1.0), (3, math.nan)):
        with pytest.raises(InputError, match="power law"):
            power_law_prior(k, exponent)


# --- DeepCluster -----------------------------------------------------------------------------------

LABELS = torch.tensor([0, 1, 1, 3, 0, 1])
SIZES = torch.tensor([2.0, 30.0, 0.0, 5.0])


@pytest.mark.parametrize("sizes", [None, SIZES])
def test_deepcluster_equals_the_formula(sizes):
    logits = random(N, K)
    weights = [1.0 if sizes is None else 1 / sizes[y].item() for y in LABELS]
    losses = [-math.log(softmax(row, 1)[y]) for row, y in zip(logits.tolist(), LABELS.tolist(), strict=True)]
    right = dot(weights, losses) / sum(weights)
    assert deepcluster(logits, LABELS, sizes).item() == pytest.approx(right)
    assert torch.autograd.gradcheck(lambda x: deepcluster(x, LABELS, sizes), (logits.requires_grad_(),))


def test_deepcluster_balance_gives_every_cluster_the_same_pull():
    """Images drawn in proportion to the sizes: each cluster's total weight is then the same."""
    labels = torch.tensor([0] * 90 + [1] * 10)
    logits = torch.zeros(100, 2, dtype=torch.float64, requires_grad=True)
    deepcluster(logits, labels, torch.tensor([90.0, 10.0])).backward()
    assert logits.grad.sum(dim=0).abs().max() < 1e-12
    logits.grad = None
    deepcluster(logits, labels).backward()
    assert logits.grad.sum(dim=0)[0] < -0.3  # unbalanced: answering "0" always is the first thing to learn


def test_deepcluster_refuses():
    for labels, match in (
        (LABELS[:3], "whole numbers"),
        (LABELS.double(), "whole"),
        (LABELS + 1, "between 0"),
    ):
        with pytest.raises(InputError, match=match):
            deepcluster(random(N, K), labels)
    with pytest.raises(InputError, match="cluster_sizes"):
        deepcluster(random(N, K), LABELS, SIZES[:2])


# --- SwAV ------------------------------------------------------------------------------------------


def loop_swav(scores, temperature, epsilon, iterations, n_large=2, queue=None):
    """Caron et al. 2020, eq. 2: -sum_k q_k log p_k, every large view's q against every other view's p."""
    terms = []
    for i in range(n_large):
        crowd = scores[i].tolist() + ([] if queue is None else queue[i].tolist())
        q = loop_sinkhorn(crowd, epsilon, iterations)
        for v in range(len(scores)):
            if v != i:
                p = [softmax(row, temperature) for row in scores[v].tolist()]
                terms.append(
                    sum(-q[n][k] * math.log(p[n][k]) for n in range(len(p)) for k in range(len(p[0])))
                    / len(p)
                )
    return sum(terms) / len(terms)


@pytest.mark.parametrize("count, n_large", [(2, 2), (4, 2), (3, 1)])
@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize("iterations", [0, 3])
def test_swav_equals_the_formula(count, n_large, queued, iterations):
    scores = [cosines(seed=s) for s in range(count)]
    queue = [cosines(9, seed=50 + s) for s in range(n_large)] if queued else None
    value = swav(scores, 0.1, 0.05, iterations, n_large, queue)
    assert value.item() == pytest.approx(loop_swav(scores, 0.1, 0.05, iterations, n_large, queue))
    low = swav([s.float() for s in scores], 0.1, 0.05, iterations, n_large, queue)
    assert low.item() == pytest.approx(value.item(), rel=1e-4)


def test_swav_gradient_stops_at_the_assignments():
    first, second = (cosines(seed=s).requires_grad_() for s in (0, 1))
    q1, q2 = (sinkhorn_knopp(s.detach()) for s in (first, second))

    def by_hand(a, b):
        return (
            -((q2 * (a / 0.1).log_softmax(1)).sum(1).mean() + (q1 * (b / 0.1).log_softmax(1)).sum(1).mean())
            / 2
        )

    assert torch.autograd.gradcheck(by_hand, (first, second))
    ours = torch.autograd.grad(swav([first, second]), (first, second))
    theirs = torch.autograd.grad(by_hand(first, second), (first, second))
    assert all(torch.allclose(a, b) for a, b in zip(ours, theirs, strict=True))


def test_swav_known_values():
    same = torch.zeros(N, K)
    assert swav([same, same]).item() == pytest.approx(math.log(K))
    first, second = cosines(), cosines(seed=1)
    assert swav([first, second]).item() == pytest.approx(swav([second, first]).item())
    unswapped = -(sinkhorn_knopp(first) * (first / 0.1).log_softmax(1)).sum(1).mean()
    assert abs(swav([first, second]) - unswapped) > 0.1


def test_swav_refuses_to_collapse_only_with_balancing():
    """All images prefer prototype 0: the softmax calls that a success, Sinkhorn does not."""
    scores = torch.zeros(N, K, dtype=torch.float64)
    scores[:, 0] = 1
    assert swav([scores, scores], iterations=0).item() < 1e-3
    assert swav([scores, scores]).item() > 5


@pytest.mark.parametrize("dtype", LOW)
def test_half_precision(dtype):
    a, b = cosines().to(dtype).requires_grad_(), cosines(seed=1).to(dtype).requires_grad_()
    for loss in (lambda x, y: swav([x, y]), lambda x, y: msn([x], y), lambda x, y: deepcluster(x, LABELS)):
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(a, b)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(loss(a.detach().double(), b.detach().double()).item(), rel=1e-4)
        value.backward()
        assert a.grad.isfinite().all()


def test_swav_refuses():
    a, b = cosines(), cosines(seed=1)
    for arguments, match in (
        (([a],), "two views"),
        (([a, b], 0.0), "temperature"),
        (([a, b[:3]],), "same shape"),
        (([a, b], 0.1, 0.05, 3, 3), "n_large"),
        (([a, b], 0.1, 0.05, 3, 2, [a]), "queue"),
        (([a, b * math.nan],), "NaN"),
    ):
        with pytest.raises(InputError, match=match):
            swav(*arguments)


# --- PCL -------------------------------------------------------------------------------------------


def clusterings(seed=5):
    prototypes = [random(3, D, seed=seed), random(4, D, seed=seed + 1)]
    labels = [torch.tensor([0, 1, 2, 0, 1, 1]), torch.tensor([3, 1, 0, 0, 1, 2])]
    return prototypes, labels, [random(len(c), seed=seed + 9).exp() / 3 for c in prototypes]


def loop_protonce(query, positive, prototypes, labels, concentrations, temperature):
    """Li et al. 2021, eq. 11, with the batch's keys as the r + 1 candidates and all prototypes."""
    total = 0.0
    keys = [unit(k) for k in positive.tolist()]
    for i, row in enumerate(query.tolist()):
        v = unit(row)
        total -= math.log(softmax([dot(v, k) for k in keys], temperature)[i])
        for c, s, phi in zip(prototypes, labels, concentrations, strict=True):
            weights = [
                math.exp(dot(v, unit(center)) / f) for center, f in zip(c.tolist(), phi.tolist(), strict=True)
            ]
            total -= math.log(weights[s[i]] / sum(weights)) / len(prototypes)
    return total / len(query)


def test_protonce_equals_the_formula():
    query, positive = random(N, D), random(N, D, seed=1)
    right = loop_protonce(query, positive, *clusterings(), 0.2)
    assert protonce(query, positive, *clusterings(), 0.2).item() == pytest.approx(right)
    assert protonce(query.half(), positive.half(), *clusterings(), 0.2).isfinite()
    assert torch.autograd.gradcheck(
        lambda a, b: protonce(a, b, *clusterings(), 0.3), (query.requires_grad_(), positive.requires_grad_())
    )


def test_protonce_without_clusters_is_info_nce():
    query, positive, crowd = random(N, D), random(N, D, seed=1), random(7, D, seed=2)
    assert torch.equal(protonce(query, positive, [], [], [], 0.2), info_nce(query, positive, None, 0.2))
    assert torch.equal(
        protonce(query, positive, [], [], [], 0.2, crowd), info_nce(query, positive, crowd, 0.2)
    )


def test_concentration_equals_the_formula():
    features, centroids = random(12, D), random(3, D, seed=1)
    labels = torch.tensor([0] * 7 + [1] * 5)  # nobody in cluster 2
    raw = []
    for j in (0, 1):
        members = [features[i] for i in range(12) if labels[i] == j]
        distance = sum(math.dist(m.tolist(), centroids[j].tolist()) for m in members)
        raw.append(distance / (len(members) * math.log(len(members) + 10)))
    raw.append(max(raw))
    right = [phi * 0.2 / (sum(raw) / 3) for phi in raw]
    assert prototype_concentration(features, centroids, labels, 0.2).tolist() == pytest.approx(right)


def test_a_tight_cluster_gets_a_low_temperature():
    centroids = torch.eye(2, D, dtype=torch.float64)
    labels = torch.arange(2).repeat_interleave(20)
    noise = random(40, D) * torch.tensor([0.01, 0.5], dtype=torch.float64).repeat_interleave(20)[:, None]
    tight, loose = prototype_concentration(centroids[labels] + noise, centroids, labels)
    assert tight < 0.1 * loose and (tight + loose) / 2 == pytest.approx(0.2)
    exact = prototype_concentration(centroids[labels], centroids, labels)
    assert exact.tolist() == pytest.approx([0.2, 0.2])


def test_concentrations_are_clipped_to_their_quantiles_before_they_are_scaled():
    features, centroids = random(60, D), random(6, D, seed=1)
    labels = torch.arange(6).repeat_interleave(torch.tensor([2, 3, 5, 10, 15, 25]))
    raw = prototype_concentration(features, centroids, labels, 0.2)
    order = sorted(raw.tolist())
    low, high = (order[i] + 0.5 * (order[i + 1] - order[i]) for i in (0, 4))  # quantiles 0.1 and 0.9 of six
    clipped = [min(max(phi, low), high) for phi in raw.tolist()]
    right = [phi * 0.2 / (sum(clipped) / 6) for phi in clipped]
    found = prototype_concentration(features, centroids, labels, 0.2, clip=0.1)
    assert found.tolist() == pytest.approx(right) and not torch.allclose(found, raw)
    for clip in (-0.1, 0.5):
        with pytest.raises(InputError, match="clip"):
            prototype_concentration(features, centroids, labels, clip=clip)


def test_protonce_refuses():
    query, positive = random(N, D), random(N, D, seed=1)
    prototypes, labels, phi = clusterings()
    for arguments, match in (
        ((prototypes, labels[:1], phi), "one entry per clustering"),
        ((prototypes, [y[:2] for y in labels], phi), "whole numbers"),
        ((prototypes, labels, [-f for f in phi]), "above 0"),
        (([c[:, :2] for c in prototypes], labels, phi), "prototypes"),
    ):
        with pytest.raises(InputError, match=match):
            protonce(query, positive, *arguments)


# --- MSN and PMSN ----------------------------------------------------------------------------------


def loop_msn(anchors, target, temperature, target_temperature, weight, prior=None):
    """Assran et al. 2022, eq. 1; with a prior, - H(mean) becomes KL(mean || prior)."""
    k, everyone, match = len(target[0]), [], 0.0
    for anchor in anchors:
        for row, goal in zip(anchor.tolist(), target.tolist(), strict=True):
            p, sharp = softmax(row, temperature), softmax(goal, target_temperature)
            match -= sum(sharp[j] * math.log(p[j]) for j in range(k))
            everyone.append(p)
    mean = [sum(p[j] for p in everyone) / len(everyone) for j in range(k)]
    if prior is None:
        return match / len(everyone) + weight * sum(m * math.log(m) for m in mean)
    return match / len(everyone) + weight * sum(m * math.log(m / q) for m, q in zip(mean, prior, strict=True))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("weight", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("prior", [None, [0.4, 0.3, 0.2, 0.1]])
def test_msn_equals_the_formula(count, weight, prior):
    anchors, target = [cosines(seed=s) for s in range(count)], cosines(seed=9)
    right = loop_msn(anchors, target, 0.1, 0.025, weight, prior)
    given = None if prior is None else torch.tensor(prior, dtype=torch.float64)
    assert msn(anchors, target, 0.1, 0.025, weight, given).item() == pytest.approx(right)


def test_msn_gradients():
    anchor, target = cosines(3).requires_grad_(), cosines(3, seed=9).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: msn([a, a / 2], target.detach(), 0.5, 0.2), (anchor,))
    msn([anchor], target).backward()
    assert target.grad is None and anchor.grad.abs().max() > 0


def test_msn_can_balance_its_targets():
    """Everybody's favourite stops being everybody's target."""
    anchors, target = [cosines()], cosines(seed=9)
    target[:, 0] += 2
    q = sinkhorn_knopp(target, 0.025, 3)
    log_p = (anchors[0] / 0.1).log_softmax(dim=1)
    right = -(q * log_p).sum(dim=1).mean()
    assert msn(anchors, target, entropy_weight=0.0, iterations=3).item() == pytest.approx(right.item())
    assert msn(anchors, target, entropy_weight=0.0).item() == pytest.approx(
        -log_p[:, 0].mean().item(), rel=1e-3
    )


def test_msn_with_the_uniform_prior_is_msn():
    anchors, target = [cosines()], cosines(seed=9)
    plain = msn(anchors, target, entropy_weight=2.0)
    uniform = msn(anchors, target, entropy_weight=2.0, prior=torch.full((K,), 1 / K, dtype=torch.float64))
    assert uniform.item() == pytest.approx(plain.item() + 2 * math.log(K))


def test_msn_known_values():
    same = torch.zeros(N, K)
    assert msn([same], same).item() == pytest.approx(0, abs=1e-6)  # log K of mismatch, log K of entropy
    assert msn([same], same, entropy_weight=0.0).item() == pytest.approx(math.log(K))
    one = torch.zeros(N, K, dtype=torch.float64)
    one[:, 0] = 1
    assert (
        msn([one], one, entropy_weight=0.0).item() < 1e-3
    )  # everybody on one prototype is free without the entropy
    spread = torch.eye(K, dtype=torch.float64)
    assert msn([spread], spread).item() < msn([one], one).item() - 1


def test_msn_survives_a_prototype_nobody_uses():
    far = torch.tensor([[1.0, -1.0], [1.0, -1.0]], requires_grad=True)
    value = msn([far], far.detach(), temperature=0.005)
    value.backward()
    assert value.isfinite() and far.grad.isfinite().all()


def test_msn_refuses():
    a, b = cosines(), cosines(seed=1)
    for arguments, match in (
        (([], b), "anchor"),
        (([a[:2]], b), "same shape"),
        (([a], b, -1.0), "temperature"),
        (([a], b, 0.1, 0.0), "target_temperature"),
        (([a], b, 0.1, 0.025, -1.0), "entropy_weight"),
        (([a], b, 0.1, 0.025, 1.0, torch.ones(K)), "sum to 1"),
    ):
        with pytest.raises(InputError, match=match):
            msn(*arguments)
