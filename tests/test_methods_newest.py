"""The methods of 2023 to 2026: their loss is the published one, every parameter learns, the loss falls."""

import math

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.losses import (
    emp_ssl,
    frossl,
    lejepa,
    mmcr,
    random_directions,
    simdino,
    tico,
    tico_covariance,
    visreg,
)
from ssl_lessons.methods import build_method
from ssl_lessons.models import build_encoder
from ssl_lessons.views import Policy

N = 32
SIZE = {"hidden_dim": 24, "out_dim": 12}
OPTIONS = {
    "lejepa": SIZE, "visreg": SIZE, "simdino": SIZE, "mmcr": SIZE, "tico": SIZE, "frossl": SIZE, "emp_ssl": SIZE,
    "diet": {"n_images": N},
}  # fmt: skip
COUNT = {"mmcr": 4, "emp_ssl": 8, "diet": 1}  # views, where not 2
MULTI = ("lejepa", "visreg", "mmcr", "frossl", "emp_ssl")
ALL = pytest.mark.parametrize("name", OPTIONS)


def build(name, **options):
    torch.manual_seed(0)
    return build_method(name, build_encoder("convnet", width=4, dim=16), **OPTIONS[name] | options)


def views(count=2, size=16, seed=1):
    """Views of the same images: a common pattern plus noise of each view's own."""
    g = torch.Generator().manual_seed(seed)
    image = torch.randn(N, 3, size, size, generator=g)
    return [image + 0.3 * torch.randn(N, 3, size, size, generator=g) for _ in range(count)]


def loss_of(method, batch):
    return method(batch, None, torch.arange(N)) if method.needs_index else method(batch)


@ALL
def test_gradients_reach_every_parameter_of_the_student(name):
    method = build(name)
    batch = views(COUNT.get(name, 2))
    assert len(method.views(Policy(16))) == len(batch)
    loss = loss_of(method, batch)
    assert loss.shape == () and loss.isfinite()
    loss.backward()
    for parameter_name, p in method.named_parameters():
        if parameter_name.startswith("teacher"):
            assert p.grad is None and not p.requires_grad
        else:
            assert p.grad is not None and p.grad.isfinite().all() and p.grad.abs().max() > 0, parameter_name


@ALL
def test_five_steps_lower_the_loss(name):
    method, batch = build(name), views(COUNT.get(name, 2))
    opt = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], 3e-3)
    for _ in range(30 if name == "tico" else 0):
        method(batch)  # its memory starts empty, and the loss rises while it fills
    losses = []
    for step in range(6):
        torch.manual_seed(0)  # the same directions
        losses.append(loss_of(method, batch).detach().item())
        opt.zero_grad()
        loss_of(method, batch).backward()
        opt.step()
        method.after_step(step / 6)
    assert all(map(math.isfinite, losses)) and losses[-1] < losses[0]


def directions(dim, count):
    torch.manual_seed(3)
    return random_directions(dim, count)


