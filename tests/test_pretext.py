"""The labels that images give away: each against a loop, an enumeration, or the operation that undoes it."""

import itertools
import math

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.views import pretext


def seeded(value=0):
    return torch.Generator().manual_seed(value)


def pictures(n=5, size=12, dtype=torch.float64):
    return torch.randn(n, 3, size, size, generator=seeded(), dtype=dtype)


# ---- rotation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.uint8])
def test_rotation_equals_rot90(dtype):
    x = (100 * pictures().abs()).to(dtype)
    turns = torch.tensor([0, 1, 2, 3, 1])
    out = pretext.rotate(x, turns)
    for i, k in enumerate(turns.tolist()):
        assert torch.equal(out[i], torch.rot90(x[i], k, dims=(1, 2)))
    assert torch.equal(pretext.rotate(out, (4 - turns) % 4), x)


def test_one_turn_is_counter_clockwise():
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 0, 3] = 1  # top right
    assert pretext.rotate(x, torch.tensor([1]))[0, 0, 0, 0] == 1  # goes to the top left


def test_four_rotations_are_all_and_labelled():
    x = pictures()
    turned, labels = pretext.four_rotations(x)
    assert turned.shape == (20, 3, 12, 12) and torch.bincount(labels).tolist() == [5] * 4
    assert torch.equal(turned[:5], x)
    for row, k in zip(turned, labels.tolist(), strict=True):
        assert any(torch.equal(row, torch.rot90(image, k, dims=(1, 2))) for image in x)


@pytest.mark.parametrize(
    "x, turns",
    [
        (torch.zeros(2, 3, 4, 5), torch.zeros(2, dtype=torch.long)),
        (torch.zeros(2, 3, 4, 4), torch.zeros(3, dtype=torch.long)),
        (torch.zeros(2, 3, 4, 4), torch.zeros(2)),
    ],
)
def test_rotation_refuses_what_it_cannot_turn(x, turns):
    with pytest.raises(InputError):
        pretext.rotate(x, turns)


# ---- tiles ---------------------------------------------------------------------------------------


def test_windows_against_slicing():
    x = pictures(4, 10)
    top, left = (torch.randint(0, 7, (4, 6), generator=seeded(i)) for i in (1, 2))
    cut = pretext.windows(x, top, left, 4)
    assert cut.shape == (4, 6, 3, 4, 4)
    for i in range(4):
        for t in range(6):
            a, b = int(top[i, t]), int(left[i, t])
            assert torch.equal(cut[i, t], x[i, :, a : a + 4, b : b + 4])


