"""Every paper a chapter links to has an entry in data/references.bib."""

import re
from pathlib import Path

import pytest

from ssl_lessons.book.files import find, repository

ROOT = Path(__file__).parent.parent
CHAPTERS = find()
BIB = (ROOT / "data" / "references.bib").read_text(encoding="utf-8")
URLS = set(re.findall(r"url = \{([^}]+)\}", BIB))
KEYS = re.findall(r"^@\w+\{([^,]+),", BIB, re.MULTILINE)
OURS = (repository(), "https://colab.research.google.com/", "http://192.168.")


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_every_link_is_in_the_bibliography(path):
    found = set(re.findall(r"https?://[^\s)\"'<>\]]+", path.read_text(encoding="utf-8")))
    assert sorted(link for link in found if not link.startswith(OURS) and link not in URLS) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_internal_links_lead_to_chapters(path):
    for name in re.findall(r"\]\((\d\d[a-z]?_\w+\.ipynb)\)", path.read_text(encoding="utf-8")):
        assert (ROOT / "chapters" / name).with_suffix(".py").is_file(), name


def test_keys_and_addresses_are_unique():
    assert len(KEYS) == len(set(KEYS)) and len(URLS) == len(KEYS)
