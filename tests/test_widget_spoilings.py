"""The widget of chapter 12: two views of a molecule, and the recorded cell."""

import itertools

import pytest

from ssl_lessons.book.widgets import spoilings
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.graphs import views

NAMES = tuple(views.SPOILINGS)


@pytest.mark.parametrize(
    "first, second", [*itertools.combinations_with_replacement(NAMES, 2), (NAMES[3], NAMES[0])]
)
def test_every_pair_is_drawn_and_told(first, second):
    spoilings.render(first, second)
    text = spoilings.describe(first, second)
    assert f"{first}:" in text and f"{second}:" in text


def test_the_words_say_what_a_spoiling_does():
    assert "8 of 16 atoms, 0 of them hidden" in spoilings.describe("drop nodes", "mask nodes")
    assert "leave 8 and 16 of 16 atoms" in spoilings.brief("drop nodes", "mask nodes")
    assert "16 of 16 atoms, 8 of them hidden; 15 of 15 bonds" in spoilings.describe(
        "drop nodes", "mask nodes"
    )
    assert "8 of 16 atoms, 0 of them hidden; 7 of 15 bonds are left and 0 are new" in spoilings.describe(
        "subgraph", "subgraph"
    )


def test_nodes_keep_their_places():
    whole = spoilings.molecule()[0]
    for name in ("drop nodes", "subgraph", "mask nodes"):
        spoiled = spoilings.view(name, 1)
        own = spoilings.numbers(spoiled)
        old = {tuple(sorted(e)) for e in whole.edges.T.tolist()}
        assert {tuple(sorted(e)) for e in own[spoiled.edges].T.tolist()} <= old


def test_a_pair_has_one_cell_in_either_order(monkeypatch):
    rows = [
        {
            "part": "graphs",
            "arm": "drop nodes + subgraph",
            "seed": s,
            "factors": {"rule": 0.5 + s / 10, "shape": 0.4},
        }
        for s in (0, 1)
    ]
    monkeypatch.setattr(spoilings, "recorded", lambda name: (rows, ""))
    assert spoilings.cell("subgraph", "drop nodes")["rule"] == pytest.approx(0.55)
    assert spoilings.cell("subgraph", "subgraph") is None
    assert "No run" in spoilings.describe("subgraph", "subgraph")
    assert "55%" in spoilings.describe("subgraph", "drop nodes")


def test_without_a_record_it_says_so(monkeypatch):
    def missing(name):
        raise InputError("There is no data file.")

    monkeypatch.setattr(spoilings, "recorded", missing)
    assert "No run" in spoilings.describe("subgraph", "subgraph")
