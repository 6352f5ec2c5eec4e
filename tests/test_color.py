"""CIE Lab against published values, an independent float64 route and PIL; bins, rebalancing, annealed mean by hand."""

import math

import numpy as np
import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.views import color


def seeded(value=0):
    return torch.Generator().manual_seed(value)


def image(*rgb, dtype=torch.float64):
    return torch.tensor(rgb, dtype=dtype).view(1, 3, 1, 1)


def colours(n=500):
    return torch.rand(1, 3, n, 1, generator=seeded(), dtype=torch.float64)


# Widely published values for sRGB under D65, 2 degree observer (for instance in Lindbloom's calculator).
PUBLISHED = {
    (1, 1, 1): (100.0, 0.0, 0.0),
    (0, 0, 0): (0.0, 0.0, 0.0),
    (1, 0, 0): (53.2408, 80.0925, 67.2032),
    (0, 1, 0): (87.7347, -86.1827, 83.1793),
    (0, 0, 1): (32.2970, 79.1875, -107.8602),
    (1, 1, 0): (97.1393, -21.5537, 94.4780),
    (0, 1, 1): (91.1132, -48.0875, -14.1312),
    (1, 0, 1): (60.3242, 98.2343, -60.8249),
}


@pytest.mark.parametrize("rgb", PUBLISHED)
def test_published_values(rgb):
    found = color.rgb_to_lab(image(*map(float, rgb)))[0, :, 0, 0]
    assert found.tolist() == pytest.approx(PUBLISHED[rgb], abs=0.005)


def test_the_matrix_is_the_published_one():
    published = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    assert torch.allclose(color.rgb_matrix(), torch.tensor(published, dtype=torch.float64), atol=1e-6)


def slow_lab(rgb):
    """One colour, step by step, from the definitions: chromaticities, luminances of the primaries, cube roots."""

    def linear(v):
        return v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4

    # Y of each primary: they add up to white (three equations, by numpy)
    xy = [(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)]
    mixed = np.array([[x, y, 1 - x - y] for x, y in xy]).T
    amounts = np.linalg.solve(mixed, np.array([0.95047, 1.0, 1.08883]))
    xyz = mixed @ (amounts * np.array([linear(v) for v in rgb]))
    f = []
    for value, white in zip(xyz, (0.95047, 1.0, 1.08883), strict=True):
        t = value / white
        f.append(t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29)
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


def test_against_the_definitions_colour_by_colour():
    rgb = torch.cat([colours(), 0.03 * colours(100)], dim=2)  # dark ones: the straight parts
    found = color.rgb_to_lab(rgb)[0, :, :, 0].T
    expected = torch.tensor([slow_lab(v.tolist()) for v in rgb[0, :, :, 0].T], dtype=torch.float64)
    assert torch.allclose(found, expected, atol=1e-9)


def test_against_pil_after_adapting_to_its_white():
    """PIL's profile uses D50: the same colours after Bradford's adaptation, up to its 8 bits."""
    image_cms = pytest.importorskip("PIL.ImageCms")
    from PIL import Image

    rgb = torch.randint(0, 256, (300, 3), generator=seeded(), dtype=torch.uint8).numpy()
    transform = image_cms.buildTransform(
        image_cms.createProfile("sRGB"), image_cms.createProfile("LAB"), "RGB", "LAB", renderingIntent=1
    )
    pil = np.array(image_cms.applyTransform(Image.fromarray(rgb[None]), transform))[0]
    signed = [np.where(v > 127, v - 256, v) for v in (pil[:, 1].astype(float), pil[:, 2].astype(float))]
    theirs = np.stack([pil[:, 0].astype(float) * 100 / 255, *signed], axis=1)

    d65, d50 = np.array(color.WHITE), np.array([0.9642, 1.0, 0.8249])
    cone = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    adapt = np.linalg.inv(cone) @ np.diag((cone @ d50) / (cone @ d65)) @ cone
    linear = color.srgb_to_linear(torch.from_numpy(rgb / 255.0)).numpy()
    t = (linear @ color.rgb_matrix().numpy().T @ adapt.T) / d50
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    ours = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
    assert np.abs(ours - theirs).max() < 1.6 and np.abs(ours - theirs).mean() < 0.5


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_round_trip(dtype, tolerance):
    rgb = torch.cat([colours(), 0.03 * colours(100)], dim=2).to(dtype)
    lab = color.rgb_to_lab(rgb)
    assert lab.dtype == dtype
    assert torch.allclose(color.lab_to_rgb(lab), rgb, atol=tolerance)
    assert torch.allclose(color.linear_to_srgb(color.srgb_to_linear(rgb)), rgb, atol=tolerance)


def test_grays_have_no_colour():
    gray = torch.linspace(0, 1, 101, dtype=torch.float64).view(1, 1, -1, 1).expand(1, 3, -1, 1)
    lab = color.rgb_to_lab(gray)
    assert lab[:, 1:].abs().max() < 1e-10
    L = lab[0, 0, :, 0]
    assert (L.diff() > 0).all() and L[0].abs() < 1e-12 and abs(L[-1] - 100) < 1e-12


