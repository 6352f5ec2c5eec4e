"""Did torchrun start this process, and as which one?  Without torch: the command line asks before loading anything."""

import os


def launched() -> bool:
    """Whether torchrun started this program as one of several.

    torchrun sets TORCHELASTIC_RUN_ID; RANK and WORLD_SIZE alone may be left over from a cluster or a shell.
    """
    return (
        "TORCHELASTIC_RUN_ID" in os.environ
        and "RANK" in os.environ
        and int(os.environ.get("WORLD_SIZE", "1")) > 1
    )


def is_other_rank() -> bool:
    """Whether torchrun started this process beside the one that speaks for all, rank 0."""
    return launched() and os.environ["RANK"] != "0"


def ignored_ranks() -> str | None:
    """What to tell where RANK and WORLD_SIZE are set and torchrun did not set them; None otherwise."""
    ranks = os.environ.get("WORLD_SIZE", "1")
    if launched() or "RANK" not in os.environ or ranks == "1":
        return None
    return (
        f"RANK and WORLD_SIZE={ranks} are set, but torchrun did not start this process: it trains alone. For several "
        "processes start them with torchrun"
    )
