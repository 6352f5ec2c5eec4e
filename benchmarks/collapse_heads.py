"""What the projector takes and what it gives: SimCLR with several heads, and an oracle that drops inconsistent pairs.

    uv run python benchmarks/collapse_heads.py            # what is missing in the record, seeds 0, 1, 2

The oracle is a network trained with labels on the very images; a pair of views is dropped when it sees two different
kinds in them (Balestriero et al. 2023, section 3.2 and table 2, with our own small oracle).  All heads end as wide as
the features, so that h and z can be compared.  Each is probed twice: for the kind, which augmentation leaves alone, and
for the kind together with the third of the colour circle that the object's hue lies in, which augmentation removes.
"""

import argparse
import inspect
import time

import torch
from _record import merge, recorded
from _world import DRAWS, WORLD, splits
from sklearn.neural_network import MLPRegressor
from torch import nn

from ssl_lessons import evaluation
from ssl_lessons.diagnostics import diagnose, rank_me, spread
from ssl_lessons.losses import nt_xent
from ssl_lessons.methods import SimCLR, Supervised
from ssl_lessons.methods.directclr import DirectCLR
from ssl_lessons.models import projection_head
from ssl_lessons.models.settle import settle
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import normalize

STEPS, TEMPERATURE, HUES = 300, 0.1, 3
KEY = ("world", "head", "seed")
UNTRAINED = "untrained"
HEADS = (UNTRAINED, "none", "linear", "mlp", "mlp3", "directclr", "oracle_none", "oracle_mlp")
FACTORS = ("object_hue", "background_hue", "x", "y", "kind")
LAYERS = {"none": 0, "linear": 1, "mlp3": 3}  # of the projector; else two


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
    encoder = get_recipe("quick").build(seed).encoder
    if head == "directclr":
        return DirectCLR(encoder, temperature=TEMPERATURE)
    method = (Filtered if head.startswith("oracle") else SimCLR)(encoder, temperature=TEMPERATURE)
    method.oracle = oracle
    layers = LAYERS.get(head.removeprefix("oracle_"), 2)
    torch.manual_seed(seed)
    method.projector = (
        projection_head(encoder.dim, encoder.dim, encoder.dim, layers=layers) if layers else nn.Identity()
    )
    return method


def train_oracle(images, kinds, seed: int):
    """A supervised network, frozen, as a function from views to logits."""
    recipe = get_recipe("quick")
    method = Supervised(recipe.build(seed).encoder, 10)
    pretrain(
        method,
        images,
        (recipe.policy,),
        steps=STEPS,
        seed=seed,
        labels=kinds,
        progress=False,
        **recipe.training(),
    )
    network = method.eval().requires_grad_(False)
    return lambda x: network.classifier(network.encoder(x))


def with_hue(images):
    """Labels [N]: the kind and the third of the colour circle that the object's hue lies in, from 0 to 29."""
    third = (images.factors["object_hue"].values.remainder(2 * torch.pi) * HUES / (2 * torch.pi)).long()
    return HUES * images.labels + third.clamp(max=HUES - 1)


def hue_by_mlp(x, hue, x_test, hue_test) -> float:
    """R^2 of the hue, as a point on the circle, read by a network with one hidden layer; 0: no better than the mean."""
    mean, std = x.mean(0), x.std(0).clamp_min(1e-6)
    target, target_test = (torch.stack([h.cos(), h.sin()], dim=1).numpy() for h in (hue, hue_test))
    reader = MLPRegressor(hidden_layer_sizes=(256,), early_stopping=True, max_iter=300, random_state=0)
    reader.fit(((x - mean) / std).numpy(), target)
    return max(0.0, float(reader.score(((x_test - mean) / std).numpy(), target_test)))


@torch.no_grad()
def measure(method, train, test) -> dict:
    method.eval()
    found = {}
    h, h_test = (evaluation.extract_features(method.encoder, s.images) for s in (train, test))
    z, z_test = (torch.cat([method.embed(normalize(b)) for b in s.images.split(500)]) for s in (train, test))
    for name, a, b in (("h", h, h_test), ("z", z, z_test)):
        for key, labels in (
            ("probe", (train.labels, test.labels)),
            ("hue_probe", (with_hue(train), with_hue(test))),
        ):
            rows = evaluation.label_efficiency(a, labels[0], b, labels[1], per_class=(10,), draws=DRAWS)
            found[f"{key}_{name}"] = rows[0]["mean"]
        found |= {f"spread_{name}": spread(b), f"rank_{name}": rank_me(b), f"width_{name}": b.shape[1]}
        found[f"effective_rank_{name}"] = diagnose(b).evidence["effective_rank"]
        pick = {f: train.factors[f] for f in FACTORS}, {f: test.factors[f] for f in FACTORS}
        found[f"factors_{name}"] = evaluation.factor_probe(a, pick[0], b, pick[1])
        for hue in ("object_hue", "background_hue"):
            read = hue_by_mlp(a, train.factors[hue].values, b, test.factors[hue].values)
            found[f"{hue}_mlp_{name}"] = read
    return found


def run(head: str, seed: int, sets, oracle) -> dict:
    recipe, (unlabeled, train, test) = get_recipe("quick"), sets
    method = build(head, seed, oracle)
    row = {"world": WORLD, "head": head, "seed": seed, "steps": 0 if head == UNTRAINED else STEPS}
    if head == UNTRAINED:
        settle(method, unlabeled.images[:2048])
    else:
        pretrain(
            method, unlabeled.images, method.views(recipe.policy), steps=STEPS, seed=seed, progress=False,
            **recipe.training(),
        )  # fmt: skip
    return row | {"kept": getattr(method, "kept", 1.0)} | measure(method, train, test)


def main(heads: list[str], seeds: list[int], seconds: float) -> None:
    done = {tuple(r.get(k) for k in KEY) for r in recorded("collapse_heads")}
    start = time.perf_counter()
    for seed in seeds:
        sets, oracle = splits(seed), None
        for head in heads:
            if (WORLD, head, seed) in done or time.perf_counter() - start > seconds:
                continue
            if head.startswith("oracle") and oracle is None:
                oracle = train_oracle(sets[0].images, sets[0].factors["kind"].values, seed)
            row = run(head, seed, sets, oracle)
            merge("collapse_heads", [row], KEY)
            print(head, seed, {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--heads", nargs="*", default=list(HEADS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=1e9, help="start no further run after that many")
    main(**vars(parser.parse_args()))
