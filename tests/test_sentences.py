"""The drawn language of chapter 8b: what it says, how it is changed, how it is asked, and what is learned from it."""

import pytest
import torch
import torch.nn.functional as F

from ssl_lessons import losses
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.words import isotropy, positives, sentences
from ssl_lessons.modalities.words import sentence_objectives as objectives
from ssl_lessons.training import fit

G = torch.Generator().manual_seed


def drawn(n: int = 2000, seed: int = 0, tongue: int = 0):
    g = G(seed)
    meaning, style = sentences.meanings(n, g), sentences.styles(n, g)
    return sentences.say(meaning, style, tongue), meaning, style


def one_hot(ids):
    """What a reader who understands everything would keep of a sentence."""
    return torch.cat([F.one_hot(c.clamp(min=0), 4).float() for c in sentences.read(ids).T], dim=1)


def bag(ids):
    return positives.counts(ids)


# ---- the language ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tongue", [0, 1])
def test_every_sentence_is_read_as_it_was_meant(tongue):
    ids, meaning, _ = drawn(tongue=tongue)
    assert ids.shape[1] == sentences.LONGEST and bool((sentences.read(ids) == meaning).all())
    assert bool((ids[ids > 3] - 4 < sentences.TONGUE).all()) == (tongue == 0)


def test_vocabulary_has_no_word_twice_and_text_goes_there_and_back():
    assert len(set(sentences.VOCABULARY)) == len(sentences.VOCABULARY)
    text = "the mariner has not hindered the physician at the harbour"
    assert sentences.decode(sentences.encode(text)) == text
    meaning = sentences.read(sentences.encode(text)[None])
    other = sentences.encode("the doctor was aided by the sailor at the port")[None]
    assert bool((sentences.read(other) == meaning).all())
    swapped = sentences.encode("the physician has not hindered the mariner at the harbour")[None]
    assert bool((sentences.read(swapped) == sentences.change(meaning, "roles", G(0))).all())
    with pytest.raises(InputError, match="tongues"):
        sentences.encode("a zebra")


def test_meanings_are_even_and_two_persons_are_two():
    _, meaning, style = drawn(20_000)
    for column, size in zip(meaning.T, sentences.FACTORS.values(), strict=True):
        assert (column.bincount(minlength=size).float() / len(column) - 1 / size).abs().max() < 0.02
    assert bool((meaning[:, 0] != meaning[:, 1]).all())
    said = style[:, 4:].float().mean(dim=0)
    assert (said - torch.tensor(list(sentences.STYLE.values()))).abs().max() < 0.02


@pytest.mark.parametrize("factor", [*sentences.FACTORS, "roles"])
def test_change_changes_one_thing(factor):
    _, meaning, _ = drawn()
    other = sentences.change(meaning, factor, G(1))
    moved = {name for i, name in enumerate(sentences.FACTORS) if (other[:, i] != meaning[:, i]).any()}
    assert moved == ({"agent", "patient"} if factor == "roles" else {factor})
    assert bool((other[:, 0] != other[:, 1]).all()) and bool((other != meaning).any(dim=1).all())


def test_documents_keep_what_they_should():
    data = sentences.documents(3000, sentences=3, seed=5)
    assert bool((sentences.read(data.flat()[0]) == data.flat()[1]).all())
    same = (data.meaning[:, 1:] == data.meaning[:, :-1]).double().mean(dim=(0, 1))
    for i, name in enumerate(sentences.FACTORS):
        p = sentences.KEPT["people" if i < 2 else name]
        assert abs(float(same[i]) - (p + (1 - p) / sentences.FACTORS[name])) < 0.03, name
    assert bool((sentences.documents(3, seed=1).tokens == sentences.documents(3, seed=1).tokens).all())


@pytest.mark.parametrize(
    "call",
    [
        lambda: sentences.meanings(0, G(0)),
        lambda: sentences.say(torch.zeros(2, 6).long(), torch.zeros(2, 6).long(), 2),
        lambda: sentences.say(torch.zeros(2, 5).long(), torch.zeros(2, 6).long()),
        lambda: sentences.change(torch.zeros(2, 6).long(), "mood", G(0)),
        lambda: sentences.documents(1, sentences=1),
        lambda: sentences.exam(1),
        lambda: positives.bm25(torch.zeros(0, 3).long(), torch.zeros(2, 3).long()),
        lambda: isotropy.whitening(torch.zeros(3, 4)),
        lambda: isotropy.whitening(torch.ones(9, 2)),
        lambda: isotropy.flow(torch.zeros(3, 4)),
    ],
)
def test_bad_input(call):
    with pytest.raises(InputError):
        call()


