"""Write a benchmark's rows to data/results/NAME.json with everything needed to repeat them."""

import datetime
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


def record(name: str, rows: list[dict], packages: tuple[str, ...] = ("torch", "torchvision")) -> Path:
    """Save `rows` as data/results/NAME.json and return the path."""
    command = " ".join(["uv run python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    content = {
        "command": command,
        "date": datetime.date.today().isoformat(),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "machine": machine(),
        "rows": rows,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path
