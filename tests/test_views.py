"""Views against torchvision, operation by operation; the drawn parameters; the errors.

Over 400 lines: one room of the package, each test of which can be read by itself.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import RandomResizedCrop, v2
from torchvision.transforms.v2 import functional as TF

from ssl_lessons import views
from ssl_lessons.errors import InputError
from ssl_lessons.views import Policy, augment, color_matrix, crop_resize, draw, make_views, normalize, recolor

EXACT = 1e-5  # float32 rounding of one or two interpolations or matrix products
STEPS = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth_images(n=8, size=32, low=0.0, high=1.0, width=None):
    """Smooth random colours in [low, high]: neighbouring pixels resemble each other, as in photos."""
    coarse = torch.rand(n, 3, 5, 5, generator=generator(1))
    images = F.interpolate(coarse, (size, width or size), mode="bicubic").clamp(0, 1)
    return low + (high - low) * images


def mid_range(n=8, size=32):
    """Colours that no factor in [0.8, 1.2] pushes out of [0, 1]: torchvision's clamps stay idle."""
    return smooth_images(n, size, 0.35, 0.6)


def jitter(images, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0, **options):
    factors = [torch.full((len(images),), float(f)) for f in (brightness, contrast, saturation, hue)]
    return recolor(images, *color_matrix(*factors, mean_color=images.mean((2, 3)), **options))


# ---- geometry ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 16, 24, 48])
def test_crop_resize_equals_torchvision(size):
    """Boxes larger and smaller than the view: antialiased shrinking and enlarging agree with torchvision."""
    images = torch.rand(6, 3, 40, 56, generator=generator())
    boxes = torch.tensor(
        [[0, 0, 40, 56], [3, 7, 20, 30], [10, 10, 30, 9], [39, 55, 1, 1], [5, 0, 7, 48], [0, 1, 8, 8]]
    ).float()
    flip = torch.tensor([0, 1, 1, 0, 1, 0]).bool()
    ours = crop_resize(images, boxes, flip, size)
    for image, box, mirrored, view in zip(images, boxes.int().tolist(), flip, ours, strict=True):
        expected = TF.resized_crop(image, *box, size=[size, size], antialias=True)
        expected = TF.horizontal_flip(expected) if mirrored else expected
        torch.testing.assert_close(view, expected, atol=EXACT, rtol=0)


def test_both_routes_of_crop_resize_agree():
    """One larger box moves a batch from grid_sample to matrix products; the other images must not change."""
    images = torch.rand(3, 3, 32, 32, generator=generator())
    boxes = torch.tensor([[2, 3, 12, 16], [8, 0, 16, 9], [0, 0, 16, 16]]).float()
    flip = torch.tensor([True, False, False])
    sampled = crop_resize(images, boxes, flip, 16)
    boxes[2] = torch.tensor([0, 0, 32, 32])
    multiplied = crop_resize(images, boxes, flip, 16)
    torch.testing.assert_close(sampled[:2], multiplied[:2], atol=EXACT, rtol=0)
    assert (sampled[2] - multiplied[2]).abs().max() > 0.05


@pytest.mark.parametrize("degrees", [-30.0, 12.0, 90.0, 180.0])
def test_rotation_equals_torchvision_inside_the_disc(degrees):
    """Outside the inscribed disc torchvision fills with black and we reflect: the disc is compared."""
    images = smooth_images(size=33)
    ours = views.rotate(images, torch.full((8,), degrees))
    expected = TF.rotate(images, degrees, interpolation=v2.InterpolationMode.BILINEAR)
    y, x = torch.meshgrid(torch.arange(33.0) - 16, torch.arange(33.0) - 16, indexing="ij")
    disc = x**2 + y**2 < 15**2
    # torchvision samples in the same places but rounds its grid differently
    torch.testing.assert_close(ours[:, :, disc], expected[:, :, disc], atol=1e-4, rtol=0)
    assert ours.min() >= images.min() - EXACT  # no black corners


def test_policy_rotation_is_applied():
    images = smooth_images()
    still = Policy.none(32)
    turned = augment(images, still.replace(rotation=45), generator())
    angle = draw(still.replace(rotation=45), 8, (32, 32), generator())["angle"]
    torch.testing.assert_close(turned, normalize(views.rotate(images, angle).clamp(0, 1)), atol=1e-4, rtol=0)
    assert angle.abs().max() > 10


