"""How good is a representation?  Frozen features, kNN, linear probe, label efficiency, factor probe."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from torch.nn.functional import normalize as l2_normalize

from ssl_lessons.data.image_set import Factor, label_subset
from ssl_lessons.errors import InputError
from ssl_lessons.evaluation.checks import checked_features, checked_labels, checked_split, same_width
from ssl_lessons.models.devices import pick_device
from ssl_lessons.progress import patient
from ssl_lessons.views import normalize

PROBE_CS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # inverse strength of the L2 penalty, on standardised features
RIDGE_ALPHAS = np.logspace(-1, 5, 7)


@torch.no_grad()
def extract_features(
    encoder: nn.Module, images: Tensor, batch_size: int = 512, device: torch.device | str | None = None,
    maps: bool = False, progress: bool = False,
) -> Tensor:  # fmt: skip
    """Frozen features of uint8 images [N, 3, H, W]: float32 [N, dim] on the CPU; with maps, [N, dim, h, w], the
    encoder's last features before it averages them over the picture (its `maps`).

    images: a tensor on any device, or data.StoredPictures.  device: where to compute; by default where the encoder is,
    or on the GPU when the encoder is on the CPU and there is one.  progress: a bar on stderr when it takes long.
    The encoder runs in eval() without gradients and is put back into the mode it was in and to where it was.
    Raises InputError for no images, others than `views.normalize` takes, and a device that is not there.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, not {batch_size}")
    if not len(images):
        raise InputError("there are no images to extract features from; give at least one")
    home = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    device = pick_device(device) if device is not None or home.type == "cpu" else home
    modes = [(module, module.training) for module in encoder.modules()]
    try:
        encoder.eval().to(device)
        read, count = encoder.maps if maps else encoder, math.ceil(len(images) / batch_size)
        batches = patient(images.split(batch_size), "features", progress, total=count)
        return torch.cat([read(normalize(b.to(device))).float().cpu() for b in batches])
    finally:
        encoder.to(home)
        for module, training in modes:
            module.training = training


def pixels(images: Tensor) -> Tensor:
    """The baseline that knows nothing: raw pixels in [0, 1], [N, 3 H W], of a tensor or data.StoredPictures."""
    return images[:].flatten(1).float() / 255


def edges(images: Tensor, side: int = 16) -> Tensor:
    """The baseline that looks at outlines: how fast the brightness changes, averaged on a grid, [N, side^2].

    images uint8 [N, C, H, W], a tensor or data.StoredPictures; side: cells per row and column, at most H - 1 and W - 1.
    Raises InputError for a grid finer than the picture.
    """
    x = images[:].float().mean(dim=1, keepdim=True) / 255
    if not 1 <= side < min(x.shape[-2:]):
        raise InputError(f"side must be 1 to {min(x.shape[-2:]) - 1} for such pictures, not {side}")
    across = x[:, :, :-1, 1:] - x[:, :, :-1, :-1]
    down = x[:, :, 1:, :-1] - x[:, :, :-1, :-1]
    return adaptive_avg_pool2d((across**2 + down**2).sqrt(), side).flatten(1)


def purity(clusters: Tensor, labels: Tensor) -> float:
    """Share of the examples whose label is the commonest one of their cluster (Manning et al. 2008, section 16.3).

    clusters, labels [N] of whole numbers from 0.  It grows with the number of clusters: compare at equal number.
    Raises InputError for lengths that differ, no examples, negative or fractional numbers.
    """
    if clusters.shape != labels.shape or clusters.ndim != 1 or not len(labels):
        raise InputError(
            f"purity needs two vectors of one length, not {[*clusters.shape]} and {[*labels.shape]}"
        )
    if any(v.is_floating_point() or v.min() < 0 for v in (clusters, labels)):
        raise InputError(
            "purity needs clusters and labels in whole numbers from 0; leave out pictures without a label"
        )
    width = int(labels.max()) + 1
    counts = torch.bincount(
        clusters.long() * width + labels.long(), minlength=width * (int(clusters.max()) + 1)
    )
    return counts.view(-1, width).max(dim=1).values.sum().item() / len(labels)


