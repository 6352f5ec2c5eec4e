"""The command line: `ssl-lessons lab, run, build, adopt, edition, grade, clean, site, slides, doctor, ...`."""

from typing import Annotated

import typer

from ssl_lessons.cli.options import app, main

__all__ = ["app", "main"]


def _show_version(wanted: bool) -> None:
    if wanted:
        import ssl_lessons

        print(f"ssl-lessons {ssl_lessons.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """A course on self-supervised learning that runs on your own machine.

    Begin with `ssl-lessons lab`, which opens the first chapter in JupyterLab.
    """


# Each module adds its commands to the app, in the order in which --help lists them.
from ssl_lessons.cli import book, edition, site, slides, doctor, pretrain, judge, serve  # noqa: E402, F401, I001  isort: skip