# ---- colour --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_brightness_contrast_saturation_equal_torchvision(step, factor):
    images = mid_range()
    ours = jitter(images, **{views.COLOR_STEPS[step]: factor})
    torch.testing.assert_close(ours, STEPS[step](images, factor), atol=EXACT, rtol=0)


def test_grayscale_equals_torchvision():
    images = smooth_images()
    ours = jitter(images, grayscale=torch.tensor([True] * 4 + [False] * 4))
    torch.testing.assert_close(ours[:4], TF.rgb_to_grayscale(images[:4], 3), atol=EXACT, rtol=0)
    torch.testing.assert_close(ours[4:], images[4:], atol=EXACT, rtol=0)


@pytest.mark.parametrize("turns", [-1 / 3, 1 / 3])
def test_hue_of_a_third_turn_equals_torchvision(turns):
    """A third of a turn permutes the channels in both; torchvision's way through HSV costs some rounding."""
    images = smooth_images()
    torch.testing.assert_close(jitter(images, hue=turns), TF.adjust_hue(images, turns), atol=1e-4, rtol=0)


@pytest.mark.parametrize("turns", [-0.1, 0.05, 0.1, 0.2])
def test_hue_stays_near_torchvision(turns):
    """In between, the rotation follows the HSV shift: it differs by less than the change the shift makes."""
    images = smooth_images(64, 16)
    expected = TF.adjust_hue(images, turns)
    apart = (jitter(images, hue=turns).clamp(0, 1) - expected).abs().mean()
    changed = (images - expected).abs().mean()
    opposite = (jitter(images, hue=-turns).clamp(0, 1) - expected).abs().mean()
    assert apart < 0.9 * changed and apart < 0.5 * opposite
    gray = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(jitter(gray, hue=turns), gray, atol=EXACT, rtol=0)


def test_merged_sequence_equals_torchvision_in_every_order():
    """24 orders of brightness, contrast, saturation and a third-turn hue, merged into one map per image."""
    orders = torch.cartesian_prod(*[torch.arange(4)] * 4)
    orders = orders[[len(set(row.tolist())) == 4 for row in orders]]
    images = mid_range(len(orders), 16)
    factors = (0.9, 1.15, 1.1, 1 / 3)
    ours = jitter(images, *factors, order=orders)
    for image, order, view in zip(images, orders.tolist(), ours, strict=True):
        for step in order:
            image = STEPS[step](image, factors[step])
        torch.testing.assert_close(view, image, atol=1e-4, rtol=0)
    fixed = jitter(images, *factors)  # the order matters: most orders give another image
    assert ((fixed - ours).abs().amax((1, 2, 3)) > 1e-3).sum() >= 12


def test_augment_colours_equal_the_single_operations():
    """augment's own jitter is the merged map of the parameters it drew, clamped once, then normalized."""
    images = smooth_images(32, 16)
    policy = Policy.simclr(16, strength=0.5).replace(crop_p=0, flip_p=0, blur_p=0)
    p = draw(policy, 32, (16, 16), generator(3))
    expected = recolor(
        images,
        *color_matrix(
            *(p[name] for name in views.COLOR_STEPS),
            mean_color=images.mean((2, 3)),
            order=p["order"],
            grayscale=p["grayscale"],
        ),
    )
    ours = augment(images, policy, generator(3))
    torch.testing.assert_close(views.denormalize(ours), expected.clamp(0, 1), atol=1e-4, rtol=0)
    assert p["grayscale"].any() and not p["grayscale"].all()


# ---- blur, solarize, normalize -------------------------------------------------------------------


@pytest.mark.parametrize("size, kernel", [(32, 3), (96, 9), (16, 3)])
def test_blur_equals_torchvision(size, kernel):
    images = torch.rand(3, 3, size, size, generator=generator())
    sigma = torch.tensor([0.1, 0.7, 2.0])
    for image, s, view in zip(images, sigma.tolist(), views.blur(images, sigma), strict=True):
        torch.testing.assert_close(view, TF.gaussian_blur(image, [kernel] * 2, [s, s]), atol=EXACT, rtol=0)


def test_only_the_drawn_images_are_blurred():
    images = torch.rand(64, 3, 16, 16, generator=generator())
    policy = Policy.none(16).replace(blur_p=0.5, blur_sigma=(1, 2))
    blurred = draw(policy, 64, (16, 16), generator(2))["blur"] > 0
    changed = (augment(images, policy, generator(2)) - normalize(images)).abs().amax((1, 2, 3)) > 1e-3
    assert torch.equal(changed, blurred) and 16 < blurred.sum() < 48


