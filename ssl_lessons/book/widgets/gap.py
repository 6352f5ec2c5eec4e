"""A word is hidden, and three networks fill the gap: one reads on both sides, one left to right, one diffuses."""

from collections.abc import Mapping

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Slider
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.words import language, repair

SENTENCES = (
    "[CLS] a sailor is enjoying the old boat gladly [SEP] the sailor who the farmers met is not hating the red ship "
    "[SEP]",
    "[CLS] some judges were fearing the broken pot [SEP] they were blaming the repaired kettle sadly [SEP]",
    "[CLS] a baker was praising the lost coin [SEP] then the baker was not cursing the found penny happily [SEP]",
    "[CLS] the singers who the teacher saw are liking the small drum [SEP] they are admiring the new hall gladly [SEP]",
)
SHOWN = 4  # guesses of each network
Guesses = list[list[list[tuple[str, float]]]]  # sentence, place -> (word, probability), likeliest first


def ids() -> Tensor:
    """SENTENCES as padded ids [N, T]."""
    return torch.nn.utils.rnn.pad_sequence([language.encode(s) for s in SENTENCES], batch_first=True)


def guesses(module: nn.Module) -> Guesses:
    """What a network says of every place of SENTENCES when it is hidden; [CLS], at place 0, is not asked about."""
    texts = ids()
    found: Guesses = [[[]] for _ in SENTENCES]
    for place in range(1, texts.shape[1]):
        p = repair.fill(module, texts, torch.full((len(texts),), place)).softmax(dim=1)
        for row, (values, words) in enumerate(zip(*(x.tolist() for x in p.topk(SHOWN)), strict=True)):
            best = zip(words, values, strict=True)
            found[row].append([(language.VOCABULARY[w], round(v, 3)) for w, v in best])
    return found


def controls() -> dict[str, Slider]:
    """Which sentence, and which of its words."""
    shortest = min(len(s.split()) for s in SENTENCES)
    return {
        "sentence": Slider(1, len(SENTENCES), 1, "sentence", step=1),
        "place": Slider(1, shortest - 2, 3, "hidden word", step=1),
    }


def gapped(sentence: int, place: int) -> tuple[str, str]:
    """The sentence with its gap, and the word that was there.  Raises InputError for a place that is none."""
    if not 1 <= sentence <= len(SENTENCES) or not 1 <= place < len(SENTENCES[int(sentence) - 1].split()):
        raise InputError(f"There is no word {place} of a sentence {sentence}.")
    words = SENTENCES[int(sentence) - 1].split()
    word = words[int(place)]
    words[int(place)] = "[MASK]"
    return " ".join(words), word


def render(sentence: int, place: int, found: Mapping[str, Guesses]) -> Figure:
    """found: name of the network -> its `guesses`, at most three networks."""
    text, truth = gapped(sentence, place)
    fig, axes = plots.new_figure(9.0, 2.8, 1, len(found))
    for ax, (name, said), color in zip(axes, found.items(), plots.COLORS, strict=False):
        best = said[int(sentence) - 1][int(place)][::-1]
        ax.barh([w + " *" * (w == truth) for w, _ in best], [p for _, p in best], color=color)
        ax.set(title=name, xlim=(0, 1), xlabel="probability")
    ends = 1 + SENTENCES[int(sentence) - 1].split().index("[SEP]")  # the gap may be there
    fig.suptitle("\n".join(" ".join(part) for part in (text.split()[:ends], text.split()[ends:])))
    return fig


def describe(sentence: int, place: int, found: Mapping[str, Guesses]) -> str:
    text, truth = gapped(sentence, place)
    said = "; ".join(
        f"{name} says " + ", ".join(f"{w} {100 * p:.0f} %" for w, p in g[int(sentence) - 1][int(place)])
        for name, g in found.items()
    )
    return f"{text}: {said}. The word was {truth}."
