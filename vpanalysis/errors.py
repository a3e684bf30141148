"""The error that is a sentence for the person at the keyboard."""


class InputError(ValueError):
    """Wrong usage, source or credentials: says what was wrong, where, and what to do next.

    The command line prints the sentence on stderr and exits with 2; a traceback means a bug of ours.
    """


class UnknownLaneError(InputError):
    """The database holds other lanes, but nothing of the one asked for; the gateway answers with an empty one."""
