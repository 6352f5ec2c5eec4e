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
