"""The measurements of chapter 22d: eleven small knobs, each against its own base, at equal steps.

    uv run python benchmarks/small_knobs.py
    uv run python benchmarks/small_knobs.py --parts tune main --seeds 0     # some parts, some seeds
    uv run python benchmarks/small_knobs.py --dry                           # two steps of everything, nothing written

floor (what no training gives), tune (rates and temperatures, in a world of seed 100, by held-out train images), main
(the chosen settings in worlds of seed 0 to 2, by test images), rates (two arms at all their rates).  `score` is kNN
accuracy of frozen features where no label was used in training, accuracy of the whole network where labels were used.
"""

import copy
import math
import time
from collections.abc import Iterator
from functools import cache, partial

import torch
from _record import arguments, recorded, resume
from _world import UNLABELED, splits
from torch import Tensor, nn

from ssl_lessons import data, diagnostics, evaluation
from ssl_lessons.data.curation import messy_pool, retrieved, without_copies
from ssl_lessons.losses.contrastive import info_nce
from ssl_lessons.methods.base import cosine_momentum, momentum_copy, momentum_update
from ssl_lessons.methods.simclr import SimCLR
from ssl_lessons.models import build_encoder, settle
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe

KEY = ("part", "group", "arm", "seed", "setting")
PARTS, SEEDS, TUNING = ("floor", "tune", "main", "rates"), (0, 1, 2), 100
QUICK, BATCH, FEW, TRUSTED = get_recipe("quick"), 128, 25, 512
VIT = {"dim": 64, "depth": 2, "heads": 4}
DEEP = {"patch": 16, "dim": 48, "depth": 6, "heads": 3}  # for knobs that were made for depth
COPIES = 0.98  # cosine from which on two pictures count as copies

# group -> what is trained, steps, rates to choose from, and its arms, the base first.
GROUPS: dict[str, dict] = {
    "vit": {"steps": 160, "rates": (1e-3, 3e-3), "arms": {
        "patch 8": VIT, "patch 4": VIT | {"patch": 4}, "patch 16": VIT | {"patch": 16}, "no BatchNorm": VIT}},
    "decay": {"steps": 100, "rates": (1e-3, 3e-3), "arms": {"1": 1.0, "0.75": 0.75, "0.5": 0.5, "scratch": 1.0}},
    "width": {"steps": 140, "rates": (2e-3, 6e-3), "arms": {"256": 256, "64": 64, "1024": 1024}},
    "width labels": {"steps": 140, "rates": (1e-3, 3e-3), "arms": {"256": 256, "64": 64, "1024": 1024}},
    "keys": {"steps": 140, "rates": (2e-3, 6e-3), "arms": {"own": "own", "projector": "projector", "whole": "whole"}},
    "tail": {"steps": 140, "rates": (), "arms": {
        "fixed": {"0.1": (0.1, 0.1), "0.2": (0.2, 0.2)}, "wave": {"0.1 to 1": (0.1, 1.0), "0.1 to 0.3": (0.1, 0.3)},
        "fall": {"0.5 to 0.1": (0.1, 0.5)}}},
    "pool": {"steps": 140, "rates": (), "arms": dict.fromkeys(("clean", "messy", "random", "curated"))},
    "vit labels": {"steps": 300, "rates": (5e-4, 3e-3), "arms": {
        "base": DEEP, "cls": DEEP | {"pool": "cls"}, "scale 0.1": DEEP | {"layer_scale": 0.1},
        "scale 1e-4": DEEP | {"layer_scale": 1e-4}, "drop 0.2": DEEP | {"drop_path": 0.2}}},
}  # fmt: skip
LATER = (  # arms besides the page's, run after it
    ("decay", "scratch"), ("vit", "patch 4"), ("vit labels", "scale 1e-4"), ("decay", "0.5"), ("width", "64"),
    ("width labels", "64"), ("tail", "fall"),
)  # fmt: skip
RATES_OF = ("base", "scale 0.1")  # arms of "vit labels" that are run at all rates


