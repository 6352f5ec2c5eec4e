"""Statements of the literature beside what this book measured: the table data/claims.csv, and `claim`.

The table holds statement, source and rule of every claim; a chapter hands in its runs, and `evaluation.evidence` says
what they mean.
"""

import csv
import functools
import html
import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ssl_lessons.book import plots
from ssl_lessons.book.files import CLAIM_MIME, data_file
from ssl_lessons.errors import InputError
from ssl_lessons.evaluation.evidence import UNSURE, Runs, Verdict, judge

PLACES = {
    "page": "the web page with the build",
    "slides": "the tutorial's slides",
    "overview": "the overview",
}
WORLDS = ("drawn", "photographs")
SECONDS = ("seconds", "cpu_seconds", "processor_seconds")  # what records call the time of a run
SAYS = {
    "higher": "{treatment}: higher than {control}, by at least {margin}",
    "lower": "{treatment}: lower than {control}, by at least {margin}",
    "no_worse": "{treatment}: less than {margin} below {control}",
    "no_higher": "{treatment}: less than {margin} above {control}",
    "correlates": "{treatment} and {control}: rank correlation of at least {margin}",
}


@dataclass(frozen=True)
class Claim:
    """One row of data/claims.csv; data/README.md says what the columns mean."""

    id: str
    statement: str
    source: str
    place: str
    treatment: str
    control: str
    quantity: str
    rule: str
    margin: float
    learns: str
    scope: str
    status: str
    note: str

    def comparison(self) -> str:
        """The rule in words."""
        words = SAYS[self.rule].format(
            treatment=self.treatment, control=self.control, margin=f"{self.margin:g}"
        )
        return f"{words} ({self.quantity})"


@functools.cache
def claims() -> dict[str, Claim]:
    """Every row of the table by its id, withdrawn ones included."""
    with open(data_file("claims.csv"), newline="", encoding="utf-8") as file:
        rows = [row | {"margin": float(row["margin"] or 0)} for row in csv.DictReader(file)]
    return {row["id"]: Claim(**row) for row in rows}


def verdicts(
    id: str, drawn: Runs | None = None, photographs: Runs | None = None, groups: Sequence | None = None
) -> dict[str, Verdict]:
    """The verdicts on a claim of the table in the drawn world and on photographs, {"drawn": ..., "photographs": ...}.

    Raises InputError for an id that the table lacks or has withdrawn, and for runs that cannot be compared.
    """
    row = claims().get(id)
    if row is None or row.status != "claim":
        raise InputError(
            f"{id} is {'withdrawn' if row else 'not'} in data/claims.csv: {row.note if row else 'add it'}"
        )
    worlds = {"drawn": drawn, "photographs": photographs}
    return {world: judge(runs, row.rule, row.margin, row.learns, groups) for world, runs in worlds.items()}


def claim(
    id: str,
    *,
    drawn: Runs | None = None,
    photographs: Runs | None = None,
    groups: Sequence | None = None,
) -> None:
    """Show a statement of the literature beside its verdicts in the drawn world and on photographs, and store them for
    the book-wide ledger.

    id: a row of data/claims.csv, which says what treatment and control are, by which rule and margin they are compared
    and which of them must have learned.  drawn, photographs: evidence.Runs of that world, None where nobody ran it;
    groups: for correlations, see evidence.correlation.  Raises InputError as `verdicts` does.
    """
    found, row = verdicts(id, drawn, photographs, groups), claims()[id]
    rows = [
        ("Statement", row.statement),
        ("Source", f"{PLACES.get(row.source) or _address(row.source)}, {row.place}"),
        ("Compared", row.comparison()),
        ("Drawn world", str(found["drawn"])),
        ("Photographs", str(found["photographs"])),
    ]
    _show(id, rows, {"id": id} | {world: asdict(verdict) for world, verdict in found.items()})


@dataclass(frozen=True)
class Judged:
    """What one chapter says of one claim: a verdict for each world, and the records that the chapter reads."""

    chapter: str
    claim: Claim
    verdicts: dict[str, Verdict]
    records: tuple[str, ...]


def judged() -> list[Judged]:
    """The book-wide ledger, as the saved notebooks hold it, in their order."""
    rows = json.loads(data_file("results/claims.json").read_text(encoding="utf-8"))
    return [
        Judged(
            row["chapter"],
            claims()[row["id"]],
            {world: Verdict(**row[world]) for world in WORLDS},
            tuple(row.get("records", ())),
        )
        for row in rows
    ]


@dataclass(frozen=True)
class Undecided:
    """A claim on which the runs of a world cannot tell.

    more: pairs still to run.  minutes: an estimate for them, two runs to a pair, each as long as the median run of the
    slowest record that the chapter reads; None where no record has times.
    """

    judged: Judged
    world: str
    more: int
    minutes: float | None


def undecided() -> list[Undecided]:
    """What the ledger could not decide, the cheapest first; those of unknown cost last, by pairs."""
    found = []
    for one in judged():
        for world, verdict in one.verdicts.items():
            if verdict.word == UNSURE:
                more = verdict.decide - verdict.n
                seconds = [s for name in one.records if (s := _seconds_per_run(name)) is not None]
                found.append(Undecided(one, world, more, 2 * more * max(seconds) / 60 if seconds else None))
    return sorted(found, key=lambda u: (u.minutes is None, u.minutes or 0, u.more))


@functools.cache
def _seconds_per_run(record: str) -> float | None:
    """The median time of the runs of a record, None where it notes no times."""
    rows = json.loads(data_file(f"results/{record}.json").read_text(encoding="utf-8"))["rows"]
    times = [row[key] for row in rows for key in SECONDS if isinstance(row.get(key), int | float)]
    return statistics.median(times) if times else None


def _address(key: str) -> str:
    """The link of a key of data/references.bib."""
    entry = re.search(
        rf"^@\w+\{{{re.escape(key)},.*?url = \{{([^}}]+)\}}",
        data_file("references.bib").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    if entry is None:
        raise InputError(f"data/references.bib has no entry {key!r}")
    return entry[1]


def _show(id: str, rows: list[tuple[str, str]], record: dict) -> None:
    text = "\n".join([f"Claim {id}", *(f"  {name}: {value}" for name, value in rows)])
    body = "\n".join(
        f'<tr><th scope="row" style="text-align: left">{name}</th>'
        f'<td style="text-align: left">{_linked(value)}</td></tr>'
        for name, value in rows
    )
    markup = f"<table>\n<caption>Claim {html.escape(id)}</caption>\n<tbody>\n{body}\n</tbody>\n</table>"
    if not plots.display_bundle({"text/html": markup, "text/plain": text, CLAIM_MIME: record}):
        print(text)


def _linked(text: str) -> str:
    return re.sub(
        r"https?://[^\s<>\"]+[^\s<>\".,;)]", lambda m: f'<a href="{m[0]}">{m[0]}</a>', html.escape(str(text))
    )
