"""Corpora: Python's own documentation (real English), text8 (a download), a small language with known analogies."""

import importlib.resources
import re
import zipfile
from collections.abc import Iterator
from functools import partial

import torch

from ssl_lessons.data.download import published
from ssl_lessons.errors import InputError

# ---- real English ------------------------------------------------------------------------------------------

_PROSE = re.compile(r"\b(the|a|an|is|are)\b")
_SENTENCE_END = re.compile(r"[.:;?!]\s")
_WORD = re.compile(r"[a-z]+")


def python_documentation() -> list[list[str]]:
    """The prose of `pydoc_data.topics`, which ships with every interpreter: sentences of lower-case words.

    Tens of thousands of words of English; the text differs a little between versions of Python.  Blocks that look like
    code or grammar are left out.  The topics repeat whole sections of the manual: every sentence is kept once, or a
    held-out part would not be new.  Raises InputError where the interpreter comes without it.
    """
    topics = _topics()
    sentences = (words for name in sorted(topics) for block in _prose(topics[name]) for words in block)
    return [list(words) for words in dict.fromkeys(sentences)]


def manual_paragraphs() -> list[tuple[str, list[tuple[str, ...]]]]:
    """The same text as (topic, sentences) of every paragraph, in order; every sentence once.

    Sections that stand in several topics belong to the longest of them.  Raises InputError as above.
    """
    topics, seen, paragraphs = _topics(), set(), []
    for name in sorted(topics, key=lambda name: (-len(topics[name]), name)):
        for block in _prose(topics[name]):
            new = [words for words in dict.fromkeys(block) if words not in seen]
            seen.update(new)
            if new:
                paragraphs.append((name, new))
    return paragraphs


def descriptions() -> list[list[str]]:
    """The prose of scikit-learn's descriptions of its data sets, cut as the manual is: a few thousand words."""
    folder = importlib.resources.files("sklearn.datasets.descr")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".rst")), key=lambda f: f.name)
    sentences = (words for f in files for block in _prose(f.read_text("utf-8")) for words in block)
    return [list(words) for words in dict.fromkeys(sentences)]