def test_solarize_equals_torchvision():
    images = smooth_images()
    ours = augment(images, Policy.none(32).replace(solarize_p=1, solarize_threshold=0.6), generator())
    torch.testing.assert_close(views.denormalize(ours), TF.solarize(images, 0.6), atol=EXACT, rtol=0)


def test_solarize_comes_after_blur():
    """A checkerboard blurs to mid-gray, below a threshold of 0.8; solarized first, it would turn black."""
    checkers = (torch.arange(16)[:, None] + torch.arange(16)).remainder(2).float().expand(1, 3, 16, 16)
    policy = Policy.none(16).replace(blur_p=1, blur_sigma=(2, 2), solarize_p=1, solarize_threshold=0.8)
    assert views.denormalize(augment(checkers, policy, generator())).mean() > 0.3


def test_none_is_normalize():
    images = torch.randint(0, 256, (4, 3, 24, 24), dtype=torch.uint8, generator=generator())
    for size in (24, 16, 40):
        expected = (TF.resize(images / 255, [size, size], antialias=True) - 0.5) / 0.25
        torch.testing.assert_close(
            augment(images, Policy.none(size), generator()), expected, atol=1e-4, rtol=0
        )
        torch.testing.assert_close(normalize(images, size), expected, atol=1e-4, rtol=0)
    mean, std = (0.1, 0.2, 0.3), (1.0, 2.0, 3.0)
    expected = TF.normalize(images / 255, mean, std)
    torch.testing.assert_close(normalize(images, mean=mean, std=std), expected, atol=EXACT, rtol=0)
    ours = augment(images, Policy.none(24).replace(mean=mean, std=std), generator())
    torch.testing.assert_close(ours, expected, atol=EXACT, rtol=0)


# ---- drawing -------------------------------------------------------------------------------------


def ks_distance(a, b):
    """Largest gap between the two empirical distribution functions."""
    points = torch.cat([a, b]).sort().values
    cdf = [torch.searchsorted(x.sort().values, points, right=True) / len(x) for x in (a, b)]
    return (cdf[0] - cdf[1]).abs().max().item()


