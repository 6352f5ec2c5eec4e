"""Open a chapter in JupyterLab."""

import os
import subprocess
import sys
from pathlib import Path

from ssl_lessons.book.files import CHAPTERS, clean, find, write
from ssl_lessons.errors import InputError


def command(
    number: str = "00", browser: bool = True, port: int | None = None, chapters: Path = CHAPTERS
) -> list[str]:
    """The command that opens a chapter in JupyterLab; makes the notebook from its text source where it is
    missing.
    """
    source = find([number], chapters)[0]
    notebook = source.with_suffix(".ipynb")
    if not notebook.is_file():
        import jupytext
        import nbformat

        made = jupytext.read(source)
        clean(made)
        write(notebook, nbformat.writes(made, version=4) + "\n")
    # Without root_dir only the notebook's folder is served: links to the package and the data would be dead.
    root = notebook.resolve().parent.parent
    words = [sys.executable, "-m", "jupyterlab", str(notebook.resolve()), f"--ServerApp.root_dir={root}"]
    if not browser:
        words.append("--no-browser")
    if port is not None:
        words += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if (
        hasattr(os, "geteuid") and os.geteuid() == 0
    ):  # Jupyter refuses root otherwise; containers often have no other user
        words.append("--allow-root")
    return words


def open_chapter(
    number: str = "00", browser: bool = True, port: int | None = None, chapters: Path = CHAPTERS
) -> int:
    """Open a chapter in JupyterLab and wait until the server is stopped; return its exit status."""
    find([number], chapters)  # an unknown chapter is said first
    try:
        import jupyterlab  # noqa: F401
    except ImportError:
        raise InputError(
            "JupyterLab is missing: use `uv run ssl-lessons lab` in the repository, or install jupyterlab "
            "and jupytext."
        ) from None
    process = subprocess.Popen(command(number, browser, port, chapters), cwd=Path(chapters).parent)
    while True:
        try:
            return process.wait()
        except (
            KeyboardInterrupt
        ):  # Ctrl-C reaches JupyterLab too, which asks whether to stop; keep waiting for its answer
            continue
