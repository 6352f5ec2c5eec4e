"""The course map as a drawing: chapters in columns, each to the right of what it needs."""

import html

from ssl_lessons.book.site.outline import Chapter, Outline

WIDTH, HEIGHT, GAP, COLUMN = 190, 56, 16, 250
LETTERS = 24  # of a title in a box, as it is set without being made narrower


def drawing(book: Outline) -> str:
    """An SVG with a link in every box and a curve from each chapter to those that need it, without blank lines."""
    mains = {c.number: c for c in book.chapters if c.of == c.number}
    needs = {n: [m for m in c.needs if m in mains and m != n] for n, c in mains.items()}
    column = {n: _depth(n, needs) for n in mains}
    rows: dict[int, int] = {}
    place = {}
    for number in mains:
        row = rows.get(column[number], 0)
        rows[column[number]] = row + 1
        place[number] = (10 + column[number] * COLUMN, 10 + row * (HEIGHT + GAP))
    width = 10 + COLUMN * max(rows, default=0) + WIDTH + 10
    height = 10 + max(rows.values(), default=0) * (HEIGHT + GAP)
    ways = [_way(place[m], place[n]) for n in mains for m in _direct(n, needs)]
    boxes = [_box(book, c, *place[c.number]) for c in mains.values()]
    return (
        '<div class="ssl-map" role="region" tabindex="0" aria-label="Course map">\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" '
        f'height="{height}" viewBox="0 0 {width} {height}" role="group" aria-label="Chapters and what they need">\n'
        + "\n".join(ways + boxes)
        + "\n</svg>\n</div>"
    )


def _depth(number: str, needs: dict) -> int:
    return 1 + max((_depth(n, needs) for n in needs[number]), default=-1)


def _before(number: str, needs: dict) -> set[str]:
    return set(needs[number]).union(*(_before(n, needs) for n in needs[number]))


def _direct(number: str, needs: dict) -> list[str]:
    """What a chapter needs that none of the other chapters it needs brings along."""
    return [n for n in needs[number] if not any(n in _before(m, needs) for m in needs[number])]


def _way(start: tuple[int, int], end: tuple[int, int]) -> str:
    x, y, u, v = start[0] + WIDTH, start[1] + HEIGHT // 2, end[0], end[1] + HEIGHT // 2
    bend = (u - x) // 2
    return f'<path class="way" d="M{x} {y} C{x + bend} {y} {u - bend} {v} {u - 6} {v} l-6 -4 m6 4 l-6 4"/>'


def _box(book: Outline, c: Chapter, x: int, y: int) -> str:
    def link(to: Chapter, text: str, left: int, line: int) -> str:
        name = html.escape(f"{to.number} {to.short}")
        # A long title is set narrower: what is read aloud has to hold what is seen, all of it.
        fits = "" if len(text) <= LETTERS else f' textLength="{WIDTH - 20}" lengthAdjust="spacingAndGlyphs"'
        return (
            f'<a href="chapters/{to.name}{book.suffix}" aria-label="{name}">'
            f'<text x="{x + left}" y="{y + line}"{fits}>{html.escape(text)}</text></a>'
        )

    title = f"{c.number} {c.short}"
    companions = [o for o in book.chapters if o.of == c.number and o is not c]
    marks = [link(o, o.number, 90 + 34 * i, 43) for i, o in enumerate(companions)]
    return (
        f'<rect class="box" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>\n{link(c, title, 10, 22)}\n'
        f'<text x="{x + 10}" y="{y + 43}">{c.minutes} minutes</text>\n' + "\n".join(marks)
    )
