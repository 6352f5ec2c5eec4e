"""What the recommended recipe claims over the published one, tested one change at a time.

    uv run python benchmarks/recipe_claims.py                                # the embedded world at 64 px
    uv run python benchmarks/recipe_claims.py --folder ~/tiny-imagenet       # real images, one folder per class
    uv run python benchmarks/recipe_claims.py --encoder resnet18 --batch 256 --steps 20000   # with a GPU

Every arm is the recommended recipe with one choice put back to the published one (or an alternative), trained for the
same number of steps ("multi-crop": for the same number of pixels).  A ResNet-18 is too slow for this on a CPU; a small
conv net stands in for it, and the two stems are compared in a ResNet-18 of a quarter of its width ("thin").  Learning
rates follow the batch by the linear rule.  Not tested: the size of the views (images of 64 px have no 96).  The rows on
photographs are of Tiny ImageNet, of every class its first 125 pictures in the order of the numbers in their names.

Every score is of held-out images of the train split, for choosing a recipe is tuning: the test split is not touched.
probe: linear, 10 labels per class of ten classes, mean of five draws; whitened: the same after whitening the features
with the covariance of the unlabelled images; knn: all labels of all classes.  The untrained encoder's BatchNorm
statistics are settled on the unlabelled images.  An arm in the record is not run again.
"""

import argparse
import inspect
import json
import time
from pathlib import Path

import torch
from _record import RESULTS, merge
from torch import nn
from torchvision.models.resnet import BasicBlock

from ssl_lessons import data, diagnostics, evaluation
from ssl_lessons.losses import nt_xent
from ssl_lessons.methods.dcl import DCL
from ssl_lessons.methods.simclr import SimCLR
from ssl_lessons.models import encoders
from ssl_lessons.models.settle import settle
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import Recipe, get_recipe
from ssl_lessons.views import Policy

KEY = ("arm", "data", "encoder", "batch", "steps", "seed")
SIZE, UNLABELED, LABELLED, DRAWS = 64, 8192, 2000, 5
OURS, THEIRS = get_recipe("recommended"), get_recipe("published")
COLOURS = ("brightness", "contrast", "saturation", "hue", "grayscale_p")


# ---- arms --------------------------------------------------------------------------------------------------


class MultiCrop(SimCLR):
    """SimCLR with small views: each must find the large views of its image, as those find each other."""

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        small = policy.replace(size=policy.size // 2, crop_scale=(0.08, 0.35))
        return (policy, policy, small, small)

    def forward(self, views, labels=None):
        first, second = self.pair(views[:2])
        small = self.pair(views[2:])
        pairs = [(first, second), *((large, z) for large in (first, second) for z in small)]
        return sum(nt_xent(a, b, self.temperature) for a, b in pairs) / len(pairs)


class ThinResNet(nn.Module):
    """A ResNet-18 of a quarter of its width, with either stem: [N, 3, S, S] -> [N, 128]."""

    dim = 128

    def __init__(self, stem: str = "3x3"):
        super().__init__()
        first = (
            nn.Conv2d(3, 16, 3, 1, 1, bias=False) if stem == "3x3" else nn.Conv2d(3, 16, 7, 2, 3, bias=False)
        )
        blocks, width = [], 16
        for out, stride in ((16, 1), (32, 2), (64, 2), (128, 2)):
            shortcut = None
            if stride > 1:
                shortcut = nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out))
            blocks += [BasicBlock(width, out, stride, shortcut), BasicBlock(out, out)]
            width = out
        self.layers = nn.Sequential(first, nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1), *blocks)

    def forward(self, x):
        return self.layers(x).mean(dim=(2, 3))


def options(**changes) -> Recipe:
    return OURS.with_(options=OURS.options | changes)


def policy(**changes) -> Recipe:
    return OURS.with_(policy=OURS.policy.replace(**changes))


def theirs(*names: str) -> dict:
    return {name: getattr(THEIRS.policy, name) for name in names}


HEAD = {name: THEIRS.options[name] for name in ("hidden_dim", "out_dim", "batch_norm")}
SGD = {"optimizer": THEIRS.optimizer, "lr": THEIRS.lr, "warmup": THEIRS.warmup}
# arm: the recipe, and the class of its method
ARMS = {
    "recommended": (OURS, SimCLR),
    "published": (THEIRS.with_(policy=THEIRS.policy.replace(size=SIZE)), SimCLR),
    "temperature 0.07": (options(temperature=0.07), SimCLR),
    "crop from 0.08": (policy(crop_scale=THEIRS.policy.crop_scale), SimCLR),
    "published colours": (policy(**theirs(*COLOURS)), SimCLR),
    "published blur": (policy(**theirs("blur_p")), SimCLR),
    "SGD 0.5, no warm-up": (OURS.with_(**SGD), SimCLR),
    "DCL": (OURS, DCL),
    "multi-crop": (OURS, MultiCrop),
    "no warm-up": (OURS.with_(warmup=0.0), SimCLR),
    "decay 1e-4": (OURS.with_(weight_decay=THEIRS.weight_decay), SimCLR),
    "published head": (options(**HEAD), SimCLR),
    "LARS 0.3": (OURS.with_(optimizer="lars", lr=0.3, weight_decay=1e-6), SimCLR),
    "AdamW 2e-3": (OURS.with_(optimizer="adamw", lr=2e-3, weight_decay=1e-4), SimCLR),
}
STEMS = ("recommended", "stem 7x7")  # in a ResNet only
CHEAPER = {"multi-crop": 0.8}  # two views more of a quarter of the pixels: as many pixels in 0.8 of the steps


