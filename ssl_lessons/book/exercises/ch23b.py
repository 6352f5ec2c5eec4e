"""Chapter 23b: overlap by lot, a test for matchers, places of a view turned upside down, labels carried nearby."""

from __future__ import annotations

import torch
from torch import Tensor

from .core import Check, Exercise, judge


def check_overlap_by_lot(fn) -> Check:
    """fn(p, q) -> the expected overlap when a share q of pixels is painted by lot and a share p is object."""
    return OVERLAP_BY_LOT.check(fn)


def check_is_broken(fn) -> Check:
    """fn(matcher) -> True if a matcher, (a [N, P, D], b [N, Q, D]) -> long [N, P], breaks what a match must be."""
    return judge(
        fn, MATCHERS, "breaks a rule", "use more pictures than one, P other than Q, and rows of other lengths"
    )


def check_places(fn) -> Check:
    """fn(box [4], flip_x, flip_y, side) -> [side, side, 2]: (y, x) in pixels of the middle of every place."""
    return PLACES.check(fn)


def check_carry_nearby(fn) -> Check:
    """fn(similarity [P, P], labels [P], side, radius) -> [P]: the label of the most similar place within the radius."""
    return CARRY_NEARBY.check(fn)


def _lot(p: float, q: float) -> float:
    return p * q / (p + q - p * q)


OVERLAP_BY_LOT = Exercise(
    sample=lambda g: [(0.17, 0.17), (0.17, 1.0), (0.3, 0.5), (0.05, 0.8)],
    reference=_lot,
    mistakes=(
        ("this is the intersection alone: divide it by the union", lambda p, q: p * q),
        ("the union counts what both have once: subtract p q", lambda p, q: p * q / (p + q)),
        (
            "this is Dice, 2 shared / (p + q): the overlap divides by the union",
            lambda p, q: 2 * p * q / (p + q),
        ),
        ("this is the precision, the share of the painted that is object", lambda p, q: p),
        ("this is the recall, the share of the object that is painted", lambda p, q: q),
        ("the object and the ground are swapped", lambda p, q: _lot(1 - p, 1 - q) if q < 1 else 0.0),
    ),
    praise="it grows with q: by lot, painting everything is best, and gives p",
)


def _right(a: Tensor, b: Tensor) -> Tensor:
    a, b = torch.nn.functional.normalize(a, dim=2), torch.nn.functional.normalize(b, dim=2)
    return (a @ b.mT).argmax(dim=2)


