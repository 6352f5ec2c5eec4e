"""How good is a representation?  Frozen features, kNN, linear probe, label efficiency, factor probe."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize as l2_normalize

from ssl_lessons.data.image_set import Factor, label_subset
from ssl_lessons.errors import InputError
from ssl_lessons.views import normalize

PROBE_CS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # inverse strength of the L2 penalty, on standardised features
RIDGE_ALPHAS = np.logspace(-1, 5, 7)


@torch.no_grad()
def extract_features(
    encoder: nn.Module, images: Tensor, batch_size: int = 512, device: torch.device | str | None = None
) -> Tensor:
    """Frozen features of uint8 images [N, 3, H, W]: float32 [N, dim] on the CPU.

    The encoder runs in eval() without gradients and is put back into the mode it was in.
    """
    device = device or next(encoder.parameters()).device
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    try:
        return torch.cat([encoder(normalize(b.to(device))).float().cpu() for b in images.split(batch_size)])
    finally:
        for module, training in modes:
            module.training = training


def pixels(images: Tensor) -> Tensor:
    """The baseline that knows nothing: raw pixels in [0, 1], [N, 3 H W]."""
    return images.flatten(1).float() / 255


def knn_accuracy(
    train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, k: int = 20, temperature: float = 0.07
) -> float:
    """Weighted k-nearest-neighbour accuracy in cosine similarity (Wu et al. 2018, section 3.4).

    Each of the k nearest training features votes for its label with weight exp(similarity / temperature).
    Features [N, D], labels [N] in 0..C-1.  k is capped at the number of training examples.
    """
    if k < 1 or temperature <= 0:
        raise InputError(f"kNN needs k >= 1 and temperature > 0, got k={k}, temperature={temperature}")
    train_x, test_x = l2_normalize(train_x, dim=1), l2_normalize(test_x, dim=1)
    correct = 0
    for x, y in zip(test_x.split(2048), test_y.split(2048), strict=True):
        similarity, neighbour = (x @ train_x.T).topk(min(k, len(train_x)), dim=1)
        weight = ((similarity - 1) / temperature).exp()  # the common factor exp(1/t) changes no vote
        votes = torch.zeros(len(x), int(train_y.max()) + 1).scatter_add_(1, train_y[neighbour], weight)
        correct += (votes.argmax(1) == y).sum().item()
    return correct / len(test_x)


def precision_at_k(features: Tensor, labels: Tensor, k: int = 10) -> float:
    """Share of the k nearest neighbours (cosine, itself left out) that have the query's label, over all queries.

    features [N, D], labels [N].
    """
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

    Features [N, D] are standardised with the training mean and deviation; C is picked by stratified
    cross-validation (five folds, fewer when a class has fewer labels, none with one label per class: C = 0.01);
    the test split is scored once.  Raises InputError for fewer than two classes.
    """
    if len(test_y) and int(test_y.min()) < 0:
        raise InputError("a probe needs a label for every image; -1 marks an unlabelled one")
    scaler, span, model, chosen = fit_probe(train_x, train_y, seed)
    test_z = scaler.transform(test_x.numpy())
    test_z = test_z if span is None else test_z @ span
    return ProbeResult(float(model.score(test_z, test_y.numpy())), chosen)


def fit_probe(train_x: Tensor, train_y: Tensor, seed: int = 0):
    """What `linear_probe` learns from features [N, D] and labels [N]: (scaler, span, model, C).

    scaler: scikit-learn's StandardScaler of the features.  span: float [D, N] with orthonormal columns that the
    standardised features were multiplied by, or None when D <= N.  model: the LogisticRegression on the result.
    """
    from sklearn.exceptions import (
        ConvergenceWarning,
    )  # scikit-learn is slow to import: only when a probe is used
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    if int(train_y.min()) < 0:
        raise InputError("a probe needs a label for every image; -1 marks an unlabelled one")
    counts = torch.bincount(train_y)
    counts = counts[counts > 0]
    if len(counts) < 2:
        raise InputError("a probe needs labels of at least two classes")
    scaler = StandardScaler().fit(train_x.numpy())
    train_z, span = scaler.transform(train_x.numpy()), None
    if train_z.shape[1] > len(train_z):
        # The L2 penalty keeps the solution in the span of the training rows: the same probe in fewer dimensions.
        span, _ = np.linalg.qr(train_z.T)
        train_z = train_z @ span
    folds = min(5, int(counts.min()))
    model = LogisticRegression(C=PROBE_CS[2], max_iter=300, tol=1e-3)
    with (
        warnings.catch_warnings(),
        threadpool_limits(1),
    ):  # many small fits: threads would only wait for each other
        warnings.simplefilter("ignore", ConvergenceWarning)
        if folds < 2:
            return scaler, span, model.fit(train_z, train_y.numpy()), PROBE_CS[2]
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
        search = GridSearchCV(model, {"C": PROBE_CS}, cv=splitter).fit(train_z, train_y.numpy())
    return scaler, span, search.best_estimator_, search.best_params_["C"]


def label_efficiency(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    per_class: tuple[int, ...] = (1, 2, 5, 10, 25),
    draws: int = 10,
    seed: int = 0,
) -> list[dict]:
    """Linear-probe accuracy against the number of labels, over repeated stratified draws.

    Returns one row per entry of `per_class`: labels_per_class, labels, mean, std (over draws), accuracies.
    Draw i is the same set of images for every encoder probed with the same seed.
    """
    rows = []
    for count in per_class:
        subsets = [label_subset(train_y, count, seed=seed + i) for i in range(draws)]
        scores = [linear_probe(train_x[s], train_y[s], test_x, test_y, seed=seed).accuracy for s in subsets]
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


def factor_probe(
    train_x: Tensor, train_factors: dict[str, Factor], test_x: Tensor, test_factors: dict[str, Factor]
) -> dict[str, float]:
    """How well each generating factor can be read linearly from the features: 0 = chance, 1 = perfectly.

    Ridge on standardised features, its penalty chosen by leave-one-out inside the training set.  Categorical
    factors: test accuracy, rescaled so that the most frequent training class scores 0.  Continuous: R^2 on the
    test set.  Circular: R^2 of (cos, sin) together.  Scores below 0 are reported as 0.  A factor that never varies
    raises InputError.
    """
    from sklearn.linear_model import RidgeClassifierCV, RidgeCV
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train_x.numpy())
    train_z, test_z = scaler.transform(train_x.numpy()), scaler.transform(test_x.numpy())
    scores = {}
    for name, (train_values, kind) in train_factors.items():
        train_t, test_t = train_values.numpy(), test_factors[name].values.numpy()
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
