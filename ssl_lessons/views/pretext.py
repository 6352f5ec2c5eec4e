"""Labels that an image gives away for nothing: turned copies, tiles and their order, places, surrogate classes.

Every function works on a batch [N, C, S, S], on any device; random numbers come from a CPU generator (default: torch's
own), so one seed gives the same tiles everywhere.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ssl_lessons.errors import InputError

# The eight places around the centre of a 3 x 3 grid, in reading order: entry k of the answer is tile NEIGHBOURS[k].
CENTRE, NEIGHBOURS = 4, (0, 1, 2, 3, 5, 6, 7, 8)


# ---- which way up --------------------------------------------------------------------------------


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Image i turned counter-clockwise by turns[i] quarters: x [N, C, S, S], turns int64 [N] in 0..3 -> like x.

    Exact (pixels only change places), equal to torch.rot90 on the last two dimensions (Gidaris et al. 2018,
    section 3.2).
    """
    if x.ndim != 4 or x.shape[2] != x.shape[3]:
        raise InputError(f"quarter turns need square images [N, C, S, S], not {list(x.shape)}")
    if turns.shape != x.shape[:1] or turns.is_floating_point():
        raise InputError(f"turns must be {len(x)} whole numbers, one per image")
    out = torch.empty_like(x)
    for k in range(4):
        rows = (turns % 4 == k).nonzero()[:, 0].to(x.device)
        out[rows] = torch.rot90(x[rows], k, dims=(2, 3))
    return out


def four_rotations(x: Tensor) -> tuple[Tensor, Tensor]:
    """All four turns of every image [4 N, C, S, S] and their labels [4 N]: N upright ones, N turned once, ..."""
    labels = torch.arange(4, device=x.device).repeat_interleave(len(x))
    return rotate(x.repeat(4, 1, 1, 1), labels), labels


# ---- tiles ---------------------------------------------------------------------------------------


def windows(x: Tensor, top: Tensor, left: Tensor, size: int) -> Tensor:
    """Squares cut out of images: x [N, C, H, W], corners int64 [N, T] -> [N, T, C, size, size].

    Raises InputError for a window that leaves the image.
    """
    n, c, height, width = x.shape
    if size < 1 or min(int(top.min()), int(left.min())) < 0:
        raise InputError("windows need a size of at least 1 and corners inside the image")
    if int(top.max()) + size > height or int(left.max()) + size > width:
        raise InputError(f"a window of {size} px leaves the {height} x {width} image")
    line = torch.arange(size, device=x.device)
    rows = (top.to(x.device)[:, :, None] + line)[:, :, :, None]  # [N, T, size, 1]
    columns = (left.to(x.device)[:, :, None] + line)[:, :, None, :]
    pixels = (rows * width + columns).flatten(1)  # [N, T size^2]
    cut = x.flatten(2).gather(2, pixels[:, None].expand(-1, c, -1))
    return cut.view(n, c, top.shape[1], size, size).transpose(1, 2)


