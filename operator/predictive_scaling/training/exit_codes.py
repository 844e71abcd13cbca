"""Exit codes of `train`, apart from the command because the operator that starts it reads them."""

from enum import IntEnum


class Exit(IntEnum):
    """REFUSED: all was trained, but a version did worse than the one in use, which stays."""

    GOOD = 0
    SOME_FAILED = 1
    REFUSED = 3
    NOTHING_TO_TRAIN = 66
