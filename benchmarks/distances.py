"""Metric learning with labels and with views: the losses of chapter 04, same encoder, same weights, same budget.

    uv run python benchmarks/distances.py                              # what is missing in the record, seeds 0, 1, 2
    uv run python benchmarks/distances.py --seeds 0 --seconds 200      # for so long; go on by repeating it

An arm is a loss and who says "same": "labels" (3,200 labelled pictures, a gentle crop of each) or "views" (8,192
without labels, two strong views of each).  128 rows go through the network in every step, so a batch of views holds
64 pictures.  The labelled pictures are none of those that are probed.  Nothing was tuned: margins and temperatures
are those of the papers or of the quick recipe.  A run that is in the record is not repeated.
"""

import argparse
import inspect
import time
from functools import partial

import torch
import torch.nn.functional as F
from _record import merge, recorded
from _world import WORLD, probe, splits

from ssl_lessons import data, evaluation, views
from ssl_lessons.diagnostics import spread
from ssl_lessons.losses import metric
from ssl_lessons.methods import Method
from ssl_lessons.models import settle
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe

STEPS, ROWS, LABELLED, TRIPLES = 300, 128, 3200, 1000
LAST = ("contrastive", "lifted structure")  # after all seeds of the others
KEY = ("world", "loss", "source", "seed")
RECIPE = get_recipe("quick")
GENTLE = RECIPE.policy.replace(jitter_p=0.0, grayscale_p=0.0, crop_scale=(0.5, 1.0))
POLICIES = {"labels": (GENTLE,), "views": (RECIPE.policy, RECIPE.policy)}


def balanced_pairs(z, y, margin: float = 1.4):
    """The contrastive loss on all pairs of one label and as many random pairs of two labels."""
    same = y[:, None] == y
    i, j = same.triu(1).nonzero().T
    k, other = (~same).triu(1).nonzero().T
    pick = torch.randperm(len(k), device=z.device)[: len(i)]
    i, j = torch.cat([i, k[pick]]), torch.cat([j, other[pick]])
    return metric.contrastive_pairs(z[i], z[j], y[i] == y[j], margin)


def mined(z, y, mine, margin: float = 0.2):
    rows = mine(z, y)
    return metric.triplet(*z[rows].unbind(dim=1), margin) if len(rows) else 0 * z.sum()


def n_pair(z, y, most: int | None = None, **options):
    sets = metric.n_pair_batches(y, most)
    return sum(metric.n_pair(*z[rows], **options) for rows in sets) / len(sets)


LOSSES = {  # name -> loss(z, y), whether z has unit length
    "contrastive": (balanced_pairs, True),
    "triplet, semi-hard": (partial(mined, mine=metric.semi_hard_triplets), True),
    "triplet, hardest": (partial(mined, mine=metric.hardest_triplets), True),
    "lifted structure": (metric.lifted_structure, False),
    "N-pair": (partial(n_pair, l2=0.02), False),
    "N-pair, unit length": (n_pair, True),
    "N-pair, unit length, T": (partial(n_pair, temperature=0.1), True),
    "N-pair, ten": (partial(n_pair, l2=0.02, most=10), False),
    "N-pair, unit length, T, ten": (partial(n_pair, temperature=0.1, most=10), True),
    "soft neighbours": (partial(metric.soft_nearest_neighbor, temperature=0.2), True),
}
BASELINES = ("pixels", "untrained")
ARMS = [("none", name) for name in BASELINES]
ARMS += [
    ("labels", name) for name in (*LOSSES, "classifier") if "ten" not in name
]  # there are ten classes anyway
ARMS += [("views", name) for name in LOSSES]


class MetricLearner(Method):
    """Encoder, projector and a loss(z, y): rows with the same y belong together."""

    def __init__(self, seed: int, loss=None, unit: bool = True, classes: int = 0):
        super().__init__()
        built = RECIPE.build(seed)
        self.encoder, self.projector, self.loss, self.unit = built.encoder, built.projector, loss, unit
        self.classes = torch.nn.Linear(built.projector[-1].out_features, classes) if classes else None

    def embed(self, x):
        z = self.projector(self.encoder(x))
        return F.normalize(z, dim=1) if self.unit else z

    def forward(self, views, labels=None):
        z = self.embed(torch.cat(views)).float()
        if self.classes is not None:
            return F.cross_entropy(self.classes(z), labels)
        pictures = torch.arange(len(views[0]), device=z.device).repeat(len(views))
        return self.loss(z, pictures if labels is None else labels)


