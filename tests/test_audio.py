"""The world of sounds, its spectrogram against loops, views and objectives."""

import cmath
import math

import pytest
import torch

from ssl_lessons import evaluation
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.audio import encoders, objectives, spectrogram, views, world
from ssl_lessons.training import fit


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def clips():
    return world.sounds("train", 300)


def test_a_seed_gives_the_same_clips_and_splits_share_none(clips):
    again, test = world.sounds("train", 300), world.sounds("test", 300)
    assert all(torch.equal(a, b) for a, b in zip(clips, again, strict=True))
    assert clips.wave.shape == (300, world.SAMPLES) and clips.phone.shape == (300, world.FRAMES)
    assert torch.cdist(clips.wave, test.wave).min() > 0.1 and clips.wave.isfinite().all()
    assert torch.allclose(clips.wave, clips.speech + clips.noise)


def test_factors_are_balanced_and_independent(clips):
    for factor, count in ((clips.speaker, world.SPEAKERS), (clips.room, world.ROOMS), (clips.word, 8)):
        share = factor.flatten().bincount(minlength=count) / factor.numel()
        assert len(share) == count and (share - 1 / count).abs().max() < 0.07
    assert set(clips.phone.flatten().tolist()) == set(range(len(world.PHONES)))
    table = torch.zeros(world.SPEAKERS, world.ROOMS)
    table.index_put_((clips.speaker, clips.room), torch.ones(300), accumulate=True)
    expected = table.sum(1, keepdim=True) * table.sum(0) / 300
    assert float(((table - expected) ** 2 / expected).sum()) < 70  # 35 degrees of freedom


def test_words_are_spelled_in_phones(clips):
    for phone, word in zip(clips.phone[:20].tolist(), clips.word[:20].tolist(), strict=True):
        halves = [p for i, p in enumerate(phone) if not i or p != phone[i - 1]]
        changes = [w for i, w in enumerate(word) if not i or w != word[i - 1]]
        spelled = [p for w in changes for p in world.WORDS[w].tolist()]
        if len(changes) == 2 and all(a != b for a, b in zip(spelled, spelled[1:], strict=False)):
            assert halves == spelled


def test_rooms_are_swapped_and_speech_stays(clips):
    order = torch.arange(300).flip(0)
    elsewhere = clips.swapped(order)
    assert torch.equal(elsewhere.room, clips.room[order]) and torch.equal(elsewhere.speech, clips.speech)
    assert torch.equal(elsewhere.wave, clips.speech + clips.noise[order])


def test_factors_are_readable_and_not_from_loudness(clips):
    test = world.sounds("test", 200)
    sets = [spectrogram.log_mel(s.wave) for s in (clips, test)]
    for name, level in (("speaker", 1 / 8), ("room", 1 / 6)):
        labels = [getattr(s, name) for s in (clips, test)]
        read = evaluation.linear_probe(sets[0].mean(1), labels[0], sets[1].mean(1), labels[1]).accuracy
        loud = [s.wave.square().mean(1, keepdim=True).log() for s in (clips, test)]
        assert (
            read > 0.8
            and evaluation.linear_probe(loud[0], labels[0], loud[1], labels[1]).accuracy < level + 0.1
        )


def test_the_spectrogram_equals_the_loops():
    wave = torch.randn(1, 400, generator=generator())
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * i / 200) for i in range(200)]
    made = spectrogram.log_mel(wave)
    filters = spectrogram.mel_filters()
    for t in (0, 2, 4):
        samples = [0.0] * 256
        for i in range(200):
            place = 80 * t - 60 + i
            samples[i] = hann[i] * float(wave[0, place]) if 0 <= place < 400 else 0.0
        power = [
            abs(sum(s * cmath.exp(-2j * math.pi * k * i / 256) for i, s in enumerate(samples))) ** 2
            for k in range(129)
        ]
        for m in (0, 7, 31):
            expected = math.log(sum(float(f) * p for f, p in zip(filters[m], power, strict=True)) + 1e-4)
            assert made[0, t, m].item() == pytest.approx(expected, abs=1e-3)


def test_a_tone_lies_in_its_filter():
    for hertz in (400.0, 1000.0, 2500.0):
        tone = torch.sin(2 * math.pi * hertz * torch.arange(8000) / 8000)[None]
        loudest = int(spectrogram.log_mel(tone)[0, 50].argmax())
        edges = torch.linspace(0, float(spectrogram.mel(4000.0)), 34)
        assert edges[loudest] < spectrogram.mel(hertz) < edges[loudest + 2]


