"""The measurements of chapter 8b: which neighbours teach an encoder what a sentence means.

    uv run python benchmarks/sentences.py                               # all rows that the record does not have yet
    uv run python benchmarks/sentences.py --parts tuning --seconds 300  # start no new row after 300 seconds
    uv run python benchmarks/sentences.py --steps 2 --documents 200 --dry  # everything once, nothing recorded

tuning    the learning rate of each way, after a third of the steps, on documents and an exam of their own (seed 100);
          the best is the one whose cosines follow the number of shared factors best.
runs      every way from the same masked language model of the seed, as many steps; floors; two cures without training.
dropout   SimCSE's only augmentation at other rates.
equals    batches in which all sentences mean the same.
tongues   translation pairs: find a sentence among those of the second tongue, before and after.
english   Python's manual: is the nearest held-out sentence the next one of its paragraph?  Which topic is it from?
          "english tuning" holds out a part of its own (seed 100).  The start is chapter 8's masked model, 3,000 steps.
"""

import copy
import time
from functools import lru_cache, partial

import _english
import torch
import torch.nn.functional as F
from _record import arguments, recorded, resume
from sklearn.feature_extraction.text import TfidfTransformer

from ssl_lessons import diagnostics, evaluation, losses
from ssl_lessons.data.image_set import Factor
from ssl_lessons.modalities.words import counts, english, isotropy, positives, sentences, training
from ssl_lessons.modalities.words import sentence_objectives as objectives
from ssl_lessons.training import fit

KEY = ("part", "arm", "seed")
SEEDS, TUNING_SEED, RATES = (0, 1, 2), 100, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
STEPS, DOCUMENTS, START_RATE, START_STEPS = 500, 4000, 3e-3, 1500
SIZES = {"steps": STEPS, "documents": DOCUMENTS}
LABELS = 400  # sentences to fit a probe, and as many to ask it


@lru_cache(maxsize=2)
def documents(seed: int) -> sentences.Documents:
    return sentences.documents(SIZES["documents"], seed=seed)


@lru_cache(maxsize=2)
def start(seed: int):
    """The masked language model that all begin with, of this seed."""
    task = objectives.MaskedWords(objectives.encoder(seed), documents(seed))
    fit(task, task, min(START_STEPS, 3 * SIZES["steps"]), lr=START_RATE, seed=seed)
    return task.encoder


def vectors(task):
    return partial(objectives.features, task.eval().vectors)


def measured(features, seed: int) -> dict:
    """The exam, what a linear readout finds of each factor (0 chance, 1 always right), and the rank of the vectors."""
    found = {"exam": sentences.exam(seed=seed)(features)}
    ids, meaning = documents(seed).flat()
    row = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))[:LABELS]
    g = torch.Generator().manual_seed(10**7 + seed)
    new = sentences.meanings(LABELS, g)
    x, y = features(ids[row]), features(sentences.say(new, sentences.styles(LABELS, g)))
    truth = [
        {n: Factor(m[:, i], "categorical") for i, n in enumerate(sentences.FACTORS)}
        for m in (meaning[row], new)
    ]
    found["factors"] = evaluation.factor_probe(x, truth[0], y, truth[1])
    return found | {"rank": float(diagnostics.rank_me(x))}


# ---- floors and cures -----------------------------------------------------------------------------------------------


def tf_idf(seed: int):
    model = TfidfTransformer().fit(positives.counts(documents(seed).flat()[0]).numpy())
    return lambda ids: torch.from_numpy(model.transform(positives.counts(ids).numpy()).toarray()).float()


def word2vec(seed: int):
    """The mean of skip-gram's word vectors (chapter 2), learned on whole documents, so that windows cross sentences."""
    text = [sentences.decode(doc.flatten()).split() for doc in documents(seed).tokens]
    corpus = counts.read(text)
    model, _ = training.learn(
        corpus, training.skip_gram, 2 * SIZES["steps"], seed=seed, window=sentences.LONGEST
    )
    table = torch.zeros(len(sentences.VOCABULARY), model.input.shape[1])
    table[[sentences.VOCABULARY.index(w) for w in corpus.words]] = model.input.detach()
    return lambda ids: positives.counts(ids) @ table


