"""The losses of self-distillation against float64 loops written from the papers, and their famous wrong versions.

Over 400 lines: each loss beside the loop that it is compared with.
"""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from ssl_lessons.errors import InputError
from ssl_lessons.losses.distillation import (
    byol,
    dino,
    ibot,
    isd,
    koleo,
    msf,
    negative_cosine,
    update_center,
)

LOW = [torch.float16, torch.bfloat16]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- references: plain Python numbers, one loop per symbol of the formula --------------------------


def unit(row):
    length = math.sqrt(sum(x * x for x in row))
    return [x / length for x in row]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def softmax(row, temperature, center=None):
    row = [(x - c) / temperature for x, c in zip(row, center or [0.0] * len(row), strict=True)]
    top = max(row)
    e = [math.exp(x - top) for x in row]
    return [x / sum(e) for x in e]


def cross_entropy(p, q):
    return -sum(a * math.log(b) for a, b in zip(p, q, strict=True))


def loop_cosine(p, z):
    """Chen & He 2021, eq. 1."""
    return -sum(dot(unit(a), unit(b)) for a, b in zip(p.tolist(), z.tolist(), strict=True)) / len(p)


def loop_byol(p, z):
    """Grill et al. 2020, eq. 2, left-hand side: the squared distance of the unit-length vectors."""
    total = 0.0
    for a, b in zip(p.tolist(), z.tolist(), strict=True):
        total += sum((x - y) ** 2 for x, y in zip(unit(a), unit(b), strict=True))
    return total / len(p)


def loop_dino(student, teacher, center, ts, tt):
    """Caron et al. 2021, eq. 3: teacher views x, all other views x', averaged over pairs and images."""
    total = pairs = 0
    for i, t in enumerate(teacher):
        for j, s in enumerate(student):
            if i == j:
                continue
            pairs += 1
            for a, b in zip(t.tolist(), s.tolist(), strict=True):
                total += cross_entropy(softmax(a, tt, center.tolist()), softmax(b, ts)) / len(t)
    return total / pairs


def loop_ibot(student, teacher, mask, center, ts, tt):
    """Zhou et al. 2022, L_MIM, divided by the number of masked patches."""
    total = count = 0
    for n in range(len(mask)):
        for i in range(mask.shape[1]):
            if mask[n, i]:
                p = softmax(teacher[n, i].tolist(), tt, center.tolist())
                total += cross_entropy(p, softmax(student[n, i].tolist(), ts))
                count += 1
    return total / count


def loop_koleo(z):
    """Sablayrolles et al. 2019."""
    z = [unit(row) for row in z.tolist()]
    total = 0.0
    for i, a in enumerate(z):
        total -= math.log(min(math.dist(a, b) for j, b in enumerate(z) if j != i))
    return total / len(z)


def loop_msf(query, target, queue, k):
    """Koohpayegani et al. 2021: distances from the query to the k candidates nearest to the target."""
    bank = [unit(row) for row in [*target.tolist(), *queue.tolist()]]
    total = 0.0
    for q, t in zip(query.tolist(), target.tolist(), strict=True):
        near = sorted(bank, key=partial(math.dist, unit(t)))[:k]
        total += sum(math.dist(unit(q), c) ** 2 for c in near) / k
    return total / len(query)


def loop_isd(query, target, anchors, temperature):
    """Tejankar et al. 2021: KL(teacher || student) of the similarities to the anchors."""
    anchors = [unit(a) for a in anchors.tolist()]
    total = 0.0
    for q, t in zip(query.tolist(), target.tolist(), strict=True):
        p = softmax([dot(unit(t), a) for a in anchors], temperature)
        s = softmax([dot(unit(q), a) for a in anchors], temperature)
        total += sum(a * math.log(a / b) for a, b in zip(p, s, strict=True))
    return total / len(query)


# --- every loss as a function of (student, teacher) tensors [N, D], for the tests they share --------

# Rounded, so that half precision holds the same numbers.
QUEUE, CENTER = draw(9, 5, seed=2).bfloat16().double(), (draw(5, seed=3) / 5).bfloat16().double()
MASK = torch.tensor([[True, False, True], [False, True, True]])


