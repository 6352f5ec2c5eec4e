"""The pretext methods: their loss is the published one, the encoder sees what it should, every weight learns.

Over 400 lines: each method of the family beside what its paper says.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from ssl_lessons import data
from ssl_lessons.errors import InputError
from ssl_lessons.methods.colorization import Colorization
from ssl_lessons.methods.context_encoder import DAMAGES, ContextEncoder, Restore, painter
from ssl_lessons.methods.counting import Counting, counting
from ssl_lessons.methods.exemplar import Exemplar
from ssl_lessons.methods.jigsaw import Jigsaw
from ssl_lessons.methods.relative_position import RelativePosition
from ssl_lessons.methods.rotation import Rotation
from ssl_lessons.methods.split_brain import LIGHTNESS_BIN, SplitBrain
from ssl_lessons.models import (
    LabChannels,
    SplitChannels,
    build_encoder,
    fresh_copy,
    lab_of_views,
    load_encoder,
    save_encoder,
)
from ssl_lessons.training import pretrain
from ssl_lessons.views import Policy, color, normalize, pretext

METHODS = {
    "rotation": Rotation,
    "relative_position": RelativePosition,
    "jigsaw": Jigsaw,
    "counting": Counting,
    "exemplar": Exemplar,
    "context_encoder": ContextEncoder,
    "colorization": Colorization,
    "split_brain": SplitBrain,
}
OPTIONS = {
    "jigsaw": {"orders": 4, "grid": 2},
    "counting": {"counts": 8},
    "exemplar": {"n_images": 48},
    "context_encoder": {"adversarial": 0.1},
    "colorization": {"grid": 40},
    "split_brain": {"grid": 40},
}
IMAGES = data.shapes("unlabeled", 32, 48, 0).images
POLICY = Policy.simclr(32)
CPU = torch.device("cpu")


def build(name, **options):
    torch.manual_seed(0)
    encoder = build_encoder("convnet", width=4, dim=16)
    return METHODS[name](encoder, **OPTIONS.get(name, {}) | options)


def batch(n=8, size=32):
    return [normalize(IMAGES[:n], size)]


@pytest.mark.parametrize("name", ["rotation", "relative_position", "jigsaw"])
def test_accuracy_is_the_share_of_right_answers(name, monkeypatch):
    method = build(name).train()
    answers, asked = [], method.quiz
    state = torch.get_rng_state()

    def solved(x, wrong=0):
        logits, right = asked(x)
        answers.append(right)
        best = F.one_hot(right, logits.shape[1]).float()
        best[:wrong] = best[:wrong].roll(1, dims=1)
        return best, right

    monkeypatch.setattr(method, "quiz", solved)
    assert method.accuracy(IMAGES) == 1
    monkeypatch.setattr(method, "quiz", lambda x: solved(x, wrong=12))
    assert method.accuracy(IMAGES) == pytest.approx(1 - 12 / len(answers[0]))
    assert torch.equal(answers[0], answers[1])  # the same questions for the same seed
    assert torch.equal(state, torch.get_rng_state()) and method.training
    monkeypatch.undo()
    assert method.accuracy(IMAGES) < 0.6


def loss_of(method, views, index=None):
    index = torch.arange(len(views[0])) if index is None else index
    return method(views, None, index) if method.needs_index else method(views)


@pytest.mark.parametrize("name", METHODS)
def test_gradients_reach_every_parameter(name):
    method = build(name)
    loss = loss_of(method, batch(size=method.views(POLICY)[0].size))
    assert loss.shape == () and loss > 0
    loss.backward()
    for parameter_name, p in method.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, parameter_name
    assert method.embed(batch()[0]).shape[0] == 8


@pytest.mark.parametrize("name", METHODS)
def test_thirty_steps_lower_the_loss(name):
    """The same images at every step; whatever the task draws is drawn anew (and no critic fights back)."""
    method = build(name, **({"adversarial": 0.0} if name == "context_encoder" else {}))
    views = batch(32, method.views(POLICY)[0].size)
    opt = torch.optim.Adam(method.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        losses.append(loss_of(method, views))
        opt.zero_grad()
        losses[-1].backward()
        opt.step()
    assert sum(losses[-5:]) / 5 < 0.9 * sum(losses[:3]) / 3


@pytest.mark.parametrize("name", METHODS)
def test_pretrain_twice_gives_the_same_weights(name):
    def run():
        method = build(name)
        history = pretrain(
            method, IMAGES, method.views(POLICY), steps=3, batch_size=16, progress=False, device=CPU
        )
        return history, method

    (rows, first), (again, second) = run(), run()
    assert [r["loss"] for r in rows] == [r["loss"] for r in again]
    for (key, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


@pytest.mark.parametrize("name", METHODS)
def test_half_precision(name):
    method = build(name)
    views = batch(16, method.views(POLICY)[0].size)
    torch.manual_seed(1)
    exact = loss_of(method, views)
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(method, views)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact.item(), rel=0.1)


@pytest.mark.parametrize("name", [n for n in METHODS if n != "exemplar"])
def test_one_gentle_view(name):
    (view,) = build(name).views(POLICY)
    assert view.crop_scale == (0.5, 1.0) and view.jitter_p == view.grayscale_p == view.blur_p == 0
    assert view.flip_p == POLICY.flip_p


@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("context_encoder", "split_brain")])
def test_chance_loss_is_the_loss_of_a_head_that_says_nothing(name):
    method = build(name, **({"rebalance": False} if name == "colorization" else {}))
    heads = {"counting": "projector", "colorization": "painter"}
    head = list(getattr(method, heads.get(name, "classifier")).modules())
    last = [m for m in head if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)][-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()
    views = batch(size=method.views(POLICY)[0].size)
    assert loss_of(method, views).item() == pytest.approx(method.chance_loss(8), rel=1e-5)


# ---- rotation ------------------------------------------------------------------------------------


def test_rotation_loss_by_hand():
    method, x = build("rotation").eval(), batch()[0]
    total = 0.0
    for image in x:
        for k in range(4):
            turned = torch.rot90(image, k, dims=(1, 2))[None]
            total = total - method.predict(turned).log_softmax(dim=1)[0, k]
    assert torch.allclose(method([x]), total / 32, atol=1e-5)


# ---- relative position ---------------------------------------------------------------------------


def test_relative_position_loss_by_hand():
    method = build("relative_position", jitter=False, gap=0.0).eval()
    x = batch(3, 48)[0]
    total = 0.0
    for image in x:
        cells = [(r, c) for r in range(3) for c in range(3)]
        patch = {(r, c): image[None, :, 16 * r : 16 * r + 16, 16 * c : 16 * c + 16] for r, c in cells}
        places = [p for p in patch if p != (1, 1)]
        for k, place in enumerate(places):
            both = torch.cat([method.encoder(patch[1, 1]), method.encoder(patch[place])], dim=1)
            total = total - method.classifier(both).log_softmax(dim=1)[0, k]
    assert torch.allclose(method([x]), total / 24, atol=1e-5)


def test_gap_jitter_and_colours():
    x = batch(64, 48)[0][:48]
    close = build("relative_position", gap=0.0, jitter=False).patches(x)
    assert close.shape == (48, 9, 3, 16, 16) and torch.equal(pretext.assemble(close), x)
    apart = build("relative_position", gap=0.25, jitter=False).patches(x)
    assert torch.equal(apart, close[..., 2:14, 2:14])
    torch.manual_seed(0)
    first, second = (build("relative_position", gap=0.25).patches(x) for _ in range(2))
    assert torch.equal(first, second)  # `build` seeds
    assert not torch.equal(first, apart)
    dropped = build("relative_position", gap=0.0, jitter=False, colours="drop").patches(x)
    assert ((dropped == close).flatten(3).all(dim=3).sum(dim=2) == 1).all()
    projected = build("relative_position", gap=0.0, jitter=False, colours="project").patches(x)
    assert torch.allclose(projected, pretext.project_colours(close))


@pytest.mark.parametrize("options", [{"colours": "gray"}, {"gap": 1.0}, {"gap": -0.1}])
def test_relative_position_refuses_bad_options(options):
    with pytest.raises(InputError):
        build("relative_position", **options)


# ---- jigsaw --------------------------------------------------------------------------------------


def test_jigsaw_labels_the_order_it_applied(monkeypatch):
    method, seen = build("jigsaw", orders=6).eval(), {}

    def predict(shuffled):
        seen["tiles"] = shuffled
        return torch.zeros(len(shuffled), 6, requires_grad=True)

    monkeypatch.setattr(method, "predict", predict)
    monkeypatch.setattr(method, "cut", lambda x: pretext.tiles(x, 2))
    x = batch(24)[0]
    logits, order = method.quiz(x)
    assert len(logits) == 24 and len(order.unique()) > 3
    orders = method.permutations[order]
    assert torch.equal(pretext.assemble(pretext.shuffle(seen["tiles"], pretext.invert(orders))), x)
    assert method([x]).item() == pytest.approx(math.log(6))


def test_jigsaw_tiles_are_encoded_alone():
    method = build("jigsaw").eval()
    cut = method.cut(batch(2, 48)[0])
    other = cut.clone()
    other[:, 1:] = torch.randn_like(other[:, 1:])
    a, b = (method.encoder(t[:, 0]) for t in (cut, other))
    assert torch.equal(a, b)
    assert not torch.allclose(method.predict(cut), method.predict(other))


# ---- counting ------------------------------------------------------------------------------------


def test_counting_by_loops():
    g = torch.Generator().manual_seed(0)
    whole = torch.rand(5, 3, generator=g, dtype=torch.float64) * 3
    parts = torch.rand(5, 4, 3, generator=g, dtype=torch.float64)
    total = 0.0
    for i in range(5):
        s = sum(parts[i, j] for j in range(4))
        same = sum((whole[i, k] - s[k]) ** 2 for k in range(3))
        other = sum((whole[(i + 1) % 5, k] - s[k]) ** 2 for k in range(3))
        total = total + same + 0.7 * max(0.0, 4.0 - other)
    assert torch.allclose(counting(whole, parts, margin=4.0, contrast=0.7), total / 5)
    assert torch.autograd.gradcheck(counting, (whole.requires_grad_(), parts.requires_grad_()))


def test_zero_solves_the_constraint_and_pays_the_margin():
    zero = torch.zeros(4, 3), torch.zeros(4, 4, 3)
    assert counting(*zero, contrast=0.0) == 0
    assert counting(*zero, margin=10.0) == 10
    exact = torch.full((4, 3), 4.0), torch.ones(4, 4, 3)
    assert counting(*exact, contrast=0.0) == 0


def test_counts_come_from_the_quarters_and_the_shrunken_image():
    method, x = build("counting").eval(), batch()[0]
    whole, parts = method.count(x)
    assert whole.shape == (8, 8) and parts.shape == (8, 4, 8) and (whole >= 0).all()
    small = F.interpolate(x, scale_factor=0.5, mode="area")
    assert torch.allclose(whole, method.projector(method.encoder(small)), atol=1e-5)
    corner = method.projector(method.encoder(x[:, :, 16:, :16]))
    assert torch.allclose(parts[:, 2], corner, atol=1e-5)


@pytest.mark.parametrize("arguments", [{"margin": 0.0}, {"margin": -1.0}])
def test_counting_refuses_a_margin_that_is_not_positive(arguments):
    with pytest.raises(InputError, match="margin"):
        counting(torch.zeros(4, 3), torch.zeros(4, 4, 3), **arguments)
    with pytest.raises(InputError):
        counting(torch.zeros(1, 3), torch.zeros(1, 4, 3))


# ---- exemplar ------------------------------------------------------------------------------------


def test_exemplar_class_is_the_place_in_the_training_set():
    method, views = build("exemplar").eval(), batch()
    index = torch.tensor([5, 40, 7, 0, 1, 2, 3, 47])
    logits = method.classifier(method.encoder(views[0]))
    expected = -sum(logits[i].log_softmax(dim=0)[c] for i, c in enumerate(index.tolist())) / 8
    assert torch.allclose(method(views, None, index), expected, atol=1e-5)
    assert method.classifier.out_features == 48 and method.needs_index
    (view,) = method.views(POLICY)
    assert view == POLICY.replace(rotation=20.0)


def test_exemplar_refuses_one_class():
    with pytest.raises(InputError):
        build("exemplar", n_images=1)


# ---- context encoder -----------------------------------------------------------------------------


def test_the_painter_has_the_asked_shape():
    assert painter(10, 7, 16)(torch.zeros(2, 10)).shape == (2, 7, 16, 16)
    assert painter(10, 7, 4)(torch.zeros(2, 10)).shape == (2, 7, 4, 4)
    for side in (2, 12):
        with pytest.raises(InputError, match="4, 8, 16"):
            painter(10, 7, side)


def test_the_hole_is_hidden_and_is_the_target():
    method, x = build("context_encoder", adversarial=0.0).eval(), batch()[0]
    context, hole = method.cut(x)
    assert torch.equal(hole, x[:, :, 8:24, 8:24]) and context[:, :, 8:24, 8:24].abs().max() == 0
    rim = torch.ones(32, 32, dtype=torch.bool)
    rim[8:24, 8:24] = False
    assert torch.equal(context[:, :, rim], x[:, :, rim])
    other = x.clone()
    other[:, :, 8:24, 8:24] = torch.randn(8, 3, 16, 16)
    assert torch.equal(method.paint(context), method.paint(method.cut(other)[0]))
    assert torch.allclose(method([x]), (method.paint(context) - hole).square().mean())


def test_the_critic_pulls_the_painter_the_other_way():
    """Gradient of the painter: that of the reconstruction minus 0.3 times that of the critic's loss."""
    method, x = build("context_encoder", adversarial=0.3).eval(), batch()[0]
    weight = method.painter[-1].weight
    method([x]).backward()
    found, critic = weight.grad.clone(), method.critic[0].weight.grad.clone()
    method.zero_grad()
    context, hole = method.cut(x)
    painted = method.paint(context)
    rebuild = torch.autograd.grad(F.mse_loss(painted, hole), weight, retain_graph=True)[0]
    score_real, score_fake = method.critic(hole), method.critic(painted)
    quarrel = (F.softplus(-score_real).mean() + F.softplus(score_fake).mean()) / 2
    against, own = torch.autograd.grad(quarrel, (weight, method.critic[0].weight))
    assert torch.allclose(found, rebuild - 0.3 * against, atol=1e-6)
    assert torch.allclose(critic, own, atol=1e-6)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damages_keep_what_does_not_count(damage):
    x = batch()[0]
    torch.manual_seed(0)
    damaged, counted = DAMAGES[damage](x)
    assert damaged.shape == x.shape and counted.shape == (8, 1, 32, 32) and counted.dtype == torch.bool
    assert torch.equal(damaged[~counted.expand_as(x)], x[~counted.expand_as(x)])
    share = {"hole": 0.25, "scattered": 0.75}.get(damage, 1.0)
    assert counted.float().mean(dim=(1, 2, 3)).tolist() == pytest.approx([share] * 8)
    if share < 1:
        assert damaged[counted.expand_as(x)].abs().max() == 0


