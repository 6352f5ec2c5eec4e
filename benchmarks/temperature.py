"""The temperature sweep of chapter 13: six temperatures, three seeds, the quick recipe.

A run that is in the record is not repeated.

uv run python benchmarks/temperature.py
"""

import argparse

import torch
from _record import merge, recorded
from _world import WORLD, measure, projections, train
from torch.nn.functional import normalize

from ssl_lessons.diagnostics import alignment, rank_me, uniformity
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import make_views

KEY = ("world", "temperature", "seed")
TEMPERATURES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def class_cosines(z, labels) -> tuple[float, float]:
    """Mean cosine between different images of the same class, and of different classes."""
    z = normalize(z, dim=1)
    cosine, same = z @ z.T, labels[:, None] == labels[None, :]
    own = same.clone().fill_diagonal_(False)
    return float(cosine[own].mean()), float(cosine[~same].mean())


def main(steps: int, seeds: int) -> None:
    recipe = get_recipe("quick")
    done = {tuple(row.get(k) for k in KEY) for row in recorded("temperature")}
    for seed in range(seeds):
        for temperature in TEMPERATURES:
            if (WORLD, temperature, seed) in done:
                continue
            chosen = recipe.with_(options=recipe.options | {"temperature": temperature})
            method, history, seconds, (_, labelled, test) = train(chosen, seed, steps)
            found = measure(method, labelled, test)
            generator = torch.Generator().manual_seed(seed)
            pair = make_views(test.images, (recipe.policy, recipe.policy), generator)
            with torch.no_grad():
                z1, z2 = (method.projector(method.encoder(v)) for v in pair)
            z = projections(method, test.images)
            within, between = class_cosines(z, test.labels)
            row = {
                "world": WORLD,
                "temperature": temperature,
                "seed": seed,
                "steps": steps,
                "loss": sum(r["loss"] for r in history[-20:]) / 20,
                "probe": found["probe"],
                "knn": found["knn"],
                "alignment": float(alignment(z1, z2)),
                "uniformity": float(uniformity(z)),
                "rank_h": found["rank_h"],
                "rank_z": float(rank_me(z)),
                "within": within,
                "between": between,
            }
            merge("temperature", [row], KEY)
            print({k: round(v, 3) for k, v in row.items()}, f"{seconds:.0f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    main(**vars(parser.parse_args()))
