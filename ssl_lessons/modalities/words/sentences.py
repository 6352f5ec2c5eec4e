"""A drawn language in which one meaning has hundreds of sentences, and an exam that asks for the meaning.

    the mariner has not hindered the physician at the harbour
    the doctor was aided by the sailor at the port

Both say the same: who did what to whom, well or ill, when and where (FACTORS).  Words alone do not tell meanings apart:
every person, deed and place has three names, a deed done well is its opposite not done, and the voice turns the order
of the persons round, so that "the sailor has helped the doctor" and "the doctor has helped the sailor" share all words.
A second tongue has words of its own for everything.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.words.language import PAD, SPECIAL

FACTORS = {"agent": 4, "patient": 4, "deed": 4, "sign": 2, "tense": 2, "place": 3}
"""The columns of a meaning [N, 6], and how many values each has; agent and patient are never the same person."""

PEOPLE = (
    "sailor mariner seaman",
    "doctor physician medic",
    "singer vocalist soloist",
    "thief robber burglar",
)
DEEDS = (  # [deed][sign], sign 1 is well, 0 ill
    ("hindered hampered obstructed", "helped aided assisted"),
    ("blamed scolded criticised", "praised lauded commended"),
    ("doubted suspected distrusted", "trusted believed credited"),
    ("caught captured seized", "freed released liberated"),
)
PLACES = ("harbour port dock", "market fair bazaar", "school academy college")
FUNCTION = ("the", "at", "not", "by", "has", "was", "will", "have", "be")
NAMES, LONGEST = 3, 12  # names of everything, words of a sentence
STYLE = {"passive": 0.25, "turned": 0.25}
"""How often a sentence is passive, and how often it denies the opposite ("has not hindered" for "has helped")."""


def _twin(word: str) -> str:
    """The word of the second tongue: the letters in reverse order, and an ending; "a sailor" is "rolias-o"."""
    return word[::-1] + "o"


CONCEPTS = (*PEOPLE, *(names for pair in DEEDS for names in pair), *PLACES)
_FIRST = (*FUNCTION, *(word for names in CONCEPTS for word in names.split()))
VOCABULARY = (*SPECIAL, *_FIRST, *map(_twin, _FIRST))
"""All words, the special ones first: the index of a word is its id.  The second tongue comes last, in the same order.
"""
_ID = {word: i for i, word in enumerate(VOCABULARY)}
TONGUE = len(_FIRST)
"""How far a word's twin in the second tongue is from it."""
_PEOPLE = len(SPECIAL) + len(FUNCTION)
_DEEDS = _PEOPLE + NAMES * len(PEOPLE)
_PLACES = _DEEDS + NAMES * 2 * len(DEEDS)


def _kinds() -> dict[str, Tensor]:
    """Of every word of both tongues, [V]: which person, deed, sign or place it names, or -1; `concept`, of all."""
    table = {k: torch.full((len(VOCABULARY),), -1) for k in ("person", "deed", "sign", "place", "concept")}
    for start in (0, TONGUE):
        for i in range(len(CONCEPTS) * NAMES):
            word, concept = start + _PEOPLE + i, i // NAMES
            table["concept"][word] = concept
            if concept < len(PEOPLE):
                table["person"][word] = concept
            elif concept < len(PEOPLE) + 2 * len(DEEDS):
                which = concept - len(PEOPLE)
                table["deed"][word], table["sign"][word] = which // 2, which % 2
            else:
                table["place"][word] = concept - len(PEOPLE) - 2 * len(DEEDS)
    return table


KIND = _kinds()


def encode(text: str) -> Tensor:
    """The ids [T] of the words of a text, split at spaces.  Raises InputError for a word that is in neither tongue."""
    unknown = [word for word in text.split() if word not in _ID]
    if unknown:
        raise InputError(
            f"The word {unknown[0]!r} is not among the {len(VOCABULARY)} words of these tongues."
        )
    return torch.tensor([_ID[word] for word in text.split()], dtype=torch.long)


def decode(ids: Tensor) -> str:
    """The words of ids [T], padding left out."""
    return " ".join(VOCABULARY[i] for i in ids.tolist() if i != PAD)


# ---- meanings and how they are said ---------------------------------------------------------------------------------


def meanings(n: int, generator: torch.Generator) -> Tensor:
    """n meanings, all equally likely: [n, 6], columns as FACTORS.  Raises InputError unless n >= 1."""
    if n < 1:
        raise InputError(f"meanings() needs n >= 1, not {n!r}.")
    drawn = torch.stack([torch.randint(k, (n,), generator=generator) for k in FACTORS.values()], dim=1)
    people = len(PEOPLE)
    drawn[:, 1] = (drawn[:, 0] + 1 + torch.randint(people - 1, (n,), generator=generator)) % people
    return drawn


def styles(n: int, generator: torch.Generator) -> Tensor:
    """n ways to say something: [n, 6], which name of the agent, patient, deed and place, and whether each of STYLE."""
    names = torch.randint(NAMES, (n, 4), generator=generator)
    return torch.cat(
        [names, (torch.rand(n, 2, generator=generator) < torch.tensor(list(STYLE.values()))).long()], 1
    )


