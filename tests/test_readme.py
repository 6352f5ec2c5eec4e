"""What README, data cards, licences and citation say is so, and the commands they give run."""

import json
import re
import shlex
import subprocess
import sys
import tomllib

import pytest
import yaml
from typer.testing import CliRunner

from ssl_lessons import book
from ssl_lessons.book import files, reading
from ssl_lessons.cli import app
from ssl_lessons.methods import METHODS
from ssl_lessons.training.recipes import QUICK

ROOT = book.ROOT
README = (ROOT / "README.md").read_text(encoding="utf-8")
CARDS = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CHAPTERS = files.find()


def blocks(text: str) -> str:
    """The commands in fences without a language, and in backticks, one a line; lines that go on are joined."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    inline = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    shown = [body for language, body in fences if not language]
    return "\n".join([*shown, *re.findall(r"`((?:uv|ssl-lessons) [^`\n]*)`", inline)]).replace("\\\n", " ")


def commands(text: str) -> list[str]:
    """What follows `ssl-lessons` in every command of a page."""
    ours = re.sub(r"^git clone.*", "", blocks(text), flags=re.M)  # the book's own folder is called like the command
    found = re.findall(r"(?:ssl-lessons|-m ssl_lessons) +(\S.*)", ours)
    return sorted({line.split(" && ")[0].split("  #")[0] for line in found if not line.startswith("&&")})


# ---- the commands --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", commands(README + CONTRIBUTING))
def test_every_command_exists_and_takes_these_options(line):
    name, *words = shlex.split(line)
    if name == "--help":
        return
    done = CliRunner().invoke(app, [name, "--help"])
    assert done.exit_code == 0, f"there is no command {name}"
    for word in words:
        assert not word.startswith("--") or word in done.output, f"{name} has no option {word}"


def test_the_commands_that_take_seconds_run_in_a_fresh_clone(tmp_path):
    """As committed: what is only in the working tree of its author is missing here."""
    clone = tmp_path / "clone"
    if subprocess.run(
        ["git", "clone", "-q", "--depth=1", f"file://{ROOT}", str(clone)], capture_output=True
    ).returncode:
        pytest.skip("this is no clone")

    def run(*words, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "ssl_lessons", *words], cwd=clone, capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "pretrain" in run("--help")
    assert run("--version").startswith("ssl-lessons ")
    assert "there are 00, 01" in run("run", "99", code=2)
    assert run("adopt", book.repository()) == "nothing to change\n"


def test_the_packages_for_a_cpu_are_groups_that_there_are():
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    used = set(re.findall(r"--group (\w+)", README))
    assert used and used <= set(groups)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "data/README.md"])
def test_links_of_a_page_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-")
        for h in re.findall(r"^#+ (.*)", text, re.M)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("http"):
            assert (ROOT / page).parent.joinpath(target).exists(), target
    for path in re.findall(r"`((?:benchmarks|tests|data|docs|ssl_lessons|\.ci)/[\w./]+)`", text):
        if "results/." not in path and not path.startswith("data/cache"):
            assert (ROOT / path).exists() or "NN" in path or "NAME" in path or "FAMILY" in path, path


# ---- the course ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", CHAPTERS, ids=lambda path: path.stem)
def test_the_table_of_the_readme_has_the_chapter_and_its_minutes(source):
    [minutes] = re.findall(rf"\(chapters/{source.stem}\.ipynb\) \| (\d+) \|", README)
    assert int(minutes) == reading.size(source).minutes


def test_the_table_of_the_readme_is_in_the_order_of_the_book():
    assert re.findall(r"^\| \[.*\(chapters/(\w+)\.ipynb\)", README, re.M) == [path.stem for path in CHAPTERS]


def test_the_readme_counts_the_methods_and_names_every_room():
    count = len(METHODS) - 1  # the supervised baseline is counted apart
    assert f"`--method` takes {count} methods" in README and f"{count} methods and the supervised" in README
    assert f"; {len(QUICK)} of them have settings of their own" in README
    house = dict(re.findall(r"^    (\w+)/ +(.*)$", README.partition("## The house")[2], re.M))
    rooms = {path.parent.name for path in (ROOT / "ssl_lessons").glob("*/__init__.py")}
    assert set(house) == rooms
    worlds = {path.parent.name for path in (ROOT / "ssl_lessons" / "modalities").glob("*/__init__.py")}
    assert set(house["modalities"].partition(": ")[2].split(", ")) == worlds


def test_a_build_writes_the_minutes_into_the_readme_too(tmp_path):
    source = tmp_path / "chapters" / "03_toy.py"
    source.parent.mkdir()
    source.write_text(
        "# %% [markdown]\n# # T\n#\n# **Time**: 9 minutes to read\n#\n# " + "word " * 400 + "\n"
    )
    row = "| [03 Toy](chapters/03_toy.ipynb) | {} | Why 9? |\n| [03b](chapters/03b_toy.ipynb) | 9 | |\n"
    (tmp_path / "README.md").write_text(row.format(9))
    assert reading.write_minutes(source).minutes == 2
    assert (tmp_path / "README.md").read_text() == row.format(
        2
    ) and "**Time**: 2 minutes" in source.read_text()


def test_the_picture_shows_the_record_as_it_is_now_and_what_its_text_says(monkeypatch):
    from PIL import Image

    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import readme_picture

    told = "above the one that began from"
    assert told in README
    with Image.open(readme_picture.PICTURE) as picture:
        assert picture.info["Comment"] == readme_picture.checksum(), (
            "uv run python benchmarks/readme_picture.py"
        )
    tuned, scratch = readme_picture.curves().values()
    assert all(min(tuned[count]) > max(scratch[count]) for count in tuned)


# ---- records and licences --------------------------------------------------------------------------------------


def test_every_record_is_listed_with_its_chapters_command_and_columns():
    row = r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| `([^`]+)` \| ([^|]+) \|$"
    listed = {name: rest for name, *rest in re.findall(row, CARDS.split("## The records")[1], re.MULTILINE)}
    paths = sorted((ROOT / "data" / "results").glob("*.json"))
    assert list(listed) == [path.stem for path in paths]
    texts = {files.number_of(path): path.read_text(encoding="utf-8") for path in CHAPTERS}
    for path in paths:
        record, (chapters, command, columns) = json.loads(path.read_text(encoding="utf-8")), listed[path.stem]
        if path.stem != "claims":  # made from the chapters
            readers = ", ".join(n for n, text in texts.items() if path.stem in files.records_read(text))
            assert (chapters, command) == (readers or "-", record["command"]), path.stem
        for line in record if path.stem == "claims" else record["rows"]:
            assert set(columns.split(", ")) <= set(line), path.stem


def test_licences_and_authors_are_the_same_wherever_they_are_stated():
    code, text = ((ROOT / name).read_text(encoding="utf-8") for name in PROJECT["license-files"])
    assert PROJECT["license"] == "MIT AND CC-BY-4.0"
    for stated in (code, text):
        assert "2026 The authors of ssl_lessons" in stated
    assert code.startswith("MIT License") and "Attribution 4.0 International" in text
    for page in (README, CARDS):
        assert (
            all(f"LICENSE{end}" in page for end in ("]", "-text]")) and "CC BY 4.0" in page and "MIT" in page
        )


def test_the_citation_is_of_this_version_and_repository():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited) and cited["cff-version"] == "1.2.0"
    assert cited["version"] == PROJECT["version"] and cited["repository-code"] == book.repository()
    assert PROJECT["license"].split(" AND ")[0] == cited["license"]  # of the software; the format knows no AND
    assert "CC BY 4.0" in cited["message"] and cited["authors"] == PROJECT["authors"]
