"""What a chapter calls (`setup`, `claim`) and what the command line calls to run, build and open chapters.

jupytext, nbformat, nbclient and psutil are imported inside the functions that need them: a chapter on Colab
has only the core dependencies.
"""

import hashlib
import html
import importlib.metadata
import json
import os
import random
import re
import statistics
import subprocess
import sys
import threading
import time
import tomllib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ssl_lessons import plots
from ssl_lessons.errors import InputError

# The repository; without one (installed on Colab), only `data_file` and `repository` have something to find.
ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = ROOT / "chapters"
CLAIM_MIME = "application/vnd.ssl-lessons.claim+json"
VERDICTS = ("reproduced", "not reproduced here", "mixed")
MAX_BYTES = 1_000_000  # a saved notebook larger than this is slow to open and to review
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


def repository() -> str:
    """The address of the repository, from pyproject's `[project.urls] Repository` (the only place that states
    it).
    """
    pyproject = ROOT / "pyproject.toml"
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
    for folder in (ROOT / "data", Path(__file__).parent / "_data"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"There is no data file {name!r} in the book.")


def recorded(name: str) -> tuple[list[dict], str]:
    """A committed benchmark record `data/results/NAME.json`: its rows, and one line saying where they come from."""
    record = json.loads(data_file(f"results/{name}.json").read_text(encoding="utf-8"))
    versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
    origin = f"Recorded {record['date']} with `{record['command']}` on {record['machine']} ({versions})."
    return record["rows"], origin


def results_table(methods: Sequence[str], caption: str) -> None:
    """The running results table of the loss families: chance, the baselines, then `methods`, from their record.

    One row per method: median of three seeds and, in brackets, the lowest and the highest.  probe: a linear probe on
    100 labels; kNN: 2,000 labelled neighbours; RankMe of the features h; processor seconds: summed over the cores.
    Raises InputError for a method that has no recorded run.
    """
    rows, origin = recorded("families")
    table = [{"method": "chance", "probe": "10.0%", "knn": "10.0%"}]
    for name in ("pixels", "untrained", *methods):
        runs = [row for row in rows if row["method"] == name and row["arm"] == "minute"]
        if not runs:
            raise InputError(f"{name!r} has no recorded run; run benchmarks/families.py --methods {name}")
        line = {"method": name, "encoder": runs[0].get("encoder"), "steps": runs[0]["steps"] or None}
        for key, form in (("probe", ".1%"), ("knn", ".1%"), ("rank_h", ".0f"), ("processor_seconds", ".0f")):
            values = sorted(row[key] for row in runs if key in row)
            line[key] = f"{statistics.median(values):{form}}" if values else None
            if key == "probe":
                line[key] += f" ({values[0]:{form}} to {values[-1]:{form}})"
        table.append(line)
    headings = {
        "method": "method", "encoder": "encoder", "steps": "steps", "probe": "probe, 100 labels", "knn": "kNN",
        "rank_h": "RankMe of h", "processor_seconds": "processor seconds",
    }  # fmt: skip
    plots.table(table, caption, headings)
    print(origin)


# ---- called by chapters ------------------------------------------------------------------------------------


def setup(chapter: str, seed: int = 0):
    """Seed Python, NumPy and torch, set the plot style, print one line on device and budget; return the
    torch.device.
    """
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    plots.style()
    # Neither concerns the reader: progress bars fall back to text, and a machine without a GPU is the normal
    # case.
    warnings.filterwarnings("ignore", message="IProgress not found")
    warnings.filterwarnings("ignore", message=".*CUDA initialization.*")
    warnings.filterwarnings("ignore", message=".*pin_memory.*no accelerator.*")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    threads = torch.get_num_threads()
    where = f"CPU, {threads} thread{'s' * (threads > 1)}"
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    budget = "quick: fixed steps, about a minute on two cores"
    print(f"Chapter {chapter} on {where} · torch {torch.__version__} · seed {seed} · {budget}")
    return device


