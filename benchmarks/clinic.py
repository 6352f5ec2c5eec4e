"""The collapse clinic: runs broken on purpose and healthy ones, each named by `diagnose` from its monitor alone.

    uv run python benchmarks/clinic.py                             # all that is missing in the record
    uv run python benchmarks/clinic.py --split test --seconds 600  # of the test, for ten minutes; go on by repeating it
    uv run python benchmarks/clinic.py --cases swav_no_sinkhorn --seeds 0 --again
    uv run python benchmarks/clinic.py --judge                     # judge the record anew, without training

Every run is short (the quick recipe, mostly 80 to 200 steps).  The lines that `diagnose` draws, and the cases "drawn
on", were set on seeds 0, 1 and 2; their seeds 3, 4 and 5 only say that other seeds change nothing.  Whether the lines
hold for anything else, the test says: other cases and other settings, on seeds 6, 7 and 8 (see _clinic_cases.py), and
on the harder world that came after the first record.  The confusion matrix that is printed is that of the test alone.
A run that is in the record is not repeated, unless asked with --again.
"""

import argparse
import inspect
import json
import math
import time
from collections import Counter

from _clinic_cases import BATCH, BREAKS, DRAWN_ON, IMAGES, TEST, Case, cases
from _record import RESULTS, merge

from ssl_lessons import data
from ssl_lessons.diagnostics import VERDICTS
from ssl_lessons.diagnostics.report import judge
from ssl_lessons.methods import METHODS, Method
from ssl_lessons.training import Diverged, Monitor, pretrain
from ssl_lessons.training.recipes import Recipe, get_recipe

SEEDS = {DRAWN_ON: (0, 1, 2, 3, 4, 5), TEST: (6, 7, 8)}
WORLDS = {DRAWN_ON: 1, TEST: 2}  # of data.shapes
MEASUREMENTS = 8
KEY = ("case", "seed")
MEASURED = (
    "samples", "dimensions", "feature_std", "spread", "mean_norm", "effective_rank", "directions",
    "directions_possible", "participation_ratio", "feature_correlation", "rank_me", "uniformity", "never_negative",
    "unevenness",
)  # fmt: skip
NUMBERS = (
    "loss", "chance_loss", "knn", "std", "rank", "spread_z", "rank_z", "norm_h", "norm_z", "usage", "information",
    "teacher_distance",
)  # fmt: skip


def images(seed: int, split: str):
    """Unlabeled images to train on, labelled ones for the monitor, of the world of the split."""
    counts = {"unlabeled": IMAGES, "train": 800}
    return [data.shapes(name, 32, n, seed, world=WORLDS[split]) for name, n in counts.items()]


def recipe_of(case: Case) -> Recipe:
    """The quick recipe with what the case changes."""
    recipe = get_recipe("quick", case.method)
    return recipe.with_(
        options=recipe.options | case.options,
        policy=recipe.policy.replace(**case.policy),
        encoder=case.encoder or recipe.encoder,
        encoder_options=case.encoder_options or ({} if case.encoder else recipe.encoder_options),
    )


def run(case: Case, seed: int, sets) -> tuple[dict, list[dict], Method]:
    """Train a case: its row for the record, its whole history, and the method."""
    unlabeled, labelled = sets
    recipe = recipe_of(case)
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
    found = [evidence for _, evidence in seen if "spread" in evidence]  # without a last look at NaN
    row = {
        "case": case.name, "split": case.split, "world": WORLDS[case.split],
        "kind": "broken" if case.expected != "healthy" else "healthy",
        "method": case.method, "what": case.what, "seed": seed, "steps": len(history), "expected": case.expected,
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
        "evidence": {name: pack(f[name] for f in found) for name in MEASURED},
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
    """The confusion matrix of the test rows: expected name against the verdict, and the runs that got another name."""
    rows = [r for r in rows if r["split"] == TEST]
    if not rows:
        return "No run of the test is in the record yet: --split test."
    names = [v for v in VERDICTS if any(v in (r["expected"], r["verdict"]) for r in rows)]
    count = Counter((r["expected"], r["verdict"]) for r in rows)
    width = max(map(len, names))
    lines = [
        "The test: expected name (rows) against verdict (columns)",
        " " * width + "  " + "  ".join(names),
    ]
    for e in names:
        lines.append(f"{e:>{width}}  " + "  ".join(f"{count[e, v] or '.':>{len(v)}}" for v in names))
    for kind in ("broken", "healthy"):
        of_kind = [r for r in rows if r["kind"] == kind]
        right = sum(map(named, of_kind))
        lines.append(f"{kind}: {right} of {len(of_kind)} runs of the test got the right name")
    wrong = [f"  {r['case']} seed {r['seed']}: {r['verdict']}" for r in rows if not named(r)]
    return "\n".join([*lines, *wrong])


def record() -> dict:
    """The record as it lies there, or an empty one."""
    path = RESULTS / "clinic.json"
    return json.loads(path.read_text()) if path.exists() else {"rows": []}


def due(names: list[str], seeds: list[int] | None, split: str | None, again: bool) -> list[tuple[int, Case]]:
    """What to run: seeds and cases that were asked for, or all; without those in the record, unless again."""
    known = cases(split)
    done = set() if again else {(r["case"], r["seed"]) for r in record()["rows"]}
    chosen = [known[name] for name in names or known]
    pairs = [(seed, case) for case in chosen for seed in seeds or SEEDS[case.split]]
    return sorted((p for p in pairs if (p[1].name, p[0]) not in done), key=lambda p: p[0])


def main(todo: list[tuple[int, Case]], seconds: float) -> None:
    """Run what is due, seed by seed; every row is in the record as soon as it is there."""
    stop, sets = time.perf_counter() + seconds, {}
    for seed, case in todo:
        if time.perf_counter() > stop:
            break
        if (seed, case.split) not in sets:
            sets = {(seed, case.split): images(seed, case.split)}
        row, _, _ = run(case, seed, sets[seed, case.split])
        merge("clinic", [row], KEY)
        mark = "" if named(row) else f"  <-- expected {row['expected']}"
        print(f"{case.name} seed {seed}: {row['verdict']}{mark}  ({row['seconds']} s)", flush=True)
    print(table(record()["rows"]))


def judge_anew() -> None:
    """New verdicts and marks for the runs in the record; where and when they were trained stays as it was."""
    known, content = cases(), record()
    for row in content["rows"]:
        case = known[row["case"]]
        row |= {"split": case.split, "expected": case.expected, "also": case.also} | verdicts(row)
    (RESULTS / "clinic.json").write_text(json.dumps(content, indent=1) + "\n")
    print(table(content["rows"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--cases", nargs="*", default=[], choices=list(cases()), metavar="CASE", help="these alone"
    )
    parser.add_argument("--split", choices=list(SEEDS), help="the cases of this split alone")
    parser.add_argument("--seeds", type=int, nargs="+", help="by default 0 to 5, for the test 6 to 8")
    parser.add_argument("--again", action="store_true", help="also what is in the record")
    parser.add_argument("--seconds", type=float, default=1e9, help="start no further run after that many")
    parser.add_argument("--judge", action="store_true", help="judge the record anew, without training")
    given = parser.parse_args()
    if given.judge:
        judge_anew()
    else:
        main(due(given.cases, given.seeds, given.split, given.again), given.seconds)
