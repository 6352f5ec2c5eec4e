"""info_nce and nt_xent against float64 loops written from the papers, and their famous wrong versions."""

import math

import pytest
import torch
import torch.nn.functional as F

from ssl_lessons.errors import InputError
from ssl_lessons.losses import info_nce, nt_xent

LOW = [torch.float16, torch.bfloat16]


def pair(n=6, d=5, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    z1 = torch.randn(n, d, generator=g, dtype=torch.float64)
    z2 = z1 + 0.7 * torch.randn(n, d, generator=g, dtype=torch.float64)
    return z1.to(dtype), z2.to(dtype)


def crowd(k=7, d=5, seed=1):
    return torch.randn(k, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- references: plain Python numbers, one loop per symbol of the formula --------------------------


def cosine(a, b):
    a, b = a.tolist(), b.tolist()
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def loop_info_nce(query, positive, negatives=None, temperature=0.1):
    """van den Oord et al. 2018, eq. 4, with exp(cosine / t) as f; with negatives, He et al. 2020, eq. 1."""
    query, positive = query.double(), positive.double()
    total = 0.0
    for i in range(len(query)):
        own = math.exp(cosine(query[i], positive[i]) / temperature)
        if negatives is None:
            everyone = sum(math.exp(cosine(query[i], k) / temperature) for k in positive)
        else:
            everyone = own + sum(math.exp(cosine(query[i], k) / temperature) for k in negatives.double())
        total -= math.log(own / everyone)
    return total / len(query)


def loop_nt_xent(z1, z2, temperature=0.2):
    """Chen et al. 2020, eq. 1, with views 2k-1 and 2k of image k side by side, as the paper numbers them."""
    z = [row for both in zip(z1.double(), z2.double(), strict=True) for row in both]

    def ell(i, j):
        others = sum(math.exp(cosine(z[i], z[k]) / temperature) for k in range(len(z)) if k != i)
        return -math.log(math.exp(cosine(z[i], z[j]) / temperature) / others)

    n = len(z1)
    return sum(ell(2 * k, 2 * k + 1) + ell(2 * k + 1, 2 * k) for k in range(n)) / (2 * n)


def queue_loss(z1, z2, temperature=0.1):
    return info_nce(z1, z2, crowd(d=z1.shape[1]).to(z1), temperature)


def loop_queue(z1, z2, temperature=0.1):
    return loop_info_nce(z1, z2, crowd(d=z1.shape[1]).to(z1), temperature)


BOTH = pytest.mark.parametrize(
    "loss, loop",
    [(info_nce, loop_info_nce), (queue_loss, loop_queue), (nt_xent, loop_nt_xent)],
    ids=["info_nce", "queue", "nt_xent"],
)


@BOTH
@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
@pytest.mark.parametrize("n, d", [(2, 3), (6, 5), (9, 2)])
def test_equals_the_formula(loss, loop, n, d, temperature):
    z1, z2 = pair(n, d)
    right = loop(z1, z2, temperature=temperature)
    assert loss(z1, z2, temperature=temperature).item() == pytest.approx(right)
    in_float32 = loss(z1.float(), z2.float(), temperature=temperature)
    assert in_float32.dtype == torch.float32
    assert in_float32.item() == pytest.approx(right, rel=1e-4, abs=1e-5)


def test_one_query_against_a_queue_is_allowed():
    z1, z2 = pair(1)
    assert info_nce(z1, z2, crowd()).item() == pytest.approx(loop_info_nce(z1, z2, crowd()))


@BOTH
def test_gradcheck(loss, loop):
    z1, z2 = (z.requires_grad_() for z in pair(4, 3))
    assert torch.autograd.gradcheck(lambda a, b: loss(a, b, temperature=0.3), (z1, z2))


def test_gradcheck_of_the_negatives():
    z1, z2 = pair(4, 3)
    assert torch.autograd.gradcheck(lambda k: info_nce(z1, z2, k, 0.3), (crowd(5, 3).requires_grad_(),))


@BOTH
def test_gradient_reaches_both_views(loss, loop):
    z1, z2 = (z.requires_grad_() for z in pair())
    loss(z1, z2).backward()
    assert (z1.grad.norm(dim=1) > 0).all() and (z2.grad.norm(dim=1) > 0).all()


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_equal_embeddings_give_the_log_of_the_crowd(temperature):
    n, k = 8, 11
    z = torch.ones(n, 4, dtype=torch.float64)
    assert nt_xent(z, z, temperature).item() == pytest.approx(math.log(2 * n - 1))
    assert info_nce(z, z, temperature=temperature).item() == pytest.approx(math.log(n))
    negatives = torch.ones(k, 4, dtype=torch.float64)
    assert info_nce(z, z, negatives, temperature).item() == pytest.approx(math.log(k + 1))


# --- what must not matter, and what must -----------------------------------------------------------


@BOTH
def test_length_of_the_rows_does_not_matter(loss, loop):
    z1, z2 = pair()
    lengths = torch.logspace(-3, 3, len(z1), dtype=torch.float64)[:, None]
    assert loss(z1 * lengths, 50 * z2).item() == pytest.approx(loss(z1, z2).item())


@BOTH
def test_order_of_the_images_does_not_matter_if_shared(loss, loop):
    z1, z2 = pair()
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    assert loss(z1[order], z2[order]).item() == pytest.approx(loss(z1, z2).item())
    assert abs(loss(z1[order], z2).item() - loss(z1, z2).item()) > 0.1


@pytest.mark.parametrize("loss", [info_nce, nt_xent, lambda a, b: info_nce(a, b, a.flip(0).roll(1, 0))])
def test_a_shared_rotation_does_not_matter(loss):
    z1, z2 = pair()
    rotation, _ = torch.linalg.qr(crowd(5, 5))
    assert loss(z1 @ rotation, z2 @ rotation).item() == pytest.approx(loss(z1, z2).item())
    assert abs(loss(z1 @ rotation, z2).item() - loss(z1, z2).item()) > 0.1


def test_swapping_the_views_matters_only_to_the_one_sided_loss():
    z1, z2 = pair()
    assert nt_xent(z2, z1).item() == pytest.approx(nt_xent(z1, z2).item())
    assert abs(info_nce(z2, z1) - info_nce(z1, z2)) > 1e-3


# --- half precision --------------------------------------------------------------------------------

HARD = {"large": lambda z: 500 * z, "nearly equal": lambda z: 1 + 0.05 * z, "tiny": lambda z: 1e-3 * z}


@BOTH
@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("kind", HARD)
def test_half_precision_at_a_low_temperature(loss, loop, dtype, kind):
    z1, z2 = (HARD[kind](z).to(dtype).requires_grad_() for z in pair(8, 16))
    value = loss(z1, z2, temperature=0.07)
    value.backward()
    assert value.dtype == torch.float32
    # The loop sees the same rounded numbers, so only float32 arithmetic separates the two:
    # a cosine is good to about 1e-6, divided by 0.07.
    assert value.item() == pytest.approx(loop(z1, z2, temperature=0.07), rel=1e-5, abs=2e-5)
    assert z1.grad.isfinite().all() and z2.grad.isfinite().all()


def test_the_naive_exponential_overflows_in_float16():
    similarity = torch.tensor([1.0, 0.9], dtype=torch.float16)
    naive = (similarity / 0.07).exp()  # e^14.3 = 1.6 million; float16 ends at 65504
    assert naive.isinf().any() and (naive[0] / naive.sum()).isnan()
    z = torch.ones(4, 3, dtype=torch.float16)
    assert nt_xent(z, z, 0.07).item() == pytest.approx(math.log(7))


@BOTH
def test_autocast_does_not_lower_the_precision(loss, loop):
    z1, z2 = pair(16, 32, torch.float32)
    outside = loss(z1, z2, temperature=0.07)
    with torch.autocast("cpu", torch.bfloat16):
        assert (z1 @ z2.T).dtype == torch.bfloat16  # autocast is really on
        inside = loss(z1, z2, temperature=0.07)
    assert inside.dtype == torch.float32 and inside.item() == outside.item()


def test_mixed_precision_views():
    z1, z2 = pair()
    assert nt_xent(z1.half(), z2).dtype == torch.float64
    assert nt_xent(z1.half(), z2.bfloat16()).dtype == torch.float32


@BOTH
def test_a_zero_row_is_harmless(loss, loop):
    z1, z2 = pair()
    z1[2] = 0
    z1.requires_grad_()
    value = loss(z1, z2)
    value.backward()
    assert value.isfinite() and (z1.grad[2] == 0).all()
    assert z1.grad[0].norm() > 0 and z1.grad.isfinite().all()


# --- famous bugs: each differs from the right loss on the same data --------------------------------


def wrong_self_pair_kept(z1, z2, t):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    return F.cross_entropy(z @ z.T / t, torch.arange(len(z)).roll(len(z1)))


def wrong_axis(z1, z2, t):
    z = F.normalize(torch.cat([z1, z2]), dim=0)
    logits = (z @ z.T / t).masked_fill(torch.eye(len(z), dtype=torch.bool), -math.inf)
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z1)))


