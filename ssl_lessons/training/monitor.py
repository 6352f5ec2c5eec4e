"""Measures of a method while it trains: is it learning, is it collapsing?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import contextmanager

import torch

from ssl_lessons.data.image_set import ImageSet
from ssl_lessons.diagnostics import (
    CollapseReport,
    assignment_information,
    cluster_usage_entropy,
    diagnose,
    feature_std,
    norm_statistics,
    rank_me,
    teacher_distance,
)
from ssl_lessons.evaluation import extract_features, knn_accuracy
from ssl_lessons.methods import Method
from ssl_lessons.views import normalize

FEWEST = 4  # query images below which the spread of their embeddings says nothing


class Monitor:
    """Measures a method on held-out images every `every` steps: is it learning, is it collapsing?

    `bank` holds the images that vote and `query` the ones that are classified; take both from the train split.  Without
    labels (-1) the kNN accuracy is left out.  The embeddings of the first `sample` query images are diagnosed together
    with the history of the run; the last report is kept in `report`.
    """

    def __init__(self, bank: ImageSet, query: ImageSet, every: int, sample: int = 256):
        self.bank, self.query, self.every, self.sample = bank, query, every, sample
        self.report: CollapseReport | None = None
        self.labelled = bool((bank.labels >= 0).all() and (query.labels >= 0).all())

    def __call__(
        self, method: Method, history: Sequence[Mapping] = (), batch_size: int | None = None
    ) -> dict[str, float | str]:
        """One measurement of a method, as entries for the history row.

        knn, std, rank: kNN accuracy (if there are labels), feature std and RankMe of the features h.  spread_z, rank_z:
        spread and RankMe of the embeddings z.  norm_h, norm_z: mean lengths.  usage, information: of the cluster
        assignments, if the method makes any.  teacher_distance: of its momentum pairs, if it has any.  chance_loss: at
        `batch_size`, if that says something.  verdict: of `diagnose`, in view of `history`, the rows so far.  Where
        weights or embeddings are no longer finite, the verdict is all there is.  Random states and modes stay as they
        were.
        """
        with _undisturbed(method) as device:
            sets = (self.query, self.bank) if self.labelled else (self.query,)
            query, *bank = (extract_features(method.encoder, s.images, device=device) for s in sets)
            images = normalize(self.query.images[: self.sample].to(device))
            z = method.embed(images).float().cpu()
            assignments = method.assign(images)
        if not all(bool(x.isfinite().all()) for x in (query, z, *bank)):
            self.report = diagnose(z * math.nan)
            return {"verdict": self.report.verdict}
        row = (
            {"knn": knn_accuracy(*bank, self.bank.labels, query, self.query.labels)} if self.labelled else {}
        )
        row |= {"std": feature_std(query), "rank": rank_me(query), "norm_h": norm_statistics(query)["mean"]}
        if assignments is not None:
            assignments = assignments.float().cpu()
            row["usage"] = cluster_usage_entropy(assignments)
            row["information"] = assignment_information(assignments)
        if pairs := method.momentum_pairs():
            row["teacher_distance"] = teacher_distance(pairs)
        if batch_size is not None and (chance := method.chance_loss(batch_size)) is not None:
            row["chance_loss"] = chance
        *before, now = history or [{}]
        # The row of this step belongs to the history that is judged: its loss with these measures.
        rows = [*before, {**now, **row}] if history else None
        self.report = diagnose(z, history=rows)
        found = self.report.evidence
        row |= {"spread_z": found["spread"], "rank_z": found["rank_me"], "norm_z": found["mean_norm"]}
        return row | {"verdict": self.report.verdict}


@contextmanager
def _undisturbed(method: Method):
    """Evaluation mode without gradients; modes and random states are put back.  Gives the method's device."""
    device = next(method.parameters()).device
    modes = [(module, module.training) for module in method.modules()]
    method.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield device
    finally:
        for module, training in modes:
            module.training = training


def default_monitor(train: ImageSet, steps: int, images: int = 1000) -> Monitor | None:
    """About ten measurements over a run, on random images of the train split: `images` as bank, as many as query.

    None where the split is too small to measure anything on a part of it.
    """
    images = min(images, len(train) // 2)
    if images < FEWEST:
        return None
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    return Monitor(train[order[:images]], train[order[images : 2 * images]], every=max(1, steps // 10))
