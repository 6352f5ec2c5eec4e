"""Decks: what is chosen, how it is cut, and in a real browser that nothing is fetched and nothing overflows."""

import json
import re

import pytest
import test_site

from ssl_lessons.book import files
from ssl_lessons.book.bundled import bundled
from ssl_lessons.book.slides import choose, deck, fit, text
from ssl_lessons.errors import InputError

code, chapter, PICTURE, FRAMES = test_site.code, test_site.chapter, test_site.PICTURE, test_site.FRAMES
axe, tab = test_site.axe, test_site.tab  # fixtures
MEASURED = ("13", "20b", "26d")  # chapters of the book whose every slide is measured
TITLE = """# 00 · What is a dot?

[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/x.ipynb)

**After this chapter you can**

- draw a dot;
- tell $x^2$ from `x`.

**You need** nothing. **Time**: 3 minutes to read, about a minute to run."""
PUZZLE = """## The puzzle: where is it?

A dot lies on the page, and you are to say where it is without looking. This sentence is for the speaker alone.

> **Predict before you go on.** How often are you right (a guess: 10 %)?

<details><summary>Hint</summary>Look at the secret.</details>"""
WRONG = r"""## What goes wrong: two dots

The first sentence says what the paragraph is about, et al. included. The second is left out. It leads to

$$ a = b, \qquad c = d . $$

### Play: the size

Here is a slider for you to play with. **What happens to a small dot when it becomes smaller than one
pixel of the screen?**"""
END = """## Exercises

### 1 · Count the dots (••, 8 minutes)
How many?"""
CLAIM = (
    '<table><tr><th scope="row">Statement</th><td>Dots help.</td></tr>'
    '<tr><th scope="row">Drawn world</th><td>holds here</td></tr></table>'
)


