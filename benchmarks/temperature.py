"""The temperature sweep of chapter 13: six temperatures, three seeds, the quick recipe, and the untrained network.

A run that is in the record is not repeated.

uv run python benchmarks/temperature.py
"""

import argparse

import torch
from _record import merge, recorded
from _world import WORLD, measure, projections, splits, train
from torch.nn.functional import normalize

from ssl_lessons.diagnostics import alignment, rank_me, spread, uniformity
from ssl_lessons.models.settle import settle
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import make_views

KEY = ("world", "temperature", "seed")
TEMPERATURES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
UNTRAINED = 0  # the "temperature" of the row of the untrained network, its BatchNorm statistics settled
NEIGHBOURS = 10  # negatives nearest to an anchor


def class_cosines(z, labels) -> tuple[float, float]:
    """Mean cosine between different images of the same class, and of different classes."""
    z = normalize(z, dim=1)
    cosine, same = z @ z.T, labels[:, None] == labels[None, :]
    own = same.clone().fill_diagonal_(False)
    return float(cosine[own].mean()), float(cosine[~same].mean())


def gap_to_neighbours(z1, z2) -> float:
    """Mean cosine of partners, less the mean cosine of a view with the NEIGHBOURS nearest views of other images."""
    cosine = normalize(z1, dim=1) @ normalize(z2, dim=1).T
    own = cosine.diagonal().mean()
    others = cosine.fill_diagonal_(-1).topk(NEIGHBOURS, dim=1).values
    return float(own - others.mean())


@torch.no_grad()
def geometry(method, policy, test, seed: int) -> dict:
    """What the embeddings z of the test images look like."""
    pair = make_views(test.images, (policy, policy), torch.Generator().manual_seed(seed))
    z1, z2 = (method.projector(method.encoder(v)) for v in pair)
    z = projections(method, test.images)
    within, between = class_cosines(z, test.labels)
    return {
        "alignment": float(alignment(z1, z2)), "uniformity": float(uniformity(z)), "rank_z": float(rank_me(z)),
        "spread_z": spread(z), "gap": gap_to_neighbours(z1, z2), "within": within, "between": between,
    }  # fmt: skip


def run(temperature: float, seed: int, steps: int) -> dict:
    recipe = get_recipe("quick")
    row = {"world": WORLD, "temperature": temperature, "seed": seed, "steps": steps}
    if temperature == UNTRAINED:
        method, (unlabeled, labelled, test) = recipe.build(seed), splits(seed)
        settle(method, unlabeled.images[:2048])
        row["steps"] = 0
    else:
        chosen = recipe.with_(options=recipe.options | {"temperature": temperature})
        method, history, _, (_, labelled, test) = train(chosen, seed, steps)
        row["loss"] = sum(r["loss"] for r in history[-20:]) / 20
    found = measure(method, labelled, test)
    return (
        row | {k: found[k] for k in ("probe", "knn", "rank_h")} | geometry(method, recipe.policy, test, seed)
    )


def main(steps: int, seeds: int) -> None:
    done = {tuple(row.get(k) for k in KEY) for row in recorded("temperature")}
    for seed in range(seeds):
        for temperature in (UNTRAINED, *TEMPERATURES):
            if (WORLD, temperature, seed) not in done:
                row = run(temperature, seed, steps)
                merge("temperature", [row], KEY)
                print({k: round(v, 3) for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    main(**vars(parser.parse_args()))
