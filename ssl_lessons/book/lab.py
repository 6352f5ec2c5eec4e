"""Open a chapter in JupyterLab: the reader's own copy of it, or the authors' pair."""

import hashlib
import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from ssl_lessons.book.files import CHAPTERS, clean, find, sources_of, write
from ssl_lessons.errors import InputError

FOLDER = "work"  # of the reader's copies, beside the chapters


def own_copy(number: str = "00", fresh: bool = False, chapters: Path = CHAPTERS) -> tuple[Path, bool]:
    """The reader's copy of a chapter in `work/` beside the chapters, and whether the book has a newer version of it.

    All chapters are copied, so that the links between them lead from copy to copy.  A copy in which anything was
    written or run is never overwritten; one that is still as it was made follows the book.  fresh: put the old copy
    aside under another name and make a new one.  Raises InputError for an unknown number.
    """
    source = find([number], chapters)[0]
    work = Path(chapters).resolve().parent / FOLDER
    copy = work / f"{source.stem}.ipynb"
    if fresh and copy.exists():
        copy.rename(_aside(copy))
    outdated = {other: _outdated(other, work) for other in sources_of(chapters)}
    return copy, outdated[source]


def _outdated(source: Path, work: Path) -> bool:
    """Make or renew the copy of a chapter where nothing is lost; whether it stays behind the book."""
    copy, saved = work / f"{source.stem}.ipynb", source.with_suffix(".ipynb")
    text = saved.read_text(encoding="utf-8") if saved.is_file() else _from_source(source)
    notebook = json.loads(text)
    digest = _digest(notebook)
    if copy.exists():
        try:
            own = json.loads(copy.read_text(encoding="utf-8"))
            made_from = own["metadata"]["ssl_lessons"]["digest"]
        except (ValueError, KeyError, TypeError):  # not made here, or damaged: the reader's business
            return True
        if made_from == digest:
            return False
        if made_from != _digest(own):
            return True
    notebook["metadata"].pop("jupytext", None)  # else JupyterLab would write a .py beside the copy
    notebook["metadata"]["ssl_lessons"] = {"digest": digest}
    write(copy, json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return False


def _digest(notebook: dict) -> str:
    cells = [[cell["cell_type"], cell["source"], cell.get("outputs")] for cell in notebook["cells"]]
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()[:16]


def _aside(copy: Path) -> Path:
    """A name that is not taken: 13_name.2026-11-29T12-00.ipynb."""
    stem, n = f"{copy.stem}.{datetime.now():%Y-%m-%dT%H-%M}", 1
    while (path := copy.with_name(f"{stem}{f'-{n}' if n > 1 else ''}.ipynb")).exists():
        n += 1
    return path


def original(number: str = "00", chapters: Path = CHAPTERS) -> Path:
    """The authors' notebook of a chapter, made from its text source where it is missing."""
    source = find([number], chapters)[0]
    notebook = source.with_suffix(".ipynb").resolve()
    if not notebook.is_file():
        write(notebook, _from_source(source))
    return notebook


def _from_source(source: Path) -> str:
    """The notebook of a text source, without outputs."""
    import jupytext
    import nbformat

    made = jupytext.read(source)
    clean(made)
    return nbformat.writes(made, version=4) + "\n"


def command(notebook: Path, browser: bool = True, port: int | None = None) -> list[str]:
    """The command that starts JupyterLab on a notebook; the address that it prints opens the notebook, too."""
    # Served from the folder above: else links to the package and the data would be dead.
    folder = notebook.parent
    words = [
        sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder.parent}",
        f"--LabApp.default_url=/lab/tree/{folder.name}/{notebook.name}",
    ]  # fmt: skip
    if not browser:
        words.append("--no-browser")
    if port is not None:
        words += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if (
        hasattr(os, "geteuid") and os.geteuid() == 0
    ):  # Jupyter refuses root otherwise; containers often have no other user
        words.append("--allow-root")
    return words


def environment() -> dict[str, str]:
    """The environment for `command`: our settings of JupyterLab beside the reader's (no question about its news)."""
    folders = [str(Path(__file__).parent / "jupyter"), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    return {**os.environ, "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, folders))}


def open_notebook(notebook: Path, browser: bool = True, port: int | None = None) -> int:
    """Open a notebook in JupyterLab and wait until the server is stopped; return its exit status."""
    try:
        import jupyterlab  # noqa: F401
    except ImportError:
        raise InputError(
            "JupyterLab is missing: use `uv run ssl-lessons lab` in the repository, or install jupyterlab "
            "and jupytext."
        ) from None
    process = subprocess.Popen(command(notebook, browser, port), cwd=notebook.parents[1], env=environment())
    while True:
        try:
            return process.wait()
        except (
            KeyboardInterrupt
        ):  # Ctrl-C reaches JupyterLab too, which asks whether to stop; keep waiting for its answer
            continue
