"""The measurements of chapters 26 and 26d: MoCo's queue at small batches, and policies for pictures from above.

    uv run python benchmarks/extensions.py                            # all rows that the record does not have yet
    uv run python benchmarks/extensions.py --parts moco --seconds 300 # start no new row after 300 seconds

tuning        learning rate of each contestant of "moco", on a world of its own (seed 100), from the same list,
              scored on held-out images of the train split; the best of each is what "moco" uses.
moco          SimCLR, MoCo, and MoCo without its queue, at batches of 256, 128 and 16, on as many pairs of views;
              and what a pair costs, measured in turns.
policies      36 augmentation policies in two worlds: scores that need no labels, one that does, and the probe.
temperature   (only on demand) the long runs in the first drawn world that chapter 26b reads.
(Other rows without `world` are of the first edition, and of another protocol.)

What "policies" is to decide was fixed before its first run.  For each score: the rank correlation with the probe over
the 36 policies, means over the seeds, in the world seen from above; it is an aid to choosing if the 90 % interval lies
above 0 and the estimate is 0.5 or more, none if the interval lies below 0.5.  And the policy it picks must beat
"photographs", which anybody would take without any score.
"""

import argparse
import functools
import inspect
import itertools
import time
from functools import partial

import torch
import torch.nn.functional as F
from _record import merge, recorded
from _world import WORLD, measure, probe, projections
from _world import splits as large_splits
from temperature import class_cosines

from ssl_lessons import data, diagnostics, evaluation, views
from ssl_lessons.methods.moco import MoCoV2
from ssl_lessons.methods.simclr import SimCLR
from ssl_lessons.models import build_encoder
from ssl_lessons.models.settle import settle
from ssl_lessons.training import Monitor, pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import pretext

KEY = ("world", "part", "arm", "data", "seed")
PARTS = ("tuning", "moco", "policies")
QUICK, MOCO = get_recipe("quick"), get_recipe("quick", "moco_v2")
SEEDS, TUNING_SEED = (0, 1, 2), 100
UNTRAINED, PIXELS = "untrained", "pixels"
FLOORS = (PIXELS, UNTRAINED)


def known(part: str, world: int | None = WORLD) -> list[dict]:
    """The rows of a part that the record has."""
    rows = recorded("extensions")
    return [row for row in rows if row["part"] == part and row.get("world") == world]


def measured(features, train, test) -> dict:
    """Probe and kNN on the test split."""
    h, h_test = features(train.images), features(test.images)
    return {
        "probe": probe(h, h_test, train, test),
        "knn": evaluation.knn_accuracy(h, train.labels, h_test, test.labels),
    }


def held_out(features, train) -> dict:
    """The probe with one half of the train images on the other: for choices."""
    h, half = features(train.images), len(train) // 2
    return {"held_out": probe(h[:half], h[half:], train[:half], train[half:])}


@functools.cache
def small_splits(world: str, seed: int) -> list[data.ImageSet]:
    """unlabeled, train and test of one of WORLDS, drawn once: all its policies follow each other."""
    sizes = zip(data.SPLITS, SMALL, strict=True)
    return [data.shapes(split, 32, n, seed, **WORLDS[world]) for split, n in sizes]


def which_quarter(encoder, train, test, ridge: float = 100.0) -> float:
    """By how many quarters was a picture turned?  Accuracy of a ridge classifier on 500 new pictures in all turns.

    It is fitted on 1,000 others and uses no labels: the label-free score of Reed et al. (2021), who fit a linear
    classifier by gradient descent.
    """
    (x, turns), (x_test, turns_test) = (
        pretext.four_rotations(s) for s in (train.images[:1000], test.images[:500])
    )
    h, h_test = (evaluation.extract_features(encoder, v).double() for v in (x, x_test))
    center, scale = h.mean(dim=0), h.std(dim=0) + 1e-6
    h, h_test = (h - center) / scale, (h_test - center) / scale
    y = F.one_hot(turns, 4).double() - 0.25
    w = torch.linalg.solve(h.T @ h + ridge * torch.eye(h.shape[1], dtype=h.dtype), h.T @ y)
    return float(((h_test @ w).argmax(dim=1) == turns_test).double().mean())