def test_conversions_are_differentiable():
    rgb = torch.rand(1, 3, 2, 2, generator=seeded(), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(color.rgb_to_lab, rgb)
    black = torch.zeros(1, 3, 1, 1, dtype=torch.float64, requires_grad=True)
    color.rgb_to_lab(black).sum().backward()
    assert black.grad.isfinite().all()


@pytest.mark.parametrize(
    "bad", [torch.zeros(3, 4, 4), torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.zeros(1, 1, 4, 4)]
)
def test_other_images_are_refused(bad):
    with pytest.raises(InputError, match="floats"):
        color.rgb_to_lab(bad)
    with pytest.raises(InputError, match="floats"):
        color.lab_to_rgb(bad)


# ---- bins ----------------------------------------------------------------------------------------


def test_bins_of_side_10():
    bins = color.ab_bins(10)
    assert bins.dtype == torch.float32 and (bins % 10 == 0).all()
    assert len({tuple(b) for b in bins.tolist()}) == len(bins)
    assert bins.tolist() == sorted(bins.tolist())
    assert 250 < len(bins) <= 313  # the paper counts 313 and does not say how
    assert len(color.ab_bins(10, 100)) - len(bins) < 10  # more samples find hardly any more
    assert [0.0, 0.0] in bins.tolist()
    # every colour of a screen falls into a bin that exists, at most half a bin's diagonal away
    ab = color.rgb_to_lab(colours(2000))[0, 1:, :, 0].T.float()
    near = color.nearest_bins(ab, bins)[:, 0]
    assert (bins[near] - ab).abs().max() <= 10  # a bin at the rim may be missing from the samples
    inside = ((bins[near] - ab).abs().amax(dim=1) <= 5.001).float().mean()
    assert inside > 0.999


def test_coarser_bins_are_fewer():
    assert len(color.ab_bins(40, 16)) < len(color.ab_bins(20, 16)) < len(color.ab_bins(10, 16))
    with pytest.raises(InputError):
        color.ab_bins(0)


def test_nearest_bins_by_loops():
    bins = color.ab_bins(20, 16)
    ab = 60 * torch.randn(4, 5, 2, generator=seeded())
    near = color.nearest_bins(ab, bins, 3)
    assert near.shape == (4, 5, 3)
    for i in range(4):
        for j in range(5):
            distance = [(math.dist(ab[i, j].tolist(), b), q) for q, b in enumerate(bins.tolist())]
            assert near[i, j].tolist() == [q for _, q in sorted(distance)[:3]]


def test_soft_encoding_is_a_normalised_gaussian_of_the_five_nearest():
    bins = color.ab_bins(10, 16)
    ab = 30 * torch.randn(20, 2, generator=seeded())
    near, share = color.soft_encode(ab, bins)
    assert near.shape == share.shape == (20, 5) and torch.allclose(share.sum(dim=1), torch.ones(20))
    for point, places, weights in zip(ab, near, share, strict=True):
        raw = [math.exp(-(math.dist(point.tolist(), bins[q].tolist()) ** 2) / 50) for q in places]
        assert weights.tolist() == pytest.approx([r / sum(raw) for r in raw], rel=1e-3, abs=1e-6)
    centre, alone = color.soft_encode(bins[:7], bins, k=1)
    assert centre[:, 0].tolist() == list(range(7)) and (alone == 1).all()


# ---- rebalancing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.5, 1.0])
def test_weights_are_one_in_expectation(lam):
    p = torch.rand(50, generator=seeded(), dtype=torch.float64).pow(4) + 1e-6
    p = p / p.sum()
    w = color.rebalancing(p, lam)
    assert (p * w).sum().item() == pytest.approx(1.0, abs=1e-12)
    raw = 1 / ((1 - lam) * p + lam / 50)
    assert torch.allclose(w / w[0], raw / raw[0])
    assert (w[p.argsort()].diff() <= 1e-12).all(), "rare colours never weigh less"


def test_limits_of_rebalancing():
    p = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    assert torch.allclose(color.rebalancing(p, 1.0), torch.ones(3, dtype=torch.float64))
    assert torch.allclose(color.rebalancing(p, 0.0) * p, torch.full((3,), 1 / 3, dtype=torch.float64))
    never = torch.tensor([1.0, 0.0])
    assert color.rebalancing(never).isfinite().all()


@pytest.mark.parametrize(
    "p, lam",
    [([0.5, 0.6], 0.5), ([1.5, -0.5], 0.5), ([0.5, 0.5], 1.1), ([0.5, 0.5], -0.1), ([1.0, 0.0], 0.0)],
)
def test_bad_frequencies_are_refused(p, lam):
    with pytest.raises(InputError):
        color.rebalancing(torch.tensor(p), lam)


def test_smoothing_keeps_the_sum_and_spreads():
    bins = color.ab_bins(10, 16).double()
    p = torch.zeros(len(bins), dtype=torch.float64)
    p[100] = 1
    smooth = color.smooth_frequencies(p, bins)
    assert smooth.sum().item() == pytest.approx(1.0, abs=1e-12) and (smooth >= 0).all()
    assert smooth.argmax() == 100 and (smooth > 1e-3).sum() > 3
    assert torch.allclose(color.smooth_frequencies(p, bins, sigma=0.1), p)


# ---- annealed mean -------------------------------------------------------------------------------


def test_annealed_mean_by_hand():
    bins = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 20.0]], dtype=torch.float64)
    p = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    for T in (0.38, 1.0, 2.0):
        q = p ** (1 / T) / (p ** (1 / T)).sum()
        assert torch.allclose(color.annealed_mean(p.log(), bins, T), q @ bins)
    assert torch.allclose(color.annealed_mean(p.log(), bins, 1.0), p @ bins)
    assert torch.allclose(color.annealed_mean(p.log(), bins, 1e-3), bins[0])
    assert torch.allclose(color.annealed_mean(p.log() + 7, bins), color.annealed_mean(p.log(), bins))
    with pytest.raises(InputError, match="temperature"):
        color.annealed_mean(p.log(), bins, 0.0)