def views(z):
    """Rows of z as three views (student) of as many images as fit."""
    return list(z[: len(z) // 3 * 3].unflatten(0, (3, -1)))


def patches(z):
    return z[:6].unflatten(0, (2, 3))


CASES = {
    "negative_cosine": (negative_cosine, loop_cosine),
    "byol": (byol, loop_byol),
    "dino": (
        lambda s, t: dino(views(s), views(t)[:2], CENTER.to(t), 0.1, 0.05),
        lambda s, t: loop_dino(views(s), views(t)[:2], CENTER, 0.1, 0.05),
    ),
    "ibot": (
        lambda s, t: ibot(patches(s), patches(t), MASK, CENTER.to(t), 0.2, 0.1),
        lambda s, t: loop_ibot(patches(s), patches(t), MASK, CENTER, 0.2, 0.1),
    ),
    "koleo": (lambda s, t: koleo(s), lambda s, t: loop_koleo(s)),
    "msf": (lambda s, t: msf(s, t, QUEUE.to(t), 4), lambda s, t: loop_msf(s, t, QUEUE, 4)),
    "isd": (lambda s, t: isd(s, t, QUEUE.to(t), 0.1), lambda s, t: loop_isd(s, t, QUEUE, 0.1)),
}
EVERY = pytest.mark.parametrize("name", CASES)


@EVERY
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_the_formula(name, seed):
    loss, loop = CASES[name]
    s, t = draw(2, 7, 5, seed=10 + seed)
    right = loop(s, t)
    value = loss(s, t)
    assert value.dtype == torch.float64 and value.item() == pytest.approx(right, rel=1e-9)
    low = loss(s.float(), t.float())
    assert low.dtype == torch.float32 and low.item() == pytest.approx(right, rel=1e-4, abs=1e-5)


@EVERY
def test_gradcheck(name):
    loss, _ = CASES[name]
    s, t = (z.requires_grad_() for z in draw(2, 6, 5, seed=4))
    used = (s,) if name == "koleo" else (s, t)
    assert torch.autograd.gradcheck(lambda *a: loss(*a, *((t,) if len(a) == 1 else ())), used)


@EVERY
@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("scale", [1e-2, 1.0, 100.0])
def test_half_precision_is_computed_in_float32(name, dtype, scale):
    loss, loop = CASES[name]
    s, t = (scale * draw(2, 7, 5, seed=5)).to(dtype)
    s.requires_grad_()
    value = loss(s, t)
    value.backward()
    assert value.dtype == torch.float32 and s.grad.isfinite().all()
    if name not in ("dino", "ibot") or scale <= 1:  # logits of 1,000 underflow in the naive loop
        assert value.item() == pytest.approx(loop(s.double(), t.double()), rel=1e-4, abs=1e-4)


@EVERY
def test_autocast_does_not_lower_the_precision(name):
    loss, _ = CASES[name]
    s, t = draw(2, 7, 5, seed=6).float()
    outside = loss(s, t)
    with torch.autocast("cpu", torch.bfloat16):
        assert (s @ t.T).dtype == torch.bfloat16  # autocast is really on
        assert loss(s, t).item() == outside.item()


@EVERY
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_must_be_finite(name, bad):
    loss, _ = CASES[name]
    for which in (0, 1) if name != "koleo" else (0,):
        z = draw(2, 7, 5)
        z[which, 2, 1] = bad  # view 1, image 0; a masked patch
        with pytest.raises(InputError, match="learning rate"):
            loss(*z)


# --- known values ------------------------------------------------------------------------------------


def test_agreement_and_opposition():
    z = draw(4, 6)
    lengths = torch.logspace(-2, 2, 4, dtype=torch.float64)[:, None]
    assert negative_cosine(lengths * z, z).item() == pytest.approx(-1)
    assert byol(lengths * z, z).item() == pytest.approx(0, abs=1e-12)
    assert byol(z, -z).item() == pytest.approx(4)
    assert byol(z[:1], z[:1]).item() == pytest.approx(0, abs=1e-12)  # a batch of one will do


def test_a_zero_row_is_harmless():
    p = draw(4, 6)
    p[1] = 0
    p.requires_grad_()
    value = byol(p, draw(4, 6, seed=1))
    value.backward()
    assert value.isfinite() and (p.grad[1] == 0).all() and p.grad[0].norm() > 0


@pytest.mark.parametrize("k", [2, 100])
def test_equal_logits_give_log_k(k):
    flat = [torch.zeros(3, k, dtype=torch.float64)] * 2
    assert dino(flat, flat, torch.zeros(k)).item() == pytest.approx(math.log(k))
    tokens = torch.zeros(2, 3, k, dtype=torch.float64)
    assert ibot(tokens, tokens, MASK, torch.zeros(k)).item() == pytest.approx(math.log(k))


def test_dino_compares_every_pair_of_different_views_once():
    """2 teacher and 2 + n student views make 2 (n + 1) pairs; the same view never meets itself."""
    n, k = 3, 7
    student, teacher = list(draw(2 + n, 1, k)), list(draw(2, 1, k, seed=1))
    student = [s.requires_grad_() for s in student]
    pair = {}
    for i, t in enumerate(teacher):
        for j, s in enumerate(student):
            log_p = (s / 0.1).log_softmax(dim=1)
            pair[i, j] = -((t / 0.04).softmax(dim=1) * log_p).sum()
    used = [v for (i, j), v in pair.items() if i != j]
    assert len(used) == 2 * (n + 1)
    value = dino(student, teacher, torch.zeros(k))
    assert value.item() == pytest.approx((sum(used) / len(used)).item())
    # With only its own teacher view besides, a student view would get no gradient from that teacher.
    only = dino(student[:2], teacher[:1], torch.zeros(k))
    (gradient,) = torch.autograd.grad(only, student[0], allow_unused=True)
    assert gradient is None or (gradient == 0).all()


def test_center_is_subtracted_from_the_teacher_only():
    s, t = [draw(4, 6, seed=1)] * 2, [draw(4, 6, seed=2)] * 2
    center = draw(6, seed=3)
    moved = [z - center for z in t]
    assert dino(s, t, center).item() == pytest.approx(dino(s, moved, 0 * center).item())
    assert abs(dino([z - center for z in s], moved, 0 * center) - dino(s, t, center)) > 1e-2


def test_sharpening_lowers_the_entropy_of_the_teacher():
    """Student equal to teacher: at equal temperatures the loss is the entropy, and below it falls."""
    z = [draw(8, 16)] * 2
    entropy = torch.special.entr((z[0] / 0.1).softmax(dim=1)).sum(dim=1).mean()
    assert dino(z, z, torch.zeros(16), 0.1, 0.1).item() == pytest.approx(entropy.item())
    assert dino(z, z, torch.zeros(16), 0.1, 0.04) < entropy


def test_center_update():
    center, teacher = draw(5), draw(8, 5, seed=1)
    right = [0.9 * c + 0.1 * sum(col) / 8 for c, col in zip(center.tolist(), teacher.T.tolist(), strict=True)]
    before = center.clone()
    assert update_center(center, teacher, 0.9).tolist() == pytest.approx(right)
    assert torch.equal(center, before)  # a pure function
    assert torch.equal(update_center(center, teacher, 1.0), center)
    assert update_center(center.float(), teacher.half(), 0.5).dtype == torch.float32


def test_ibot_ignores_visible_patches():
    s, t = draw(2, 3, 5), draw(2, 3, 5, seed=1)
    other_s, other_t = s.clone(), t.clone()
    other_s[~MASK], other_t[~MASK] = 7.0, -3.0
    assert ibot(s, t, MASK, CENTER).item() == ibot(other_s, other_t, MASK, CENTER).item()
    s.requires_grad_()
    nothing = ibot(s, t, torch.zeros_like(MASK), CENTER)
    nothing.backward()
    assert nothing.item() == 0 and (s.grad == 0).all()


def test_koleo_of_known_points():
    square = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]], dtype=torch.float64)
    assert koleo(square).item() == pytest.approx(-math.log(math.sqrt(2)))
    twice = torch.cat([square, square]).requires_grad_()
    value = koleo(twice)  # every row has a twin at distance 0
    value.backward()
    assert value.item() == pytest.approx(-math.log(1e-8)) and twice.grad.isfinite().all()


