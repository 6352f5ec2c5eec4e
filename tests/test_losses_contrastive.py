"""The contrastive family against loops over plain numbers, written from the papers' formulas.

Over 400 lines: each loss beside the loop that it is compared with.
"""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from ssl_lessons.errors import InputError
from ssl_lessons.losses import dcl, dclw, info_nce, nnclr, nt_xent, supcon
from ssl_lessons.losses.contrastive import (
    align_uniform,
    debiased_contrastive,
    hard_negative,
    nearest_neighbors,
    relic,
    spectral_contrastive,
)
from ssl_lessons.losses.instance import instdisc, instdisc_nce, instdisc_normalizer


def pair(n=6, d=5, dtype=torch.float64, seed=0, noise=0.7):
    g = torch.Generator().manual_seed(seed)
    z1 = torch.randn(n, d, generator=g, dtype=torch.float64)
    z2 = z1 + noise * torch.randn(n, d, generator=g, dtype=torch.float64)
    return z1.to(dtype), z2.to(dtype)


def crowd(k=11, d=5, seed=1):
    return torch.randn(k, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels_for(n):
    return torch.arange(n) % 3


def draws(n, m=4, of=11):
    return torch.randint(of, (n, m), generator=torch.Generator().manual_seed(2))


# --- references ------------------------------------------------------------------------------------


def unit(rows):
    return [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in rows.double().tolist()]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def squared(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def mean(numbers):
    numbers = list(numbers)
    return sum(numbers) / len(numbers)


def paired(z1, z2):
    """All 2N views, the two of one image side by side, and the place of each view's partner."""
    views = [row for both in zip(unit(z1), unit(z2), strict=True) for row in both]
    return views, [i ^ 1 for i in range(len(views))]


def loop_dcl(z1, z2, temperature=0.1, sigma=None):
    """Yeh et al. 2022, eq. 6; with sigma, their weight 2 - exp(s / sigma) / E[exp(s / sigma)]."""
    views, partner = paired(z1, z2)
    total = 0.0
    for i, p in enumerate(partner):
        others = [j for j in range(len(views)) if j not in (i, p)]
        w = 1.0
        if sigma:
            average = mean(math.exp(dot(a, b) / sigma) for a, b in zip(unit(z1), unit(z2), strict=True))
            w = 2 - math.exp(dot(views[i], views[p]) / sigma) / average
        total -= w * dot(views[i], views[p]) / temperature
        total += math.log(sum(math.exp(dot(views[i], views[j]) / temperature) for j in others))
    return total / len(views)


def loop_hard(z1, z2, temperature=0.5, beta=1.0, tau_plus=0.1):
    """Robinson et al. 2021, section 3, one positive; with beta = 0, Chuang et al. 2020, eq. 7 and 8."""
    views, partner = paired(z1, z2)
    total = 0.0
    for i, p in enumerate(partner):
        others = [j for j in range(len(views)) if j not in (i, p)]
        s = {j: dot(views[i], views[j]) / temperature for j in [*others, p]}
        z_beta = mean(math.exp(beta * s[j]) for j in others)  # the normaliser of q_beta
        expected = mean(math.exp((beta + 1) * s[j]) for j in others) / z_beta
        g = (expected - tau_plus * math.exp(s[p])) / (1 - tau_plus)
        g = max(g, math.exp(-1 / temperature))
        total -= math.log(math.exp(s[p]) / (math.exp(s[p]) + len(others) * g))
    return total / len(views)


def loop_supcon(z1, z2, temperature=0.1):
    """Khosla et al. 2020, eq. 2."""
    views, _ = paired(z1, z2)
    label = [y for y in labels_for(len(z1)).tolist() for _ in range(2)]
    total = 0.0
    for i in range(len(views)):
        everyone = sum(math.exp(dot(views[i], views[a]) / temperature) for a in range(len(views)) if a != i)
        own = [p for p in range(len(views)) if p != i and label[p] == label[i]]
        for p in own:
            total -= math.log(math.exp(dot(views[i], views[p]) / temperature) / everyone) / len(own)
    return total / len(views)


def loop_nnclr(z1, z2, temperature=0.1):
    """Dwibedi et al. 2021, eq. 2, the neighbour by eq. 3: the smallest distance."""
    a, b, support = unit(z1), unit(z2), unit(crowd(d=z1.shape[1]))
    total = 0.0
    for i in range(len(a)):
        neighbor = min(support, key=lambda q: squared(a[i], q))
        everyone = sum(math.exp(dot(neighbor, other) / temperature) for other in b)
        total -= math.log(math.exp(dot(neighbor, b[i]) / temperature) / everyone)
    return total / len(a)


def loop_relic(z1, z2, temperature=0.1, alpha=1.0):
    """Mitrovic et al. 2021: two orders of two views, averaged."""
    a, b = unit(z1), unit(z2)

    def predictions(query, keys):
        weights = [math.exp(dot(query, k) / temperature) for k in keys]
        return [w / sum(weights) for w in weights]

    def kl(p, q):
        return sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))

    total = 0.0
    for i in range(len(a)):
        p12, p21 = predictions(a[i], b), predictions(b[i], a)
        total += -(math.log(p12[i]) + math.log(p21[i])) / 2 + alpha * (kl(p12, p21) + kl(p21, p12)) / 2
    return total / len(a)