def say(meaning: Tensor, style: Tensor, tongue: int = 0) -> Tensor:
    """The sentences of meanings [N, 6] in styles [N, 6]: ids [N, 12], padding at the end.

    tongue: 0 or 1.  Raises InputError for other tongues or shapes that do not fit.
    """
    if (
        tongue not in (0, 1)
        or meaning.shape[1:] != (len(FACTORS),)
        or style.shape != (len(meaning), 4 + len(STYLE))
    ):
        raise InputError("say() needs meanings [N, 6], styles [N, 6] and tongue 0 or 1.")
    agent, patient, deed, sign, tense, place = meaning.T
    passive, turned = (column.bool() for column in style.T[4:])
    name = style.T
    actor, other = (_PEOPLE + NAMES * who + name[i] for i, who in enumerate((agent, patient)))
    verb = _DEEDS + NAMES * (2 * deed + torch.where(turned, 1 - sign, sign)) + name[2]
    where = _PLACES + NAMES * place + name[3]
    nothing, later = torch.full_like(agent, PAD), tense.bool()

    def word(text, when=None):
        return torch.where(when, _ID[text], nothing) if when is not None else nothing + _ID[text]

    slots = [
        word("the"), torch.where(passive, other, actor),
        word("has", ~later & ~passive) + word("was", ~later & passive) + word("will", later),
        word("not", turned), word("have", later & ~passive) + word("be", later & passive),
        verb, word("by", passive), word("the"), torch.where(passive, actor, other),
        word("at"), word("the"), where,
    ]  # fmt: skip
    ids = torch.stack(slots, dim=1)
    ids = ids.gather(1, (ids == PAD).long().argsort(dim=1, stable=True))
    ids = ids[:, :LONGEST]
    return torch.where(ids == PAD, PAD, ids + tongue * TONGUE)


def read(ids: Tensor) -> Tensor:
    """The meaning [N, 6] that sentences [N, T] of either tongue still say, -1 where a factor is not told.

    Undamaged sentences are read without a mistake.  Damaged ones are read as a hasty person would: the person before
    the deed is its subject, the one after it its object, "by" makes a sentence passive, any "not" turns the sign round.
    """
    first = torch.where(ids >= len(SPECIAL) + TONGUE, ids - TONGUE, ids)
    there = {kind: table[ids] for kind, table in KIND.items()}
    place_of = torch.arange(ids.shape[1]).expand_as(ids)

    def has(word):
        return (first == _ID[word]).any(dim=1)

    def earliest(values, where):
        at = torch.where(where, place_of, ids.shape[1]).min(dim=1, keepdim=True).values
        found = values.gather(1, at.clamp(max=ids.shape[1] - 1))[:, 0]
        return torch.where(where.any(dim=1), found, -1), at

    deed, at = earliest(there["deed"], there["deed"] >= 0)
    sign, _ = earliest(there["sign"], there["sign"] >= 0)
    sign = torch.where(sign < 0, sign, sign ^ has("not").long())
    people = there["person"]
    subject, _ = earliest(people, (people >= 0) & (place_of < at))
    object_, _ = earliest(people, (people >= 0) & (place_of > at))
    passive = has("by")
    agent, patient = torch.where(passive, object_, subject), torch.where(passive, subject, object_)
    past = has("has") | has("was")
    tense = torch.where(has("will"), 1, torch.where(past, 0, -1))
    place, _ = earliest(there["place"], there["place"] >= 0)
    return torch.stack([agent, patient, deed, sign, tense, place], dim=1)


def change(meaning: Tensor, factor: str, generator: torch.Generator) -> Tensor:
    """Meanings [N, 6] that differ in one factor; "roles" exchanges agent and patient, "patient" is another third one.

    Raises InputError for a word that is no factor.
    """
    changed = meaning.clone()
    if factor == "roles":
        changed[:, :2] = meaning[:, [1, 0]]
        return changed
    if factor not in FACTORS:
        raise InputError(f"There is no factor {factor!r}; there are {', '.join(FACTORS)} and roles.")
    column = list(FACTORS).index(factor)
    taken = meaning[:, :2] if column < 2 else meaning[:, column : column + 1]
    free = torch.rand(len(meaning), FACTORS[factor], generator=generator).scatter(1, taken, -1.0)
    changed[:, column] = free.argmax(dim=1)
    return changed


# ---- documents ------------------------------------------------------------------------------------------------------

KEPT = {"people": 0.85, "deed": 0.9, "sign": 0.9, "tense": 0.9, "place": 0.85}
"""How often the next sentence of a document keeps what the one before says; both persons stay or go together."""


@dataclass(frozen=True)
class Documents:
    """D documents of S sentences: tokens [D, S, 12], meaning [D, S, 6].  Styles are drawn anew for each sentence."""

    tokens: Tensor
    meaning: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def flat(self) -> tuple[Tensor, Tensor]:
        """All sentences: ids [D S, 12] and meanings [D S, 6]."""
        return self.tokens.flatten(0, 1), self.meaning.flatten(0, 1)


