"""Build the site: write Sphinx's sources into a temporary folder, run Sphinx there, put the result in its place."""

import functools
import http.server
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ssl_lessons.book.bundled import bundled, require
from ssl_lessons.book.files import CHAPTERS
from ssl_lessons.book.site import source
from ssl_lessons.book.slides import deck
from ssl_lessons.errors import InputError
from ssl_lessons.progress import progress

NEEDED = (
    "sphinx",
    "myst_nb",
    "sphinx_book_theme",
    "sphinxcontrib.bibtex",
    "sphinx_copybutton",
    "latex2mathml",
)
# MathJax draws the formulas: the one build that needs neither fonts nor further files, from a package that brings it.
MATHJAX, MATHJAX_PACKAGE = "tex-svg-full.js", "sphinx-mathjax-offline"
MARK = "searchindex.js"  # a folder that holds it is a site, and may be replaced
EPUB = "ssl-lessons.epub"


def build(
    numbers: Sequence[str] = (),
    out: Path = Path("dist/site"),
    *,
    epub: bool = False,
    chapters: Path = CHAPTERS,
) -> list[str]:
    """Write the book, or the chapters with these numbers, as a site into `out`; return Sphinx's warnings.

    epub: the book as OUT/ssl-lessons.epub, too.
    A site that is there is replaced when the new one is ready.  Raises InputError for an unknown chapter or one without
    a notebook, for a folder that holds something else, without Sphinx or MathJax, and when Sphinx fails.
    """
    require(NEEDED)
    out = Path(out)
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / MARK).is_file())):
        raise InputError(f"{out} holds something that is no site: choose another folder with -o.")
    script = bundled(MATHJAX_PACKAGE, MATHJAX)
    with tempfile.TemporaryDirectory(prefix="ssl-site-") as folder:
        made = Path(folder) / "html"
        sources = source.write(Path(folder) / "source", numbers, chapters)
        (sources / "_static" / MATHJAX).write_bytes(script)
        warnings = _sphinx("html", sources, made)
        deck.write(numbers, made / "slides", chapters, home="../chapters/")
        (made / ".nojekyll").touch()  # else GitHub Pages leaves out the folders that begin with _
        if epub:
            sources = source.write(Path(folder) / "epub-source", numbers, chapters, epub=True)
            warnings += _sphinx("epub", sources, Path(folder) / "epub")
            shutil.move(Path(folder) / "epub" / EPUB, made / EPUB)
        _put(made, out)
    return warnings


def _sphinx(builder: str, sources: Path, out: Path) -> list[str]:
    """Run Sphinx with a bar on its two rounds over the pages; its warnings."""
    log = sources.parent / f"{builder}.log"
    # What Sphinx notes for the next build would otherwise lie in the site.
    options = ["-b", builder, "--no-color", "-w", str(log), "-d", str(sources.parent / f"{builder}-notes")]
    command = [sys.executable, "-m", "sphinx", *options, str(sources), str(out)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8"
    )
    with progress(desc=f"pages of the {builder.upper()}: ", total=100) as bar:
        for line in process.stdout:
            if found := re.match(r"(reading|writing)\b.*\[ *(\d+)%\]", line):
                done = (int(found[2]) + 100 * (found[1] == "writing")) // 2
                bar.update(max(0, done - bar.n))
    lines = log.read_text(encoding="utf-8").replace(f"{sources}/", "").splitlines() if log.is_file() else []
    if process.wait():
        raise InputError("Sphinx could not build the site:\n" + "\n".join(lines[-20:]))
    return [line for line in lines if line.strip()]


def _put(made: Path, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    before = out.with_name(out.name + ".before")
    try:
        if out.exists():
            out.rename(before)
        shutil.move(made, out)
    except OSError as error:
        if before.exists() and not out.exists():
            before.rename(out)
        raise InputError(
            f"cannot write {out}: {error.strerror or error}; choose another folder with -o"
        ) from None
    shutil.rmtree(before, ignore_errors=True)


def serve(out: Path, port: int = 8000) -> None:
    """Serve the site on this machine alone until Ctrl-C.  Raises InputError where the port is taken."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=out)
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise InputError(f"port {port}: {error.strerror or error}; choose another with --port") from None
    print(f"http://127.0.0.1:{server.server_port}/ (Ctrl-C stops it)", flush=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass
