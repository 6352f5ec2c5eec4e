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


def test_bad_place():
    with pytest.raises(InputError):
        gap.gapped(99, 1)
