"""The rows "english" of chapter 8: the repair objectives on Python's manual, beside counts of neighbours."""

import time
from functools import partial

import torch
import torch.nn.functional as F

from ssl_lessons import evaluation
from ssl_lessons.modalities.words import corpora, corruptions, english, repair
from ssl_lessons.modalities.words.language import MASK
from ssl_lessons.training import Diverged, fit

TUNED = 3  # the part of the manual that tuning holds out
STEPS, TUNING_STEPS, BATCH, DROPOUT, LABELS, ASKED = 4000, 1500, 16, 0.1, 800, 120
NETWORKS = {
    "mlm": [{"lr": lr, "rate": rate} for lr, rate in ((3e-3, 0.15), (3e-3, 0.4), (1e-3, 0.4))],
    "gpt": [
        {"lr": lr, "dropout": dropout, "steps": steps}
        for lr, dropout, steps in (
            (1e-3, 0.1, 1500),
            (3e-3, 0.1, 1500),
            (3e-3, 0.3, 1500),
            (3e-3, 0.3, STEPS),
        )
    ],  # it asks for every word, and learns the text by heart
    "electra": [{"lr": 3e-3}],
}
ORDERS = {"unigram": (1, False), "bigram": (2, False), "trigram": (3, False),
          "bigram, both sides": (2, True), "trigram, both sides": (3, True)}  # fmt: skip
COUNTS = {name: [{"discount": d} for d in (0.5, 0.75, 0.9)] for name in ORDERS if name != "unigram"} | {
    "two neighbours": [{"share": s} for s in (1.0, 3.0, 10.0, 30.0)]
}
SETTINGS = {name: some for name, some in (NETWORKS | COUNTS).items() if len(some) > 1}
ARMS = ("unigram", *COUNTS, "bag of words", "untrained", *NETWORKS)