@pytest.mark.parametrize("grid", [1, 2, 3, 4])
def test_assemble_undoes_tiles(grid):
    x = pictures(3, 12)
    cut = pretext.tiles(x, grid)
    assert cut.shape == (3, grid**2, 3, 12 // grid, 12 // grid)
    assert torch.equal(pretext.assemble(cut), x)


def test_tiles_in_reading_order_with_a_gap():
    x = torch.arange(81.0).view(1, 1, 9, 9).expand(1, 3, 9, 9)
    cut = pretext.tiles(x, 3, size=1)  # the middle pixel of each 3 x 3 cell
    assert cut[0, :, 0, 0, 0].tolist() == [10, 13, 16, 37, 40, 43, 64, 67, 70]


def test_jitter_reaches_every_place_of_its_cell_and_no_other():
    x = torch.arange(144.0).view(1, 1, 12, 12).expand(400, 1, 12, 12)
    cut = pretext.tiles(x, 2, size=4, jitter=True, generator=seeded())
    corner = cut[:, :, 0, 0, 0].long()
    rows, columns = corner // 12, corner % 12
    for t, (row, column) in enumerate(itertools.product((0, 6), (0, 6))):
        assert set(rows[:, t].tolist()) == set(range(row, row + 3))
        assert set(columns[:, t].tolist()) == set(range(column, column + 3))
    again = pretext.tiles(x, 2, size=4, jitter=True, generator=seeded())
    assert torch.equal(cut, again)
    fixed = pretext.tiles(x, 2, size=4)
    assert (fixed[:, :, 0, 0, 0] == fixed[:1, :, 0, 0, 0]).all()


@pytest.mark.parametrize("arguments", [(3, 5), (0, None), (13, None), (3, 0)])
def test_impossible_tiles_are_refused(arguments):
    with pytest.raises(InputError):
        pretext.tiles(pictures(1, 12), *arguments)
    with pytest.raises(InputError, match="leaves"):
        pretext.windows(pictures(1, 12), torch.tensor([[10]]), torch.tensor([[0]]), 4)


def test_normalized_tiles_have_mean_0_and_deviation_1_each():
    cut = 5 + 3 * torch.randn(2, 4, 3, 6, 6, generator=seeded(), dtype=torch.float64)
    z = pretext.normalize_tiles(cut, eps=0.0)
    assert z.mean(dim=(3, 4)).abs().max() < 1e-12
    assert (z.std(dim=(3, 4), correction=0) - 1).abs().max() < 1e-12
    assert torch.allclose(z, pretext.normalize_tiles(7 * cut - 2, eps=0.0))
    assert pretext.normalize_tiles(torch.ones(1, 1, 3, 2, 2)).abs().max() == 0


# ---- permutations --------------------------------------------------------------------------------


def test_hamming_by_loops():
    a, b = (torch.randint(0, 3, (n, 5), generator=seeded(n)) for n in (4, 6))
    found = pretext.hamming(a, b)
    for i, row in enumerate(a.tolist()):
        for j, other in enumerate(b.tolist()):
            assert found[i, j] == sum(x != y for x, y in zip(row, other, strict=True))


@pytest.mark.parametrize("n, count", [(3, 6), (4, 2), (4, 4), (4, 12), (4, 24), (5, 5), (6, 6), (7, 40)])
def test_permutation_sets_hold_different_permutations(n, count):
    found = pretext.permutation_set(n, count)
    assert found.shape == (count, n) and found.dtype == torch.int64
    assert len({tuple(row) for row in found.tolist()}) == count
    assert (found.sort(dim=1).values == torch.arange(n)).all()
    assert torch.equal(found, pretext.permutation_set(n, count))
    if 1 < count <= n:  # Latin rectangles can always be extended: the greedy set reaches the optimum
        assert pretext.minimum_distance(found) == n
    assert pretext.minimum_distance(found) <= pretext.distance_bound(n, count)


def test_each_greedy_choice_is_the_farthest():
    chosen = [tuple(row) for row in pretext.permutation_set(5, 12, seed=3).tolist()]

    def distance(p, q):
        return sum(a != b for a, b in zip(p, q, strict=True))

    for k in range(1, 12):
        least = {p: min(distance(p, q) for q in chosen[:k]) for p in itertools.permutations(range(5))}
        best = max(least.values())
        assert least[chosen[k]] == best
        mean = {p: sum(distance(p, q) for q in chosen[:k]) for p, d in least.items() if d == best}
        assert mean[chosen[k]] == max(mean.values())


def test_the_bound_by_exhaustion():
    """Largest minimum distance of any set of `count` orders of 4 tiles, by trying out all sets that hold 0123."""
    everyone = list(itertools.permutations(range(4)))
    for count in (2, 3, 4, 5):
        best = max(
            min(sum(a != b for a, b in zip(p, q, strict=True)) for p, q in itertools.combinations(s, 2))
            for rest in itertools.combinations(everyone[1:], count - 1)
            for s in [(everyone[0], *rest)]
        )
        assert best == pretext.distance_bound(4, count)
    assert pretext.distance_bound(4, 12) == 3  # the even permutations
    assert pretext.distance_bound(4, 13) == 2
    pairs = list(itertools.combinations(range(4), 2))
    even = torch.tensor([p for p in everyone if sum(p[i] > p[j] for i, j in pairs) % 2 == 0])
    assert len(even) == 12 and pretext.minimum_distance(even) == 3
    assert pretext.distance_bound(9, 72) == 8 and pretext.distance_bound(9, 73) == 7


def test_nine_tiles_far_beyond_chance():
    greedy = pretext.permutation_set(9, 30)
    random = torch.stack([torch.randperm(9, generator=seeded(i)) for i in range(30)])
    assert pretext.minimum_distance(greedy) >= 7 > pretext.minimum_distance(random) + 1
    assert pretext.distance_bound(9, 30) == 8  # the greedy choice comes close, it need not get there


@pytest.mark.parametrize("n", [2, 4, 9])
def test_every_permutation_is_applied_and_inverted(n):
    orders = pretext.permutation_set(n, min(24, math.factorial(n)))
    cut = torch.randn(len(orders), n, 3, 2, 2, generator=seeded())
    shuffled = pretext.shuffle(cut, orders)
    for i, order in enumerate(orders.tolist()):
        for place, tile in enumerate(order):
            assert torch.equal(shuffled[i, place], cut[i, tile])
    assert torch.equal(pretext.shuffle(shuffled, pretext.invert(orders)), cut)
    assert torch.equal(pretext.invert(pretext.invert(orders)), orders)


@pytest.mark.parametrize("n, count", [(4, 25), (4, 0), (1, 1), (10, 5)])
def test_impossible_permutation_sets_are_refused(n, count):
    with pytest.raises(InputError):
        pretext.permutation_set(n, count)
    with pytest.raises(InputError):
        pretext.shuffle(torch.zeros(2, 4, 3, 2, 2), torch.zeros(2, 3, dtype=torch.long))


def test_neighbours_are_the_eight_places_around_the_centre():
    assert sorted([*pretext.NEIGHBOURS, pretext.CENTRE]) == list(range(9))


# ---- colour --------------------------------------------------------------------------------------


def test_the_lens_moves_red_out_and_blue_in():
    x = torch.zeros(1, 3, 65, 65, dtype=torch.uint8)
    x[:, :, 31:34, 51:54] = 255  # a white dot to the right of the centre, at distance 20
    out = pretext.chromatic_aberration(x, 0.1).double()[0]
    place = torch.arange(65.0).double()
    centres = [(channel.sum(dim=0) * place).sum() / channel.sum() for channel in out]
    assert [round(c.item()) for c in centres] == [54, 52, 50]
    rows = [(channel.sum(dim=1) * place).sum() / channel.sum() for channel in out]
    assert all(abs(r - 32) < 0.05 for r in rows)
    assert torch.equal(pretext.chromatic_aberration(x, 0.0), x)


def test_the_lens_refuses_floats():
    with pytest.raises(InputError, match="uint8"):
        pretext.chromatic_aberration(torch.zeros(1, 3, 8, 8), 0.1)


def test_dropped_colours_keep_one_channel_per_tile():
    cut = torch.randn(40, 3, 3, 16, 16, generator=seeded(), dtype=torch.float64) * 2
    out = pretext.drop_colours(cut, seeded())
    kept = (out == cut).flatten(3).all(dim=3)
    assert (kept.sum(dim=2) == 1).all()
    assert set(kept.int().argmax(dim=2).flatten().tolist()) == {0, 1, 2}
    noise = out[~kept].std(dim=(1, 2)).mean()
    assert noise.item() == pytest.approx(0.02, rel=0.1)
    assert torch.equal(out, pretext.drop_colours(cut, seeded()))


def test_projection_removes_green_magenta_alone():
    cut = torch.randn(2, 4, 3, 5, 5, generator=seeded(), dtype=torch.float64)
    out = pretext.project_colours(cut)
    axis = torch.tensor([-1.0, 2.0, -1.0], dtype=torch.float64)
    assert torch.einsum("c,ntchw->nthw", axis, out).abs().max() < 1e-12
    assert torch.allclose(pretext.project_colours(out), out)
    gray = torch.ones(1, 1, 3, 2, 2, dtype=torch.float64)
    assert torch.allclose(pretext.project_colours(gray), gray)
    red_blue = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64).view(1, 1, 3, 1, 1)
    assert torch.allclose(pretext.project_colours(red_blue), red_blue)


# ---- seeds ---------------------------------------------------------------------------------------


def test_seed_patches_are_cut_where_something_is_to_be_seen():
    x = torch.full((200, 3, 24, 24), 90, dtype=torch.uint8)
    x[:, :, 16:20, 16:20] = torch.randint(0, 255, (200, 3, 4, 4), generator=seeded(), dtype=torch.uint8)
    patches = pretext.seed_patches(x, 8, seeded())
    assert patches.shape == (200, 3, 8, 8) and patches.dtype == torch.uint8
    assert (patches != 90).flatten(1).any(dim=1).all()
    for i in (0, 7, 199):
        assert any(
            torch.equal(patches[i], x[i, :, a : a + 8, b : b + 8]) for a in range(17) for b in range(17)
        )


def test_seed_places_follow_the_squared_gradient():
    """Two edges, one three times as high: it is nine times as likely."""
    x = torch.zeros(4000, 3, 8, 20, dtype=torch.uint8)
    x[..., 5:] = 30
    x[..., 15:] = 120
    patches = pretext.seed_patches(x, 4, seeded())
    strong = (patches.flatten(1).amax(dim=1) == 120).float().mean()
    assert strong.item() == pytest.approx(0.9, abs=0.02)