def last(history) -> float:
    tail = history[-20:]
    return sum(r["loss"] for r in tail) / len(tail)


# ---- MoCo's queue at small batches --------------------------------------------------------------------------------

PAIRS = 61_440  # pairs of views that a contestant sees: 240 steps of 256, as in chapter 14
RATES = (2e-3, 4e-3, 8e-3)
QUEUE, MOMENTUM = 2048, 0.99  # the momentum at 256; at another batch as much is forgotten per picture
CONTESTANTS = ("simclr 256", "simclr 128", "moco 128", "simclr 16", "moco 16", "keys 16", "keys 128")


class BatchKeys(MoCoV2):
    """MoCo v2 without its queue: the negatives of a query are the other keys of its own batch."""

    def contrast(self, query, key):
        q, k = F.normalize(query, dim=1), F.normalize(key, dim=1)
        return F.cross_entropy(q @ k.T / self.temperature, torch.arange(len(q), device=q.device))


def contestant(name: str, lr: float, seed: int):
    """The method of a contestant, with weights drawn from `seed`, and how it is trained."""
    kind, batch = name.split()[0], int(name.split()[1])
    training = (QUICK if kind == "simclr" else MOCO).training() | {"batch_size": batch, "lr": lr}
    if kind == "simclr":
        return QUICK.build(seed), training
    torch.manual_seed(seed)
    encoder = build_encoder("convnet", **QUICK.encoder_options)
    options = {"momentum": MOMENTUM ** (batch / 256), "queue_size": QUEUE}
    return (MoCoV2 if kind == "moco" else BatchKeys)(encoder, **options), training