def _slow(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack(
        [torch.cosine_similarity(x[:, None], y[None], dim=2).argmax(dim=1) for x, y in zip(a, b, strict=True)]
    )


def _wrong_axis(a: Tensor, b: Tensor) -> Tensor:
    """For every place of b, the place of a; as many answers as a has places."""
    found = _right(b, a)
    return found.repeat(1, -(-a.shape[1] // b.shape[1]))[:, : a.shape[1]]


def _across(a: Tensor, b: Tensor) -> Tensor:
    """The best place of the whole batch, as a place of its own picture."""
    a, b = (torch.nn.functional.normalize(x, dim=2) for x in (a, b))
    return (a @ b.flatten(0, 1).T).argmax(dim=2) % b.shape[1]


def _neighbour(a: Tensor, b: Tensor) -> Tensor:
    """Matched with the next picture of the batch."""
    return _right(a, b.roll(1, dims=0))


def _products(a: Tensor, b: Tensor) -> Tensor:
    """Long vectors win."""
    return (a @ b.mT).argmax(dim=2)


def _farthest(a: Tensor, b: Tensor) -> Tensor:
    return _right(a, -b)


MATCHERS = (
    ("the matcher of the text", _right, False),
    ("a matcher by the farthest", _farthest, True),
    ("a matcher along the wrong axis", _wrong_axis, True),
    ("a matcher across the batch", _across, True),
    ("a matcher that is off by a picture", _neighbour, True),
    ("a matcher by inner products", _products, True),
    ("a slow but right matcher", _slow, False),
)


def _places(box: Tensor, flip_x: bool, flip_y: bool, side: int) -> Tensor:
    top, left, height, width = box
    steps = (torch.arange(side, dtype=box.dtype) + 0.5) / side
    y = top + height * (1 - steps if flip_y else steps)
    x = left + width * (1 - steps if flip_x else steps)
    return torch.stack([y[:, None].expand(-1, side), x[None].expand(side, -1)], dim=2)


def _edges(box: Tensor, flip_x: bool, flip_y: bool, side: int) -> Tensor:
    """Corners of the places instead of their middles."""
    shift = torch.stack([box[2], box[3]]) / (2 * side)
    return _places(box, flip_x, flip_y, side) - shift


def _of_the_picture(box: Tensor, flip_x: bool, flip_y: bool, side: int) -> Tensor:
    """Mirrored in the picture (32 px) instead of in the view."""
    found = _places(box, False, False, side)
    size = torch.tensor([32.0, 32.0], dtype=box.dtype)
    return torch.where(torch.tensor([flip_y, flip_x]), size - found, found)


PLACES = Exercise(
    sample=lambda g: [
        (torch.tensor([4.0, 8.0, 16.0, 12.0]).double(), flip_x, flip_y, side)
        for flip_x, flip_y, side in ((False, False, 2), (True, False, 3), (False, True, 4), (True, True, 3))
    ],
    reference=_places,
    mistakes=(
        ("the columns of a mirrored view are not turned round", lambda b, x, y, s: _places(b, False, y, s)),
        ("the rows of a view turned upside down are not turned round", lambda b, x, y, s: _places(b, x, False, s)),
        ("nothing is turned round", lambda b, x, y, s: _places(b, False, False, s)),
        ("the two flips are swapped: flip_x turns the columns round", lambda b, x, y, s: _places(b, y, x, s)),
        ("the last dimension is (y, x), not (x, y)", lambda b, x, y, s: _places(b, x, y, s).flip(2)),
        (
            "rows and columns are swapped: the first dimension is the row",
            lambda b, x, y, s: _places(b, x, y, s).transpose(0, 1),
        ),
        ("these are the upper left corners of the places, not their middles", _edges),
        ("the view is mirrored, not the picture: the box stays where it is", _of_the_picture),
    ),
    praise="a flip permutes places; the picture does not move",
)  # fmt: skip


def _nearby(side: int, radius: int) -> Tensor:
    row, column = torch.arange(side**2) // side, torch.arange(side**2) % side
    rows, columns = (row[:, None] - row).abs(), (column[:, None] - column).abs()
    return torch.maximum(rows, columns) <= radius


def _carry(similarity: Tensor, labels: Tensor, side: int, radius: int) -> Tensor:
    return labels[similarity.masked_fill(~_nearby(side, radius), -torch.inf).argmax(dim=1)]


def _by_rows(similarity: Tensor, labels: Tensor, side: int, radius: int) -> Tensor:
    """Distance in the flat index: the end of a row is next to the start of the following."""
    index = torch.arange(side**2)
    near = (index[:, None] - index).abs() <= radius
    return labels[similarity.masked_fill(~near, -torch.inf).argmax(dim=1)]


CARRY_NEARBY = Exercise(
    sample=lambda g: [
        (torch.randn(s * s, s * s, generator=g).double() - 2, torch.rand(s * s, generator=g).double(), s, r)
        for s, r in ((4, 1), (5, 1), (5, 2))
    ],
    reference=_carry,
    mistakes=(
        ("the most similar place of all: look within the radius only", lambda s, v, n, r: v[s.argmax(dim=1)]),
        (
            "the wrong axis: row q of the similarities belongs to place q of the new frame",
            lambda s, v, n, r: _carry(s.T, v, n, r),
        ),
        ("neighbours in the flat index: the end of a row is not next to the start of the next", _by_rows),
        (
            "this gives the place, not its label",
            lambda s, v, n, r: s.masked_fill(~_nearby(n, r), -torch.inf).argmax(dim=1).double(),
        ),
        (
            "places beyond the radius count as 0, which beats a negative similarity: use minus infinity",
            lambda s, v, n, r: v[(s * _nearby(n, r)).argmax(dim=1)],
        ),
        ("the old labels, unmoved", lambda s, v, n, r: v),
    ),
    praise="trackers do the same: nothing jumps across the picture between two frames",
)
