"""No chapter stops on a (pretended) GPU for a tensor on the wrong device: the second, fourth, sixth, ... chapter.

The others are in test_chapters_on_a_gpu_a.py: test workers take whole files, and in one file all would be one's.
"""

import pretend_gpu
import pytest
import test_chapters_on_a_gpu_a
from short_chapters import CHAPTERS, check_chapter

MINE = [path.stem for path in CHAPTERS[1::2]]


@pytest.mark.parametrize("chapter", MINE)
@pretend_gpu.on_a_gpu
def test_chapter(chapter):
    check_chapter(chapter)


def test_every_chapter_is_in_one_of_the_two_files():
    assert sorted(test_chapters_on_a_gpu_a.MINE + MINE) == [path.stem for path in CHAPTERS]
