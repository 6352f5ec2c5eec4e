"""Execute chapters in fresh kernels, save them as notebooks, collect their claims.

jupytext, nbclient, ipykernel and psutil are imported inside the functions that need them.
"""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ssl_lessons.book import files, frames, reading
from ssl_lessons.book.files import CHAPTERS, CLAIM_MIME, find
from ssl_lessons.errors import InputError


@dataclass(frozen=True)
class ChapterRun:
    """One execution: seconds with the kernel's start, peak memory of the kernel and its children in MiB."""

    number: str
    name: str
    seconds: float
    peak_mib: float
    verdict: str  # "ok", or "failed: cell 3: ValueError: ..."
    error: str | None = None  # the first line of the failing cell and the full message
    minutes: int = 0  # to read it, see book.reading

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


def kernel_manager_class():
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


def _execute(source: Path, timeout: float | None, environment: dict[str, str] | None = None):
    """Execute a chapter's text source in a fresh kernel; return the notebook and its ChapterRun.

    environment: of the kernel, in place of this process's.
    """
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
        kernel_manager_class=kernel_manager_class(),
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
        client.execute(**({"env": environment} if environment else {}))
    except CellExecutionError as error:
        problem, full = f"{error.ename}: {error.evalue}", error.traceback
    except CellTimeoutError:
        problem = f"TimeoutError: the cell ran longer than {timeout:g} s"
    except (DeadKernelError, NoSuchKernel, RuntimeError) as error:
        problem = f"{type(error).__name__}: {error}"
    finally:
        peak = memory.stop()
    seconds = time.perf_counter() - start
    run = ChapterRun(
        files.number_of(source), source.stem, seconds, peak, "ok", minutes=reading.size(source).minutes
    )
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
    draw_frames: bool = False,
) -> list[ChapterRun]:
    """Execute chapters from their text sources, each in a fresh kernel in the chapters' folder.

    `timeout` is per cell, in seconds. `save` writes the minutes to read into the sources' title cells, and the
    notebooks of the chapters that ran through (one over 1 MB is refused: its verdict says so). `draw_frames` writes the
    frames of their widgets (see `book.frames`). `started` and `finished` are called around each chapter; nothing is
    printed. Raises InputError for an unknown number.
    """
    _need_lab_packages()
    results = []
    for source in find(numbers, chapters):
        if started:
            started(source)
        if save:
            reading.write_minutes(source)
        notebook, result = _execute(source, timeout, frames.wanted(source) if draw_frames else None)
        if result.ok:
            try:
                if save:
                    files.save(notebook, source)
                if draw_frames:
                    frames.save(notebook, source)
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


def build(
    numbers: Sequence[str] = (),
    timeout: float | None = 900,
    chapters: Path = CHAPTERS,
    started: Callable[[Path], None] | None = None,
    finished: Callable[[ChapterRun], None] | None = None,
    only_frames: bool = False,
) -> list[ChapterRun]:
    """Make the .ipynb of each chapter from its .py: execute, clean, save, then collect the claims of all
    chapters.  `only_frames`: leave notebooks and claims alone, and write the frames of the widgets.

    A chapter that fails keeps its old notebook or frames; the others are still built, then InputError names each
    failing chapter and the first line of the failing cell.
    """
    results = run(numbers, not only_frames, timeout, chapters, started, finished, draw_frames=only_frames)
    failed = [result for result in results if not result.ok]
    if failed:
        kept = "frames are" if only_frames else "notebook is"
        raise InputError(f"Not built, the old {kept} kept: " + "\n".join(result.error for result in failed))
    if not only_frames:
        collect_claims(chapters)
    return results


def collect_claims(chapters: Path = CHAPTERS) -> list[dict]:
    """Read the claims stored in the saved notebooks and write them to `data/results/claims.json` beside the
    chapters.

    Raises InputError when two claims have the same id within a chapter.
    """
    ledger = []
    for path in files.sources_of(chapters):
        records = files.records_read(path.read_text(encoding="utf-8"))
        path, seen = path.with_suffix(".ipynb"), set()
        if not path.is_file():
            continue
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
                ledger.append({"chapter": path.stem, "records": records, **record})
    target = Path(chapters).parent / "data" / "results" / "claims.json"
    files.write(target, json.dumps(ledger, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return ledger
