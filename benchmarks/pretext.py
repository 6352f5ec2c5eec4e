"""The record of chapters 05 and 06: which pretext task fits which data, and what a harder task is worth.

    uv run python benchmarks/pretext.py                          # what is missing in the record, seeds 0, 1, 2
    uv run python benchmarks/pretext.py --arms rotation "jigsaw 20" --data textures --seeds 0 1

Every arm trains the same small encoder for a fixed number of steps on one kind of pictures.  Recorded: the accuracy of
the pretext task on new pictures, the probe with 100 labels and kNN of what the label is (the object; among textures,
which texture), and how well a linear probe with 400 labels tells by how many quarters a picture was turned.  A task
whose encoder never saw a whole picture is read twice: on whole pictures, and on the pieces it was trained on ("read").
An arm in the record is not run again; one killed on the way goes on from its last checkpoint.
"""

import argparse
import copy
import inspect
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from _record import merge, recorded
from _world import WORLD, probe

from ssl_lessons import data, evaluation
from ssl_lessons.methods import SimCLR
from ssl_lessons.methods.colorization import Colorization
from ssl_lessons.methods.context_encoder import DAMAGES, ContextEncoder, Restore
from ssl_lessons.methods.counting import Counting
from ssl_lessons.methods.diet import DIET
from ssl_lessons.methods.exemplar import Exemplar
from ssl_lessons.methods.jigsaw import Jigsaw
from ssl_lessons.methods.pirl import PIRL
from ssl_lessons.methods.pretext_task import PretextTask
from ssl_lessons.methods.relative_position import RelativePosition
from ssl_lessons.methods.rotation import Rotation
from ssl_lessons.methods.split_brain import SplitBrain
from ssl_lessons.models import LabChannels, build_encoder
from ssl_lessons.models.settle import settle
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import color, normalize, pretext

UNLABELED, LABELLED, TEST, STEPS = 4096, 2000, 2000, 300
KEY = ("world", "arm", "data", "read", "seed")
WORK = Path(tempfile.gettempdir()) / "ssl_lessons_pretext"  # the checkpoint of the arm under way
TRAINING = {"optimizer": "adamw", "lr": 3e-3, "weight_decay": 1e-4, "warmup": 0.1}
WORLDS = {
    "upright objects": {},
    "seen from above": {"oriented": False},
    "textures": {"objects": False},
}
COLOUR_WORLDS = ("any colour", "own colours")  # see `painted`


# ---- data --------------------------------------------------------------------------------------------------


def painted(split: str, n: int, seed: int, own: bool) -> data.ImageSet:
    """Upright objects with a lightness that tells no hue; own: each kind has a hue of its own, up to a little noise."""
    plain = data.shapes(split, 32, n, seed)
    hue, kind = (plain.factors[name].values for name in ("object_hue", "kind"))
    noise = 0.2 * torch.randn(n, generator=torch.Generator().manual_seed(seed))
    return data.recolour(plain, 2 * torch.pi * kind / 10 + noise if own else hue)


def splits(world: str, seed: int) -> list[data.ImageSet]:
    sizes = zip(data.SPLITS, (UNLABELED, LABELLED, TEST), strict=True)
    if world in COLOUR_WORLDS:
        return [painted(split, n, seed, own=world == "own colours") for split, n in sizes]
    return [data.shapes(split, 32, n, seed, **WORLDS[world]) for split, n in sizes]


class Misplaced(Colorization):
    """The control: paint the colours of another picture, about which the lightness says nothing at all."""

    def cells(self, x):
        return super().cells(x.roll(1, dims=0))


# ---- arms --------------------------------------------------------------------------------------------------


def net(**options):
    return build_encoder("convnet", **{"width": 16, "dim": 256} | options)


