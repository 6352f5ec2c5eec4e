"""Chapters are of a size that can be read in one sitting, and say how long it takes."""

import re

import jupytext
import nbformat
import pytest

from ssl_lessons.book import files, reading

CHAPTERS = files.find()
HEADER = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---
"""
TEXT = (
    HEADER
    + """
# %% [markdown]
# # Title
#
# **Time**: 99 minutes to read, a second to run. See [the *paper*](https://example.org/a/b).

# %%
a = 1

b = 2

# %% tags=["hide-input"]
print("drawing")

# %% [markdown]
# Two more.
#
# ## Exercises
# Words that do not count.

# %%
c = 3

# %% [markdown]
# ## Claims
# Two words.
"""
)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "03_toy.py"
    path.write_text(TEXT)
    return path


def test_hidden_cells_exercises_and_addresses_are_not_read(source):
    # Title | Time 99 minutes to read a second to run See the paper | Two more | Claims | Two words
    assert reading.size(source) == reading.Size(words=18, lines=2, longest=2)


def test_the_minutes_are_written_once_and_nothing_else_changes(source):
    assert reading.write_minutes(source).minutes == 0
    assert source.read_text() == TEXT.replace("99 minutes", "0 minutes")
    assert reading.Size(1800, 150, 20).minutes == 20


def test_a_drawing_cell_is_folded_wherever_the_notebook_is_opened(source):
    notebook = jupytext.read(source)
    files.clean(notebook)
    folded = [cell for cell in notebook.cells if cell.metadata]
    assert len(folded) == 1 and folded[0].source == 'print("drawing")'
    assert folded[0].metadata == {
        "tags": ["hide-input"], "jupyter": {"source_hidden": True}, "cellView": "form"
    }  # fmt: skip
    nbformat.validate(notebook)
    back = jupytext.writes(notebook, fmt="py:percent")
    assert '# %% tags=["hide-input"]\n' in back and "source_hidden" not in back


def test_the_capstone_asks_colab_for_a_t4():
    notebook = nbformat.read(files.find(["25"])[0].with_suffix(".ipynb"), as_version=4)
    assert notebook.metadata["accelerator"] == "GPU" and notebook.metadata["colab"] == {"gpuType": "T4"}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_title_tells_honest_minutes(path):
    told = re.search(r"\*\*Time\*\*: (\d+) minutes to read", path.read_text(encoding="utf-8"))
    assert told and int(told[1]) == reading.size(path).minutes


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_is_one_sitting(path):
    found = reading.size(path)
    assert found.words <= 2800 and found.lines <= 350 and found.minutes <= 45 and found.longest <= 25
    code = [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    assert max(len(line) for source in code for line in source.splitlines()) <= 88
