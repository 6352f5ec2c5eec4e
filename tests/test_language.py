"""The drawn language: factors known, balanced, recoverable from what they shape and not from a trivial baseline."""

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.words import language
from ssl_lessons.modalities.words.language import CLS, MASK, PAD, SEP, VOCABULARY

N = 4000


@pytest.fixture(scope="module")
def data():
    return language.stories(N, seed=3)


def word(name: str) -> int:
    return VOCABULARY.index(name)


def test_vocabulary_and_text():
    assert len(set(VOCABULARY)) == len(VOCABULARY) and 60 <= len(VOCABULARY) <= 150
    assert [VOCABULARY[i] for i in (PAD, CLS, SEP, MASK)] == list(language.SPECIAL)
    text = "a sailor is not enjoying the broken boat"
    assert language.decode(language.encode(text)) == text
    with pytest.raises(InputError, match="submarine"):
        language.encode("a submarine")


def test_deterministic_and_splits_differ(data):
    again = language.stories(N, seed=3)
    assert torch.equal(again.tokens, data.tokens)
    test = language.stories(N, seed=3, split="test")
    seen = {tuple(t.flatten().tolist()) for t in data.tokens}
    assert not any(tuple(t.flatten().tolist()) in seen for t in test.tokens)
    assert len(seen) > 0.999 * N


@pytest.mark.parametrize("bad", [{"n": 0}, {"n": 5, "split": "dev"}])
def test_bad_input(bad):
    with pytest.raises(InputError):
        language.stories(bad.pop("n"), **bad)


def test_shapes_lengths_and_balance(data):
    lengths = (data.tokens != PAD).sum(2)
    assert data.tokens.shape == (N, 6, 12) and not lengths[~data.there].any()
    assert lengths[data.there].min() >= 6 and lengths[data.there].max() <= 12
    assert set(data.length.tolist()) == {4, 5, 6}
    _, factors, story = data.sentences()
    assert len(story) == int(data.length.sum())
    sizes = {"topic": 8, "tense": 2, "number": 2, "polarity": 2, "subject": 8, "thing": 24}
    for name, k in sizes.items():
        share = torch.bincount(factors[name], minlength=k) / len(story)
        assert (share - 1 / k).abs().max() < 0.25 / k, name


def test_every_factor_stands_in_the_text(data):
    """Number and tense by the auxiliary, across the clause; polarity by verb and "not"; the thing by its name."""
    ids, f, _ = data.sentences()
    aux = torch.tensor([[word(w) for w in row] for row in language.AUXILIARIES])
    assert (ids == aux[f["tense"], f["number"]][:, None]).any(1).all()
    against = torch.isin(ids, torch.tensor([word(w) for w in language.VERBS[0]])).any(1)
    assert torch.equal((~against ^ (ids == word("not")).any(1)).long(), f["polarity"])
    names = torch.tensor([[word(w) for w in pair] for pair in language._NAMES])
    assert (ids[:, :, None] == names[f["thing"]][:, None, :]).any((1, 2)).all()
    head = [tuple(VOCABULARY[i] for i in row) for row in ids[:300].tolist()]
    for words, subject, number in zip(head, f["subject"], f["number"], strict=False):
        if not set(words) & set(language.PRONOUNS):
            assert next(w for w in words if w.rstrip("s") in language.PEOPLE) == (
                language.PEOPLE[subject] + "s" * int(number)
            )


def test_order_can_be_told(data):
    """ "a" before "the" and before a pronoun, broken before repaired."""
    ids = data.tokens
    indefinite = ((ids == word("a")) | (ids == word("some"))).any(2)
    assert indefinite[:, 0].all() and not (indefinite & data.known.bool()).any()
    assert torch.equal(indefinite & data.there, ~data.known.bool() & data.there)
    after, event = data.after.bool(), data.event
    assert (event[:, 1:][after[:, 1:]] == event[:, :-1][after[:, 1:]]).all()
    assert (data.thing[:, 1:][after[:, 1:]] == data.thing[:, :-1][after[:, 1:]]).all()
    assert not (data.pronoun[:, 1:].bool() & (data.subject[:, 1:] != data.subject[:, :-1])).any()


def test_no_single_word_gives_topic_or_polarity(data):
    """The trivial baselines: the best word-by-word guess stays well below what the sentence, or the story, allows."""
    _, f, _ = data.sentences()
    counts = torch.zeros(24, 8).index_put_(
        (f["thing"], f["topic"]), torch.ones(len(f["topic"])), accumulate=True
    )
    assert 0.6 < counts.max(1).values.sum() / counts.sum() < 0.72  # two in three, by construction
    ids, f, _ = data.sentences()
    negated = (ids == word("not")).any(1)
    verb = torch.isin(ids, torch.tensor([word(w) for w in language.VERBS[1]])).any(1)
    polarity = f["polarity"].bool()
    assert abs(float((negated == polarity).float().mean()) - 0.5) < 0.05
    assert 0.76 < float((verb == polarity).float().mean()) < 0.84  # four in five: the sentences without "not"
    spoken = torch.isin(ids, torch.tensor([word(w) for pair in language.MOODS for w in pair])).any(1)
    assert 0.2 < float(spoken.float().mean()) < 0.5


@pytest.mark.parametrize("wrong", [None, "random", "swapped"])
def test_pairs(data, wrong):
    ids, label, f = language.pairs(data, torch.Generator().manual_seed(0), wrong)
    assert (
        ids.shape == (N, language.PAIR_LENGTH)
        and (ids[:, 0] == CLS).all()
        and ((ids == SEP).sum(1) == 2).all()
    )
    assert label.float().mean() == 1 if wrong is None else abs(label.float().mean() - 0.5) < 0.03
    parts = language.segments(ids)
    second = torch.where(parts == 1, ids, PAD)
    against = torch.isin(second, torch.tensor([word(w) for w in language.VERBS[0]])).any(1)
    assert torch.equal((~against ^ (second == word("not")).any(1)).long(), f["polarity"])
    pads = ids == PAD
    assert not (pads[:, :-1] & ~pads[:, 1:]).any()  # padding only at the end
    with pytest.raises(InputError):
        language.pairs(data, torch.Generator(), "other")


def test_topic_gives_away_next_sentence_prediction_and_not_the_order(data):
    """Whether the two things come from neighbouring families: right for random strangers, blind to a swap."""
    place = torch.arange(len(VOCABULARY))
    first_thing = word("boat")
    family = torch.where((place >= first_thing) & (place < first_thing + 48), (place - first_thing) // 6, -1)
    accuracy = {}
    for wrong in ("random", "swapped"):
        ids, label, _ = language.pairs(data, torch.Generator().manual_seed(0), wrong)
        things = family[ids][family[ids] >= 0].view(len(ids), 2)
        near = ((things[:, 0] - things[:, 1] + 1) % 8 <= 2).long()
        accuracy[wrong] = float((near == label).float().mean())
    assert accuracy["random"] > 0.75 and abs(accuracy["swapped"] - 0.5) < 0.03


def test_paraphrase_keeps_the_factors(data):
    ids = data.tokens[:500]
    g = torch.Generator().manual_seed(0)
    other = language.paraphrase(ids, g)
    assert torch.equal(language.paraphrase(ids, g, 0.0), ids) and (other != ids).float().mean() > 0.05
    allowed = {frozenset(g) for g in map(frozenset, language.SYNONYMS)}
    for old, new in {
        (a, b) for a, b in zip(ids.flatten().tolist(), other.flatten().tolist(), strict=True) if a != b
    }:
        assert any({VOCABULARY[old], VOCABULARY[new]} <= group for group in allowed)
