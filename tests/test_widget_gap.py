"""The widget of chapter 8: guesses are distributions, every setting draws, and a gap shows what stood there."""

import pytest

from ssl_lessons.book import widgets
from ssl_lessons.book.widgets import gap
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.words import repair


def test_every_setting_draws_and_is_described():
    found = {name: gap.guesses(repair.build(name, 0)) for name in ("mlm", "gpt", "diffusion")}
    for said in found.values():
        assert [len(row) for row in said] == [gap.ids().shape[1]] * len(gap.SENTENCES)
        assert all(
            sum(p for _, p in best) <= 1.01 and len(best) == gap.SHOWN for row in said for best in row[1:]
        )
    for chosen in widgets.sweep(gap.controls(), 3):
        fig = gap.render(**chosen, found=found)
        assert len(fig.axes) == 3 and "[MASK]" in fig.get_suptitle()
        assert gap.gapped(**chosen)[1] in gap.describe(**chosen, found=found)


def test_the_end_of_a_sentence_can_be_the_gap():
    found = {name: [[[("is", 0.5)]] * 40] * len(gap.SENTENCES) for name in ("one", "two")}
    place = gap.SENTENCES[1].split().index("[SEP]")
    title = gap.render(2, place, found).get_suptitle()
    assert title.replace("\n", " ") == gap.gapped(2, place)[0] and title.count("\n") == 1


def test_bad_place():
    with pytest.raises(InputError):
        gap.gapped(99, 1)
