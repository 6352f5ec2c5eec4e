"""The reader against the network: which of four pictures is upright, which of four orders is the right one?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError
from ssl_lessons.views.pretext import assemble, four_rotations, invert, rotate, shuffle, tiles

ANSWERS = ("A", "B", "C", "D")
UNDECIDED = "still thinking"


@dataclass(frozen=True)
class Game:
    """Rounds of one game: every round shows one picture and four ways to put it right.

    question: [N, 3, S, S] as it was dealt, candidates: [N, 4, 3, S, S], colours in [0, 1].  truth: int64 [N], which
    candidate is right.  network: [N, 4], the network's probabilities.  Raises InputError when the shapes do not fit.
    """

    question: Tensor
    candidates: Tensor
    truth: Tensor
    network: Tensor

    def __post_init__(self):
        n = len(self.question)
        shapes = [tuple(t.shape[:2]) for t in (self.candidates, self.network)]
        if not n or shapes != [(n, 4), (n, 4)] or self.truth.shape != (n,):
            raise InputError(
                "a game needs a picture, four candidates, one truth and four probabilities per round"
            )

    @property
    def score(self) -> float:
        """How often the network's favourite is right."""
        return float((self.network.argmax(dim=1) == self.truth).float().mean())


@torch.no_grad()
def rotation_game(images: Tensor, predict: Callable[[Tensor], Tensor], seed: int = 0) -> Game:
    """Pictures [N, 3, S, S] in [0, 1], each turned by a random number of quarters.

    predict(turned pictures) gives logits [N, 4] over the number of counter-clockwise turns.  Candidate k is the dealt
    picture turned back by k quarters; it is right when k turns were made.
    """
    turns = torch.randint(4, (len(images),), generator=torch.Generator().manual_seed(seed))
    dealt = rotate(images, turns)
    n = len(images)
    back = four_rotations(dealt)[0].view(4, n, *images.shape[1:])[[0, 3, 2, 1]]
    return Game(dealt, back.transpose(0, 1), turns, predict(dealt).softmax(dim=1).cpu())


@torch.no_grad()
def jigsaw_game(
    images: Tensor, orders: Tensor, predict: Callable[[Tensor], Tensor], seed: int = 0, gap: int = 1
) -> Game:
    """Pictures [N, 3, S, S] in [0, 1], cut into tiles and shuffled by one of four `orders` [4, grid^2].

    predict(shuffled tiles [N, grid^2, 3, s, s]) gives logits [N, 4] over the orders.  gap: pixels of the pictures left
    out between two tiles.
    """
    if len(orders) != 4:
        raise InputError(f"the game is played with four orders, got {len(orders)}")
    grid = round(orders.shape[1] ** 0.5)
    dealt = torch.randint(4, (len(images),), generator=torch.Generator().manual_seed(seed))
    cut = tiles(images, grid, images.shape[-1] // grid - gap)
    shuffled = shuffle(cut, orders[dealt])
    back = [assemble(_framed(shuffle(shuffled, invert(orders[k].expand(len(images), -1))))) for k in range(4)]
    return Game(
        assemble(_framed(shuffled)), torch.stack(back, dim=1), dealt, predict(shuffled).softmax(dim=1).cpu()
    )


def _framed(cut: Tensor) -> Tensor:
    """Tiles with a white line to the right and below, so that they can be told apart when assembled."""
    return torch.nn.functional.pad(cut, (0, 1, 0, 1), value=1.0)


def controls(games: Mapping[str, Game]) -> dict[str, Slider | Choice]:
    """Which game, which round, and your answer; the network's is shown once you have given one."""
    rounds = min(len(game.question) for game in games.values())
    return {
        "game": Choice(tuple(games), next(iter(games)), "game"),
        "round": Slider(0, rounds - 1, 0, "round", step=1),
        "answer": Choice((UNDECIDED, *ANSWERS), UNDECIDED, "your answer"),
    }


def render(game: str, round: int, answer: str, games: Mapping[str, Game]) -> Figure:  # noqa: A002 - the slider's name
    """Left: what was dealt.  Then four ways to put it right.  With an answer: the truth, and the network's bars."""
    played = _chosen(game, games)
    truth, probability = int(played.truth[round]), played.network[round]
    fig, axes = plots.new_figure(7.6, 1.9, 1, 6, width_ratios=(1, 1, 1, 1, 1, 1.3))
    _picture(axes[0], played.question[round], "dealt")
    for k, ax in enumerate(axes[1:5]):
        given = answer != UNDECIDED
        mark = " (right)" if given and k == truth else " (you)" if answer == ANSWERS[k] else ""
        _picture(ax, played.candidates[round, k], f"{ANSWERS[k]}{mark}")
    bars = axes[5]
    if answer == UNDECIDED:
        bars.axis("off")
        bars.text(0.5, 0.5, "Which one?\nThen see what\nthe network says.", ha="center", va="center")
    else:
        colours = [plots.COLORS[2] if k == truth else plots.GRAY for k in range(4)]
        bars.bar(ANSWERS, (100 * probability).tolist(), color=colours)
        bars.set(ylim=(0, 100), ylabel="network (%)", xlabel="candidate", title="The network")
    return fig


def describe(game: str, round: int, answer: str, games: Mapping[str, Game]) -> str:  # noqa: A002
    """The picture of `render` in words; without an answer it gives nothing away."""
    played = _chosen(game, games)
    text = f"Game {game!r}, round {round}: a picture as it was dealt, and four candidates A to D to put it right."
    if answer == UNDECIDED:
        return text
    truth = int(played.truth[round])
    favourite = int(played.network[round].argmax())
    share = 100 * float(played.network[round, favourite])
    says = f"You say {answer}, the network {ANSWERS[favourite]} ({share:.0f} percent)"
    return f"{text} {says}, the truth is {ANSWERS[truth]}."


def _picture(ax, image: Tensor, title: str) -> None:
    ax.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy())
    ax.axis("off")
    ax.set_title(title)


def _chosen(game: str, games: Mapping[str, Game]) -> Game:
    if game not in games:
        raise InputError(f"There is no game {game!r}; there are {', '.join(games)}.")
    return games[game]