def knn_accuracy(
    train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, k: int = 20, temperature: float = 0.07
) -> float:
    """Weighted k-nearest-neighbour accuracy in cosine similarity (Wu et al. 2018, section 3.4).

    Each of the k nearest training features votes for its label with weight exp(similarity / temperature).
    Features [N, D], labels [N] in 0..C-1, on any device.  k is capped at the number of training examples.
    Raises InputError for features or labels that cannot be used: NaN, -1, other lengths, none at all.
    """
    if k < 1 or temperature <= 0:
        raise InputError(f"kNN needs k >= 1 and temperature > 0, got k={k}, temperature={temperature}")
    train_x, train_y, test_x, test_y = checked_split(train_x, train_y, test_x, test_y)
    train_x, test_x = l2_normalize(train_x, dim=1), l2_normalize(test_x, dim=1)
    correct = 0
    for x, y in zip(test_x.split(2048), test_y.split(2048), strict=True):
        similarity, neighbour = (x @ train_x.T).topk(min(k, len(train_x)), dim=1)
        # A common factor changes no vote: the nearest weighs 1, so that not all weights vanish at low temperatures.
        weight = ((similarity - similarity[:, :1]) / temperature).exp()
        votes = weight.new_zeros(len(x), int(train_y.max()) + 1).scatter_add_(1, train_y[neighbour], weight)
        correct += (votes.argmax(1) == y).sum().item()
    return correct / len(test_x)


def precision_at_k(features: Tensor, labels: Tensor, k: int = 10) -> float:
    """Share of the k nearest neighbours (cosine, itself left out) that have the query's label, over all queries.

    features [N, D], labels [N], on any device.  Raises InputError for features or labels that cannot be used, and
    unless 1 <= k < N.
    """
    features = checked_features(features)
    labels = checked_labels(labels, features)
    if not 1 <= k < len(features):
        raise InputError(f"k must be from 1 to {len(features) - 1}, the number of other images, not {k}")
    z = l2_normalize(features, dim=1)
    similarity = (z @ z.T).fill_diagonal_(-2)
    return float((labels[similarity.topk(k, dim=1).indices] == labels[:, None]).float().mean())


class ProbeResult(NamedTuple):
    """Test accuracy of a linear probe and the C its cross-validation chose."""

    accuracy: float
    C: float


def linear_probe(
    train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, seed: int = 0
) -> ProbeResult:
    """L2-regularised logistic regression on frozen features, C chosen inside the training labels.

    Features [N, D] are standardised with the training mean and deviation; C is picked by stratified cross-validation
    (see `fit_probe`); the test split is scored once.
    Raises InputError for fewer than two classes, and for features or labels that cannot be used.
    """
    train_x, train_y, test_x, test_y = checked_split(train_x, train_y, test_x, test_y)
    scaler, span, model, chosen = fit_probe(train_x, train_y, seed)
    test_z = scaler.transform(test_x.cpu().numpy())
    test_z = test_z if span is None else test_z @ span
    return ProbeResult(float(model.score(test_z, test_y.cpu().numpy())), chosen)


