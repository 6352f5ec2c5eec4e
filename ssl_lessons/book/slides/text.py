"""Markdown of a chapter, taken apart: paragraphs, sentences, questions; how much room a text takes."""

import re

_KEPT = re.compile(r"\$\$.*?\$\$|\$[^$]+\$|`[^`]+`|\[[^\]]*\]\([^)\s]*\)", re.S)  # nothing in these ends a sentence
_SHORT = re.compile(r"(?:\b(?:al|e\.g|i\.e|cf|vs|eq|fig|sec|no|ch|approx)|\b[A-Z])\.$", re.I)
ALONE = 70  # letters: a shorter question wants the sentence before it
_END = re.compile(r"""[.!?][*_)"'”]*(?=\s+["'“(*_`$\[]*[A-Z0-9\x00$`])""")
_COMMANDS = (
    (re.compile(r"\\(?:text|mathrm|operatorname|mathbf|mathcal|mathbb)\*?\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\(?:begin|end)\{\w+\*?\}|\\(?:left|right|big|Big|bigg|Bigg)[lr]?\b|\\[,;!]|&"), ""),
    (re.compile(r"\\q?quad"), "   "),
    (re.compile(r"\\[A-Za-z]+ ?"), "x"),
    (re.compile(r"[{}^_\\]"), ""),
)


def plain(markdown: str) -> str:
    """What a reader sees of a text, about: a formula's commands count as one letter each."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    text = re.sub(r"<[^>]*>", "", text)
    text = re.sub(r"\$\$?(.+?)\$\$?", lambda m: formula(m[1]), text, flags=re.S)
    return " ".join(re.sub(r"\*\*|`|(?<!\w)\*|\*(?!\w)", "", text).split())


def formula(latex: str) -> str:
    """A formula as letters, for its width alone."""
    for pattern, rest in _COMMANDS:
        latex = pattern.sub(rest, latex)
    return latex


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph of Markdown; a full stop in a formula, in code or in an address ends none."""
    text, kept = " ".join(paragraph.split()), []

    def put(match: re.Match) -> str:
        kept.append(match[0])
        return f"\x00{len(kept) - 1}\x00"

    text = _KEPT.sub(put, text)
    found, start = [], 0
    for end in _END.finditer(text):
        if not _SHORT.search(text[: end.start() + 1]):
            found.append(text[start : end.end()])
            start = end.end()
    found.append(text[start:])
    back = [re.sub(r"\x00(\d+)\x00", lambda m: kept[int(m[1])], one) for one in found]
    return [_balanced(one.strip()) for one in back if one.strip()]


def _balanced(sentence: str) -> str:
    """A sentence without the mark of an emphasis that begins or ends in another one."""
    return sentence.replace("**", "", 1) if sentence.count("**") % 2 else sentence


def paragraphs(markdown: str) -> list[str]:
    """The blocks between blank lines: formulas and fenced code stay whole and alone, <details> are left out."""
    text = re.sub(r"<details>.*?</details>", "", markdown, flags=re.S)
    fences = re.split(r"(^```.*?^```\s*?$|\$\$.*?\$\$[.,;]?)", text, flags=re.S | re.M)
    found = []
    for place, part in enumerate(fences):
        found += [part] if place % 2 else re.split(r"\n\s*\n", part)
    return [part.strip("\n") for part in found if part.strip()]


def items(block: str) -> list[str]:
    """The items of a list, each as one line."""
    mark = r"^\s*[-*]\s+" if re.match(r"\s*[-*]\s", block) else r"^ ?\d{1,2}\.\s+"  # a line may begin with "256. "
    found = re.split(mark, block, flags=re.M)[1:]
    return [" ".join(item.split()) for item in found]


def questions(markdown: str) -> list[str]:
    """What a text asks: its sentences with a question mark at the end, a short one with the sentence before it."""
    text = re.sub(r"^> ?", "", markdown, flags=re.M)
    told = [p for p in paragraphs(text) if not p.startswith(("#", "$$", "```", "|"))]
    found = []
    for part in told:
        before = ""
        for sentence in sentences(part):
            if _asks(sentence):
                asked = f"{before} {sentence}" if len(plain(sentence)) < ALONE else sentence
                found.append(asked.replace("**", "").strip())
                before = ""
            else:
                before = sentence
    return found


def _asks(sentence: str) -> bool:
    return plain(sentence).rstrip("\"'”)").endswith("?")
