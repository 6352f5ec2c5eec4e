"""BYOL, SimSiam, DINO, iBOT, DINOv2, MSF: the published loss, a teacher without gradient, and what breaks them."""

import pytest
import torch
import torch.nn.functional as F

from ssl_lessons.errors import InputError
from ssl_lessons.losses.distillation import byol, dino, ibot, msf, negative_cosine
from ssl_lessons.methods.byol import BYOL
from ssl_lessons.methods.dino import DINO, PrototypeHead
from ssl_lessons.methods.dinov2 import DINOv2
from ssl_lessons.methods.ibot import IBOT
from ssl_lessons.methods.msf import MSF
from ssl_lessons.methods.simsiam import SimSiam
from ssl_lessons.models import build_encoder
from ssl_lessons.views import Policy

CLASSES = {"byol": BYOL, "simsiam": SimSiam, "dino": DINO, "ibot": IBOT, "dinov2": DINOv2, "msf": MSF}
PATCHES = ("ibot", "dinov2")
EVERY = pytest.mark.parametrize("name", CLASSES)
WITH_TEACHER = pytest.mark.parametrize("name", [name for name in CLASSES if name != "simsiam"])


def make(name, **options):
    torch.manual_seed(0)
    vit = {"size": 16, "patch": 4, "dim": 12, "depth": 1}
    encoder = build_encoder("vit", **vit) if name in PATCHES else build_encoder("convnet", width=4, dim=16)
    return CLASSES[name](encoder, **options)


def views(count=2, n=8, size=16, seed=1):
    return list(torch.randn(count, n, 3, size, size, generator=torch.Generator().manual_seed(seed)))


def train(method, batches, lr=0.05, steps=1):
    opt = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr, momentum=0.9)
    losses = []
    for step in range(steps):
        torch.manual_seed(step)
        losses.append(method(batches[step % len(batches)]))
        opt.zero_grad()
        losses[-1].backward()
        opt.step()
        method.after_step((step + 1) / steps)
    return losses


@EVERY
def test_gradients_reach_the_student_and_nobody_else(name):
    method = make(name)
    method(views()).backward()
    for parameter_name, p in method.named_parameters():
        if parameter_name.startswith("teacher"):
            assert not p.requires_grad and p.grad is None, parameter_name
        else:
            assert p.grad is not None and p.grad.abs().max() > 0, parameter_name


@EVERY
def test_a_few_steps_lower_the_loss(name):
    method, batch = make(name, **({"mask_weight": 0.0} if name in PATCHES else {})), views()
    if name in ("dino", "ibot"):  # the centre moves the goal: hold it
        method.centering = False
    losses = train(method, [batch], steps=30)
    assert losses[-1] < losses[0] - 0.2


@WITH_TEACHER
def test_the_teacher_is_the_moving_average(name):
    """m theta_t + (1 - m) theta_s, with m = 1 - (1 - 0.9)(cos(pi p) + 1)/2 at p = 1/2 (MSF: 0.9 throughout)."""
    method = make(name, momentum=0.9)
    m = 0.9 if name == "msf" else 0.95
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in method.parameters():
            p.add_(torch.randn(p.shape, generator=generator))
    old = [p.clone() for _, teacher in method.momentum_pairs() for p in teacher.parameters()]
    method.after_step(0.5)
    new = [p for _, teacher in method.momentum_pairs() for p in teacher.parameters()]
    students = [p for student, _ in method.momentum_pairs() for p in student.parameters()]
    frozen = [p for n, p in method.named_parameters() if n.startswith("teacher")]
    assert len(new) == len(frozen)
    for before, student, after in zip(old, students, new, strict=True):
        assert torch.allclose(after, m * before + (1 - m) * student, atol=1e-6)
        assert not torch.allclose(after, before, atol=1e-3)


def test_momentum_schedules():
    """Rising: 1 - (1 - m)(cos(pi p) + 1)/2.  Not rising: m.  Zero and not rising: the student itself."""
    for options, at_half in (({"momentum": 0.9}, 0.95), ({"momentum": 0.9, "rising": False}, 0.9)):
        method = make("byol", **options)
        old = method.teacher[1][0].weight.clone()
        with torch.no_grad():
            method.projector[0].weight.add_(1.0)
        method.after_step(0.5)
        moved = (method.teacher[1][0].weight - old).mean()
        assert moved.item() == pytest.approx(1 - at_half, rel=1e-4)
    method = make("byol", momentum=0.0, rising=False)
    train(method, [views()], steps=2)
    for student, teacher in method.momentum_pairs():
        for key, value in student.state_dict().items():
            assert torch.equal(value, teacher.state_dict()[key]), key


