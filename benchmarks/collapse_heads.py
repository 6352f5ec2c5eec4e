"""What the projector takes and what it gives: SimCLR with four heads, and an oracle that drops inconsistent pairs.

    uv run python benchmarks/collapse_heads.py            # what is missing in the record, seeds 0, 1, 2

The oracle is a network trained with labels on the very images; a pair of views is dropped when it sees two different
kinds in them (Balestriero et al. 2023, section 3.2 and table 2, with our own small oracle).
"""

import argparse
import inspect
import time

import torch
from _record import merge, recorded
from torch import nn

from ssl_lessons import data, evaluation
from ssl_lessons.diagnostics import diagnose, feature_std, rank_me
from ssl_lessons.losses import nt_xent
from ssl_lessons.methods import SimCLR, Supervised
from ssl_lessons.methods.directclr import DirectCLR
from ssl_lessons.models import projection_head
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import normalize

STEPS, BATCH, IMAGES = 150, 128, 4096
HEADS = ("none", "linear", "mlp", "mlp3", "directclr", "oracle_none", "oracle_mlp")
FACTORS = ("object_hue", "background_hue", "x", "y", "kind")


class Filtered(SimCLR):
    """SimCLR on the pairs in which the oracle sees the same kind twice."""

    def forward(self, views, labels=None):
        with torch.no_grad():
            kinds = [self.oracle(v).argmax(dim=1) for v in views]
        same = kinds[0] == kinds[1]
        self.kept = float(same.float().mean())
        z1, z2 = self.pair(views)
        return nt_xent(z1[same], z2[same], self.temperature)


def build(head: str, seed: int, oracle) -> SimCLR:
    torch.manual_seed(seed)
    encoder = get_recipe("quick").build(seed).encoder
    if head == "directclr":
        return DirectCLR(encoder, temperature=0.2)
    cls = Filtered if head.startswith("oracle") else SimCLR
    method = cls(encoder, temperature=0.2)
    if head.startswith("oracle"):
        method.oracle = oracle
    if head.endswith("none"):
        method.projector = nn.Identity()
    if head == "linear":
        method.projector = projection_head(encoder.dim, encoder.dim, 128, layers=1)
    if head == "mlp3":
        method.projector = projection_head(encoder.dim, encoder.dim, 128, layers=3)
    return method


def train_oracle(images, kinds, seed: int):
    """A supervised network, frozen, as a function from views to logits."""
    recipe = get_recipe("quick")
    method = Supervised(recipe.build(seed).encoder, 10)
    pretrain(method, images, (recipe.policy,), steps=2 * STEPS, seed=seed, labels=kinds, progress=False,
             **recipe.training() | {"batch_size": BATCH})  # fmt: skip
    network = method.eval().requires_grad_(False)
    return lambda x: network.classifier(network.encoder(x))


@torch.no_grad()
def measure(method, train, test) -> dict:
    method.eval()
    found = {}
    h, h_test = (evaluation.extract_features(method.encoder, s.images) for s in (train, test))
    z, z_test = (torch.cat([method.embed(normalize(b)) for b in s.images.split(500)]) for s in (train, test))
    for name, a, b in (("h", h, h_test), ("z", z, z_test)):
        rows = evaluation.label_efficiency(a, train.labels, b, test.labels, per_class=(10,), draws=5)
        found[f"probe_{name}"] = rows[0]["mean"]
        found[f"std_{name}"] = feature_std(b)
        found[f"rank_{name}"] = rank_me(b)
        found[f"effective_rank_{name}"] = diagnose(b).evidence["effective_rank"]
        pick = {f: train.factors[f] for f in FACTORS}, {f: test.factors[f] for f in FACTORS}
        found[f"factors_{name}"] = evaluation.factor_probe(a, pick[0], b, pick[1])
    return found


def main(heads: list[str], seeds: list[int], seconds: float) -> None:
    rows = recorded("collapse_heads")
    done = {(r["head"], r["seed"]) for r in rows}
    recipe, start = get_recipe("quick"), time.perf_counter()
    for seed in seeds:
        sets, oracle = None, None
        for head in heads:
            if (head, seed) in done or time.perf_counter() - start > seconds:
                continue
            sets = sets or [
                data.shapes(s, 32, n, seed, world=1)
                for s, n in (("unlabeled", IMAGES), ("train", 1000), ("test", 1000))
            ]
            unlabeled, train, test = sets
            if head.startswith("oracle") and oracle is None:
                oracle = train_oracle(unlabeled.images, unlabeled.factors["kind"].values, seed)
            method = build(head, seed, oracle)
            pretrain(method, unlabeled.images, method.views(recipe.policy), steps=STEPS, seed=seed, progress=False,
                     **recipe.training() | {"batch_size": BATCH})  # fmt: skip
            row = {"head": head, "seed": seed, "steps": STEPS, "kept": getattr(method, "kept", 1.0)}
            row |= measure(method, train, test)
            merge("collapse_heads", [row], ("head", "seed"))
            print(head, seed, {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--heads", nargs="*", default=list(HEADS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=1e9, help="start no further run after that many")
    main(**vars(parser.parse_args()))
