"""The errors a reader is meant to see."""


class InputError(ValueError):
    """Something given to the package cannot be used; the message says what to do instead.

    The command line prints the message alone, without a traceback.
    """


class NotFiniteError(InputError):
    """Embeddings hold NaN or infinity: at the start bad input, in the middle of a run divergence."""
