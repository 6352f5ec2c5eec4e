"""The collapse clinic: runs broken on purpose and healthy ones, each named by `diagnose` from its monitor alone.

    uv run python benchmarks/clinic.py                             # what is missing in the record, seeds 0 to 5
    uv run python benchmarks/clinic.py --cases swav_no_sinkhorn --seeds 0
    uv run python benchmarks/clinic.py --judge                     # judge the record anew, without training

Every run is short (the quick recipe, mostly 80 to 200 steps).  The lines that `diagnose` draws, and the cases, were
set on seeds 0, 1 and 2; seeds 3, 4 and 5 only confirm them.  A run that is in the record is not repeated unless it is
named.
"""

import argparse
import inspect
import json
import math
import time
from collections import Counter
from dataclasses import dataclass, field

import torch
from _record import RESULTS, merge
from torch.nn.functional import cross_entropy

from ssl_lessons import data
from ssl_lessons.diagnostics import VERDICTS
from ssl_lessons.diagnostics.report import judge
from ssl_lessons.losses.common import unit_rows
from ssl_lessons.methods import METHODS, Method
from ssl_lessons.training import Diverged, Monitor, pretrain
from ssl_lessons.training.recipes import get_recipe

HEALTHY_STEPS, MEASUREMENTS = 120, 8
IMAGES, BATCH = 4096, 64  # a fraction of the protocol of the families: what breaks, breaks in a few seconds
KEY = ("case", "seed")
MEASURED = (
    "samples", "dimensions", "feature_std", "spread", "mean_norm", "effective_rank", "directions",
    "directions_possible", "participation_ratio", "feature_correlation", "rank_me", "uniformity", "never_negative",
)  # fmt: skip
NUMBERS = (
    "loss", "chance_loss", "knn", "std", "rank", "spread_z", "rank_z", "norm_h", "norm_z", "usage", "information",
    "teacher_distance",
)  # fmt: skip
NO_COLOR = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "grayscale_p": 0.0}
STRONG = {
    "crop_scale": (0.02, 0.1),
    "brightness": 1.0,
    "contrast": 1.0,
    "saturation": 1.0,
    "hue": 0.5,
    "grayscale_p": 0.5,
}


# ---- what no method offers as a switch -----------------------------------------------------------------------


def no_negatives(method):
    """SimCLR whose loss only pulls partners together."""

    def forward(views, labels=None):
        z1, z2 = unit_rows(*method.pair(views))
        return (z1 - z2).square().sum(dim=1).mean()

    method.forward = forward


def wrong_pairs(method):
    """The second view belongs to another image: the batch was shuffled once too often."""
    healthy = method.forward

    def forward(views, labels=None):
        return healthy([views[0], views[1].roll(1, dims=0)])

    method.forward = forward


def detached(method):
    """The encoder and projector never get a gradient."""
    method.pair, healthy = lambda views: [z.detach() for z in healthy(views)], method.pair
    anchor = next(method.parameters())
    forward = method.forward
    method.forward = lambda views, labels=None: forward(views) + 0 * anchor.sum()


def raw_queue(method):
    """The queue keeps the keys with their length, and only the query and its own key have length 1."""

    def push(z):
        rows, n = method.queue.rows, len(z)
        rows.copy_(torch.cat([z, rows[:-n]]))

    def contrast(query, key):
        query, own = unit_rows(query, key)
        logits = torch.cat([(query * own).sum(dim=1, keepdim=True), query @ method.queue.rows.T], dim=1)
        return cross_entropy(logits / method.temperature, logits.new_zeros(len(query), dtype=torch.long))

    method.queue.push, method.contrast = push, contrast


BREAKS = {
    "raw_queue": raw_queue,
    "no_negatives": no_negatives,
    "wrong_pairs": wrong_pairs,
    "detached": detached,
}


@dataclass(frozen=True)
class Case:
    """A patient: what was done to a healthy method, and the name it ought to get."""

    name: str
    method: str
    what: str
    expected: str = "healthy"
    options: dict = field(default_factory=dict)  # of the method
    training: dict = field(default_factory=dict)  # of pretrain
    policy: dict = field(default_factory=dict)
    steps: int = 80
    images: int = IMAGES  # to train on
    broken_by: str = ""  # a function of BREAKS
    also: str = ""  # a second name that is right: which of the two it becomes, the seed decides


