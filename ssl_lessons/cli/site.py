"""`ssl-lessons site`: the book as a static site."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ssl_lessons.cli.book import Numbers
from ssl_lessons.cli.options import app


@app.command()
def site(
    numbers: Numbers = None,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for the site.")] = Path(
        "dist/site"
    ),
    epub: Annotated[bool, typer.Option("--epub", help="Write DIR/ssl-lessons.epub, too.")] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="Show the site in a local server afterwards.")
    ] = False,
    port: Annotated[int, typer.Option(help="Port of --serve; 0: any that is free.")] = 8000,
) -> None:
    """Write the book as a static site from the saved notebooks; nothing is executed.

    The site works from any web server and from a folder on disk, and asks the network for nothing. Needs the
    dependency group `site`.

    Example:  uv run --group site ssl-lessons site --serve
    """
    from ssl_lessons.book.site import build

    for warning in build.build(numbers or (), out, epub=epub):
        print(warning, file=sys.stderr)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
    print(f"{out / 'index.html'} ({size:.0f} MB)")
    if serve:
        build.serve(out, port)
