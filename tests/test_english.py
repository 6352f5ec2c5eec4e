"""Python's manual as ids: held-out paragraphs, hidden words, and the counts that have to be beaten."""

import importlib
import itertools
from pathlib import Path

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.words import corpora, english, repair
from ssl_lessons.modalities.words.language import CLS, MASK, PAD, SEP, SPECIAL
from ssl_lessons.training import fit

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def text():
    return english.split(0)


def test_paragraphs_hold_every_sentence_of_the_manual_once():
    whole = [words for _, block in corpora.manual_paragraphs() for words in block]
    assert len(whole) == len(set(whole))
    assert set(whole) == {tuple(words) for words in corpora.python_documentation()}


def test_descriptions_are_english():
    found = corpora.descriptions()
    words = [w for line in found for w in line]
    assert len(words) > 1500 and words.count("the") > len(words) / 50
    assert len({tuple(line) for line in found}) == len(found)


def test_held_out_paragraphs_are_new(text):
    assert not set(text.test.paragraph.tolist()) & set(text.train.paragraph.tolist())
    runs = {tuple(r) for ids in text.train.ids for r in ids.unfold(0, 8, 1).tolist() if min(r) > english.RARE}
    shared = [r for ids in text.test.ids for r in ids.unfold(0, 8, 1).tolist() if tuple(r) in runs]
    assert text.near > 0 and not shared
    folds = [english.split(k).test.paragraph.tolist() for k in range(3)]
    assert all(not set(a) & set(b) for a, b in itertools.combinations(folds, 2))
    tuning = english.split(3, tuning=True)
    seen = {*tuning.train.paragraph.tolist(), *tuning.test.paragraph.tolist()}
    assert not seen & set(sum(folds, []))
    for bad in ({"hold": 10}, {"hold": 0, "tuning": True}):
        with pytest.raises(InputError, match="hold"):
            english.split(**bad)


def test_text_goes_there_and_back_and_neighbours_share_a_paragraph(text):
    ids = text.encode("the ___ is zzz")
    assert ids[0, 0] == CLS and ids[0, -1] == SEP and ids[0, 2] == MASK and ids[0, 4] == english.RARE
    assert text.decode(ids[0]) == "the [MASK] is [RARE]"
    row = text.test.neighbours()
    assert len(row) > 50 and (text.test.paragraph[row] == text.test.paragraph[row + 1]).all()
    bare = english.bare(text.test.ids)
    assert not ((bare > PAD) & (bare < len(SPECIAL))).any()
    assert torch.equal(english.bag(bare, len(text.words)), english.bag(text.test.ids, len(text.words)))
    assert english.bag(bare, len(text.words)).sum() == (text.test.ids >= len(SPECIAL)).sum()


def test_found_counts_what_is_named():
    log_p = torch.full((3, 12), -9.0)
    log_p[:, 0] = 5.0  # special words do not count
    log_p[0, 7], log_p[1, 8], log_p[1, 9] = 1.0, 1.0, 0.5
    told = english.found(log_p, torch.tensor([7, 9, 10]))
    assert told["top1"] == pytest.approx(1 / 3) and told["top5"] == pytest.approx(2 / 3)
    even = english.found(torch.zeros(2, 12), torch.tensor([5, 6]))
    assert even["top1"] == 0 and even["bits"] == pytest.approx(3.0)  # log2 of the eight words


def test_classes_ask_only_about_words_that_were_not_taught(text):
    which, label, asked = english.classes(text.words, text.train.ids)
    rows, at = english.gaps(text.train.ids)
    words = [text.words[i] for i in rows[torch.arange(len(rows)), at][which].tolist()]
    groups = list(corpora.DOCUMENTATION_GROUPS.values())
    assert all(w in groups[k] for w, k in zip(words, label.tolist(), strict=True))
    taught, new = ({w for w, a in zip(words, asked.tolist(), strict=True) if a == side} for side in (0, 1))
    assert taught and new and not taught & new


# ---- counting ----------------------------------------------------------------------------------------------------


def toy(seed=0, n=40, v=9):
    """Sentences of four to six of the words 4 .. 8."""
    g = torch.Generator().manual_seed(seed)
    lines = [(4 + torch.randint(0, v - 4, (4 + i % 3,), generator=g)).tolist() for i in range(n)]
    width = 2 + max(map(len, lines))
    return torch.tensor([[CLS, *line, SEP] + [PAD] * (width - 2 - len(line)) for line in lines]), v


def by_the_book(lines, h, w, d, v):
    """Kneser and Ney's p(w | h), h of two words, from lists and loops."""
    padded = [[CLS, *line] for line in lines]
    triples = [tuple(x[i : i + 3]) for x in padded for i in range(len(x) - 2)]
    kinds = sorted(set(triples))
    pairs = [t[1:] for t in kinds]  # each pair once for every word that stands before it
    ends = [b for _, b in sorted(set(pairs))]
    uni = [(ends.count(x) + 0.5) / (len(ends) + 0.5 * v) for x in range(v)]
    after = [p for p in pairs if p[0] == h[1]]
    two = uni[w]
    if after:
        two = max(after.count((h[1], w)) - d, 0) / len(after) + d * len(set(after)) / len(after) * uni[w]
    here = [t for t in triples if t[:2] == h]
    if not here:
        return two
    return max(here.count((*h, w)) - d, 0) / len(here) + d * len(set(here)) / len(here) * two