def documents(n: int, *, sentences: int = 5, seed: int = 0) -> Documents:
    """n documents, drawn: a chain of meanings in which each factor is kept from sentence to sentence (KEPT) or redrawn.

    Deterministic for a seed.  Raises InputError unless n >= 1 and sentences >= 2.
    """
    if n < 1 or sentences < 2:
        raise InputError(f"documents() needs n >= 1 of 2 sentences or more, not {n!r} of {sentences!r}.")
    g = torch.Generator().manual_seed(seed)
    chain = [meanings(n, g)]
    for _ in range(sentences - 1):
        fresh, last = meanings(n, g), chain[-1]
        people = torch.rand(n, generator=g) < KEPT["people"]
        keep = [people, people] + [torch.rand(n, generator=g) < p for p in list(KEPT.values())[1:]]
        chain.append(torch.where(torch.stack(keep, dim=1), last, fresh))
    meaning = torch.stack(chain, dim=1)
    flat = meaning.flatten(0, 1)
    tokens = say(flat, styles(len(flat), g))
    return Documents(tokens.view(n, sentences, LONGEST), meaning)


# ---- the exam -------------------------------------------------------------------------------------------------------

NEAR = ("roles", "sign", "tense", "deed", "place", "patient")
"""The near misses of the exam: a sentence that differs from the query in this alone."""


@dataclass(frozen=True)
class Exam:
    """Q questions: query [Q, 12]; answer [Q, 12], the same meaning said anew; near: kind -> [Q, 12], near misses.

    same [Q, 7 Q]: which of all answers and near misses mean what the query means (a near miss of another may).
    left, right [P, 12] and shared [P]: pairs of sentences with so many of six factors in common.
    Every sentence has a style of its own, so that a third of the names agree by chance, whatever is said.
    """

    query: Tensor
    answer: Tensor
    near: dict[str, Tensor]
    same: Tensor
    left: Tensor
    right: Tensor
    shared: Tensor

    def __call__(self, features: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """What the cosines of features(ids [N, 12]) -> [N, D] get right.

        find: share of queries whose nearest of all Q answers and 6 Q near misses has the meaning (chance: same.mean());
        one of NEAR: share in which the answer is nearer than this near miss (chance 1/2; equal counts half);
        likeness: Spearman correlation between cosine and the number of factors in common;
        cosine: mean cosine of two sentences drawn at random (0: all directions, 1: one).
        """
        texts = [self.query, self.answer, *self.near.values(), self.left, self.right]
        unit = F.normalize(features(torch.cat(texts)).double(), dim=1)
        query, answer, *rest = unit.split([len(t) for t in texts])
        *near, left, right = rest
        best = (query @ torch.cat([answer, *near]).T).argmax(dim=1)
        own = (query * answer).sum(dim=1)
        told = {kind: _above(own, (query * z).sum(dim=1)) for kind, z in zip(self.near, near, strict=True)}
        mean = query.mean(dim=0).square().sum() * len(query)
        return {
            "find": float(self.same.gather(1, best[:, None]).double().mean()),
            **told,
            "likeness": spearman((left * right).sum(dim=1), self.shared),
            "cosine": float((mean - 1) / (len(query) - 1)),
        }


def _above(a: Tensor, b: Tensor, eps: float = 1e-9) -> float:
    return float(((a > b + eps).double() + 0.5 * ((a - b).abs() <= eps)).mean())


def spearman(a: Tensor, b: Tensor) -> float:
    """The correlation of ranks of a [N] and b [N], ties averaged; 0 where one of them is constant (scipy)."""
    from scipy.stats import rankdata

    x, y = (torch.from_numpy(rankdata(v.numpy().round(9))) for v in (a.double(), b.double()))
    x, y = x - x.mean(), y - y.mean()
    length = x.norm() * y.norm()
    return float(x @ y / length) if length > 0 else 0.0


def exam(n: int = 250, *, seed: int = 0) -> Exam:
    """n different questions and 4 n pairs, drawn; seeds of documents and exams never meet.

    Raises InputError unless 2 <= n <= 400.
    """
    if not 2 <= n <= 400:
        raise InputError(f"exam() needs 2 <= n <= 400, not {n!r}.")
    g = torch.Generator().manual_seed(10**6 + seed)
    every = torch.unique(meanings(20 * n, g), dim=0)
    meaning = every[torch.randperm(len(every), generator=g)[:n]]
    left, fresh = meanings(4 * n, g), meanings(4 * n, g)
    keep = torch.rand(4 * n, len(FACTORS), generator=g) < torch.rand(4 * n, 1, generator=g)
    keep[:, 1] = keep[:, 0]  # both persons or none, so that they stay two
    right = torch.where(keep, left, fresh)

    def said(meaning):
        return say(meaning, styles(len(meaning), g))

    missed = {kind: change(meaning, kind, g) for kind in NEAR}
    near = {kind: said(other) for kind, other in missed.items()}
    same = (meaning[:, None] == torch.cat([meaning, *missed.values()])).all(dim=2)
    shared = (left == right).sum(dim=1)
    return Exam(said(meaning), said(meaning), near, same, said(left), said(right), shared)
