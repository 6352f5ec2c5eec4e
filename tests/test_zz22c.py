import sys; sys.path[:0]=['/tmp/h/22c/tests']
import pretend_gpu, tempfile
from pathlib import Path
import test_on_a_gpu as t
@pretend_gpu.on_a_gpu
def test_mine():
    with tempfile.TemporaryDirectory() as f:
        pretend_gpu.each(dict.fromkeys(["looc"],Path(f)), t.check_method)