COMPLETE, CLUSTER, DIMENSIONAL = "complete collapse", "cluster collapse", "dimensional collapse"
BROKEN = [
    Case("simsiam_no_predictor", "simsiam", "SimSiam without predictor", DIMENSIONAL, {"predictor": False},
         steps=200, also=COMPLETE),
    Case("simsiam_no_stop_gradient", "simsiam", "SimSiam without stop-gradient", COMPLETE, {"stop_gradient": False},
         steps=200),
    Case("byol_no_predictor_no_ema", "byol", "BYOL without predictor and moving average", COMPLETE,
         {"predictor": False, "momentum": 0.0, "rising": False}),
    Case("byol_no_predictor", "byol", "EMA teacher, but no predictor", COMPLETE,
         {"predictor": False, "momentum": 0.9, "rising": False}),
    Case("simclr_no_negatives", "simclr", "SimCLR without negatives (alignment only)", COMPLETE,
         broken_by="no_negatives"),
    Case("vicreg_no_variance", "vicreg", "VICReg without the variance term", COMPLETE, {"variance_weight": 0.0},
         steps=120),
    Case("vicreg_no_covariance", "vicreg", "VICReg without the covariance term", DIMENSIONAL,
         {"covariance_weight": 0.0}),
    Case("barlow_lambda_0", "barlow_twins", "Barlow Twins with lambda 0", DIMENSIONAL, {"lambd": 0.0}),
    Case("strong_augmentation", "simclr", "extreme augmentation, linear projector", "loss at chance", {"layers": 1},
         policy=STRONG),
    Case("dino_no_centering", "dino", "DINO without centring", CLUSTER, {"centering": False}),
    Case("dino_no_sharpening", "dino", "DINO without sharpening (teacher temperature 1)", CLUSTER,
         {"teacher_temperature": 1.0}),
    Case("swav_no_sinkhorn", "swav", "SwAV without Sinkhorn", CLUSTER, {"sinkhorn": False}),
    Case("temperature_high", "simclr", "temperature 20", DIMENSIONAL, {"temperature": 20.0}),
    Case("temperature_low", "simclr", "temperature 0.0005", "loss at chance", {"temperature": 0.0005}),
    Case("wrong_pairs", "simclr", "the second view is of another image", "loss at chance", broken_by="wrong_pairs"),
    Case("detached", "simclr", "no gradient reaches the encoder", "loss at chance", broken_by="detached"),
    Case("lr_high", "vicreg", "learning rate 250 times too high", "divergence", training={"lr": 1.0}),
    Case("raw_queue", "moco_v2", "a queue of keys that were not normalised", "divergence", broken_by="raw_queue"),
    Case("no_color_jitter", "simclr", "no colour jitter", "shortcut", policy=NO_COLOR, steps=120),
    Case("teacher_frozen", "byol", "teacher momentum 1", "teacher-student drift",
         {"momentum": 1.0}, steps=120),
]  # fmt: skip
# Two famous ways to break a method that did not break it here, in so short a run: an alarm would be a false one.
RESISTED = [
    Case("msn_no_entropy", "msn", "MSN without the mean-entropy term", options={"entropy_weight": 0.0}),
    Case("batchnorm_leak", "moco_v2", "BatchNorm over 4 images, keys not shuffled",
         options={"groups": 16, "shuffle": False}, steps=150),
]  # fmt: skip


def healthy_cases() -> list[Case]:
    """Every method as it comes, on its quick settings."""
    names = [name for name in METHODS if name != "supervised"]
    # W-MSE needs examples to whiten; SupCon, on batches of 64, stays at chance (and is told so): their recipe's batch.
    larger = {name: {"batch_size": 4 * BATCH} for name in ("w_mse", "supcon")}
    # Nothing can be learned from a memory bank, or a class per image, before the second visit of an image: fewer
    # images, more visits.
    banks = dict.fromkeys(("instdisc", "pirl", "exemplar"), {"images": 512, "steps": 4 * HEALTHY_STEPS})
    own = {"steps": HEALTHY_STEPS}
    return [
        Case(name, name, f"{name}, healthy", training=larger.get(name, {}), **own | banks.get(name, {}))
        for name in names
    ]


def cases() -> dict[str, Case]:
    return {case.name: case for case in [*BROKEN, *RESISTED, *healthy_cases()]}


def images(seed: int):
    """Unlabeled images to train on, labelled ones for the monitor."""
    return data.shapes("unlabeled", 32, IMAGES, seed), data.shapes("train", 32, 800, seed)


