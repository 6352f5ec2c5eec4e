"""The measurements of chapter 12: what methods learn of a drawn town's people, and of drawn molecules, without labels.

    uv run python benchmarks/graphs.py                                    # all rows that the record does not have yet
    uv run python benchmarks/graphs.py --parts nodes --seeds 0 --seconds 300  # start no new row after 300 seconds
    uv run python benchmarks/graphs.py --steps 2 --molecules 200 --dry     # everything once, nothing recorded

tuning    the learning rate of each arm, on worlds of their own (seed 100), from the same list, in half the steps; the
          best is the one whose features tell most about held-out training nodes (their group) or molecules (mean
          over the factors).
nodes     one town, one encoder, as many steps: which factor can be read from the nodes afterwards, with 10 labels of
          each class.  With words alone, edges alone (spectral, labels spread), words averaged over neighbours and the
          directions in which these averages differ most, the encoder before training, and, as an upper end, the average
          of the group's own words: what a filter of words could reach.
graphs    molecules: GraphCL with each of the ten pairs of four spoilings, and InfoGraph.  With counts of atoms, of
          degrees, of subtrees, and the encoder before training.

The town was designed on seeds 200 and 201: large and noisy enough that it pays to learn which words matter.
"""

import itertools
import time
from functools import lru_cache, partial

import torch
from _record import arguments, recorded, resume

from ssl_lessons import data, diagnostics, evaluation
from ssl_lessons.modalities.graphs import counts, encoders, objectives, views, world
from ssl_lessons.training import fit

KEY = ("part", "arm", "seed")
SEEDS, TUNING_SEED, RATES, RATE = (0, 1, 2), 100, (1e-3, 2e-3, 6e-3), 4e-3
LABELS, DRAWS, SHARE = 10, 5, 0.5
SIZES = {"steps": 200, "molecules": 1000}
STEPS, MOLECULES = SIZES["steps"], SIZES["molecules"]
PAIRS = [" + ".join(p) for p in itertools.combinations_with_replacement(views.SPOILINGS, 2)]
GRAPH_ARMS = (*PAIRS, "InfoGraph")


@lru_cache(maxsize=2)
def town(seed: int):
    return world.town(seed)


@lru_cache(maxsize=4)
def molecules(split: str, seed: int):
    """Train and test molecules of one seed are drawn from two seeds that no other world has."""
    return world.molecules(SIZES["molecules"], 2 * seed + (split == "test"))


def probe(train_x, train_y, test_x, test_y) -> float:
    """Mean accuracy over draws of LABELS labels per class."""
    return evaluation.label_efficiency(train_x, train_y, test_x, test_y, (LABELS,), DRAWS)[0]["mean"]


