"""Every system of `data/atlas.csv` that counts is alive: its place exists, and it stands there."""

import ast
import re
from pathlib import Path

import pytest

from ssl_lessons.book import atlas
from ssl_lessons.book.files import ROOT, find
from ssl_lessons.errors import InputError

ROWS = atlas.systems()
PLACES = {row["id"]: atlas.place(row["place"]) for row in ROWS}
CHAPTERS = {path.stem: path for path in find()}
SECTIONS = {name: atlas.sections(path) for name, path in CHAPTERS.items()}
IDLE = r"where-it-comes-from|further-reading|solutions|quiz|a-question|(two|three)-questions"  # names stand there, only


def plain(text: str) -> str:
    """Lower case, one blank for everything between words."""
    return re.sub(r"[\s_-]+", " ", text.lower())


def stands_in(words: str, text: str) -> bool:
    return re.search(r"(?<![a-z0-9])" + re.escape(plain(words).strip()), plain(text)) is not None


def own_names(name: str) -> list[str]:
    """The parts of a name between slashes or colons without what is in brackets, and abbreviations from there."""
    parts = re.split(r"\s+/\s+|:\s", re.sub(r"\s*\([^)]*\)", "", name))
    return [*parts, *re.findall(r"\(([A-Z][\w-]{2,})\)", name)]


def problem(row: dict, there: atlas.Place) -> str:
    """What is wrong with a place, "" if nothing: it is not there, it is idle, or the system is not in it."""
    if there.chapter:
        if there.anchor not in SECTIONS.get(there.chapter, {}):
            return f"there is no heading #{there.anchor} in {there.file}"
        if re.match(IDLE, there.anchor):
            return f"#{there.anchor} only names systems"
        text = SECTIONS[there.chapter][there.anchor]
        if not (
            any(mark in text for mark in ("```python", "$", "--parts")) or row["miniature"].startswith("no")
        ):
            return f"#{there.anchor} has neither code nor a formula, nor a command"
    elif not (ROOT / there.file).is_file():
        return f"there is no {there.file}"
    else:
        text = (ROOT / there.file).read_text(encoding="utf-8")
        if there.test and there.test not in {getattr(node, "name", "") for node in ast.parse(text).body}:
            return f"there is no {there.test} in {there.file}"
    names = [there.words] if there.words else own_names(row["name"])
    return "" if any(stands_in(name, text) for name in names) else f"none of {names} stands there"


@pytest.mark.parametrize("row", [row for row in ROWS if row["place"]], ids=lambda row: row["id"])
def test_a_system_stands_at_its_place(row):
    assert problem(row, PLACES[row["id"]]) == ""


def test_every_row_that_counts_is_alive():
    assert [row["id"] for row in ROWS if row["priority"] in "AB" and not PLACES[row["id"]]] == []


def test_what_is_no_place_is_told():
    some = next(row for row in ROWS if row["id"] == "nt-xent")

    def said(text: str) -> str:
        return problem(some, atlas.place(text))

    chapter = "chapters/13_from_nce_to_nt_xent.ipynb"
    assert said(some["place"]) == ""
    assert "no heading #nowhere" in said(f"{chapter}#nowhere")
    assert "only names systems" in said(f"{chapter}#where-it-comes-from-where-it-went")
    assert "none of ['a walrus'] stands there" in said(f"{some['place']} a walrus")
    assert "none of ['NT-Xent'] stands there" in said("tests/test_words.py::test_direct_bias_by_hand")
    assert "no test_nothing" in said("tests/test_words.py::test_nothing")
    assert "no benchmarks/nothing.py" in said("benchmarks/nothing.py")
    for wrong in (
        "13",
        f"{chapter}",
        "tests/test_words.py",
        f"{chapter}#Upper",
        "drafts/11_several_senses.py",
    ):
        with pytest.raises(InputError, match="is no place: write chapters/NAME.ipynb#heading"):
            atlas.place(wrong)


def test_sections_hold_what_is_below_them(tmp_path):
    path = tmp_path / "00_x.py"
    cells = (
        "# %% [markdown]\n# # 00 · X\n# ## One\n# text",
        "# %%\nrun()",
        "# %% [markdown]\n# ### 1 · Two (••)\n# more",
    )
    path.write_text("\n\n".join((*cells, "# %% [markdown]\n# ## Three\n# end\n")), encoding="utf-8")
    found = atlas.sections(path)
    assert list(found) == ["x", "one", "two", "three"]
    assert "run()" in found["one"] and "more" in found["one"] and "end" not in found["one"]
    assert "more" in found["two"] and "run()" not in found["two"]


def test_headings_of_a_chapter_have_ids_of_their_own():
    for path in CHAPTERS.values():
        ids = [
            atlas.anchor(h)
            for h in re.findall(r"^# #{1,4} (.*)$", Path(path).read_text(encoding="utf-8"), re.M)
        ]
        assert len(ids) == len(set(ids)), path.name
