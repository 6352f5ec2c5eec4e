"""The sweeps of chapter 16: VICReg without each part, with narrow outputs, and with frozen, narrow and wide projectors.

    uv run python benchmarks/correlation.py                  # everything that is missing, about 20 minutes on two cores
    uv run python benchmarks/correlation.py --seconds 200    # stop before a run that may not end within 200 s

Runs that are in data/results/correlation.json already are left out, so the command can be repeated until all is there.
"""

import argparse
import inspect
import json
import time

import torch
from _record import RESULTS, merge
from _world import probe, splits

from ssl_lessons.diagnostics import diagnose, rank_me
from ssl_lessons.evaluation import extract_features, knn_accuracy
from ssl_lessons.losses.correlation import hsic
from ssl_lessons.methods.barlow_twins import BarlowTwins
from ssl_lessons.methods.vicreg import VICReg
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import normalize

STEPS, WIDTH = 150, 512  # WIDTH: the projector of the default arm, hidden and out
# In the literature's sweeps the hidden layers shrank with the output ("narrow"); "fixed" keeps them, "scaled" also
# multiplies the covariance weight so that each dimension feels the pressure of 512 others.
ARMS = {
    "untrained": None,
    "vicreg": {},
    "no variance": {"variance_weight": 0.0},
    "no covariance": {"covariance_weight": 0.0},
    "no half": {"variance_weight": 50.0},
    "16 narrow": {"out_dim": 16, "hidden_dim": 16},
    "16 fixed": {"out_dim": 16},
    "16 scaled": {"out_dim": 16, "covariance_weight": WIDTH / 16},
    "frozen": {"train_projector": False},
    "hidden 64": {"hidden_dim": 64},
    "hidden 2048": {"hidden_dim": 2048},
    "frozen 2048": {"hidden_dim": 2048, "train_projector": False},
    "64 narrow": {"out_dim": 64, "hidden_dim": 64},
    "64 fixed": {"out_dim": 64},
    "64 scaled": {"out_dim": 64, "covariance_weight": WIDTH / 64},
    "barlow": {},
    "barlow, lambda 0": {"lambd": 0.0},
}
VICREG = {"hidden_dim": WIDTH, "out_dim": WIDTH}


def build(arm: str, seed: int):
    """The method of an arm around the quick recipe's encoder, and the recipe it trains with."""
    recipe = get_recipe("quick", "barlow_twins" if arm.startswith("barlow") else "vicreg")
    encoder = recipe.build(seed).encoder
    torch.manual_seed(seed)
    if arm.startswith("barlow"):
        return BarlowTwins(encoder, **recipe.options | ARMS[arm]), recipe
    return VICReg(encoder, **recipe.options | VICREG | (ARMS[arm] or {})), recipe


@torch.no_grad()
def settle(method, images) -> None:
    """Passes in training mode: BatchNorm's running statistics, 0 and 1 in a fresh network, catch up."""
    method.train()
    for batch in images[:8192].split(256):
        method.embed(normalize(batch))


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
    sets = splits(seed, world=1)
    method, recipe = build(arm, seed)
    row = {"arm": arm, "seed": seed, "steps": 0 if ARMS[arm] is None else STEPS}
    if row["steps"]:
        history = pretrain(
            method, sets[0].images, method.views(recipe.policy), steps=STEPS, seed=seed, progress=False,
            **recipe.training(),
        )  # fmt: skip
        row["loss"] = sum(r["loss"] for r in history[-20:]) / 20
    _, labelled, test = sets
    h, h_test = (extract_features(method.encoder, s.images) for s in (labelled, test))
    row |= {
        "probe": probe(h, h_test, labelled, test),
        "knn": knn_accuracy(h, labelled.labels, h_test, test.labels),
        "rank_h": float(rank_me(h)),
    }
    if not row["steps"]:
        settle(method, sets[0].images)
    return row | shape_of(method, test.images)


def main(seconds: float, seeds: list[int]) -> None:
    path = RESULTS / "correlation.json"
    start, longest = time.monotonic(), 0.0
    for seed in seeds:
        for arm in ARMS:
            known = json.loads(path.read_text())["rows"] if path.exists() else []
            if any((row["arm"], row["seed"]) == (arm, seed) for row in known):
                continue
            if time.monotonic() - start + 1.2 * longest > seconds:
                return
            clock = time.monotonic()
            row = run(arm, seed)
            merge("correlation", [row], ("arm", "seed"))
            longest = max(longest, time.monotonic() - clock)
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    main(**vars(parser.parse_args()))