class KeyedSimCLR(SimCLR):
    """Queries with gradient look for keys without: loss = (InfoNCE(q1, k2) + InfoNCE(q2, k1)) / 2.

    keys: "own", the queries themselves; "projector", a moving average of the projector on the encoder's own features
    (Pham et al. 2022); "whole", a moving average of encoder and projector.  momentum: from there to 1 along a cosine.
    """

    def __init__(self, encoder: nn.Module, keys: str, momentum: float = 0.97, **options):
        super().__init__(encoder, **options)
        self.keys, self.momentum = keys, momentum
        followed = {"own": (), "projector": (self.projector,), "whole": (encoder, self.projector)}[keys]
        self.teacher = momentum_copy(nn.Sequential(*followed))

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        x = torch.cat(views)
        h = self.encoder(x)
        q = self.projector(h)
        with torch.no_grad():
            k = {"own": q, "projector": h, "whole": x}[self.keys].detach()
            k = self.teacher(k)  # nothing for "own"
        (q1, q2), (k1, k2) = q.chunk(2), k.chunk(2)
        return (
            info_nce(q1, k2, temperature=self.temperature) + info_nce(q2, k1, temperature=self.temperature)
        ) / 2

    def after_step(self, progress: float) -> None:
        for student, teacher in self.momentum_pairs():
            momentum_update(student, teacher, cosine_momentum(self.momentum, progress))

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        students = {"own": (), "projector": (self.projector,), "whole": (self.encoder, self.projector)}[
            self.keys
        ]
        return list(zip(students, self.teacher, strict=True))


class Warm(SimCLR):
    """SimCLR whose temperature moves between low and high: high at the start, low at the end of every period.

        t = low + (high - low) (1 + cos(2 pi periods progress)) / 2        (Kukleva et al. 2023, eq. 4)

    periods: 2 is a wave; 0.5 falls once, from high to low.
    """

    def __init__(self, encoder: nn.Module, low: float, high: float, periods: float, **options):
        super().__init__(encoder, temperature=high, **options)
        self.low, self.high, self.periods = low, high, periods

    def after_step(self, progress: float) -> None:
        wave = (1 + math.cos(2 * math.pi * self.periods * progress)) / 2
        self.temperature = self.low + (self.high - self.low) * wave


# ---- pools -------------------------------------------------------------------------------------------------


messy = cache(lambda seed: messy_pool(UNLABELED, seed))
KEPT: dict[tuple, nn.Module] = {}  # encoders that a later arm starts from


def kept(name: str, seed: int) -> nn.Module:
    """The trained encoder of an earlier arm, trained again where it is not there."""
    if (name, seed) not in KEPT:
        unsupervised(*{"vit": ("vit", "patch 16"), "messy": ("pool", "messy")}[name], seed)
    return KEPT[name, seed]


def curated(seed: int) -> tuple[Tensor, dict]:
    """Rows of the messy pool: copies out, then the neighbours of trusted pictures; and what was kept."""
    images, shows = messy(seed)
    encoder = kept("messy", seed)
    features = evaluation.extract_features(encoder, images)
    centre = features.mean(dim=0)
    trusted = data.shapes("unlabeled", 32, UNLABELED + TRUSTED, seed).images[UNLABELED:]
    rows = without_copies(features - centre, COPIES)
    near = retrieved(evaluation.extract_features(encoder, trusted) - centre, features[rows] - centre, k=8)
    chosen = rows[near]
    return chosen, {
        "kept": len(rows), "chosen": len(chosen), "objects_before": float(shows[rows].float().mean()),
        "objects": float(shows[chosen].float().mean()),
    }  # fmt: skip


def pool(arm: str, seed: int) -> tuple[Tensor, dict]:
    if arm == "clean":
        return splits(seed)[0].images, {}
    images, shows = messy(seed)
    if arm == "messy":
        return images, {"objects": float(shows.float().mean())}
    chosen, facts = curated(seed)
    if arm == "random":
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[: len(chosen)]
        facts = {"chosen": len(chosen), "objects": float(shows[chosen].float().mean())}
    return images[chosen], facts


# ---- runs --------------------------------------------------------------------------------------------------