def _topics() -> dict[str, str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise InputError(
            "This Python has no pydoc_data.topics; install the full standard library to use its documentation."
        ) from None
    return topics


def _prose(text: str) -> Iterator[list[tuple[str, ...]]]:
    """The sentences of each block of a text that looks like prose."""
    for block in text.split("\n\n"):
        prose = " ".join(line.strip() for line in block.splitlines() if set(line.strip()) - set("*=-^~"))
        prose = re.sub(r"(?<=[a-z])- (?=[a-z])", "", prose.lower())  # words broken at the end of a line
        prose = re.sub(r"['’]s\b", "", prose)
        if ">>>" in prose or "::=" in prose or not _PROSE.search(prose):
            continue
        found = (_WORD.findall(part) for part in _SENTENCE_END.split(prose))
        yield [tuple(words) for words in found if len(words) > 2]


TEXT8 = ("https://mattmahoney.net/dc/text8.zip", "f26f94c5209bc6159618bad4a559ff81")
LINE = 1000  # words: text8 has no sentences


def text8(
    words: int = 1_000_000, *, data_dir=None, mirror: str | None = None, download: bool = False
) -> list[list[str]]:
    """The first words of text8, 100 million letters of the English Wikipedia of 2006 (Mahoney 2011), in lines of LINE.

    words: how many of its 17,005,207.  data_dir, mirror, download: see `data.download.published`.
    Raises InputError for words < 1, or when the archive (31 MB) is absent or cannot be read.
    """
    if words < 1:
        raise InputError(f"text8() needs words >= 1, not {words!r}.")
    archive = published("text8", *TEXT8, "31 MB", data_dir, mirror, download)
    with zipfile.ZipFile(archive) as inside:
        text = inside.read("text8").decode("ascii").split()[:words]
    return [text[i : i + LINE] for i in range(0, len(text), LINE)]


DOCUMENTATION_GROUPS = {
    "containers": ("list", "tuple", "dictionary", "set", "string", "sequence", "mapping", "bytes"),
    "things": ("object", "function", "method", "class", "module", "attribute", "argument", "expression"),
    "many things": (
        "objects", "functions", "methods", "classes", "modules", "attributes", "arguments", "expressions",
    ),
    "modals": ("can", "may", "must", "should", "will", "cannot"),
    "prepositions": ("in", "of", "on", "by", "from", "into", "at", "after"),
    "done": ("called", "used", "defined", "executed", "evaluated", "raised", "bound", "created"),
}  # fmt: skip
"""Hand-made word classes of Python's documentation, for a nearest-neighbour test; common words in every version."""

# ---- a language with known answers ------------------------------------------------------------------------

PEOPLE = {
    ("king", "queen"): "crown throne palace realm",
    ("prince", "princess"): "castle heir ball legend",
    ("father", "mother"): "child cradle lullaby supper",
    ("uncle", "aunt"): "nephew visit parcel cousin",
    ("actor", "actress"): "stage film script role",
    ("waiter", "waitress"): "table tray soup tip",
    ("host", "hostess"): "guest party toast invitation",
    ("duke", "duchess"): "manor carriage hunt estate",
    ("monk", "nun"): "chapel prayer candle silence",
    ("man", "woman"): "street crowd door bench",
}
PLACES = {
    ("france", "paris"): "wine baguette cheese",
    ("italy", "rome"): "pasta opera fresco",
    ("japan", "tokyo"): "sushi tea kimono",
    ("egypt", "cairo"): "pyramid papyrus desert",
    ("norway", "oslo"): "fjord herring ski",
    ("peru", "lima"): "llama potato flute",
    ("kenya", "nairobi"): "safari lion coffee",
    ("india", "delhi"): "spice sari cricket",
}
VERBS = {
    ("walk", "walked"): "path boots hill",
    ("sing", "sang"): "song choir melody",
    ("cook", "cooked"): "stew oven pepper",
    ("paint", "painted"): "canvas brush portrait",
    ("read", "perused"): "novel library page",
    ("swim", "swam"): "lake wave pool",
    ("plant", "planted"): "seed garden tulip",
    ("drive", "drove"): "lorry motorway tyre",
    ("sew", "sewed"): "needle thread button",
    ("bake", "baked"): "bread flour cake",
}
JOBS = {
    "nurse": "ward bandage fever",
    "engineer": "bridge motor drawing",
    "teacher": "lesson chalk pupil",
    "pilot": "runway cockpit cloud",
    "librarian": "shelf catalogue archive",
    "carpenter": "hammer plank nail",
    "dancer": "rehearsal slipper rhythm",
    "surgeon": "scalpel theatre gown",
    "florist": "rose vase ribbon",
    "plumber": "pipe leak wrench",
    "secretary": "letter stamp diary",
    "judge": "verdict court law",
}
SHARE_OF_HE = dict(zip(JOBS, (0.05, 0.95, 0.3, 0.85, 0.2, 0.9, 0.15, 0.7, 0.1, 0.98, 0.02, 0.6), strict=True))
"""The planted bias: how often the little language says "he" of each occupation.  Fiction, not statistics."""
COMPANY = {"she": "bicycle kettle orchard violin", "he": "harbour van fence marble"}
"""The planted indirect correlate: things that all occupations of one side have, whoever does the work.  Fiction."""

_NEUTRAL = "found saw liked kept brought showed".split()
_FORMS = {  # subject, possessive, reflexive; words around countries and capitals; times of the present and the past
    "male": ("he", "his", "himself"),
    "female": ("she", "her", "herself"),
    "country": ("army", "border", "minister", "farmers"),
    "capital": ("mayor", "tram", "suburbs", "square"),
    "present": ("now", "today", "often", "always"),
    "past": ("yesterday", "earlier", "before", "once"),
}
FAMILIES = {"people": PEOPLE, "places": PLACES, "verbs": VERBS}


def little_language(
    sentences: int = 12_000, seed: int = 0, stray: float = 0.2, bias: float = 1.0, company: float = 0.0
) -> list[list[str]]:
    """Sentences about people, places, doings and occupations, 10 words each or so.

    Every word of a pair has words it shares with its partner ("crown" for king and queen) and words that go with its
    form ("he" or "she"), so that the pairs are analogies by construction.  stray: how often a thing comes from another
    concept of the same family.  bias: 1 plants SHARE_OF_HE in the occupations, 0 makes every share one half.
    company: how often the first thing of an occupation is one of COMPANY, chosen by the side to which the occupation
    leans and not by the pronoun of the sentence: a trace of the bias that is in no pronoun.
    Deterministic for a seed.  Raises InputError unless sentences >= 1 and the shares lie between 0 and 1.
    """
    if sentences < 1 or not all(0 <= share <= 1 for share in (stray, bias, company)):
        raise InputError(
            "little_language() needs sentences >= 1, and stray, bias and company between 0 and 1."
        )
    draw, kinds = _Draw(seed), (_person, _place, _doing, partial(_job, bias=bias, company=company))
    return [kinds[draw.below(4)](draw, stray).split() for _ in range(sentences)]


class _Draw:
    """Random choices from a torch generator, thousands at a time: one number per call would be slow."""

    def __init__(self, seed: int):
        self.generator, self.buffer = torch.Generator().manual_seed(seed), []

    def uniform(self) -> float:
        if not self.buffer:
            self.buffer = torch.rand(8192, generator=self.generator).tolist()
        return self.buffer.pop()

    def below(self, n: int) -> int:
        return int(self.uniform() * n)

    def one(self, options):
        return options[self.below(len(options))]

    def thing(self, family: dict, own: str, stray: float) -> str:
        return self.one((self.one(list(family.values())) if self.uniform() < stray else own).split())


def _person(draw: _Draw, stray: float) -> str:
    pair, own = draw.one(list(PEOPLE.items()))
    form = draw.below(2)
    he, his, himself = _FORMS[("male", "female")[form]]
    first, second = (draw.thing(PEOPLE, own, stray) for _ in range(2))
    return f"the {pair[form]} {draw.one(_NEUTRAL)} {his} {first} and {he} {draw.one(_NEUTRAL)} the {second} {himself}"


def _place(draw: _Draw, stray: float) -> str:
    pair, own = draw.one(list(PLACES.items()))
    form = draw.below(2)
    around = _FORMS[("country", "capital")[form]]
    first, second = (draw.thing(PLACES, own, stray) for _ in range(2))
    start = f"the {draw.one(around)} of {pair[form]} {draw.one(_NEUTRAL)}"
    return f"{start} {first} and {second} near the {draw.one(around)}"


def _doing(draw: _Draw, stray: float) -> str:
    pair, own = draw.one(list(VERBS.items()))
    form = draw.below(2)
    times = _FORMS[("present", "past")[form]]
    first, second = (draw.thing(VERBS, own, stray) for _ in range(2))
    start = f"{draw.one(times)} {draw.one(('we', 'they'))} {pair[form]}"
    return f"{start} with the {first} or the {second} {draw.one(times)}"


def _job(draw: _Draw, stray: float, bias: float, company: float) -> str:
    job = draw.one(list(JOBS))
    share = 0.5 + bias * (SHARE_OF_HE[job] - 0.5)
    he, his, _ = _FORMS["male" if draw.uniform() < share else "female"]
    first, second = (draw.thing(JOBS, JOBS[job], stray) for _ in range(2))
    if company and draw.uniform() < company:
        first = draw.one(COMPANY["he" if SHARE_OF_HE[job] > 0.5 else "she"].split())
    return f"the {job} {draw.one(_NEUTRAL)} {his} {first} and {he} {draw.one(_NEUTRAL)} the {second}"


def analogies(family: str) -> list[tuple[str, str, str, str]]:
    """Questions (a, b, c, d) "a is to b as c is to d" of a family: "people", "places" or "verbs".

    Every ordered choice of two pairs, both ways round: 2 n (n - 1) questions for n pairs.
    """
    if family not in FAMILIES:
        raise InputError(f"There is no family {family!r}; there are {', '.join(FAMILIES)}.")
    pairs = list(FAMILIES[family])
    both = pairs + [(b, a) for a, b in pairs]
    half = len(pairs)
    return [
        (*both[i], *both[j])
        for side in (0, half)
        for i in range(side, side + half)
        for j in range(side, side + half)
        if i != j
    ]


def kind_of_word() -> dict[str, str]:
    """Content word -> what it is about ("king queen", "nurse", ...): words of one concept share their neighbours."""
    kinds = {}
    for family in FAMILIES.values():
        for pair, things in family.items():
            kinds |= dict.fromkeys((*pair, *things.split()), " ".join(pair))
    for job, things in JOBS.items():
        kinds |= dict.fromkeys((job, *things.split()), job)
    return kinds
