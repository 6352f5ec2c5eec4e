"""What a SimCLR run certifies about its two views, and what its features are worth, over strengths of augmentation.

    uv run python benchmarks/information.py                 # every run that the record lacks, about 12 minutes a seed
    uv run python benchmarks/information.py --seeds 0
    uv run python benchmarks/information.py --arms untrained "colour 0" --steps 2 --dry    # tries it, writes nothing

Every arm is the quick recipe with another policy: the colour part (jitter and gray) times a strength, or another
smallest crop.  `seed` draws the world, the weights, the batches and the views.  The information is measured on test
images, with new views by the arm's own policy: `certified` by the cosine of the embeddings as critic, at the sharpness
that is best on held-out train images (any critic gives a lower bound on other pictures); `within`, the same with
candidates of one kind only, which would be 0 if the views were independent given the kind.  See chapter 19b.
"""

import argparse
import inspect
import math

import torch
import torch.nn.functional as F
from _record import merge, recorded
from _world import WORLD, measure, probe, splits
from augmentation_strength import at_strength

from ssl_lessons import evaluation
from ssl_lessons.diagnostics.information import info_nce_bound
from ssl_lessons.models import settle
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import make_views

KEY = ("world", "arm", "seed")
QUICK = get_recipe("quick")
STEPS = 500
CANDIDATES, SAME = 500, 150  # at random; of one kind
SHARPNESS = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 14.0, 20.0, 28.0, 40.0)  # times the cosine
UNTRAINED, PIXELS = "untrained", "pixels"
POLICIES = {
    "colour 1": QUICK.policy,
    "colour 0": at_strength(QUICK.policy, 0.0),
    "crop none": QUICK.policy.replace(crop_p=0.0),
    "colour 0.5": at_strength(QUICK.policy, 0.5),
    "crop 0.7": QUICK.policy.replace(crop_scale=(0.7, 1.0)),
    "colour 0.25": at_strength(QUICK.policy, 0.25),
    "crop 0.08": QUICK.policy.replace(crop_scale=(0.08, 1.0)),
    "colour 1.5": at_strength(QUICK.policy, 1.5),
    "colour 2": at_strength(QUICK.policy, 2.0),
}
ARMS = (UNTRAINED, PIXELS, *POLICIES)


@torch.no_grad()
def pair(method, images, policy, seed: int = 0):
    """Unit embeddings of two new views of every image, [N, D] each."""
    method.eval()
    both = make_views(images, (policy,) * 2, torch.Generator().manual_seed(seed))
    return [F.normalize(torch.cat([method.embed(b) for b in v.split(500)]), dim=1) for v in both]


def certified(z1, z2, groups, sharpness: float) -> float:
    """log K - loss, mean over groups of rows [K], with the cosine times the sharpness as critic, both directions."""
    blocks = [sharpness * z1[g] @ z2[g].T for g in groups]
    return sum(float(info_nce_bound(b) + info_nce_bound(b.T)) / 2 for b in blocks) / len(blocks)


def groups_of(labels, size: int, same: bool) -> list:
    """Rows in groups of `size`: in the given order, or of one kind each; what is left over is not used."""
    rows = [torch.arange(len(labels))]
    if same:
        rows = [(labels == kind).nonzero()[:, 0] for kind in labels.unique()]
    return [g for r in rows for g in r.split(size) if len(g) == size]


def information(method, policy, train, test) -> dict:
    """What the embeddings certify: in all, and within one kind (with as many candidates of any kind beside it)."""
    fitted, new = pair(method, train.images, policy), pair(method, test.images, policy, 1)
    row = {}
    for name, size, same in (
        ("certified", CANDIDATES, False), ("within", SAME, True), ("among", SAME, False),
    ):  # fmt: skip
        groups = groups_of(train.labels, size, same)
        best = max(SHARPNESS, key=lambda s, g=groups: certified(*fitted, g, s))
        row |= {name: certified(*new, groups_of(test.labels, size, same), best), f"sharpness_{name}": best}
    return row


def held_out(features, train) -> float:
    """The probe with one half of the train images on the other: for choices."""
    half = len(train) // 2
    return probe(features[:half], features[half:], train[:half], train[half:])


def run(arm: str, seed: int, sets, steps: int) -> dict:
    unlabeled, train, test = sets
    if arm == PIXELS:
        x, x_test = (evaluation.pixels(s.images) for s in (train, test))
        return {"steps": 0, "probe": probe(x, x_test, train, test), "held_out": held_out(x, train)}
    method, row = QUICK.build(seed), {"steps": 0}
    policy = POLICIES.get(arm, QUICK.policy)
    if arm == UNTRAINED:
        settle(method, unlabeled.images[:2048])
    else:
        history = pretrain(
            method,
            unlabeled.images,
            (policy,) * 2,
            steps=steps,
            seed=seed,
            progress=False,
            **QUICK.training(),
        )
        last = [r["loss"] for r in history[-20:]]
        row = {"steps": steps, "seconds": history[-1]["seconds"], "loss": sum(last) / len(last)}
    row |= measure(method, train, test) | information(method, policy, train, test)
    return row | {"held_out": held_out(evaluation.extract_features(method.encoder, train.images), train)}


def main(seeds: list[int], arms: list[str], steps: int, dry: bool) -> None:
    for seed in seeds:
        done = set() if dry else {tuple(row.get(k) for k in KEY) for row in recorded("information")}
        todo = [arm for arm in arms if (WORLD, arm, seed) not in done]
        sets = splits(seed) if todo else None
        for arm in todo:
            row = {"world": WORLD, "arm": arm, "seed": seed} | run(arm, seed, sets, steps)
            assert math.isfinite(row["probe"])
            if not dry:
                merge("information", [row], KEY)
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--dry", action="store_true", help="write nothing")
    main(**vars(parser.parse_args()))