def claim(id: str, statement: str, verdict: str, evidence: str | Mapping, source: str | None = None) -> None:
    """Show a statement of the literature beside what this chapter measured, and store it for the book-wide
    ledger.

    `verdict` is "reproduced", "not reproduced here" or "mixed"; `evidence` is a sentence with the measured
    numbers, or a mapping name -> number; `source` is where the statement is made (a key of references.bib, or
    a link). Raises InputError on another verdict or an empty field.
    """
    if verdict not in VERDICTS:
        raise InputError(
            f"Claim {id}: the verdict must be one of {', '.join(map(repr, VERDICTS))}, not {verdict!r}."
        )
    for name, value in (("id", id), ("statement", statement), ("evidence", evidence)):
        if not value:
            raise InputError(f"Claim {id!r}: {name} is empty.")
    record = {
        "id": id,
        "statement": statement,
        "verdict": verdict,
        "source": source,
        "evidence": {k: _number(v) for k, v in evidence.items()}
        if isinstance(evidence, Mapping)
        else evidence,
    }
    measured = (
        evidence
        if isinstance(evidence, str)
        else ", ".join(
            f"{k} {format(v, '.3g') if isinstance(v, float) else v}" for k, v in record["evidence"].items()
        )
    )
    rows = [("Statement", statement), ("Measured here", measured), ("Verdict", verdict)]
    if source:
        rows.insert(1, ("Source", source))
    text = "\n".join([f"Claim {id}", *(f"  {name}: {value}" for name, value in rows)])
    body = "\n".join(
        f'<tr><th scope="row" style="text-align: left">{name}</th>'
        f'<td style="text-align: left">{_linked(value)}</td></tr>'
        for name, value in rows
    )
    markup = f"<table>\n<caption>Claim {html.escape(id)}</caption>\n<tbody>\n{body}\n</tbody>\n</table>"
    if not plots.display_bundle({"text/html": markup, "text/plain": text, CLAIM_MIME: record}):
        print(text)


def _number(value):
    """A plain Python value that JSON can hold, from a Python, NumPy or torch scalar."""
    return value.item() if hasattr(value, "item") else value


def _linked(text: str) -> str:
    return re.sub(
        r"https?://[^\s<>\"]+[^\s<>\".,;)]", lambda m: f'<a href="{m[0]}">{m[0]}</a>', html.escape(str(text))
    )


# ---- chapters as files -------------------------------------------------------------------------------------


def find(numbers: Sequence[str] = (), chapters: Path = CHAPTERS) -> list[Path]:
    """The text sources (.py) of the chapters with these numbers ("7", "07" or "07_name"), in book order; all
    when none is given. Raises InputError for an unknown number, listing those that exist.
    """
    sources = sorted(p for p in Path(chapters).glob("[0-9][0-9]_*.py"))
    if not sources:
        raise InputError(
            f"There are no chapters in {chapters}: run this from a clone of the book's repository."
        )
    if not numbers:
        return sources
    known = {p.stem[:2]: p for p in sources}
    wanted = set()
    for number in numbers:
        match = re.fullmatch(r"(\d{1,2})(_\w*)?(\.py|\.ipynb)?", Path(str(number)).name)
        key = match[1].zfill(2) if match else None
        if key not in known:
            raise InputError(f"There is no chapter {number!r}; there are {', '.join(known)}.")
        wanted.add(known[key])
    return sorted(wanted)


def badge(number: str, chapters: Path = CHAPTERS) -> str:
    """The Open-in-Colab badge of a chapter, in Markdown."""
    name = find([number], chapters)[0].stem
    place = repository().removeprefix("https://github.com/")
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/github/{place}/blob/main/chapters/{name}.ipynb)"
    )


def setup_cell(number: str, chapters: Path = CHAPTERS) -> str:
    """The set-up cell of a chapter: installs the book where it is missing (on Colab), then seeds."""
    stem = find([number], chapters)[0].stem
    return "\n".join(
        [
            "try:",
            "    import ssl_lessons",
            "except ImportError:  # Colab",
            "    import os",
            "",
            f'    os.system("pip install -q git+{repository()}")',
            "from ssl_lessons import book",
            "",
            f'device = book.setup("{stem[:2]}")',
        ]
    )


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


# ---- running -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChapterRun:
    """One execution: seconds with the kernel's start, peak memory of the kernel and its children in MiB."""

    number: str
    name: str
    seconds: float
    peak_mib: float
    verdict: str  # "ok", or "failed: cell 3: ValueError: ..."
    error: str | None = None  # the first line of the failing cell and the full message

    @property
    def ok(self) -> bool:
        return self.verdict == "ok"


