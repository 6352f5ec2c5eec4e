"""`ssl-lessons slides`: chapters as slides."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from ssl_lessons.cli.book import Numbers
from ssl_lessons.cli.options import app


@app.command()
def slides(
    numbers: Numbers = None,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for the slides.")] = Path(
        "dist/slides"
    ),
    show: Annotated[bool, typer.Option("--open", help="Open them in the browser afterwards.")] = False,
) -> None:
    """Write slides (reveal.js) of chapters from their saved notebooks; nothing is executed, nothing is fetched.

    Keys: arrows turn the pages, Tab reaches a slider, D changes light and dark, S opens the speaker's notes, which say
    what to ask before a slider; ?print-pdf behind the address makes a PDF. Needs the dependency group `site`.

    Example:  uv run --group site ssl-lessons slides 13 20 --open
    """
    from ssl_lessons.book.slides import deck

    made = deck.write(numbers or (), out)
    for path in made:
        print(path)
    if show:
        webbrowser.open((made[0] if len(made) == 1 else out / "index.html").resolve().as_uri())
