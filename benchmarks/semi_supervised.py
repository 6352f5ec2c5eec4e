"""The record behind chapter 22b: a hundred labels and eight thousand pictures, used together or one after the other.

    uv run python benchmarks/semi_supervised.py                        # tuning, then one complete seed after the other
    uv run python benchmarks/semi_supervised.py --parts arms --seeds 0 --arms uda mixmatch
    uv run python benchmarks/semi_supervised.py --dry                  # two steps of every arm, nothing written

tuning   rate and, where the arm has one, the weight of its unlabelled term: from one list, on a world of its own (seed
         100), after 250 steps, by accuracy on 1,000 held-out train images.  That is ten times the labels an arm learns
         from: nobody in need of these methods has them (chapter 22b says what that means).
arms     every arm with 10 labels a class, 1,000 steps of 256 pictures: 64 labelled and 192 unlabelled ones,
         or 256 labelled ones (drawn again and again) where no other pictures are used; and the 64 labelled ones alone.
         (A first record, not kept, had 250 steps: too few for the arms that guess, which all lay far behind.)
"""

import argparse
import inspect
import itertools
import time
from functools import partial

import torch
import torch.nn.functional as F
from _record import merge, recorded
from _world import WORLD, splits
from torch import Tensor, nn

from ssl_lessons import data, evaluation, losses, views
from ssl_lessons.models.settle import settle
from ssl_lessons.training import fit, pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views.pretext import four_rotations

KEY = ("world", "part", "arm", "per_class", "seed", "lr", "weight")
STEPS, TUNING_STEPS = 1000, 250
LABELLED, UNLABELLED, CLASSES, SEEDS, PER_CLASS = 64, 192, 10, (0, 1, 2), (10,)
RECIPE = get_recipe("quick")
STRONG = RECIPE.policy
WEAK = STRONG.scaled(0.0).replace(crop_scale=(0.5, 1.0), grayscale_p=0.0)
RATES, TUNING_SEED = (1e-3, 4e-3, 1e-2), 100


class Classifier(nn.Module):
    """The quick encoder with a linear head, and a second one for the quarter turns."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.head, self.turns = nn.Linear(encoder.dim, CLASSES), nn.Linear(encoder.dim, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x))


class Batch:
    """What one step of an arm may use: views of labelled and unlabelled pictures, drawn when they are asked for."""

    def __init__(self, labelled, unlabeled: Tensor, generator: torch.Generator, step: float):
        self.labelled, self.unlabeled, self.generator, self.done = labelled, unlabeled, generator, step

    def some(self, n: int, policy=STRONG) -> tuple[Tensor, Tensor]:
        """n labelled views and their one-hot labels [n, 10]."""
        rows = torch.randint(len(self.labelled), (n,), generator=self.generator)
        y = F.one_hot(self.labelled.labels[rows], CLASSES).float()
        return views.augment(self.labelled.images[rows], policy, self.generator), y

    def many(self, *policies) -> list[Tensor]:
        """One view per policy of the same unlabelled pictures."""
        rows = torch.randint(len(self.unlabeled), (UNLABELLED,), generator=self.generator)
        return views.make_views(self.unlabeled[rows], policies, self.generator)

    def order(self, n: int) -> Tensor:
        return torch.randperm(n, generator=self.generator)

    @property
    def ramp(self) -> float:
        """From 0 to 1 in the first two fifths of the run: a beginner's guesses weigh nothing."""
        return min(1.0, self.done / 0.4)


def labels_only(n: int, model, batch: Batch, weight: float) -> Tensor:
    return F.cross_entropy(*called(model, batch.some(n)))


def mixed(mix, model, batch: Batch, weight: float) -> Tensor:
    x, y = batch.some(LABELLED + UNLABELLED)
    share = views.mixing_weight(1.0, batch.generator)
    more = {"generator": batch.generator} if mix is views.cutmix else {}
    return F.cross_entropy(*called(model, mix(x, y, batch.order(len(x)), share, **more)))


