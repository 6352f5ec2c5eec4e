"""Write a benchmark's rows to data/results/NAME.json with everything needed to repeat them."""

import argparse
import datetime
import fcntl
import inspect
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent.parent / "data" / "results"


def machine() -> str:
    """The processor in words, without host names."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        cpu = names[0] if names else cpu
    return f"{cpu}, {os.cpu_count()} cores, {platform.system()}"


def recorded(name: str) -> list[dict]:
    """The rows of data/results/NAME.json; none where nothing was recorded yet."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def record(name: str, rows: list[dict], packages: tuple[str, ...] = ("torch", "torchvision")) -> Path:
    """Save `rows` as data/results/NAME.json and return the path."""
    arguments = [f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    return _write(name, rows, " ".join(["uv run python", *arguments]), packages)


def merge(
    name: str, rows: list[dict], key: tuple[str, ...], packages: tuple[str, ...] = ("torch", "torchvision")
) -> Path:
    """Save `rows` in data/results/NAME.json, in place of the rows there that agree with one of them in all of `key`.

    A long benchmark is thus run in parts, also side by side.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    with open(RESULTS / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        old = json.loads(path.read_text()) if path.exists() else {"rows": [], "versions": {}}
        new = {tuple(row.get(k) for k in key) for row in rows}
        kept = [row for row in old["rows"] if tuple(row.get(k) for k in key) not in new]
        command = f"uv run python benchmarks/{Path(sys.argv[0]).name}"
        since = old["date"].split(" to ")[0] if kept else None
        return _write(name, kept + rows, command, packages, old["versions"], since)


def resume(
    name: str,
    key: tuple[str, ...],
    jobs: Iterable[tuple[dict, Callable[[], dict]]],
    packages: tuple[str, ...],
    seconds: float = float("inf"),
    dry: bool = False,
) -> None:
    """Measure what data/results/NAME.json lacks, and save each row at once: a long benchmark goes on where it stopped.

    jobs: (what tells a row from others, with all columns of `key`; a function that measures the rest).  seconds: start
    no new row after so many.  dry: measure everything, save nothing.
    """
    start = time.perf_counter()
    for place, measure in jobs:
        if not dry and any(all(row.get(k) == place.get(k) for k in key) for row in recorded(name)):
            continue
        if time.perf_counter() - start > seconds:
            return print("time is up; the next call goes on here:", place)
        row = place | measure()
        if not dry:
            merge(name, [row], key, packages)
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


def arguments(doc: str, parts: Iterable[str], sizes: dict[str, int]) -> argparse.ArgumentParser:
    """The options of a benchmark that `resume` runs: parts, seeds, seconds, dry, and one for each of its sizes."""
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(doc), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", default=tuple(parts), choices=tuple(parts))
    parser.add_argument("--seeds", nargs="+", type=int, help="only these (tuning has 100)")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="start no new row after this time"
    )
    for size, value in sizes.items():
        parser.add_argument(f"--{size}", type=int, default=value)
    parser.add_argument("--dry", action="store_true", help="record nothing")
    return parser


def _write(
    name: str, rows: list[dict], command: str, packages, earlier=None, since: str | None = None
) -> Path:
    """`earlier`: versions of packages that only the parts of the record written before used; since: their date."""
    now = {"python": platform.python_version()} | {p: version(p) for p in packages}
    today = datetime.date.today().isoformat()
    content = {
        "command": command,
        "date": today if since in (None, today) else f"{since} to {today}",
        "versions": (earlier or {}) | now,
        "machine": machine(),
        "rows": rows,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path
