"""Make a learner's notebook fit for GitHub, which shows none whose widget state it does not understand."""

from __future__ import annotations

import json
from pathlib import Path

from ssl_lessons.book import files
from ssl_lessons.errors import InputError


def load(path: Path) -> dict:
    """A notebook as it lies in its file.  Raises InputError where that is none, or one older than version 4."""
    try:
        notebook = json.loads(Path(path).read_text(encoding="utf-8"))
        good = notebook["nbformat"] == 4 and all("source" in cell for cell in notebook["cells"])
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise InputError(f"{path} is no notebook of version 4; save it anew in JupyterLab.")
    return notebook


def tidy(path: Path) -> list[str]:
    """Take widget state, dead widgets and execution counts out of a notebook, in place; say what went.

    Text, code, metadata and all other outputs stay as they are; a file in which there is nothing to do is not touched.
    """
    notebook, gone = load(path), []
    if notebook.get("metadata", {}).pop("widgets", None) is not None:
        gone.append("widget state")
    widgets = counts = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        outputs = cell.get("outputs", [])
        counts += cell.get("execution_count") is not None
        cell["execution_count"] = None
        for output in outputs:
            if "execution_count" in output:
                output["execution_count"] = None
        cell["outputs"] = [output for output in outputs if files.WIDGET_MIME not in output.get("data", {})]
        widgets += len(outputs) - len(cell["outputs"])
    gone += [f"{widgets} dead widgets"] * bool(widgets) + [f"{counts} execution counts"] * bool(counts)
    if gone:
        files.write(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    return gone
