"""The book as files: where it lies, its chapters as pairs of text source and notebook, what a saved notebook keeps.

jupytext and nbformat are imported inside the functions that need them: a chapter on Colab has only the core
dependencies.
"""

import hashlib
import importlib.metadata
import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

from ssl_lessons.errors import InputError
from ssl_lessons.storage import write_atomically

# The repository; without one (installed on Colab), only `data_file` and `repository` have something to find.
ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = ROOT / "chapters"
MAX_BYTES = 1_000_000  # a saved notebook larger than this is slow to open and to review
HIDDEN = "hide-input"  # tag of a cell whose code only draws, tabulates or describes
COLAB = ("accelerator", "colab")  # what a notebook asks of Colab, from the head of its .py: a GPU, and which
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
CLAIM_MIME = "application/vnd.ssl-lessons.claim+json"  # how a claim lies among the outputs of a cell
FRAMES_MIME = (
    "application/vnd.ssl-lessons.frames+json"  # and the pictures of a slider, while they are collected
)
FOLDED = re.compile(r'.*?<details class="ssl-folded"><summary>.*?</summary>\n(.*)</details>', re.DOTALL)


def repository(root: Path = ROOT) -> str:
    """The address of the repository, from pyproject's `[project.urls] Repository`: `adopt` keeps the others equal to
    it.
    """
    pyproject = root / "pyproject.toml"
    if pyproject.is_file():
        urls = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("project", {}).get("urls", {})
    else:
        entries = importlib.metadata.metadata("ssl-lessons").get_all("Project-URL") or []
        urls = dict(entry.split(", ", 1) for entry in entries)
    if "Repository" not in urls:
        raise InputError(
            "The repository's address is missing: add Repository under [project.urls] in pyproject.toml."
        )
    return urls["Repository"].rstrip("/")


def data_file(name: str) -> Path:
    """A file of the book's `data/` folder ("results/world.json", "references.bib"), from the repository or
    the wheel.
    """
    for folder in (ROOT / "data", Path(__file__).parents[1] / "_data"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"There is no data file {name!r} in the book.")


def records_read(source: str) -> list[str]:
    """The records that the text of a chapter reads, by name, in order."""
    names = re.findall(r"""\bbook\.recorded\(\s*["'](\w+)["']""", source)
    calls = {"book.on_photographs(": "photographs", "results_table(": "families"}
    return list(dict.fromkeys(names + [name for call, name in calls.items() if call in source]))


def number_of(path: Path) -> str:
    """The number of a chapter ("13") or of a companion to it ("13b"), from its file's name."""
    return Path(path).stem.partition("_")[0]


def sources_of(chapters: Path = CHAPTERS) -> list[Path]:
    """The text sources of all chapters and companions, in book order: 13_..., 13b_..., 14_..."""
    found = [p for p in Path(chapters).glob("*.py") if re.fullmatch(r"\d\d[a-z]?", number_of(p))]
    return sorted(found, key=lambda p: (number_of(p), p.name))


def find(numbers: Sequence[str] = (), chapters: Path = CHAPTERS) -> list[Path]:
    """The text sources (.py) of the chapters with these numbers ("7", "07" or "07_name"; "7b" for a companion), in
    book order; all when none is given. Raises InputError for an unknown number, listing those that exist.
    """
    sources = sources_of(chapters)
    if not sources:
        raise InputError(
            f"There are no chapters in {chapters}: run this from a clone of the book's repository."
        )
    if not numbers:
        return sources
    known = {number_of(p): p for p in sources}
    wanted = set()
    for number in numbers:
        match = re.fullmatch(r"(\d{1,2})([a-z]?)(_\w*)?(\.py|\.ipynb)?", Path(str(number)).name)
        key = match[1].zfill(2) + match[2] if match else None
        if key not in known:
            raise InputError(f"There is no chapter {number!r}; there are {', '.join(known)}.")
        wanted.add(known[key])
    return sorted(wanted)


def released(root: Path = ROOT) -> str | None:
    """The tag of the release that this clone is, from pyproject's `[tool.ssl-lessons] tag`; None between releases."""
    pyproject = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return pyproject.get("tool", {}).get("ssl-lessons", {}).get("tag")


def badge(number: str, chapters: Path = CHAPTERS) -> str:
    """The Open-in-Colab badge of a chapter, in Markdown."""
    name = find([number], chapters)[0].stem
    place = repository().removeprefix("https://github.com/")
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/github/{place}/blob/{released() or 'main'}/chapters/{name}.ipynb)"
    )


SETUP = """\
try:
    import ssl_lessons
except ImportError:  # on Colab
    import re
    import subprocess
    import sys

    print("Installing, about half a minute")
    place = "git+{place}"
    pip = [sys.executable, "-m", "pip", "install", "-q", place]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        found = re.search("fatal: .*|ERROR: .*|Error: .*", done.stderr)
        reason = found[0] if found else done.stderr.strip()
        causes = {{
            "unable to access": "there is no network, or it is blocked",
            "fatal: ": "the address does not exist, or needs a login",
            "": "pip failed",
        }}
        cause = next(cause for sign, cause in causes.items() if sign in reason)
        message = f"{{place}} could not be installed: {{cause}} ({{reason}})"
        raise RuntimeError(message) from None
from ssl_lessons import book

device = book.setup("{number}")"""