def method_of(group: str, arm: str, seed: int, setting: tuple[float, float]) -> SimCLR:
    """The untrained method of an unsupervised arm; setting: low and high temperature, for the long tail."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if group == "vit":
            encoder = build_encoder("vit", **GROUPS[group]["arms"][arm])
            return SimCLR(encoder, 0.1, hidden_dim=256, batch_norm=arm != "no BatchNorm")
        width = int(arm) if group == "width" else 256
        encoder = build_encoder("convnet", width=16, dim=width)
        if group == "keys":
            return KeyedSimCLR(encoder, arm, temperature=0.1, hidden_dim=256)
        if group == "tail":
            return Warm(encoder, *setting, periods=2 if arm == "wave" else 0.5, hidden_dim=256)
        return SimCLR(encoder, 0.1, hidden_dim=256)


def unsupervised(group: str, arm: str, seed: int, lr=None, setting=None, most: int | None = None) -> dict:
    """Train without labels and measure the frozen features."""
    images, facts = splits(seed)[0].images, {}
    if group == "tail":
        images = data.shapes("unlabeled", 32, UNLABELED, seed, imbalance=100.0).images
    if group == "pool":
        images, facts = pool(arm, seed)
    keep = lr is None and (group, arm) in (("vit", "patch 16"), ("pool", "messy"))
    if lr is None:
        lr = tuned("vit", arm) if group == "vit" else tuned("width", "256")
    method = method_of(group, arm, seed, setting or (0.1, 0.1))
    steps, start = min(GROUPS[group]["steps"], most or 10**9), time.perf_counter()
    history = pretrain(
        method, images, (QUICK.policy,) * 2, steps=steps, batch_size=BATCH, lr=lr, seed=seed, progress=False,
        weight_decay=0.05 if group == "vit" else 1e-4,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    if keep:
        KEPT["vit" if group == "vit" else "messy", seed] = copy.deepcopy(method.encoder)
    facts |= {"lr": lr, "steps": steps, "loss": history[-1]["loss"], "seconds": seconds}
    return facts | frozen(method.encoder, seed)


def frozen(encoder: nn.Module, seed: int) -> dict:
    """kNN accuracy of features: on test images, or on held-out train images where a setting is chosen."""
    _, train, test = splits(seed)
    bank, asked = (train[:1000], train[1000:]) if seed == TUNING else (train, test)
    h, h_asked = (evaluation.extract_features(encoder.eval(), s.images) for s in (bank, asked))
    return {
        "score": evaluation.knn_accuracy(h, bank.labels, h_asked, asked.labels),
        "rank": float(diagnostics.rank_me(h)),
    }


def labelled(group: str, arm: str, seed: int, lr: float, most: int | None = None) -> dict:
    """Train a whole network on labels: from scratch, or (decay) from the ViT that SimCLR trained."""
    _, train, test = splits(seed)
    asked, change = test, GROUPS[group]["arms"][arm]
    if seed == TUNING:
        train, asked = train[:1500], train[1500:]
    options = {
        "policy": QUICK.policy,
        "steps": min(GROUPS[group]["steps"], most or 10**9),
        "lr": lr,
        "seed": seed,
    }
    if group in ("vit labels", "decay"):
        options["policy"] = (
            None  # the pictures as they are: with views of them it hardly learns in so few steps
        )
    if group == "decay":
        encoder, rows = kept("vit", seed), data.label_subset(train.labels, FEW, seed)
        if arm == "scratch":
            encoder = method_of("vit", "patch 16", seed, (0.1, 0.1)).encoder
        options |= {"layer_decay": change, "weight_decay": 0.05}
    else:
        rows = torch.arange(len(train.labels))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            wide = group == "width labels"
            encoder = (
                build_encoder("convnet", width=16, dim=change) if wide else build_encoder("vit", **change)
            )
        options |= {"batch_size": BATCH, "weight_decay": 1e-4 if wide else 0.05}
    start = time.perf_counter()
    found = evaluation.fine_tune(
        encoder, train.images[rows], train.labels[rows], asked.images, asked.labels, **options
    )
    seconds = time.perf_counter() - start
    return {"lr": lr, "steps": options["steps"], "score": found.accuracy, "seconds": seconds}


def floor(arm: str, seed: int) -> dict:
    """What a picture itself or an untrained encoder gives."""
    unlabeled, train, test = splits(seed)
    if arm in ("pixels", "edges"):
        x, x_test = (getattr(evaluation, arm)(s.images) for s in (train, test))
        return {"score": evaluation.knn_accuracy(x, train.labels, x_test, test.labels)}
    method = method_of("vit" if arm.startswith("patch") else "width", arm, seed, (0.1, 0.1))
    settle(method, unlabeled.images[:2048])
    return frozen(method.encoder, seed)


FLOORS = ("pixels", "edges", "256", "64", "1024", "patch 8", "patch 4", "patch 16")


def rows_of(group: str, arm: str) -> list[dict]:
    return [r for r in recorded("small_knobs") if (r["part"], r["group"], r["arm"]) == ("tune", group, arm)]


def tuned(group: str, arm: str) -> float:
    """The best rate of an arm on held-out train images; the middle of the list where nothing was tried yet (--dry)."""
    rows = rows_of(group, arm)
    return max(rows, key=lambda r: r["score"])["lr"] if rows else GROUPS[group]["rates"][-1]


def best_setting(arm: str) -> str:
    """The temperatures of an arm of the long tail that did best on held-out train images."""
    rows = rows_of("tail", arm)
    return max(rows, key=lambda r: r["score"])["setting"] if rows else next(iter(GROUPS["tail"]["arms"][arm]))


def job(part: str, group: str, arm: str, seed: int, lr=None, setting: str = "tuned", most=None):
    """One row: what tells it from others, and what measures it."""
    place = {"part": part, "group": group, "arm": arm, "seed": seed, "setting": setting}
    if group in ("vit labels", "width labels", "decay"):
        return place, partial(labelled, group, arm, seed, lr or tuned(group, arm), most)
    temperatures = None
    if group == "tail":
        temperatures = GROUPS[group]["arms"][arm][best_setting(arm) if setting == "tuned" else setting]
    elif group in ("width", "keys"):
        lr = lr or tuned(group, arm)
    return place, partial(unsupervised, group, arm, seed, lr, temperatures, most)


def same_as(group: str, arm: str, seed: int) -> dict:
    """What an earlier row of part main measured: one run under two names."""
    place = ("main", group, arm, seed)
    found = next(r for r in recorded("small_knobs") if tuple(r[k] for k in KEY[:4]) == place)
    return {k: v for k, v in found.items() if k not in KEY}


def main_job(group: str, arm: str, seed: int, most: int | None):
    place, measure = job("main", group, arm, seed, most=most)
    if (group, arm) == ("pool", "clean") and not most:
        measure = partial(same_as, "width", "256", seed)
    return place, measure


def jobs(parts: list[str], seeds: list[int] | None, most: int | None) -> Iterator:
    if "floor" in parts:
        for seed in seeds or SEEDS:
            for arm in FLOORS:
                place = {"part": "floor", "group": "floor", "arm": arm, "seed": seed, "setting": ""}
                yield place, partial(floor, arm, seed)
    for late in (False, True):
        arms = [(g, a) for g, facts in GROUPS.items() for a in facts["arms"] if late == ((g, a) in LATER)]
        for group, arm in arms if "tune" in parts else ():
            for lr in GROUPS[group]["rates"]:
                yield job("tune", group, arm, TUNING, lr, f"{lr:g}", most)
            for setting in GROUPS[group]["arms"][arm] if group == "tail" else ():
                yield job("tune", group, arm, TUNING, None, setting, most)
        for seed in seeds or SEEDS:
            for group, arm in arms if "main" in parts else ():
                yield main_job(group, arm, seed, most)
            for arm in RATES_OF if "rates" in parts and not late else ():
                for lr in GROUPS["vit labels"]["rates"]:
                    if lr != tuned("vit labels", arm):
                        yield job("rates", "vit labels", arm, seed, lr, f"{lr:g}", most)


if __name__ == "__main__":
    options = arguments(__doc__, PARTS, {}).parse_args()
    todo = jobs(options.parts, options.seeds, 2 if options.dry else None)
    resume("small_knobs", KEY, todo, ("torch",), options.seconds, options.dry)