def wrong_one_sided(z1, z2, t):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    logits = (z @ z.T / t).masked_fill(torch.eye(len(z), dtype=torch.bool), -math.inf)
    return F.cross_entropy(logits[: len(z1)], torch.arange(len(z)).roll(len(z1))[: len(z1)])


def wrong_as_printed(z1, z2, t):
    """The printed form without logarithm and temperature: a mean of softmax probabilities, negated."""
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    weights = (z @ z.T).exp().masked_fill(torch.eye(len(z), dtype=torch.bool), 0)
    partner = torch.arange(len(z)).roll(len(z1))
    return -(weights[torch.arange(len(z)), partner] / weights.sum(dim=1)).mean()


@pytest.mark.parametrize("wrong", [wrong_self_pair_kept, wrong_axis, wrong_one_sided, wrong_as_printed])
@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
def test_famous_bugs_give_another_number(wrong, temperature):
    z1, z2 = pair()
    right = loop_nt_xent(z1, z2, temperature)
    assert nt_xent(z1, z2, temperature).item() == pytest.approx(right)
    assert abs(wrong(z1, z2, temperature).item() - right) > 1e-3 * right


# --- errors ----------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("temperature", [0, -0.1, math.nan, math.inf, "0.1", None])
def test_temperature_must_be_positive(loss, loop, temperature):
    with pytest.raises(InputError, match="temperature"):
        loss(*pair(), temperature=temperature)