@EVERY
def test_state_is_the_whole_method(name):
    """Train, save, train on; a fresh method with the saved state goes the same way."""
    first, batches = make(name), [views(seed=s) for s in (1, 2)]
    train(first, batches, steps=2)
    second = make(name)
    second.load_state_dict(first.state_dict())
    a, b = (train(method, batches, steps=3) for method in (first, second))
    assert torch.equal(torch.stack(a), torch.stack(b))


# --- the losses --------------------------------------------------------------------------------------


def settled(name, **options):
    """A method with BatchNorm statistics worth the name and a teacher unlike the student, in eval mode."""
    method = make(name, **options)
    train(method, [views(seed=s) for s in range(4)], steps=8)
    return method.eval()


def test_byol_is_its_formula():
    method, (a, b) = settled("byol"), views()
    q = [method.predictor(method.projector(method.encoder(v))) for v in (a, b)]
    t = [method.teacher(v) for v in (a, b)]
    right = byol(q[0], t[1]) + byol(q[1], t[0])
    assert torch.allclose(method([a, b]), right)
    assert not torch.allclose(right, byol(q[0], t[0]) + byol(q[1], t[1]), atol=1e-4)
    assert torch.equal(method.embed(a), method.projector(method.encoder(a)))


def test_simsiam_is_its_formula():
    method, (a, b) = settled("simsiam"), views()
    z = [method.embed(v) for v in (a, b)]
    p = [method.predictor(x) for x in z]
    right = (negative_cosine(p[0], z[1]) + negative_cosine(p[1], z[0])) / 2
    assert torch.allclose(method([a, b]), right)
    assert -1 <= right < 0


@pytest.mark.parametrize("n_small", [0, 2])
def test_dino_is_its_formula(n_small):
    method = settled("dino", n_small=n_small)
    batch = views() + views(n_small, size=8, seed=3) if n_small else views()
    assert method.center.abs().max() > 0
    student = [method.projector(method.encoder(v)) for v in batch]
    teacher = [method.teacher(v) for v in batch[:2]]
    assert torch.allclose(method(batch), dino(student, teacher, method.center, 0.1, 0.02))


def test_ibot_is_dino_plus_the_patches():
    method, batch = settled("ibot"), views()
    torch.manual_seed(5)
    value = method(batch)
    torch.manual_seed(5)
    masks = [method.draw_mask(8, "cpu") for _ in batch]
    s = [
        method.encoder.patches(v, mask=m, mask_token=method.mask_token)
        for v, m in zip(batch, masks, strict=True)
    ]
    t = [method.teacher[0].patches(v) for v in batch]
    whole = dino(
        [method.projector(x.mean(dim=1)) for x in s],
        [method.teacher[1](x.mean(dim=1)) for x in t],
        method.center,
        teacher_temperature=0.02,
    )
    hidden = ibot(
        method.projector(torch.cat(s)),
        method.teacher[1](torch.cat(t)),
        torch.cat(masks),
        method.patch_center,
        teacher_temperature=0.02,
    )
    assert torch.allclose(value, whole + hidden, atol=1e-5)
    assert method.center.abs().max() > 0 and not torch.equal(method.center, method.patch_center)


def cross_entropies(logits_t, logits_s, temperature, balanced, center):
    """-sum p log q of every row, in float64 and without the package: p balanced by Sinkhorn-Knopp, or centred."""
    t, s = logits_t.double(), logits_s.double()
    if balanced:
        plan = (t / temperature).exp()
        for _ in range(3):
            plan = plan / plan.sum(dim=0) / plan.shape[1]
            plan = plan / plan.sum(dim=1, keepdim=True)
    else:
        plan = ((t - center.double()) / temperature).softmax(dim=1)
    return -(plan * (s / 0.1 - (s / 0.1).exp().sum(dim=1, keepdim=True).log())).sum(dim=1)


