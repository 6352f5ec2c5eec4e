"""E-SSL, EquiMod, LooC: the published losses, what shares what, every parameter learns; the chosen distortions."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from ssl_lessons import data, losses, views
from ssl_lessons.errors import InputError
from ssl_lessons.methods import build_method
from ssl_lessons.methods.equimod import COLUMNS, as_numbers
from ssl_lessons.models import build_encoder
from ssl_lessons.training import pretrain
from ssl_lessons.views import Policy, pretext, searched

IMAGES = data.shapes("unlabeled", 32, 64, 0).images
POLICY = Policy.simclr(32)
NAMES = ("essl", "equimod", "looc")


def build(name, **options):
    torch.manual_seed(0)
    return build_method(name, build_encoder("convnet", width=4, dim=16), hidden_dim=24, out_dim=12, **options)


def batch(method, n=12, seed=0):
    """The views of the first n pictures, and what was drawn for them."""
    g, policies = torch.Generator().manual_seed(seed), method.views(POLICY)
    drawn = [views.draw(p, n, IMAGES.shape[2:], g) for p in policies]
    return [views.apply(IMAGES[:n], p, d) for p, d in zip(policies, drawn, strict=True)], drawn


def loss_of(method, made, drawn):
    torch.manual_seed(1)  # the colours and turns that LooC draws itself
    return method(made, None, drawn) if method.needs_parameters else method(made)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns_and_the_loss_falls(name):
    method = build(name, **{"keep": ("colour", "turns")} if name == "looc" else {})
    made, drawn = batch(method)
    loss = loss_of(method, made, drawn)
    assert loss.shape == () and loss.isfinite()
    loss.backward()
    for parameter, p in method.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all() and p.grad.abs().max() > 0, parameter
    optimizer, seen = torch.optim.Adam(method.parameters(), 3e-3), []
    for _ in range(8):
        loss = loss_of(method, made, drawn)
        seen.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert seen[-1] < seen[0]


def settled(name, **options):
    """In evaluation mode, where BatchNorm treats every row alone, with statistics worth the name."""
    method = build(name, **options)
    made, drawn = batch(method)
    for _ in range(20):
        loss_of(method, made, drawn)
    return method.eval(), made, drawn


def test_essl_adds_the_turns_of_a_small_view():
    method, made, drawn = settled("essl", equivariance_weight=0.7)
    assert [v.shape[-1] for v in made] == [32, 32, 16]
    z1, z2 = (method.embed(v) for v in made[:2])
    turned, turns = pretext.four_rotations(made[2])
    asked = cross_entropy(method.turn_head(method.encoder(turned)), turns)
    right = losses.nt_xent(z1, z2, method.temperature) + 0.7 * asked
    assert loss_of(method, made, drawn).item() == pytest.approx(right.item(), rel=1e-4)
    assert 0 <= method.turn_accuracy(IMAGES[:20]) <= 1
    third = build("essl", whole=True).views(POLICY)[2]
    assert third.size == 32 and third.jitter_p == third.grayscale_p == 0 and third.crop_scale[0] == 0.5
    none = build("essl", equivariance_weight=0.0).eval()
    assert none(made).item() == pytest.approx(
        losses.nt_xent(*(none.embed(v) for v in made[:2]), none.temperature).item(), rel=1e-5
    )


def test_equimod_predicts_the_view_from_the_picture_and_the_parameters():
    method, made, drawn = settled("equimod", equivariance_weight=0.5)
    torch.testing.assert_close(made[0], views.normalize(IMAGES[:12]))  # the picture itself
    z1, z2 = (method.embed(v) for v in made[1:])
    y0, y1, y2 = (method.equivariant(method.encoder(v)) for v in made)
    guesses = [
        method.module(torch.cat([y0, method.read(method.standardise(as_numbers(d)))], dim=1))
        for d in drawn[1:]
    ]
    right = losses.nt_xent(z1, z2, method.temperature) + 0.5 * losses.nt_xent(
        torch.cat([y1, y2]), torch.cat(guesses), method.temperature
    )
    assert loss_of(method, made, drawn).item() == pytest.approx(right.item(), rel=1e-4)
    assert as_numbers(drawn[1]).shape == (12, COLUMNS)
    swapped = [drawn[0], drawn[2], drawn[1]]
    assert method(made, None, swapped).item() != pytest.approx(right.item(), rel=1e-4)


def test_equimod_gains_nothing_where_nothing_moves():
    method, made, drawn = settled("equimod")
    with torch.no_grad():  # u(y0, t) = y0
        method.module.weight.copy_(torch.eye(12, 24))
    assert method.gain(made, drawn) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("keep", [("colour",), ("turns",), ("colour", "turns")])
def test_looc_shares_with_the_query_what_it_says_and_nothing_else(keep):
    method = build("looc", keep=keep)
    policies = method.views(POLICY if "colour" in keep else POLICY.scaled(0.0).replace(grayscale_p=0.0))
    assert len(policies) == len(keep) + 2 and all(p.jitter_p == p.grayscale_p == 0 for p in policies)
    picture = views.normalize(IMAGES[:32])
    torch.manual_seed(0)
    query, anew, *shared = method.finished(
        [picture] * len(policies)
    )  # no crop: views differ by what LooC does

    def same(a, b):
        return float((a - b).abs().amax((1, 2, 3)).lt(1e-4).float().mean())

    assert same(query, anew) < 0.5
    if len(keep) == 1:
        assert same(query, shared[0]) == 1
        return
    colour, turns = shared
    untwisted = [pretext.rotate(colour, torch.full((32,), k)) for k in range(4)]
    assert torch.stack([(query - u).abs().amax((1, 2, 3)) < 1e-4 for u in untwisted]).any(0).all()
    assert same(query, colour) < 0.7 and same(query, turns) < 0.7  # a quarter of the turns agree by luck


def test_looc_is_its_loss_on_the_spaces():
    method, made, _ = settled("looc")
    torch.manual_seed(1)
    h = [method.encoder(v) for v in method.finished(made)]
    spaces = [[head(x) for x in h] for head in (method.projector, *method.spaces)]
    right = losses.looc([z[0] for z in spaces], [z[1:] for z in spaces], method.temperature)
    assert loss_of(method, made, None).item() == pytest.approx(right.item(), rel=1e-4)


def test_looc_refuses():
    for keep in ((), ("shape",), ("colour", "colour")):
        with pytest.raises(InputError, match="keep takes each of"):
            build("looc", keep=keep)
    method = build("looc")
    with pytest.raises(InputError, match="needs 3 views, got 2"):
        method([torch.zeros(4, 3, 32, 32)] * 2)
    with pytest.raises(InputError, match="method.views"):
        method([torch.zeros(4, 3, 32, 32)] * 3)


@pytest.mark.parametrize("name", NAMES)
def test_they_train_in_the_loop(name):
    method = build(name)
    history = pretrain(method, IMAGES, method.views(POLICY), steps=3, batch_size=16, progress=False)
    assert all(math.isfinite(row["loss"]) for row in history)


# ---- who chooses the distortions ----


def test_only_what_was_chosen_is_done():
    drawn = views.draw(searched.everything(32, 1.0), 64, (32, 32), torch.Generator().manual_seed(0))
    none = searched.chosen_only(drawn, torch.zeros(64, len(searched.OPERATIONS), dtype=torch.bool), (32, 32))
    policy = searched.everything(32, 1.0)
    torch.testing.assert_close(views.apply(IMAGES, policy, none), views.normalize(IMAGES))
    every = searched.chosen_only(drawn, torch.ones(64, len(searched.OPERATIONS), dtype=torch.bool), (32, 32))
    torch.testing.assert_close(views.apply(IMAGES, policy, every), views.apply(IMAGES, policy, drawn))
    flips = torch.zeros(64, len(searched.OPERATIONS), dtype=torch.bool)
    flips[:, searched.OPERATIONS.index("flip")] = True
    only = views.apply(IMAGES, policy, searched.chosen_only(drawn, flips, (32, 32)))
    torch.testing.assert_close(only, views.normalize(IMAGES.flip(3)))


def test_rand_augment_changes_more_with_more_and_stronger_operations():
    def change(number, magnitude):
        view = searched.rand_augment(IMAGES, number, magnitude, 32, torch.Generator().manual_seed(0))
        return (view - views.normalize(IMAGES)).abs().mean().item()

    assert change(1, 0.1) < change(1, 1.0) < change(4, 1.0)
    one = searched.rand_augment(IMAGES, 2, 0.5, 24, torch.Generator().manual_seed(3))
    again = searched.rand_augment(IMAGES, 2, 0.5, 24, torch.Generator().manual_seed(3))
    assert one.shape == (64, 3, 24, 24) and torch.equal(one, again)
    for number, magnitude in ((0, 0.5), (11, 0.5), (1, 0.0), (1, 1.2)):
        with pytest.raises(InputError, match="must be"):
            searched.rand_augment(IMAGES, number, magnitude, 32, torch.Generator())


def test_points_of_the_space_are_policies_and_stay_in_it():
    g = torch.Generator().manual_seed(0)
    numbers = searched.random_numbers(g)
    assert searched.as_policy(numbers, 32).crop_scale == (numbers["crop"], 1.0)
    for _ in range(200):
        before, numbers = numbers, searched.perturbed(numbers, g)
        searched.as_policy(numbers, 32)
        assert all(low <= numbers[k] <= high for k, (low, high) in searched.SPACE.items())
        assert numbers != before
