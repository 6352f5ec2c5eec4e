"""Methods that compare places: which places are matched, what their loss is, and that all parameters learn."""

import pytest
import torch
import torch.nn.functional as F

from ssl_lessons import data, losses, views
from ssl_lessons.errors import InputError
from ssl_lessons.methods import InsLoc, SelfPatch, VICRegL, build_method
from ssl_lessons.methods.insloc import paste, region
from ssl_lessons.models import build_encoder
from ssl_lessons.training import pretrain

NAMES = ("densecl", "vicregl", "selfpatch", "insloc")
POLICY = views.Policy.simclr(32).replace(blur_p=0.0)


def net(name="densecl", seed=0):
    torch.manual_seed(seed)
    if name == "selfpatch":
        return build_encoder("vit", dim=12, depth=1)
    return build_encoder("convnet", width=4, dim=16, strides=(2, 2, 1, 1))


def batch(name="densecl", n=8, size=32, seed=1):
    g = torch.Generator().manual_seed(seed)
    made = list(torch.randn(4 if name == "insloc" else 2, n, 3, size, size, generator=g))
    drawn = [views.draw(POLICY, n, (size, size), g) for _ in range(2)]
    return (made, None, drawn) if name == "vicregl" else (made,)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter_of_the_student(name):
    method = build_method(name, net(name))
    loss = method(*batch(name))
    assert loss.shape == () and loss > 0
    loss.backward()
    for parameter_name, p in method.named_parameters():
        if p.requires_grad:
            assert p.grad is not None and p.grad.abs().max() > 0, parameter_name
    teachers = [p for n, p in method.named_parameters() if n.startswith("teacher")]
    assert all(p.grad is None for p in teachers) and bool(teachers) == (name == "selfpatch")


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_lower_the_loss(name):
    torch.manual_seed(0)
    method, inputs, found = build_method(name, net(name)), batch(name), []
    opt = torch.optim.Adam(method.parameters(), 1e-2)
    for _ in range(15):
        torch.manual_seed(1)  # the same boxes in every step
        found.append(method(*inputs))
        opt.zero_grad()
        found[-1].backward()
        opt.step()
    assert found[-1] < 0.95 * found[0]


@pytest.mark.parametrize("name", NAMES)
def test_pretrain_gives_a_method_what_it_needs(name):
    images = data.shapes("unlabeled", 32, 32).images
    method = build_method(name, net(name))
    history = pretrain(method, images, method.views(POLICY), steps=2, batch_size=16, progress=False)
    assert len(history) == 2 and all(row["loss"] > 0 for row in history)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_views_and_encoders_are_refused(name):
    with pytest.raises(InputError):
        build_method(name, net(name))([torch.randn(4, 3, 32, 32)] * 3, None)
    with pytest.raises(InputError, match="needs"):
        build_method(name, torch.nn.Flatten())


@pytest.mark.parametrize("name, option", [("densecl", "dense_weight"), ("vicregl", "alpha")])
def test_the_share_is_a_share(name, option):
    with pytest.raises(InputError, match="from 0 to 1"):
        build_method(name, net(), **{option: 1.5})


def test_without_its_dense_part_densecl_is_simclr():
    method, (pair,) = build_method("densecl", net(), dense_weight=0.0), batch()
    simclr = build_method("simclr", net())
    simclr.projector.load_state_dict(method.projector.state_dict())
    assert torch.allclose(method(pair), simclr(pair), atol=1e-5)


def test_densecl_is_its_formula():
    method, ((first, second),) = build_method("densecl", net(), dense_weight=1.0), batch()
    maps = method.encoder.maps(torch.cat([first, second])).flatten(2).mT
    (f1, f2), (r1, r2) = maps.chunk(2), method.dense_projector(maps).chunk(2)
    one = losses.dense_info_nce(r1, r2, losses.best_matches(f1, f2))
    other = losses.dense_info_nce(r2, r1, losses.best_matches(f2, f1))
    assert torch.allclose(method([first, second]), (one + other) / 2, atol=1e-5)


def test_without_its_local_part_vicregl_is_vicreg():
    method, inputs = VICRegL(net(), alpha=1.0), batch("vicregl")
    vicreg = build_method("vicreg", net())
    vicreg.projector.load_state_dict(method.projector.state_dict())
    assert torch.allclose(method(*inputs), vicreg(inputs[0]), atol=1e-4)


