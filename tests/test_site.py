"""The site of a small made-up book, built for real and opened from a folder in a real browser.

Over 400 lines: one site is built once for all of them.

The whole book is checked in the same way by  SSL_LESSONS_SITE=dist/site uv run --group site pytest tests/test_site.py
after  uv run --group site ssl-lessons site  (SSL_LESSONS_PATIENCE=900 on a busy machine: seconds for each step).
"""

import base64
import contextlib
import html
import json
import os
import re
import shutil
import subprocess
import tarfile
import urllib.parse
import urllib.request
import xml.etree.ElementTree
import zipfile
from pathlib import Path

import pytest

from ssl_lessons.book import atlas, frames
from ssl_lessons.book.bundled import bundled, require
from ssl_lessons.book.files import CHAPTERS, CLAIM_MIME, find
from ssl_lessons.book.site import api, build, instructors, outline, pages, source
from ssl_lessons.errors import InputError

AXE = "axe-core@4.14.1"  # the name of an npm package
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PICTURE = f'<img src="data:image/png;base64,{DOT}" alt="a dot" width="1">'
TITLE = """# 00 · What is a dot?

[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/x.ipynb)

**You need** nothing. **Time**: 3 minutes to read, about a minute to run."""
SECOND = """# 13 · Contrast

**You need** [chapter 00](00_dots.ipynb). **Time**: 4 minutes to read, half a minute to run.

[Chen et al., 2020](https://arxiv.org/abs/2002.05709) and [chapter 20](20_collapse.ipynb).

## 4 · A batch $k$ times as large: which `rate`, "mine" or Young's? (•••, 20 minutes)

<details><summary>Hint</summary>Take `log` of $x^2$.</details>"""


def code(text, *outputs, tags=()):
    made = [{"output_type": "display_data", "metadata": {}, "data": {"text/html": out}} for out in outputs]
    return {"cell_type": "code", "source": text, "metadata": {"tags": list(tags)}, "outputs": made} | {
        "execution_count": None,
        "id": f"c{abs(hash(text)) % 10**6}",
    }


def chapter(folder, name, title, *cells):
    text = {"cell_type": "markdown", "source": title, "metadata": {}, "id": "title"}
    head = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    made = {"cells": [text, *cells], "metadata": head, "nbformat": 4, "nbformat_minor": 5}
    (folder / f"{name}.py").write_text(f"# %% [markdown]\n# {title.splitlines()[0]}\n")
    (folder / f"{name}.ipynb").write_text(json.dumps(made))