@pytest.mark.parametrize("sinkhorn, weight", [(True, 0.1), (True, 0.0), (False, 0.3)])
def test_dinov2_is_the_sum_of_its_parts(sinkhorn, weight):
    method, batch = settled("dinov2", sinkhorn=sinkhorn, koleo_weight=weight), views()
    t = [method.teacher[0].patches(v) for v in batch]
    images_t = torch.cat([method.teacher[1](x.mean(dim=1)) for x in t])
    patches_t = method.teacher_patch_projector(torch.cat(t))
    centers = method.center.clone(), method.patch_center.clone()
    torch.manual_seed(5)
    value = method(batch)
    torch.manual_seed(5)
    mask = [method.draw_mask(8, "cpu") for _ in batch]
    pairs = zip(batch, mask, strict=True)
    s = [method.encoder.patches(v, mask=m, mask_token=method.mask_token) for v, m in pairs]
    h = [x.mean(dim=1) for x in s]
    other = torch.cat([method.projector(h[1]), method.projector(h[0])])  # the student's answers about the other view
    whole = cross_entropies(images_t, other, 0.02, sinkhorn, centers[0]).mean()
    hidden = torch.cat(mask)
    assert hidden.sum() > 3
    patches_s = method.patch_projector(torch.cat(s))
    patch = cross_entropies(patches_t[hidden], patches_s[hidden], 0.02, sinkhorn, centers[1]).mean()
    spread = 0.0
    for x in h:
        unit = x.double() / x.double().norm(dim=1, keepdim=True)
        gaps = [[(a - b).norm() for j, b in enumerate(unit) if j != i] for i, a in enumerate(unit)]
        spread = spread - sum(min(row).log() for row in gaps) / len(unit)
    assert value.item() == pytest.approx((whole + patch + weight * spread).item(), abs=2e-4)


def test_dinov2_centres_balance_the_batch_at_hand_or_follow_the_teacher():
    method, batch = settled("dinov2", iterations=60), views()
    method(batch)
    with torch.no_grad():
        answers = torch.cat([method.assign(v) for v in batch])
    assert torch.allclose(answers.sum(dim=0), torch.full((256,), 16 / 256), atol=5e-3)
    follower = make("dinov2", sinkhorn=False, center_momentum=0.8)
    with torch.no_grad():
        mean = torch.cat([follower.teacher(v) for v in batch]).mean(dim=0)
    follower(batch)
    assert torch.allclose(follower.center, 0.2 * mean, atol=1e-6)


def test_dinov2_koleo_keeps_images_apart():
    nearest = {}
    for weight in (0.0, 1.0):
        method, batch = make("dinov2", koleo_weight=weight), views(n=16)
        train(method, [batch], lr=0.02, steps=20)
        h = F.normalize(method.encoder(batch[0]), dim=1)
        nearest[weight] = torch.cdist(h, h).fill_diagonal_(9).amin(dim=1).mean().item()
    assert nearest[1.0] > 1.1 * nearest[0.0]


def test_ibot_masks_a_share_of_half_of_the_images():
    counts = make("ibot", mask_ratio=0.25).draw_mask(400, "cpu").sum(dim=1)
    assert set(counts.tolist()) == {0, 4} and 150 < (counts > 0).sum() < 250


def test_msf_is_its_formula_and_its_queue_is_first_in_first_out():
    method, (a, b) = settled("msf", queue_size=20, k=3), views()
    q, t = method.predictor(method.embed(a)), method.teacher(b)
    assert torch.allclose(method([a, b]), msf(q, t, method.queue.rows, 3), atol=1e-6)
    method = make("msf", queue_size=20)
    seen = []
    for s in range(4):
        batch = views(seed=s)
        seen.append(F.normalize(method.teacher(batch[1]), dim=1))
        method(batch)
    # 4 x 8 targets into 20 places: the last 20 remain, each in place (number mod 20)
    seen = torch.cat(seen)
    for number in range(12, 32):
        assert torch.allclose(method.queue.rows[number % 20], seen[number], atol=1e-6)
    assert int(method.queue.oldest) == 32 % 20
    method.eval()(views())
    assert int(method.queue.oldest) == 32 % 20, "nothing enters the queue in evaluation mode"


