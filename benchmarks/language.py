"""The measurements of chapter 8: what a small transformer learns by repairing sentences of a drawn language.

    uv run python benchmarks/language.py                        # all rows that the record does not have yet
    uv run python benchmarks/language.py --parts runs --seconds 300     # start no new row after 300 seconds

tuning   learning rate of every objective, from one list, on a language of its own (seed 100); scored by the mean share
         of right answers in the three kinds of gaps, and for those that fill no gap by the probe of their own question,
         both on stories held out from the train split.
runs     every objective for 2,000 steps of 64 pairs of sentences, the same encoder from the same weights, the same
         pairs drawn in the same order; "electra, equal compute" has fewer steps, by the count of multiplications.
         Floors: untrained, word counts, counts of a word between its two neighbours.
leak     masked language modelling whose loss counts the words that nobody hid.
english  three objectives and counts of neighbours on Python's manual, each seed with another tenth of its paragraphs
         held out; "english tuning" (seed 100) sees none of these three tenths.
"""

import argparse
import time

import _english
import torch
from _record import merge, recorded

from ssl_lessons import evaluation, losses
from ssl_lessons.book.widgets import gap
from ssl_lessons.diagnostics import rank_me
from ssl_lessons.modalities.words import corruptions, language, repair
from ssl_lessons.modalities.words.transformer import multiply_adds
from ssl_lessons.training import Diverged, fit

NAME, KEY = "language", ("part", "arm", "seed", "lr")
PARTS = ("tuning", "runs", "leak", "english tuning", "english")
SEEDS, TUNING_SEED, RATES = (0, 1, 2), 100, (1e-3, 3e-3, 1e-2)
STEPS, TUNING_STEPS, BATCH = 2000, 600, 64
UNLABELED, LABELLED, TEST = 20_000, 1000, 2000
FACTORS = {"topic": None, "number": None, "polarity": ("spoken", 0), "subject": ("pronoun", 1)}
# polarity where no word says it, the subject where a pronoun stands for it
PAIRS = {"near": "random", "order": "swapped"}
COMPUTE = "electra, equal compute"


class Leak(repair.Masked):
    """Masked language modelling that also counts the words left in sight: nearly all of the loss is copying."""

    def loss(self, ids, label, generator):
        device = self.head.weight.device
        shown, _ = corruptions.bert(ids, generator)
        states = self.encoder(shown.to(device))
        every = corruptions.words(ids).to(device)
        return losses.masked_lm(self.encoder.logits(states), ids.to(device), every)


class Splits:
    """The stories of a seed: to train on, to fit and to score probes; for tuning all of the train split."""

    def __init__(self, seed: int, tuning: bool = False, small: bool = False):
        sizes = (400, 120, 120) if small else (UNLABELED, LABELLED, TEST)
        data = language.stories(sum(sizes) if tuning else sum(sizes[:2]), seed=seed)
        whole = torch.arange(len(data)).split([sizes[0], len(data) - sizes[0]])
        self.unlabeled, rest = (data[rows] for rows in whole)
        test = (
            rest[torch.arange(sizes[1], len(rest))]
            if tuning
            else language.stories(sizes[2], seed=seed, split="test")
        )
        train = rest[torch.arange(sizes[1])]
        g = torch.Generator().manual_seed(seed)
        self.factors = [language.pairs(part, g) for part in (train, test)]
        self.pairs = {
            k: [language.pairs(part, g, wrong) for part in (train, test)] for k, wrong in PAIRS.items()
        }
        self.gaps = repair.gaps(test, g)

    def probes(self, features, pair_features) -> dict:
        """Accuracy of linear probes: of the factors of the second sentence, and of the two questions about a pair."""
        (ids, _, f), (ids_test, _, f_test) = self.factors
        x, x_test = features(ids), features(ids_test)
        found = {}
        for name, rule in FACTORS.items():
            on = [torch.ones(len(t["topic"]), dtype=torch.bool) if rule is None else t[rule[0]] == rule[1]
                  for t in (f, f_test)]  # fmt: skip
            result = evaluation.linear_probe(x[on[0]], f[name][on[0]], x_test[on[1]], f_test[name][on[1]])
            found[name] = result.accuracy
        if pair_features is not None:
            for name, ((a, y, _), (b, z, _)) in self.pairs.items():
                found[name] = evaluation.linear_probe(pair_features(a), y, pair_features(b), z).accuracy
        return found

    def answers(self, fill) -> dict:
        """Share of right answers in each kind of gap."""
        return {
            name: repair.right(fill(ids, at), good, bad) for name, (ids, at, good, bad) in self.gaps.items()
        }


def fills(module) -> bool:
    """Whether an objective says anything about words at all."""
    return getattr(module, "words", True)


def measured(module, splits: Splits) -> dict:
    encoder = module.encoder
    layers = [
        splits.probes(
            lambda ids, k=k: repair.features(encoder, ids)[k],
            (lambda ids: repair.pair_features(encoder, ids)) if k == len(encoder.blocks) else None,
        )
        for k in range(len(encoder.blocks) + 1)
    ]
    rank = rank_me(repair.features(encoder, splits.factors[1][0])[-1])
    gaps = splits.answers(lambda ids, at: repair.fill(module, ids, at)) if fills(module) else {}
    return {"layers": layers, "rank": float(rank), "gaps": gaps}


