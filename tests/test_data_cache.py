"""Pictures are decoded once, served to every split, decoded again when they change, and never half written.

Over 400 lines: one room of the package, each test of which can be read by itself.
"""

import errno
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections import namedtuple

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_lessons.data import cache, decoded
from ssl_lessons.data.cache import pictures
from ssl_lessons.data.layout import Entry
from ssl_lessons.data.stored import StoredPictures
from ssl_lessons.errors import InputError

SIZE, N = 8, 20


def entry(path, root, name=None):
    stat = os.stat(path)
    return Entry(name or os.path.relpath(path, root), str(path), 0, None, stat.st_size, stat.st_mtime_ns)


def draw(path, value):
    Image.new("RGB", (12, 10), (value % 256, 7, 100)).save(path)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """20 pictures of one colour each, a cache folder of the test's own, and nothing too small to be kept."""
    monkeypatch.setenv("SSL_LESSONS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "SMALL", 1)
    folder = tmp_path / "my photos.v2"
    folder.mkdir()
    for i in range(N):
        draw(folder / f"{i:02}.png", i)
    return folder


@pytest.fixture
def opened(monkeypatch):
    """The names of the pictures that are decoded, in no certain order."""
    names, real = [], decoded.decode

    def spy(entry, size):
        names.append(entry.name)
        return real(entry, size)

    monkeypatch.setattr(cache, "decode", spy)
    return names


def listed(root):
    return [entry(path, root) for path in sorted(root.iterdir())]


def take(root, rows=None, **options):
    """(red value of each picture, readable, reasons) through the cache."""
    images, readable, reasons = pictures(listed(root), SIZE, str(root), rows, progress=False, **options)
    assert images.shape == (readable.sum(), 3, SIZE, SIZE) and images.dtype == torch.uint8
    return images[:][:, 0, 3, 3].tolist(), readable.tolist(), reasons


def files(suffix):
    return sorted(cache.cache_folder().glob(f"*{suffix}"))


def test_the_second_start_decodes_nothing(root, opened):
    first = take(root)
    assert first == (list(range(N)), [True] * N, {}) and sorted(opened) == [f"{i:02}.png" for i in range(N)]
    opened.clear()
    assert take(root) == first and opened == []
    (file,) = files(".pictures")
    assert file.name.startswith("my_photos.v2-8px-") and files(".part") == []
    assert cache.cache_bytes() == file.stat().st_size > N * 3 * SIZE**2


def test_pixels_are_those_of_the_decoder(root):
    images, *_ = pictures(listed(root), SIZE, str(root), progress=False)
    for e, image in zip(listed(root), images, strict=True):
        assert (image.numpy() == decoded.decode(e, SIZE)).all()


def test_one_split_serves_the_others(root, opened):
    train, test = [3, 1, *range(8, 20)], [0, 2, 5, 7]
    assert take(root, train)[0] == train
    assert len(opened) == N, "at least half were asked for, so all are decoded"
    assert take(root, test)[0] == test and take(root, [19])[0] == [19] and len(opened) == N


def test_a_small_part_is_decoded_alone_and_added_to(root, opened):
    assert take(root, [4, 2])[0] == [4, 2] and len(opened) == 2
    assert take(root, [2, 9])[0] == [2, 9] and sorted(opened) == ["02.png", "04.png", "09.png"]
    assert take(root, [9, 4, 2])[0] == [9, 4, 2] and len(opened) == 3, "what was there is still there"


def test_new_and_changed_pictures_alone_are_decoded_again(root, opened):
    take(root)
    opened.clear()
    draw(root / "zz.png", 77)
    draw(root / "03.png", 200)
    os.utime(root / "03.png", ns=(1, 1))
    (root / "05.png").unlink()
    values = [0, 1, 2, 200, 4, *range(6, N), 77]
    assert take(root)[0] == values and sorted(opened) == ["03.png", "zz.png"]
    assert take(root)[0] == values and len(opened) == 2 and len(files(".pictures")) == 1


def test_sizes_and_roots_have_files_of_their_own(root, tmp_path, opened):
    take(root)
    other = tmp_path / "elsewhere" / root.name
    shutil.copytree(root, other)
    draw(other / "00.png", 99)
    assert take(other)[0][0] == 99 and take(root)[0][0] == 0
    pictures(listed(root), SIZE + 1, str(root), progress=False)
    assert len(files(".pictures")) == 3 and len(opened) == 3 * N
    os.symlink(root, tmp_path / "link")  # the same place by another name
    assert take(tmp_path / "link")[0] == list(range(N)) and len(opened) == 3 * N


def test_another_decoder_reads_nothing_of_an_older_one(root, opened, monkeypatch):
    take(root)
    monkeypatch.setattr(cache, "DECODER", cache.DECODER + 1)
    take(root)
    assert len(opened) == 2 * N and len(files(".pictures")) == 1
    monkeypatch.setattr(cache.PIL, "__version__", "0.1")
    take(root)
    assert len(opened) == 3 * N


def test_small_requests_are_not_kept(root, opened, monkeypatch):
    monkeypatch.setattr(cache, "SMALL", N + 1)
    assert take(root) == take(root) == (list(range(N)), [True] * N, {})
    assert len(opened) == 2 * N and not cache.cache_folder().exists() and cache.cache_bytes() == 0
    monkeypatch.setattr(cache, "SMALL_BYTES", 100)  # few pictures, but large files
    take(root)
    assert len(files(".pictures")) == 1


def test_without_cache_nothing_is_written_or_read(root, opened):
    take(root)
    shutil.copytree(cache.cache_folder(), root.parent / "before")
    assert take(root, [5, 3], cache=False)[0] == [5, 3] and len(opened) == N + 2
    assert [f.name for f in files("")] == sorted(os.listdir(root.parent / "before"))


def test_a_large_set_stays_on_disk(root, monkeypatch):
    kind = lambda: type(pictures(listed(root), SIZE, str(root), progress=False)[0])  # noqa: E731
    assert kind() is torch.Tensor
    monkeypatch.setattr("ssl_lessons.data.stored.IN_MEMORY", N * 3 * SIZE**2 - 1)
    assert kind() is StoredPictures and take(root, [7, 2, 2])[0] == [7, 2, 2]


def test_unreadable_pictures_are_remembered_with_their_reasons(root, opened):
    (root / "02.png").write_bytes((root / "02.png").read_bytes()[:45])
    (root / "04.png").write_text("no picture")
    (root / "06.png").write_text("no picture either")
    values, readable, reasons = first = take(root)
    assert values == [v for v in range(N) if v not in (2, 4, 6)]
    assert [i for i in range(N) if not readable[i]] == [2, 4, 6]
    assert sorted(reasons.values()) == [(1, "02.png"), (2, "04.png")]
    assert take(root) == first and len(opened) == N
    (reason,) = take(root, [6, 0])[2].items()
    assert reason[1] == (1, "06.png")
    draw(root / "04.png", 4)
    assert 4 in take(root)[0] and len(opened) == N + 1


def test_no_readable_picture_is_no_error_here(root):
    for path in root.iterdir():
        path.write_text("no picture")
    for _ in range(2):
        assert take(root)[:2] == ([], [False] * N)


def refuse_once(monkeypatch, error):
    """Opening 03.png fails; afterwards it works."""
    real = decoded.decode
    state = {"broken": True}

    def decode(entry, size):
        if state["broken"] and entry.name == "03.png":
            raise error
        return real(entry, size)

    monkeypatch.setattr(cache, "decode", decode)
    return state


def test_a_fault_of_the_machine_is_tried_again(root, monkeypatch):
    state = refuse_once(monkeypatch, OSError(errno.EMFILE, "Too many open files"))
    assert take(root)[2] == {"too many open files": (1, "03.png")}
    state["broken"] = False
    assert take(root) == (list(range(N)), [True] * N, {})


def test_a_permission_that_is_given_later_counts(root, monkeypatch):
    state = refuse_once(monkeypatch, PermissionError(errno.EACCES, "Permission denied"))
    assert list(take(root)[2].values()) == [(1, "03.png")]
    state["broken"] = False
    assert list(take(root)[2].values()) == [(1, "03.png")], "not opened again while nothing changed"
    time.sleep(0.02)  # the clock of the file system ticks every few milliseconds
    os.chmod(root / "03.png", 0o640)
    assert take(root) == (list(range(N)), [True] * N, {})


def test_members_of_archives_are_read_where_they_lie(root, opened):
    tar = root.parent / "shard.tar"
    with tarfile.open(tar, "w") as archive:
        for name in ("03.png", "11.png"):
            archive.add(root / name, name)
        archive.add(root / "05.png", "11.png")  # a name twice is two pictures
    stat = tar.stat()
    with tarfile.open(tar) as archive:
        members = [
            Entry(m.name, str(tar), m.offset_data, m.size, stat.st_size, stat.st_mtime_ns) for m in archive
        ]
    for _ in range(2):
        images, readable, _ = pictures(members, SIZE, str(tar), progress=False)
        assert images[:, 0, 0, 0].tolist() == [3, 11, 5] and readable.all() and len(opened) == 3


def test_names_that_are_not_utf8_are_found_again(root, opened):
    name = b"\xff\xe9.png"
    try:
        os.rename(os.fsencode(root / "03.png"), os.path.join(os.fsencode(root), name))
    except OSError:
        pytest.skip("this file system takes no such names")
    assert sorted(take(root)[0]) == list(range(N)) and len(opened) == N
    assert sorted(take(root)[0]) == list(range(N)) and len(opened) == N


def test_two_files_of_one_name_are_two_pictures(root):
    """Two spellings of an accent are one name to `layout`, and two files to Linux."""
    for value, file in ((50, "e\u0301.png"), (60, "\u00e9.png")):
        draw(root / file, value)
    paths = [path for path in root.iterdir() if not path.name.isascii()]
    if len(paths) < 2:
        pytest.skip("this file system takes the two for one")
    os.utime(paths[0], ns=(1, 1))
    twins = [*listed(root)[:N], *(entry(path, root, "\u00e9.png") for path in paths)]
    for _ in range(2):
        images, *_ = pictures(twins, SIZE, str(root), progress=False)
        assert sorted(images[N:, 0, 0, 0].tolist()) == [50, 60]


def test_a_damaged_cache_is_made_anew(root, opened):
    take(root)
    (file,) = files(".pictures")
    file.write_bytes(file.read_bytes()[:-30])
    assert take(root)[0] == list(range(N)) and len(opened) == 2 * N


def test_leftovers_of_killed_runs_are_removed(root):
    folder = cache.cache_folder()
    take(root, [0])
    (file,) = files(".pictures")
    own, old, young = (
        folder / name for name in (f"{file.stem}.abc.part", "other-8px-1.x.part", "other-8px-2.x.part")
    )
    for part in (own, old, young):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert take(root)[0] == list(range(N))
    assert files(".part") == [young]  # another process may be writing it


RUN = """
import sys, time
from pathlib import Path
from ssl_lessons.data import cache, decoded
sys.path.insert(0, sys.argv[2])
from test_data_cache import take
cache.SMALL = 1
real = decoded.decode
def slow(entry, size):
    print(entry.name, flush=True)
    time.sleep(0.05)
    return real(entry, size)
cache.decode = slow
print(take(Path(sys.argv[1]))[0] == list(range(20)))
"""


def start(root):
    command = [sys.executable, "-c", RUN, str(root), os.path.dirname(__file__)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_run_leaves_nothing_that_is_taken_for_whole(root, opened):
    process = start(root)
    for _ in range(8):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert files(".pictures") == [] and len(files(".part")) == 1
    assert take(root)[0] == list(range(N)) and len(opened) == N
    assert files(".part") == []


def test_two_processes_decode_once(root):
    runs = [start(root) for _ in range(2)]
    said = [run.communicate() for run in runs]
    assert all(out.endswith("True\n") for out, _ in said), said
    assert sum(len(out.splitlines()) - 1 for out, _ in said) == N, "together, each picture once"
    assert len(files(".pictures")) == 1 and files(".part") == []


def test_threads_of_one_process_do_not_disturb_each_other(root):
    results = []
    threads = [threading.Thread(target=lambda: results.append(take(root)[0])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [list(range(N))] * 4


Usage = namedtuple("Usage", "total used free")


def full(monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: Usage(100, 0, 100))


def forbidden(monkeypatch):
    def mkdir(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(cache.Path, "mkdir", mkdir)


def runs_full(monkeypatch):
    def write(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "finish", write)


@pytest.mark.parametrize("broken", [full, forbidden, runs_full])
def test_memory_stands_in_for_a_cache_that_cannot_be_written(root, broken, monkeypatch):
    broken(monkeypatch)
    with pytest.warns(UserWarning, match="SSL_LESSONS_CACHE.*--no-cache"):
        assert take(root) == (list(range(N)), [True] * N, {})
    assert files(".pictures") == files(".part") == []


@pytest.mark.parametrize("broken", [full, forbidden, runs_full])
def test_without_space_and_memory_the_need_is_named(root, broken, monkeypatch):
    broken(monkeypatch)
    size = 300
    monkeypatch.setattr(cache, "available_memory", lambda: 2**20)  # 20 pictures of 300 px take 5.4 MB
    with pytest.raises(InputError, match=r"(?s)0\.01 GiB.*SSL_LESSONS_CACHE") as caught:
        pictures(listed(root), size, str(root), progress=False)
    assert "--no-cache" in str(caught.value)
    assert files(".pictures") == files(".part") == []


def test_too_much_for_memory_is_refused_before_decoding(root, opened, monkeypatch):
    monkeypatch.setattr(cache, "available_memory", lambda: 2**10)
    with pytest.raises(InputError, match="leave out --no-cache"):
        take(root, cache=False)
    assert opened == []


def test_the_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("SSL_LESSONS_CACHE", "/a/b")
    assert cache.cache_folder() == cache.Path("/a/b")
    monkeypatch.setenv("SSL_LESSONS_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    monkeypatch.setenv("LOCALAPPDATA", "/c")
    assert cache.cache_folder() == cache.Path("/c/ssl_lessons")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA")
    assert cache.cache_folder() == cache.Path.home() / ".cache" / "ssl_lessons"


def test_progress_names_the_work_on_stderr(root, capsys):
    pictures(listed(root), SIZE, str(root))
    said = capsys.readouterr()
    assert said.out == "" and "decoding 20 pictures once" in said.err
    pictures(listed(root), SIZE, str(root))
    assert capsys.readouterr().err == ""


def test_blocks_arrive_in_order_whatever_their_size(monkeypatch):
    monkeypatch.setattr(decoded, "BLOCK", (3, 2**22))

    def picture(i):
        time.sleep(0.001 * (i % 5))
        if i % 4 == 1:
            raise ValueError
        return np.full((3, 2, 2), i)

    got = []
    faults = decoded.decode_all(50, 2, picture, lambda block: got.extend(block[:, 0, 0, 0].tolist()))
    assert got == [i for i in range(50) if i % 4 != 1] and list(faults) == [
        i for i in range(50) if i % 4 == 1
    ]