def test_damages_do_what_they_say():
    x = batch()[0]
    gray, _ = DAMAGES["gray"](x)
    assert torch.equal(gray[:, 0], gray[:, 2])
    assert torch.allclose(DAMAGES["gray"](gray)[0], gray, atol=1e-6)
    small, _ = DAMAGES["shrunken"](x)
    assert torch.allclose(small[3, 1, 8:12, 4:8], x[3, 1, 8:12, 4:8].mean().expand(4, 4), atol=1e-6)
    torch.manual_seed(0)
    noisy, _ = DAMAGES["noise"](x)
    assert (noisy - x).std().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("damage", DAMAGES)
def test_restore_counts_the_damaged_pixels_and_learns(damage):
    torch.manual_seed(0)
    method, x = Restore(build_encoder("convnet", width=4, dim=16), damage), batch(16)[0]
    torch.manual_seed(1)
    loss = method([x])
    torch.manual_seed(1)
    damaged, counted = DAMAGES[damage](x)
    error = (method.paint(damaged) - x).square() * counted
    assert torch.allclose(loss, error.sum() / (3 * counted.sum()), rtol=1e-4)
    opt = torch.optim.Adam(method.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        losses.append(method([x]))
        opt.zero_grad()
        losses[-1].backward()
        opt.step()
    assert losses[-1] < 0.97 * losses[0]


def test_unknown_damages_are_refused():
    with pytest.raises(InputError, match="choose from"):
        Restore(build_encoder("convnet", width=4, dim=16), "rust")


@pytest.mark.parametrize("options", [{"hole": 0.0}, {"hole": 1.0}, {"adversarial": -1.0}])
def test_impossible_holes_are_refused(options):
    with pytest.raises(InputError):
        build("context_encoder", **options)


# ---- colour --------------------------------------------------------------------------------------


def differ(a, b):
    """Largest difference, relative to the largest value."""
    return ((a - b).abs().max() / a.abs().max()).item()


def recoloured(x, seed=0):
    """Views with the lightness of x and other colours, all inside the gamut."""
    y = lab_of_views(x)
    y[:, 0] = 40 + 0.2 * y[:, 0]
    other = y.clone()
    other[:, 1:] = 10 * torch.rand(len(x), 2, 1, 1, generator=torch.Generator().manual_seed(seed))
    return [
        (color.lab_to_rgb(z) - 0.5) / 0.25 for z in (y * torch.tensor([1.0, 0.1, 0.1]).view(3, 1, 1), other)
    ]


def test_lightness_encoder_is_blind_to_colour():
    first, second = recoloured(batch()[0])
    assert not torch.allclose(first, second, atol=0.01)
    torch.manual_seed(0)
    encoder = build_encoder("convnet", width=4, dim=16).eval()
    light, colour = LabChannels(encoder, "L"), LabChannels(encoder, "ab")
    assert differ(light(first), light(second)) < 1e-3 and differ(colour(first), colour(second)) > 0.1
    assert light.dim == 16
    with pytest.raises(InputError):
        LabChannels(encoder, "RGB")


def test_recoloured_pictures_differ_in_hue_alone():
    plain = data.shapes("train", 32, 30, 0)
    hue = plain.factors["object_hue"].values
    first, second = (data.recolour(plain, h) for h in (hue, hue + math.pi))
    a, b = (color.rgb_to_lab(s.images.double() / 255) for s in (first, second))
    assert (a[:, 0] - b[:, 0]).abs().max() < 2.5 and (a[:, 0] - b[:, 0]).abs().mean() < 0.3  # 8 bits
    assert a[:, 1:].norm(dim=1).median().item() == pytest.approx(25, abs=1)
    changed = (a[:, 1:] - b[:, 1:]).norm(dim=1) > 25  # the object turned half round, the background stayed
    assert 0.1 < changed.float().mean() < 0.6 and not changed[:, 0, 0].all()
    turned = torch.atan2(a[:, 2], a[:, 1])[changed].cos()
    expected = hue[:, None, None].expand_as(changed)[changed].cos()
    assert (turned - expected).abs().mean() < 0.1
    assert torch.equal(first.labels, plain.labels) and first.factors is not None
    with pytest.raises(InputError, match="recolour"):
        data.recolour(data.shapes("train", 32, 3, 0, objects=False), hue[:3])


def test_colorization_loss_by_hand():
    method, x = build("colorization").eval(), batch(3)[0]
    method.weights.copy_(torch.rand(len(method.bins), generator=torch.Generator().manual_seed(0)))
    cells = F.avg_pool2d(lab_of_views(x)[:, 1:], 4)
    logits = method.logits(x)
    total = 0.0
    for i in range(3):
        for r in range(8):
            for c in range(8):
                ab = cells[i, :, r, c]
                distance = (method.bins - ab).square().sum(dim=1)
                near = distance.argsort()[:5]
                share = (-distance[near] / 50).exp()
                logp = logits[i, :, r, c].log_softmax(dim=0)[near]
                total = total - method.weights[near[0]] * (share / share.sum() * logp).sum()
    assert torch.allclose(method([x]), total / 192, rtol=1e-4)


def test_colour_weights_come_from_the_training_images():
    method = build("colorization", grid=20)
    assert method.refresh_every > 10**9
    from ssl_lessons.evaluation import extract_features

    method.refresh(lambda module: extract_features(module, IMAGES, device="cpu"))
    cells = F.avg_pool2d(lab_of_views(normalize(IMAGES))[:, 1:], 4).movedim(1, -1).reshape(-1, 2)
    p = torch.bincount(color.nearest_bins(cells, method.bins)[:, 0], minlength=len(method.bins)).double()
    p = color.smooth_frequencies(p / p.sum(), method.bins.double())
    assert torch.allclose(method.weights.double(), color.rebalancing(p), rtol=1e-4)
    assert (p * method.weights).sum().item() == pytest.approx(1, rel=1e-4)
    assert build("colorization", rebalance=False).refresh_every == 0


def test_painted_pictures_keep_their_lightness():
    method, x = build("colorization").eval(), batch()[0]
    painted = method.paint(x)
    assert painted.shape == x.shape and painted.min() >= 0 and painted.max() <= 1
    with torch.no_grad():  # all mass on gray: the picture in shades of gray
        method.painter[-1].weight.zero_()
        method.painter[-1].bias.fill_(-50)
        method.painter[-1].bias[(method.bins == 0).all(dim=1)] = 50
    gray = method.paint(x)
    assert (gray.amax(dim=1) - gray.amin(dim=1)).max() < 0.01
    assert torch.allclose(color.rgb_to_lab(gray)[:, 0], lab_of_views(x)[:, 0], atol=0.1)


def test_split_brain_halves_do_not_see_what_they_predict():
    method, x = build("split_brain").eval(), batch()[0]
    first, second = recoloured(x)
    light, colour = method.targets(x)
    cells = F.avg_pool2d(lab_of_views(x), 4)
    assert torch.equal(light, (cells[:, 0] // LIGHTNESS_BIN).long().clamp(0, 19))
    assert torch.equal(colour, color.nearest_bins(cells[:, 1:].movedim(1, -1), method.bins)[..., 0])
    a, b = method.encoder(first), method.encoder(second)
    assert a.shape == (8, 32) and method.encoder.dim == 32
    assert differ(a[:, :16], b[:, :16]) < 1e-3 and differ(a[:, 16:], b[:, 16:]) > 0.1
    expected = F.cross_entropy(method.to_colour(method.encoder.light(x)), colour)
    expected = expected + F.cross_entropy(method.to_light(method.encoder.colour(x)), light)
    assert torch.allclose(method([x]), expected)


def test_the_second_half_has_weights_of_its_own():
    encoder = build_encoder("convnet", width=4, dim=16)
    twin = fresh_copy(encoder)
    assert not torch.equal(twin.layers[0].weight, encoder.layers[0].weight)
    assert twin.layers[0].weight.std().item() == pytest.approx(encoder.layers[0].weight.std().item(), rel=0.5)


@pytest.mark.parametrize("name", ["colorization", "split_brain"])
def test_an_encoder_that_splits_channels_is_saved_and_loaded(name, tmp_path):
    encoder = build(name).encoder.eval()
    save_encoder(encoder, tmp_path, 32)
    loaded, size = load_encoder(tmp_path)
    x = batch()[0]
    with torch.no_grad():
        assert size == 32 and torch.equal(loaded.eval()(x), encoder(x))


def test_a_split_encoder_is_not_split_again():
    with pytest.raises(InputError, match="plain"):
        SplitBrain(build_encoder("split", width=4, dim=16))
    with pytest.raises(InputError, match="plain"):
        LabChannels(SplitChannels(build_encoder("convnet", width=4, dim=16)), "L")
