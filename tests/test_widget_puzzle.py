"""The puzzle widget: exactly one candidate is the picture, the network sees what the reader sees."""

import pytest
import torch

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import puzzle
from ssl_lessons.errors import InputError
from ssl_lessons.views.pretext import permutation_set


def pictures(n=6, size=12):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def oracle_for_rotation(images):
    """Logits that know the answer, from the pictures themselves."""

    def predict(dealt):
        logits = torch.zeros(len(dealt), 4)
        for i, picture in enumerate(dealt):
            for k in range(4):
                if torch.equal(torch.rot90(images[i], k, dims=(1, 2)), picture):
                    logits[i, k] = 9.0
        return logits

    return predict


@pytest.fixture
def games():
    images, orders = pictures(), permutation_set(4, 4)
    return {
        "rotation": puzzle.rotation_game(images, oracle_for_rotation(images)),
        "jigsaw": puzzle.jigsaw_game(images, orders, lambda cut: torch.zeros(len(cut), 4)),
    }


def test_the_right_candidate_is_the_picture(games):
    images = pictures()
    game = games["rotation"]
    assert len(game.truth.unique()) > 1
    for i, truth in enumerate(game.truth.tolist()):
        assert [torch.equal(c, images[i]) for c in game.candidates[i]] == [k == truth for k in range(4)]
    assert game.score == 1.0


def test_the_right_order_puts_every_tile_in_its_place(games):
    images, game = pictures(), games["jigsaw"]
    assert game.question.shape == (6, 3, 12, 12)  # tiles of 5 px and a frame of 1
    for i, truth in enumerate(game.truth.tolist()):
        right = game.candidates[i, truth]
        assert torch.equal(right[:, :5, :5], images[i, :, :5, :5])
        assert torch.equal(right[:, 6:11, 6:11], images[i, :, 6:11, 6:11])
        assert sum(torch.equal(c, right) for c in game.candidates[i]) == 1
    assert (game.network == 0.25).all()


def test_render_over_the_whole_range_of_every_control(games):
    seen = {}
    for parameters in widgets.sweep(puzzle.controls(games), n=6):
        fig = puzzle.render(**parameters, games=games)
        words = puzzle.describe(**parameters, games=games)
        game, answered = games[parameters["game"]], parameters["answer"] != puzzle.UNDECIDED
        truth = puzzle.ANSWERS[int(game.truth[parameters["round"]])]
        titles = [ax.get_title() or ax.get_title(loc="left") for ax in fig.axes]
        assert (f"the truth is {truth}" in words) == answered
        assert (f"{truth} (right)" in titles) == answered, "the truth is shown after the answer only"
        heights = [bar.get_height() for bar in fig.axes[5].patches]
        assert not heights if not answered else sum(heights) == pytest.approx(100)
        seen[tuple(parameters.values())] = plots.png(fig)
    assert len(seen) >= 10 and len(set(seen.values())) == len(seen)


def test_a_wrong_answer_is_marked(games):
    truth = int(games["rotation"].truth[0])
    wrong = puzzle.ANSWERS[(truth + 1) % 4]
    axes = puzzle.render("rotation", 0, wrong, games).axes
    titles = [ax.get_title() or ax.get_title(loc="left") for ax in axes]
    assert f"{wrong} (you)" in titles and f"{puzzle.ANSWERS[truth]} (right)" in titles


def test_static_page_gives_nothing_away(games, monkeypatch):
    from functools import partial

    pages = []
    monkeypatch.setattr(plots, "show", lambda fig, alt, *_: pages.append(alt))
    widgets.explore(
        partial(puzzle.render, games=games),
        puzzle.controls(games),
        static=[{}, {"game": "jigsaw"}],
        alt=partial(puzzle.describe, games=games),
    )
    assert "truth" not in pages[0] and "jigsaw" in pages[0]


def test_impossible_games_are_refused(games):
    with pytest.raises(InputError, match="no game 'chess'"):
        puzzle.render("chess", 0, "A", games)
    with pytest.raises(InputError, match="four orders"):
        puzzle.jigsaw_game(pictures(), permutation_set(4, 5), lambda cut: torch.zeros(len(cut), 5))
    with pytest.raises(InputError):
        puzzle.Game(pictures(), pictures()[:, None], torch.zeros(6, dtype=torch.long), torch.zeros(6, 4))