def fit_probe(train_x: Tensor, train_y: Tensor, seed: int = 0):
    """What `linear_probe` learns from features [N, D] and labels [N]: (scaler, span, model, C).

    scaler: scikit-learn's StandardScaler of the features.  span: float [D, N] with orthonormal columns that the
    standardised features were multiplied by, or None when D <= N.  model: the LogisticRegression on the result.

    C is the best of PROBE_CS in a stratified cross-validation of five folds, or of as many as the largest class has
    labels.  The label of a class that has a single one is in every training fold: the model can always know all
    classes.  Where every class has a single label nothing can be validated, and C is 0.01.
    Raises InputError for fewer than two classes, and for features or labels that cannot be used.
    """
    # scikit-learn is slow to import: only when a probe is used
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    train_x = checked_features(train_x, "training features")
    y = checked_labels(train_y, train_x, "training labels").cpu().numpy()
    x = train_x.cpu().numpy()
    if len(np.unique(y)) < 2:
        raise InputError("a probe needs labels of at least two classes")
    scaler = StandardScaler().fit(x)
    z, span = scaler.transform(x), None
    if z.shape[1] > len(z):
        # The L2 penalty keeps the solution in the span of the training rows: the same probe in fewer dimensions.
        span, _ = np.linalg.qr(z.T)
        z = z @ span
    model = LogisticRegression(C=PROBE_CS[2], max_iter=300, tol=1e-3)
    # many small fits: threads would only wait for each other
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        folds = folds_of(y, seed)
        if not folds:
            return scaler, span, model.fit(z, y), PROBE_CS[2]
        search = GridSearchCV(model, {"C": PROBE_CS}, cv=folds).fit(z, y)
    return scaler, span, search.best_estimator_, search.best_params_["C"]


