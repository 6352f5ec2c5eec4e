"""The record of chapter 05b: classes that differ by colour alone, and what colours of another picture teach.

    uv run python benchmarks/colour_classes.py                    # what is missing in the record, seeds 0, 1, 2
    uv run python benchmarks/colour_classes.py --arms "simclr" "simclr crops alone" --seeds 0

Every arm trains the small encoder of benchmarks/pretext.py on the world of any colour.  Recorded per arm and seed:
`hue`, a probe with 10 labels per class that tells ten hues of the object among pictures of one kind (kind = seed);
`probe`, the same for the ten kinds; `whitened`, the probe for the kinds after the features were whitened on unlabeled
pictures, which gives every direction of the features the same say.  An arm in the record is not run again.
"""

import argparse
import inspect
import math
from functools import partial

import torch
from _record import merge, recorded
from _world import WORLD
from pretext import TRAINING, Misplaced, net, painted

from ssl_lessons import evaluation
from ssl_lessons.methods import SimCLR
from ssl_lessons.methods.colorization import Colorization
from ssl_lessons.methods.split_brain import SplitBrain
from ssl_lessons.models import LabChannels
from ssl_lessons.models.settle import settle
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import color

UNLABELED, KINDS, OF_ONE_KIND, STEPS, DRAWS = 4096, 2000, 8000, 300, 5
KEY = ("world", "arm", "seed")


class Noise(Colorization):
    """The second control: every cell of the map gets the colour of a cell drawn from the whole batch."""

    def cells(self, x):
        cells = super().cells(x).movedim(1, -1)
        mixed = cells.flatten(0, 2)[torch.randperm(cells[..., 0].numel())]
        return mixed.view_as(cells).movedim(-1, 1)


ARMS = {
    "simclr": lambda: SimCLR(net(), temperature=0.1),
    "simclr crops alone": lambda: SimCLR(net(), temperature=0.1),
    "colorization misplaced": lambda: Misplaced(net()),
    "colorization noise": lambda: Noise(net()),
    "colorization": lambda: Colorization(net()),
    "split_brain": lambda: SplitBrain(net(width=8, dim=128)),
}
UNTRAINED = {"untrained": net, "untrained L": lambda: LabChannels(net(), "L")}
FIXED = {"pixels": evaluation.pixels}


def mean_colour(images):
    """Four numbers: mean and deviation of a and b in the middle of the picture, [N, 4]."""
    quarter = images.shape[-1] // 4
    middle = images.float()[:, :, quarter:-quarter, quarter:-quarter] / 255
    ab = color.rgb_to_lab(middle)[:, 1:].flatten(2)
    return torch.cat([ab.mean(dim=2), ab.std(dim=2)], dim=1)


FIXED["mean colour"] = mean_colour


def whitener(h):
    """Features [N, D] -> features whose covariance on `h` is the identity; directions below a millionth are dropped."""
    mean = h.double().mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov((h.double() - mean).T))
    kept = values > 1e-6 * values[-1]
    turn = vectors[:, kept] / values[kept].sqrt()
    return lambda g: ((g.double() - mean) @ turn).float()


def accuracy(a, labels, b, test_labels) -> float:
    rows = evaluation.label_efficiency(a, labels, b, test_labels, per_class=(10,), draws=DRAWS)
    return rows[0]["mean"]


def hues(split: str, seed: int):
    """Pictures of one kind, and which of ten arcs of the circle the hue of the object lies in."""
    pictures = painted(split, OF_ONE_KIND, seed, own=False)
    chosen = (pictures.factors["kind"].values == seed % 10).nonzero().flatten()
    hue = pictures.factors["object_hue"].values[chosen] % (2 * math.pi)
    return pictures.images[chosen], (hue / (2 * math.pi) * 10).long().clamp(max=9)


def features_of(arm: str, seed: int, steps: int, unlabeled):
    if arm in FIXED:
        return FIXED[arm], {}
    torch.manual_seed(seed)
    if arm in UNTRAINED:
        encoder = settle(UNTRAINED[arm](), unlabeled[:1024])
        return partial(evaluation.extract_features, encoder), {}
    method, policy = ARMS[arm](), get_recipe("quick").policy
    if arm.endswith("crops alone"):
        policy = policy.replace(jitter_p=0.0, grayscale_p=0.0)
    history = pretrain(
        method, unlabeled, method.views(policy), steps=steps, batch_size=128, seed=seed, progress=False, **TRAINING
    )
    found = {"steps": steps, "seconds": history[-1]["seconds"], "loss": history[-1]["loss"]}
    return partial(evaluation.extract_features, method.encoder), found


def run(arm: str, seed: int, steps: int) -> dict:
    unlabeled = painted("unlabeled", UNLABELED, seed, own=False).images
    train, test = (painted(split, KINDS, seed, own=False) for split in ("train", "test"))
    features, found = features_of(arm, seed, steps, unlabeled)
    a, b = features(train.images), features(test.images)
    (x, hue), (x_test, hue_test) = hues("train", seed), hues("test", seed)
    row = {"world": WORLD, "arm": arm, "seed": seed, "steps": 0, **found}
    row["hue"] = accuracy(features(x), hue, features(x_test), hue_test)
    row["probe"] = accuracy(a, train.labels, b, test.labels)
    if arm not in FIXED:
        white = whitener(features(unlabeled[:2048]))
        row["whitened"] = accuracy(white(a), train.labels, white(b), test.labels)
    return row


def main(arms: list[str], seeds: list[int], steps: int, save: bool) -> None:
    done = {(row["arm"], row["seed"]) for row in recorded("colour_classes")}
    for seed in seeds:
        for arm in arms:
            if save and (arm, seed) in done:
                continue
            row = run(arm, seed, steps)
            if save:
                merge("colour_classes", [row], KEY)
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--arms", nargs="+", default=[*FIXED, *UNTRAINED, *ARMS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--dry", action="store_false", dest="save", help="print, record nothing")
    main(**vars(parser.parse_args()))
