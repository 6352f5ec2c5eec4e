"""Write Sphinx's sources: the notebooks with what a page needs changed, the pages, the settings."""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import ssl_lessons
from ssl_lessons.book.files import CLAIM_MIME, WIDGET_MIME, data_file
from ssl_lessons.book.frames import markup as slider_of
from ssl_lessons.book.site import api, pages
from ssl_lessons.book.site.outline import Outline, notebook, outline

HERE = Path(__file__).parent
_PICTURE = re.compile(r"data:image/(png|jpeg|gif|svg\+xml|webp);base64,([A-Za-z0-9+/=]+)")
_FRAMES = re.compile(r'<div class="ssl-frames" data-widget="(\d+)"></div>')


def write(folder: Path, numbers: Sequence[str], chapters: Path, epub: bool = False) -> Path:
    """Write into `folder`, and return it, what Sphinx makes the site of (or the EPUB).

    Raises InputError for an unknown chapter, one without a notebook, or frames of a slider that cannot be read.
    """
    book = outline(numbers, chapters, ".xhtml" if epub else ".html")
    static = folder / "_static"
    (static / "figures").mkdir(parents=True)
    (folder / "chapters").mkdir()
    if (pictures := chapters.parent / "docs").is_dir():  # of the README, whose beginning is the front page's
        shutil.copytree(pictures, folder / "docs")
    for file in sorted((HERE / "static").iterdir()):
        shutil.copy(file, static)
    shutil.copy(HERE / "sphinx_conf.py", folder / "conf.py")
    shutil.copy(data_file("references.bib"), folder)
    told = {"epub": epub, "repository": book.repository, "version": ssl_lessons.__version__}
    (folder / "site.json").write_text(json.dumps(told))
    for chapter in book.chapters:
        made = _page_of(notebook(chapters / f"{chapter.name}.py"), book)
        _outputs(made, chapters / "frames" / chapter.name, static / "figures", epub)
        text = json.dumps(made, ensure_ascii=False)
        (folder / "chapters" / f"{chapter.name}.ipynb").write_text(text, encoding="utf-8")
    for name, text in (pages.all_pages(book, chapters) | api.all_pages()).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(_closed(text) if epub else text, encoding="utf-8")
    return folder


def _page_of(made: dict, book: Outline) -> dict:
    """A notebook whose text is ready for the page."""
    for cell in made["cells"]:
        cell["source"] = text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            cell["source"] = book.relink(_open_details(_badge_as_text(text)), up="../")
    return made


def _badge_as_text(text: str) -> str:
    """The badge is a picture from the net; the link alone does."""
    return re.sub(r"\[!\[([^\]]*)\]\(https?://[^)]*\)\]\(([^)]*)\)", r"[\1](\2)", text)


def _open_details(text: str) -> str:
    """Blank lines around what <details> hides, so that formulas and code in it are read as Markdown."""
    text = re.sub(r"(<details>\s*<summary>.*?</summary>)[ \n]*", r"\n\n\1\n\n", text, flags=re.S)
    return re.sub(r"\s*</details>", "\n\n</details>\n\n", text)


def _outputs(made: dict, frames: Path, figures: Path, epub: bool) -> None:
    for cell in made["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop(CLAIM_MIME, None)
            data.pop(WIDGET_MIME, None)
            if "text/html" in data:
                markup = _FRAMES.sub(lambda m: "" if epub else slider_of(frames, m[1]), "".join(data["text/html"]))
                markup = _in_files(markup, figures).replace("<img ", '<img loading="lazy" ')
                markup = re.sub(r"<table\b.*?</table>", _boxed, markup, flags=re.S)
                output["data"] = {"text/html": _closed(markup) if epub else markup}


def _in_files(markup: str, figures: Path) -> str:
    """Pictures inside the text become files: smaller pages, and fetched only when they come into view."""

    def moved(match: re.Match) -> str:
        data = base64.b64decode(match[2])
        name = f"{hashlib.sha256(data).hexdigest()[:20]}.{match[1].partition('+')[0]}"
        (figures / name).write_bytes(data)
        return f"../_static/figures/{name}"

    return _PICTURE.sub(moved, markup)


def _boxed(match: re.Match) -> str:
    caption = re.search(r"<caption>(.*?)</caption>", match[0], re.S)
    name = re.sub(r"<[^>]*>", "", caption[1]).replace('"', "&quot;") if caption else "Table"
    return f'<div class="ssl-box" role="region" tabindex="0" aria-label="{name}">{match[0]}</div>'


def _closed(text: str) -> str:
    """Void elements as XHTML wants them."""
    return re.sub(r"<(img|br|hr|input)\b([^>]*?)/?>", r"<\1\2/>", text)