class Manual:
    """The manual with one part held out, and the exams on it."""

    def __init__(self, hold: int, tuning: bool = False):
        self.text = english.split(hold, tuning)
        self.size = len(self.text.words)
        self.rows, self.at = english.gaps(self.text.test.ids)
        self.answer = self.rows[torch.arange(len(self.rows)), self.at]

    def found(self, fill, every: int = 1) -> dict:
        """What fill(ids, place) names, of every gap or of one in `every`."""
        rows, at = self.rows[::every], self.at[::every]
        parts = zip(rows.split(500), at.split(500), strict=True)
        scores = torch.cat([fill(a[:, : int(corruptions.real(a).sum(1).max())], b) for a, b in parts])
        return english.found(scores, self.answer[::every]) | {"gaps": len(rows)}

    def elsewhere(self, fill) -> dict:
        """The same in scikit-learn's descriptions, at the words that the manual has as well."""
        rows, at = english.gaps(english.framed(corpora.descriptions(), self.text.words))
        parts = zip(rows.split(500), at.split(500), strict=True)
        scores = torch.cat([fill(a, b) for a, b in parts])
        return english.found(scores, rows[torch.arange(len(rows)), at]) | {"gaps": len(rows)}

    def kinds(self, state) -> float:
        """state(ids, place) -> [G, D] with the word hidden: the class of words whose labels were never shown."""
        sides = []
        for part, wanted in ((self.text.train, False), (self.text.test, True)):
            which, label, asked = english.classes(self.text.words, part.ids)
            keep = (asked == wanted).nonzero()[:, 0]
            keep = keep[torch.randperm(len(keep), generator=torch.Generator().manual_seed(0))[:LABELS]]
            rows, at = (x[which[keep]] for x in english.gaps(part.ids))
            sides += [state(rows, at), label[keep]]
        return evaluation.linear_probe(*sides).accuracy

    def said(self, fill) -> list[dict]:
        """Three held-out sentences of 8 to 14 words, evenly spread, the middle word hidden: the first three guesses."""
        length = corruptions.words(self.text.test.ids).sum(dim=1)
        some = ((length >= 8) & (length <= 14)).nonzero()[:, 0]
        found = []
        for row in some[[len(some) // 6, len(some) // 2, 5 * len(some) // 6]]:
            ids, place = self.text.test.ids[row][None], length[row][None] // 2 + 1
            best = fill(ids, place)[0, english.RARE + 1 :].topk(3).indices + english.RARE + 1
            shown = ids[0].clone()
            shown[place] = MASK
            words = [self.text.words[i] for i in best.tolist()]
            answer = self.text.words[int(ids[0, place])]
            found.append({"shown": self.text.decode(shown), "answer": answer, "guesses": words})
        return found


@torch.no_grad()
def state(module, ids, place):
    """The state from which a network says the word at `place`: its own with [MASK] in sight, or the one before."""
    row, shown = torch.arange(len(ids)), ids.clone()
    shown[row, place] = MASK
    return module.encoder(shown)[row, place - 1 if module.encoder.causal else place]


def neighbours(size: int, ids, place):
    """Which word stands to the left of the gap, and which to the right: [G, 2 V]."""
    row = torch.arange(len(ids))
    return torch.cat([F.one_hot(ids[row, place + side], size).float() for side in (-1, 1)], dim=1)


def bag(size: int, ids, place):
    """The other words of the sentence, counted: [G, V]."""
    shown = ids.clone()
    shown[torch.arange(len(ids)), place] = MASK
    return english.bag(shown, size)


def trained(name: str, manual: Manual, steps: int, seed: int, lr: float, dropout=DROPOUT, **corruption):
    network = {"vocabulary": manual.size, "length": english.LONGEST + 2, "dropout": dropout}
    module, ids = repair.build(name, seed, network=network, **corruption), manual.text.train.ids

    def loss(generator):
        some = ids[torch.randint(len(ids), (BATCH,), generator=generator)]
        return module.loss(some[:, : int(corruptions.real(some).sum(1).max())], None, generator)

    start = time.process_time()
    history = fit(module, loss, steps, lr=lr, seed=seed) if steps else []
    tenth = max(1, steps // 10)
    curve = [sum(history[i : i + tenth]) / tenth for i in range(0, steps, tenth)]
    return module, {"losses": [round(v, 4) for v in curve], "seconds": round(time.process_time() - start, 1)}


def filling(name: str, module, manual: Manual):
    """(fill, of how many gaps one is asked): ELECTRA tries all words in a gap, so it is asked about fewer."""
    if name != "electra":
        return partial(repair.fill, module), 1
    words = range(english.RARE, manual.size)
    every = max(1, len(manual.rows) // ASKED)
    return partial(repair.originality, module, words=words), every


def counting(name: str, manual: Manual, setting: dict):
    ids, size = manual.text.train.ids, manual.size
    if name == "two neighbours":
        return english.between(ids, size, **setting)
    order, both = ORDERS[name]
    return partial(english.Ngrams(ids, size, order, **setting).fill, both=both)


def tune(name: str, seed: int, dry: bool = False) -> dict:
    """Every setting of an arm on a part of the manual that no exam uses; fewest bits are best.

    ELECTRA gives no probabilities and is not tuned.
    """
    manual, tried = Manual(TUNED, tuning=True), []
    for setting in SETTINGS[name]:
        if name in COUNTS:
            tried.append(setting | manual.found(counting(name, manual, setting)))
            continue
        try:
            options = {"steps": TUNING_STEPS} | setting | ({"steps": 2} if dry else {})
            module, _ = trained(name, manual, seed=seed, **options)
            fill, every = filling(name, module, manual)
            tried.append(setting | manual.found(fill, 40 * every if dry else every))
        except Diverged:
            continue
    return {"tried": tried}


def best(name: str, rows: list[dict]) -> dict:
    """The setting that did best in tuning; the first one where nothing was tuned."""
    tried = next((r["tried"] for r in rows if (r["part"], r["arm"]) == ("english tuning", name)), None)
    if not tried:
        return (NETWORKS | COUNTS).get(name, [{}])[0]
    top = min(tried, key=lambda t: t["bits"])
    return {k: v for k, v in top.items() if k in SETTINGS[name][0]}


def run(name: str, seed: int, rows: list[dict], dry: bool = False) -> dict:
    manual, setting = Manual(seed), best(name, rows)
    split = manual.text
    row = {"setting": setting, "near": split.near, "sentences": [len(split.train), len(split.test)]}
    row |= {"vocabulary": manual.size}
    if name == "bag of words":
        return row | {"kinds": manual.kinds(partial(bag, manual.size))}
    if name in ORDERS or name in COUNTS:
        fill = counting(name, manual, setting)
        row |= manual.found(fill) | {"elsewhere": manual.elsewhere(fill)}
        if name == "two neighbours":
            row["kinds"] = manual.kinds(partial(neighbours, manual.size))
        if "trigram" in name:
            row["kinds"] = manual.kinds(lambda ids, place: fill(ids, place).log_softmax(dim=1))
        return row | ({"said": manual.said(fill)} if seed == 0 else {})
    if name == "untrained":
        module, _ = trained("mlm", manual, 0, seed, lr=0.0)
        return (
            row | manual.found(partial(repair.fill, module)) | {"kinds": manual.kinds(partial(state, module))}
        )
    options = {"steps": STEPS} | setting | ({"steps": 2} if dry else {})
    module, more = trained(name, manual, seed=seed, **options)
    fill, every = filling(name, module, manual)
    row |= (
        more
        | manual.found(fill, 40 * every if dry else every)
        | {"kinds": manual.kinds(partial(state, module))}
    )
    if name == "electra":
        del row["bits"]  # its scores are no probabilities of words
    else:
        row["elsewhere"] = manual.elsewhere(fill)
    return row | ({"said": manual.said(fill)} if seed == 0 else {})
