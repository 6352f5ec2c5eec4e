"""What do features know at a place?  A linear read-out of feature maps, and overlap as its score."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d, cross_entropy, interpolate, pad

from ssl_lessons.errors import InputError
from ssl_lessons.evaluation.checks import checked_features

BOUNDARY_TOLERANCE = 0.008  # of the diagonal, as DAVIS has it
DENSE_PENALTIES = (1e-5, 1e-3, 1e-1)  # of the summed squares of the weights, beside the mean cross-entropy of a pixel


class DenseResult(NamedTuple):
    """Test scores of a dense probe: mean intersection over union, the same per class [C] (NaN for a class that neither
    occurs nor is predicted), share of right pixels, the penalty that the validation chose, and the predicted test masks
    [N, H, W].
    """

    mean_iou: float
    iou: Tensor
    accuracy: float
    penalty: float
    predicted: Tensor


def intersection_over_union(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Per class, the pixels that prediction and truth share over those that either has: float64 [classes].

    predicted, truth: whole numbers in 0..classes-1 of one shape; all pictures are counted together, as is usual for
    segmentation (Everingham et al. 2015, section 4.2).  NaN for a class that occurs in neither.
    Raises InputError for other shapes, and values that are no classes.
    """
    if predicted.shape != truth.shape or not truth.numel():
        raise InputError(f"prediction and truth need one shape, not {[*predicted.shape]} and {[*truth.shape]}")
    for values in (predicted, truth):
        if values.is_floating_point() or int(values.min()) < 0 or int(values.max()) >= classes:
            raise InputError(f"prediction and truth must hold whole numbers from 0 to {classes - 1}")
    pairs = truth.flatten().long() * classes + predicted.flatten().long()
    counts = torch.bincount(pairs, minlength=classes**2).view(classes, classes).double()
    shared = counts.diagonal()
    return shared / (counts.sum(dim=0) + counts.sum(dim=1) - shared)


def region_similarity(predicted: Tensor, truth: Tensor) -> Tensor:
    """J of the DAVIS benchmark (Perazzi et al. 2016): intersection over union of each mask by itself, float64 [N].

    predicted, truth: bool [N, H, W].  1 where both are empty.  Where `intersection_over_union` counts the pixels of all
    pictures together, here each picture has one vote.  Raises InputError for other masks.
    """
    _check_pairs(predicted, truth)
    shared, either = (m.sum(dim=(1, 2)).double() for m in (predicted & truth, predicted | truth))
    return torch.where(either > 0, shared / either.clamp(min=1), 1.0)


def contour_accuracy(predicted: Tensor, truth: Tensor, tolerance: float = BOUNDARY_TOLERANCE) -> Tensor:
    """F of the DAVIS benchmark (Perazzi et al. 2016): do the contours of two masks lie on each other?  float64 [N].

    P is the share of the predicted contour that has the true one near, R the share of the true one that has the
    predicted one near; F = 2 P R / (P + R).  A pixel is on the contour if it differs from its neighbour to the right,
    below, or diagonally below to the right (the edge of the picture is none).  "Near" is within ceil(tolerance *
    diagonal) pixels, by Euclidean distance, as in the benchmark's own code, which thus does without the matching one
    to one of the paper.  At DAVIS' 854 x 480 this is 8 pixels.  Pictures of 24 or 32 pixels get 1, the least that
    forgives anything: three to four times as much of the diagonal, so F is milder here.

    predicted, truth: bool [N, H, W].  1 where neither has a contour, 0 where one alone has.
    Raises InputError for other masks, and for a tolerance that is not between 0 and 1.
    """
    _check_pairs(predicted, truth)
    if not 0 < tolerance < 1:
        raise InputError(f"the tolerance is a share of the diagonal between 0 and 1, not {tolerance!r}")
    radius = math.ceil(tolerance * math.hypot(*truth.shape[1:]))
    lines = [_contour(mask) for mask in (predicted, truth)]
    precision, recall = (_share_of(line, _widened(other, radius)) for line, other in (lines, lines[::-1]))
    return 2 * precision * recall / (precision + recall).clamp(min=1e-12)


def _contour(mask: Tensor) -> Tensor:
    """Pixels [N, H, W] that differ from the neighbour to the right, below, or diagonally between them."""
    grown = pad(mask.float()[:, None], (0, 1, 0, 1), mode="replicate")[:, 0].bool()
    return (mask ^ grown[:, :-1, 1:]) | (mask ^ grown[:, 1:, :-1]) | (mask ^ grown[:, 1:, 1:])


def _widened(line: Tensor, radius: int) -> Tensor:
    """Pixels [N, H, W] at most `radius` away from one of `line`."""
    away = torch.arange(-radius, radius + 1, device=line.device)
    disc = (away[:, None] ** 2 + away**2 <= radius**2).float()
    return conv2d(line.float()[:, None], disc[None, None], padding=radius)[:, 0] > 0.5


def _share_of(line: Tensor, near: Tensor) -> Tensor:
    """The share [N] of the pixels of `line` that are in `near`; 1 where it has none."""
    length, met = (m.sum(dim=(1, 2)).double() for m in (line, line & near))
    return torch.where(length > 0, met / length.clamp(min=1), 1.0)


def _check_pairs(predicted: Tensor, truth: Tensor) -> None:
    if predicted.shape != truth.shape or truth.ndim != 3 or not truth.numel():
        raise InputError(
            f"both masks must be [N, H, W] of one shape, not {[*predicted.shape]} and {[*truth.shape]}"
        )
    if predicted.dtype != torch.bool or truth.dtype != torch.bool:
        raise InputError(f"masks must be bool, not {predicted.dtype} and {truth.dtype}")