def build_encoder(name: str, arm: str) -> nn.Module:
    if name == "convnet":
        return encoders.build_encoder("convnet", width=16, dim=256)
    published = arm in ("published", "stem 7x7")
    if name == "thin":
        return ThinResNet("7x7" if published else "3x3")
    chosen = THEIRS if published else OURS
    return encoders.build_encoder(chosen.encoder, **chosen.encoder_options)


# ---- data --------------------------------------------------------------------------------------------------


def embedded(seed: int):
    """Unlabelled images, labelled ones for the probe, held-out ones to score it on; all of the world of `seed`."""
    train = data.shapes("train", SIZE, LABELLED, seed, world=1)
    half = LABELLED // 2
    return data.shapes("unlabeled", SIZE, UNLABELED, seed, world=1).images, train[:half], train[half:]


def from_folder(path: Path):
    """The same from class folders: a quarter of each class of the train split is held out."""
    train = data.folder(path, "train", SIZE)
    place = torch.zeros_like(
        train.labels
    )  # how many images of the same class came before, in a shuffled order
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    for c in train.labels.unique():
        mine = order[train.labels[order] == c]
        place[mine] = torch.arange(len(mine)) * 4 // len(mine)
    return train.images[place > 0], train[place > 0], train[place == 0]


def ten_classes(images: data.ImageSet) -> data.ImageSet:
    """The images of ten classes, evenly spaced in the list, with labels 0 to 9."""
    every = max(1, len(images.classes) // 10)
    chosen = [c for c in range(len(images.classes)) if c % every == 0][:10]
    few = images[torch.isin(images.labels, torch.tensor(chosen))]
    labels = torch.bucketize(few.labels, torch.tensor(chosen))
    return data.ImageSet(few.images, labels, tuple(images.classes[c] for c in chosen), few.name, few.split)


# ---- measures ----------------------------------------------------------------------------------------------


def whitening(features: torch.Tensor, eps: float = 1e-3):
    """A function that whitens features with the mean and covariance of these; eps of the mean variance is added."""
    mean = features.mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov(features.T.double()))
    scale = (values.clamp(min=0) + eps * values.mean()).rsqrt()
    return lambda x: (x - mean) @ (vectors * scale).to(x.dtype)


def few_labels(encoder, fit: data.ImageSet, score: data.ImageSet, change=lambda h: h) -> float:
    fit, score = ten_classes(fit), ten_classes(score)
    h, h_score = (change(evaluation.extract_features(encoder, s.images)) for s in (fit, score))
    (row,) = evaluation.label_efficiency(h, fit.labels, h_score, score.labels, per_class=(10,), draws=DRAWS)
    return row["mean"]


def measure(encoder, unlabeled: torch.Tensor, fit: data.ImageSet, score: data.ImageSet) -> dict:
    whiten = whitening(evaluation.extract_features(encoder, unlabeled[:4096]))
    h, h_score = (evaluation.extract_features(encoder, s.images) for s in (fit, score))
    return {
        "probe": few_labels(encoder, fit, score),
        "whitened": few_labels(encoder, fit, score, whiten),
        "knn": evaluation.knn_accuracy(h, fit.labels, h_score, score.labels),
        "knn_whitened": evaluation.knn_accuracy(whiten(h), fit.labels, whiten(h_score), score.labels),
        "rank": diagnostics.rank_me(h_score[:2000]),
    }


def run(arm: str, sets, encoder_name: str, batch: int, steps: int, seed: int) -> dict:
    unlabeled, fit, score = sets
    torch.manual_seed(seed)
    encoder = build_encoder(encoder_name, arm)
    if arm == "untrained":
        return measure(settle(encoder, unlabeled), unlabeled, fit, score)
    recipe, kind = ARMS.get(arm, ARMS["recommended"])
    method = kind(encoder, **recipe.options)
    scaled = recipe.training() | {"batch_size": batch, "lr": recipe.lr * batch / recipe.batch_size}
    history = pretrain(
        method, unlabeled, method.views(recipe.policy), steps=round(steps * CHEAPER.get(arm, 1)), seed=seed,
        progress=False, **scaled,
    )  # fmt: skip
    method.encoder.cpu()
    losses = [row["loss"] for row in history]
    row = {
        "loss_first": losses[0],
        "loss_highest": max(losses),
        "loss": sum(losses[-10:]) / len(losses[-10:]),
    }
    return row | {"seconds": history[-1]["seconds"]} | measure(method.encoder, unlabeled, fit, score)


def main(folder: Path | None, encoder: str, arms, batch: int, steps: int, seeds, seconds: float) -> None:
    start, path = time.perf_counter(), RESULTS / "recipe_claims.json"
    default = ("untrained", *{"convnet": ARMS, "thin": STEMS, "resnet18": (*ARMS, "stem 7x7")}[encoder])
    for seed in seeds:
        sets = from_folder(folder) if folder else embedded(seed)
        name = f"{folder.name}, {len(sets[0]):,} images" if folder else "embedded 64 px"
        for arm in arms or default:
            place = {
                "arm": arm,
                "data": name,
                "encoder": encoder,
                "batch": batch,
                "steps": steps,
                "seed": seed,
            }
            known = json.loads(path.read_text())["rows"] if path.exists() else []
            if any(all(row[k] == place[k] for k in KEY) for row in known):
                continue
            if time.perf_counter() - start > seconds:
                return print("time is up; the next call goes on here:", place)
            row = place | run(arm, sets, encoder, batch, steps, seed)
            merge("recipe_claims", [row], KEY)
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="real images, one sub-folder per class")
    parser.add_argument("--encoder", default="convnet", choices=("convnet", "thin", "resnet18"))
    parser.add_argument(
        "--arms", nargs="+", choices=("untrained", "stem 7x7", *ARMS), help="default: all that apply"
    )
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="start no new arm after this time"
    )
    main(**vars(parser.parse_args()))
