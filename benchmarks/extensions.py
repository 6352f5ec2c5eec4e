"""The measurements behind chapter 26: MoCo at batch 128, the temperature, a policy for a domain, gradient norms.

    uv run python benchmarks/extensions.py                            # all rows that the record does not have yet
    uv run python benchmarks/extensions.py --parts moco --seconds 300 # start no new row after 300 seconds

tuning        learning rate (MoCo: momentum, queue) of each contestant of "moco", on a world of its own (seed 100),
              scored on held-out images of the train split; the best of each is what "moco" uses.
moco          SimCLR at batch 256 against MoCo at batch 128: on as many images, and on as many seconds (the ratio
              of the two costs per image is measured once, in turns); and the control, SimCLR at batch 128.
temperature   continues data/results/temperature.json (six temperatures, 400 steps): lower ones, and longer runs.
policies      thirteen augmentation policies on two worlds: the norm of the gradient during training, and the probe.
long          the policies with turns against the standard one, more than three times as long.

What "policies" is to decide was fixed before it ran.  Hypothesis: at a fixed temperature, batch, encoder and schedule,
the gradient norm, averaged over the run, is aligned with the probe over policies.  Supported: the 95 % intervals of the
rank correlation leave out zero in both worlds, on the same side.  Refuted: they leave it out on different sides, or one
of them lies inside -0.5 to 0.5.  Otherwise undecided.
"""

import argparse
import inspect
import time
from functools import partial

import torch
from _record import merge, recorded
from _world import measure, probe, projections
from _world import splits as large_splits
from pretext import upright_probe
from temperature import class_cosines

from ssl_lessons import data, diagnostics, evaluation
from ssl_lessons.methods.simclr import SimCLR
from ssl_lessons.models import untrained
from ssl_lessons.training import Monitor, pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import make_views, pretext

KEY = ("part", "arm", "data", "seed")
PARTS = ("tuning", "moco", "policies", "long", "temperature")
QUICK, MOCO = get_recipe("quick"), get_recipe("quick", "moco_v2")
SEEDS, TUNING_SEED = (0, 1, 2), 100


def known(part: str) -> list[dict]:
    """The rows of a part that the record has."""
    rows = recorded("extensions")
    return [row for row in rows if row["part"] == part]


# ---- MoCo at batch 128 -------------------------------------------------------------------------------------

PAIRS = 400 * 256  # pairs of views that a contestant sees
RATES = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)
TEACHERS = ((0.99, 2048), (0.996, 2048), (0.99, 512))  # momentum, length of the queue
BATCH = {"simclr 256": 256, "simclr 128": 128, "moco 128": 128}


def contestant(name: str, lr: float, momentum: float = 0.99, queue: int = 2048):
    if name.startswith("moco"):
        return MOCO.with_(batch_size=128, lr=lr, options={"momentum": momentum, "queue_size": queue})
    return QUICK.with_(batch_size=BATCH[name], lr=lr)