def test_koleo_spreads_points_out():
    z = (torch.ones(12, 3) + 0.1 * draw(12, 3).float()).requires_grad_()
    opt = torch.optim.SGD([z], 0.05)

    def closest():
        return torch.pdist(F.normalize(z, dim=1)).min().item()

    before = closest()
    for _ in range(20):
        opt.zero_grad()
        koleo(z).backward()
        opt.step()
    assert closest() > 3 * before


def test_msf_with_one_neighbour_is_byol():
    q, t = draw(2, 6, 5)
    assert msf(q, t, QUEUE, k=1).item() == pytest.approx(byol(q, t).item())
    copies = torch.cat([3 * t, QUEUE])  # twins of the targets in the queue change nothing
    assert msf(q, t, copies, k=1).item() == pytest.approx(byol(q, t).item())


def test_msf_searches_from_the_target_not_from_the_query():
    q, t = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    queue = torch.tensor([[1.0, 0.1], [0.1, 1.0]])
    near_target = F.normalize(queue[1:], dim=1)
    right = (2 + (2 - 2 * near_target[0, 0])) / 2
    assert msf(q, t, queue, k=2).item() == pytest.approx(right.item())


def test_msf_neighbours_include_the_other_targets_of_the_batch():
    t = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]])
    far = torch.tensor([[0.0, -1.0]])
    value = msf(t, t, far, k=2)
    assert value < msf(t[[0, 2]], t[[0, 2]], far, k=2)


