"""What a chapter calls: `setup`, `recorded`, `per_seed`, `on_photographs`, `results_table`."""

import json
import random
import statistics
import sys
import warnings
from collections.abc import Mapping, Sequence

from ssl_lessons.book import frames, plots
from ssl_lessons.book.files import data_file, repository
from ssl_lessons.errors import InputError
from ssl_lessons.evaluation.evidence import Runs


def recorded(name: str, world: int = 1) -> tuple[list[dict], str]:
    """A committed benchmark record `data/results/NAME.json`: its rows, and one line saying where they come from.

    world: of which drawn world (see `data.shapes`); rows that name none belong to the first.
    """
    record = json.loads(data_file(f"results/{name}.json").read_text(encoding="utf-8"))
    versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
    origin = f"Recorded {record['date']} with `{record['command']}` on {record['machine']} ({versions})."
    return [row for row in record["rows"] if row.get("world", 1) == world], origin


def per_seed(rows: Sequence[Mapping], key: str, **where) -> list:
    """One value per seed, in the order of the seeds: row[key] of the rows whose columns are as in `where`.

    Rows without the key are left out.  per_seed(rows, "probe", group="byol", arm="whole") -> [0.23, 0.28, 0.26]
    Raises InputError where no row fits, and where two rows of one seed do (name one column more).
    """
    fit = [row for row in rows if all(row.get(name) == value for name, value in where.items())]
    if not fit:
        raise InputError(f"no row of the record has {where}")
    if len({row["seed"] for row in fit}) < len(fit):
        raise InputError(f"several rows of one seed have {where}: name one column more")
    return [row[key] for row in sorted(fit, key=lambda row: row["seed"]) if key in row]


def on_photographs(
    treatment: tuple[str, str], control: tuple[str, str], key: str = "accuracy_10"
) -> Runs:
    """Two arms of the record of photographs, each (group, arm), seed by seed, for a claim.

    key: what is compared; accuracy_10, the probe with 10 labels per class, also tells whether both arms have learned,
    against the encoder before training.  Raises InputError for arms that the record does not have.
    """
    rows, _ = recorded("photographs")

    def of(key: str, group: str, arm: str) -> list:
        return per_seed(rows, key, group=group, arm=arm)

    learned = of("accuracy_10", *treatment), of("accuracy_10", *control)
    floor = of("accuracy_10", "labels", "untrained")
    if key == "accuracy_10":
        return Runs(*learned, floor)
    return Runs(of(key, *treatment), of(key, *control), floor, learned)


def results_table(methods: Sequence[str], caption: str, world: int = 1) -> None:
    """The running results table of the loss families: chance, the baselines, then `methods`, from their record.

    One row per method: median of three seeds and, in brackets, the lowest and the highest.  probe: a linear probe on
    100 labels; kNN: 2,000 labelled neighbours; RankMe of the features h; processor seconds: summed over the cores.
    Raises InputError for a method that has no recorded run.
    """
    rows, origin = recorded("families", world)
    table = [{"method": "chance", "probe": "10.0%", "knn": "10.0%"}]
    for name in ("pixels", "untrained", *methods):
        runs = [row for row in rows if row["method"] == name and row["arm"] == "minute"]
        if not runs:
            raise InputError(f"{name!r} has no recorded run; run benchmarks/families.py --methods {name}")
        line = {"method": name, "encoder": runs[0].get("encoder"), "steps": runs[0]["steps"] or None}
        for key, form in (("probe", ".1%"), ("knn", ".1%"), ("rank_h", ".0f"), ("processor_seconds", ".0f")):
            values = sorted(row[key] for row in runs if key in row)
            line[key] = f"{statistics.median(values):{form}}" if values else None
            if key == "probe":
                line[key] += f" ({values[0]:{form}} to {values[-1]:{form}})"
        table.append(line)
    headings = {
        "method": "method", "encoder": "encoder", "steps": "steps", "probe": "probe, 100 labels", "knn": "kNN",
        "rank_h": "RankMe of h", "processor_seconds": "processor seconds",
    }  # fmt: skip
    plots.table(table, caption, headings)
    print(origin)


def setup(chapter: str, seed: int = 0):
    """Seed Python, NumPy and torch, set the plot style, print one line on device and budget; return the
    torch.device.
    """
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    plots.style()
    frames.restart()
    # None concerns the reader: progress bars fall back to text, and a machine without a GPU is the normal case.
    warnings.filterwarnings("ignore", message="IProgress not found")
    warnings.filterwarnings("ignore", message=".*CUDA initialization.*")
    warnings.filterwarnings("ignore", message=".*pin_memory.*no accelerator.*")
    warnings.filterwarnings("ignore", message=".*Profiler clears events at the end of each cycle")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    threads = torch.get_num_threads()
    where = f"CPU, {threads} thread{'s' * (threads > 1)}"
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    budget = "quick: fixed steps, about a minute on two cores"
    print(f"Chapter {chapter} on {where} · torch {torch.__version__} · seed {seed} · {budget}")
    if "google.colab" in sys.modules:
        course = f"{repository()}#the-course"
        print(f"In a copy on Drive, links to other chapters are dead; here they are: {course}")
    return device
