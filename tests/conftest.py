"""For the unit tests: no windows; one torch thread, so that results do not depend on the machine."""

import matplotlib
import torch

matplotlib.use("Agg")
torch.set_num_threads(1)
