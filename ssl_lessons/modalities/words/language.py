"""A drawn language: stories of four to six short sentences, with everything about them known.

    first a sailor who the farmers met is not enjoying the broken boat
    she is blaming the repaired ship

Behind a story stand a topic, a tense and a mood; behind a sentence its subject, the number of the subject, its polarity
and its object.  Agreement runs across a relative clause, "not" turns a polarity round, a person comes with "a" before
"the" and before a pronoun, a thing is broken before it is repaired, and many words have a synonym.
"""

from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor

from ssl_lessons.errors import InputError

SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")
PAD, CLS, SEP, MASK = range(4)

PEOPLE = ("sailor", "farmer", "doctor", "teacher", "painter", "singer", "baker", "judge")
THINGS = {  # topic -> three things, each by two names
    "sea": ("boat ship", "harbour port", "sail canvas"),
    "house": ("room chamber", "sofa couch", "carpet rug"),
    "garden": ("flower blossom", "stone rock", "path trail"),
    "kitchen": ("pot kettle", "meal dinner", "cup mug"),
    "market": ("coin penny", "bag sack", "shop store"),
    "school": ("lesson class", "picture drawing", "pen pencil"),
    "music": ("song tune", "drum tambour", "hall theatre"),
    "road": ("car auto", "road street", "coat jacket"),
}
TOPICS = tuple(THINGS)
VERBS = {1: ("enjoying", "praising", "liking", "admiring"), 0: ("hating", "blaming", "fearing", "cursing")}
MOODS = (("sadly", "gloomily"), ("gladly", "happily"))  # [polarity]
AUXILIARIES = (("is", "are"), ("was", "were"))  # [tense][number]
PRONOUNS = ("she", "they")
ARTICLES = (("a", "some"), ("the", "the"))  # [known][number]
EVENTS = (
    ("broken", "repaired"),
    ("lost", "found"),
    ("dirty", "cleaned"),
    ("hidden", "shown"),
)  # before, after
PLAIN = ("old", "small", "red", "new")
RELATIVES = ("met", "saw", "called")
CONNECTIVES = (("first", "once"), ("then", "later"), ("finally", "lastly"))  # start, middle, end

_WORDS = (
    *SPECIAL, "a", "some", "the", "who", "not", *PRONOUNS, *AUXILIARIES[0], *AUXILIARIES[1],
    *(w for pair in CONNECTIVES for w in pair), *RELATIVES, *VERBS[1], *VERBS[0], *PLAIN,
    *(w for pair in EVENTS for w in pair), *(w for p in PEOPLE for w in (p, p + "s")),
    *(w for things in THINGS.values() for names in things for w in names.split()), *MOODS[0], *MOODS[1],
)  # fmt: skip
VOCABULARY = tuple(_WORDS)
"""All words, the special ones first: the index of a word is its id."""
_ID = {word: i for i, word in enumerate(VOCABULARY)}

SYNONYMS = (
    *(tuple(names.split()) for things in THINGS.values() for names in things),
    VERBS[1],
    VERBS[0],
    RELATIVES,
    *CONNECTIVES,
    *MOODS,
)
"""Groups of words that may stand for one another without changing any factor."""

LONGEST, MOST, FEWEST = 12, 6, 4  # words in a sentence; sentences in a story
PAIR_LENGTH = 2 * LONGEST + 3  # [CLS] A [SEP] B [SEP]


def encode(text: str) -> Tensor:
    """The ids [T] of the words of a text, split at spaces.  Raises InputError for a word not in the vocabulary."""
    unknown = [word for word in text.split() if word not in _ID]
    if unknown:
        raise InputError(
            f"The word {unknown[0]!r} is not among the {len(VOCABULARY)} words of this language."
        )
    return torch.tensor([_ID[word] for word in text.split()], dtype=torch.long)


def decode(ids: Tensor) -> str:
    """The words of ids [T], padding left out."""
    return " ".join(VOCABULARY[i] for i in ids.tolist() if i != PAD)


