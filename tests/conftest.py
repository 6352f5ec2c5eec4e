"""For the unit tests: no windows; one torch thread, so that results do not depend on the machine."""

import matplotlib
import pytest
import torch

matplotlib.use("Agg")
torch.set_num_threads(1)
pytest.register_assert_rewrite("exercise_cases")