def test_center_follows_the_teacher_in_training_only():
    method, batch = make("dino", center_momentum=0.8), views()
    with torch.no_grad():
        mean = torch.cat([method.teacher(v) for v in batch]).mean(dim=0)
    method(batch)
    assert torch.allclose(method.center, 0.2 * mean, atol=1e-6)
    before = method.center.clone()
    method.eval()(batch)
    assert torch.equal(method.center, before)
    off = make("dino", centering=False)
    off(batch)
    assert (off.center == 0).all()


def test_prototype_head_gives_cosines():
    head = PrototypeHead(6, 8, 5, 7)
    x = torch.randn(2, 3, 6)
    logits = head(x)
    assert logits.shape == (2, 3, 7)
    assert torch.allclose(logits[1], head(x[1]), atol=1e-6)
    expected = F.cosine_similarity(head.mlp(x[0])[:, None], head.prototypes[None], dim=2)
    assert torch.allclose(logits[0], expected, atol=1e-6)


def test_assign_gives_the_teachers_probabilities():
    method, x = settled("dino"), views()[0]
    p = method.assign(x)
    bottleneck = method.embed(x)
    assert bottleneck.shape == (8, 64) and torch.allclose(
        method.projector(method.encoder(x)),
        F.cosine_similarity(bottleneck[:, None], method.projector.prototypes[None], dim=2),
        atol=1e-5,
    )
    assert p.shape == (8, 256) and torch.allclose(p.sum(dim=1), torch.ones(8)) and not p.requires_grad
    assert torch.allclose(p, ((method.teacher(x) - method.center) / 0.02).softmax(dim=1))
    assert make("byol").assign(x) is None


def test_dino_small_views():
    policy = Policy(32, crop_scale=(0.2, 1.0))
    policies = make("dino", n_small=3).views(policy)
    assert [p.size for p in policies] == [32, 32, 16, 16, 16]
    assert policies[0] == policy and policies[2].crop_scale == pytest.approx((0.1, 0.3))
    assert make("ibot").views(policy) == (policy, policy)


# --- broken on purpose: each switch matters, and collapses ---------------------------------------------


@pytest.mark.parametrize("name", ["byol", "simsiam"])
def test_switches_change_the_gradient(name):
    batch = views()
    healthy, no_stop, no_predictor = (
        make(name), make(name, stop_gradient=False), make(name, predictor=False),
    )  # fmt: skip
    assert sum(p.numel() for p in no_predictor.predictor.parameters()) == 0
    gradients = []
    for method in (healthy, no_stop):
        method(batch).backward()
        gradients.append(method.encoder.layers[0].weight.grad.clone())
    assert not torch.allclose(*gradients, atol=1e-6)


@pytest.mark.parametrize("name", ["byol", "simsiam"])
def test_predictor_lr_scales_the_predictors_gradient_alone(name):
    plain, fast = make(name, predictor_lr=1.0), make(name, predictor_lr=5.0)
    for method in (plain, fast):
        method(views()).backward()
    assert torch.allclose(fast.predictor[0].weight.grad, 5 * plain.predictor[0].weight.grad)
    assert torch.equal(fast.encoder.layers[0].weight.grad, plain.encoder.layers[0].weight.grad)


def spread(z):
    """1 - the mean cosine of different rows: 0 when all embeddings are the same."""
    return 1 - F.normalize(z, dim=1).mean(dim=0).square().sum().item()


@pytest.mark.parametrize("broken", [{"stop_gradient": False}, {"predictor": False}])
def test_simsiam_without_its_safeguards_collapses(broken):
    """Without BatchNorm at the output, which would hide it: rows could not all be equal."""
    batches = [views(n=32, seed=s) for s in range(3)]
    found = {}
    for key, options in (("healthy", {}), ("broken", broken)):
        method = make("simsiam", **options)
        method.projector[-1] = torch.nn.Identity()
        train(method, batches, lr=0.3, steps=30)
        found[key] = spread(method.embed(batches[0][0]))
    assert found["broken"] < 0.05 and found["healthy"] > 0.4


COUNTS = {"byol": 3, "simsiam": 1, "msf": 3, "dino": 1, "ibot": 3, "dinov2": 3}


@pytest.mark.parametrize("name, count", COUNTS.items())
def test_the_number_of_views_is_checked(name, count):
    with pytest.raises(InputError, match="two"):
        make(name)(views(count))


def test_ibot_wants_a_vit():
    with pytest.raises(InputError, match="ViT"):
        IBOT(build_encoder("convnet", width=4, dim=16))