def compete(name: str, seed: int, lr: float, pairs: int) -> dict:
    unlabeled, train, test = large_splits(seed)
    method, training = contestant(name, lr, seed)
    steps, half = pairs // training["batch_size"], len(train) // 2
    history = pretrain(
        method, unlabeled.images, method.views(QUICK.policy), steps=steps, seed=seed, progress=False,
        monitor=Monitor(train[:half], train[half:], every=max(1, min(steps // 5, 240))), **training,
    )  # fmt: skip
    encode = partial(evaluation.extract_features, method.eval().encoder)
    return {
        "contestant": name, "steps": steps, "batch": training["batch_size"], "pairs": pairs, "lr": lr,
        "momentum": getattr(method, "momentum", None), "loss": last(history), "seconds": history[-1]["seconds"],
        "online": [[r["step"] * training["batch_size"], r["knn"]] for r in history if "knn" in r],
    } | (held_out(encode, train) if seed == TUNING_SEED else measured(encode, train, test))  # fmt: skip


def tune(name: str, lr: float) -> dict:
    """Nothing is chosen on the test split: it is not even looked at."""
    return compete(name, TUNING_SEED, lr, PAIRS // 3)


def tuned(name: str) -> float:
    """The learning rate that did best for a contestant on held-out train images."""
    rows = [row for row in known("tuning") if row["contestant"] == name]
    return max(rows, key=lambda row: row["held_out"])["lr"]


def race(name: str, seed: int) -> dict:
    return compete(name, seed, tuned(name), PAIRS)


def floor(arm: str, sets, seed: int, **options) -> dict:
    """The encoder before training, its statistics settled, or the raw pixels."""
    if arm == PIXELS:
        return {"steps": 0} | measured(evaluation.pixels, *sets[1:])
    torch.manual_seed(seed)
    encoder = build_encoder("convnet", **QUICK.encoder_options | options)
    settle(encoder, sets[0].images[:2048])
    found = measured(partial(evaluation.extract_features, encoder), *sets[1:])
    return {"steps": 0} | found | {"quarter": which_quarter(encoder, *sets[1:])}


def speed(rounds: int = 5, pairs: int = 1280) -> dict:
    """Seconds per pair of views, taken in turns; the fastest round counts, the first does not."""
    pictures = large_splits(TUNING_SEED)[0].images
    seconds = {name: [] for name in CONTESTANTS[:5]}
    for _ in range(rounds):
        for name, found in seconds.items():
            method, training = contestant(name, QUICK.lr, 0)
            steps = pairs // training["batch_size"]
            history = pretrain(
                method, pictures, method.views(QUICK.policy), steps=steps, progress=False, **training
            )
            found.append(history[-1]["seconds"] / pairs)
    return {"seconds_per_pair": {name: min(found[1:]) for name, found in seconds.items()}}


def tuning_arms():
    for name in CONTESTANTS:
        for lr in RATES:
            yield f"{name}, lr {lr:g}", "upright", TUNING_SEED, partial(tune, name, lr)


def moco_arms():
    for seed in SEEDS:
        for arm in FLOORS:
            yield arm, "upright", seed, lambda arm=arm, seed=seed: floor(arm, large_splits(seed), seed)
        for name in CONTESTANTS:
            yield name, "upright", seed, partial(race, name, seed)
    yield "speed", "upright", 0, speed


# ---- a policy for pictures from above ------------------------------------------------------------------------------

WORLDS = {"from above": {"oriented": False}, "upright": {}}
SMALL = (4096, 2000, 2000)  # unlabeled, train, test
NET = {"width": 8, "dim": 128}
STEPS, BATCH, RATE = 400, 32, 4e-3
OFF = {  # what leaving a part out changes in the policy for photographs
    "crop": {"crop_p": 0.0},
    "colour": {"jitter_p": 0.0},
    "gray": {"grayscale_p": 0.0},
    "flip": {"flip_p": 0.0},
}
ON = {"turns": {"rotation": 180.0}, "blur": {"blur_p": 0.5}}  # what adding a part changes
PHOTOGRAPHS = ("crop", "colour", "gray", "flip")


def policy_of(parts) -> views.Policy:
    """The policy with just these parts of it at work."""
    changes = {k: v for name, change in OFF.items() if name not in parts for k, v in change.items()}
    changes |= {k: v for name in parts if name in ON for k, v in ON[name].items()}
    return QUICK.policy.replace(**changes)


def half_of_all() -> dict[str, tuple[str, ...]]:
    """name -> parts: the 32 of the 64 subsets of the six parts that have an even number of members.

    In this half every part is in 16 policies, and so is every other part, half with it and half without: the effect of
    one is not mixed with that of another, nor with what two do together (a fractional factorial design, 2^(6-1)).
    """
    found = {}
    for size in (0, 2, 4, 6):
        for parts in itertools.combinations((*OFF, *ON), size):
            name = "photographs" if parts == PHOTOGRAPHS else " ".join(parts) or "nothing"
            found[name] = parts
    return found


DESIGN = half_of_all()
TURNED = "photographs, turned"
POLICIES = {name: policy_of(parts) for name, parts in DESIGN.items()} | {
    TURNED: policy_of((*PHOTOGRAPHS, "turns")),
    "photographs, gentle crop": QUICK.policy.replace(crop_scale=(0.6, 1.0)),
    "photographs, twice the colour": QUICK.policy.scaled(2.0),
    "photographs, no hue": QUICK.policy.replace(hue=0.0),
}
PARTS_OF = {name: DESIGN.get(name, PHOTOGRAPHS) for name in POLICIES} | {TURNED: (*PHOTOGRAPHS, "turns")}


class Watched(SimCLR):
    """SimCLR that writes down the norm of its gradient at every step."""

    def __init__(self, encoder, **options):
        super().__init__(encoder, **options)
        self.norms = []

    def after_step(self, progress: float) -> None:
        self.norms.append(gradient_norm(self))


def gradient_norm(module: torch.nn.Module) -> float:
    """The length of the gradient over all parameters, as one vector."""
    return float(torch.stack([p.grad.norm() for p in module.parameters() if p.grad is not None]).norm())


def tenths(values: list[float]) -> list[float]:
    """Means over ten equal parts of a run."""
    size = len(values) / 10
    parts = [values[round(i * size) : round((i + 1) * size)] for i in range(10)]
    return [sum(part) / len(part) for part in parts]


def policy_run(name: str, world: str, seed: int, steps: int = STEPS) -> dict:
    sets = small_splits(world, seed)
    if name in FLOORS:
        return floor(name, sets, seed, **NET)
    unlabeled, train, test = sets
    torch.manual_seed(seed)
    method = Watched(build_encoder("convnet", **NET), temperature=QUICK.options["temperature"])
    history = pretrain(
        method, unlabeled.images, (POLICIES[name],) * 2, steps=steps, batch_size=BATCH, lr=RATE, seed=seed,
        progress=False, monitor=Monitor(train[:500], train[500:1000], every=max(1, 3 * steps // 10)),
    )  # fmt: skip
    encode = partial(evaluation.extract_features, method.eval().encoder)
    online = [[r["step"], r["knn"]] for r in history if "knn" in r]
    return {
        "steps": steps, "parts": PARTS_OF[name], "design": name in DESIGN, "grad": tenths(method.norms),
        "losses": tenths([r["loss"] for r in history]), "online": online,
        "early": online[min(1, len(online) - 1)][1],  # kNN at three tenths of the run
        "rank_h": float(diagnostics.rank_me(encode(train.images[:1000]))),
        "quarter": which_quarter(method.encoder, train, test),
    } | measured(encode, train, test)  # fmt: skip


def policy_arms():
    """From above with all seeds, the upright world once in between; more of it last."""
    order = [
        ("from above", 0),
        ("upright", 0),
        ("from above", 1),
        ("from above", 2),
        ("upright", 1),
        ("upright", 2),
    ]
    for world, seed in order:
        for name in (*FLOORS, *POLICIES):
            yield name, world, seed, partial(policy_run, name, world, seed)


# ---- temperature, in the first drawn world ------------------------------------------------------------------------

LONG, LONG_STEPS = (0.02, 0.05, 0.1, 0.2), 1200


def temperature(tau: float, seed: int, steps: int) -> dict:
    recipe = QUICK.with_(options=QUICK.options | {"temperature": tau})
    unlabeled, train, test = large_splits(seed, world=1)
    method = recipe.build(seed)
    history = pretrain(
        method, unlabeled.images, (recipe.policy,) * 2, steps=steps, seed=seed, progress=False, **recipe.training()
    )  # fmt: skip
    found = measure(method, train, test)
    pair = views.make_views(test.images, (recipe.policy,) * 2, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        z1, z2 = (method.projector(method.encoder(v)) for v in pair)
    z = projections(method, test.images)
    within, between = class_cosines(z, test.labels)
    return {
        "temperature": tau, "steps": steps, "loss": last(history), "probe": found["probe"], "knn": found["knn"],
        "alignment": diagnostics.alignment(z1, z2), "uniformity": diagnostics.uniformity(z),
        "rank_h": found["rank_h"], "rank_z": diagnostics.rank_me(z), "within": within, "between": between,
    }  # fmt: skip


def temperature_arms():
    for seed in SEEDS[:2]:
        for tau in LONG:
            yield f"{tau:g}, {LONG_STEPS}", "upright", seed, partial(temperature, tau, seed, LONG_STEPS)


# ---- all of it -------------------------------------------------------------------------------------------------

ARMS = {
    "tuning": tuning_arms, "moco": moco_arms, "policies": policy_arms, "temperature": temperature_arms,
}  # fmt: skip


def main(parts: list[str], seeds: list[int] | None, seconds: float) -> None:
    start = time.perf_counter()
    for part in parts:
        world = None if part == "temperature" else WORLD
        for arm, where, seed, run in ARMS[part]():
            place = {"world": world, "part": part, "arm": arm, "data": where, "seed": seed}
            done = any(all(row.get(k) == place[k] for k in KEY) for row in known(part, world))
            if done or (seeds and seed not in seeds):
                continue
            if time.perf_counter() - start > seconds:
                return print("time is up; the next call goes on here:", place)
            row = {k: v for k, v in place.items() if v is not None} | run()
            merge("extensions", [row], KEY)
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=tuple(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, help="only these (tuning has 100)")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="start no new row after this time"
    )
    main(**vars(parser.parse_args()))
