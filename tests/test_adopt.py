"""A fork becomes its own book in one command, and goes back; a release pins what it installs."""

import shutil
import tomllib

import nbformat
import pytest
from typer.testing import CliRunner

from ssl_lessons.book import files
from ssl_lessons.book.adopt import adopt
from ssl_lessons.cli import app
from ssl_lessons.errors import InputError

HOME = files.repository()
FORK = (
    "https://github.com/ada/ssl-lessons-2"  # begins like the old name: replacing blindly would double its end
)


@pytest.fixture
def clone(tmp_path):
    """A part of the book: two chapters, and the texts that name its address."""
    (tmp_path / "chapters").mkdir()
    for source in files.find(["13b", "25"]):
        for path in (source, source.with_suffix(".ipynb")):
            shutil.copy(path, tmp_path / "chapters")
    for name in ("pyproject.toml", "README.md", "CITATION.cff"):
        shutil.copy(files.ROOT / name, tmp_path)
    (tmp_path / "docs").mkdir()
    owner, name = HOME.split("/")[-2:]
    (tmp_path / "docs" / "links.md").write_text(
        f"{HOME}.git, {HOME}/blob/main/benchmarks/clinic.py, {HOME}x/blob/main/a.py, {owner}.github.io/{name}/\n"
        f"pip install git+{HOME} or git+{HOME}/ and https://github.com/elsewhere/{name}/blob/main/a.py\n"
    )
    return tmp_path


def texts(root):
    return {p.relative_to(root).as_posix(): p.read_text() for p in sorted(root.rglob("*")) if p.is_file()}


def test_a_fork_is_adopted_everywhere_and_gives_every_byte_back(clone):
    before = texts(clone)
    changed = adopt(FORK, root=clone)
    after = texts(clone)
    assert set(changed) == {name for name in before if before[name] != after[name]} >= {
        "pyproject.toml", "CITATION.cff", "docs/links.md", "chapters/13b_slips_in_print.py",
        "chapters/13b_slips_in_print.ipynb", "chapters/25_capstone_stl10_simclr.ipynb",
    }  # fmt: skip
    assert files.repository(clone) == FORK
    for name, text in after.items():
        assert HOME.removeprefix("https://github.com/") + "/" not in text, name
    assert f"git+{FORK}" in after["chapters/13b_slips_in_print.py"]
    assert (
        "colab.research.google.com/github/ada/ssl-lessons-2/blob/main/"
        in after["chapters/25_capstone_stl10_simclr.py"]
    )
    assert after["docs/links.md"].startswith(
        f"{FORK}.git, {FORK}/blob/main/benchmarks/clinic.py, {HOME}x/blob/main/a.py, "
    )
    assert "ada.github.io/ssl-lessons-2/" in after["docs/links.md"] and "elsewhere/" in after["docs/links.md"]
    assert adopt(FORK, root=clone) == {} and texts(clone) == after
    adopt(HOME + ".git", root=clone)
    assert texts(clone) == before


def test_a_notebook_keeps_its_outputs_and_gets_the_ids_of_a_clean_one(clone):
    path = clone / "chapters" / "25_capstone_stl10_simclr.ipynb"
    before = nbformat.read(path, as_version=4)
    adopt(FORK, root=clone)
    after = nbformat.read(path, as_version=4)
    outputs = [[cell.get("outputs"), cell.get("execution_count"), cell.metadata] for cell in before.cells]
    assert outputs == [
        [cell.get("outputs"), cell.get("execution_count"), cell.metadata] for cell in after.cells
    ]
    assert after.metadata == before.metadata
    assert any(a.id != b.id for a, b in zip(before.cells, after.cells, strict=True))
    ids = [cell.id for cell in after.cells]
    files.clean(after)
    assert ids == [cell.id for cell in after.cells]


def test_a_release_pins_badges_links_and_set_up_cells_and_main_unpins_them(clone):
    before = texts(clone)
    adopt(HOME, tag="v1.0", root=clone)
    after = texts(clone)
    source = after["chapters/25_capstone_stl10_simclr.py"]
    assert "/blob/v1.0/chapters/25_capstone_stl10_simclr.ipynb" in source and f"git+{HOME}@v1.0" in source
    assert f"{HOME}/blob/v1.0/benchmarks/clinic.py" in after["docs/links.md"]
    assert tomllib.loads(after["pyproject.toml"])["tool"]["ssl-lessons"] == {"tag": "v1.0"}
    assert files.released(clone) == "v1.0"
    adopt(HOME, tag="v1.1", root=clone)
    assert f'git+{HOME}@v1.1"' in texts(clone)["chapters/25_capstone_stl10_simclr.py"]
    adopt(HOME, root=clone)
    assert texts(clone) == before and files.released(clone) is None


@pytest.mark.parametrize(
    "address", ["", "ada/ssl", "https://gitlab.com/ada/ssl", "https://github.com/ada", FORK + "/tree/main"]
)
def test_what_is_no_address_on_github_is_refused(clone, address):
    before = texts(clone)
    with pytest.raises(InputError, match="https://github.com/OWNER/REPO"):
        adopt(address, root=clone)
    assert texts(clone) == before


def test_without_a_clone_or_with_an_impossible_tag_it_says_what_to_do(clone, tmp_path):
    with pytest.raises(InputError, match="git clone"):
        adopt(FORK, root=tmp_path / "docs")
    with pytest.raises(InputError, match="no tag"):
        adopt(FORK, tag="v1 0", root=clone)


def test_the_command_prints_what_it_changed(clone, monkeypatch):
    monkeypatch.setattr("ssl_lessons.book.adopt.adopt.__defaults__", (None, clone))
    first, second = (CliRunner().invoke(app, ["adopt", FORK]) for _ in range(2))
    assert "pyproject.toml: 1 line\n" in first.output and "files changed" in first.output
    assert (first.exit_code, second.exit_code, second.output) == (0, 0, "nothing to change\n")
