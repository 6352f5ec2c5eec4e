"""The record of chapters 05 and 06: which pretext task fits which data, and what a harder task is worth.

    uv run python benchmarks/pretext.py                          # all arms that the record does not have yet
    uv run python benchmarks/pretext.py --arms rotation "jigsaw 10" --data textures --seeds 0 1

Every arm trains the same small encoder for a fixed number of steps on one world.  Recorded: the accuracy of the pretext
task on new pictures, the probe with 100 labels and kNN of what the world's label is (the object; in the texture world,
the texture), and how well a linear probe with 400 labels tells by how many quarters a picture was turned.  An arm in
the record is not run again; one killed on the way goes on from its last checkpoint.
"""

import argparse
import inspect
import json
import shutil
import tempfile
from pathlib import Path

import torch
from _record import RESULTS, merge
from _world import probe

from ssl_lessons import data, evaluation
from ssl_lessons.methods import SimCLR
from ssl_lessons.methods.colorization import Colorization
from ssl_lessons.methods.context_encoder import DAMAGES, ContextEncoder, Restore
from ssl_lessons.methods.counting import Counting
from ssl_lessons.methods.exemplar import Exemplar
from ssl_lessons.methods.jigsaw import Jigsaw
from ssl_lessons.methods.pirl import PIRL
from ssl_lessons.methods.relative_position import RelativePosition
from ssl_lessons.methods.rotation import Rotation
from ssl_lessons.methods.split_brain import SplitBrain
from ssl_lessons.models import LabChannels, build_encoder
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import color, normalize, pretext

UNLABELED, LABELLED, TEST, STEPS = 4096, 2000, 2000, 300
KEY = ("arm", "data", "seed")
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
    plain = data.shapes(split, 32, n, seed, world=1)
    hue, kind = (plain.factors[name].values for name in ("object_hue", "kind"))
    noise = 0.2 * torch.randn(n, generator=torch.Generator().manual_seed(seed))
    return data.recolour(plain, 2 * torch.pi * kind / 10 + noise if own else hue)


def splits(world: str, seed: int) -> list[data.ImageSet]:
    sizes = zip(data.SPLITS, (UNLABELED, LABELLED, TEST), strict=True)
    if world in COLOUR_WORLDS:
        return [painted(split, n, seed, own=world == "own colours") for split, n in sizes]
    return [data.shapes(split, 32, n, seed, **WORLDS[world], world=1) for split, n in sizes]


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
    "pirl": (lambda: PIRL(net(), UNLABELED), 128),
    "context_encoder": (lambda: ContextEncoder(net()), 128),
    "colorization": (lambda: Colorization(net()), 128),
    "split_brain": (lambda: SplitBrain(net(width=8, dim=128)), 128),
    "simclr": (lambda: SimCLR(net(), temperature=0.1), 128),
}
ORDERS, CLASSES = (4, 20, 100, 500), (64, 512, 4096)
# on the first world only: harder puzzles, every damage, more classes, the adversary
EXTRA = {
    **{f"jigsaw {p}": (lambda p=p: Jigsaw(net(), orders=p), 128) for p in ORDERS},
    **{f"restore {d}": (lambda d=d: Restore(net(), d), 128) for d in DAMAGES},
    **{f"exemplar {c}": (lambda c=c: Exemplar(net(), c), min(c, 128)) for c in CLASSES},
    "context_encoder adversary": (lambda: ContextEncoder(net(), adversarial=0.01), 128),
    "colorization plain": (lambda: Colorization(net(), rebalance=False), 128),
}
TURNED = "simclr turned"  # on the first two worlds
MISPLACED = "colorization misplaced"  # on the two worlds of colours
UNTRAINED = {
    "untrained": net,
    "untrained L": lambda: LabChannels(net(), "L"),
}  # what a colouriser starts from


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
    torch.manual_seed(0)  # places and orders
    method.eval()
    if isinstance(method, Rotation):
        turned, turns = pretext.four_rotations(normalize(images))
        return float((method.predict(turned).argmax(dim=1) == turns).float().mean())
    if isinstance(method, RelativePosition):
        x = normalize(images, round(method.zoom * images.shape[-1]))
        return float((method.predict(method.patches(x)).argmax(dim=2) == torch.arange(8)).float().mean())
    if isinstance(method, Jigsaw):
        cut = method.cut(normalize(images, round(method.zoom * images.shape[-1])))
        order = torch.randint(len(method.permutations), (len(cut),))
        answers = method.predict(pretext.shuffle(cut, method.permutations[order])).argmax(dim=1)
        return float((answers == order).float().mean())
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


def measure(features, train, test) -> dict:
    h, h_test = features(train.images), features(test.images)
    return {
        "probe": probe(h, h_test, train, test),
        "knn": evaluation.knn_accuracy(h, train.labels, h_test, test.labels),
    }


def run(arm: str, world: str, seed: int, steps: int) -> dict:
    unlabeled, train, test = splits(world, seed)
    row = {"arm": arm, "data": world, "seed": seed, "steps": 0}
    if arm == "pixels":
        return row | measure(evaluation.pixels, train, test)
    torch.manual_seed(seed)
    if arm in UNTRAINED:
        encoder = UNTRAINED[arm]()
    else:
        make, batch = build(arm)
        method = make()
        images = unlabeled.images[: int(arm.split()[1])] if arm.startswith("exemplar ") else unlabeled.images
        out = WORK / f"{arm} {world} {seed}"
        history = pretrain(
            method, images, policies(arm, method), steps=steps, batch_size=batch, seed=seed, progress=False, out=out,
            resume=True, checkpoint_every=100, **TRAINING,
        )  # fmt: skip
        shutil.rmtree(out, ignore_errors=True)
        encoder, losses = method.encoder, [r["loss"] for r in history]
        row |= {
            "steps": steps, "seconds": history[-1]["seconds"], "first_loss": losses[0], "loss": sum(losses[-20:]) / 20,
            "pretext": pretext_accuracy(method, test.images[:500]),
        }  # fmt: skip
    row |= measure(lambda images: evaluation.extract_features(encoder, images), train, test)
    return row | {"upright": upright_probe(encoder, train, test)}


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
                wanted = arm in ("pixels", *UNTRAINED, *ARMS) or world == "upright objects"
            if wanted:
                found.append((arm, world))
    return found


def main(arms: list[str], worlds: list[str], seeds: list[int], steps: int) -> None:
    WORK.mkdir(exist_ok=True)
    path = RESULTS / "pretext.json"
    for seed in seeds:
        for arm, world in pairs(arms, worlds):
            known = json.loads(path.read_text())["rows"] if path.exists() else []
            if any((row["arm"], row["data"], row["seed"]) == (arm, world, seed) for row in known):
                continue
            row = run(arm, world, seed, steps)
            merge("pretext", [row], KEY)
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--arms", nargs="+", default=["pixels", *UNTRAINED, *ARMS, *EXTRA, TURNED, MISPLACED])
    parser.add_argument("--data", nargs="+", default=[*WORLDS, *COLOUR_WORLDS], dest="worlds")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    main(**vars(parser.parse_args()))