# arm: (method, images per batch); a batch of rotations holds four copies of each image, one of SimCLR two
ARMS = {
    "rotation": (lambda: Rotation(net()), 64),
    "relative_position": (lambda: RelativePosition(net()), 128),
    "jigsaw": (lambda: Jigsaw(net()), 128),
    "counting": (lambda: Counting(net()), 128),
    "exemplar": (lambda: Exemplar(net(), UNLABELED), 128),
    "diet": (lambda: DIET(net(), UNLABELED), 128),
    "pirl": (lambda: PIRL(net(), UNLABELED), 128),
    "context_encoder": (lambda: ContextEncoder(net()), 128),
    "colorization": (lambda: Colorization(net()), 128),
    "split_brain": (lambda: SplitBrain(net(width=8, dim=128)), 128),
    "simclr": (lambda: SimCLR(net(), temperature=0.1), 128),
}
ORDERS, CLASSES = (4, 20, 100, 500), (64, 512)  # "exemplar" and "diet" have all 4,096
# on upright objects only: harder puzzles, every damage, more or fewer classes, the adversary
EXTRA = {
    **{f"jigsaw {p}": (lambda p=p: Jigsaw(net(), orders=p), 128) for p in ORDERS},
    **{f"restore {d}": (lambda d=d: Restore(net(), d), 128) for d in DAMAGES},
    **{f"exemplar {c}": (lambda c=c: Exemplar(net(), c), min(c, 128)) for c in CLASSES},
    **{f"diet {c}": (lambda c=c: DIET(net(), c), min(c, 128)) for c in CLASSES},
    "context_encoder adversary": (lambda: ContextEncoder(net(), adversarial=0.01), 128),
    "colorization plain": (lambda: Colorization(net(), rebalance=False), 128),
}
WHICH = ("exemplar 64", "diet 64")  # which of 64 pictures is it: on all three worlds
TURNED = "simclr turned"  # on both worlds of objects
MISPLACED = "colorization misplaced"  # on the two worlds of colours
UNTRAINED = {
    "untrained": net,
    "untrained L": lambda: LabChannels(net(), "L"),
}  # what a colouriser starts from


# the encoders that never saw a whole picture, by what they saw
AS_TRAINED = {"tiles": ("jigsaw",), "patches": ("relative_position",), "half": ("counting",)}


def policies(arm: str, method):
    policy = get_recipe("quick").policy
    return method.views(policy.replace(rotation=180.0) if arm == TURNED else policy)


def build(arm: str):
    if arm == TURNED:
        return ARMS["simclr"]
    if arm == MISPLACED:
        return lambda: Misplaced(net()), 128
    return (ARMS | EXTRA)[arm]


# ---- measures ----------------------------------------------------------------------------------------------


@torch.no_grad()
def pretext_accuracy(method, images) -> float | None:
    """Accuracy of the method's own task on new pictures; None where the task has no right answer."""
    method.eval()
    if isinstance(method, PretextTask):
        return method.accuracy(images)
    if isinstance(method, Colorization):
        cells = torch.nn.functional.avg_pool2d(
            color.rgb_to_lab(images.float() / 255)[:, 1:], images.shape[-1] // method.side
        )
        right = (
            method.logits(normalize(images)).argmax(dim=1)
            == color.nearest_bins(cells.movedim(1, -1), method.bins)[..., 0]
        )
        return float(right.float().mean())
    return None


def upright_probe(encoder, train, test) -> float:
    """A linear probe with 100 pictures in all four turns: by how many quarters was it turned?"""
    rows = []
    for images in (train.images[:100], test.images[:500]):
        turned, turns = pretext.four_rotations(images)
        rows += [evaluation.extract_features(encoder, turned), turns]
    return evaluation.linear_probe(*rows).accuracy


def pieces(read: str, images):
    """The pictures as a task saw them, normalised: [N, pieces, 3, s, s]; every cut in the same places."""
    torch.manual_seed(0)
    if read == "half":
        return torch.nn.functional.avg_pool2d(normalize(images), 2)[:, None]
    task = Jigsaw(net()) if read == "tiles" else RelativePosition(net())
    x = normalize(images, round(task.zoom * images.shape[-1]))
    return task.cut(x) if read == "tiles" else task.patches(x)


@torch.no_grad()
def piecewise(encoder, read: str, images):
    """Features of all pieces of a picture, side by side: [N, pieces * dim]"""
    encoder.eval()
    return torch.cat([encoder(x.flatten(0, 1)).view(len(x), -1) for x in pieces(read, images).split(250)])


def measure(features, train, test) -> dict:
    h, h_test = features(train.images), features(test.images)
    return {
        "probe": probe(h, h_test, train, test),
        "knn": evaluation.knn_accuracy(h, train.labels, h_test, test.labels),
    }