def test_vicregl_matches_places_that_show_the_same_point():
    """A picture whose colours are its coordinates: matched places must have seen the same ones."""
    size, side, n = 32, 8, 60
    ramp = (torch.arange(size) + 0.5) / size
    picture = torch.stack([ramp[:, None].expand(-1, size), ramp.expand(size, -1), torch.zeros(size, size)])
    g = torch.Generator().manual_seed(0)
    policy = views.Policy(size, crop_scale=(0.3, 1.0), jitter_p=0.0)
    drawn = [views.draw(policy, n, (size, size), g) for _ in range(2)]
    images = picture.expand(n, -1, -1, -1)
    seen = [views.denormalize(views.apply(images, policy, d)) for d in drawn]
    seen = [F.adaptive_avg_pool2d(v, side).flatten(2).mT[..., :2] * size for v in seen]  # (y, x)

    def gaps(flip_places):
        where = [VICRegL(net(), flip_places=flip_places).where(d, side) for d in drawn]
        place, partner = losses.nearest_places(torch.cdist(*where), 10)
        a, b = losses.dense.pick(seen[0], place), losses.dense.pick(seen[1], partner)
        return (a - b).norm(dim=2), [(s - w).norm(dim=2) for s, w in zip(seen, where, strict=True)]

    matched, located = gaps(True)
    assert matched.mean() < 1.5 and max(v.mean() for v in located) < 1.0
    assert gaps(False)[0].mean() > 3 * matched.mean()


def test_places_lie_where_the_view_was_cut():
    parameters = {
        "boxes": torch.tensor([[4.0, 8.0, 16.0, 8.0]] * 2), "flip": torch.tensor([False, True]),
        "angle": torch.zeros(2),
    }  # fmt: skip
    found = views.places(parameters, 2)
    assert found[0].tolist() == [[[8.0, 10.0], [8.0, 14.0]], [[16.0, 10.0], [16.0, 14.0]]]
    assert torch.equal(found[1], found[0].flip(1))
    with pytest.raises(InputError, match="rotation"):
        views.places(parameters | {"angle": torch.ones(2)}, 2)
    with pytest.raises(InputError, match="side"):
        views.places(parameters, 0)


def test_selfpatch_without_patches_is_its_image_loss_alone():
    (pair,), values = batch(), []
    for weight in (0.0, 1.0, 2.0):
        torch.manual_seed(0)
        values.append(SelfPatch(net("selfpatch"), patch_weight=weight)(pair))
    assert torch.allclose(values[2] - values[1], values[1] - values[0], atol=1e-4) and values[1] > values[0]


def test_the_gathering_token_ignores_neighbours_that_are_not_there():
    aggregate = SelfPatch(net("selfpatch")).aggregate
    x, absent = torch.randn(2, 4, 12), torch.tensor([[False, False, True, True]] * 2)
    changed = x.clone()
    changed[:, 2:] = 100
    assert torch.allclose(aggregate(x, absent), aggregate(changed, absent), atol=1e-5)
    assert not torch.allclose(aggregate(x), aggregate(changed), atol=1e-2)
    weights = aggregate.look(x, absent)[1]
    assert weights.shape == (2, 3, 4) and (weights[..., 2:] == 0).all()


def test_the_teacher_of_selfpatch_follows_slowly():
    method = SelfPatch(net("selfpatch"))
    before = [p.clone() for p in method.teacher.parameters()]
    with torch.no_grad():
        for p in method.parameters():
            if p.requires_grad:
                p += 1
    method.after_step(0.0)
    moved = [float((p - b).mean()) for p, b in zip(method.teacher.parameters(), before, strict=True)]
    assert min(moved) > 0.02 and max(moved) < 0.04


def test_paste_and_region():
    red, blue = torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 16, 16)
    red[:, 0], blue[:, 2] = 1, 1
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.25, 0.5, 0.25, 0.5]])
    pasted = paste(red, blue, boxes)
    assert pasted[0, 0].sum() == 64 and (pasted[0, 0, :8, :8] == 1).all()
    assert pasted[1, 0].sum() == 32 and (pasted[1, 0, 4:8, 8:] == 1).all()
    assert torch.equal(pasted[:, 0] + pasted[:, 2], torch.ones(2, 16, 16))
    assert region(pasted, boxes)[:, 0].min() > 0.9
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(2, -1)
    assert torch.allclose(region(pasted, whole, points=16), pasted.mean(dim=(2, 3)), atol=1e-5)


def test_insloc_pastes_on_other_pictures():
    """With backgrounds that say nothing the boxes hold the view itself, and the loss is that of SimCLR on them."""
    method = InsLoc(net(), share=(1.0, 1.0))
    (made,) = batch("insloc")
    changed = [*made[:2], *(torch.zeros_like(v) for v in made[2:])]
    assert torch.allclose(method(made), method(changed), atol=1e-5)  # whole canvas: no background is left
    boxes = InsLoc(net()).draw_boxes(500)
    assert boxes.min() >= 0 and (boxes[:, :2] + boxes[:, 2:]).max() <= 1
