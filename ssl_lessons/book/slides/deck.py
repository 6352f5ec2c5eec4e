"""Write decks: one HTML file per chapter, beside a folder with reveal.js, MathJax and what the book adds to them.

Nothing is fetched, neither here nor by a deck: reveal.js and MathJax come from the packages of the group `site`.
"""

import html
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from ssl_lessons.book.bundled import bundled, require
from ssl_lessons.book.files import CHAPTERS
from ssl_lessons.book.site.outline import Chapter, Outline, notebook, outline
from ssl_lessons.book.slides import fit, text
from ssl_lessons.book.slides.choose import Slide, papers, slides
from ssl_lessons.errors import InputError

HERE = Path(__file__).parent
SHARED = "_deck"  # a folder that holds it is one of decks, and may be written to
NEEDED = ("markdown_it", "mdit_py_plugins", "pygments")
FROM_PACKAGES = (  # (package, the end of the file's path, its name here)
    ("sphinx-revealjs", "revealjs/dist/reveal.js", "reveal.js"),
    ("sphinx-revealjs", "revealjs/dist/reveal.css", "reveal.css"),
    ("sphinx-revealjs", "revealjs/plugin/notes/notes.js", "notes.js"),
    ("sphinx-revealjs", "revealjs/LICENSE", "reveal-LICENSE.txt"),
    ("sphinx-mathjax-offline", "tex-svg-full.js", "mathjax.js"),
)
STYLES = ("a11y-high-contrast-light", "a11y-high-contrast-dark")  # of code


def write(numbers: Sequence[str], out: Path, chapters: Path = CHAPTERS, home: str = "") -> list[Path]:
    """Write the decks of these chapters (all when none is given) and a list of the folder's decks; their paths.

    home: the address of a chapter's page is home + its name + ".html"; without it decks lead to the notebook in the
    repository.  Raises InputError for an unknown chapter or one without a notebook, a folder that holds something
    else, and where a package of the group `site` is missing.
    """
    require(NEEDED)
    out = Path(out)
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / SHARED).is_dir())):
        raise InputError(f"{out} holds something that is no slides: choose another folder with -o.")
    book = outline(numbers, chapters, ".html")
    _shared(out / SHARED)
    paths = []
    for chapter in book.chapters:
        path = out / f"{chapter.name}.html"
        path.write_text(_deck(chapter, book, chapters, home), encoding="utf-8")
        paths.append(path)
    (out / "index.html").write_text(_index(out), encoding="utf-8")
    return paths


def _shared(folder: Path) -> None:
    """What all decks load."""
    folder.mkdir(parents=True, exist_ok=True)
    for package, ending, name in FROM_PACKAGES:
        (folder / name).write_bytes(bundled(package, ending))
    for path in (HERE / "static").iterdir():
        shutil.copy(path, folder)
    shutil.copy(HERE.parent / "site" / "static" / "frames.js", folder)
    (folder / "code.css").write_text(_code_colours(), encoding="utf-8")


def _code_colours() -> str:
    from pygments.formatters import HtmlFormatter

    light, dark = (HtmlFormatter(style=style, nobackground=True) for style in STYLES)
    return light.get_style_defs(".code") + "\n" + dark.get_style_defs("html[data-theme=dark] .code")


def _deck(chapter: Chapter, book: Outline, chapters: Path, home: str) -> str:
    made = notebook(chapters / f"{chapter.name}.py")
    shown = [_title(chapter, made), *_can(made), *slides(made, chapters / "frames" / chapter.name)]
    shown.append(_closing(chapter, book, made, home))
    links = Outline((), ".html", book.repository, {})  # out of a deck every link leads to the repository
    sections = "\n".join(_section(one, links) for one in shown)
    name = html.escape(f"{chapter.number} {chapter.short}")
    return (HERE / "deck.html").read_text(encoding="utf-8").replace("TITLE", name).replace("SLIDES", sections)


def _title(chapter: Chapter, made: dict) -> Slide:
    heading = re.match(r"# (.*)", "".join(made["cells"][0]["source"]))
    title = heading[1] if heading else chapter.title
    question = chapter.question if chapter.question not in (chapter.title, chapter.short) else ""
    told = f"Chapter {chapter.number} of the executable textbook of self-supervised learning"
    blocks = [fit.text_block(line) for line in (question, told) if line]
    return Slide("title", title, tuple(blocks))


def _can(made: dict) -> list[Slide]:
    """What one can do after the chapter, from its title cell."""
    found = "".join(made["cells"][0]["source"]).partition("**After this chapter you can**")[2]
    found = found.partition("**You need**")[0].strip()
    if not found:
        return []
    listed = text.items(found) or [part.strip() for part in re.split(r";|\.$", " ".join(found.split()))]
    blocks = [(fit.item(one), "") for one in listed if one]
    return fit.packed("can", "After this chapter you can", blocks, Slide)


def _closing(chapter: Chapter, book: Outline, made: dict, home: str) -> Slide:
    source = "".join(made["cells"][0]["source"])
    colab = re.search(r"\)\]\((https://colab\.research\.google\.com/[^)]*)\)", source)
    page = f"{home}{chapter.name}.html" if home else f"chapters/{chapter.name}.ipynb"
    links = [f"[The chapter]({page}): everything on these slides, with the code that made it"]
    links += [f"[Run it on Colab]({colab[1]})"] if colab else []
    links += [f"[The book]({book.repository})"]
    blocks = [fit.item(link) for link in links]
    if cited := papers(made):
        blocks.append(fit.text_block("Papers: " + " · ".join(cited)))
    return Slide("closing", "Go on", tuple(blocks))


def _section(slide: Slide, links: Outline) -> str:
    """A slide as reveal.js reads it."""
    level = 1 if slide.kind == "title" else 2
    body = "\n".join(block.markup for block in slide.blocks).replace("</ul>\n<ul>", "")
    notes = fit.rendered(links.relink(slide.notes)) if slide.notes else ""
    heading = re.sub(r"</?p>", "", fit.rendered(slide.title))
    aside = f'\n<aside class="notes">{notes}</aside>' if notes else ""
    markup = f'<section class="{slide.kind}">\n<h{level}>{heading}</h{level}>\n{body}{aside}\n</section>'
    return _led(markup, links)


def _led(markup: str, links: Outline) -> str:
    """Links within the book lead to the repository, as a deck has none of its pages."""
    return re.sub(
        r'href="((?:\.\./)?[\w./-]+\.(?:ipynb|md|csv|py|json|bib))(#[\w-]*)?"',
        lambda m: f'href="{links.relink(f"[x]({m[1]}{m[2] or str()})")[4:-1]}"',
        markup,
    )


def _index(out: Path) -> str:
    """The list of the decks that lie in the folder."""
    names = [path.stem for path in sorted(out.glob("*.html")) if path.stem != "index"]
    titles = {}
    for name in names:
        found = re.search(r"<title>(.*?)</title>", (out / f"{name}.html").read_text(encoding="utf-8"))
        titles[name] = found[1] if found else name
    rows = "\n".join(f'<li><a href="{name}.html">{titles[name]}</a></li>' for name in names)
    page = (HERE / "index.html").read_text(encoding="utf-8")
    return page.replace("DECKS", rows)