def loop_spectral(z1, z2):
    """HaoChen et al. 2021, section 3: -2 E[f(x) f(x+)] + E[(f(x) f(x-))^2]."""
    a, b = z1.double().tolist(), z2.double().tolist()
    together = mean(dot(x, y) for x, y in zip(a, b, strict=True))
    apart = mean(dot(a[i], b[j]) ** 2 for i in range(len(a)) for j in range(len(a)) if i != j)
    return apart - 2 * together


def loop_align_uniform(z1, z2, alpha=2, t=2):
    """Wang & Isola 2020, section 4.1."""
    a, b = unit(z1), unit(z2)
    align = mean(squared(x, y) ** (alpha / 2) for x, y in zip(a, b, strict=True))

    def uniform(z):
        pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if i < j]
        return math.log(mean(math.exp(-t * squared(z[i], z[j])) for i, j in pairs))

    return align + (uniform(a) + uniform(b)) / 2


def loop_instdisc(z1, z2, temperature=0.07, proximal=0.0):
    """Wu et al. 2018, eq. 2 and section 3.3; z2 plays the bank, row i belongs to image n - 1 - i."""
    z, bank, n = unit(z1), unit(z2), len(z1)
    total = 0.0
    for i in range(n):
        weights = [math.exp(dot(z[i], b) / temperature) for b in bank]
        total -= math.log(weights[n - 1 - i] / sum(weights))
        total += proximal * squared(z[i], bank[n - 1 - i])
    return total / n


def loop_instdisc_nce(z1, z2, temperature=0.07, proximal=0.0):
    """Wu et al. 2018, sections 3.2 and 3.3, with Z = 1000."""
    z, bank, n = unit(z1), unit(z2), len(z1)
    noise = draws(n, of=n).tolist()
    total = 0.0
    for i in range(n):
        prior = len(noise[i]) / n  # m P_n

        def h(k, i=i, prior=prior):
            p = math.exp(dot(z[i], bank[k]) / temperature) / 1000
            return p / (p + prior)

        total -= math.log(h(n - 1 - i)) + sum(math.log(1 - h(k)) for k in noise[i])
        total += proximal * squared(z[i], bank[n - 1 - i])
    return total / n


def with_labels(z1, z2, **options):
    return supcon(z1, z2, labels_for(len(z1)), **options)


def with_support(z1, z2, **options):
    return nnclr(z1, z2, crowd(d=z1.shape[1]).to(z1), **options)


def with_bank(z1, z2, **options):
    return instdisc(z1, z2, torch.arange(len(z1)).flip(0), **options)


def with_bank_nce(z1, z2, **options):
    n = len(z1)
    return instdisc_nce(z1, z2, torch.arange(n).flip(0), draws(n, of=n), 1000.0, **options)