def trained(module, splits: Splits, steps: int, lr: float, seed: int, device: str) -> dict:
    start = time.process_time()
    module.to(device)
    history = fit(module, repair.batch_loss(module, splits.unlabeled, BATCH), steps, lr=lr, seed=seed)
    module.cpu()
    tenth = max(steps // 10, 1)
    curve = [sum(history[i : i + tenth]) / len(history[i : i + tenth]) for i in range(0, steps, tenth)]
    return {
        "losses": [round(v, 4) for v in curve],
        "steps": steps,
        "cpu_seconds": round(time.process_time() - start, 1),
    }


def compute(name: str) -> float:
    """Multiplications of a forward pass over one pair, by the sizes of the networks."""
    tokens, vocabulary = language.PAIR_LENGTH, len(language.VOCABULARY)
    hidden = 0.15 * tokens
    if name == "electra":
        return multiply_adds(64, 2, tokens, 1, tokens) + multiply_adds(16, 2, tokens, vocabulary, hidden)
    return multiply_adds(64, 2, tokens, vocabulary, hidden)


def steps_of(arm: str, steps: int) -> int:
    return round(steps * compute("mlm") / compute("electra")) if arm == COMPUTE else steps


def tune(arm: str, lr: float, steps: int, device: str, small: bool) -> dict:
    splits = Splits(TUNING_SEED, tuning=True, small=small)
    module = repair.build(arm, TUNING_SEED)
    try:
        row = trained(module, splits, steps, lr, TUNING_SEED, device)
    except Diverged:
        return {"held_out": 0.0}
    if fills(module):
        answers = splits.answers(lambda ids, at: repair.fill(module, ids, at))
        return row | {"held_out": sum(answers.values()) / len(answers)}
    (a, y, _), (b, z, _) = splits.pairs["near" if module.pairs == "random" else "order"]
    x, x_test = (repair.pair_features(module.encoder, ids) for ids in (a, b))
    return row | {"held_out": evaluation.linear_probe(x, y, x_test, z).accuracy}


def best_rate(arm: str) -> float:
    """The rate with the best held-out score; 3e-3 where nothing was tuned."""
    base = "electra" if arm == COMPUTE else "mlm" if arm == "leak" else arm
    rows = [r for r in recorded(NAME) if r["part"] == "tuning" and r["arm"] == base]
    return max(rows, key=lambda r: (r["held_out"], -r["lr"]))["lr"] if rows else 3e-3


def run(part: str, arm: str, seed: int, steps: int, device: str, small: bool) -> dict:
    splits = Splits(seed, small=small)
    if arm == "word counts":

        def sides(ids):
            return torch.cat([repair.bag_of_words(ids, part) for part in (0, 1)], dim=1)

        return {"layers": [splits.probes(repair.bag_of_words, sides)], "gaps": {}}
    if arm == "word counts, both sentences":
        bag = lambda ids: repair.bag_of_words(ids, None)  # noqa: E731
        return {"layers": [splits.probes(bag, bag)], "gaps": {}}
    if arm == "neighbour counts":
        counts = repair.Counts(language.pairs(splits.unlabeled, torch.Generator().manual_seed(seed))[0])
        return {"layers": [], "gaps": splits.answers(counts.fill)}
    if arm == "untrained":
        return measured(repair.build("mlm", seed), splits)
    lr = best_rate(arm)
    if arm == "leak":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = Leak()
    else:
        module = repair.build("electra" if arm == COMPUTE else arm, seed)
    row = trained(module, splits, steps_of(arm, steps), lr, seed, device)
    if arm in ("mlm", "gpt", "diffusion") and seed == 0:
        row["guesses"] = gap.guesses(module)  # for the widget
    return (
        row
        | measured(module, splits)
        | {"rate": lr, "compute": compute("electra" if "electra" in arm else "mlm")}
    )


FLOORS = ("untrained", "word counts", "word counts, both sentences", "neighbour counts")
ARMS = {
    "runs": (*FLOORS, *repair.OBJECTIVES, COMPUTE),
    "leak": ("leak",),
    "english tuning": tuple(_english.SETTINGS),
    "english": _english.ARMS,
}


def wanted(parts, seeds, arms) -> list[tuple]:
    rows = []
    if "tuning" in parts:
        rows += [("tuning", a, TUNING_SEED, lr) for a in repair.OBJECTIVES for lr in RATES]
    for p in PARTS[1:]:
        of = (TUNING_SEED,) if p == "english tuning" else seeds
        rows += [(p, a, s, None) for s in of for a in ARMS[p] if p in parts]
    return [row for row in rows if arms is None or row[1] in arms]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    parser.add_argument("--arms", nargs="*", help="only these")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no new row after so many")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dry", action="store_true", help="two steps on few stories, nothing is written")
    args = parser.parse_args()
    start = time.monotonic()
    have = {tuple(r.get(k) for k in KEY) for r in recorded(NAME)}
    for part, arm, seed, lr in wanted(args.parts, args.seeds, args.arms):
        if (part, arm, seed, lr) in have and not args.dry:
            continue
        if time.monotonic() - start > args.seconds:
            break
        steps = 2 if args.dry else TUNING_STEPS if part == "tuning" else STEPS
        row = {"part": part, "arm": arm, "seed": seed, "lr": lr}
        if part == "english tuning":
            row |= _english.tune(arm, seed, args.dry)
        elif part == "english":
            row |= _english.run(arm, seed, recorded(NAME), args.dry)
        elif part == "tuning":
            row |= tune(arm, lr, steps, args.device, args.dry)
        else:
            row |= run(part, arm, seed, steps, args.device, args.dry)
        if not args.dry:
            merge(NAME, [row], KEY, ("torch", "scikit-learn"))
        print(row, flush=True)


if __name__ == "__main__":
    main()
