"""The estimate describes the pictures as they are and scales what it measured to all of them."""

import json
import os
import time

import numpy as np
import pytest
from PIL import Image

from ssl_lessons.data import estimate as module
from ssl_lessons.data.estimate import estimate
from ssl_lessons.data.layout import Entry
from ssl_lessons.errors import InputError


def save(path, mode="RGB", size=(10, 20), **options):
    Image.new(mode, size).save(path, **options)
    stat = os.stat(path)
    return Entry(path.name, str(path), 0, None, stat.st_size, stat.st_mtime_ns)


@pytest.fixture
def entries(tmp_path):
    return [
        save(tmp_path / "a.jpg", size=(3000, 40)),
        save(tmp_path / "b.png", mode="L", size=(10, 100)),
        save(tmp_path / "c.png", mode="RGBA", size=(30, 60)),
        save(tmp_path / "d.png"),
        Entry("gone.jpg", str(tmp_path / "gone.jpg")),
    ]


def test_it_describes_the_pictures_in_their_files(entries):
    found = estimate(entries, 16)
    assert found["pictures"] == found["sampled"] == 5 and found["bytes"] == sum(e.bytes for e in entries)
    assert found["width"] == {"min": 10, "median": 20, "max": 3000}
    assert found["height"] == {"min": 20, "median": 50, "max": 100}
    assert found["modes"] == {"RGB": 2, "L": 1, "RGBA": 1} and found["formats"] == {"PNG": 3, "JPEG": 1}
    assert found["unreadable"] == {"no such file": {"count": 1, "first": "gone.jpg"}}
    assert found["memory_bytes"] == 5 * 3 * 16 * 16
    assert json.loads(json.dumps(found)) == found


def test_seconds_are_measured_and_scaled_to_all(entries, monkeypatch):
    def slow(image, size):
        time.sleep(0.01)
        return np.zeros((3, size, size), dtype=np.uint8)

    monkeypatch.setattr(module.decoding, "central_square", slow)
    monkeypatch.setattr(module, "cores", lambda: 4)
    found = estimate(entries[:4] * 100, 16, sample=40)
    assert found["pictures"] == 400 and found["sampled"] == 40 and found["cores"] == 4
    assert 0.01 <= found["seconds_per_picture"] < 0.03
    assert 1 <= found["seconds"] < 0.6 * 400 * found["seconds_per_picture"]  # sleeping takes no core


def test_the_sample_spreads_over_all_pictures(tmp_path):
    entries = [save(tmp_path / f"{i}.png", size=(i + 1, 5)) for i in range(50)]
    assert estimate(entries, 8, sample=5)["width"] == {"min": 1, "median": 25, "max": 50}


def test_a_folder_of_damaged_pictures_has_no_times(tmp_path):
    (tmp_path / "x.png").write_text("no picture")
    found = estimate([Entry("x.png", str(tmp_path / "x.png"))] * 3, 8)
    assert found["seconds"] is found["seconds_per_picture"] is found["width"] is None
    assert [fault["count"] for fault in found["unreadable"].values()] == [3]


def test_members_of_archives_count_their_own_bytes(tmp_path):
    plain = save(tmp_path / "a.png", size=(7, 9))
    (tmp_path / "two.tar").write_bytes(b"x" * 512 + (tmp_path / "a.png").read_bytes() + b"x" * 100)
    member = Entry("a.png", str(tmp_path / "two.tar"), 512, plain.bytes, plain.bytes + 612, 0)
    found = estimate([member], 8)
    assert found["bytes"] == plain.bytes and found["width"]["max"] == 7 and found["unreadable"] == {}


def test_what_is_available_is_said(entries, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_LESSONS_CACHE", str(tmp_path / "not" / "there" / "yet"))
    found = estimate(entries, 8, sample=1)
    assert found["available_cache_bytes"] > 2**20
    assert found["available_memory_bytes"] is None or found["available_memory_bytes"] > 2**20


@pytest.mark.parametrize("count, sample, size", [(0, 5, 8), (4, 0, 8), (4, 5, 0)])
def test_nothing_to_measure_is_refused(entries, count, sample, size):
    with pytest.raises(InputError):
        estimate(entries[:count], size, sample)
