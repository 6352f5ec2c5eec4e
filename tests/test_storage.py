"""A file written atomically is the new one, whole, or the old one; nothing half-written stays behind."""

import errno
import os
import stat

import pytest

from ssl_lessons.errors import InputError
from ssl_lessons.storage import write_atomically, write_together


def raising(error):
    """A `write` that fails half-way."""

    def write(path):
        path.write_text("hal")
        raise error

    return write


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_the_new_file_takes_the_old_ones_place(tmp_path):
    path = tmp_path / "note.txt"
    for text in ("first", "second"):
        write_atomically(path, lambda temporary, text=text: temporary.write_text(text))
        assert path.read_text() == text and names(tmp_path) == ["note.txt"]


def test_its_mode_is_that_of_any_other_new_file(tmp_path):
    old = os.umask(0o022)
    try:
        write_atomically(tmp_path / "note.txt", lambda temporary: temporary.write_text("x"))
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "note.txt").stat().st_mode) == 0o644


@pytest.mark.parametrize(
    "number, words",
    [
        (errno.ENOSPC, "No space left on device"),
        (errno.EDQUOT, "Disk quota exceeded"),
        (errno.EROFS, "Read-only file system"),
        (errno.EFBIG, "File too large"),
        (errno.EACCES, "Permission denied"),
    ],
)
def test_what_the_system_refuses_is_said_in_its_words(tmp_path, number, words):
    path = tmp_path / "note.txt"
    path.write_text("old")
    with pytest.raises(InputError) as error:
        write_atomically(path, raising(OSError(number, os.strerror(number))))
    assert str(error.value) == f"cannot write {path}: {words}; free some space or choose another folder"
    assert path.read_text() == "old" and names(tmp_path) == ["note.txt"]


def test_the_folder_is_made(tmp_path):
    write_atomically(tmp_path / "a" / "b" / "note.txt", lambda temporary: temporary.write_text("x"))
    assert (tmp_path / "a" / "b" / "note.txt").read_text() == "x"


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(InputError, match=r"cannot write .*run/note.txt: (File exists|Not a directory); "):
        write_atomically(tmp_path / "run" / "note.txt", lambda temporary: temporary.write_text("x"))
    assert names(tmp_path) == ["run"]


def test_a_real_limit_on_the_size_of_files(tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(InputError, match="File too large"):
            write_atomically(tmp_path / "big", lambda temporary: temporary.write_bytes(bytes(2000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [ValueError("a fault of the writer"), KeyboardInterrupt()])
def test_other_errors_pass_and_leave_nothing(tmp_path, error):
    with pytest.raises(type(error)) as caught:
        write_atomically(tmp_path / "note.txt", raising(error))
    assert caught.value is error and names(tmp_path) == []


@pytest.mark.parametrize("fails", ["first", "second"])
def test_files_that_belong_together_change_together(tmp_path, fails):
    paths = {name: tmp_path / name for name in ("first", "second")}
    write_together({p: lambda path: path.write_text("old") for p in paths.values()})
    full = raising(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    writes = {p: full if n == fails else lambda path: path.write_text("new") for n, p in paths.items()}
    with pytest.raises(InputError, match=f"cannot write {paths[fails]}: No space"):
        write_together(writes)
    assert names(tmp_path) == ["first", "second"]
    assert [p.read_text() for p in paths.values()] == ["old", "old"]
    write_together({p: lambda path: path.write_text("new") for p in paths.values()})
    assert [p.read_text() for p in paths.values()] == ["new", "new"]