def test_cosines_are_orthonormal_and_equal_scipy():
    from scipy.fft import dct

    x = torch.randn(3, 5, 32, generator=generator())
    assert torch.allclose(
        spectrogram.cosines(x, 32), torch.from_numpy(dct(x.numpy(), norm="ortho")), atol=1e-4
    )


def test_masks():
    hidden = views.spans(50, 48, 0.5, 6, generator())
    assert (hidden.sum(1) == 24).all() and (hidden[:, 1:] != hidden[:, :-1]).sum() < 50 * 14
    bands = views.bands(20, 96, 32, (3, 12), (2, 5), generator())
    cells = views.cells_like(bands, generator(1))
    assert torch.equal(bands.flatten(1).sum(1), cells.flatten(1).sum(1)) and not torch.equal(bands, cells)
    full_times, full_filters = bands.all(2), bands.all(1)
    assert torch.equal(bands, full_times[:, :, None] | full_filters[:, None, :])


def test_mixing_adds_powers():
    x, y = torch.randn(2, 3, 4, 5, generator=generator())
    mixed = views.mix(x, y, torch.tensor([0.1, 0.5, 0.9]))
    a = torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1)
    assert torch.allclose(mixed, ((1 - a) * x.exp() + a * y.exp()).log(), atol=1e-5)


def test_a_causal_context_does_not_look_ahead():
    encoder, x = encoders.SoundEncoder(width=16, depth=1), torch.randn(2, 96, 32, generator=generator())
    changed = x.clone()
    changed[:, 60:] += 1
    for causal, same in ((True, True), (False, False)):
        a, b = (encoder(v, causal=causal)[:, :30] for v in (x, changed))
        assert torch.allclose(a, b, atol=1e-5) == same


def test_distractors_are_other_frames_of_the_clip():
    drawn = objectives.distractors(3, 4, 50, generator())
    own = torch.arange(12)[:, None]
    assert drawn.shape == (12, 50) and (drawn != own).all() and (drawn // 4 == own // 4).all()
    counts = drawn[0].bincount(minlength=4)
    assert counts[0] == 0 and counts[1:].min() > 5


def made(name, x):
    encoder = encoders.SoundEncoder(width=16, depth=1)
    ones, labels = torch.ones(32), torch.randint(4, (len(x), 48), generator=generator())
    return {
        "cpc": lambda: (objectives.CPC(encoder), {}),
        "cpc, times": lambda: (objectives.CPC(encoder, "times"), {}),
        "cola": lambda: (objectives.COLA(encoder), {"other": x + 0.1}),
        "byol": lambda: (objectives.BYOLA(encoder, 0 * ones, ones), {}),
        "bands": lambda: (objectives.Restore(encoder), {}),
        "cells": lambda: (objectives.Restore(encoder, "cells"), {}),
        "wav2vec2": lambda: (objectives.Wav2Vec2(encoder), {}),
        "continuous": lambda: (objectives.Wav2Vec2(encoder, quantised=False), {}),
        "hubert": lambda: (objectives.HuBERT(encoder, 4), {"labels": labels}),
        "two formats": lambda: (objectives.TwoFormats(encoder), {"wave": torch.randn(len(x), 7680)}),
    }[name]()


@pytest.mark.parametrize(
    "name",
    [
        "cpc",
        "cpc, times",
        "cola",
        "byol",
        "bands",
        "cells",
        "wav2vec2",
        "continuous",
        "hubert",
        "two formats",
    ],
)
def test_objectives_learn_one_batch(name):
    torch.manual_seed(0)
    x = torch.randn(6, 96, 32, generator=generator())
    objective, more = made(name, x)
    history = fit(
        objective,
        lambda g: objective.loss(x, g, **more),
        12,
        lr=3e-3,
        after=getattr(objective, "update", None),
    )
    assert sum(history[-3:]) < sum(history[:3]) and objective.features(x).shape == (6, 48, 16)


@pytest.mark.parametrize(
    "call",
    [
        lambda: world.sounds("held out", 3),
        lambda: world.sounds("train", 0),
        lambda: spectrogram.frames(torch.zeros(400)),
        lambda: spectrogram.mel_filters(200),
        lambda: spectrogram.cosines(torch.zeros(2, 8), 9),
        lambda: views.spans(2, 48, 1.0, 6, generator()),
        lambda: views.crops(torch.zeros(2, 8, 3), 9, generator()),
        lambda: views.bands(2, 8, 8, (1, 9), (1, 2), generator()),
        lambda: views.mix(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), torch.tensor([0.0])),
        lambda: objectives.Restore(encoders.SoundEncoder(), "all"),
        lambda: encoders.SoundEncoder()(torch.zeros(2, 95, 32)),
    ],
)
def test_bad_input(call):
    with pytest.raises(InputError):
        call()