def propagate(source: Tensor, target: Tensor, labels: Tensor, k: int = 5, temperature: float = 0.1) -> Tensor:
    """Carry labels from one frame to another along the similarity of features: nothing is trained.

    Every place of the target takes the mean of the labels of the k most similar places of the source, weighted by
    softmax(cosine / temperature) over them (label propagation as Jabri et al. 2020 evaluate, with two frames only).

    source, target: maps [N, D, h, w]; labels: [N, C, h, w], such as the share of each place that the object covers.
    Returns [N, C, h, w].  Raises InputError for shapes that do not fit, k outside 1..h w, a temperature that is not
    positive.
    """
    if source.ndim != 4 or source.shape != target.shape or labels.ndim != 4:
        raise InputError("source and target must be maps [N, D, h, w] of one shape, labels [N, C, h, w]")
    if labels.shape[0] != len(source) or labels.shape[2:] != source.shape[2:]:
        raise InputError(f"labels must be [{len(source)}, C, {source.shape[2]}, {source.shape[3]}]")
    if not 1 <= k <= source[0, 0].numel() or not temperature > 0:
        raise InputError(
            f"k must be from 1 to the number of places, temperature above 0, not {k!r}, {temperature!r}"
        )
    a, b = (torch.nn.functional.normalize(x.float().flatten(2), dim=1) for x in (source, target))
    best = torch.einsum("ndq,ndp->nqp", b, a).topk(k, dim=2)  # [N, places of the target, k]
    weights = (best.values / temperature).softmax(dim=2)
    carried = labels.float().flatten(2)  # [N, C, P]
    rows = torch.arange(len(source))[:, None, None]
    taken = carried.mT[rows, best.indices]  # [N, places, k, C]
    return (weights[..., None] * taken).sum(dim=2).mT.unflatten(2, source.shape[2:])


def dense_probe(
    train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, steps: int = 60, seed: int = 0
) -> DenseResult:
    """Read a class per pixel off frozen feature maps, linearly: logits at every place of the map, enlarged bilinearly
    to the size of the masks (as the linear segmentation of Oquab et al. 2023, DINOv2, section 7.4).

    train_x, test_x: maps [N, D, h, w], standardised per dimension with the training mean and deviation.  train_y,
    test_y: masks of whole numbers, or bool, [N, H, W].  The problem is convex; `steps` iterations of L-BFGS start from
    zero.  The penalty (of DENSE_PENALTIES) is the one with the best mean IoU on a fifth of the training pictures, held
    out; `seed` chooses them.
    Raises InputError for maps and masks that do not fit together, fewer than five training pictures, a single class.
    """
    (train_x, train_y), (test_x, test_y) = (_checked(*s) for s in ((train_x, train_y), (test_x, test_y)))
    if train_x.shape[1] != test_x.shape[1]:
        raise InputError(
            f"training and test maps must come from one encoder: they have {train_x.shape[1]} and {test_x.shape[1]} "
            "dimensions"
        )
    if len(train_x) < 5 or len(train_y.unique()) < 2:
        raise InputError("a dense probe needs at least five training pictures and two classes in their masks")
    mean = train_x.mean(dim=(0, 2, 3), keepdim=True)
    deviation = train_x.std(dim=(0, 2, 3), keepdim=True) + 1e-6
    train_x, test_x = ((x - mean) / deviation for x in (train_x, test_x))
    classes = int(max(train_y.max(), test_y.max())) + 1
    shuffled = torch.randperm(len(train_x), generator=torch.Generator().manual_seed(seed))
    held, rows = shuffled[: len(shuffled) // 5], shuffled[len(shuffled) // 5 :]

    def overlap(readout, x, y) -> Tensor:
        return intersection_over_union(_logits(readout, x, y.shape[1:]).argmax(dim=1), y, classes)

    found = {
        p: float(overlap(_fit(train_x[rows], train_y[rows], classes, p, steps), train_x[held], train_y[held]).nanmean())
        for p in DENSE_PENALTIES
    }
    penalty = max(found, key=found.get)
    readout = _fit(train_x, train_y, classes, penalty, steps)
    predicted = _logits(readout, test_x, test_y.shape[1:]).argmax(dim=1)
    iou = intersection_over_union(predicted, test_y, classes)
    accuracy = float((predicted == test_y).double().mean())
    return DenseResult(float(iou.nanmean()), iou, accuracy, penalty, predicted)


def _logits(readout: tuple[Tensor, Tensor], x: Tensor, size) -> Tensor:
    """Maps x [N, D, h, w] -> logits [N, C, H, W].  Reading first and enlarging then is the same as the reverse."""
    weight, bias = readout
    low = torch.einsum("cd,ndhw->nchw", weight, x) + bias[:, None, None]
    return interpolate(low, tuple(size), mode="bilinear", align_corners=False)


def _fit(x: Tensor, y: Tensor, classes: int, penalty: float, steps: int) -> tuple[Tensor, Tensor]:
    weight = torch.zeros(classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = cross_entropy(_logits((weight, bias), x, y.shape[1:]), y) + penalty * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weight.detach(), bias.detach()


def _checked(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Maps [N, D, h, w] as float32 and masks [N, H, W] as int64, on the CPU."""
    if x.ndim != 4 or y.ndim != 3 or len(x) != len(y):
        raise InputError(
            f"a dense probe reads maps [N, D, h, w] and masks [N, H, W], not {[*x.shape]} and {[*y.shape]}"
        )
    if y.is_floating_point() or int(y.min()) < 0:
        raise InputError("masks must hold a class 0, 1, ... for every pixel, or be bool")
    return checked_features(x.flatten(1), "maps").view(x.shape).float().cpu(), y.long().cpu()
