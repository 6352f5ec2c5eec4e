"""The reader's own copy of a chapter: made once, never overwritten, and the book unchanged by it."""

import json
import sys

import pytest

from ssl_lessons import book
from ssl_lessons.book import lab
from ssl_lessons.errors import InputError

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("jupytext")


def save(folder, name, answer="?"):
    """A pair of one chapter, as `build` leaves it; another `answer` is a new version of it."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(f"# %%\nanswer = {answer!r}\n")
    output = nbformat.v4.new_output("stream", text=f"{answer}\n")
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(f"answer = {answer!r}", outputs=[output])]
    )
    book.clean(notebook)
    (folder / f"{name}.ipynb").write_text(nbformat.writes(notebook, version=4) + "\n")


@pytest.fixture
def chapters(tmp_path):
    save(tmp_path / "chapters", "00_start")
    save(tmp_path / "chapters", "13_nce")
    return tmp_path / "chapters"


def write_in(copy, text):
    notebook = nbformat.read(copy, as_version=4)
    notebook.cells[0].source = text
    nbformat.write(notebook, copy)


def first(path):
    return nbformat.read(path, as_version=4).cells[0].source


def test_the_copy_has_the_saved_outputs_and_is_not_paired(chapters):
    copy, outdated = lab.own_copy("13", chapters=chapters)
    assert copy == chapters.parent / "work" / "13_nce.ipynb" and not outdated
    notebook = nbformat.read(copy, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].outputs[0].text == "?\n"
    assert "jupytext" not in notebook.metadata and notebook.metadata.kernelspec.name == "python3"


def test_links_between_chapters_lead_from_copy_to_copy(chapters):
    copy, _ = lab.own_copy("13", chapters=chapters)
    assert sorted(path.name for path in copy.parent.iterdir()) == ["00_start.ipynb", "13_nce.ipynb"]


def test_what_the_reader_wrote_stays_and_a_newer_book_is_announced(chapters):
    copy, _ = lab.own_copy("13", chapters=chapters)
    write_in(copy, "answer = 'mine'")
    assert lab.own_copy("13", chapters=chapters) == (copy, False), "the book is as it was"
    save(chapters, "13_nce", "a newer one")
    assert lab.own_copy("13", chapters=chapters) == (copy, True)
    assert first(copy) == "answer = 'mine'"
    assert lab.own_copy("00", chapters=chapters)[1] is False, "only the chapter that changed"


def test_a_copy_that_nobody_changed_follows_the_book(chapters):
    copy, _ = lab.own_copy("13", chapters=chapters)
    nbformat.write(nbformat.read(copy, as_version=4), copy)  # as JupyterLab saves a notebook without a change
    save(chapters, "13_nce", "a newer one")
    assert lab.own_copy("13", chapters=chapters) == (copy, False)
    assert first(copy) == "answer = 'a newer one'"


def test_fresh_keeps_every_old_copy_beside_the_new_one(chapters):
    copy, _ = lab.own_copy("13", chapters=chapters)
    for text in ("one", "two", "three"):
        write_in(copy, text)
        assert lab.own_copy("13", fresh=True, chapters=chapters) == (copy, False)
        assert first(copy) == "answer = '?'"
    old = [path for path in copy.parent.glob("13_nce.*.ipynb")]
    assert sorted(map(first, old)) == ["one", "three", "two"]


@pytest.mark.parametrize("theirs", ["no notebook", "{}", '{"cells": [], "metadata": {}}'])
def test_a_file_that_was_not_made_here_is_left_alone(chapters, theirs):
    copy = chapters.parent / "work" / "13_nce.ipynb"
    copy.parent.mkdir()
    copy.write_text(theirs)
    assert lab.own_copy("13", chapters=chapters) == (copy, True)
    assert copy.read_text() == theirs


def test_a_chapter_without_a_saved_notebook_is_copied_from_its_text_and_not_written(chapters):
    (chapters / "13_nce.ipynb").unlink()
    copy, _ = lab.own_copy("13", chapters=chapters)
    assert first(copy) == "answer = '?'" and not (chapters / "13_nce.ipynb").exists()


def test_the_authors_open_the_pair_which_is_made_from_the_text_when_missing(chapters):
    (chapters / "13_nce.ipynb").unlink()
    notebook = lab.original("13", chapters)
    assert notebook == chapters.resolve() / "13_nce.ipynb" and book.check_pair(notebook) == []
    assert json.loads(notebook.read_text())["metadata"]["jupytext"]


def test_the_address_opens_the_notebook_with_or_without_a_browser(chapters):
    copy, _ = lab.own_copy("0", chapters=chapters)
    command = lab.command(copy, browser=False, port=8123)
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert f"--LabApp.default_url=/lab/tree/{lab.FOLDER}/00_start.ipynb" in command
    assert f"--ServerApp.root_dir={chapters.parent.resolve()}" in command
    assert "--no-browser" in command and "--ServerApp.port=8123" in command
    assert "--no-browser" not in lab.command(copy)


def test_without_the_repository_one_sentence_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="clone of the book's repository"):
        lab.own_copy("13", chapters=tmp_path / "nowhere")
    assert not (tmp_path / "work").exists()
