"""Functions of Python's standard library and their docstrings: real pairs of code and text, in every installation."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ssl_lessons.errors import InputError

# Read in this order; the test modules are others than the training modules, so no file is in both.
TRAIN = (
    "argparse asyncio calendar codecs collections concurrent configparser contextlib copy csv ctypes datetime decimal "
    "difflib dis doctest email enum fileinput fractions ftplib functools gettext glob gzip heapq html http imaplib "
    "importlib inspect ipaddress json locale logging mailbox mimetypes multiprocessing nntplib numbers os pathlib "
    "pdb pickle pickletools platform plistlib poplib posixpath pprint profile pydoc queue random re sched selectors "
    "shlex smtplib socket socketserver sqlite3 ssl string struct symtable tempfile textwrap threading tokenize "
    "traceback tkinter turtle types typing unittest urllib uuid venv weakref wsgiref xml xmlrpc zipfile"
).split()
TEST = (
    "ast base64 bdb bisect bz2 cgi cmd code cProfile cmath compileall dataclasses dbm filecmp fnmatch ftplib "
    "genericpath getpass graphlib hashlib hmac imghdr keyword linecache lzma netrc ntpath nturl2path operator "
    "optparse py_compile pkgutil pyclbr quopri runpy shelve shutil signal site sndhdr statistics stat subprocess "
    "sysconfig tarfile telnetlib timeit trace tracemalloc warnings wave webbrowser zipapp zoneinfo"
).split()
SPLITS = {"train": TRAIN, "test": [name for name in TEST if name not in TRAIN]}
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
LONGEST = 80  # words of a function's body that are kept


@dataclass(frozen=True)
class Programs:
    """N functions: what is written about them (the first sentence of the docstring), and their code without it."""

    texts: list[str]
    codes: list[str]
    names: list[str]

    def __len__(self) -> int:
        return len(self.texts)


def words(text: str) -> list[str]:
    """The words of text or code, in small letters; readHeaderLine and read_header_line are three words each."""
    return [w.lower() for w in WORDS.findall(text)]


def programs(split: str, most: int = 4000) -> Programs:
    """Functions with a docstring of at least four words and a body, from the modules of a split: "train" or "test".

    The function's own name stays in the code; the docstring does not.  Modules that this Python lacks are passed over.
    Raises InputError for an unknown split.
    """
    if split not in SPLITS:
        raise InputError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    root, found = Path(ast.__file__).parent, Programs([], [], [])
    for name in SPLITS[split]:
        files = (
            [root / f"{name}.py"] if (root / f"{name}.py").exists() else sorted((root / name).rglob("*.py"))
        )
        for file in files:
            if "test" not in file.relative_to(root).as_posix():
                _read(file, file.relative_to(root).as_posix(), found)
    return Programs(found.texts[:most], found.codes[:most], found.names[:most])


def _read(file: Path, place: str, found: Programs) -> None:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or len(node.body) < 2:
            continue
        text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
        if len(words(text)) >= 4:
            node.body = node.body[1:]
            found.texts.append(text)
            found.codes.append(ast.unparse(node))
            found.names.append(f"{place}: {node.name}")


class Numbers:
    """Words to numbers: those that occur at least `least` times in some lists of words; 0 pads, 1 is any other."""

    def __init__(self, lists: list[list[str]], least: int = 3):
        count: dict[str, int] = {}
        for row in lists:
            for word in row:
                count[word] = count.get(word, 0) + 1
        known = sorted(w for w, c in count.items() if c >= least)
        self.number = {w: i + 2 for i, w in enumerate(known)}

    def __len__(self) -> int:
        return len(self.number) + 2

    def ids(self, lists: list[list[str]], length: int = LONGEST) -> Tensor:
        """int64 [N, length], padded with 0; an empty list becomes one unknown word."""
        out = torch.zeros(len(lists), length, dtype=torch.long)
        for row, some in zip(out, lists, strict=True):
            numbers = [self.number.get(w, 1) for w in some[:length]] or [1]
            row[: len(numbers)] = torch.tensor(numbers)
        return out


def unshared(texts: list[list[str]], codes: list[list[str]]) -> list[list[str]]:
    """The words of each text that do not stand in its own code: counting whole words cannot find what is left."""
    return [[w for w in text if w not in set(code)] for text, code in zip(texts, codes, strict=True)]


def reciprocal_rank(score: Tensor) -> float:
    """MRR of queries [N] among candidates [N], the right one on the diagonal (Husain et al. 2019, section 4).

    The mean of 1 / place; a candidate of equal score counts as half a place before.
    """
    if score.ndim != 2 or score.shape[0] != score.shape[1]:
        raise InputError(f"score must be square, queries by candidates, not {list(score.shape)}")
    own = score.diagonal()[:, None]
    place = 1 + (score > own).sum(dim=1) + ((score == own).sum(dim=1) - 1) / 2
    return float((1 / place).mean())