@dataclass(frozen=True)
class Stories:
    """N stories of up to S = 6 sentences of up to L = 12 words.

    tokens [N, S, L]: ids, PAD at the end; length [N]: sentences in each story.  Of a story: topic (8), tense (present,
    past), mood (whether most polarities are 1), all [N].  Of a sentence, [N, S], 0 where there is none: subject (8
    people), number (one, many), polarity (against, for), thing (24: three a topic's family), known (whether the subject
    has been named before), pronoun (whether it stands as one), event (0..3, or 4 for none), after (whether the event is
    over), spoken (whether a last word says the polarity).
    """

    tokens: Tensor
    length: Tensor
    topic: Tensor
    tense: Tensor
    mood: Tensor
    subject: Tensor
    number: Tensor
    polarity: Tensor
    thing: Tensor
    known: Tensor
    pronoun: Tensor
    event: Tensor
    after: Tensor
    spoken: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: Tensor) -> "Stories":
        """Some of the stories, by number."""
        return Stories(*(getattr(self, f.name)[rows] for f in fields(self)))

    @cached_property
    def there(self) -> Tensor:
        """Which sentences exist: bool [N, S]."""
        return torch.arange(self.tokens.shape[1]) < self.length[:, None]

    def text(self, story: int) -> list[str]:
        """The sentences of one story, as words."""
        return [decode(s) for s in self.tokens[story, : self.length[story]]]

    def sentences(self) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """All M sentences: ids [M, L], the factors of each (every one [M]), and the number of its story [M]."""
        factors = {name: values[self.there] for name, values in self.factors().items()}
        return self.tokens[self.there], factors, self.there.nonzero()[:, 0]

    def factors(self) -> dict[str, Tensor]:
        """Every factor of every sentence: name -> [N, S]; those of the story are repeated."""
        wide = {name: getattr(self, name)[:, None].expand_as(self.subject) for name in ("topic", "tense")}
        own = {name: getattr(self, name) for name in ("subject", "number", "polarity", "thing")}
        position = torch.arange(self.tokens.shape[1]).expand_as(self.subject)
        return wide | own | {"position": position}


def stories(n: int, *, seed: int = 0, split: str = "train") -> Stories:
    """n stories, drawn; deterministic for a seed; "train" and "test" never share their random numbers.

    A topic has the things of its own family (two times in three) and of the next one (one in three), so a single word
    leaves two topics open.  Every polarity agrees with the mood of its story nineteen times in twenty; at the end of
    some sentences a word says it (gladly, sadly), else it takes the verb and "not" together.  Raises InputError
    unless n >= 1 and the split is one of the two.
    """
    if n < 1 or split not in ("train", "test"):
        raise InputError(f'stories() needs n >= 1 and split "train" or "test", not n={n!r}, split={split!r}.')
    dice = _Dice(2 * seed + (split == "test"))
    length = FEWEST + dice.below(MOST - FEWEST + 1, n)
    topic, tense, mood = dice.below(len(TOPICS), n), dice.below(2, n), dice.below(2, n)
    who = _who(dice, n)
    what = _what(dice, topic, length)
    how, form = _how(dice, mood, who)
    ids = _spell(dice, length, tense, who | what | how | form)
    there = torch.arange(MOST) < length[:, None]
    per_sentence = {name: values.long() * there for name, values in (who | what | how).items()}
    return Stories(
        torch.where(there[:, :, None], ids, PAD), length, topic=topic, tense=tense, mood=mood, **per_sentence
    )