# ---- the exam -------------------------------------------------------------------------------------------------------


def test_who_understands_passes_and_words_alone_do_not():
    exam = sentences.exam(seed=3)
    best, words = exam(one_hot), exam(bag)
    assert best["find"] == 1 and best["likeness"] > 0.97 and all(best[k] == 1 for k in sentences.NEAR)
    luck = torch.Generator().manual_seed(0)
    noisy = exam(lambda ids: one_hot(ids) + 0.01 * torch.randn(len(ids), 24, generator=luck))
    # another question's near miss may be nearer than the answer: it means the same
    assert noisy["find"] == 1
    assert exam.same[:, :250].equal(torch.eye(250, dtype=torch.bool)) and exam.same.sum(dim=1).max() > 3
    assert words["find"] < 0.15 and words["likeness"] < 0.6
    assert all(abs(words[k] - 0.5) < 0.12 for k in ("roles", "sign", "deed"))
    same = exam(lambda ids: torch.ones(len(ids), 3))
    assert (
        all(same[k] == 0.5 for k in sentences.NEAR)
        and same["likeness"] == 0
        and abs(same["cosine"] - 1) < 1e-9
    )


def test_two_persons_without_their_roles_cannot_tell_who_did_it():
    def without_roles(ids):
        meaning = sentences.read(ids)
        people = F.one_hot(meaning[:, 0], 4) + F.one_hot(meaning[:, 1], 4)
        return torch.cat([people, *(F.one_hot(c, 4) for c in meaning.T[2:])], dim=1).float()

    found = sentences.exam(seed=3)(without_roles)
    assert found["roles"] == 0.5 and found["sign"] == 1


# ---- ways to make a second sentence ---------------------------------------------------------------------------------


def test_what_each_way_keeps():
    ids, _, _ = drawn()
    kept = {name: positives.kept(way, ids, G(0)) for name, way in positives.WAYS.items()}
    assert all(v == 1 for v in kept["nothing (dropout)"].values())
    back = kept["back translation"]
    assert all(back[f] == 1 for f in sentences.FACTORS) and abs(back["words"] - 1 / 3) < 0.05
    assert kept["cropping"]["place"] < 0.7 and kept["EDA"]["agent"] < 0.95 and kept["masking"]["deed"] < 0.9
    thesaurus = positives.kept(lambda i, g: positives.synonyms(i, g, 1.0), ids, G(0))
    assert all(thesaurus[f] == 1 for f in sentences.FACTORS)


def test_edits_do_what_they_say():
    ids, _, _ = drawn(500)
    n = positives.corruptions.words(ids).sum(dim=1)

    def words(x):
        return positives.corruptions.words(x).sum(dim=1)

    assert bool((words(positives.deletion(ids, G(0), 0.0)) == n - 1).all())
    assert bool((words(positives.insertion(ids, G(0))) == n + 1).all())
    swapped = positives.swapping(ids, G(0))
    assert bool((swapped.sort(dim=1).values == ids.sort(dim=1).values).all())
    assert bool(((swapped != ids).sum(dim=1) <= 2).all())
    cropped = positives.cropping(ids, G(0))
    assert bool((words(cropped) == (0.7 * n).ceil()).all())
    assert all(
        sentences.decode(c) in sentences.decode(i) for c, i in zip(cropped[:50], ids[:50], strict=True)
    )
    assert positives.eda(ids, G(0)).shape == (500, sentences.LONGEST + 1)


def test_contextual_words_are_never_special():
    ids, _, _ = drawn(50)
    found = positives.contextual(ids, G(0), objectives.encoder(0).eval(), rate=0.5)
    changed = found != ids
    assert bool((found[changed] > 3).all()) and changed.any() and not changed[ids == 0].any()


def test_bm25_is_the_formula():
    texts = [
        sentences.encode(t) for t in ("the sailor has helped the doctor", "the thief has freed", "at dock at")
    ]
    texts = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
    query = sentences.encode("the sailor at dock")[None]
    lengths, k1, b = (texts > 0).sum(1).double(), 1.2, 0.75
    for i, text in enumerate(texts):
        total = 0.0
        for word in set(query[0].tolist()):
            n = sum(int(word in t.tolist()) for t in texts)
            tf = text.tolist().count(word)
            idf = torch.log(torch.tensor(1 + (3 - n + 0.5) / (n + 0.5)))
            total += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * lengths[i] / lengths.mean()))
        assert abs(float(positives.bm25(query, texts)[0, i]) - float(total)) < 1e-5