def held_out_monitor(train: data.ImageSet, steps: int) -> Monitor:
    """Ten measurements on the train split alone: its first half votes, the second is asked."""
    half = len(train) // 2
    return Monitor(train[:half], train[half:], every=max(1, steps // 10))


def compete(recipe, seed: int, steps: int, score_on_test: bool) -> dict:
    unlabeled, train, test = large_splits(seed, world=1)
    method = recipe.build(seed)
    history = pretrain(
        method, unlabeled.images, method.views(recipe.policy), steps=steps, seed=seed, progress=False,
        monitor=held_out_monitor(train, steps), **recipe.training(),
    )  # fmt: skip
    half = len(train) // 2
    row = {
        "steps": steps, "pairs": steps * recipe.batch_size, "lr": recipe.lr, "loss": last(history),
        "momentum": recipe.options.get("momentum"), "queue": recipe.options.get("queue_size"),
        "seconds": history[-1]["seconds"],
        "online": [[r["step"] * recipe.batch_size, r["knn"]] for r in history if "knn" in r],
    }  # fmt: skip
    h, h_test = (evaluation.extract_features(method.encoder, s.images) for s in (train, test))
    row["held_out"] = probe(h[:half], h[half:], train[:half], train[half:])
    if score_on_test:
        row |= {"probe": probe(h, h_test, train, test)}
        row |= {"knn": evaluation.knn_accuracy(h, train.labels, h_test, test.labels)}
    return row


def last(history) -> float:
    tail = history[-20:]
    return sum(r["loss"] for r in tail) / len(tail)


def tuning_arms():
    for name in BATCH:
        for lr in RATES:
            for momentum, queue in TEACHERS if name.startswith("moco") else ((None, None),):
                arm = f"{name}, lr {lr:g}" + (f", m {momentum:g}" if momentum else "")
                arm += f", K {queue}" if queue == 512 else ""
                yield arm, TUNING_SEED, partial(tune, name, lr, momentum, queue)


def tune(name: str, lr: float, momentum: float | None, queue: int | None) -> dict:
    recipe = contestant(name, lr, momentum or 0.99, queue or 2048)
    return {"contestant": name} | compete(
        recipe, TUNING_SEED, PAIRS // 2 // recipe.batch_size, score_on_test=False
    )


def tuned(name: str):
    """The recipe of a contestant with the settings that did best on held-out train images."""
    rows = [row for row in known("tuning") if row["contestant"] == name]
    best = max(rows, key=lambda row: row["held_out"])
    return contestant(name, best["lr"], best["momentum"] or 0.99, best.get("queue") or 2048)


def speed(rounds: int = 8, images: int = 2560) -> dict:
    """Seconds per image of both contestants, taken in turns; the fastest round counts, the first is not."""
    pictures = large_splits(TUNING_SEED, world=1)[0].images
    seconds = {"simclr 256": [], "moco 128": []}
    for _ in range(rounds):
        for name, found in seconds.items():
            recipe = contestant(name, 1e-3)
            method = recipe.build(0)
            history = pretrain(
                method, pictures, method.views(recipe.policy), steps=images // recipe.batch_size, progress=False,
                **recipe.training(),
            )  # fmt: skip
            found.append(history[-1]["seconds"] / images)
    best = {name: min(found[1:]) for name, found in seconds.items()}
    return {"seconds_per_image": best, "ratio": best["simclr 256"] / best["moco 128"]}


def race(name: str, seed: int, steps=None) -> dict:
    return compete(tuned(name), seed, steps() if steps else PAIRS // BATCH[name], score_on_test=True)


def moco_arms():
    yield "speed", 0, speed
    for seed in SEEDS:
        for name in BATCH:
            yield name, seed, partial(race, name, seed)
        yield "moco 128, same seconds", seed, partial(race, "moco 128", seed, in_the_time)


def in_the_time() -> int:
    """Steps of MoCo at 128 in the seconds that SimCLR at 256 takes for its images."""
    (row,) = (row for row in known("moco") if row["arm"] == "speed")
    return round(PAIRS * row["ratio"] / 128)


# ---- temperature -------------------------------------------------------------------------------------------

LOW, LONG = (0.005, 0.01), (0.02, 0.05, 0.1, 0.2)
SHORT_STEPS, LONG_STEPS = 400, 1200


def temperature(tau: float, seed: int, steps: int) -> dict:
    recipe = QUICK.with_(options=QUICK.options | {"temperature": tau})
    unlabeled, train, test = large_splits(seed, world=1)
    method = recipe.build(seed)
    history = pretrain(
        method, unlabeled.images, (recipe.policy,) * 2, steps=steps, seed=seed, progress=False, **recipe.training()
    )  # fmt: skip
    found = measure(method, train, test)
    pair = make_views(test.images, (recipe.policy,) * 2, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        z1, z2 = (method.projector(method.encoder(v)) for v in pair)
    z, h = projections(method, test.images), evaluation.extract_features(method.encoder, test.images)
    within, between = class_cosines(z, test.labels)
    within_h, between_h = class_cosines(h - h.mean(dim=0), test.labels)
    return {
        "temperature": tau, "steps": steps, "loss": last(history), "probe": found["probe"], "knn": found["knn"],
        "alignment": diagnostics.alignment(z1, z2), "uniformity": diagnostics.uniformity(z),
        "rank_h": found["rank_h"], "rank_z": diagnostics.rank_me(z), "within": within, "between": between,
        "within_h": within_h, "between_h": between_h, "verdict": diagnostics.diagnose(z[:512]).verdict,
        "verdict_h": diagnostics.diagnose(h[:512]).verdict,
    }  # fmt: skip


def temperature_arms():
    for seed in SEEDS:
        for tau in LOW:
            yield f"{tau:g}, {SHORT_STEPS}", seed, partial(temperature, tau, seed, SHORT_STEPS)
    for seed in SEEDS[:2]:
        for tau in LONG:
            yield f"{tau:g}, {LONG_STEPS}", seed, partial(temperature, tau, seed, LONG_STEPS)


# ---- policies and gradient norms ---------------------------------------------------------------------------

WORLDS = {"upright": {}, "from above": {"oriented": False}}
SMALL = (4096, 2000, 2000)  # unlabeled, train, test
STANDARD = QUICK.policy
QUARTERS = "quarter turns"
POLICIES = {
    "standard": STANDARD,
    QUARTERS: STANDARD,  # and turns by 0, 90, 180 or 270 degrees, see Watched
    "any turn": STANDARD.replace(rotation=180.0),
    "no colour": STANDARD.replace(jitter_p=0.0, grayscale_p=0.0),
    "half the colour": STANDARD.scaled(0.5),
    "no hue": STANDARD.replace(hue=0.0),
    "gray only": STANDARD.replace(jitter_p=0.0, grayscale_p=0.5),
    "twice the colour": STANDARD.scaled(2.0),
    "no crop": STANDARD.replace(crop_p=0.0),
    "gentle crop": STANDARD.replace(crop_scale=(0.6, 1.0)),
    "tight crop": STANDARD.replace(crop_scale=(0.08, 1.0)),
    "no flip": STANDARD.replace(flip_p=0.0),
    "blur": STANDARD.replace(blur_p=0.5),
}
TURNING = ("standard", QUARTERS, "any turn")


class Watched(SimCLR):
    """SimCLR that writes down the norm of its gradient at every step; `quarters` turns every view at random."""

    def __init__(self, encoder, quarters: bool = False, **options):
        super().__init__(encoder, **options)
        self.quarters, self.norms = quarters, []

    def forward(self, views, labels=None):
        if self.quarters:
            views = [pretext.rotate(v, torch.randint(4, (len(v),), device=v.device)) for v in views]
        return super().forward(views, labels)

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


def policy_run(name: str, world: str, seed: int, steps: int) -> dict:
    unlabeled, train, test = (
        data.shapes(split, 32, n, seed, **WORLDS[world], world=1)
        for split, n in zip(data.SPLITS, SMALL, strict=True)
    )
    torch.manual_seed(seed)
    simclr = QUICK.build(seed)
    if name == "untrained":
        encoder, row = untrained(simclr.encoder, seed + 1), {"steps": 0}
    else:
        method = Watched(simclr.encoder, quarters=name == QUARTERS, temperature=simclr.temperature)
        half, encoder = len(train) // 2, method.encoder
        history = pretrain(
            method, unlabeled.images, (POLICIES[name],) * 2, steps=steps, batch_size=128, lr=3e-3, seed=seed,
            progress=False, monitor=Monitor(train[:half], train[half:], every=steps // 10),
        )  # fmt: skip
        row = {
            "steps": steps, "grad": tenths(method.norms), "losses": tenths([r["loss"] for r in history]),
            "online": [[r["step"], r["knn"]] for r in history if "knn" in r],
        }  # fmt: skip
    h, h_test = (evaluation.extract_features(encoder, s.images) for s in (train, test))
    return row | {
        "probe": probe(h, h_test, train, test),
        "knn": evaluation.knn_accuracy(h, train.labels, h_test, test.labels),
        "upright": upright_probe(encoder, train, test),
    }


def policy_arms(names, steps: int, seeds):
    for seed in seeds:
        for world in reversed(WORLDS):
            for name in names:
                yield name, world, seed, partial(policy_run, name, world, seed, steps)


# ---- all of it ---------------------------------------------------------------------------------------------


def jobs(part: str):
    """(arm, data, seed, function without arguments) of a part."""
    if part == "policies":
        return policy_arms(("untrained", *POLICIES), 300, SEEDS)
    if part == "long":
        return policy_arms(TURNING, 1000, SEEDS)
    arms = {"tuning": tuning_arms, "moco": moco_arms, "temperature": temperature_arms}[part]()
    return ((arm, "upright", seed, run) for arm, seed, run in arms)


def main(parts: list[str], seeds: list[int] | None, seconds: float) -> None:
    start = time.perf_counter()
    for part in parts:
        for arm, world, seed, run in jobs(part):
            place = {"part": part, "arm": arm, "data": world, "seed": seed}
            done = any(all(row[k] == place[k] for k in KEY) for row in known(part))
            if done or (seeds and seed not in seeds):
                continue
            if time.perf_counter() - start > seconds:
                return print("time is up; the next call goes on here:", place)
            row = place | run()
            merge("extensions", [row], KEY)
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--seeds", nargs="+", type=int, help="only these")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="start no new row after this time"
    )
    main(**vars(parser.parse_args()))
