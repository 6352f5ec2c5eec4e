"""On Colab there is no repository: a cell installs the book, and must leave Colab's own packages as they are."""

import re
import shutil
import subprocess
import sys
import tomllib
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from ssl_lessons import book

CELL = book.setup_cell("00")
COLAB = book.ROOT / "tests" / "colab_constraints.txt"
PROJECT = tomllib.loads((book.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture
def colab(monkeypatch):
    """A kernel without the book, and a pip that answers what it is told to; what pip was asked."""
    monkeypatch.setitem(sys.modules, "ssl_lessons", None)  # importing it fails
    package, asked = book, []

    def pip(returncode: int, stderr: str = ""):
        def run(command, **options):
            asked.append(command)
            if returncode == 0:
                monkeypatch.setitem(sys.modules, "ssl_lessons", SimpleNamespace(book=package))
            return subprocess.CompletedProcess(command, returncode, "", stderr)

        monkeypatch.setattr(subprocess, "run", run)
        return asked

    return pip


def test_the_set_up_cell_installs_the_book_and_says_how_long_it_takes(colab, capsys):
    asked = colab(0)
    exec(CELL, names := {})
    assert asked == [[sys.executable, "-m", "pip", "install", "-q", f"git+{book.repository()}"]]
    printed = capsys.readouterr().out
    assert printed.startswith("Installing, about half a minute\nChapter 00 on ") and names["device"].type


def test_where_the_book_is_there_nothing_is_installed(monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("pip was called"))
    exec(CELL, {})
    assert capsys.readouterr().out.startswith("Chapter 00 on ")


def test_on_colab_it_says_where_the_other_chapters_are(monkeypatch, capsys):
    """A copy on Drive lies beside no other chapter, so the links in its text lead nowhere."""
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    book.setup("00")
    assert f"{book.repository()}#the-course" in capsys.readouterr().out
    assert "\n## The course\n" in (book.ROOT / "README.md").read_text(encoding="utf-8")


# What pip 26.3 prints when git, or a build, fails.
FRAME = (
    "  error: subprocess-exited-with-error\n\n  × git clone --quiet https://... did not run successfully.\n"
)
END = "      [end of output]\n\n  note: This error originates from a subprocess.\nERROR: Failed to build 'git+https://...'\n"
HOST = "fatal: unable to access 'https://github.com/a/b/': Could not resolve host: github.com"
LOGIN = "fatal: could not read Username for 'https://github.com': No such device or address"
GONE = "fatal: repository 'https://github.com/a/b/' not found"
FAILURES = {
    HOST: (FRAME + f"      {HOST}\n" + END, "there is no network, or it is blocked"),
    LOGIN: (FRAME + f"      {LOGIN}\n" + END, "the address does not exist, or needs a login"),
    GONE: (FRAME + f"      {GONE}\n" + END, "the address does not exist, or needs a login"),
    "ERROR: Cannot find command 'git'": ("ERROR: Cannot find command 'git'\n", "pip failed"),
    "Error: no files": (
        FRAME + "      ValueError: no files\n      [end of output]\nhint: See above.\n",
        "pip failed",
    ),
    "No module named pip": ("/usr/bin/python: No module named pip\n", "pip failed"),
}


@pytest.mark.parametrize("reason", FAILURES, ids=lambda reason: reason[:24])
def test_a_failed_installation_is_one_sentence_with_its_cause(colab, reason):
    stderr, cause = FAILURES[reason]
    colab(1, stderr)
    with pytest.raises(RuntimeError) as caught:
        exec(CELL, {})
    message = str(caught.value)
    assert (
        message.startswith(f"git+{book.repository()} could not be installed: {cause} (") and reason in message
    )
    assert "\n" not in message and caught.value.__suppress_context__, "the ImportError before it is of no use"


# ---- Colab's packages --------------------------------------------------------------------------------------


def pinned() -> dict[str, str]:
    lines = COLAB.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_colab_has_every_package_the_book_needs_and_new_enough():
    has = pinned()
    for requirement in map(Requirement, PROJECT["dependencies"]):
        assert requirement.specifier.contains(has[requirement.name]), requirement


def test_installing_the_book_changes_none_of_colabs_packages(tmp_path):
    """Resolved twice, without installing: Colab's packages alone, then with the book.  Needs uv and an index."""
    if not shutil.which("uv"):
        pytest.skip("uv is missing")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    resolved = []
    for more in ([], [str(book.ROOT / "pyproject.toml")]):
        command = [
            "uv",
            "pip",
            "compile",
            "--no-config",
            "--no-header",
            "--no-annotate",
            "--python-version",
            here,
        ]
        done = subprocess.run([*command, str(COLAB), *more], capture_output=True, text=True, cwd=tmp_path)
        if "error sending request" in done.stderr or "Failed to fetch" in done.stderr:
            pytest.skip("no package index can be reached")
        assert done.returncode == 0, done.stderr
        resolved.append(set(done.stdout.split()))
    assert resolved[0] == resolved[1] and len(resolved[0]) > len(pinned())


def test_the_wheel_holds_what_the_package_reads_of_the_data():
    wheel = tomllib.loads((book.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"][
        "build"
    ]
    code = "".join(path.read_text(encoding="utf-8") for path in (book.ROOT / "ssl_lessons").rglob("*.py"))
    read = set(re.findall(r'data_file\(f?"([^"/]+)', code))
    assert "claims.csv" in read and {f"data/{name}" for name in read} <= set(
        wheel["targets"]["wheel"]["force-include"]
    )


def test_the_packages_of_the_servers_are_one_list_for_clones_and_wheels():
    pyproject = tomllib.loads((book.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["dependency-groups"]["serve"] == pyproject["project"]["optional-dependencies"]["serve"]