def setup_cell(number: str, chapters: Path = CHAPTERS) -> str:
    """The set-up cell of a chapter: installs the book where it is missing (on Colab), then seeds."""
    own = number_of(find([number], chapters)[0])
    return SETUP.format(place=repository() + (f"@{released()}" if released() else ""), number=own)


def check_pair(path: Path) -> list[str]:
    """Differences between the inputs of a chapter's .py and .ipynb, one sentence each; empty when they are in
    sync.
    """
    import jupytext
    import nbformat

    source, notebook = Path(path).with_suffix(".py"), Path(path).with_suffix(".ipynb")
    for file in (source, notebook):
        if not file.is_file():
            return [f"{file.name} is missing."]
    texts = jupytext.read(source).cells
    cells = nbformat.read(notebook, as_version=4).cells
    found = []
    if len(texts) != len(cells):
        found.append(f"{source.name} has {len(texts)} cells, {notebook.name} has {len(cells)}.")
    for n, (a, b) in enumerate(zip(texts, cells, strict=False), 1):
        if a.cell_type != b.cell_type:
            found.append(f"{source.stem}, cell {n}: {a.cell_type} in .py, {b.cell_type} in .ipynb.")
        elif a.source.strip() != b.source.strip():
            line_a, line_b = _first_difference(a.source.strip(), b.source.strip())
            found.append(f"{source.stem}, cell {n}: {line_a!r} in .py, {line_b!r} in .ipynb.")
    return found


def _first_difference(a: str, b: str) -> tuple[str, str]:
    lines_a, lines_b = a.splitlines() + [""], b.splitlines() + [""]
    for x, y in zip(lines_a, lines_b, strict=False):
        if x != y:
            return x, y
    shorter = min(len(lines_a), len(lines_b)) - 1
    return lines_a[shorter], lines_b[shorter]


def write(path: Path, text: str) -> None:
    """Replace a file in one step, so that an interruption leaves the old one."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def save(notebook, source: Path) -> None:
    import nbformat

    clean(notebook)
    text = nbformat.writes(notebook, version=4) + "\n"
    size = len(text.encode())
    if size > MAX_BYTES:
        biggest = max(range(len(notebook.cells)), key=lambda i: len(json.dumps(notebook.cells[i])))
        raise InputError(
            f"{source.stem}.ipynb would be {size / 1e6:.1f} MB, over the 1 MB limit; the largest cell is "
            f"number {biggest + 1}, starting with {notebook.cells[biggest].source.splitlines()[0]!r}. "
            "Show fewer or smaller pictures."
        )
    write(source.with_suffix(".ipynb"), text)


def clean(notebook) -> None:
    """Remove from an executed notebook, in place, what differs between two builds of the same chapter, and fold the
    cells tagged "hide-input": in JupyterLab, on Colab, and where the tag itself counts.
    """
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    asked = {key: notebook.metadata[key] for key in COLAB if key in notebook.metadata}
    notebook.metadata = type(notebook.metadata)(
        asked
        | {
            "jupytext": {"formats": "ipynb,py:percent", "cell_metadata_filter": "tags,-all"},
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    name_cells(notebook.cells)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = type(cell.metadata)({"tags": tags} if tags else {})
        if HIDDEN in tags:
            cell.metadata |= {"jupyter": {"source_hidden": True}, "cellView": "form"}
        if cell.cell_type == "code":
            cell.outputs = _clean_outputs(cell.outputs)


def name_cells(cells: Sequence) -> None:
    """Give each cell an id that follows from its content: inserting a cell changes one id, not all that follow."""
    used = set()
    for cell in cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        copy = 1
        while (name := digest if copy == 1 else f"{digest}-{copy}") in used:
            copy += 1
        used.add(name)
        cell["id"] = name


def _clean_outputs(outputs: list) -> list:
    kept, streams = [], {}
    for output in outputs:
        data = output.get("data", {})
        # A live widget in a saved notebook is an error box: its state died with the kernel. The static picture, which
        # was folded below it, stays.
        if WIDGET_MIME in data or FRAMES_MIME in data:
            continue
        if folded := FOLDED.fullmatch(data.get("text/html", "")):
            data["text/html"] = folded[1]
        if output.output_type != "stream":
            kept += _joined(streams) + [output]
            streams = {}
        elif output.name in streams:
            streams[output.name].text += output.text
        else:
            streams[output.name] = output
    return kept + _joined(streams)


def _joined(streams: dict) -> list:
    """Stream outputs in their last state, stderr first: how the two interleave differs in every run."""
    for output in streams.values():
        output.text = last_state(output.text)
    return [streams[name] for name in sorted(streams) if streams[name].text.strip()]


def last_state(text: str) -> str:
    """Text after its carriage returns: the last state of each progress line, without tqdm's clock."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        states = [state for state in line.split("\r") if state.strip()]
        if "\r" in line:
            line = states[-1] if states else ""
            line = re.sub(r"\s*\[(\d+:)?\d+:\d\d<[^\]]*\]", "", line).rstrip()  # times differ in every build
        lines.append(line)
    return "\n".join(lines)
