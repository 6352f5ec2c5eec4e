"""Progress that fits where it is read: a bar on a terminal and in a notebook, a line every 30 seconds in a file."""

import sys

from tqdm import tqdm

LINE_EVERY = 30.0  # seconds
DELAY = 5.0  # seconds of silence that nobody takes for a hang


class _Lines(tqdm):
    """tqdm for a log file or a batch job: whole lines, seldom."""

    def __init__(self, *arguments, **options):
        form = "{desc}{n_fmt} of {total_fmt} ({percentage:.0f}%), {elapsed} gone, {remaining} to go{postfix}"
        super().__init__(
            *arguments, **options, mininterval=LINE_EVERY, maxinterval=LINE_EVERY, bar_format=form
        )

    @staticmethod
    def status_printer(file):
        def print_line(text: str) -> None:
            if text.strip():
                file.write(text.strip() + "\n")
                file.flush()

        return print_line

    def clear(self, *arguments, **options) -> None:
        """A line that is written stays."""

    def close(self) -> None:
        if not self.disable:
            if self.last_print_t >= self.start_t + self.delay:  # else it was over before it was worth a line
                self.display()
            self.disable = True
            self._decr_instances(self)

    def set_postfix_str(self, s="", refresh=True) -> None:
        super().set_postfix_str(s, refresh=False)


def progress(iterable=None, *, file=None, **options) -> tqdm:
    """A tqdm over `iterable` (or of `total` steps) that suits `file` (default: the present stdout)."""
    file = file or sys.stdout
    # ipykernel's stream is no terminal, but what reads it understands a carriage return.
    redrawn = file.isatty() or type(file).__module__.startswith("ipykernel")
    return (tqdm if redrawn else _Lines)(iterable, file=file, **({"ncols": 100} | options))


def patient(iterable=None, what: str = "", shown: bool = True, **options) -> tqdm:
    """A bar on stderr for what is mostly over at once: it comes after five seconds, and goes when it is done."""
    return progress(
        iterable, file=sys.stderr, desc=f"{what}: ", delay=DELAY, leave=False, disable=not shown, **options
    )
