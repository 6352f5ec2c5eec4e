"""The sweeps of chapter 16: VICReg without each part, with narrow outputs, and its relatives, old and new.

    uv run python benchmarks/correlation.py                  # everything that is missing, an hour and more on one core
    uv run python benchmarks/correlation.py --seconds 200    # stop before a run that may not end within 200 s

Every arm sees the same number of pictures (STEPS batches of 256); methods with more than two views of a picture see
more views.  Runs that are in data/results/correlation.json already are left out.
"""

import argparse
import inspect
import time

import torch
from _record import merge, recorded
from _world import UNLABELED, WORLD, probe, splits

from ssl_lessons.diagnostics import diagnose, rank_me
from ssl_lessons.evaluation import extract_features, knn_accuracy, pixels
from ssl_lessons.losses.correlation import hsic
from ssl_lessons.models import settle
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import normalize

STEPS, WIDTH = 250, 512  # WIDTH: the projector of the default arm, hidden and out
# In the literature's sweeps the hidden layers shrank with the output; "fixed" keeps them, "scaled" also multiplies the
# covariance weight so that each dimension feels the pressure of 512 others.
VICREG = {"hidden_dim": WIDTH, "out_dim": WIDTH}
ARMS = {
    "untrained": ("vicreg", VICREG),
    "vicreg": ("vicreg", VICREG),
    "barlow": ("barlow_twins", {}),
    "w_mse": ("w_mse", {}),
    "simclr": ("simclr", {}),
    "lejepa": ("lejepa", {}),
    "visreg": ("visreg", {}),
    "mmcr": ("mmcr", {}),
    "tico": ("tico", {}),
    "frossl": ("frossl", {}),
    "emp_ssl": ("emp_ssl", {}),
    "no variance": ("vicreg", VICREG | {"variance_weight": 0.0}),
    "no covariance": ("vicreg", VICREG | {"covariance_weight": 0.0}),
    "no half": ("vicreg", VICREG | {"variance_weight": 50.0}),
    "barlow, lambda 0": ("barlow_twins", {"lambd": 0.0}),
    "16 fixed": ("vicreg", VICREG | {"out_dim": 16}),
    "16 scaled": ("vicreg", VICREG | {"out_dim": 16, "covariance_weight": WIDTH / 16}),
    "frozen": ("vicreg", VICREG | {"train_projector": False}),
    "hidden 2048": ("vicreg", VICREG | {"hidden_dim": 2048}),
}
# At the quick recipe's 4e-3 FroSSL sleeps: the best of 1e-3, 4e-3 and this after 100 steps, by a probe and by kNN on
# held-out train images of seed 0.
RATES = {"frossl": 1.2e-2}


def build(arm: str, seed: int):
    """The method of an arm around the quick recipe's encoder, and the recipe it trains with."""
    name, options = ARMS[arm]
    recipe = get_recipe("quick", name)
    recipe = recipe.with_(options=recipe.options | options, lr=RATES.get(arm, recipe.lr))
    return recipe.build(seed, n_images=UNLABELED), recipe


@torch.no_grad()
def shape_of(method, images) -> dict:
    """How embeddings z and features h of different images spread, correlate and depend."""
    method.eval()
    z = torch.cat([method.embed(normalize(batch)) for batch in images.split(500)])
    h = extract_features(method.encoder, images[:256])
    spread = z.std(dim=0)
    c = torch.corrcoef(z[:, spread > 1e-6].T)
    pairs = hsic(h)
    dims = len(pairs)
    return {
        "std_z": float(spread.mean()),
        "correlation_z": float((c - c.diagonal().diag()).square().sum().div(len(c) * (len(c) - 1)).sqrt()),
        "rank_z": float(rank_me(z)),
        "hsic_h": float((pairs.sum() - pairs.trace()) / (dims * (dims - 1))),
        "verdict": diagnose(z).verdict,
    }


def run(arm: str, seed: int) -> dict:
    sets = splits(seed)
    _, labelled, test = sets
    row = {"world": WORLD, "arm": arm, "seed": seed, "steps": 0}
    if arm == "pixels":
        h, h_test = (pixels(s.images) for s in (labelled, test))
    else:
        method, recipe = build(arm, seed)
        if arm == "untrained":
            settle(method, sets[0].images[:2048])
        else:
            row |= train(method, recipe, sets[0].images, seed)
        h, h_test = (extract_features(method.encoder, s.images) for s in (labelled, test))
        row |= {"rank_h": float(rank_me(h))} | shape_of(method, test.images)
    return row | {
        "probe": probe(h, h_test, labelled, test),
        "knn": knn_accuracy(h, labelled.labels, h_test, test.labels),
    }


def train(method, recipe, images, seed: int) -> dict:
    steps = STEPS * 256 // recipe.batch_size
    history = pretrain(
        method,
        images,
        method.views(recipe.policy),
        steps=steps,
        seed=seed,
        progress=False,
        **recipe.training(),
    )
    return {
        "steps": steps, "batch": recipe.batch_size, "seconds": history[-1]["seconds"],
        "loss": sum(r["loss"] for r in history[-20:]) / 20,
    }  # fmt: skip


def main(seconds: float, seeds: list[int]) -> None:
    start, longest = time.monotonic(), 0.0
    for seed in seeds:
        for arm in ("pixels", *ARMS):
            known = {(row.get("world"), row["arm"], row["seed"]) for row in recorded("correlation")}
            if (WORLD, arm, seed) in known:
                continue
            if time.monotonic() - start + 1.2 * longest > seconds:
                return
            clock = time.monotonic()
            row = run(arm, seed)
            merge("correlation", [row], ("world", "arm", "seed"))
            longest = max(longest, time.monotonic() - clock)
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    main(**vars(parser.parse_args()))