@pytest.mark.parametrize(
    "height, width, scale, ratio",
    [
        (96, 96, (0.08, 1.0), (3 / 4, 4 / 3)),
        (32, 32, (0.08, 1.0), (3 / 4, 4 / 3)),
        (40, 200, (0.5, 1.0), (0.9, 1.1)),
    ],
)
def test_crops_are_distributed_as_torchvisions(height, width, scale, ratio):
    """Two samples of n: the 0.1 % critical value of the Kolmogorov-Smirnov distance is 1.95 sqrt(2 / n)."""
    n = 4000
    ours = draw(Policy(32, crop_scale=scale, crop_ratio=ratio), n, (height, width), generator())["boxes"]
    blank = torch.empty(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torch.tensor([RandomResizedCrop.get_params(blank, scale, ratio) for _ in range(n)]).float()
    for feature in (
        lambda b: b[:, 2] * b[:, 3],
        lambda b: b[:, 3] / b[:, 2],
        lambda b: b[:, 0],
        lambda b: b[:, 1],
    ):
        assert ks_distance(feature(ours), feature(theirs)) < 1.95 * math.sqrt(2 / n)
    assert (ours[:, :2] >= 0).all() and (ours[:, 0] + ours[:, 2]).max() <= height
    assert (ours[:, 1] + ours[:, 3]).max() <= width


def test_draw_respects_probabilities_and_ranges():
    n = 4000
    policy = Policy(
        32, crop_p=0.3, flip_p=0.6, rotation=10, jitter_p=0.7, brightness=0.4, contrast=1.5, saturation=0.2,
        hue=0.1, grayscale_p=0.25, blur_p=0.45, blur_sigma=(0.5, 1.0), solarize_p=0.15,
    )  # fmt: skip
    p = draw(policy, n, (32, 32), generator())
    shares = {
        "flip": 0.6, "grayscale": 0.25, "solarize": 0.15, "blur": 0.45,
        "brightness": 0.7, "contrast": 0.7, "saturation": 0.7, "hue": 0.7,
    }  # fmt: skip
    unchanged = dict.fromkeys(("brightness", "contrast", "saturation"), 1.0)
    for name, share in shares.items():
        observed = (p[name] != unchanged.get(name, 0)).float().mean().item()
        assert abs(observed - share) < 4 * math.sqrt(0.25 / n), name
    whole = (p["boxes"] == torch.tensor([0.0, 0, 32, 32])).all(1).float().mean().item()
    assert abs(whole - 0.7) < 4 * math.sqrt(0.25 / n) + 0.01  # a drawn crop may be the whole image too
    limits = {"brightness": (0.6, 1.4), "contrast": (0, 2.5), "saturation": (0.8, 1.2), "hue": (-0.1, 0.1),
              "angle": (-10, 10)}  # fmt: skip
    for name, (low, high) in limits.items():
        width = high - low
        assert low <= p[name].min() < low + 0.01 * width and high - 0.01 * width < p[name].max() <= high, name
    sigma = p["blur"][p["blur"] > 0]
    assert 0.5 <= sigma.min() and sigma.max() <= 1
    codes = (p["order"] * torch.tensor([64, 16, 4, 1])).sum(1)
    counts = codes.unique(return_counts=True)[1]
    assert len(counts) == 24 and counts.min() > n / 24 * 0.6  # every order, about equally often


def test_images_get_different_parameters():
    """The famous bug is one crop, one colour for the whole batch: equal images must become unequal views."""
    images = smooth_images(1).expand(32, -1, -1, -1)
    for changes in ({}, {"crop_p": 0, "flip_p": 0}, {"jitter_p": 0}):
        out = augment(images, Policy.simclr(32).replace(blur_p=0, grayscale_p=0, **changes), generator())
        distance = torch.cdist(out.flatten(1), out.flatten(1)) + 10 * torch.eye(32)
        # colour-only: the fifth without jitter are equal to each other
        assert (distance.amin(1) > 1e-3).float().mean() > 0.6


def test_reproducible_from_the_generator():
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=generator())
    first, second = Policy.byol(32)
    a, b = make_views(images, [first, second], generator(5))
    c, d = make_views(images, [first, second], generator(5))
    assert torch.equal(a, c) and torch.equal(b, d)
    same = generator(5)
    assert not torch.equal(augment(images, first, same), augment(images, first, same))
    assert not torch.equal(a, augment(images, first, generator(6)))


def test_chunks_do_not_change_the_result(monkeypatch):
    images = torch.rand(10, 3, 24, 24, generator=generator())
    policy = Policy.byol(16)[1].replace(rotation=10)
    whole = augment(images, policy, generator())
    monkeypatch.setattr(views, "CHUNK", 3 * 3 * 24 * 24)
    torch.testing.assert_close(augment(images, policy, generator()), whole, atol=EXACT, rtol=0)


def test_apply_follows_edited_parameters():
    """A lesson may draw with one policy, then set a parameter by hand: apply obeys the parameters."""
    images, policy = mid_range(), Policy.none(32)
    p = draw(policy, 8, (32, 32), generator())
    edits = {"hue": 0.2, "contrast": 0.5, "angle": 30.0, "blur": 1.0, "solarize": True, "grayscale": True}
    plain = views.apply(images, policy, p)
    torch.testing.assert_close(plain, normalize(images), atol=1e-4, rtol=0)
    for name, value in edits.items():
        edited = p[name].clone()
        edited[3] = value
        moved = (views.apply(images, policy, p | {name: edited}) - plain).abs().amax((1, 2, 3)) > 1e-3
        assert moved.nonzero().flatten().tolist() == [3], name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_gives_the_same_views():
    images = torch.rand(32, 3, 48, 48, generator=generator())
    for policy in (*Policy.byol(32), Policy.simclr(64).replace(rotation=20)):
        ours = augment(images.cuda(), policy, generator())
        assert ours.is_cuda
        # a value that rounds to the other side of the solarize threshold may flip: allow one in a thousand
        apart = (ours.cpu() - augment(images, policy, generator())).abs() > 1e-3
        assert apart.float().mean() < 1e-3


# ---- policies, shapes and errors -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.float16])
def test_shape_dtype_and_range(dtype):
    images = torch.randint(0, 256, (5, 3, 40, 28), dtype=torch.uint8, generator=generator())
    images = images if dtype == torch.uint8 else (images / 255).to(dtype)
    before = images.clone()
    policy = Policy.byol(24)[1].replace(rotation=15)
    out = augment(images, policy, generator())
    assert out.shape == (5, 3, 24, 24) and out.dtype == torch.float32 and out.isfinite().all()
    assert out.min() >= -2 - EXACT and out.max() <= 2 + EXACT  # (0 - 0.5) / 0.25 to (1 - 0.5) / 0.25
    assert torch.equal(images, before)


