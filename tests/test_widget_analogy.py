"""The analogy widget: its tables against the package's counts, its neighbours over the whole slider range."""

import re
from functools import partial

import pytest
import torch

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import analogy
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.words import corpora, counts


@pytest.fixture(scope="module")
def corpus():
    return counts.read(corpora.little_language(1500))


@pytest.fixture(scope="module")
def table(corpus):
    return analogy.tables(corpus, windows=5, dim=30)


def test_tables_are_the_cooccurrences_of_every_window(corpus, table):
    for window in (1, 3, 5):
        assert torch.equal(table.by_window[window], counts.cooccurrence(corpus, window))


def test_vectors_factorise_the_shifted_table(table):
    matrix = counts.shifted_positive_pmi(table.by_window[5], 3)
    exact = counts.svd_vectors(matrix, 30)
    ours = analogy.vectors(table, 5, 3).double()
    assert torch.allclose(ours.square().sum(), exact.square().sum(), rtol=0.02)
    assert torch.equal(ours, analogy.vectors(table, 5, 3).double()), "the same picture every time"


def test_partners_are_neighbours(table):
    found, kept = analogy.neighbours(5, 1, "king", table)
    assert "queen" in [word for word, _ in found[:4]] and 0 < kept < 1
    assert kept > analogy.neighbours(5, 20, "king", table)[1], "a larger k leaves fewer cells"


def test_render_over_the_whole_range_of_every_control(table):
    seen = set()
    for parameters in widgets.sweep(analogy.controls(("king", "nurse", "the"), windows=5), n=4):
        fig = analogy.render(**parameters, table=table)
        words = analogy.describe(**parameters, table=table)
        bars = [bar.get_width() for bar in fig.axes[0].patches]
        assert all(-1 <= bar <= 1.001 for bar in bars) and len(bars) in (1, analogy.SHOWN)
        few = analogy.brief(**parameters, table=table)
        assert len(few) < len(words) and all(number in words for number in re.findall(r"\(.*?\)", few))
        assert parameters["word"] in words and fig.axes[0].get_xlabel() and fig.axes[0].get_ylabel()
        seen.add(plots.png(fig))
    assert len(seen) >= 9


def test_a_word_without_a_row_is_shown_as_such():
    lonely = analogy.Tables(("a", "b", "c"), {1: torch.tensor([[8.0, 0, 0], [0, 8, 0], [0, 0, 8]])}, 2)
    lonely.by_window[1][2] = torch.tensor([1e-9, 1e-9, 0.0])
    fig = analogy.render(1, 20, "c", lonely)
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["(nothing left)"]
    assert "nothing of its row" in analogy.describe(1, 20, "c", lonely)
    assert analogy.brief(1, 20, "c", lonely).endswith("near c: nothing left.")


def test_static_page(table, monkeypatch):
    pages = []
    monkeypatch.setattr(plots, "show", lambda fig, alt, *_: pages.append(alt))
    widgets.explore(
        partial(analogy.render, table=table),
        analogy.controls(("king",), windows=5),
        static=[{"window": 1}, {"window": 5}],
        alt=partial(analogy.describe, table=table),
    )
    assert "Window 1," in pages[0] and "Window 5," in pages[0]


def test_unknown_words_and_windows_are_refused(table):
    with pytest.raises(InputError, match="'unicorn'"):
        analogy.render(2, 1, "unicorn", table)
    with pytest.raises(InputError, match="windows 1 to 5"):
        analogy.render(9, 1, "king", table)
