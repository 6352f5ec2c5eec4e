"""The measurements of chapter 12b: what rows without labels are worth when there are few labels.

    uv run python benchmarks/tables.py                                  # all rows that the record does not have yet
    uv run python benchmarks/tables.py --parts tuning --seconds 300      # start no new row after 300 seconds
    uv run python benchmarks/tables.py --steps 2 --rows 400 --dry        # everything once, nothing recorded

tuning   every arm has three settings to choose from.  The best is the one that is most often right on held-out train
         rows, with 10 labels per class, mean over two draws of labels.
labels   every arm on every table with 10 and 50 labels per class: frozen features read by a linear probe, and the same
         encoder fine-tuned; three draws of labels.  With what scikit-learn makes of the same rows.
rates    how many cells are replaced: mask prediction, values and SCARF on the tied table.
weights  VIME on the tied table, by the weight of the values beside the mask.
fills    what the replaced cells are filled with: how well the mask is then found, and what the features are worth.
aware    labels during pretraining too: the same pretext, the same labels, with and without them.

The drawn tables were designed by looking at seeds 0 to 2, which are therefore not measured here; a seed is a drawn
world of its own, and 100 is the one that is tuned on.  A real table has one split for all seeds, so that no row that is
tuned on is ever a test row: there, seeds differ in first weights, batches and labelled rows alone.
"""

import copy
import time
import warnings
from functools import lru_cache, partial

import torch
from _record import arguments, recorded, resume

from ssl_lessons import evaluation
from ssl_lessons.data.image_set import label_subset
from ssl_lessons.modalities.tables import encoders, objectives, views, world
from ssl_lessons.training import fit

KEY = ("part", "table", "arm", "seed")
SEEDS, TUNING_SEED = (10, 11, 12), 100
TABLES = ("tied", "loose", "digits", "cancer")
COUNTS, DRAWS = (10, 50), 3
STEPS, FINE_STEPS, ROWS = 800, 200, 4000
SIZES = {"steps": STEPS, "rows": ROWS}
RATES = (1e-3, 3e-3, 1e-2)  # of pretraining
FINE_RATES = (3e-4, 1e-3, 3e-3)


@lru_cache(maxsize=4)
def table(name: str, seed: int) -> tuple[world.Table, world.Table]:
    """(train, test) rows; for the tuning seed the test rows are held-out train rows, and no test row is seen."""
    split = TUNING_SEED if name in world.REAL else seed
    train, test = world.split(name, split, SIZES["rows"], min(1000, SIZES["rows"]))
    if seed == TUNING_SEED:
        cut = int(0.7 * len(train))
        return train[:cut], train[cut:]
    return train, test


def net(x: torch.Tensor, seed: int) -> encoders.RowNet:
    torch.manual_seed(seed)
    return encoders.RowNet(x.shape[1])


# ---- what a library makes of the same rows ---------------------------------------------------------------------------


def logistic(train, rows, test, seed: int) -> float:
    return evaluation.linear_probe(train.x[rows], train.y[rows], test.x, test.y, seed=seed).accuracy


def nearest(train, rows, test, seed: int, k: int) -> float:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(k).fit(train.x[rows], train.y[rows]).score(test.x, test.y)


def projected(train, test, parts: int):
    """The rows on their first principal components, which are found on all train rows."""
    mean = train.x.mean(dim=0)
    axes = torch.linalg.svd(train.x - mean, full_matrices=False)[2][:parts].T
    return (world.Table((t.x - mean) @ axes, t.y, {}) for t in (train, test))


def pca_logistic(train, rows, test, seed: int, parts: int) -> float:
    train, test = projected(train, test, parts)
    return logistic(train, rows, test, seed)


def pca_nearest(train, rows, test, seed: int, parts: int) -> float:
    train, test = projected(train, test, parts)
    return nearest(train, rows, test, seed, 3)