def called(model, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return model(pair[0]), pair[1]


def with_pseudo_labels(model, batch: Batch, weight: float) -> Tensor:
    x, y = batch.some(LABELLED)
    (u,) = batch.many(STRONG)
    known, guessed = model(torch.cat([x, u])).split([len(x), len(u)])
    return F.cross_entropy(known, y) + weight * batch.ramp * losses.pseudo_label(guessed)


def with_turns(model, batch: Batch, weight: float) -> Tensor:
    """S4L: the labelled views take part in the quarter turns, too (Zhai et al. 2019, section 4.1)."""
    x, y = batch.some(LABELLED)
    (u,) = batch.many(STRONG)
    few = torch.cat(
        [x[: LABELLED // 4], u[: UNLABELLED // 4]]
    )  # four turned copies of each: as many pictures as others
    turned, turns = four_rotations(few)
    h = model.encoder(torch.cat([x, turned]))
    guess = F.cross_entropy(model.turns(h[len(x) :]), turns)
    return F.cross_entropy(model.head(h[: len(x)]), y) + weight * guess


def with_vat(model, batch: Batch, weight: float) -> Tensor:
    """VAT, and the entropy of the guesses, which its authors add (Miyato et al. 2018, section 4.2)."""
    x, y = batch.some(LABELLED)
    (u,) = batch.many(WEAK)
    p = model(u).log_softmax(1)
    entropy = -(p.exp() * p).sum(1).mean()
    away = losses.vat(model, u, radius=4.0, generator=batch.generator)
    return F.cross_entropy(model(x), y) + weight * (away + entropy)


def with_uda(model, batch: Batch, weight: float) -> Tensor:
    x, y = batch.some(LABELLED)
    weak, strong = batch.many(WEAK, STRONG)
    known, a, b = model(torch.cat([x, weak, strong])).split([len(x), len(weak), len(strong)])
    return F.cross_entropy(known, y) + weight * losses.consistency(a, b)


def with_mixmatch(model, batch: Batch, weight: float) -> Tensor:
    x, y = batch.some(LABELLED)
    pair = batch.many(STRONG, STRONG)
    with torch.no_grad():
        guess = losses.sharpen(sum(model(u).softmax(1) for u in pair) / len(pair), 0.5)
    everything, targets = torch.cat([x, *pair]), torch.cat([y, guess, guess])
    share = views.mixing_weight(0.75, batch.generator, at_least_half=True)
    everything, targets = views.mixup(everything, targets, batch.order(len(everything)), share)
    out = model(everything)
    n = len(x)
    return losses.mixmatch(out[:n], targets[:n], out[n:], targets[n:], weight * batch.ramp)


ARMS = {  # arm: (its loss, the weights of the unlabelled term that are tried)
    "labels only": (partial(labels_only, LABELLED + UNLABELLED), (0.0,)),
    "labels only, 64 a step": (partial(labels_only, LABELLED), (0.0,)),
    "mixup": (partial(mixed, views.mixup), (0.0,)),
    "cutmix": (partial(mixed, views.cutmix), (0.0,)),
    "pseudo-labels": (with_pseudo_labels, (0.1, 0.3, 1.0)),
    "rotations": (with_turns, (0.1, 0.3, 1.0)),
    "vat": (with_vat, (0.1, 0.3, 1.0)),
    "uda": (with_uda, (0.1, 0.3, 1.0)),
    "mixmatch": (with_mixmatch, (1.0, 3.0, 10.0)),
}
LATER = ("simclr, probe", "simclr, fine-tuned", "from scratch, fine-tuned alike")
FLOORS = ("pixels", "untrained, probe")


def learn(
    arm: str, labelled, unlabeled: Tensor, seed: int, lr: float, weight: float, steps: int
) -> Classifier:
    """The classifier that an arm makes of its labels and pictures."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Classifier(RECIPE.build(seed).encoder)
    done, loss = 0, ARMS[arm][0]

    def value(generator: torch.Generator) -> Tensor:
        nonlocal done
        done += 1
        return loss(model, Batch(labelled, unlabeled, generator, done / steps), weight)

    fit(model, value, steps, lr=lr, seed=seed)
    return model


@torch.no_grad()
def accuracy(model: Classifier, images: Tensor, labels: Tensor) -> float:
    logits = torch.cat([model(views.normalize(part)) for part in images.split(500)])
    return float((logits.argmax(1) == labels).float().mean())


def subset(train, per_class: int, seed: int):
    return train[data.label_subset(train.labels, per_class, seed)]


def tuned(arm: str, rows: list[dict]) -> dict:
    """Rate and weight with the best held-out accuracy."""
    rows = [r for r in rows if r["part"] == "tuning" and r["arm"] == arm]
    return max(rows, key=lambda r: r["held_out"])


def tuning_row(arm: str, lr: float, weight: float, steps: int) -> dict:
    unlabeled, train, _ = sets(TUNING_SEED)
    model = learn(arm, subset(train[:1000], 10, 0), unlabeled.images, TUNING_SEED, lr, weight, steps)
    return {"steps": steps, "held_out": accuracy(model, train.images[1000:], train.labels[1000:])}


def sets(seed: int):
    if seed not in KEPT:
        KEPT.clear()
        KEPT[seed] = splits(seed)
    return KEPT[seed]


KEPT, PRETRAINED = {}, {}


def simclr(seed: int, steps: int) -> nn.Module:
    if seed not in PRETRAINED:
        PRETRAINED.clear()
        method = RECIPE.build(seed)
        pretrain(
            method,
            sets(seed)[0].images,
            (STRONG, STRONG),
            steps=steps,
            seed=seed,
            progress=False,
            **RECIPE.training(),
        )
        PRETRAINED[seed] = method.encoder.eval()
    return PRETRAINED[seed]


def arm_row(arm: str, per_class: int, seed: int, steps: int, choice: dict) -> dict:
    unlabeled, train, test = sets(seed)
    few = subset(train, per_class, seed)
    if arm in ARMS:
        model = learn(arm, few, unlabeled.images, seed, choice["lr"], choice["weight"], steps)
        score, encoder = accuracy(model, test.images, test.labels), model.encoder
        return {
            "steps": steps,
            "accuracy": score,
            "chosen": [choice["lr"], choice["weight"]],
            "probe": read(encoder, few, test),
        }
    if arm == "pixels":
        x, x_test = evaluation.pixels(few.images), evaluation.pixels(test.images)
        return {"accuracy": evaluation.linear_probe(x, few.labels, x_test, test.labels).accuracy}
    if arm == "untrained, probe":
        method = RECIPE.build(seed)
        settle(method, unlabeled.images[:2048])
        return {"accuracy": read(method.eval().encoder, few, test)}
    encoder = RECIPE.build(seed).encoder if arm.startswith("from scratch") else simclr(seed, steps)
    if arm == "simclr, probe":
        return {"steps": steps, "accuracy": read(encoder, few, test)}
    found = evaluation.fine_tune(
        encoder,
        few.images,
        few.labels,
        test.images,
        test.labels,
        policy=STRONG,
        steps=max(2, steps // 2),
        seed=seed,
    )
    return {"steps": steps, "accuracy": found.accuracy}


def read(encoder: nn.Module, few, test) -> float:
    h, h_test = (evaluation.extract_features(encoder, s.images) for s in (few, test))
    return evaluation.linear_probe(h, few.labels, h_test, test.labels).accuracy


def jobs(parts: list[str], arms: list[str], seeds: list[int], steps: int):
    """(place, measure) of every row, tuning first."""
    if "tuning" in parts:
        for arm in (a for a in arms if a in ARMS):
            for weight in ARMS[arm][1]:
                for lr in RATES:
                    place = {"arm": arm, "per_class": 10, "seed": TUNING_SEED, "lr": lr, "weight": weight}
                    run = partial(tuning_row, arm, lr, weight, min(steps, TUNING_STEPS))
                    yield {"part": "tuning"} | place, run
    if "arms" in parts:
        for per_class, seed, arm in itertools.product(PER_CLASS, seeds, arms):
            place = {"arm": arm, "per_class": per_class, "seed": seed, "lr": None, "weight": None}
            yield {"part": "arms"} | place, partial(arm_row, arm, per_class, seed, steps)


def main(parts: list[str], arms: list[str], seeds: list[int], dry: bool, seconds: float) -> None:
    start, steps = time.perf_counter(), 2 if dry else STEPS
    for place, measure in jobs(parts, arms, seeds, steps):
        place = {"world": WORLD} | place
        rows = recorded("semi_supervised")
        if not dry and any(all(r.get(k) == place[k] for k in KEY) for r in rows):
            continue
        if time.perf_counter() - start > seconds:
            return print("time is up; the next call goes on here:", place)
        began = time.perf_counter()
        if place["part"] == "arms" and place["arm"] in ARMS:
            first = {"lr": RATES[0], "weight": ARMS[place["arm"]][1][0]}
            measure = partial(measure, first if dry else tuned(place["arm"], rows))
        elif place["part"] == "arms":
            measure = partial(measure, {})
        row = place | measure() | {"seconds": time.perf_counter() - began}
        if not dry:
            merge("semi_supervised", [row], KEY)
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    every = [*FLOORS, *ARMS, *LATER]
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", default=["tuning", "arms"], choices=("tuning", "arms"))
    parser.add_argument("--arms", nargs="+", default=every, choices=every)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--dry", action="store_true", help="two steps of every arm, nothing is written")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="start no new row after this time"
    )
    main(**vars(parser.parse_args()))
