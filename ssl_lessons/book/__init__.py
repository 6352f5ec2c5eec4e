"""The book: what chapters call, and what runs, builds and opens them.

    from ssl_lessons import book
    device = book.setup("13")

Names are handed on from the modules below when they are first used: a command that runs chapters need not load the
figures, and a chapter need not have what runs chapters.
"""

from ssl_lessons.deferred import hand_on

__all__, __getattr__ = hand_on(
    __name__,
    {
        "chapter": ("on_photographs", "per_seed", "recorded", "results_table", "setup"),
        "ledger": ("Judged", "claim", "claims", "judged", "undecided"),
        "study": ("Study",),
        "files": ("CHAPTERS", "ROOT", "badge", "check_pair", "clean", "data_file", "find", "last_state", "repository",
                  "setup_cell"),
        "running": ("ChapterRun", "build", "collect_claims", "run"),
    },
)  # fmt: skip