class _PeakMemory(threading.Thread):
    """Watches a process and its children; `peak_mib` is the largest total resident memory seen."""

    def __init__(self, pid: Callable[[], int | None]):
        super().__init__(daemon=True)
        self._pid, self._done, self.peak_mib = pid, threading.Event(), 0.0

    def run(self):
        import psutil

        while not self._done.wait(0.1):
            try:
                pid = self._pid()
                if pid is None:
                    continue
                process = psutil.Process(pid)
                total = sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])
            except psutil.Error:  # a process ended between listing and reading it
                continue
            self.peak_mib = max(self.peak_mib, total / 2**20)

    def stop(self) -> float:
        self._done.set()
        self.join()
        return self.peak_mib


def _kernel_manager_class():
    """A kernel manager that always starts this very Python: a user's own "python3" kernel may be another
    environment.
    """
    import ipykernel.kernelspec
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpecManager

    class ThisPython(KernelSpecManager):
        def get_kernel_spec(self, kernel_name):
            return self.kernel_spec_class(
                resource_dir=str(ipykernel.kernelspec.RESOURCES), **ipykernel.kernelspec.get_kernel_dict()
            )

    class Manager(AsyncKernelManager):
        def __init__(self, **options):
            super().__init__(**{**options, "kernel_spec_manager": ThisPython()})

    return Manager


def _execute(source: Path, timeout: float | None):
    """Execute a chapter's text source in a fresh kernel; return the notebook and its ChapterRun."""
    import jupytext
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = jupytext.read(source)
    state = {"cell": 0}

    def on_cell_start(cell, cell_index):
        state["cell"] = cell_index

    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_manager_class=_kernel_manager_class(),
        kernel_name="python3",
        resources={"metadata": {"path": str(source.parent)}},
        store_widget_state=False,
        extra_arguments=["--log-level=ERROR"],  # its notes on transport are not the reader's concern
        on_cell_start=on_cell_start,
    )
    memory = _PeakMemory(lambda: getattr(getattr(client.km, "provisioner", None), "pid", None))
    start, problem, full = time.perf_counter(), None, None
    memory.start()
    try:
        client.execute()
    except CellExecutionError as error:
        problem, full = f"{error.ename}: {error.evalue}", error.traceback
    except CellTimeoutError:
        problem = f"TimeoutError: the cell ran longer than {timeout:g} s"
    except (DeadKernelError, NoSuchKernel, RuntimeError) as error:
        problem = f"{type(error).__name__}: {error}"
    finally:
        peak = memory.stop()
    seconds = time.perf_counter() - start
    run = ChapterRun(source.stem[:2], source.stem, seconds, peak, "ok")
    if problem is not None:
        cells = notebook.cells
        number = sum(cell.cell_type == "code" for cell in cells[: state["cell"] + 1])
        lines = [line for line in cells[state["cell"]].source.splitlines() if line.strip()] or [""]
        short = " ".join(problem.split())
        short = short if len(short) <= 300 else short[:297] + "..."
        run = replace(
            run,
            verdict=f"failed: cell {number}: {short}",
            error=f"chapter {source.stem}, cell {number}, which starts with `{lines[0]}`:\n{full or problem}",
        )
    return notebook, run


def run(
    numbers: Sequence[str] = (),
    save: bool = False,
    timeout: float | None = 900,
    chapters: Path = CHAPTERS,
    started: Callable[[Path], None] | None = None,
    finished: Callable[[ChapterRun], None] | None = None,
) -> list[ChapterRun]:
    """Execute chapters from their text sources, each in a fresh kernel in the chapters' folder.

    `timeout` is per cell, in seconds. `save` writes the notebooks of the chapters that ran through (one over
    1 MB is refused: its verdict says so). `started` and `finished` are called around each chapter; nothing is
    printed. Raises InputError for an unknown number.
    """
    _need_lab_packages()
    results = []
    for source in find(numbers, chapters):
        if started:
            started(source)
        notebook, result = _execute(source, timeout)
        if save and result.ok:
            try:
                _save(notebook, source)
            except InputError as error:
                result = replace(result, verdict=f"failed: {error}", error=str(error))
        results.append(result)
        if finished:
            finished(result)
    return results


def _need_lab_packages() -> None:
    try:
        import ipykernel  # noqa: F401
        import jupytext  # noqa: F401
        import nbclient  # noqa: F401
        import psutil  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"{error.name} is missing: run this with `uv run` in the repository, or install "
            "jupyterlab, jupytext, nbclient, ipykernel and psutil."
        ) from None


