"""Captions of drawn scenes: what is said, in which words and in which order; prompts; captions with colours swapped."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ssl_lessons.errors import InputError

# The values of every factor that a caption of one thing can speak of.
SAID = {
    "kind": ("disc", "square", "triangle", "cross", "ring", "dart"),
    "colour": ("red", "yellow", "green", "cyan", "blue", "magenta"),
    "size": ("small", "large"),
    "place": ("top left", "top right", "bottom left", "bottom right"),
    "ground": ("dark", "light"),
}
STYLES = 4  # ways to say the same
_GLUE = "a the something there is at on and ground of right photo my new this picture shows painted"
VOCABULARY = ("[PAD]", "[UNKNOWN]", *dict.fromkeys(" ".join((_GLUE, *sum(SAID.values(), ()))).split()))
PAD, UNKNOWN = 0, 1
LONGEST = 16  # words
# How to ask for a kind.  Two say more than one knows; the last three hold words that no caption of training has.
PROMPTS = (
    "{}", "the {}", "there is a {}", "a red {}", "a small {} at the top left", "a photo of a {}",
    "this picture shows my new {}", "painted {}",
)  # fmt: skip
_NUMBER = {word: i for i, word in enumerate(VOCABULARY)}


def encode(texts: Sequence[str], length: int = LONGEST) -> Tensor:
    """Words to numbers, int64 [N, length], padded with PAD; words outside the VOCABULARY become UNKNOWN.

    Raises InputError for a text without words, or longer than `length`.
    """
    ids = torch.full((len(texts), length), PAD)
    for row, text in zip(ids, texts, strict=True):
        words = text.lower().split()
        if not 0 < len(words) <= length:
            raise InputError(f"a caption has 1 to {length} words, not {len(words)}: {text!r}")
        row[: len(words)] = torch.tensor([_NUMBER.get(w, UNKNOWN) for w in words])
    return ids


def decode(ids: Tensor) -> list[str]:
    """Numbers [N, L] back to texts."""
    return [" ".join(VOCABULARY[i] for i in row if i != PAD) for row in ids.tolist()]


def describe(factors: dict[str, int], style: int = 0, say: Sequence[str] = tuple(SAID)) -> str:
    """One caption of one thing: factors, name -> value; style, 0 to STYLES - 1; say, the factors that are spoken of.

    A kind that is not said is "something".  Raises InputError for an unknown factor or style.
    """
    if set(say) - set(SAID) or not 0 <= style < STYLES:
        raise InputError(f"say takes {', '.join(SAID)}, and style 0 to {STYLES - 1}")
    kind, colour, size, place, ground = (
        words[factors[name]] if name in say else "" for name, words in SAID.items()
    )
    thing = [size, colour, kind or "something"]
    at, on = place and f"at the {place}", ground and f"on a {ground} ground"
    orders = (
        ["a", *thing, at, on],
        ["the", thing[2], (colour or size) and "is", colour, colour and size and "and", size, at, on],
        [place, *thing, ground and f"on {ground}"],
        [on, "there is a", *thing, at],
    )
    return " ".join(part for part in orders[style] if part)


def describe_two(left: tuple[int, int], right: tuple[int, int], style: int = 0) -> str:
    """One caption of two things side by side, each a (kind, colour).

    style: 0, "a red disc left of a blue cross"; 1, the same as "right of"; 2 and 3, "a red disc and a blue cross" in
    either order, which does not say who stands where.  Raises InputError for another style.
    """
    if style not in range(4):
        raise InputError(f"two things are described in style 0 to 3, not {style}")
    first, second = (f"a {SAID['colour'][colour]} {SAID['kind'][kind]}" for kind, colour in (left, right))
    if style % 2:
        first, second = second, first
    return f"{first} {('left of', 'right of', 'and', 'and')[style]} {second}"


def swapped(ids: Tensor) -> Tensor:
    """Captions of two things [N, L] with the two colours exchanged: the same words, another scene.

    Raises InputError unless every caption has two colours.
    """
    colours = torch.tensor([_NUMBER[w] for w in SAID["colour"]], device=ids.device)
    where = torch.isin(ids, colours)
    if not bool((where.sum(dim=1) == 2).all()):
        raise InputError("only captions with two colours can have them swapped")
    out = ids.clone()
    out[where] = ids[where].view(-1, 2).flip(1).flatten()
    return out


def prompts(factor: str, template: str = "a {}") -> list[str]:
    """One text for each value of a factor: "a red", "a yellow", ..; template: with one pair of braces."""
    if factor not in SAID or template.count("{}") != 1:
        raise InputError(f"prompts needs a factor of {', '.join(SAID)} and a template with one {{}}")
    return [template.format(word) for word in SAID[factor]]
