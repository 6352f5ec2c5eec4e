"""No chapter stops on a (pretended) GPU for a tensor on the wrong device: the first, third, fifth, ... chapter.

The others are in test_chapters_on_a_gpu_b.py: test workers take whole files, and in one file all would be one's.
"""

import pretend_gpu
import pytest
from short_chapters import CHAPTERS, check_chapter

MINE = [path.stem for path in CHAPTERS[0::2]]


@pytest.mark.parametrize("chapter", MINE)
@pretend_gpu.on_a_gpu
def test_chapter(chapter):
    check_chapter(chapter)
