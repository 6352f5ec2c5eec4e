"""The world of tunes, its spectra, its codes, and the reader of pitches."""

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.audio import tunes
from ssl_lessons.models.generative import sound_codes
from ssl_lessons.models.generative.autoregressive import GPT, continued

CLIPS = tunes.tunes("test", 60, 7)


def test_the_same_seed_gives_the_same_clips_and_splits_differ():
    again = tunes.tunes("test", 60, 7)
    assert all(torch.equal(a, b) for a, b in zip(CLIPS, again, strict=True))
    assert not torch.equal(tunes.tunes("train", 60, 7).tune, CLIPS.tune)
    assert CLIPS.wave.shape == (60, tunes.SAMPLES) and CLIPS.wave.abs().max() <= 1


def test_only_the_order_tells_tunes_apart():
    assert len(tunes.TUNES.sort(1).values.unique(dim=0)) == 1
    assert len(tunes.TUNES.unique(dim=0)) == tunes.FACTORS["tune"]


def test_each_note_of_a_round_sounds_equally_long():
    for pitch, notes in zip(CLIPS.pitch(), CLIPS.notes(), strict=True):
        for note in notes.unique():
            assert (pitch == note).sum() == tunes.SAMPLES // 8 * (notes == note).sum()


def test_the_spectrum_peaks_at_the_pitch():
    """A flute in tune with its label: the largest bin lies nearer to its frequency than a whole tone."""
    x = sound_codes.spectra(CLIPS.wave)
    slow = ((CLIPS.instrument == 0) & (CLIPS.tempo == 0)).nonzero()[:, 0]
    inside = (CLIPS.since()[slow, ::60] - 240).abs() < 60
    peak = x[slow].argmax(1)[inside] * tunes.RATE / sound_codes.WINDOW
    hertz = tunes.LOWEST * 2 ** (CLIPS.pitch()[slow, ::60][inside] / 12)
    assert (peak / hertz).log2().abs().max() < 2 / 12 and (peak - hertz).abs().mean() < 8


def test_listening_to_spectra_gives_them_back():
    x = sound_codes.spectra(CLIPS.wave[:8])
    again = sound_codes.spectra(sound_codes.listen(x))
    assert (again.exp() - x.exp()).norm() < 0.25 * x.exp().norm()


def test_codes_are_learned_and_their_decoder_beats_the_mean():
    from ssl_lessons.training import fit

    x = sound_codes.spectra(tunes.tunes("unlabeled", 128, 7).wave)
    torch.manual_seed(0)
    model = sound_codes.SoundCodes(32, width=32)
    model.settle(x)
    with torch.no_grad():
        model.vq.restart_unused(model.encode(x), torch.Generator().manual_seed(0))
    fit(model, lambda g: model.loss(x[torch.randint(128, (16,), generator=g)]), 120, lr=5e-3)
    test = sound_codes.spectra(CLIPS.wave)
    chosen = model.codes(test)
    assert chosen.shape == (60, 32) and chosen.max() < 32
    error = (model.decode(chosen) - test).square().mean()
    assert error < 0.8 * (test - model.mean).square().mean()


def test_the_reader_names_pitches_it_has_not_seen():
    train = tunes.tunes("train", 80, 7)
    reader = tunes.PitchReader(sound_codes.spectra(train.wave), train.pitch())
    right = reader(sound_codes.spectra(CLIPS.wave)) == CLIPS.pitch()[:, :: sound_codes.HOP]
    assert right.float().mean() > 0.5


def test_going_on_keeps_the_beginning_and_never_asks_for_what_comes():
    model, x = GPT(5, 9, dim=8, depth=1, heads=2).eval(), torch.tensor([[1, 2, 3], [4, 0, 1]])
    longer = continued(model, x, 9, torch.Generator().manual_seed(0))
    assert longer.shape == (2, 9) and torch.equal(longer[:, :3], x) and longer.max() < 5
    cold = continued(model, x, 9, torch.Generator().manual_seed(1), temperature=1e-4)
    for t in range(3, 9):
        assert torch.equal(model(cold)[..., t].argmax(1), cold[:, t])


def test_errors_say_what_to_do():
    with pytest.raises(InputError, match="unlabeled, train, test"):
        tunes.tunes("dev", 3)
    with pytest.raises(InputError, match="multiple of 120"):
        sound_codes.spectra(torch.zeros(2, 1000))
    with pytest.raises(InputError, match="fewer than length"):
        continued(GPT(5, 9), torch.zeros(1, 9, dtype=torch.long), 9, torch.Generator())
    with pytest.raises(InputError, match="same clips"):
        tunes.PitchReader(torch.zeros(2, 129, 64), torch.zeros(3, 3840, dtype=torch.long))