def of_nodes(x, seed: int, held_out: bool = False) -> dict:
    """factor -> accuracy on the other half of the town; with held_out, inside the first half alone."""
    graph = town(seed)
    known, asked = world.halves(len(x), seed)
    if held_out:
        known, asked = known[: len(known) // 2], known[len(known) // 2 :]
    return {name: probe(x[known], y[known], x[asked], y[asked]) for name, y in graph.factors.items()}


def of_molecules(features, seed: int, held_out: bool = False) -> dict:
    """The same for molecules; features: graphs, graphs -> their features."""
    train, test = (molecules(split, seed) for split in ("train", "test"))
    if held_out:
        half = torch.arange(len(train)) % 2 == 0
        train, test = train.pick(half.nonzero()[:, 0]), train.pick((~half).nonzero()[:, 0])
    a, b = features(train, test)
    return {name: probe(a, y, b, test.factors[name]) for name, y in train.factors.items()}


def both(one):
    """A function of one box of graphs, for two."""
    return lambda train, test: (one(train), one(test))


def gcn(seed: int) -> encoders.GCN:
    torch.manual_seed(seed)
    return encoders.GCN(town(seed).x.shape[1])


def gin(seed: int) -> encoders.GIN:
    torch.manual_seed(seed)
    return encoders.GIN(world.ATOMS)


NODE_ARMS = tuple(objectives.tasks(lambda: None, None))


def build(name: str, seed: int):
    if name in NODE_ARMS:
        return objectives.tasks(partial(gcn, seed), town(seed))[name]()
    batch = min(64, SIZES["molecules"])
    if name == "InfoGraph":
        return objectives.PartWhole(gin(seed), molecules("train", seed), batch=batch)
    first, second = name.split(" + ")
    return objectives.GraphContrast(
        gin(seed), molecules("train", seed), first, second, share=SHARE, batch=batch
    )


def run_arm(name: str, seed: int, lr: float | None = None) -> dict:
    """lr: of tuning, where nothing is chosen on what is tested later."""
    task, tuning = build(name, seed), lr is not None
    lr = lr if tuning else best_rate(name)
    steps = SIZES["steps"] * (1 if name in NODE_ARMS else 2)
    steps = max(1, steps // 2) if tuning else steps
    start = time.process_time()
    history = fit(task, task, steps, lr=lr, seed=seed, after=getattr(task, "follow", None))
    seconds, last = time.process_time() - start, history[-20:]
    row = {"steps": steps, "lr": lr, "loss": sum(last) / len(last), "first": history[0], "seconds": seconds}
    features = partial(objectives.features, task.encoder)
    if name in NODE_ARMS:
        x = features(town(seed))
        found, rank = of_nodes(x, seed, tuning), float(diagnostics.rank_me(x))
    else:
        found = of_molecules(both(features), seed, tuning)
        rank = float(diagnostics.rank_me(features(molecules("test", seed))))
    return row | {"factors": found, "mean": sum(found.values()) / len(found), "rank": rank}


def best_rate(name: str) -> float:
    rows = [r for r in recorded("graphs") if r["part"] == "tuning" and r["task"] == name]
    score = (lambda r: r["factors"]["group"]) if name in NODE_ARMS else (lambda r: r["mean"])
    return max(rows, key=score)["lr"] if rows else RATE


# ---- floors ---------------------------------------------------------------------------------------------------------

OWN = world.GROUPS * world.WORDS["group"]
NODE_FLOORS = {  # the last but one is none: it is told which words matter
    "words alone": lambda graph, seed: graph.x,
    "friends counted": lambda graph, seed: graph.degrees()[:, None].float(),
    "edges alone, spectral": lambda graph, seed: counts.spectral(graph),
    "words averaged over neighbours": lambda graph, seed: counts.smoothed(graph),
    "averages, 16 directions": lambda graph, seed: counts.principal(counts.smoothed(graph)),
    "averages, the group's words": lambda graph, seed: counts.smoothed(graph)[:, :OWN],
    "untrained": lambda graph, seed: objectives.features(gcn(seed), graph),
}
GRAPH_FLOORS = {
    "atoms counted": lambda seed: both(counts.composition),
    "degrees counted": lambda seed: both(counts.degree_counts),
    "subtrees counted": lambda seed: counts.subtree_counts,
    "untrained": lambda seed: both(partial(objectives.features, gin(seed))),
}
SPREAD = "labels spread over edges"


def spread(seed: int) -> dict:
    """Label spreading, from the same draws of labels as the probes'."""
    graph = town(seed)
    known, asked = world.halves(len(graph.x), seed)

    def accuracy(y) -> float:
        rows = []
        for draw in range(DRAWS):
            chosen = data.label_subset(y[known], LABELS, seed=draw)
            said = counts.spread_labels(graph, y, known[chosen])
            rows.append(float((said[asked] == y[asked]).float().mean()))
        return sum(rows) / DRAWS

    return {"steps": 0, "factors": {name: accuracy(y) for name, y in graph.factors.items()}}


def node_floor(name: str, seed: int) -> dict:
    if name == SPREAD:
        return spread(seed)
    return {"steps": 0, "factors": of_nodes(NODE_FLOORS[name](town(seed), seed), seed)}


def graph_floor(name: str, seed: int) -> dict:
    return {"steps": 0, "factors": of_molecules(GRAPH_FLOORS[name](seed), seed)}


# ---- all of it ------------------------------------------------------------------------------------------------------


def rows_of(part: str):
    if part == "tuning":
        for name, lr in itertools.product((*NODE_ARMS, *GRAPH_ARMS), RATES):
            yield (
                f"{name}, lr {lr:g}",
                TUNING_SEED,
                lambda name=name, lr=lr: run_arm(name, TUNING_SEED, lr) | {"task": name},
            )
        return
    floors, floor, arms = {
        "nodes": ((*NODE_FLOORS, SPREAD), node_floor, NODE_ARMS),
        "graphs": (GRAPH_FLOORS, graph_floor, GRAPH_ARMS),
    }[part]
    for seed in SEEDS:
        yield from ((name, seed, partial(floor, name, seed)) for name in floors)
        yield from ((name, seed, partial(run_arm, name, seed)) for name in arms)


PARTS = ("tuning", "nodes", "graphs")


def main(parts, seeds, seconds: float, steps: int, molecules: int, dry: bool) -> None:
    if (steps, molecules) != (STEPS, MOLECULES) and not dry:
        raise SystemExit("other sizes are for trials: add --dry")
    SIZES.update(steps=steps, molecules=molecules)
    jobs = (
        ({"part": part, "arm": arm, "seed": seed}, run)
        for part in parts
        for arm, seed, run in rows_of(part)
        if not seeds or seed in seeds
    )
    resume("graphs", KEY, jobs, ("torch", "scikit-learn"), seconds, dry)


if __name__ == "__main__":
    main(**vars(arguments(__doc__, PARTS, {"steps": STEPS, "molecules": MOLECULES}).parse_args()))