class _Dice:
    """Draws from one generator, in the order in which they are asked for."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def below(self, k: int, *size: int) -> Tensor:
        return torch.randint(k, size, generator=self.generator)

    def chance(self, p: float, *size: int) -> Tensor:
        return torch.rand(size, generator=self.generator) < p


def _who(dice: _Dice, n: int) -> dict[str, Tensor]:
    """The first person, and now and then a second one, who is another person; each [n, MOST]."""
    second = dice.chance(0.3, n, MOST)
    second[:, 0] = False
    people = dice.below(len(PEOPLE), n)
    cast = torch.stack([people, (people + 1 + dice.below(len(PEOPLE) - 1, n)) % len(PEOPLE)], dim=1)
    cast_number = dice.below(2, n, 2)
    person = second.long()
    known = torch.where(second, second.long().cumsum(1) > 1, (~second).long().cumsum(1) > 1)
    same = torch.cat([torch.zeros(n, 1, dtype=torch.bool), person[:, 1:] == person[:, :-1]], dim=1)
    return {
        "subject": cast.gather(1, person), "number": cast_number.gather(1, person), "known": known,
        "pronoun": same & dice.chance(0.5, n, MOST),
    }  # fmt: skip


def _what(dice: _Dice, topic: Tensor, length: Tensor) -> dict[str, Tensor]:
    """Things of the topic's family or the next; an even sentence and the one after it may share an event."""
    n = len(topic)
    place = torch.arange(MOST)
    family = (topic[:, None] + dice.chance(1 / 3, n, MOST).long()) % len(TOPICS)
    thing = family * 3 + dice.below(3, n, MOST)
    linked = dice.chance(0.7, n, MOST // 2).repeat_interleave(2, dim=1)
    thing[:, 1::2] = torch.where(linked[:, 1::2], thing[:, ::2], thing[:, 1::2])
    drawn = dice.below(len(EVENTS), n, MOST // 2).repeat_interleave(2, dim=1)
    alone = (place == length[:, None] - 1) & (place % 2 == 0)  # an event that would never be over
    event = torch.where(linked & ~alone, drawn, len(EVENTS))
    return {"thing": thing, "event": event, "after": linked & ~alone & (place % 2 == 1)}


def _how(dice: _Dice, mood: Tensor, who: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Polarity and whether a word says it; and what no factor records: "not", relative clause, connective."""
    shape = who["subject"].shape
    polarity = torch.where(dice.chance(0.95, *shape), mood[:, None], 1 - mood[:, None])
    negated = dice.chance(1 / 5, *shape)
    clause = dice.chance(0.4, *shape) & ~who["pronoun"]
    linking = dice.chance(0.5, *shape) & ~clause
    spoken = dice.chance(0.5, *shape) & ~clause
    other = (who["subject"] + 1 + dice.below(len(PEOPLE) - 1, *shape)) % len(PEOPLE)
    form = {"negated": negated, "clause": clause, "linking": linking, "other": other}
    return {"polarity": polarity, "spoken": spoken}, form


def _spell(dice: _Dice, length: Tensor, tense: Tensor, of: dict[str, Tensor]) -> Tensor:
    """The words of every sentence: ids [N, MOST, LONGEST], padding at the end.  of: everything known about each."""
    shape = of["subject"].shape
    place, nothing = torch.arange(MOST).expand(shape), torch.full(shape, PAD)
    stage = torch.where(place == 0, 0, torch.where(place == length[:, None] - 1, 2, 1))

    def only(where, ids):
        return torch.where(where, ids, nothing)

    the, name = nothing + _ID["the"], dice.below(2, *shape)
    state = torch.where(
        of["event"] < len(EVENTS),
        _pick(EVENTS, of["event"].clamp(max=len(EVENTS) - 1), of["after"].long()),
        _pick(PLAIN, dice.below(len(PLAIN), *shape)),
    )
    slots = [
        only(of["linking"], _pick(CONNECTIVES, stage, dice.below(2, *shape))),
        only(~of["pronoun"], _pick(ARTICLES, of["known"].long(), of["number"])),
        torch.where(
            of["pronoun"], _pick(PRONOUNS, of["number"]), _pick(_PERSONS, of["subject"], of["number"])
        ),
        only(of["clause"], nothing + _ID["who"]),
        only(of["clause"], the),
        only(of["clause"], _pick(_PERSONS, of["other"], dice.below(2, *shape))),
        only(of["clause"], _pick(RELATIVES, dice.below(len(RELATIVES), *shape))),
        _pick(AUXILIARIES, tense[:, None].expand(shape), of["number"]),
        only(of["negated"], nothing + _ID["not"]),
        _pick((VERBS[0], VERBS[1]), (of["polarity"].bool() ^ of["negated"]).long(), dice.below(4, *shape)),
        the,
        state,
        _pick(_NAMES, of["thing"], name),
        only(of["spoken"], _pick(MOODS, of["polarity"], dice.below(2, *shape))),
    ]
    ids = torch.stack(slots, dim=2)
    order = (ids == PAD).long().argsort(dim=2, stable=True)
    return ids.gather(2, order)[:, :, :LONGEST]


def _pick(words: tuple, *index: Tensor) -> Tensor:
    """The id at [index...] of nested tuples of words."""
    return torch.tensor(_ids(words))[index]


def pairs(
    data: Stories, generator: torch.Generator, wrong: str | None = None
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """One pair of neighbouring sentences A, B from every story, as [CLS] A [SEP] B [SEP]: ids [N, 27], padded.

    wrong: what half of the pairs become (their label is 0, that of the others 1).  "random": B comes from another story
    (BERT's next sentence prediction, Devlin et al. 2019, section 3.1); "swapped": B stands before A (ALBERT's sentence
    order prediction, Lan et al. 2020, section 3.1); None: none, all labels are 1.
    Returns ids, labels [N], and the factors of the second sentence as it stands (each [N]), with pronoun and spoken
    beside them.  Raises InputError for another word.
    """
    if wrong not in (None, "random", "swapped"):
        raise InputError(f'wrong must be None, "random" or "swapped", not {wrong!r}.')
    n = len(data)
    first = (torch.rand(n, generator=generator) * (data.length - 1)).long()
    row = torch.arange(n)
    label = torch.ones(n, dtype=torch.long) if wrong is None else torch.randint(2, (n,), generator=generator)
    off = label == 0
    a, b = (row, first), (row, first + 1)
    if wrong == "random":
        stranger = (row + 1 + torch.randint(max(n - 1, 1), (n,), generator=generator)) % n
        place = (torch.rand(n, generator=generator) * data.length[stranger]).long()
        b = (torch.where(off, stranger, row), torch.where(off, place, first + 1))
    elif wrong == "swapped":
        a, b = (row, first + off.long()), (row, first + 1 - off.long())
    factors = {name: values[b] for name, values in data.factors().items()}
    told = {name: getattr(data, name)[b] for name in ("pronoun", "spoken")}
    return join(data.tokens[a], data.tokens[b]), label, factors | told


def join(a: Tensor, b: Tensor) -> Tensor:
    """[CLS] A [SEP] B [SEP] for padded ids a [N, L] and b [N, L]: [N, 2 L + 3], the padding moved to the end."""
    n, one = len(a), torch.ones(len(a), 1, dtype=torch.long)
    ids = torch.cat([one * CLS, a, one * SEP, b, one * SEP], dim=1)
    return ids.gather(1, (ids == PAD).long().argsort(dim=1, stable=True)).view(n, -1)


def segments(ids: Tensor) -> Tensor:
    """0 up to and with the first [SEP], 1 after it, for ids [N, T]: [N, T] (padding counts as 1)."""
    ends = (ids == SEP).long()
    return (ends.cumsum(1) - ends).clamp(max=1)


_PERSONS = tuple((person, person + "s") for person in PEOPLE)
_NAMES = tuple(tuple(names.split()) for things in THINGS.values() for names in things)


def _ids(words):
    """Nested tuples of words as nested lists of ids."""
    return _ID[words] if isinstance(words, str) else [_ids(w) for w in words]


def paraphrase(ids: Tensor, generator: torch.Generator, share: float = 1.0) -> Tensor:
    """Each word that has synonyms becomes, with probability `share`, one of its group (itself included): same shape."""
    groups = torch.arange(len(VOCABULARY))[:, None].repeat(1, max(map(len, SYNONYMS)))
    for group in SYNONYMS:
        own = [_ID[w] for w in group]
        for i in own:
            groups[i] = torch.tensor([own[j % len(own)] for j in range(groups.shape[1])])
    column = (torch.rand(ids.shape, generator=generator) * _group_size()[ids]).long()
    changed = torch.rand(ids.shape, generator=generator) < share
    return torch.where(changed, groups[ids, column], ids)


def _group_size() -> Tensor:
    size = torch.ones(len(VOCABULARY))
    for group in SYNONYMS:
        size[[_ID[w] for w in group]] = len(group)
    return size