def test_multi_crop():
    policies = Policy.multi_crop(32, 16, n_small=3)
    images = torch.rand(4, 3, 32, 32, generator=generator())
    out = make_views(images, policies, generator())
    assert [tuple(v.shape) for v in out] == [(4, 3, 32, 32)] * 2 + [(4, 3, 16, 16)] * 3
    areas = [draw(p, 500, (96, 96), generator())["boxes"][:, 2:].prod(1).mean() for p in policies]
    assert max(areas[2:]) < 0.5 * min(areas[:2])


def test_named_policies():
    first, second = Policy.byol(32)
    assert (first.blur_p, first.solarize_p, second.blur_p, second.solarize_p) == (1.0, 0.0, 0.1, 0.2)
    half = Policy.simclr(32, strength=0.5)
    assert (half.brightness, half.contrast, half.saturation, half.hue) == (0.4, 0.4, 0.4, 0.1)
    assert Policy.simclr(32) == half.scaled(2) and half.scaled(0).hue == 0
    assert Policy.simclr(32).scaled(9).hue == 0.5


@pytest.mark.parametrize(
    "field, value",
    [
        ("size", 0), ("size", 7.5), ("size", None), ("crop_scale", (0.5, 0.2)), ("crop_scale", (0, 1)),
        ("crop_scale", 0.5), ("crop_scale", (0.5, 1.2)), ("crop_ratio", (2, 1)), ("crop_p", 1.1), ("flip_p",
        -0.1), ("rotation", 200), ("jitter_p", math.nan), ("brightness", -1), ("contrast", math.inf),
        ("saturation", "a"), ("hue", 0.6), ("grayscale_p", 2), ("blur_p", None), ("blur_sigma", (0, 1)),
        ("solarize_p", -1), ("solarize_threshold", 128), ("mean", (0.5,)), ("mean", 0.5), ("std", (1, 1,
        0)),
    ],
)  # fmt: skip
def test_policy_refuses_and_names_the_field(field, value):
    with pytest.raises(InputError, match=f"Policy.{field} "):
        Policy(32).replace(**{field: value})


@pytest.mark.parametrize(
    "images, message",
    [
        (torch.rand(2, 1, 8, 8), "N, 3, H, W"),
        (torch.rand(3, 8, 8), "N, 3, H, W"),
        (torch.rand(2, 8, 8, 3), "N, 3, H, W"),
        ([1, 2], "not list"),
        (torch.rand(0, 3, 8, 8), "empty"),
        (torch.ones(2, 3, 8, 8, dtype=torch.int64), "int64"),
        (torch.full((2, 3, 8, 8), 255.0), "divide"),
        (torch.full((2, 3, 8, 8), -0.1), "must lie"),
        (torch.full((2, 3, 8, 8), math.nan), "must lie"),
    ],
)
def test_bad_images_are_refused(images, message):
    policy = Policy.none(8)
    calls = (
        lambda: augment(images, policy, generator()),
        lambda: normalize(images),
        lambda: make_views(images, [policy], generator()),
        lambda: views.apply(images, policy, draw(policy, 2, (8, 8), generator())),
    )
    for call in calls:
        with pytest.raises(InputError, match=message):
            call()


def test_other_bad_input_is_refused():
    images, policy = torch.rand(2, 3, 8, 8), Policy.none(8)
    calls = {
        "CPU torch.Generator": lambda: augment(images, policy, 0),
        "non-empty list": lambda: make_views(images, [], generator()),
        "one per view": lambda: make_views(images, policy, generator()),
        "no field 'sise'": lambda: policy.replace(sise=3),
        "strength": lambda: policy.scaled(-1),
        "n_small": lambda: Policy.multi_crop(32, 16, n_small=-1),
        "boxes must be": lambda: crop_resize(
            images, torch.tensor([[0, 0, 8, 9.0]] * 2), torch.zeros(2).bool(), 8
        ),
        "boxes must": lambda: crop_resize(images, torch.tensor([0, 0, 8, 8.0]), torch.zeros(2).bool(), 8),
    }
    for message, call in calls.items():
        with pytest.raises(InputError, match=message):
            call()
