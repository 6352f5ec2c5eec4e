"""`ssl-lessons lab`, `run`, `build` and `adopt`: the chapters."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ssl_lessons.cli.options import Json, app
from ssl_lessons.errors import InputError

Numbers = Annotated[
    list[str] | None,
    typer.Argument(metavar="NN", help="Chapter numbers such as 00 13 25; all when left out."),
]


@app.command()
def lab(
    number: Annotated[str, typer.Argument(metavar="NN", help="The chapter to open.")] = "00",
    port: Annotated[
        int | None, typer.Option(help="Port of the JupyterLab server. Default: the first free.")
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address instead of opening it.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin with a new copy; the old one stays beside it.")
    ] = False,
    authors: Annotated[
        bool, typer.Option("--authors", help="Open the book's own notebook, paired with its .py.")
    ] = False,
) -> None:
    """Open your own copy of a chapter in JupyterLab; Ctrl-C in the terminal stops it.

    The copy is work/NN_name.ipynb. Write in it what you like: the book stays as it is, and a copy in which you wrote
    or ran anything is never touched.

    Example:  ssl-lessons lab 13
    """
    from ssl_lessons.book import files
    from ssl_lessons.book import lab as jupyter

    if authors and fresh:
        raise InputError("--fresh makes a new copy for a reader; leave it or --authors out.")
    if authors:
        notebook = jupyter.original(number)
    else:
        notebook, outdated = jupyter.own_copy(number, fresh)
        print(f"Your copy: {jupyter.FOLDER}/{notebook.name}")
        if outdated:
            again = f"ssl-lessons lab --fresh {files.number_of(notebook)}"
            print(f"The book has a newer version. `{again}` opens it and keeps your copy beside it.")
        sys.stdout.flush()  # before JupyterLab's own lines
    raise typer.Exit(jupyter.open_notebook(notebook, browser=not no_browser, port=port))


@app.command()
def run(numbers: Numbers = None, as_json: Json = False) -> None:
    """Execute chapters without a browser and say how each went.

    Prints one line per chapter as it finishes: seconds, peak memory, "ok" or what failed in which cell.
    Writes no notebook. The exit code is 1 when a chapter failed.

    Example:  ssl-lessons run 00 13
    """
    from ssl_lessons import book

    _chapters(book.run, numbers, as_json)


@app.command()
def build(
    numbers: Numbers = None,
    frames: Annotated[
        bool,
        typer.Option("--frames", help="Write only the pictures of the sliders for pages without a kernel."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Execute chapters and save them as notebooks (for authors).

    Writes chapters/NN_name.ipynb from chapters/NN_name.py, outputs included, without what changes from build
    to build; then data/results/claims.json. A chapter that fails keeps its old notebook, and
    the exit code is 1. With --frames it writes chapters/frames/NN_name/0.json, 1.json, ... instead, one per slider
    panel.

    Example:  ssl-lessons build 13
    """
    from ssl_lessons import book

    _chapters(partial(book.build, only_frames=True) if frames else book.build, numbers, as_json)


@app.command()
def adopt(
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="https://github.com/OWNER/REPO of your fork.")
    ],
    tag: Annotated[
        str | None,
        typer.Option(help="The release that badges and set-up cells name. Default: none, they name main."),
    ] = None,
) -> None:
    """Make this clone the book of your own repository: pyproject.toml, badges, set-up cells, links, CITATION.cff.

    Writes the texts and, without executing them, the notebooks; outputs stay as they are. The old address leads
    back.

    Example:  ssl-lessons adopt https://github.com/ada/ssl-course
    """
    from ssl_lessons.book.adopt import adopt

    changed = adopt(address, tag)
    for name, places in changed.items():
        print(f"{name}: {places} line{'s' * (places != 1)}")
    print(f"{len(changed)} files changed" if changed else "nothing to change")


def _chapters(work, numbers, as_json: bool) -> None:
    results = []

    def started(source: Path) -> None:
        if sys.stderr.isatty():
            print(f"{source.stem} ...", end="\r", file=sys.stderr, flush=True)

    def finished(result) -> None:
        results.append(result)
        if not as_json:
            print(
                f"{result.name:30} {result.seconds:6.1f} s {result.peak_mib:7,.0f} MiB {result.minutes:3} min to read  "
                f"{result.verdict}",
                flush=True,
            )

    try:
        work(numbers or (), started=started, finished=finished)
    except InputError as error:
        if all(result.ok for result in results):  # not about a chapter that failed
            raise
        print(error, file=sys.stderr)
    ok = all(result.ok for result in results)
    if as_json:
        rows = [
            {
                "chapter": r.number, "name": r.name, "seconds": r.seconds, "peak_mib": r.peak_mib,
                "minutes_to_read": r.minutes, "verdict": r.verdict, "ok": r.ok,
            }
            for r in results
        ]  # fmt: skip
        print(json.dumps({"ok": ok, "chapters": rows}, indent=2))
    raise typer.Exit(0 if ok else 1)