PUBLISHED = {
    "lejepa": (
        {"sigreg_weight": 0.3, "directions": 20, "n_views": 3},
        lambda zs: lejepa(zs, directions(12, 20), 0.3),
    ),
    "visreg": (
        {"regularization_weight": 0.3, "scale_weight": 2.0, "shape_weight": 3.0, "center_weight": 0.5, "n_views": 3},
        lambda zs: visreg(zs, directions(12, 256), 0.3, None, 2.0, 3.0, 0.5),
    ),
    "mmcr": ({"local_weight": 0.5, "n_views": 3}, lambda zs: mmcr(zs, 0.5)),
    "frossl": ({"invariance_weight": 2.0, "unit": "dimensions"}, lambda zs: frossl(zs, 2.0, "dimensions")),
    "emp_ssl": ({"invariance_weight": 3.0, "eps": 0.1, "n_views": 3}, lambda zs: emp_ssl(zs, 0.1, 3.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_loss_is_the_published_one_on_the_projections(name):
    options, expected = PUBLISHED[name]
    method = build(name, **options)
    count = options.get("n_views", 2)
    assert method.views(Policy(16)) == method.views(Policy(16))[:1] * count
    batch = views(count)
    for _ in range(20):  # statistics worth the name
        method(batch)
    method.eval()  # BatchNorm then treats every row alone
    right = expected([method.embed(view) for view in batch])
    torch.manual_seed(3)
    assert method(batch).item() == pytest.approx(right.item(), rel=1e-3)
    assert method.embed(batch[0]).shape == (N, 12)
    torch.manual_seed(3)
    assert method([batch[0].roll(1, 0), *batch[1:]]) > method(batch)  # other images are no views


@pytest.mark.parametrize("name", MULTI)
@pytest.mark.parametrize("count", [2, 3, 5])
def test_any_number_of_views_from_two(name, count):
    assert build(name)(views(count)).isfinite()
    with pytest.raises(InputError, match="views"):
        build(name)(views(1))


@pytest.mark.parametrize("name", ["lejepa", "visreg"])
def test_directions_are_new_in_every_step_and_known_from_the_seed(name):
    method, batch = build(name, directions=3).eval(), views()
    torch.manual_seed(5)
    first, second = method(batch), method(batch)
    torch.manual_seed(5)
    assert first != second and torch.equal(method(batch), first)


def test_without_its_regularisation_lejepa_goes_to_a_point():
    spread = {}
    for weight in (0.0, 0.3):
        method = build("lejepa", sigreg_weight=weight)
        opt = torch.optim.Adam(method.parameters(), 1e-2)
        for step in range(40):
            loss = method(views(seed=step % 4))
            opt.zero_grad()
            loss.backward()
            opt.step()
        spread[weight] = method.eval().embed(views()[0]).std(dim=0).mean().item()
    assert spread[0.0] < 0.2 * spread[0.3]


# --- with a teacher --------------------------------------------------------------------------------------


def settled(name, **options):
    """A method whose teacher is no longer the student, in evaluation mode."""
    method = build(name, **options)
    opt = torch.optim.Adam(method.encoder.parameters(), 1e-2)
    for _ in range(5):
        method(views()).backward()
        opt.step()
        method.after_step(0.0)
    return method.eval()


@pytest.mark.parametrize("smooth", [False, True])
def test_simdino_compares_the_student_with_the_teacher(smooth):
    method, batch = settled("simdino", eps=0.2, invariance_weight=3.0, smooth=smooth), views(2) + views(1, 8)
    student, teacher = [method.embed(v) for v in batch], [method.teacher(v) for v in batch[:2]]
    assert not torch.allclose(student[0], teacher[0], atol=1e-3)
    expected = simdino(student, teacher, 0.2, 3.0, smooth).item()
    assert method(batch).item() == pytest.approx(expected, rel=1e-4)
    with pytest.raises(InputError, match="two large"):
        method(batch[:1])


def test_simdino_can_have_small_crops():
    large, other, *small = build("simdino", n_small=3).views(Policy(16, crop_scale=(0.2, 1.0)))
    assert large == other and len(small) == 3 and {p.size for p in small} == {8}


def test_tico_compares_the_student_with_the_teacher_and_remembers():
    method, (first, second) = settled("tico", rho=3.0, beta=0.5), views()
    before = method.covariance.clone()
    z1, z2 = method.embed(first), method.teacher(second)
    expected = tico(z1, z2, tico_covariance(before, z1, 0.5), 3.0).item()
    assert method([first, second]).item() == pytest.approx(expected, rel=1e-4)
    assert torch.equal(method.covariance, before)  # evaluation remembers nothing
    method.train()([first, second])
    assert not torch.allclose(method.covariance, before, atol=1e-3)
    assert not method.covariance.requires_grad and 0 < method.covariance.trace() < 1.001
    assert "covariance" in method.state_dict()
    with pytest.raises(InputError, match="two views"):
        method(views(3))


@pytest.mark.parametrize("name", ["simdino", "tico"])
def test_the_teacher_follows(name):
    method = build(name, momentum=0.5)
    weight = method.encoder.state_dict()["layers.0.weight"]
    before = method.teacher[0].state_dict()["layers.0.weight"].clone()
    with torch.no_grad():
        weight += 1
    method.after_step(0.0)
    moved = method.teacher[0].state_dict()["layers.0.weight"]
    assert torch.allclose(moved, before + 0.5) and len(method.momentum_pairs()) == 2


# --- DIET --------------------------------------------------------------------------------------------------


def test_diet_classifies_images_by_their_index():
    method, (first,) = build("diet", label_smoothing=0.3).eval(), views(1)
    index = torch.arange(N).flip(0)
    log_p = (method.encoder(first) @ method.classifier.weight.T).log_softmax(dim=1)
    own, all_alike = -log_p[torch.arange(N), index].mean(), -log_p.mean()
    assert method([first], None, index).item() == pytest.approx(
        (0.7 * own + 0.3 * all_alike).item(), rel=1e-5
    )
    assert method.classifier.bias is None and method.needs_index
    assert torch.equal(method.embed(first), method.encoder(first))


def test_diet_tells_chance_only_without_smoothing():
    assert build("diet").chance_loss(8) is None
    plain = build("diet", label_smoothing=0.0)
    torch.nn.init.zeros_(plain.classifier.weight)
    assert loss_of(plain, views(1)).item() == pytest.approx(plain.chance_loss(8), rel=1e-5)


@pytest.mark.parametrize("options", [{"n_images": 1}, {"label_smoothing": 1.0}, {"label_smoothing": -0.1}])
def test_diet_refuses_what_cannot_be(options):
    with pytest.raises(InputError):
        build("diet", **options)


def test_diet_takes_one_view():
    with pytest.raises(InputError, match="one view"):
        build("diet")(views(2), None, torch.arange(N))


# --- all ---------------------------------------------------------------------------------------------------


def test_emp_ssl_shows_patches_of_one_size():
    policies = build("emp_ssl", n_views=3, patch=0.3).views(Policy(16, brightness=0.4))
    assert len(policies) == 3 and len(set(policies)) == 1 and policies[0].brightness == 0.4
    assert policies[0].crop_scale == (0.3, 0.3) and policies[0].crop_ratio == (1.0, 1.0)


@ALL
def test_half_precision_under_autocast(name):
    method = build(name)
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(method, views(COUNT.get(name, 2)))
    assert loss.dtype == torch.float32 and loss.isfinite()


@ALL
def test_several_processes_are_refused(name):
    """Means, singular values and directions of half a batch are not those of the whole."""
    method = build(name)
    method.refuse_ranks(1)
    with pytest.raises(InputError, match="torchrun"):
        method.refuse_ranks(2)