@BOTH
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e200])
@pytest.mark.parametrize("view", [0, 1])
def test_values_must_be_finite(loss, loop, bad, view):
    views = pair()
    views[view][1, 2] = bad
    with pytest.raises(InputError, match="learning rate"):
        loss(*views)


def test_negatives_must_be_finite():
    negatives = crowd()
    negatives[3, 1] = math.nan
    with pytest.raises(InputError, match="NaN"):
        info_nce(*pair(), negatives)


@pytest.mark.parametrize("loss", [info_nce, nt_xent])
def test_shapes_must_fit(loss):
    z1, z2 = pair()
    with pytest.raises(InputError, match="same shape"):
        loss(z1, z2[:-1])
    with pytest.raises(InputError, match="same shape"):
        loss(z1, z2[:, :-1])
    with pytest.raises(InputError, match="2-D"):
        loss(z1[0], z2[0])
    with pytest.raises(InputError, match="2-D"):
        loss(z1.tolist(), z2)
    with pytest.raises(InputError, match="larger batch"):
        loss(z1[:1], z2[:1])


def test_negatives_must_fit():
    z1, z2 = pair()
    with pytest.raises(InputError, match="dimensions"):
        info_nce(z1, z2, crowd(d=4))
    with pytest.raises(InputError, match="negative"):
        info_nce(z1, z2, crowd()[:0])
    with pytest.raises(InputError, match="2-D"):
        info_nce(z1, z2, crowd()[0])