def folds_of(y: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to train on and rows to validate on, for every fold of the labels y [N] that `fit_probe` describes; none
    where every class has a single label.
    """
    from sklearn.model_selection import StratifiedKFold

    counts = np.bincount(y)
    if counts.max() == 1:
        return []
    several, single = np.flatnonzero(counts[y] > 1), np.flatnonzero(counts[y] == 1)
    splitter = StratifiedKFold(min(5, int(counts.max())), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # of classes with fewer labels than folds: some folds lack them
        folds = list(splitter.split(several, y[several]))
    return [(np.concatenate([several[train], single]), several[test]) for train, test in folds]


def label_efficiency(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    per_class: tuple[int, ...] = (1, 2, 5, 10, 25),
    draws: int = 10,
    seed: int = 0,
    progress: bool = False,
) -> list[dict]:
    """Linear-probe accuracy against the number of labels, over repeated stratified draws.

    Returns one row per entry of `per_class`: labels_per_class, labels, mean, std (over draws), accuracies.
    Draw i is the same set of images for every encoder probed with the same seed; images labelled -1 are never drawn.
    progress: a bar on stderr when it takes long.
    Raises InputError for features or labels that cannot be used, and a class with fewer labels than asked for.
    """
    train_x, test_x = same_width(train_x, test_x)

    def score(chosen: Tensor, draw_seed: int) -> float:
        return linear_probe(train_x[chosen], train_y[chosen], test_x, test_y, seed=seed).accuracy

    train_y = train_y.to(train_x.device)
    return over_draws(train_y, len(train_x), per_class, draws, seed, score, progress)


def over_draws(
    labels: Tensor,
    images: int,
    per_class: tuple[int, ...],
    draws: int,
    seed: int,
    score: Callable[[Tensor, int], float],
    progress: bool = False,
) -> list[dict]:
    """The rows of `label_efficiency`: accuracies over repeated stratified draws of labels [images].

    score(chosen, seed): the test accuracy after learning from the images `chosen` (int64) of the draw with that seed;
    draw i has the seed `seed` + i.
    Raises InputError unless there is one label per image and a draw, and for a class with too few labels.
    """
    if len(labels) != images or draws < 1:
        raise InputError(
            f"label efficiency needs one label per image and at least one draw, not {len(labels)} labels of "
            f"{images} images and {draws} draws"
        )
    rows = []
    for count in per_class:
        subsets = [label_subset(labels, count, seed=seed + i) for i in range(draws)]
        shown = patient(subsets, f"draws of {count} labels", progress)
        scores = [score(chosen, seed + i) for i, chosen in enumerate(shown)]
        rows.append(
            {
                "labels_per_class": count,
                "labels": len(subsets[0]),
                "mean": float(np.mean(scores)),
                "std": float(np.std(scores, ddof=1)) if draws > 1 else 0.0,
                "accuracies": scores,
            }
        )
    return rows


def labels_needed(counts: Sequence[float], accuracies: Sequence[float], target: float) -> float:
    """How many labels a curve of accuracies first reaches the target with, along a straight line in log(labels).

    counts, accuracies: of one length, counts positive and rising.  The first count where the target is met there
    already; inf where it is never reached, for nothing is extrapolated.  Raises InputError for other curves.
    """
    counts, accuracies = [float(c) for c in counts], [float(a) for a in accuracies]
    rising = all(a < b for a, b in zip([0.0, *counts], counts, strict=False))
    if not counts or len(counts) != len(accuracies) or not rising or not all(map(math.isfinite, accuracies)):
        raise InputError("a curve needs one finite accuracy for each of some positive, rising numbers of labels")
    first = next((i for i, a in enumerate(accuracies) if a >= target), None)
    if first is None:
        return math.inf
    if first == 0:
        return counts[0]
    share = (target - accuracies[first - 1]) / (accuracies[first] - accuracies[first - 1])
    return counts[first - 1] * (counts[first] / counts[first - 1]) ** share


def factor_probe(
    train_x: Tensor, train_factors: dict[str, Factor], test_x: Tensor, test_factors: dict[str, Factor]
) -> dict[str, float]:
    """How well each generating factor can be read linearly from the features: 0 = chance, 1 = perfectly.

    Ridge on standardised features, its penalty chosen by leave-one-out inside the training set.  Categorical
    factors: test accuracy, rescaled so that the most frequent training class scores 0.  Continuous: R^2 on the
    test set.  Circular: R^2 of (cos, sin) together.  Scores below 0 are reported as 0.
    Raises InputError for a factor that never varies, that the test set lacks, or that does not have one finite value
    per image, and for features that cannot be used.
    """
    from sklearn.linear_model import RidgeClassifierCV, RidgeCV
    from sklearn.preprocessing import StandardScaler

    train_x, test_x = (x.cpu().numpy() for x in same_width(train_x, test_x))
    scaler = StandardScaler().fit(train_x)
    train_z, test_z = scaler.transform(train_x), scaler.transform(test_x)
    if lacking := set(train_factors) - set(test_factors):
        raise InputError(
            f"the test set lacks the factor {min(lacking)!r}; leave it out of the training factors"
        )
    scores = {}
    for name, (train_values, kind) in train_factors.items():
        train_t = _factor_values(name, train_values, kind, len(train_x))
        test_t = _factor_values(name, test_factors[name].values, kind, len(test_x))
        if np.ptp(train_t) == 0 or np.ptp(test_t) == 0:
            raise InputError(f"factor {name!r} has one value only; leave it out of the factor probe")
        if kind == "categorical":
            model = RidgeClassifierCV(alphas=RIDGE_ALPHAS).fit(train_z, train_t)
            chance = (test_t == np.bincount(train_t).argmax()).mean()
            score = (model.score(test_z, test_t) - chance) / (1 - chance)
        else:
            if kind == "circular":
                train_t, test_t = (np.stack([np.cos(t), np.sin(t)], axis=1) for t in (train_t, test_t))
            prediction = RidgeCV(alphas=RIDGE_ALPHAS).fit(train_z, train_t).predict(test_z)
            residual = ((test_t - prediction) ** 2).sum()
            score = 1 - residual / ((test_t - train_t.mean(axis=0)) ** 2).sum()
        scores[name] = max(0.0, float(score))
    return scores


def _factor_values(name: str, values: Tensor, kind: str, n: int) -> np.ndarray:
    """The values [n] of a factor for scikit-learn; InputError where they cannot be a target."""
    if values.shape != (n,) or not bool(values.isfinite().all()):
        raise InputError(f"factor {name!r} needs one finite value for each of {n} images")
    if kind == "categorical" and (values.is_floating_point() or int(values.min()) < 0):
        raise InputError(f"factor {name!r} is categorical: its values must be whole numbers 0, 1, ...")
    return values.detach().cpu().numpy()