def test_ngrams_are_the_formula_and_sum_to_one():
    ids, v = toy()
    model = english.Ngrams(ids, v, 3, 0.6)
    lines = [[i for i in row if i != PAD] for row in ids.tolist()]
    for h in ((CLS, CLS), (4, 5), (7, 7), (SEP, 4)):
        p = model.next(*h)
        assert p.sum() == pytest.approx(1, abs=1e-5)
        for w in range(v):
            assert float(p[w]) == pytest.approx(by_the_book(lines, h, w, 0.6, v), abs=1e-5)
    with pytest.raises(InputError):
        english.Ngrams(ids, v, 4)
    with pytest.raises(InputError):
        english.Ngrams(ids, v, 2, 0.0)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_both_sides_are_the_probability_of_the_whole_sentence(order):
    ids, v = toy(1)
    model = english.Ngrams(ids, v, order, 0.6)
    place = torch.tensor([1, 2, 4, 4])
    rows = toy(2)[0][:4]
    scores = model.fill(rows, place, both=True)
    for row, at, told in zip(rows, place.tolist(), scores, strict=True):
        whole = []
        for w in range(len(SPECIAL), v):
            line = [CLS, *row.tolist()]
            line[at + 1] = w
            line = [i for i in line if i != PAD]
            steps = range(2, len(line))
            whole.append(sum(float(model.next(line[i - 2], line[i - 1])[line[i]].log()) for i in steps))
        gap = told[len(SPECIAL) :] - torch.tensor(whole)
        assert (gap - gap[0]).abs().max() < 1e-4


def test_between_counts_what_stood_there():
    ids = torch.tensor([[CLS, 4, 5, 6, SEP], [CLS, 4, 7, 6, SEP], [CLS, 4, 5, 6, SEP]])
    p = english.between(ids, 9, share=1e-6)(torch.tensor([[CLS, 4, MASK, 6, SEP]]), torch.tensor([2]))[
        0
    ].exp()
    assert p[5] == pytest.approx(2 / 3, abs=1e-3) and p[7] == pytest.approx(1 / 3, abs=1e-3)
    new = english.between(ids, 9)(torch.tensor([[CLS, 6, MASK, 6, SEP]]), torch.tensor([2]))[0].exp()
    assert new.sum() == pytest.approx(1, abs=1e-5) and new[4] > new[7] > new[8]


# ---- the networks on it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlm", "gpt", "electra", "diffusion"])
def test_objectives_take_other_sizes(name, text):
    network = {"vocabulary": len(text.words), "length": english.LONGEST + 2}
    module, ids = repair.build(name, 0, network=network), text.train.ids[:16]
    history = fit(module, lambda g: module.loss(ids, None, g), 12, lr=3e-3)
    assert history[-1] < history[0] and len(module.encoder.bias) == len(text.words)
    rows, at = english.gaps(text.test.ids[:2])
    if name == "electra":
        scores = repair.originality(module, rows[:2], at[:2], [6, 7])
        assert (scores[:, 6:8] != 0).all() and (scores[:, :6] == 0).all()
    else:
        assert repair.fill(module, rows, at).shape == (len(rows), len(text.words))


# ---- the benchmarks --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("sentences")


def test_the_exam_of_neighbours_passes_who_knows_the_next_sentence(bench):
    test = bench.manual(0).text.test
    z = torch.nn.functional.one_hot(test.paragraph.unique(return_inverse=True)[1]).float()

    def knows(ids):  # all sentences of a paragraph are one, all others apart
        return z if len(ids) == len(test) else torch.randn(len(ids), z.shape[1])

    told = bench.english_exam(knows, 0)
    pairs = torch.bincount(test.paragraph)[test.paragraph]
    only = (pairs[test.neighbours()] == 2).double().mean().item()
    assert only - 1e-9 <= told["next 1"] < 1 and told["next 10"] == 1
    flat = bench.english_exam(lambda ids: torch.ones(len(ids), 2) + 1e-3 * torch.rand(len(ids), 2), 0)
    assert flat["next 10"] < 0.2 and flat["among"] == len(test) - 1


def test_hidden_words_are_hidden_from_what_reads_them(bench):
    manual = bench.manual(0)
    module, _ = bench._english.trained("mlm", manual, 0, 0, lr=0.0)
    module.eval()
    rows, at = manual.rows[:6], manual.at[:6]
    other = rows.clone()
    other[torch.arange(6), at] = 9
    for reads in (
        lambda ids: bench._english.state(module, ids, at),
        lambda ids: bench._english.neighbours(manual.size, ids, at),
        lambda ids: bench._english.bag(manual.size, ids, at),
    ):
        assert torch.allclose(reads(rows), reads(other))
    sure = torch.nn.functional.one_hot(manual.answer, manual.size).float()
    assert english.found(50 * sure, manual.answer)["top1"] == 1
