"""Pieces of a slide as HTML, how high each is on a slide of 1280 x 720, and slides that are never too full.

Heights are estimates for a wide typeface (DejaVu Sans); tests measure every slide in a browser.
"""

import base64
import html
import math
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ssl_lessons.book.slides import text

WIDE, ROOM = 1180, 612  # of what is below and beside the edges, title included
LINE, LETTERS = 36, 72  # of running text: pixels from line to line, letters in a line
SMALL_LINE, SMALL_LETTERS = 30, 86  # of tables
CODE_LINE, CODE_LETTERS = 27, 92
TITLE_LINE, TITLE_LETTERS = 46, 44
GAP = 14
PICTURE, SLIDER = 300, 430  # the least that is left for them


@dataclass(frozen=True)
class Block:
    """markup, and its height; keep: not the last on its slide, since it leads to the next."""

    markup: str
    height: int
    keep: bool = False


def packed(kind: str, title: str, blocks: Sequence[tuple[Block, str]], slide: Callable) -> list:
    """Slides of one title: as many blocks on each as have room, in order; the notes of a slide are its blocks'.

    slide: called with kind, title, blocks, notes.
    """
    room = ROOM - lines_of(title, TITLE_LETTERS) * TITLE_LINE - GAP
    full, run, units = [[]], [], []
    for block, note in blocks:
        run.append((block, note))
        if not block.keep:
            units.append(run)
            run = []
    for unit in [*units, *([run] if run else [])]:
        used = sum(block.height + GAP for block, _ in full[-1])
        if full[-1] and used + sum(block.height + GAP for block, _ in unit) > room:
            full.append([])
        full[-1] += unit
    return [
        slide(kind, title, tuple(b for b, _ in one), "\n\n".join(note for _, note in one if note))
        for one in full
        if one
    ]


def lines_of(markdown: str, letters: int) -> int:
    return max(1, math.ceil(len(text.plain(markdown)) / letters))


def rendered(markdown: str) -> str:
    """Markdown as HTML; formulas as MathJax reads them."""
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    def written(latex: str, options: dict) -> str:
        opening, closing = (r"\[", r"\]") if options["display_mode"] else (r"\(", r"\)")
        return f"{opening}{html.escape(latex.strip())}{closing}"

    parser = MarkdownIt("commonmark").enable("table")
    return parser.use(dollarmath_plugin, double_inline=True, renderer=written).render(markdown).strip()


def text_block(markdown: str, keep: bool = False) -> Block:
    return Block(rendered(markdown), lines_of(markdown, LETTERS) * LINE, keep)


def item(markdown: str) -> Block:
    """One item of a list; the deck joins neighbours."""
    return Block(
        f"<ul><li>{_inline(markdown)}</li></ul>",
        lines_of(markdown, LETTERS - 4) * LINE,
    )


def _inline(markdown: str) -> str:
    return re.sub(r"^<p>(.*)</p>$", r"\1", rendered(markdown), flags=re.S)


def quote(markdown: str, most: int = 9) -> list[Block]:
    """A block quote in full, in parts of at most so many lines where it is long."""
    whole = sum(lines_of(part, LETTERS - 3) for part in text.paragraphs(markdown))
    if whole <= most:
        parts = [markdown]
    else:
        parts = [""]
        for sentence in text.sentences(markdown):
            if parts[-1] and lines_of(f"{parts[-1]} {sentence}", LETTERS - 3) > most:
                parts.append("")
            parts[-1] = f"{parts[-1]} {sentence}".strip()
    heights = [sum(lines_of(p, LETTERS - 3) * LINE + GAP for p in text.paragraphs(one)) for one in parts]
    return [
        Block(f"<blockquote>{rendered(one)}</blockquote>", height + 16)
        for one, height in zip(parts, heights, strict=True)
    ]


def equations(markdown: str) -> list[Block]:
    """A display formula; one that is too wide, and has its parts side by side, is set in several lines."""
    latex = markdown.strip().rstrip(".,;").strip("$").strip()
    parts = [latex]
    if len(text.formula(latex)) > 62:
        latex = re.sub(r"^\\boxed\{(.*)\}$", r"\1", latex, flags=re.S)
        cut = [part.strip() for part in re.split(r"\\qquad|(?<!\\)\\quad", latex) if part.strip()]
        parts = cut if all(_closed(part) for part in cut) else parts
    found = []
    for part in parts:
        rows = 1 + part.count("\\\\")
        high = 34 if re.search(r"\\(frac|sum|int|prod|max|min)", part) else 0
        found.append(Block(f'<div class="formula">\\[{html.escape(part)}\\]</div>', rows * (44 + high) + 16))
    return found