# ---- building ----------------------------------------------------------------------------------------------


def build(
    numbers: Sequence[str] = (),
    timeout: float | None = 900,
    chapters: Path = CHAPTERS,
    started: Callable[[Path], None] | None = None,
    finished: Callable[[ChapterRun], None] | None = None,
) -> list[ChapterRun]:
    """Make the .ipynb of each chapter from its .py: execute, clean, save, then collect the claims of all
    chapters.

    A chapter that fails keeps its old notebook; the others are still built, then InputError names each
    failing chapter and the first line of the failing cell.
    """
    results = run(numbers, save=True, timeout=timeout, chapters=chapters, started=started, finished=finished)
    failed = [result for result in results if not result.ok]
    if failed:
        raise InputError(
            "Not built, the old notebook is kept: " + "\n".join(result.error for result in failed)
        )
    collect_claims(chapters)
    return results


def collect_claims(chapters: Path = CHAPTERS) -> list[dict]:
    """Read the claims stored in the saved notebooks and write them to `data/results/claims.json` beside the
    chapters.

    Raises InputError when two claims have the same id within a chapter.
    """
    ledger = []
    for path in sorted(Path(chapters).glob("[0-9][0-9]_*.ipynb")):
        seen = set()
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                record = output.get("data", {}).get(CLAIM_MIME)
                if record is None:
                    continue
                if record["id"] in seen:
                    raise InputError(
                        f"Chapter {path.stem} reports claim {record['id']} twice; give each its own id."
                    )
                seen.add(record["id"])
                ledger.append({"chapter": path.stem, **record})
    target = Path(chapters).parent / "data" / "results" / "claims.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    _write(target, json.dumps(ledger, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return ledger


def _write(path: Path, text: str) -> None:
    """Replace a file in one step, so that an interruption leaves the old one."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _save(notebook, source: Path) -> None:
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
    _write(source.with_suffix(".ipynb"), text)


def clean(notebook) -> None:
    """Remove from an executed notebook, in place, what differs between two builds of the same chapter."""
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = type(notebook.metadata)(
        {
            "jupytext": {"formats": "ipynb,py:percent"},
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    used = set()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        # From the content, so that inserting a cell changes one id, not all that follow.
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        copy = 1
        while (name := digest if copy == 1 else f"{digest}-{copy}") in used:
            copy += 1
        used.add(name)
        cell["id"] = name
        if cell.cell_type == "code":
            cell.outputs = _clean_outputs(cell.outputs)


def _clean_outputs(outputs: list) -> list:
    kept, streams = [], {}
    for output in outputs:
        # A live widget in a saved notebook is an error box: its state died with the kernel. The static
        # picture before it stays.
        if WIDGET_MIME in output.get("data", {}):
            continue
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


# ---- reading -----------------------------------------------------------------------------------------------


def lab_command(
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
        _write(notebook, nbformat.writes(made, version=4) + "\n")
    # Without root_dir only the notebook's folder is served: links to the package and the data would be dead.
    root = notebook.resolve().parent.parent
    command = [sys.executable, "-m", "jupyterlab", str(notebook.resolve()), f"--ServerApp.root_dir={root}"]
    if not browser:
        command.append("--no-browser")
    if port is not None:
        command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if (
        hasattr(os, "geteuid") and os.geteuid() == 0
    ):  # Jupyter refuses root otherwise; containers often have no other user
        command.append("--allow-root")
    return command


def lab(number: str = "00", browser: bool = True, port: int | None = None, chapters: Path = CHAPTERS) -> int:
    """Open a chapter in JupyterLab and wait until the server is stopped; return its exit status."""
    try:
        import jupyterlab  # noqa: F401
    except ImportError:
        raise InputError(
            "JupyterLab is missing: use `uv run ssl-lessons lab` in the repository, or install jupyterlab "
            "and jupytext."
        ) from None
    command = lab_command(number, browser, port, chapters)
    process = subprocess.Popen(command, cwd=Path(chapters).parent)
    while True:
        try:
            return process.wait()
        except (
            KeyboardInterrupt
        ):  # Ctrl-C reaches JupyterLab too, which asks whether to stop; keep waiting for its answer
            continue