def plain(seed: int):
    return partial(objectives.features, partial(objectives.pooled, start(seed).eval()))


def cured(cure, seed: int):
    features = plain(seed)
    change = cure(features(documents(seed).flat()[0][:4000]))
    return lambda ids: change(features(ids))


def untrained(seed: int):
    return partial(objectives.features, partial(objectives.pooled, objectives.encoder(seed).eval()))


FLOORS = {
    "bag of words": lambda seed: positives.counts,
    "TF-IDF": tf_idf,
    "mean of word2vec": word2vec,
    "untrained": untrained,
    "masked words": plain,
    "masked words, whitened": partial(cured, partial(isotropy.whitening, keep=32)),
    "masked words, flow": partial(cured, isotropy.flow),
}

# ---- ways to learn --------------------------------------------------------------------------------------------------

augmented = {
    f"positive: {name}": partial(objectives.Augmented, way=way) for name, way in positives.WAYS.items()
}
WAYS = {
    **augmented,
    "positive: contextual": lambda s, d: objectives.Augmented(s, d, partial(positives.contextual, encoder=s)),
    "CERT": partial(objectives.Queue, way=positives.back_translation),
    "skip-thought": objectives.Skip,
    "quick-thought": objectives.Neighbours,
    "DeCLUTR": partial(objectives.Neighbours, reach=2, spans=True),
    "CONPONO": objectives.Conpono,
    "IS-BERT": objectives.Local,
    "translations": objectives.Translations,
    "labels: SBERT": objectives.Siamese,
    "labels: same meaning": objectives.Labelled,
    "labels: and contradictions": partial(objectives.Labelled, hard="contradiction"),
    "labels: and BM25": partial(objectives.Labelled, hard="BM25"),
}


def built(way, seed: int):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return way(start(seed).eval(), documents(seed))


def trained(task, steps: int, lr: float, seed: int) -> dict:
    begin = time.process_time()
    history = fit(task, task, steps, lr=lr, seed=seed)
    last = history[-20:]
    seconds = time.process_time() - begin
    return {"steps": steps, "lr": lr, "loss": sum(last) / len(last), "first": history[0], "seconds": seconds}