def _closed(latex: str) -> bool:
    pairs = all(latex.count(a) == latex.count(b) for a, b in ((r"\left", r"\right"), (r"\begin", r"\end")))
    return pairs and all(latex.count(a) == latex.count(b) for a, b in ("{}", "()", "[]"))


def printed(output: str) -> Block:
    lines = sum(max(1, math.ceil(len(line) / CODE_LETTERS)) for line in output.splitlines())
    return Block(f'<pre class="printed">{html.escape(output)}</pre>', lines * CODE_LINE + 16)


def code(source: str) -> Block:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    lines = source.strip("\n").count("\n") + 1
    return Block(highlight(source, PythonLexer(), HtmlFormatter(cssclass="code")), lines * CODE_LINE + 20)


def picture(tag: str) -> Block:
    """A picture that takes the room that is left; tag: <img ...>."""
    kept = re.sub(r'\s(?:width|height|style)="[^"]*"', "", tag)
    return Block(kept, min(PICTURE, int(WIDE * _ratio(tag))))


def _ratio(tag: str) -> float:
    """Height by width of a PNG in an address; 1 for any other picture."""
    if found := re.search(r"data:image/png;base64,([A-Za-z0-9+/]{32})", tag):
        width, height = struct.unpack(">II", base64.b64decode(found[1])[16:24])
        return height / width
    return 1.0


def slider(markup: str) -> Block:
    return Block(markup, SLIDER)


def markdown_table(markdown: str) -> Block:
    return table(rendered(markdown))[0]


def table(markup: str) -> list[Block]:
    """A table in HTML, its rows on as many slides as they need, each with the caption and the headings."""
    found = re.search(r"<table\b.*?</table>", markup, re.S)[0]
    caption = re.search(r"<caption>.*?</caption>", found, re.S)
    head = re.search(r"<thead>.*?</thead>", found, re.S)
    head = head[0] if head else ""
    rows = re.findall(r"<tr\b.*?</tr>", found.replace(head, ""), re.S)
    widths = _columns([_cells(row) for row in [*re.findall(r"<tr\b.*?</tr>", head, re.S), *rows]])
    kind = ' class="narrow"' if sum(widths) + 2 * len(widths) > SMALL_LETTERS else ""
    above = lines_of(caption[0], LETTERS) * SMALL_LINE if caption else 0
    above += _high(_cells(head), widths) if head else 0
    parts, used = [[]], above
    for row in rows:
        height = _high(_cells(row), widths)
        if parts[-1] and used + height > ROOM - 2 * TITLE_LINE - 2 * GAP:
            parts.append([])
            used = above
        parts[-1].append((row, height))
        used += height
    top = (caption[0] if caption else "") + head
    return [
        Block(
            f"<table{kind}>{top}<tbody>{''.join(row for row, _ in part)}</tbody></table>",
            above + sum(height for _, height in part) + 8,
        )
        for part in parts
    ]


def _cells(row: str) -> list[str]:
    return [text.plain(html.unescape(cell)) for cell in re.findall(r"<t[hd]\b[^>]*>(.*?)</t[hd]>", row, re.S)]


def _columns(rows: Sequence[Sequence[str]]) -> list[float]:
    """Letters that a browser gives to each column: its longest word, and a share of the rest by its longest cell."""
    count = max(map(len, rows))
    of = [[row[i] for row in rows if i < len(row)] for i in range(count)]
    least = [max(max((len(w) for w in cell.split()), default=1) for cell in column) for column in of]
    most = [max(map(len, column)) for column in of]
    spare = SMALL_LETTERS - 2 * count - sum(least)
    wanted = sum(most) - sum(least)
    share = min(1.0, max(0.0, spare / wanted)) if wanted else 0.0
    return [low + share * (high - low) for low, high in zip(least, most, strict=True)]


def _high(cells: Sequence[str], widths: Sequence[float]) -> int:
    lines = [math.ceil(len(cell) / max(1, width)) for cell, width in zip(cells, widths, strict=False)]
    return max([1, *lines]) * SMALL_LINE + 10


def verdicts(claims: Sequence[dict[str, str]]) -> list[Block]:
    """Claims with their verdicts as tables; of each: Statement, Drawn world, Photographs, as HTML."""
    if not claims:
        return []
    heads = ("Statement", "Drawn world", "Photographs")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    rows = "".join(
        "<tr>" + "".join(f"<td>{claim.get(name, '')}</td>" for name in heads) + "</tr>" for claim in claims
    )
    return table(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