def test_isd_is_zero_for_agreement_and_blind_to_length():
    q, t = draw(2, 6, 5)
    assert isd(3 * t, t, QUEUE).item() == pytest.approx(0, abs=1e-12)
    assert isd(q, t, QUEUE, 0.1) > 0
    assert isd(q, 5 * t, 7 * QUEUE, 0.1).item() == pytest.approx(isd(q, t, QUEUE, 0.1).item())


def test_isd_is_not_the_reverse_divergence():
    q, t = draw(2, 6, 5)
    assert abs(isd(q, t, QUEUE, 0.1) - isd(t, q, QUEUE, 0.1)) > 1e-3


# --- famous wrong versions: each differs from the right loss on the same data ------------------------


def wrong_one_temperature(s, t, c):
    """One temperature for both sides, as it is sometimes printed: nothing is sharpened."""
    return dino(s, t, c, 0.1, 0.1)


def wrong_student_centred(s, t, c):
    return dino([z - c for z in s], t, 0 * c, 0.1, 0.04)


def wrong_same_view(s, t, c):
    log_p, p = (torch.stack(s) / 0.1).log_softmax(-1), ((torch.stack(t) - c) / 0.04).softmax(-1)
    return -torch.einsum("tnk,snk->ts", p, log_p).mean() / len(s[0])


@pytest.mark.parametrize("wrong", [wrong_one_temperature, wrong_student_centred, wrong_same_view])
def test_wrong_versions_of_dino_give_another_number(wrong):
    s, t = list(draw(3, 4, 6)), list(draw(2, 4, 6, seed=1))
    c = draw(6, seed=2)
    assert dino(s, t, c, 0.1, 0.04).item() == pytest.approx(loop_dino(s, t, c, 0.1, 0.04))
    assert abs(wrong(s, t, c) - dino(s, t, c, 0.1, 0.04)) > 1e-2


# --- errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [negative_cosine, byol])
def test_pairs_must_fit(loss):
    z = draw(4, 5)
    with pytest.raises(InputError, match="same shape"):
        loss(z, z[:3])
    with pytest.raises(InputError, match="2-D"):
        loss(z[0], z[0])
    with pytest.raises(InputError, match="larger batch"):
        loss(z[:0], z[:0])


def test_dino_arguments_must_fit():
    v = [draw(4, 6)] * 3
    c = torch.zeros(6)
    for student, teacher, words in (
        (v[:1], v[:1], "two student"),
        (v[:2], v, "first of the student"),
        (v, [], "one teacher"),
        ([v[0], v[1][:3]], v[:1], "one shape"),
        ([v[0], v[1][:, :3]], v[:1], "one shape"),
        ([z[:0] for z in v], [v[0][:0]], "one image"),
        (torch.stack(v), v[:2], "lists"),
        ([z[0] for z in v], [v[0][0]], "2-D"),
    ):
        with pytest.raises(InputError, match=words):
            dino(student, teacher, c)
    with pytest.raises(InputError, match="6 numbers"):
        dino(v, v[:2], torch.zeros(5))
    for bad in ({"student_temperature": 0.0}, {"teacher_temperature": -1.0}):
        with pytest.raises(InputError, match=next(iter(bad))):
            dino(v, v[:2], c, **bad)


def test_center_and_patches_must_fit():
    with pytest.raises(InputError, match="5 numbers"):
        update_center(torch.zeros(4), draw(3, 5))
    with pytest.raises(InputError, match="momentum"):
        update_center(torch.zeros(5), draw(3, 5), 1.1)
    z = draw(2, 3, 5)
    with pytest.raises(InputError, match="patches"):
        ibot(z, z[:, :2], MASK, CENTER)
    with pytest.raises(InputError, match="bool"):
        ibot(z, z, MASK.float(), CENTER)
    with pytest.raises(InputError, match="bool"):
        ibot(z, z, MASK[:, :2], CENTER)
    with pytest.raises(InputError, match="5 numbers"):
        ibot(z, z, MASK, torch.zeros(4))
    with pytest.raises(InputError, match="teacher_temperature"):
        ibot(z, z, MASK, CENTER, teacher_temperature=0)


def test_crowds_must_fit():
    q, t = draw(2, 6, 5)
    with pytest.raises(InputError, match="queue"):
        msf(q, t, draw(9, 4))
    for k in (0, 16):
        with pytest.raises(InputError, match="between 1 and the 15"):
            msf(q, t, QUEUE, k)
    assert msf(q, t, QUEUE[:0], 6).isfinite()  # an empty queue: the batch alone
    with pytest.raises(InputError, match="anchors"):
        isd(q, t, draw(1, 5))
    with pytest.raises(InputError, match="temperature"):
        isd(q, t, QUEUE, 0.0)
    with pytest.raises(InputError, match="At least 2"):
        koleo(q[:1])