def run(case: Case, seed: int, sets) -> tuple[dict, list[dict], Method]:
    """Train a case: its row for the record, its whole history, and the method."""
    unlabeled, labelled = sets
    recipe = get_recipe("quick", case.method)
    recipe = recipe.with_(options=recipe.options | case.options, policy=recipe.policy.replace(**case.policy))
    chosen = labelled if METHODS[case.method].needs_labels else unlabeled[: case.images]
    method = recipe.build(seed, n_images=len(chosen), n_classes=len(chosen.classes))
    if case.broken_by:
        BREAKS[case.broken_by](method)
    seen = []
    monitor = Monitor(labelled[:400], labelled[400:800], every=max(1, case.steps // MEASUREMENTS))
    clock = time.perf_counter()
    try:
        history = pretrain(
            method, chosen.images, method.views(recipe.policy), steps=case.steps, seed=seed, progress=False,
            labels=chosen.labels if method.needs_labels else None, monitor=monitor,
            on_measure=lambda rows: seen.append((list(rows), monitor.report.evidence)),
            **recipe.training() | {"batch_size": BATCH} | case.training,
        )  # fmt: skip
        stopped = False
    except Diverged:
        history, stopped = seen[-1][0], True
    measured = [r for r in history if "knn" in r]
    row = {
        "case": case.name, "kind": "broken" if case.expected != "healthy" else "healthy", "method": case.method,
        "what": case.what, "seed": seed, "steps": len(history), "expected": case.expected,
        "also": case.also,
        "stopped": stopped,  # by `pretrain` itself, because something became NaN
        "seconds": round(time.perf_counter() - clock, 1),
        # All that `judge` needs, so that new lines in `diagnose` need no new training.
        "losses": pack(r["loss"] for r in history),
        "chart": {
            name: pack(r.get(name, math.nan) for r in measured)
            for name in ("step", *NUMBERS[1:])
            if name in measured[-1]
        },
        "evidence": {name: pack(found[name] for _, found in seen) for name in MEASURED},
    }  # fmt: skip
    return row | verdicts(row), history, method


def pack(values) -> str:
    """Numbers in one line of text, five digits each: as JSON lists they would fill ten thousand lines."""
    return " ".join(f"{float(v):.5g}" for v in values)


def unpack(text: str) -> list[float]:
    return [float(v) for v in text.split()]


def verdicts(row: dict) -> dict:
    """The judgement of a recorded run, now and at each measurement on the way."""
    losses, chart, evidence = unpack(row["losses"]), row["chart"], row["evidence"]
    history = [{"step": i + 1, "loss": loss} for i, loss in enumerate(losses)]
    series = {name: unpack(text) for name, text in chart.items()}
    found = {name: unpack(text) for name, text in evidence.items()}
    course = []
    for k, step in enumerate(map(int, series["step"])):
        history[step - 1] |= {name: values[k] for name, values in series.items() if name != "step"}
        course.append(judge({name: values[k] for name, values in found.items()}, history[:step]).verdict)
    last = {name: series[name][-1] if name in series else None for name in NUMBERS[1:]}
    first = {"loss": losses[-1], "knn_first": series["knn"][0], "effective_rank": found["effective_rank"][-1]}
    return first | last | {"course": course, "verdict": "divergence" if row["stopped"] else course[-1]}


def named(row: dict) -> bool:
    """Did the run get its name, or the other one that is right?"""
    return row["verdict"] in (row["expected"], row["also"] or row["expected"])


def table(rows: list[dict]) -> str:
    """The confusion matrix: expected name against the verdict, and the runs that got another name."""
    names = [v for v in VERDICTS if any(v in (r["expected"], r["verdict"]) for r in rows)]
    count = Counter((r["expected"], r["verdict"]) for r in rows)
    width = max(map(len, names))
    lines = [" " * width + "  " + "  ".join(names)]
    for e in names:
        lines.append(f"{e:>{width}}  " + "  ".join(f"{count[e, v] or '.':>{len(v)}}" for v in names))
    for kind in ("broken", "healthy"):
        of_kind = [r for r in rows if r["kind"] == kind]
        right = sum(map(named, of_kind))
        lines.append(f"{kind}: {right} of {len(of_kind)} runs got the right name")
    wrong = [f"  {r['case']} seed {r['seed']}: {r['verdict']}" for r in rows if not named(r)]
    return "\n".join([*lines, *wrong])


def recorded() -> list[dict]:
    path = RESULTS / "clinic.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def main(names: list[str], seeds: list[int], seconds: float) -> None:
    known = cases()
    done = {(r["case"], r["seed"]) for r in recorded()}
    stop = time.perf_counter() + seconds
    for seed in seeds:
        sets = images(seed)
        for name in names or known:
            if (not names and (name, seed) in done) or time.perf_counter() > stop:
                continue
            row, _, _ = run(known[name], seed, sets)
            merge("clinic", [row], KEY)
            mark = "" if named(row) else f"  <-- expected {row['expected']}"
            print(f"{name} seed {seed}: {row['verdict']}{mark}  ({row['seconds']} s)", flush=True)
    print(table(recorded()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cases", nargs="*", default=[], help="run these, recorded or not")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4, 5])
    parser.add_argument("--seconds", type=float, default=1e9, help="start no further run after that many")
    parser.add_argument("--judge", action="store_true", help="judge the record anew, without training")
    given = parser.parse_args()
    if given.judge:
        known = cases()
        rows = [
            row | {"expected": known[row["case"]].expected, "also": known[row["case"]].also} | verdicts(row)
            for row in recorded()
        ]
        merge("clinic", rows, KEY)
        print(table(rows))
    else:
        main(given.cases, given.seeds, given.seconds)