# ---- cures ----------------------------------------------------------------------------------------------------------


def test_whitening_whitens_and_may_keep_fewer():
    z = torch.randn(500, 6, generator=G(0)) @ torch.randn(6, 6, generator=G(1)) + 3
    white = isotropy.whitening(z)(z)
    assert white.mean(dim=0).abs().max() < 1e-4
    assert (torch.cov(white.T) - torch.eye(6)).abs().max() < 1e-3
    assert isotropy.whitening(z, keep=2)(z).shape == (500, 2)
    by_cholesky = losses.whiten(z.double())
    gap = F.normalize(white.double(), dim=1) @ F.normalize(white.double(), dim=1).T
    assert (gap - F.normalize(by_cholesky, dim=1) @ F.normalize(by_cholesky, dim=1).T).abs().max() < 1e-3


def test_flow_knows_its_determinant_and_makes_vectors_more_gaussian():
    torch.manual_seed(0)
    model = isotropy.Flow(torch.zeros(4), torch.ones(4)).double()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    x = torch.randn(3, 4).double()
    for row in x:
        jacobian = torch.autograd.functional.jacobian(lambda v: model(v[None])[0][0], row)
        expected, found = torch.linalg.slogdet(jacobian)[1], model(row[None])[1][0].detach()
        assert abs(float(expected - found)) < 1e-5  # the rotations are drawn in float32
    z = torch.randn(2000, 4, generator=G(0)) @ torch.randn(4, 4, generator=G(1)) + 2
    u = isotropy.flow(z, steps=200)(z)
    assert (torch.cov(u.T) - torch.eye(4)).abs().max() < 0.4 and u.mean(dim=0).abs().max() < 0.3


# ---- what is learned ------------------------------------------------------------------------------------------------

WAYS = {
    "masked": objectives.MaskedWords,
    "augmented": lambda s, d: objectives.Augmented(s, d, positives.nothing),
    "equals": lambda s, d: objectives.Equals(s, d, positives.nothing),
    "queue": lambda s, d: objectives.Queue(s, d, positives.back_translation),
    "neighbours": objectives.Neighbours,
    "spans": lambda s, d: objectives.Neighbours(s, d, reach=2, spans=True),
    "skip": objectives.Skip,
    "conpono": objectives.Conpono,
    "local": objectives.Local,
    "labelled": objectives.Labelled,
    "contradiction": lambda s, d: objectives.Labelled(s, d, "contradiction"),
    "bm25": lambda s, d: objectives.Labelled(s, d, "BM25"),
    "siamese": objectives.Siamese,
    "translations": objectives.Translations,
}


@pytest.mark.parametrize("name", WAYS)
def test_every_way_takes_a_step_and_leaves_the_start_alone(name):
    data, start = sentences.documents(80, seed=0), objectives.encoder(0)
    before = [p.clone() for p in start.parameters()]
    task = WAYS[name](start, data)
    history = fit(task, task, 2, lr=1e-3)
    assert all(torch.isfinite(torch.tensor(history)))
    assert all(bool((a == b).all()) for a, b in zip(before, start.parameters(), strict=True))
    ids = data.tokens[:5, 0]
    z = objectives.features(task.vectors, ids)
    assert len(z) == 5 and bool(torch.isfinite(z).all())
    longer = F.pad(ids, (0, 1))
    assert (objectives.features(task.vectors, longer) - z).abs().max() < 1e-4  # padding says nothing


def test_what_the_vectors_of_a_batch_of_equals_can_reach():
    """All sentences mean the same: telling them apart by meaning alone costs log(batch)."""
    z = torch.ones(64, 3)
    assert abs(float(losses.info_nce(z, z, temperature=0.05)) - torch.log(torch.tensor(64.0))) < 1e-4


def test_neighbours_teach_more_than_words():
    data = sentences.documents(1000, seed=0)
    task = objectives.Neighbours(objectives.encoder(0, dropout=0.0), data)
    exam = sentences.exam(100, seed=0)
    before = exam(lambda ids: objectives.features(task.vectors, ids))["likeness"]
    fit(task, task, 120, lr=3e-3)
    after = exam(lambda ids: objectives.features(task.vectors, ids))["likeness"]
    assert after > max(before, exam(bag)["likeness"]) + 0.1