def tiles(
    x: Tensor, grid: int, size: int | None = None, jitter: bool = False, generator: Generator | None = None
) -> Tensor:
    """One square of `size` pixels from each cell of a grid x grid lattice: [N, grid^2, C, size, size], reading order.

    Cells have S // grid pixels a side.  A tile smaller than its cell leaves a gap to the next one; it sits in the
    middle of its cell, or with `jitter` anywhere inside it, drawn per tile (Doersch et al. 2015, section 3; Noroozi &
    Favaro 2016, section 4).  Default size: the whole cell.
    """
    if x.ndim != 4 or x.shape[2] != x.shape[3] or not 1 <= grid <= x.shape[2]:
        raise InputError(f"a {grid} x {grid} grid needs square images [N, C, S, S], not {list(x.shape)}")
    cell = x.shape[2] // grid
    size = cell if size is None else size
    if not 1 <= size <= cell:
        raise InputError(f"tiles of {size} px do not fit cells of {cell} px; use at most {cell}")
    room = cell - size
    shape = (2, len(x), grid * grid)
    moved = torch.randint(room + 1, shape, generator=generator) if jitter else torch.full(shape, room // 2)
    place = torch.arange(grid * grid)
    return windows(x, place // grid * cell + moved[0], place % grid * cell + moved[1], size)


def assemble(cut: Tensor) -> Tensor:
    """The picture behind tiles [N, grid^2, C, s, s] laid side by side: [N, C, grid s, grid s]; undoes `tiles`."""
    grid = math.isqrt(cut.shape[1])
    if cut.ndim != 5 or grid * grid != cut.shape[1]:
        raise InputError(f"tiles must be [N, grid^2, C, s, s], not {list(cut.shape)}")
    n, _, c, s, _ = cut.shape
    rows = cut.view(n, grid, grid, c, s, s).permute(0, 3, 1, 4, 2, 5)
    return rows.reshape(n, c, grid * s, grid * s)


def normalize_tiles(cut: Tensor, eps: float = 1e-5) -> Tensor:
    """Each tile with mean 0 and deviation 1 per channel: brightness and contrast no longer tell neighbours apart.

    (Noroozi & Favaro 2016, section 4.2.)  cut: [N, T, C, s, s].
    """
    mean, var = cut.mean(dim=(3, 4), keepdim=True), cut.var(dim=(3, 4), correction=0, keepdim=True)
    return (cut - mean) / (var + eps).sqrt()


# ---- order ---------------------------------------------------------------------------------------


def hamming(a: Tensor, b: Tensor) -> Tensor:
    """In how many places rows differ: [A, T] and [B, T] -> int64 [A, B]."""
    return (a[:, None] != b[None]).sum(dim=2)


@lru_cache
def _all_orders(n_tiles: int) -> Tensor:
    flat = itertools.chain.from_iterable(itertools.permutations(range(n_tiles)))
    return torch.frombuffer(bytearray(flat), dtype=torch.int8).view(-1, n_tiles)


def permutation_set(n_tiles: int, count: int, seed: int = 0) -> Tensor:
    """`count` orders of n_tiles tiles that are far from each other: int64 [count, n_tiles], all different.

    Greedy (Noroozi & Favaro 2016, algorithm 1): the first is random, each next one is farthest from those chosen.
    Farthest by its *smallest* Hamming distance, ties broken by the mean (the paper's criterion), then at random.
    Up to n_tiles orders all differ in every place.  Raises InputError for more orders than exist, or more than 9 tiles.
    """
    if not 2 <= n_tiles <= 9 or not 1 <= count <= math.factorial(n_tiles):
        raise InputError(
            f"{n_tiles} tiles have {math.factorial(max(n_tiles, 0))} orders: ask for 1 up to that many, "
            "and for 2 to 9 tiles"
        )
    everyone = _all_orders(n_tiles)
    tie = torch.rand(len(everyone), generator=Generator().manual_seed(seed))
    least = torch.full((len(everyone),), n_tiles, dtype=torch.float32)
    total = torch.zeros(len(everyone))
    chosen = [int(tie.argmax())]
    while len(chosen) < count:
        distance = (everyone != everyone[chosen[-1]]).sum(dim=1).float()
        least, total = torch.minimum(least, distance), total + distance
        # least and total are whole numbers, so that the three criteria cannot mix
        score = least.double() * (count * n_tiles + 1) + total + 0.5 * tie
        chosen.append(int(score.argmax()))
    return everyone[chosen].long()


def minimum_distance(permutations: Tensor) -> int:
    """The smallest Hamming distance between two rows of int64 [P, T] (P >= 2)."""
    distance = hamming(permutations, permutations)
    return int(distance[~torch.eye(len(permutations), dtype=torch.bool)].min())


def distance_bound(n_tiles: int, count: int) -> int:
    """The largest minimum distance d that `count` orders can have: count <= n! / (d - 1)!.

    Why: two orders that agree in their first n - d + 1 places differ in at most d - 1; so all these beginnings must
    be different, and there are n! / (d - 1)! of them (Deza & Vanstone 1978).
    """
    return max(d for d in range(1, n_tiles + 1) if count <= math.factorial(n_tiles) // math.factorial(d - 1))


def shuffle(cut: Tensor, permutations: Tensor) -> Tensor:
    """Tiles in another order: place p of image i gets tile permutations[i, p].  cut [N, T, ...], permutations [N, T].

    `shuffle(shuffle(t, p), invert(p))` is t again.
    """
    if permutations.shape != cut.shape[:2]:
        raise InputError(
            f"{list(cut.shape[:2])} tiles need an order for each image, not {list(permutations.shape)}"
        )
    return cut[torch.arange(len(cut), device=cut.device)[:, None], permutations.to(cut.device)]


def invert(permutations: Tensor) -> Tensor:
    """The orders that undo `permutations` [N, T]."""
    return permutations.argsort(dim=1)


# ---- colour as a give-away -----------------------------------------------------------------------


def chromatic_aberration(images: Tensor, amount: float) -> Tensor:
    """A simple lens: red magnified about the centre by 1 + amount, blue by 1 - amount, green left as it is.

    images: uint8 [N, 3, S, S] -> same.  The colours part by amount * r pixels at distance r from the centre, always
    outwards, so that every patch shows in which direction the centre lies (Doersch et al. 2015, section 3.1).
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or abs(amount) >= 1:
        raise InputError("the lens takes uint8 images [N, 3, S, S] and an amount between -1 and 1")
    size = images.shape[-1]
    line = (torch.arange(size) + 0.5) / size * 2 - 1
    channels = []
    for channel, zoom in zip(images.float().split(1, dim=1), (1 + amount, 1.0, 1 - amount), strict=True):
        y, x = torch.meshgrid(line / zoom, line / zoom, indexing="ij")
        field = torch.stack([x, y], dim=-1).expand(len(images), -1, -1, -1)
        channels.append(F.grid_sample(channel, field, padding_mode="border", align_corners=False))
    return torch.cat(channels, dim=1).round().clamp(0, 255).to(torch.uint8)


def drop_colours(cut: Tensor, generator: Generator | None = None) -> Tensor:
    """Two of three channels replaced by faint noise, the third (drawn per tile) kept: [N, T, 3, s, s] -> same.

    The noise has 1/100 of the kept channel's deviation (Doersch et al. 2015, section 3.1, "color dropping").
    """
    n, t, c = cut.shape[:3]
    kept = torch.randint(c, (n, t), generator=generator).to(cut.device)
    kept = F.one_hot(kept, c).to(cut.dtype)[..., None, None]  # [N, T, 3, 1, 1]
    spread = (cut * kept).sum(dim=2, keepdim=True).std(dim=(3, 4), keepdim=True)
    noise = torch.randn(cut.shape, generator=generator).to(cut) * spread / 100
    return kept * cut + (1 - kept) * noise


def project_colours(cut: Tensor) -> Tensor:
    """Without the green-magenta axis a = (-1, 2, -1): every pixel times B = I - a^T a / (a a^T).

    (Doersch et al. 2015, section 3.1, "projection".)  cut: [..., 3, s, s].
    """
    a = torch.tensor([-1.0, 2.0, -1.0], dtype=cut.dtype, device=cut.device)
    B = torch.eye(3, dtype=cut.dtype, device=cut.device) - torch.outer(a, a) / a.dot(a)
    return torch.einsum("ij,...jhw->...ihw", B, cut)


# ---- surrogate classes ---------------------------------------------------------------------------


def seed_patches(images: Tensor, size: int, generator: Generator | None = None) -> Tensor:
    """One patch per image, where something is to be seen: uint8 [N, 3, S, S] -> uint8 [N, 3, size, size].

    A place is drawn with probability proportional to the mean squared gradient inside the patch (Dosovitskiy et al.
    2014, section 2.1); an image without any gradient gives any place.
    """
    if images.ndim != 4 or not 2 <= size <= images.shape[2]:
        raise InputError(
            f"patches of 2 to {images.shape[-1]} px can be cut from {list(images.shape)}, not of {size}"
        )
    gray = images.float().mean(dim=1, keepdim=True)
    steps = (gray[:, :, :-1, 1:] - gray[:, :, :-1, :-1]).square() + (
        gray[:, :, 1:, :-1] - gray[:, :, :-1, :-1]
    ).square()
    energy = F.avg_pool2d(steps, size - 1, stride=1)[:, 0]  # one value per place of the patch
    weights = energy.flatten(1) + 1e-6
    place = torch.multinomial(weights.cpu(), 1, generator=generator)
    side = energy.shape[2]
    return windows(images, place // side, place % side, size)[:, 0]
