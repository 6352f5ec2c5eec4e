"""Write a benchmark's rows to data/results/NAME.json with everything needed to repeat them."""

import datetime
import fcntl
import json
import os
import platform
import sys
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