def trained(arm: str, world: str, seed: int, steps: int, unlabeled, test) -> tuple[torch.nn.Module, dict]:
    """The encoder after the arm's task, and how the training went."""
    make, batch = build(arm)
    method = make()
    images = (
        unlabeled.images[: int(arm.split()[1])]
        if arm.startswith(("exemplar ", "diet "))
        else unlabeled.images
    )
    out = WORK / f"{arm} {world} {seed}"
    history = pretrain(
        method, images, policies(arm, method), steps=steps, batch_size=batch, seed=seed, progress=False, out=out,
        resume=True, checkpoint_every=100, **TRAINING,
    )  # fmt: skip
    shutil.rmtree(out, ignore_errors=True)
    losses = [r["loss"] for r in history]
    return method.encoder, {
        "steps": steps, "seconds": history[-1]["seconds"], "first_loss": losses[0], "loss": sum(losses[-20:]) / 20,
        "pretext": pretext_accuracy(method, test.images[:500]),
    }  # fmt: skip


def run(arm: str, world: str, seed: int, steps: int) -> list[dict]:
    """One row per way of reading the features, on whole pictures first."""
    unlabeled, train, test = splits(world, seed)
    row = {"world": WORLD, "arm": arm, "data": world, "seed": seed, "steps": 0, "read": "whole"}
    if arm == "pixels":
        return [row | measure(evaluation.pixels, train, test)]
    torch.manual_seed(seed)
    if arm in UNTRAINED:
        whole, found = settle(UNTRAINED[arm](), unlabeled.images[:1024]), {}
    else:
        whole, found = trained(arm, world, seed, steps, unlabeled, test)
    row |= found
    rows = [
        row | measure(partial(evaluation.extract_features, whole), train, test)
        | {"upright": upright_probe(whole, train, test)}
    ]  # fmt: skip
    for read in (
        AS_TRAINED if arm == "untrained" else [r for r, arms in AS_TRAINED.items() if arm.split()[0] in arms]
    ):
        encoder = settle_on(whole, pieces(read, unlabeled.images[:512])) if arm in UNTRAINED else whole
        rows.append(row | {"read": read} | measure(partial(piecewise, encoder, read), train, test))
    return rows


@torch.no_grad()
def settle_on(encoder, cut):
    """A copy of an untrained encoder whose BatchNorm statistics are those of pieces [N, pieces, 3, s, s]."""
    encoder = copy.deepcopy(encoder)
    torch.optim.swa_utils.update_bn([x.flatten(0, 1) for x in cut.split(64)], encoder)
    return encoder.eval()


ABOUT_COLOUR = ("pixels", *UNTRAINED, "colorization", "colorization plain", MISPLACED, "split_brain", "context_encoder",
                "restore nothing", "restore gray", "simclr")  # fmt: skip


def pairs(arms: list[str], worlds: list[str]) -> list[tuple[str, str]]:
    """The arms that make sense on each world, the main table first."""
    found = []
    for world in worlds:
        for arm in arms:
            if world in COLOUR_WORLDS:
                wanted = arm in ABOUT_COLOUR
            elif arm == TURNED:
                wanted = world != "textures"
            elif arm == MISPLACED:
                wanted = False
            else:
                wanted = arm in ("pixels", *UNTRAINED, *ARMS, *WHICH) or world == "upright objects"
            if wanted:
                found.append((arm, world))
    return found


def main(arms: list[str], worlds: list[str], seeds: list[int], steps: int, seconds: float) -> None:
    WORK.mkdir(exist_ok=True)
    start = time.perf_counter()
    done = {tuple(row.get(k) for k in ("world", "arm", "data", "seed")) for row in recorded("pretext")}
    for seed in seeds:
        for arm, world in pairs(arms, worlds):
            if (WORLD, arm, world, seed) in done or time.perf_counter() - start > seconds:
                continue
            rows = run(arm, world, seed, steps)
            merge("pretext", rows, KEY)
            for row in rows:
                print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--arms", nargs="+", default=["pixels", *UNTRAINED, *ARMS, *EXTRA, TURNED, MISPLACED])
    parser.add_argument("--data", nargs="+", default=[*WORLDS, *COLOUR_WORLDS], dest="worlds")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seconds", type=float, default=1e9, help="start no further run after that many")
    main(**vars(parser.parse_args()))
