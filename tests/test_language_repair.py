"""The transformer, the corruptions and the objectives that repair sentences."""

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.words import corruptions, language, repair
from ssl_lessons.modalities.words.language import CLS, MASK, PAD, SEP
from ssl_lessons.modalities.words.transformer import Transformer, multiply_adds
from ssl_lessons.training import fit


@pytest.fixture(scope="module")
def data():
    return language.stories(400, seed=9)


@pytest.fixture(scope="module")
def ids(data):
    return language.pairs(data, gen())[0]


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- the network ------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_causal_network_does_not_see_what_comes_and_the_other_does(ids):
    ids = ids[:4]
    other = ids.clone()
    other[:, 5] = language.encode("boat")
    for causal in (True, False):
        torch.manual_seed(0)
        encoder = Transformer(causal=causal)
        differ = (encoder(ids) - encoder(other)).abs().amax(dim=(0, 2))
        assert (differ[:5].max() < 1e-6) == causal and differ[5:].max() > 1e-3


@torch.no_grad()
def test_padding_changes_nothing(ids):
    torch.manual_seed(0)
    encoder, row = Transformer(), ids[(ids != PAD).sum(1).argmin()][None]
    n = int((row != PAD).sum())
    assert torch.allclose(encoder(row)[:, :n], encoder(row[:, :n]), atol=1e-5)
    assert len(encoder.layers(row)) == 3 and encoder.logits(encoder(row)).shape[-1] == len(language.VOCABULARY)
    with pytest.raises(InputError):
        encoder(torch.full((1, 99), CLS))
    with pytest.raises(InputError):
        Transformer(width=10, heads=4)


def test_multiply_adds_counts_the_matrices():
    encoder = Transformer(width=32, heads=4, depth=3)
    weights = sum(p.numel() for b in encoder.blocks for n, p in b.named_parameters() if p.ndim == 2)
    assert multiply_adds(32, 3, 1, 0, 0) == weights + 3 * 2 * 32


# ---- corruptions ------------------------------------------------------------------------------------------------


def test_bert_is_15_and_80_10_10():
    ids = language.pairs(language.stories(8000, seed=1), gen())[0]
    shown, mask = corruptions.bert(ids, gen())
    assert abs(mask.sum() / corruptions.words(ids).sum() - 0.15) < 0.005
    assert not (mask & ~corruptions.words(ids)).any() and torch.equal(shown[~mask], ids[~mask])
    assert abs((shown[mask] == MASK).float().mean() - 0.8) < 0.02
    assert abs((shown[mask] == ids[mask]).float().mean() - 0.1) < 0.02
    with pytest.raises(InputError):
        corruptions.bert(ids, gen(), random=0.6, keep=0.6)


def test_deletion_infilling_and_t5_keep_what_they_do_not_take(ids):
    words = [[w for w in row if w not in (PAD,)] for row in ids.tolist()]

    def subsequence(part, whole):
        rest = iter(whole)
        return all(w in rest for w in part)

    gone = corruptions.delete(ids, gen())
    assert all(subsequence([w for w in r if w != PAD], w) for r, w in zip(gone.tolist(), words, strict=True))
    assert (gone != PAD).sum() < 0.85 * (ids != PAD).sum()
    short, target = corruptions.t5(ids, gen(), rate=0.3)
    for row, told, whole in zip(short.tolist(), target.tolist(), words, strict=True):
        told = [w for w in told if w != PAD]
        assert told[0] == CLS and told[-1] == SEP and row.count(MASK) == told.count(MASK)
        runs, current = [], None
        for w in told[1:-1]:
            if w == MASK:
                current = []
                runs.append(current)
            else:
                current.append(w)
        runs = iter(runs)
        back = [x for w in row if w != PAD for x in (next(runs) if w == MASK else [w])]
        assert back == whole  # the target holds exactly what is missing
    filled = corruptions.infill(ids, gen())
    assert ((filled == MASK).sum(1) <= (ids != PAD).sum(1)).all() and (filled == MASK).any()
    assert all(
        subsequence([w for w in r if w not in (PAD, MASK)], w) for r, w in zip(filled.tolist(), words, strict=True)
    )


def test_permutation_and_rotation_move_and_lose_nothing(ids):
    for damage in (corruptions.permute, corruptions.rotate):
        moved = damage(ids, gen())
        assert torch.equal(moved.sort(1).values, ids.sort(1).values) and torch.equal(moved[:, 0], ids[:, 0])
        assert (moved[:, -1] == ids[:, -1])[(ids[:, -1] == PAD)].all()
    swapped = (corruptions.permute(ids, gen()) != ids).any(1).float().mean()
    assert 0.4 < swapped < 0.6
    swap = corruptions._rotated(ids, (ids == SEP).long().argmax(1))
    for a, b in zip(ids[:20], swap[:20], strict=True):
        first, second = language.decode(a)[6:-6].split(" [SEP] ")
        assert language.decode(b) == f"[CLS] {second} [SEP] {first} [SEP]"


# ---- objectives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", repair.OBJECTIVES)
def test_every_objective_starts_alike_learns_and_repeats(name, data, ids):
    module = repair.build(name, 3)
    for a, b in zip(module.encoder.parameters(), repair.build("mlm", 3).encoder.parameters(), strict=True):
        assert torch.equal(a, b)
    found = fit(module, repair.batch_loss(module, data, 16), 4, lr=3e-3)
    again = repair.build(name, 3)
    assert fit(again, repair.batch_loss(again, data, 16), 4, lr=3e-3) == found
    layers = repair.features(module.encoder, ids[:7])
    assert [f.shape for f in layers] == [(7, 64)] * 3 and all(f.isfinite().all() for f in layers)


def test_unknown_objective():
    with pytest.raises(InputError, match="mlm"):
        repair.build("gpt5", 0)


def test_features_read_the_second_sentence_only(ids):
    encoder = repair.build("mlm", 0).encoder
    other = ids.clone()
    other[:, 1] = language.encode("finally")
    assert torch.allclose(repair.features(encoder, ids)[0], repair.features(encoder, other)[0], atol=1e-6)
    assert repair.bag_of_words(ids).sum(1).max() <= 12 < repair.bag_of_words(ids, None).sum(1).max()


# ---- gaps -------------------------------------------------------------------------------------------------------


def test_gaps_hide_the_right_word_and_counts_do_what_they_can(data):
    found = repair.gaps(data, gen())
    assert set(found) == {"agreement", "tense", "polarity"} and len(found["agreement"][0]) > 20
    for ids, place, good, bad in found.values():
        word = ids[torch.arange(len(ids)), place][:, None]
        assert (good == word).any(1).all() and not (bad == word).any()
    counts = repair.Counts(language.pairs(language.stories(4000, seed=4), gen())[0])
    ids, place, good, bad = found["agreement"]
    assert repair.right(counts.fill(ids, place), good, bad) < 0.7
    log_p = counts.fill(ids, place)
    assert torch.allclose(log_p.exp().sum(1), torch.ones(len(ids)), atol=1e-5)


def test_fill_does_not_look(data):
    """The word in the gap changes nothing in what is said about it, left to right or both ways."""
    ids, place, *_ = repair.gaps(data, gen())["tense"]
    other = ids.clone()
    other[torch.arange(len(ids)), place] = language.encode("boat")
    ids, place, other = ids[:20], place[:20], other[:20]
    for name in ("mlm", "gpt", "electra", "t5", "bart: deletion"):
        module = repair.build(name, 0)
        said = repair.fill(module, ids, place)
        assert torch.allclose(said, repair.fill(module, other, place), atol=1e-5) and said.std() > 0
