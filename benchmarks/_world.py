"""The protocol the embedded-world benchmarks share: train with the quick recipe, probe with 100 labels."""

import time

import torch

from ssl_lessons import data, diagnostics, evaluation
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import Recipe

UNLABELED, LABELLED, TEST, DRAWS = 8192, 2000, 2000, 5
WORLD = 2  # of data.shapes; a row made in it says so, one that does not is of the first world


def splits(seed: int, size: int = 32, world: int = WORLD):
    """unlabeled, train and test images of the world drawn from `seed`."""
    counts = (UNLABELED, LABELLED, TEST)
    return [data.shapes(s, size, n, seed, world=world) for s, n in zip(data.SPLITS, counts, strict=True)]


def probe(train_x, test_x, train, test) -> float:
    """Mean test accuracy of linear probes on 10 labels per class, over DRAWS stratified draws."""
    rows = evaluation.label_efficiency(
        train_x, train.labels, test_x, test.labels, per_class=(10,), draws=DRAWS
    )
    return rows[0]["mean"]


@torch.no_grad()
def projections(method, images):
    """The projector's output in evaluation mode, [N, out_dim]."""
    return method.projector(evaluation.extract_features(method.encoder, images))


def train(recipe: Recipe, seed: int, steps: int):
    """Pretrain the recipe for `steps` steps: (method, history, seconds, the three splits)."""
    sets = splits(seed)
    method = recipe.build(seed)
    start = time.perf_counter()
    history = pretrain(
        method, sets[0].images, (recipe.policy, recipe.policy), steps=steps, seed=seed, **recipe.training()
    )
    return method, history, time.perf_counter() - start, sets


def measure(method, train_set, test_set) -> dict:
    """100-label probe, kNN with all train labels, RankMe of h, and which factors can be read from h."""
    method.eval()
    h, h_test = (evaluation.extract_features(method.encoder, s.images) for s in (train_set, test_set))
    return {
        "probe": probe(h, h_test, train_set, test_set),
        "knn": evaluation.knn_accuracy(h, train_set.labels, h_test, test_set.labels),
        "rank_h": float(diagnostics.rank_me(h)),
        "factors": evaluation.factor_probe(h, train_set.factors, h_test, test_set.factors),
    }