def tune(name: str, lr: float) -> dict:
    task = built(WAYS[name], TUNING_SEED)
    row = trained(task, max(1, SIZES["steps"] // 3), lr, TUNING_SEED)
    return row | {"way": name, "exam": sentences.exam(seed=TUNING_SEED)(vectors(task))}


def best_rate(name: str) -> float:
    rows = [r for r in recorded("sentences") if r["part"] == "tuning" and r["way"] == name]
    return max(rows, key=lambda r: r["exam"]["likeness"])["lr"] if rows else RATES[-1]


def floor(name: str, seed: int) -> dict:
    return {"steps": 0} | measured(FLOORS[name](seed), seed)


def run(name: str, seed: int) -> dict:
    task = built(WAYS[name], seed)
    row = trained(task, SIZES["steps"], best_rate(name), seed)
    return row | measured(vectors(task), seed)


def at_rate(rate: float, seed: int) -> dict:
    task = built(partial(objectives.Augmented, way=positives.nothing), seed)
    for module in task.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = rate
    return trained(task, SIZES["steps"], best_rate("positive: nothing (dropout)"), seed) | measured(
        vectors(task), seed
    )


def among_equals(name: str, seed: int) -> dict:
    task = built(partial(objectives.Equals, way=positives.WAYS[name]), seed)
    return trained(task, SIZES["steps"], best_rate(f"positive: {name}"), seed) | measured(vectors(task), seed)


def across(features, seed: int) -> float:
    """How often the nearest of 250 sentences of the second tongue means the same."""
    g = torch.Generator().manual_seed(10**8 + seed)
    meaning = torch.unique(sentences.meanings(2000, g), dim=0)
    meaning = meaning[torch.randperm(len(meaning), generator=g)[:250]]
    here, there = (features(sentences.say(meaning, sentences.styles(250, g), tongue)) for tongue in (0, 1))
    return evaluation.retrieval.recall_at_k(here, torch.arange(250), 1, there, torch.arange(250))


def tongues(name: str, seed: int) -> dict:
    if name == "masked words":
        return {"found": across(plain(seed), seed)}
    task = built(WAYS["translations"], seed)
    row = trained(task, SIZES["steps"], best_rate("translations"), seed)
    return row | {"found": across(vectors(task), seed)}


# ---- real English ----------------------------------------------------------------------------------------------------

PAIRED = ("SimCSE", "quick-thought")
ENGLISH_STEPS, ENGLISH_TUNING_STEPS, TOPICS, TAUGHT = 300, 100, 8, 800


@lru_cache(maxsize=2)
def manual(hold: int, tuning: bool = False) -> _english.Manual:
    return _english.Manual(hold, tuning)


@lru_cache(maxsize=2)
def english_start(hold: int, seed: int, tuning: bool = False):
    setting = _english.best("mlm", recorded("language"))
    steps = min(_english.TUNING_STEPS if tuning else _english.STEPS, 6 * SIZES["steps"])
    return _english.trained("mlm", manual(hold, tuning), steps, seed, **setting)[0].encoder


def paired(name: str, hold: int, seed: int, lr: float, tuning: bool = False):
    """A sentence beside itself with other dropout (SimCSE), or beside the next one of its paragraph."""
    encoder = copy.deepcopy(english_start(hold, seed, tuning))
    train = manual(hold, tuning).text.train
    bare, next_one = english.bare(train.ids), train.neighbours()
    places, step = (torch.arange(len(bare)), 0) if name == "SimCSE" else (next_one, 1)

    def loss(generator):
        row = places[torch.randperm(len(places), generator=generator)[: objectives.SIZE]]
        z, other = (objectives.pooled(encoder, bare[r]) for r in (row, row + step))
        return losses.info_nce(z, other, temperature=1 / objectives.SCALE)

    steps = ENGLISH_TUNING_STEPS if tuning else ENGLISH_STEPS
    fit(encoder, loss, min(steps, SIZES["steps"]), lr=lr, seed=seed)
    return partial(objectives.features, partial(objectives.pooled, encoder))


def english_exam(features, hold: int, tuning: bool = False) -> dict:
    """next: share whose nearest held-out sentence is the next one; ten: among ten; topic: probe of the 8 largest."""
    text = manual(hold, tuning).text
    z = features(english.bare(text.test.ids))
    row = text.test.neighbours()
    near = F.normalize(z[row], dim=1) @ F.normalize(z, dim=1).T
    near[torch.arange(len(row)), row] = -torch.inf
    own = near.gather(1, row[:, None] + 1)
    rank = (near > own).sum(dim=1) + ((near == own).sum(dim=1) - 1) / 2  # a tie counts half
    found = {f"next {k}": float((rank < k).double().mean()) for k in (1, 10)}
    found |= {"asked": len(row), "among": len(z) - 1}
    keep = [(part.topic < TOPICS).nonzero()[:, 0] for part in (text.train, text.test)]
    some = torch.randperm(len(keep[0]), generator=torch.Generator().manual_seed(0))[:TAUGHT]
    a, b = keep[0][some], keep[1]
    x = features(english.bare(text.train.ids[a])), text.train.topic[a]
    return found | {"topic": evaluation.linear_probe(*x, z[b], text.test.topic[b]).accuracy}


def english_floor(name: str, seed: int):
    text = manual(seed).text
    bag = partial(english.bag, vocabulary=len(text.words))
    if name == "TF-IDF":
        model = TfidfTransformer().fit(bag(text.train.ids).numpy())
        return lambda ids: torch.from_numpy(model.transform(bag(ids).numpy()).toarray()).float()
    if name == "mean of word2vec":
        lines = [text.decode(ids).split() for ids in text.train.ids]
        corpus = counts.read(lines)
        vectors, _ = training.learn(corpus, training.skip_gram, 2 * SIZES["steps"], seed=seed)
        table = torch.zeros(len(text.words), vectors.input.shape[1])
        table[[text.words.index(w) for w in corpus.words]] = vectors.input.detach()
        return lambda ids: bag(ids) @ table
    if name == "bag of words":
        return bag
    if name == "untrained":
        network = _english.trained("mlm", manual(seed), 0, seed, lr=0.0)[0].encoder.eval()
    else:
        network = english_start(seed, seed)
    return partial(objectives.features, partial(objectives.pooled, network))


ENGLISH_FLOORS = ("bag of words", "TF-IDF", "mean of word2vec", "untrained", "masked words")


def tune_english(name: str, lr: float) -> dict:
    features = paired(name, _english.TUNED, TUNING_SEED, lr, tuning=True)
    return {"way": name, "lr": lr, "exam": english_exam(features, _english.TUNED, tuning=True)}


def in_english(name: str, seed: int) -> dict:
    if name in ENGLISH_FLOORS:
        return {"exam": english_exam(english_floor(name, seed), seed)}
    rows = [r for r in recorded("sentences") if r["part"] == "english tuning" and r["way"] == name]
    lr = max(rows, key=lambda r: r["exam"]["next 10"])["lr"] if rows else 3e-4
    return {"lr": lr, "exam": english_exam(paired(name, seed, seed, lr), seed)}


# ---- all of it ------------------------------------------------------------------------------------------------------

PARTS = ("tuning", "runs", "dropout", "equals", "tongues", "english tuning", "english")


def rows_of(part: str):
    if part == "tuning":
        yield from ((f"{n}, lr {lr:g}", TUNING_SEED, partial(tune, n, lr)) for n in WAYS for lr in RATES)
        return
    if part == "english tuning":
        jobs = ((n, lr) for n in PAIRED for lr in RATES[:4])
        yield from ((f"{n}, lr {lr:g}", TUNING_SEED, partial(tune_english, n, lr)) for n, lr in jobs)
        return
    arms = {
        "runs": {n: partial(floor, n) for n in FLOORS} | {n: partial(run, n) for n in WAYS},
        "dropout": {f"{rate:g}": partial(at_rate, rate) for rate in (0.0, 0.3)},
        "equals": {n: partial(among_equals, n) for n in ("nothing (dropout)", "back translation")},
        "tongues": {n: partial(tongues, n) for n in ("masked words", "translations")},
        "english": {n: partial(in_english, n) for n in (*ENGLISH_FLOORS, *PAIRED)},
    }[part]
    for seed in SEEDS:
        yield from ((name, seed, partial(work, seed)) for name, work in arms.items())


def main(parts, seeds, seconds: float, steps: int, documents: int, dry: bool) -> None:
    if (steps, documents) != (STEPS, DOCUMENTS) and not dry:
        raise SystemExit("other sizes are for trials: add --dry")
    SIZES.update(steps=steps, documents=documents)
    jobs = (
        ({"part": part, "arm": arm, "seed": seed}, work)
        for part in parts
        for arm, seed, work in rows_of(part)
        if not seeds or seed in seeds
    )
    resume("sentences", KEY, jobs, ("torch", "scikit-learn"), seconds, dry)


if __name__ == "__main__":
    main(**vars(arguments(__doc__, PARTS, {"steps": STEPS, "documents": DOCUMENTS}).parse_args()))