def spreading(train, rows, test, seed: int, neighbours: int) -> float:
    """Label spreading over the graph of the labelled rows and up to 1,500 others."""
    from sklearn.semi_supervised import LabelSpreading

    keep = torch.unique(torch.cat([rows, torch.arange(min(1500, len(train)))]))
    known = torch.full_like(train.y, -1)
    known[rows] = train.y[rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # divisions by zero where a part of the graph has no label
        model = LabelSpreading(kernel="knn", n_neighbors=neighbours).fit(train.x[keep], known[keep])
        return float(model.score(test.x, test.y))


def boosting(train, rows, test, seed: int, leaf: int) -> float:
    """Gradient boosting with small trees and leaves, for few rows."""
    return boosted(train, rows, test, max_iter=60, min_samples_leaf=leaf, max_leaf_nodes=8, random_state=seed)


def boosting_as_it_comes(train, rows, test, seed: int) -> float:
    """With scikit-learn's defaults, which are for tables of another size: 20 rows a leaf."""
    return boosted(train, rows, test, random_state=seed)


def boosted(train, rows, test, **options) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(**options)
    return float(model.fit(train.x[rows], train.y[rows]).score(test.x, test.y))


LIBRARY = {
    "logistic regression": (logistic, (None,)),
    "nearest neighbours": (nearest, (1, 3, 5)),
    "PCA, logistic": (pca_logistic, (4, 8, 16)),
    "PCA, nearest neighbours": (pca_nearest, (4, 8, 16)),
    "label spreading": (spreading, (5, 10, 20)),
    "boosting": (boosting, (1, 2, 4)),
    "boosting, as it comes": (boosting_as_it_comes, (None,)),
}

# ---- encoders --------------------------------------------------------------------------------------------------------


def trained(task, lr: float, seed: int, steps: int | None = None) -> dict:
    start = time.process_time()
    history = fit(task, task, steps or SIZES["steps"], lr=lr, seed=seed)
    last = history[-20:]
    return {"lr": lr, "loss": sum(last) / len(last), "seconds": time.process_time() - start}


def fine_tuned(encoder, train, rows, test, seed: int, lr: float) -> float:
    """Accuracy of a copy of the encoder and a linear head, trained on whole rows with labels."""
    torch.manual_seed(seed)
    classes = int(train.y.max()) + 1
    task = objectives.Classify(copy.deepcopy(encoder), train.x[rows], train.y[rows], classes)
    fit(task, task, min(FINE_STEPS, SIZES["steps"]), lr=lr, seed=seed)
    return task.accuracy(test.x, test.y)


def over_draws(train, score, seed: int, counts=COUNTS, draws: int = DRAWS) -> dict[str, list[float]]:
    """count -> accuracies over draws of labels; the same draws for every arm of a seed."""
    return {
        str(count): [score(label_subset(train.y, count, seed=100 * seed + i), i) for i in range(draws)]
        for count in counts
    }


def mean(values) -> float:
    return sum(values) / len(values)


def read(features, train, test, seed: int, counts=COUNTS, draws: int = DRAWS) -> dict:
    """A linear probe on frozen features."""
    train, test = (world.Table(features(t.x), t.y, {}) for t in (train, test))
    return over_draws(train, lambda rows, i: logistic(train, rows, test, i), seed, counts, draws)


ARMS = ("mask", "values", "VIME", "SCARF", "SubTab", "SAINT")
PARTIAL = {"tied": ("SAINT, contrast only",), "digits": ("SubTab, values only",)}


def arms(name: str) -> tuple[str, ...]:
    """The pretexts tried on a table: all of them, and half of one where a claim asks for it."""
    return ARMS + PARTIAL.get(name, ())


def make(arm: str, train, seed: int):
    return objectives.tasks(partial(net, train.x, seed), train.x)[arm]()


# ---- tuning ----------------------------------------------------------------------------------------------------------


def tune_library(name: str, arm: str, option) -> dict:
    train, test = table(name, TUNING_SEED)
    call, options = LIBRARY[arm]
    more = () if option is None else (option,)
    found = over_draws(train, lambda rows, i: call(train, rows, test, i, *more), TUNING_SEED, (10,), draws=2)
    return {"option": option, "score": mean(found["10"])}


def tune_network(name: str, arm: str, lr: float) -> dict:
    """Half the steps.  score: of the probe; fine: of each rate of fine-tuning."""
    train, test = table(name, TUNING_SEED)
    encoder, row = net(train.x, TUNING_SEED), {}
    if arm != "from scratch":
        task = make(arm, train, TUNING_SEED)
        row = trained(task, lr, TUNING_SEED, max(1, SIZES["steps"] // 2))
        encoder = task.encoder
        found = read(task.features, train, test, TUNING_SEED, (10,), 2)
        row["score"] = mean(found["10"])
    fine = {}
    for rate in FINE_RATES:
        score = partial(_fine, encoder, train, test, rate)
        fine[str(rate)] = mean(over_draws(train, score, TUNING_SEED, (10,), 2)["10"])
    return row | {"lr": lr, "fine": fine}


def _fine(encoder, train, test, rate, rows, i) -> float:
    return fine_tuned(encoder, train, rows, test, i, rate)


def tuned(name: str, arm: str) -> list[dict]:
    return [r for r in recorded("tables") if (r["part"], r["table"], r.get("of")) == ("tuning", name, arm)]


def best_option(name: str, arm: str):
    rows = tuned(name, arm)
    return max(rows, key=lambda r: r["score"])["option"] if rows else LIBRARY[arm][1][0]


def best_rates(name: str, arm: str) -> tuple[float, float]:
    """(of pretraining, of fine-tuning)"""
    rows = tuned(name, arm)
    if not rows:
        return RATES[1], FINE_RATES[1]
    row = max(rows, key=lambda r: r.get("score", 0))
    return row["lr"], float(max(row["fine"], key=row["fine"].get))


# ---- the parts -------------------------------------------------------------------------------------------------------


def run_library(name: str, arm: str, seed: int) -> dict:
    train, test = table(name, seed)
    call, option = LIBRARY[arm][0], best_option(name, arm)
    more = () if option is None else (option,)
    return {
        "option": option,
        "probe": over_draws(train, lambda rows, i: call(train, rows, test, i, *more), seed),
    }


def run_network(name: str, arm: str, seed: int) -> dict:
    train, test = table(name, seed)
    lr, fine_lr = best_rates(name, arm)
    encoder, row, features = net(train.x, seed), {}, None
    if arm not in ("untrained", "from scratch"):
        task = make(arm, train, seed)
        row = trained(task, lr, seed)
        encoder, features = task.encoder, task.features
    if arm != "from scratch":
        row["probe"] = read(features or partial(encoders.features, encoder), train, test, seed)
    if arm != "untrained":
        score = partial(_fine, encoder, train, test, fine_lr)
        row |= {"fine_lr": fine_lr, "fine": over_draws(train, score, seed)}
    if arm in ("mask", "VIME"):
        row["detection"] = task.detection(test.x, torch.Generator().manual_seed(seed))
    return row


SHARES = (0.1, 0.3, 0.6, 0.9)
WEIGHTS = (0.1, 30.0)  # beside VIME's 2; of errors in units of a range: 30 is about 1 in deviations
ASKED = {"mask": {"values": False}, "values": {"mask": False}, "SCARF": {}}


def run_rate(arm: str, share: float, seed: int) -> dict:
    train, test = table("tied", seed)
    kind = objectives.Scarf if arm == "SCARF" else objectives.Vime
    task = kind(net(train.x, seed), train.x, rate=share, **ASKED[arm])
    row = trained(task, best_rates("tied", arm)[0], seed)
    return row | {"share": share, "probe": read(task.features, train, test, seed, (10,))}


def run_weight(alpha: float, seed: int) -> dict:
    train, test = table("tied", seed)
    task = objectives.Vime(net(train.x, seed), train.x, alpha=alpha)
    row = trained(task, best_rates("tied", "VIME")[0], seed)
    row["detection"] = task.detection(test.x, torch.Generator().manual_seed(seed))
    return row | {"alpha": alpha, "probe": read(task.features, train, test, seed, (10,))}


def run_fill(name: str, fill: str, seed: int) -> dict:
    train, test = table(name, seed)
    task = objectives.Vime(net(train.x, seed), train.x, values=False, fill=fill)
    row = trained(task, best_rates("tied", "mask")[0], seed)
    row["detection"] = task.detection(test.x, torch.Generator().manual_seed(seed))
    return row | ({"probe": read(task.features, train, test, seed, (10,))} if name == "tied" else {})


def run_aware(name: str, arm: str, labels: bool, seed: int) -> dict:
    """The pretext without the labels of a draw or, trained anew for each draw, with them; then fine-tuned on them."""
    train, test = table(name, seed)
    lr, fine_lr = best_rates(name, arm)
    plain = make(arm, train, seed)
    if not labels:
        trained(plain, lr, seed)

    def score(rows, i):
        task = plain
        if labels:
            task = make(arm, train, seed)
            both = objectives.Aware(task, train.x[rows], train.y[rows], int(train.y.max()) + 1)
            trained(both, lr, seed)
        return fine_tuned(task.encoder, train, rows, test, i, fine_lr)

    return {"lr": lr, "fine": over_draws(train, score, seed, (10,))}


# ---- all of it -------------------------------------------------------------------------------------------------------


def tuning_rows():
    for name in TABLES:
        for arm, (_, options) in LIBRARY.items():
            for option in options if len(options) > 1 else ():
                run = partial(tune_library, name, arm, option)
                yield name, f"{arm}, {option}", TUNING_SEED, {"of": arm}, run
        for arm in ("from scratch", *arms(name)):
            for lr in RATES if arm != "from scratch" else RATES[:1]:
                run = partial(tune_network, name, arm, lr)
                yield name, f"{arm}, lr {lr:g}", TUNING_SEED, {"of": arm}, run


def label_rows(seed: int):
    for name in TABLES:
        for arm in LIBRARY:
            yield name, arm, seed, {}, partial(run_library, name, arm, seed)
        for arm in ("untrained", "from scratch", *arms(name)):
            yield name, arm, seed, {}, partial(run_network, name, arm, seed)


def rate_rows(seed: int):
    for arm in ASKED:
        for share in SHARES:
            yield "tied", f"{arm}, {share}", seed, {"of": arm}, partial(run_rate, arm, share, seed)


def weight_rows(seed: int):
    for alpha in WEIGHTS:
        yield "tied", f"alpha {alpha:g}", seed, {}, partial(run_weight, alpha, seed)


def fill_rows(seed: int):
    for name in world.DRAWN:
        for fill in views.FILLS:
            yield name, fill, seed, {}, partial(run_fill, name, fill, seed)


def aware_rows(seed: int):
    for name, arm in (("tied", "mask"), ("tied", "values"), ("digits", "values")):
        for labels in (False, True):
            place = f"{arm}, labels too" if labels else arm
            yield name, place, seed, {"of": arm}, partial(run_aware, name, arm, labels, seed)


ROWS_OF = {
    "labels": label_rows, "rates": rate_rows, "weights": weight_rows, "fills": fill_rows, "aware": aware_rows,
}  # fmt: skip


def rows_of(part: str):
    """(table, arm, seed, what else stands in the row, what to run)"""
    if part == "tuning":
        yield from tuning_rows()
        return
    for seed in SEEDS:
        yield from ROWS_OF[part](seed)


PARTS = ("tuning", *ROWS_OF)


def main(parts, seeds, tables, seconds: float, steps: int, rows: int, dry: bool) -> None:
    if (steps, rows) != (STEPS, ROWS) and not dry:
        raise SystemExit("other sizes are for trials: add --dry")
    SIZES.update(steps=steps, rows=rows)
    jobs = (
        ({"part": part, "table": name, "arm": arm, "seed": seed} | more, run)
        for part in parts
        for name, arm, seed, more, run in rows_of(part)
        if (not seeds or seed in seeds) and name in tables
    )
    resume("tables", KEY, jobs, ("torch", "scikit-learn"), seconds, dry)


if __name__ == "__main__":
    parser = arguments(__doc__, PARTS, {"steps": STEPS, "rows": ROWS})
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    main(**vars(parser.parse_args()))
