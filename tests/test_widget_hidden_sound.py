"""The widget of hidden spectrograms: the fill without learning, equal shares, its picture over the slider range."""

import itertools

import torch

from ssl_lessons.book.widgets import hidden_sound


def test_the_fill_keeps_what_is_seen_and_is_exact_on_what_is_constant():
    x, hidden = hidden_sound.clips(), hidden_sound.mask("bands", 12, 2)
    made = hidden_sound.filled(x, hidden)
    assert torch.equal(made[~hidden], x[~hidden]) and made.isfinite().all()
    same = torch.full_like(x, 2.0)
    assert torch.allclose(hidden_sound.filled(same, hidden), same, atol=1e-4)


def test_cells_hide_as_much_as_bands_and_give_away_more():
    for length in (3, 12, 30):
        bands, cells = (hidden_sound.mask(kind, length, 2) for kind in hidden_sound.KINDS)
        assert torch.equal(bands.flatten(1).sum(1), cells.flatten(1).sum(1))
        given = [hidden_sound.given_away(kind, length, 2) for kind in hidden_sound.KINDS]
        assert given[1] > given[0] and given[1] > 0.8
    assert given[0] < 0.5  # the answer lies within the slider


def test_it_draws_over_the_whole_range():
    for kind, length, count in itertools.product(hidden_sound.KINDS, (1, 30), (1, 3)):
        assert hidden_sound.render(kind, length, count).axes
        assert kind in hidden_sound.describe(kind, length, count)


def test_what_is_heard_is_the_clip_but_for_what_is_hidden():
    wave = hidden_sound.world.sounds("train", 40).wave[0]
    silent, loud = (hidden_sound.heard("bands", 12, 2, fill) for fill in (False, True))
    assert silent.shape == loud.shape == wave.shape
    x, hidden = hidden_sound.clips()[0], hidden_sound.mask("bands", 12, 2)[0]
    usual = hidden_sound.spectrogram.log_mel(hidden_sound.world.sounds("train", 40).wave)
    center, spread = usual.mean((0, 1)), usual.std((0, 1))
    again, left, made = (
        (hidden_sound.spectrogram.log_mel(w[None])[0] - center) / spread for w in (wave, silent, loud)
    )
    assert torch.allclose(again, x, atol=1e-4)
    far = torch.nn.functional.max_pool2d(hidden.float()[None, None], 7, 1, 3)[0, 0] == 0  # from every hidden cell
    assert (left - x)[far].abs().mean() < 0.05 and (left - x)[hidden].mean() < -0.5
    filled = hidden_sound.filled(x[None], hidden[None])[0]
    assert (made - filled)[hidden].abs().mean() < 0.5 * (left - filled)[hidden].abs().mean()