def judged_triples(seed: int) -> list[torch.Tensor]:
    """Anchors, the same kinds with all else redrawn, other kinds with all else kept: [n, 3, 32, 32] each."""
    anchor, redrawn = (data.sample_factors(TRIPLES, 500 + 2 * seed + k) for k in range(2))
    other = (anchor["kind"] + 1 + redrawn["kind"] % 9) % 10
    return [data.render(f) for f in (anchor, redrawn | {"kind": anchor["kind"]}, anchor | {"kind": other})]


def triples_right(represent, seed: int) -> float:
    """How often the same kind is nearer than the same place and colours, unit-length representations."""
    a, same, other = (F.normalize(represent(x), dim=1) for x in judged_triples(seed))
    return float(((a - same).norm(dim=1) < (a - other).norm(dim=1)).float().mean())


@torch.no_grad()
def embeddings(method, images):
    return torch.cat([method.eval().embed(views.normalize(x)) for x in images.split(500)])


def measured(train, test, represent, distance, seed: int) -> dict:
    """Probe and kNN of `represent`; the triples by `distance`."""
    x, x_test = represent(train.images), represent(test.images)
    return {
        "probe": probe(x, x_test, train, test),
        "knn": evaluation.knn_accuracy(x, train.labels, x_test, test.labels),
        "triples": triples_right(distance, seed),
    }


def run(source: str, name: str, seed: int, sets, steps: int) -> dict:
    unlabeled, train, test = sets
    row = {"world": WORLD, "loss": name, "source": source, "seed": seed, "steps": 0}
    if name == "pixels":
        return row | measured(train, test, evaluation.pixels, evaluation.pixels, seed)
    loss, unit = LOSSES.get(name, (None, False))
    torch.manual_seed(seed)
    method = MetricLearner(seed, loss, unit, classes=10 if name == "classifier" else 0)
    if source in POLICIES:
        labelled = data.shapes("train", n=LABELLED, seed=100 + seed) if source == "labels" else None
        pictures, policies = labelled or unlabeled, POLICIES[source]
        start = time.process_time()
        history = pretrain(
            method, pictures.images, policies, steps=steps, seed=seed, progress=False,
            labels=pictures.labels if source == "labels" else None,
            **RECIPE.training() | {"batch_size": ROWS // len(policies)},
        )  # fmt: skip
        last = history[-20:]
        row |= {"steps": steps, "loss_end": sum(r["loss"] for r in last) / len(last)}
        row["seconds"] = round(time.process_time() - start, 1)
    settle(method, unlabeled.images[:2048])  # after few steps the running averages lag behind the weights
    h, z = partial(evaluation.extract_features, method.encoder), partial(embeddings, method)
    z_test = z(test.images)
    row |= {"spread_z": spread(z_test), "length_z": float(z_test.norm(dim=1).mean())}
    return row | measured(train, test, h, z, seed)


def main(seeds: list[int], steps: int, seconds: float, losses: list[str] | None) -> None:
    done = {tuple(r.get(k) for k in KEY) for r in recorded("distances")}
    todo = [(seed, s, name) for seed in seeds for s, name in ARMS if (WORLD, name, s, seed) not in done]
    todo = [job for job in todo if job[2] in (losses or [job[2]])]
    start, sets = time.perf_counter(), {}
    for seed, source, name in sorted(todo, key=lambda job: job[2] in LAST):
        if time.perf_counter() - start > seconds:
            return
        sets = sets if seed in sets else {seed: splits(seed)}
        row = run(source, name, seed, sets[seed], steps)
        merge("distances", [row], KEY)
        print(
            seed, source, name, {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}, flush=True
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seconds", type=float, default=1e9, help="start no further run after that many")
    parser.add_argument("--losses", nargs="*", help="only these, by name")
    main(**vars(parser.parse_args()))