FRAMES = {
    "controls": [
        {"name": "size", "label": "size of the dot", "values": ["small", "middle", "large"], "start": 1},
        {"name": "hue", "label": "hue", "values": ["red", "blue"], "start": 0},
    ],
    "mode": "one",
    "frames": {
        f"{i},{j}": {"src": f"data:image/png;base64,{DOT}", "alt": f"dot {i} {j}"}
        for i, j in [(0, 0), (1, 0), (2, 0), (1, 1)]
    },
}


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A book of two chapters: a picture, a folded cell, a slider, a claim, a table, formulas."""
    folder = tmp_path_factory.mktemp("book") / "chapters"
    (folder / "frames" / "00_dots").mkdir(parents=True)
    (folder / "frames" / "00_dots" / "0.json").write_text(json.dumps(FRAMES))
    table = "<table>\n<caption>Dots &amp; more</caption>\n<tr><th>a</th></tr>\n<tr><td>1</td></tr></table>"
    place = '<div class="ssl-frames" data-widget="0"></div>'
    cells = (
        code("draw()", PICTURE, tags=["hide-input"]),
        code("play()", PICTURE + place),
        code("rows()", table),
    )
    chapter(folder, "00_dots", TITLE, *cells)
    chapter(folder, "13_contrast", SECOND, code("sinkhorn()", "<p>Sinkhorn<br>balances $x$</p>"))
    return folder


@pytest.fixture(scope="module")
def site(book, tmp_path_factory):
    """The made-up book, or the site in $SSL_LESSONS_SITE."""
    if told := os.environ.get("SSL_LESSONS_SITE"):
        return Path(told).resolve()
    try:
        require(build.NEEDED)
    except InputError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("out") / "site"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "ROOMS", ("diagnostics", "evaluation", "losses", "models", "training", "views"))
        assert build.build((), out, epub=True, chapters=book) == []
    return out


real = pytest.mark.skipif("SSL_LESSONS_SITE" not in os.environ, reason="set SSL_LESSONS_SITE to a built site")
made_up = pytest.mark.skipif("SSL_LESSONS_SITE" in os.environ, reason="about the made-up book")


# ---- the sources: without Sphinx ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sources(book, tmp_path_factory):
    return source.write(tmp_path_factory.mktemp("sources") / "source", (), book)


def page(sources, name):
    return json.loads((sources / "chapters" / f"{name}.ipynb").read_text())["cells"]


def test_the_badge_becomes_a_link_and_a_paper_leads_to_the_references(sources):
    assert "[Open in Colab](https://colab" in page(sources, "00_dots")[0]["source"]
    assert "colab-badge" not in page(sources, "00_dots")[0]["source"]
    text = page(sources, "13_contrast")[0]["source"]
    assert '<a class="reference" href="../references.html#ref-chen2020simple">Chen et al., 2020</a>' in text


def test_a_chapter_that_is_not_in_the_site_is_linked_to_in_the_repository(sources):
    text = page(sources, "13_contrast")[0]["source"]
    assert "[chapter 00](00_dots.ipynb)" in text
    assert "/blob/main/chapters/20_collapse.ipynb)" in text


def test_what_details_hide_is_read_as_markdown(sources):
    assert "</summary>\n\nTake `log`" in page(sources, "13_contrast")[0]["source"]


def test_pictures_become_files_and_tables_get_a_box_that_the_keyboard_reaches(sources):
    _, drawn, _, table = page(sources, "00_dots")
    name = re.search(r'src="\.\./_static/(figures/\w+\.png)"', drawn["outputs"][0]["data"]["text/html"])[1]
    assert (sources / "_static" / name).read_bytes() == base64.b64decode(DOT)
    assert 'tabindex="0" aria-label="Dots &amp; more"' in table["outputs"][0]["data"]["text/html"]


def test_a_claim_leaves_no_data_behind():
    made = {"cells": [{"outputs": [{"data": {"text/html": "x", CLAIM_MIME: {"id": "C-1"}}}]}]}
    source._outputs(made, Path("none"), Path("none"), epub=False)
    assert made["cells"][0]["outputs"][0]["data"] == {"text/html": "x"}


def test_damaged_frames_are_named(tmp_path):
    (tmp_path / "0.json").write_text('{"controls": []}')
    with pytest.raises(InputError, match="no set of slider frames"):
        frames.markup(tmp_path, "0")


def test_a_chapter_without_a_notebook_is_named(tmp_path):
    (tmp_path / "05_missing.py").write_text("# %% [markdown]\n# # 05 · Missing\n")
    with pytest.raises(InputError, match="05_missing.ipynb is missing: run `ssl-lessons build 05`"):
        outline.outline((), tmp_path, ".html")


def test_without_its_packages_the_command_that_brings_them_is_told():
    for ask in (lambda: bundled("no-such-package", "x.js"), lambda: require(["no-such-package"])):
        with pytest.raises(InputError, match="need no-such-package: run this with `uv run --group site"):
            ask()


def test_a_folder_that_holds_something_else_is_left_alone(book, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "require", lambda names: None)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="holds something that is no site"):
        build.build((), tmp_path, chapters=book)
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_every_term_of_the_glossary_leads_to_a_chapter_that_is_there():
    numbers = {path.stem.partition("_")[0] for path in find()}
    rows = pages._rows("glossary.csv")
    assert 60 <= len(rows) <= 90 and len({row["term"].lower() for row in rows}) == len(rows)
    for row in rows:
        assert set(row["chapter"].split()) <= numbers and row["sentence"].endswith("."), row["term"]


def test_every_claim_and_system_has_its_row(book):
    known = outline.outline((), book, ".html")
    ledger = pages._ledger(known)
    for claim in pages.claims().values():
        assert f'id="{claim.id}"' in ledger
    assert pages._atlas(known).count("<tr data-kind=") == len(pages.systems())


ALIVE = {
    "chapters/13_contrast.ipynb#a-batch NT-Xent": 'href="chapters/13_contrast.html#a-batch">13<',
    "chapters/20_collapse.ipynb#the-ladder": '/blob/main/chapters/20_collapse.ipynb">20<',
    "tests/test_words.py::test_pmi_against_loops": '/blob/main/tests/test_words.py">test_words.py<',
    "benchmarks/families.py": '/blob/main/benchmarks/families.py">families.py<',
}


@pytest.mark.parametrize("place", ALIVE)
def test_a_system_of_the_atlas_leads_to_its_place(book, place):
    known = outline.outline((), book, ".html")
    assert ALIVE[place] in pages._alive(known, {"place": place, "chapter": "13"})


def test_the_atlas_says_which_systems_have_no_place(book):
    known = outline.outline((), book, ".html")
    assert pages._alive(known, {"place": "", "chapter": "27"}) == "27 (planned)"
    assert pages._alive(known, {"place": "", "chapter": "13"}) == "not yet"
    assert "data cards" in pages._alive(known, {"place": "", "chapter": "cards"})
    with pytest.raises(InputError, match="is no place"):
        pages._alive(known, {"place": "chapter 13", "chapter": "13"})


def test_every_place_of_the_atlas_in_a_chapter_is_a_link_into_the_site():
    known = outline.outline((), CHAPTERS, ".html")
    page = pages._atlas(known)
    for row in pages.systems():
        if (there := pages.place(row["place"])) and there.chapter:
            assert f'<a href="chapters/{there.chapter}.html#{there.anchor}">' in page, row["id"]


def test_the_map_draws_what_the_title_cells_say(book):
    made = pages._map(outline.outline((), book, ".html"))
    assert "…" not in made  # axe: a link's name holds what is seen
    assert made.count('class="box"') == 2 and made.count('class="way"') == 1
    assert 'Leads to <a href="chapters/13_contrast.html">13</a>' in made


def test_weeks_are_as_even_as_the_order_allows():
    assert instructors.weeks([5, 1, 1, 1, 4], 3) == [[0], [1, 2, 3], [4]]
    assert instructors.weeks([2, 2, 2], 5) == [[0], [1], [2]] and instructors.weeks([], 3) == []


def test_what_checkers_call_wrong_is_read_from_their_source():
    found = instructors.named_mistakes("ch13", "ch13.check_candidates_needed(candidates_needed)")
    assert "the loss is left out: log K alone is the ceiling" in found and len(found) > 4
    judge = instructors.named_mistakes("ch13", "ch13.check_judge(judge)")
    assert "…: …" not in judge and any("True or False" in message for message in judge)


def test_the_instructor_s_page_says_what_the_chapters_say():
    known = outline.outline((), CHAPTERS, ".html")
    page = pages.all_pages(known, CHAPTERS)["instructors.md"]
    assert "<!--" not in page and "badge.svg" not in page
    asked = page.partition("## What to ask before each slider")[2].partition("## Wrong answers")[0]
    for chapter in known.chapters:
        text = (CHAPTERS / f"{chapter.name}.py").read_text()
        number = f">{chapter.number}</a> *"
        assert asked.count(number) == len(re.findall(r"^widgets\.explore\(|^explore\(", text, re.M)), chapter.number
        assert f'href="slides/{chapter.name}.html"' in page
        assert f"/chapters/{chapter.name}.ipynb" in page  # on Colab
        if "NOT_ATTEMPTED" in text:
            assert f"<summary>{chapter.number} " in page
    assert set(instructors.SHORT_COURSE) <= {chapter.number for chapter in known.chapters}
    for course in ("Six weeks", "Twelve weeks"):
        rows = page.partition(f'aria-label="{course}"')[2].partition("</table>")[0]
        assert rows.count("<tr>") - 1 in (6, 12)


def test_a_docstring_keeps_its_code_and_loses_its_markup():
    assert api._markdown("x_y of `a_b` *all* $N$") == r"x\_y of `a_b` \*all\* \$N\$"
    assert api._markdown("Example:\n\n    f(*x)") == "Example:\n\n    f(*x)"


# ---- the site ----------------------------------------------------------------------------------------------


@made_up
def test_headings_have_the_ids_that_places_name(site):
    text = (site / "chapters" / "13_contrast.html").read_text(encoding="utf-8")
    heading = SECOND.partition("## ")[2].partition("\n")[0]
    assert atlas.anchor(heading) == "a-batch-k-times-as-large-which-rate-mine-or-young-s-20-minutes"
    assert f'id="{atlas.anchor(heading)}"' in text


def html_pages(site):
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]


def test_no_internal_link_is_broken(site):
    names, broken = {}, []
    for path in html_pages(site):
        text = path.read_text(encoding="utf-8")
        names[path.resolve()] = set(re.findall(r'\bid="([^"]+)"', text))
    for path in html_pages(site):
        for address in re.findall(r'\b(?:href|src)="([^"]*)"', path.read_text(encoding="utf-8")):
            parts = urllib.parse.urlsplit(html.unescape(address))
            if parts.scheme or parts.netloc:
                continue
            target = (
                (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path.resolve()
            )
            anchor = urllib.parse.unquote(parts.fragment)
            if not target.exists() or (anchor and target in names and anchor not in names[target]):
                broken.append(f"{path.relative_to(site)}: {address}")
    assert broken == []


def test_no_page_loads_anything_from_elsewhere(site):
    loads = re.compile(
        r'<(?:script|img|iframe|source|video)\b[^>]*\bsrc="(?:https?:)?//|<link\b[^>]*href="https?://'
    )
    assert [str(path) for path in html_pages(site) if loads.search(path.read_text(encoding="utf-8"))] == []


@made_up
def test_the_epub_is_well_formed_and_has_its_pictures(site):
    with zipfile.ZipFile(site / build.EPUB) as book:
        for name in book.namelist():
            if name.endswith((".xhtml", ".opf", ".ncx")):
                xml.etree.ElementTree.fromstring(re.sub(rb"&nbsp;|&#160;", b" ", book.read(name)))
        text = book.read("chapters/00_dots.xhtml").decode()
        picture = re.search(r'src="\.\./(_static/figures/\w+\.png)"', text)[1]
        assert picture in book.namelist() and "<script" not in text
        assert "<math" in book.read("chapters/13_contrast.xhtml").decode()


# ---- in the browser ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    """A browser tab that writes down every request."""
    import test_browser as browser  # skips where Chromium or a package is missing

    folder = tmp_path_factory.mktemp("browser")
    download = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    with contextlib.ExitStack() as at_the_end:
        at_the_end.callback(browser.stop, browser.start_chromium(folder))
        port = browser.wait_for("Chromium", (folder / "profile" / "DevToolsActivePort").read_text).split()[0]

        def page(title: str = ""):
            """The page with these words in its title, once there is one."""
            listed = json.load(download(f"http://127.0.0.1:{port}/json"))
            fit = [one for one in listed if one["type"] == "page" and title in one["title"]]
            return fit and browser.Page(fit[0]["webSocketDebuggerUrl"])

        tab = browser.wait_for("a tab", page)
        at_the_end.callback(tab.close)
        tab.command("Network.enable")
        tab.another = lambda title: browser.wait_for(title, lambda: page(title))  # such as one it opened
        yield tab


def show(tab, path, query=""):
    tab.command("Page.navigate", url=Path(path).as_uri() + query)
    tab.until(
        f"document.readyState === 'complete' && location.href.endsWith({json.dumps(Path(path).name + query)})"
    )
    tab.js(
        "window.drawn = false; Promise.resolve(window.MathJax?.startup?.promise).then(() => window.drawn = true)"
    )
    tab.until("window.drawn")


def asked_elsewhere(tab):
    requests = [
        e["params"]["request"]["url"] for e in tab.events if e.get("method") == "Network.requestWillBeSent"
    ]
    return [url for url in requests if not url.startswith(("file:", "data:", "blob:", "about:"))]


def some_pages(site):
    """All pages of the real book but the decks, see test_slides; of the made-up one, one of each kind."""
    if "SSL_LESSONS_SITE" in os.environ:
        return [path for path in html_pages(site) if path.parent.name != "slides"]
    names = (
        "index",
        "map",
        "ledger",
        "bugs",
        "glossary",
        "instructors",
        "references",
        "search",
        "api/losses",
        "chapters/00_dots",
    )
    return [site / f"{name}.html" for name in (*names, "chapters/13_contrast")]


def test_pages_ask_the_net_for_nothing_and_do_not_scroll_sideways(site, tab):
    wide = []
    for width in (1280, 390):
        tab.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 400,
        )
        for path in some_pages(site):
            show(tab, path)
            if tab.js("document.documentElement.scrollWidth > innerWidth"):
                wide.append(f"{path.relative_to(site)} at {width}")
    assert wide == [] and asked_elsewhere(tab) == []


def test_search_finds_sinkhorn_from_a_folder(site, tab):
    show(tab, site / "search.html", "?q=Sinkhorn")
    tab.until(
        "[...document.querySelectorAll('#search-results li a')].some(a => a.href.includes('/chapters/'))"
    )
    assert asked_elsewhere(tab) == []


@made_up
def test_a_slider_without_a_kernel_follows_the_keyboard(site, tab):
    show(tab, site / "chapters" / "00_dots.html")
    image, size = (
        "document.querySelector('.ssl-frames img')",
        "document.querySelectorAll('.ssl-frames input')[0]",
    )
    assert tab.js(f"[{image}.alt, {size}.getAttribute('aria-valuetext')]") == ["dot 1 0", "middle"]
    assert tab.js(f"{size}.labels[0].textContent") == "size of the dot: middle"
    tab.js(f"{size}.focus()")
    tab.press("ArrowRight")
    tab.until(f"{image}.alt === 'dot 2 0'")
    assert tab.js(f"{size}.getAttribute('aria-valuetext')") == "large"
    assert tab.js(f"{image}.naturalWidth") == 1
    tab.js("document.querySelectorAll('.ssl-frames input')[1].focus()")
    tab.press("ArrowRight")  # there is no frame for both: the first slider goes back
    tab.until(f"{image}.alt === 'dot 1 1'")
    assert tab.js(f"{size}.getAttribute('aria-valuetext')") == "middle"


def test_a_filter_leaves_the_rows_that_were_asked_for(site, tab):
    show(tab, site / "ledger.html")
    verdict = "document.querySelector('.ssl-filters select')"
    tab.js(f"{verdict}.value = 'holds here'; {verdict}.dispatchEvent(new Event('input', {{bubbles: true}}))")
    shown = tab.js(
        "[...document.querySelectorAll('tr[data-drawn]')].filter(r => !r.hidden).map(r => r.dataset.drawn)"
    )
    assert shown and all("holds here" in word.split("|") for word in shown)
    assert tab.js("document.querySelector('.ssl-filters output').textContent").startswith(f"{len(shown)} of ")


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("axe")
    if (
        not shutil.which("npm")
        or subprocess.run(["npm", "pack", AXE], cwd=folder, capture_output=True).returncode
    ):
        pytest.skip("axe-core is not here: it needs npm and a network")
    with tarfile.open(next(folder.glob("*.tgz"))) as package:
        return package.extractfile("package/axe.min.js").read().decode()


def violations(tab, axe, what):
    """What axe-core finds wrong on the page that is open, by these of its tags or rules."""
    tab.js(axe)
    tab.js(
        f"window.found = null; axe.run(document, {{runOnly: {json.dumps(what)}}}).then(r => window.found = "
        "r.violations.map(v => v.id + ': ' + v.nodes[0].html.slice(0, 200)), e => window.found = ['' + e])"
    )
    tab.until("window.found !== null")
    return tab.js("window.found")


def test_axe_finds_nothing_in_light_and_dark(site, tab, axe):
    found = []
    tab.command(
        "Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False
    )
    for path in some_pages(site):
        for scheme, what in (("light", WCAG), ("dark", ["color-contrast"])):  # nothing else changes with the light
            tab.command(
                "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
            )
            show(tab, path)
            found += [f"{path.relative_to(site)}, {scheme}: {one}" for one in violations(tab, axe, what)]
        tab.events.clear()
    assert found == []


@real
def test_the_real_book_has_every_chapter(site):
    assert {path.stem for path in find()} == {path.stem for path in (site / "chapters").glob("*.html")}