ALL = {
    "dcl": (dcl, loop_dcl),
    "dclw": (dclw, partial(loop_dcl, sigma=0.5)),
    "debiased": (debiased_contrastive, partial(loop_hard, beta=0.0)),
    "hard_negative": (hard_negative, loop_hard),
    "supcon": (with_labels, loop_supcon),
    "nnclr": (with_support, loop_nnclr),
    "relic": (relic, loop_relic),
    "instdisc": (partial(with_bank, proximal=3.0), partial(loop_instdisc, proximal=3.0)),
    "instdisc_nce": (partial(with_bank_nce, proximal=3.0), partial(loop_instdisc_nce, proximal=3.0)),
    "align_uniform": (align_uniform, loop_align_uniform),
    "spectral": (spectral_contrastive, loop_spectral),
}
TEMPERED = [name for name in ALL if name not in ("align_uniform", "spectral")]
OF_DIRECTIONS = [name for name in ALL if name != "spectral"]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n, d", [(2, 3), (6, 5), (9, 2)])
def test_equals_the_formula(name, n, d):
    loss, loop = ALL[name]
    z1, z2 = pair(n, d)
    right = loop(z1, z2)
    assert loss(z1, z2).item() == pytest.approx(right)
    in_float32 = loss(z1.float(), z2.float())
    assert in_float32.dtype == torch.float32
    assert in_float32.item() == pytest.approx(right, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", TEMPERED)
@pytest.mark.parametrize("temperature", [0.07, 0.3, 1.0])
def test_equals_the_formula_at_any_temperature(name, temperature):
    loss, loop = ALL[name]
    assert loss(*pair(), temperature=temperature).item() == pytest.approx(
        loop(*pair(), temperature=temperature)
    )


@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("tau_plus", [0.0, 0.1, 0.6])
def test_hard_negative_at_any_setting(beta, tau_plus):
    for noise in (0.1, 2.0):  # easy pairs put the floor exp(-1/t) to use
        z1, z2 = pair(noise=noise)
        right = loop_hard(z1, z2, 0.5, beta, tau_plus)
        assert hard_negative(z1, z2, 0.5, beta, tau_plus).item() == pytest.approx(right)


def test_the_floor_of_the_debiased_loss_is_in_use():
    z1, z2 = pair(noise=0.1)
    n = 2 * len(z1) - 2
    cosine = F.cosine_similarity(z1, z2)
    at_the_floor = ((n * math.exp(-2) + (cosine / 0.5).exp()).log() - cosine / 0.5).mean()
    assert debiased_contrastive(z1, z2, 0.5, tau_plus=0.9).item() == pytest.approx(at_the_floor.item())


@pytest.mark.parametrize("name", [name for name in ALL if name != "dclw"])  # its weights are constants
def test_gradcheck(name):
    z1, z2 = (z.requires_grad_() for z in pair(5, 3))
    loss = ALL[name][0]
    options = {"temperature": 0.4} if name in TEMPERED else {}
    assert torch.autograd.gradcheck(lambda a, b: loss(a, b, **options), (z1, z2))


def test_the_weights_of_dclw_carry_no_gradient():
    z1, z2 = (z.requires_grad_() for z in pair())
    dclw(z1, z2, 0.3).backward()
    cosine = F.cosine_similarity(*pair())
    weight = 2 - (cosine / 0.5).exp() / (cosine / 0.5).exp().mean()
    assert weight.mean().item() == pytest.approx(1)
    frozen1, frozen2 = (z.requires_grad_() for z in pair())
    positive = F.cosine_similarity(frozen1, frozen2) / 0.3
    (dcl(frozen1, frozen2, 0.3) + ((1 - weight) * positive).mean()).backward()
    assert torch.allclose(z1.grad, frozen1.grad)


# --- known values and relatives --------------------------------------------------------------------


def test_equal_embeddings_give_the_log_of_the_crowd():
    z = torch.ones(8, 4, dtype=torch.float64)
    same = torch.zeros(8, dtype=torch.long)
    assert dcl(z, z).item() == pytest.approx(math.log(14))
    assert dclw(z, z).item() == pytest.approx(math.log(14))
    assert debiased_contrastive(z, z).item() == pytest.approx(math.log(15))
    assert hard_negative(z, z, beta=2.0).item() == pytest.approx(math.log(15))
    assert supcon(z, z, same).item() == pytest.approx(math.log(15))
    assert nnclr(z, z, z).item() == pytest.approx(math.log(8))
    assert relic(z, z).item() == pytest.approx(math.log(8))
    assert instdisc(z, z, torch.arange(8)).item() == pytest.approx(math.log(8))
    assert align_uniform(z, z).item() == pytest.approx(0)


def test_relatives_of_nt_xent():
    z1, z2 = pair()
    right = nt_xent(z1, z2, 0.3).item()
    assert hard_negative(z1, z2, 0.3, beta=0, tau_plus=0).item() == pytest.approx(right)
    assert supcon(z1, z2, torch.arange(len(z1)), 0.3).item() == pytest.approx(right)
    assert dcl(z1, z2, 0.3).item() < right - 0.01  # one term fewer in the denominator
    assert hard_negative(z1, z2, 0.3, beta=1, tau_plus=0).item() > right + 0.01


def test_relatives_of_info_nce():
    z1, z2 = pair()
    assert nnclr(z1, z2, z1, 0.3).item() == pytest.approx(info_nce(z1, z2, temperature=0.3).item())
    both = info_nce(z1, z2, temperature=0.3) + info_nce(z2, z1, temperature=0.3)
    assert relic(z1, z2, 0.3, alpha=0).item() == pytest.approx(both.item() / 2)
    assert relic(z1, z2, 0.3, alpha=0.5).item() > both.item() / 2 + 1e-3
    own = torch.arange(len(z1))
    assert instdisc(z1, z2, own, 0.3).item() == pytest.approx(info_nce(z1, z2, temperature=0.3).item())


def test_supcon_takes_the_sum_outside_the_logarithm():
    z1, z2 = pair()
    views = F.normalize(torch.cat([z1, z2]), dim=1)
    y = torch.cat([labels_for(6)] * 2)
    itself = torch.eye(12, dtype=torch.bool)
    share = (views @ views.T / 0.1).masked_fill(itself, -math.inf).softmax(dim=1)
    positives = (y[:, None] == y) & ~itself
    inside = -((share * positives).sum(dim=1) / positives.sum(dim=1)).log().mean()
    assert supcon(z1, z2, labels_for(6)) > inside + 0.1  # Jensen: L_in <= L_out


def test_the_spectral_loss_of_orthogonal_images():
    z = torch.eye(6, dtype=torch.float64)
    assert spectral_contrastive(z, z).item() == pytest.approx(-2)
    longer = spectral_contrastive(1.2 * z, 1.2 * z).item()
    assert longer == pytest.approx(-2 * 1.44)  # lengths count, unlike in the other losses


def test_alignment_and_uniformity_are_those_of_the_diagnostics():
    from ssl_lessons.diagnostics import alignment, uniformity

    z1, z2 = pair(20)
    parts = alignment(z1, z2) + 0.5 * (uniformity(z1) + uniformity(z2)) / 2
    assert align_uniform(z1, z2, uniform_weight=0.5).item() == pytest.approx(parts)


def test_nearest_neighbors_come_back_as_they_are():
    support = torch.tensor([[2.0, 0.0], [0.0, 5.0], [-3.0, 0.0]])
    z = torch.tensor([[0.1, 0.01], [-1.0, 1.1]])
    assert torch.equal(nearest_neighbors(z, support), support[[0, 1]])


def test_nnclr_gives_the_first_view_no_gradient():
    z1, z2 = (z.requires_grad_() for z in pair())
    nnclr(z1, z2, crowd()).backward()
    assert z1.grad is None or not z1.grad.any()
    assert (z2.grad.norm(dim=1) > 0).all()


def test_the_normalizer_makes_the_nce_probabilities_sum_to_one():
    z, bank = pair(1)[0], crowd(50)
    every = torch.arange(50)[None]
    total = instdisc_normalizer(z, bank, every, 0.3)
    p = (F.normalize(z) @ F.normalize(bank).T / 0.3).exp() / total
    assert p.sum().item() == pytest.approx(1)


def test_nce_with_much_noise_has_the_gradient_of_the_softmax():
    """With m = M noise draws, one of each, and the exact Z, NCE's gradient is close to the softmax's for large m."""
    z, bank = pair(1, 3)[0], crowd(40, 3)
    noise = torch.arange(40).repeat(200)[None]
    z_const = instdisc_normalizer(z, bank, torch.arange(40)[None], 0.5)
    gradients = []
    for loss in (
        lambda z: instdisc(z, bank, torch.tensor([7]), 0.5),
        lambda z: instdisc_nce(z, bank, torch.tensor([7]), noise, z_const, 0.5),
    ):
        leaf = z.clone().requires_grad_()
        gradients.append(torch.autograd.grad(loss(leaf), leaf)[0])
    assert torch.allclose(*gradients, rtol=0.02, atol=1e-3)


# --- invariances -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_DIRECTIONS)
def test_length_of_the_rows_does_not_matter(name):
    loss = ALL[name][0]
    z1, z2 = pair()
    lengths = torch.logspace(-3, 3, len(z1), dtype=torch.float64)[:, None]
    assert loss(z1 * lengths, 50 * z2).item() == pytest.approx(loss(z1, z2).item())


@pytest.mark.parametrize("name", [name for name in ALL if name != "nnclr"])
def test_a_shared_rotation_does_not_matter(name):
    loss = ALL[name][0]
    z1, z2 = pair()
    rotation, _ = torch.linalg.qr(crowd(5, 5))
    assert loss(z1 @ rotation, z2 @ rotation).item() == pytest.approx(loss(z1, z2).item())
    assert abs(loss(z1 @ rotation, z2).item() - loss(z1, z2).item()) > 1e-2


@pytest.mark.parametrize("loss", [dcl, dclw, hard_negative, relic, spectral_contrastive, align_uniform])
def test_swapping_the_views_does_not_matter(loss):
    z1, z2 = pair()
    assert loss(z2, z1).item() == pytest.approx(loss(z1, z2).item())


# --- half precision and edges ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(name, dtype):
    loss, loop = ALL[name]
    z1, z2 = (z.to(dtype).requires_grad_() for z in pair(8, 16))
    options = {"temperature": 0.07} if name in TEMPERED else {}
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(z1, z2, **options)
    value.backward()
    assert value.dtype == torch.float32
    if name != "nnclr":  # the loop looks for neighbours among float64 rows
        assert value.item() == pytest.approx(loop(z1, z2, **options), rel=2e-5, abs=2e-5)
    assert z2.grad.isfinite().all() and (z1.grad is None or z1.grad.isfinite().all())


@pytest.mark.parametrize("temperature", [0.005, 0.02, 50.0])
@pytest.mark.parametrize("name", TEMPERED)
def test_extreme_temperatures_stay_finite(name, temperature):
    z1, z2 = (z.float().requires_grad_() for z in pair(8, 16))
    value = ALL[name][0](z1, z2, temperature=temperature)
    value.backward()
    assert value.isfinite() and z2.grad.isfinite().all()


@pytest.mark.parametrize("name", OF_DIRECTIONS)
def test_a_zero_row_is_harmless(name):
    z1, z2 = pair()
    z1[2] = 0
    z1.requires_grad_(), z2.requires_grad_()
    value = ALL[name][0](z1, z2)
    value.backward()
    assert value.isfinite()
    assert z1.grad is None or (z1.grad.isfinite().all() and (z1.grad[2] == 0).all())


# --- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEMPERED)
@pytest.mark.parametrize("temperature", [0, -0.1, math.nan, None])
def test_temperature_must_be_positive(name, temperature):
    with pytest.raises(InputError, match="temperature"):
        ALL[name][0](*pair(), temperature=temperature)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_must_be_finite(name, bad):
    z1, z2 = pair()
    z1[1, 2] = bad
    with pytest.raises(InputError, match="learning rate"):
        ALL[name][0](z1, z2)


@pytest.mark.parametrize("name", [name for name in ALL if not name.startswith("instdisc")])
def test_shapes_must_fit(name):
    loss = ALL[name][0]
    z1, z2 = pair()
    for bad, words in [
        ((z1, z2[:-1]), "same shape"),
        ((z1, z2[:, :-1]), "same shape"),
        ((z1[:1], z2[:1]), "larger batch"),
    ]:
        with pytest.raises(InputError, match=words):
            loss(*bad)
    with pytest.raises(InputError, match="2-D"):
        loss(z1[:, :, None], z2[:, :, None])


def test_options_must_make_sense():
    z1, z2 = pair()
    for call, words in [
        (lambda: dclw(z1, z2, sigma=0), "sigma"),
        (lambda: debiased_contrastive(z1, z2, tau_plus=1.0), "tau_plus"),
        (lambda: hard_negative(z1, z2, tau_plus=-0.1), "tau_plus"),
        (lambda: hard_negative(z1, z2, beta=-1), "beta"),
        (lambda: relic(z1, z2, alpha=-1), "alpha"),
        (lambda: align_uniform(z1, z2, t=0), "t must"),
        (lambda: align_uniform(z1, z2, align_weight=-1), "align_weight"),
        (lambda: supcon(z1, z2, torch.zeros(5, dtype=torch.long)), "labels"),
        (lambda: supcon(z1, z2, torch.zeros(6)), "labels"),
        (lambda: nnclr(z1, z2, crowd(d=4)), "dimensions"),
        (lambda: nnclr(z1, z2, crowd()[:0]), "support"),
        (lambda: instdisc(z1, crowd(d=4), torch.arange(6)), "dimensions"),
        (lambda: instdisc(z1, crowd(), torch.arange(6) + 6), "index"),
        (lambda: instdisc(z1, crowd(), torch.arange(5)), "index"),
        (lambda: instdisc(z1, crowd(), torch.arange(6).float()), "index"),
        (lambda: instdisc(z1[:0], crowd(), torch.arange(0)), "embedding"),
        (lambda: instdisc(z1, crowd(), torch.arange(6), proximal=-1), "proximal"),
        (lambda: instdisc_nce(z1, crowd(), torch.arange(6), draws(6) + 9, 1.0), "noise"),
        (lambda: instdisc_nce(z1, crowd(), torch.arange(6), draws(5), 1.0), "noise"),
        (lambda: instdisc_nce(z1, crowd(), torch.arange(6), draws(6), 0.0), "normalizer"),
        (lambda: instdisc_normalizer(z1, crowd(), draws(6), 0.0), "temperature"),
    ]:
        with pytest.raises(InputError, match=words):
            call()
