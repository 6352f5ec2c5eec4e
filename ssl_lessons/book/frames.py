"""Sliders for pages without a kernel: pictures of a widget, drawn while its chapter is executed for them.

`ssl-lessons build --frames NN` writes them to `chapters/frames/NN_name/0.json`, one file per widget, in their order:

    {"controls": [{"name", "label", "values": [text], "start"}], "mode": "grid" or "one",
     "frames": {"i,j": {"src", "alt"}}}

where i, j are places among the values of the controls.  "grid" has every combination; "one" those in which at most one
control is away from its start.
"""

import base64
import io
import itertools
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ssl_lessons.book import files
from ssl_lessons.errors import InputError

VARIABLE = (
    "SSL_LESSONS_FRAMES"  # set in the kernel that is to draw frames: how many bytes one widget may take
)
GRID = 36  # the largest number of combinations that are all drawn
AROUND = 64  # bytes of a frame beside its picture and alt text

_numbers = itertools.count()


def restart() -> None:
    """The next widget is the first of its chapter."""
    global _numbers
    _numbers = itertools.count()


def next_number() -> int:
    """The place of a widget in its chapter, from 0."""
    return next(_numbers)


def limit() -> int | None:
    """How many bytes the frames of one widget may take; None where no frames are wanted."""
    return int(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def wanted(source: Path) -> dict[str, str]:
    """The environment of a kernel that is to draw the frames of this chapter: its widgets share the limit.

    Its threads sleep while they wait for each other: on a busy machine spinning makes a chapter's many small steps (the
    batches of 16 in chapter 26) take ten times as long.
    """
    widgets = len(re.findall(r"\bexplore\(", source.read_text(encoding="utf-8")))
    return {
        "OMP_WAIT_POLICY": "passive", **os.environ, VARIABLE: str(files.MAX_BYTES // max(1, widgets))
    }


def text(value) -> str:
    """A control's value as a reader sees it."""
    return format(value, ".3g") if isinstance(value, float) else str(value)


def draw(render: Callable, controls: Mapping, describe: Callable[..., str], limit: int) -> dict:
    """The frames of a widget: as many values per control as `limit` bytes allow, nine at most (all of a choice).

    Raises InputError where even three per control take more; what `render` raises is passed on.
    """
    drawn: dict[tuple, dict] = {}
    for mode, n in _plans(controls):
        stops = [control.stops(n) for control in controls.values()]
        start = tuple(s.index(c.value) for s, c in zip(stops, controls.values(), strict=True))
        places = list(_places([len(s) for s in stops], start, mode))
        if drawn and len(places) * _size(drawn) / len(drawn) > limit:  # judged by those of a larger plan
            continue
        found = {}
        for place in places:
            values = tuple(s[i] for s, i in zip(stops, place, strict=True))
            if values not in drawn:
                drawn[values] = _frame(render, describe, dict(zip(controls, values, strict=True)))
            found[",".join(map(str, place))] = drawn[values]
            if _size(found) > limit:
                break
        else:
            listed = [
                {"name": name, "label": control.label, "values": [text(v) for v in s], "start": i}
                for (name, control), s, i in zip(controls.items(), stops, start, strict=True)
            ]
            return {"controls": listed, "mode": mode, "frames": found}
    raise InputError(f"Three frames per control take over {limit / 1e6:.1f} MB: draw a smaller picture.")


def _plans(controls: Mapping) -> Iterator[tuple[str, int]]:
    """(mode, values per control), the best first."""
    for n in range(9, 4, -1):
        if math.prod(len(control.stops(n)) for control in controls.values()) <= GRID:
            yield "grid", n
    for n in range(9, 2, -1):
        yield "one", n


def _places(lengths: list[int], start: tuple[int, ...], mode: str) -> Iterator[tuple[int, ...]]:
    for place in itertools.product(*map(range, lengths)):
        if mode == "grid" or sum(a != b for a, b in zip(place, start, strict=True)) <= 1:
            yield place


def _size(found: Mapping) -> int:
    return sum(len(frame["src"]) + len(frame["alt"]) + AROUND for frame in found.values())


def _frame(render: Callable, describe: Callable[..., str], parameters: Mapping) -> dict[str, str]:
    from PIL import Image

    from ssl_lessons.book import plots

    image = Image.open(io.BytesIO(plots.png(render(**parameters), compress_level=1))).convert("RGB")
    few = image.quantize(256, dither=Image.Dither.NONE).convert("RGB")
    kinds = ((few, {"lossless": True, "quality": 80}), (image, {"quality": 70}))  # for lines, for photographs
    data = min((_webp(picture, **options) for picture, options in kinds), key=len)
    return {
        "src": f"data:image/webp;base64,{base64.b64encode(data).decode()}",
        "alt": " ".join(describe(**parameters).split()),
    }


def _webp(image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="webp", **options)
    return buffer.getvalue()


def save(notebook, source: Path) -> list[Path]:
    """Write the frames among the outputs of an executed chapter in place of the old ones; returns the files.

    Raises InputError where they take more than a megabyte together.
    """
    found = [
        output["data"][files.FRAMES_MIME]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if files.FRAMES_MIME in output.get("data", {})
    ]
    texts = [json.dumps(frames, ensure_ascii=False, indent=0) + "\n" for frames in found]
    size = sum(len(text.encode()) for text in texts)
    if size > files.MAX_BYTES:
        raise InputError(f"The frames of {source.stem} take {size / 1e6:.1f} MB, over the limit of 1 MB.")
    folder = source.parent / "frames" / source.stem
    paths = [folder / f"{n}.json" for n in range(len(texts))]
    for path, content in zip(paths, texts, strict=True):
        files.write(path, content)
    for old in set(folder.glob("*.json")) - set(paths):
        old.unlink()
    return paths


def markup(folder: Path, number: str) -> str:
    """The place of a slider with its frames beside it, for site/static/frames.js; empty where none were made.

    folder: chapters/frames/NN_name.  Raises InputError where its file cannot be read.
    """
    path = folder / f"{number}.json"
    if not path.is_file():
        return ""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        told["controls"], told["frames"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is no set of slider frames: delete it or make it again.") from None
    content = json.dumps(told, ensure_ascii=False).replace("</", "<\\/")
    return f'<div class="ssl-frames"><script type="application/json">{content}</script></div>'