def words(body):
    return {"cell_type": "markdown", "source": body, "metadata": {}, "id": f"m{abs(hash(body)) % 10**6}"}


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A book of one chapter with everything that a deck shows or leaves out."""
    folder = tmp_path_factory.mktemp("slides") / "chapters"
    (folder / "frames" / "00_dots").mkdir(parents=True)
    (folder / "frames" / "00_dots" / "0.json").write_text(json.dumps(FRAMES))
    row = "<tr><td>dot</td><td>1</td></tr>"
    head = "<thead><tr><th>a</th><th>b</th></tr></thead>"
    table = f"<table><caption>Dots</caption>{head}<tbody>{30 * row}</tbody></table>"
    claim = code("book.claim()", CLAIM)
    claim["outputs"][0]["data"][files.CLAIM_MIME] = {}
    printed = code("count()")
    printed["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": "100%|███| 9/9\nthree dots in all\n"}
    ]
    cells = [
        code('device = book.setup("00")'),
        words(PUZZLE),
        code("draw()", PICTURE, tags=["hide-input"]),
        code('def idea(x):\n    """Half."""\n    return x / 2'),
        code("state = 1\n\n\ndef helper(x):\n    return state"),
        printed,
        code("rows()", table),
        words(WRONG),
        code("explore()", '<div class="ssl-frames" data-widget="0"></div>' + PICTURE),
        words(END),
        code("def count(x):\n    return NOT_ATTEMPTED"),
        words("## Claims, tested"),
        claim,
        words(
            "## Where it comes from\n\nFrom [Euclid](https://example.org/dots).\n\n## Solutions\n\nThe secret is 3."
        ),
    ]
    chapter(folder, "00_dots", TITLE, *cells)
    return folder


@pytest.fixture(scope="module")
def chosen(book):
    made = json.loads((book / "00_dots.ipynb").read_text())
    return choose.slides(made, book / "frames" / "00_dots")


def body(slides):
    return "\n".join(block.markup for slide in slides for block in slide.blocks)


# ---- pure --------------------------------------------------------------------------------------------------


def test_a_full_stop_inside_a_formula_code_or_an_abbreviation_ends_no_sentence():
    said = "Take $x$. By Lee et al. (2020) `a. B` holds. See [Fig. 3. Here](https://x.org/A.B). **Why? Because.**"
    assert text.sentences(said) == [
        "Take $x$.", "By Lee et al. (2020) `a. B` holds.", "See [Fig. 3. Here](https://x.org/A.B).", "Why?", "Because."
    ]  # fmt: skip


def test_a_number_at_the_beginning_of_a_line_begins_no_item():
    assert text.items("- One at\n  256. Two.\n- Three") == ["One at 256. Two.", "Three"]
    assert text.items("1. One\n   256. Two\n2. Three") == ["One 256. Two", "Three"]


def test_formulas_and_fences_are_paragraphs_of_their_own_and_details_are_none():
    found = text.paragraphs("So\n$$a$$\nand\n\n<details><summary>H</summary>x</details>\n\n```\na\n\nb\n```")
    assert found == ["So", "$$a$$", "and", "```\na\n\nb\n```"]


def test_a_short_question_keeps_the_sentence_before_it():
    assert text.questions("> Move it to\n> the end. Why?\n\nNothing here.") == ["Move it to the end. Why?"]
    long = "What happens to the loss when every one of the negatives is the same picture as the anchor?"
    assert text.questions(f"Look. **{long}**") == [long]


def test_the_rule_shows_ideas_and_leaves_out_set_up_hints_exercises_and_solutions(chosen):
    shown = body(chosen)
    for left_out in ("book.setup", "secret", "NOT_ATTEMPTED", "helper", "speaker alone", "left out", "%|"):
        assert left_out not in shown, left_out
    for there in (
        "a dot",
        "idea",
        "three dots in all",
        "Predict",
        r"\[a = b,",
        "It leads to",
        "1 · Count the dots ••",
    ):
        assert there in shown, there
    assert [s.title for s in chosen][-2:] == ["Exercises", "Claims, tested"]
    assert [s.kind for s in chosen if "goes wrong" in s.title] == ["wrong"]
    assert "Dots help." in body(chosen[-1:]) and "holds here" in body(chosen[-1:])


def test_the_speaker_has_whole_paragraphs_and_what_to_ask_before_the_slider(chosen):
    notes = "\n".join(slide.notes for slide in chosen)
    assert "for the speaker alone" in notes
    [slider] = [slide for slide in chosen if "ssl-frames" in body([slide])]
    assert "**Ask before the slider:** **What" not in slider.notes
    assert "Ask before the slider:** What happens to a small dot" in slider.notes


def test_a_long_table_is_cut_into_slides_that_repeat_its_headings(chosen):
    tables = re.findall(r"<table.*?</table>", body(chosen[:-1]), re.S)
    assert len(tables) > 1 and sum(t.count("<td>dot") for t in tables) == 30
    assert all("<th>a</th>" in t and "Dots" in t for t in tables)


def test_no_slide_is_planned_higher_than_its_room():
    blocks = [(fit.text_block("word " * 60), str(n)) for n in range(12)]
    made = fit.packed("plain", "A title", blocks, choose.Slide)
    assert len(made) > 1 and [s.notes for s in made][0].startswith("0")
    for slide in made:
        assert sum(b.height + fit.GAP for b in slide.blocks) + fit.TITLE_LINE + fit.GAP <= fit.ROOM


def test_what_leads_to_a_formula_stays_with_it():
    lead, formula = fit.text_block("It leads to", keep=True), fit.equations("$$a$$")[0]
    filling = [(fit.text_block("word " * 200), "")]
    made = fit.packed("plain", "T", [*filling, (lead, ""), (formula, "")], choose.Slide)
    assert made[-1].blocks[0] == lead or len(made) == 1


def test_a_wide_formula_is_set_in_lines_and_a_matrix_is_not_torn():
    assert len(fit.equations("$$" + 40 * "a+" + "b, \\qquad c = d$$")) == 2
    assert len(fit.equations(r"$$\begin{pmatrix}" + 40 * "a+" + r" \qquad b\end{pmatrix}$$")) == 1


def test_a_missing_package_and_a_foreign_folder_are_named(book, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no-such-package: run this with `uv run --group site"):
        bundled("no-such-package", "reveal.js")
    monkeypatch.setattr(deck, "require", lambda names: None)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="holds something that is no slides"):
        deck.write((), tmp_path, book)


# ---- files and browser -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def decks(book, tmp_path_factory):
    out = tmp_path_factory.mktemp("decks")
    try:
        deck.write((), out / "toy", book)
        deck.write(MEASURED, out / "book")
    except InputError as error:
        if "--group site" in str(error):
            pytest.skip(str(error))
        raise
    return out


def test_a_deck_loads_only_what_lies_beside_it(decks):
    for path in decks.glob("*/*.html"):
        page = path.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|link|iframe)\b[^>]*?(?:src|href)="([^"]*)"', page)
        for address in loaded:
            assert address.startswith("data:") or (path.parent / address).is_file(), address
    assert "MIT" in (decks / "toy" / "_deck" / "reveal-LICENSE.txt").read_text() or (
        "Permission is hereby granted" in (decks / "toy" / "_deck" / "reveal-LICENSE.txt").read_text()
    )


def test_links_lead_to_the_repository_and_the_index_lists_the_decks(decks):
    page = (decks / "toy" / "00_dots.html").read_text(encoding="utf-8")
    assert f'{files.repository()}/blob/main/chapters/00_dots.ipynb"' in page
    assert "https://colab.research.google.com/x.ipynb" in page and "https://example.org/dots" in page
    assert (decks / "book" / "index.html").read_text(encoding="utf-8").count("<li>") == len(MEASURED)


def open_deck(tab, path, query=""):
    tab.command(
        "Emulation.setDeviceMetricsOverride", width=1280, height=720, deviceScaleFactor=1, mobile=False
    )
    tab.command("Page.navigate", url="about:blank")  # the page before may have been the same
    tab.until("location.href === 'about:blank'")
    tab.command("Page.navigate", url=path.as_uri() + query)
    tab.until(
        f"location.pathname.endsWith({json.dumps(path.name)}) && document.documentElement.dataset.ready"
    )


MEASURE = """(() => {
  const wrong = [];
  for (let i = 0; i < Reveal.getTotalSlides(); i++) {
    Reveal.slide(i);
    const slide = Reveal.getCurrentSlide(), box = slide.getBoundingClientRect(), scale = box.height / 720;
    const say = (what) => wrong.push(`slide ${i + 1}, ${slide.firstElementChild.textContent}: ${what}`);
    if (slide.scrollHeight > 720) say(`${slide.scrollHeight} pixels high`);
    for (const e of slide.querySelectorAll("*")) {
      const r = e.getBoundingClientRect();
      if (!r.width || e.closest("aside, script, mjx-assistive-mml, svg *")) continue;
      if ((r.bottom - box.top) / scale > 700) say(`${e.tagName} ends below`);
      if ((r.right - box.left) / scale > 1262) say(`${e.tagName} ends to the right`);
      const texts = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
      if (texts && parseFloat(getComputedStyle(e).fontSize) < 20) say(`${e.tagName} in small letters`);
    }
  }
  return wrong;
})()"""


def test_in_the_browser_nothing_overflows_is_small_or_is_fetched(decks, tab):
    for path in [*sorted((decks / "book").glob("[0-9]*.html")), decks / "toy" / "00_dots.html"]:
        open_deck(tab, path)
        slides = path.read_text(encoding="utf-8").count("<section")
        assert tab.js("Reveal.getTotalSlides()") == slides > 6
        assert tab.js(MEASURE) == [], path.name
    assert test_site.asked_elsewhere(tab) == []


def test_a_slider_on_a_slide_follows_the_keyboard_and_the_deck_stays_where_it_is(decks, tab):
    open_deck(tab, decks / "toy" / "00_dots.html")
    place = "document.querySelector('.ssl-frames')"
    tab.js(f"Reveal.slide(Reveal.getSlides().indexOf({place}.closest('section')))")
    at = tab.js("Reveal.getIndices().h")
    tab.js(f"{place}.querySelector('input').focus()")
    tab.press("ArrowRight")
    tab.until(f"{place}.querySelector('img').alt === 'dot 2 0'")
    assert tab.js("Reveal.getIndices().h") == at
    tab.js("document.activeElement.blur()")
    tab.press("ArrowRight")
    tab.until(f"Reveal.getIndices().h === {at + 1}")


def test_s_opens_the_speaker_s_window_which_follows_the_slides(decks, tab):
    open_deck(tab, decks / "toy" / "00_dots.html")
    tab.js("Reveal.slide(Reveal.getSlides().findIndex(s => s.textContent.includes('the speaker alone')))")
    tab.press("s")
    speaker = tab.another("Speaker View")
    notes = "document.querySelector('.speaker-controls-notes:not(.hidden) .value')?.innerText"
    try:
        speaker.until(f"{notes}?.includes('This sentence is for the speaker alone.')")
        tab.js("Reveal.slide(Reveal.getSlides().findIndex(s => s.querySelector('.ssl-frames')))")
        speaker.until(f"{notes}?.includes('Ask before the slider')")
    finally:
        speaker.js("window.close()")
        speaker.close()


def test_the_print_view_has_a_page_per_slide(decks, tab):
    open_deck(tab, decks / "toy" / "00_dots.html", "?print-pdf")
    slides = (decks / "toy" / "00_dots.html").read_text(encoding="utf-8").count("<section")
    tab.until(f"document.querySelectorAll('.pdf-page').length === {slides}")
    assert tab.js("[...document.querySelectorAll('.pdf-page > section')].every(s => s.scrollHeight <= 720)")


def test_axe_finds_nothing_on_the_slides_in_light_and_dark(decks, tab, axe):
    found = []
    for path in (decks / "toy" / "00_dots.html", decks / "toy" / "index.html"):
        for scheme in ("light", "dark"):
            tab.command(
                "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
            )
            if path.stem == "index":
                test_site.show(tab, path)
            else:
                open_deck(tab, path)
            found += [
                f"{path.stem}, {scheme}: {one}" for one in test_site.violations(tab, axe, test_site.WCAG)
            ]
    assert found == []
