"""Names of decisions: the same after a crash, another one the next day (semantics 28)."""

import base64
import hashlib

from predictive_scaling.resources.metadata import LONGEST_NAME

_ID_LENGTH = 12


def decision_id(policy_uid: str, generation: int, previous: str | None, before: int, after: int) -> str:
    """A hash of what is decided: letters and digits that may stand in a DNS label.

    previous: the id of the target's previous decision; None for its first.
    """
    said = "\n".join((policy_uid, str(generation), previous or "", str(before), str(after)))
    digest = hashlib.sha256(said.encode()).digest()
    return base64.b32encode(digest).decode().lower()[:_ID_LENGTH]


def decision_name(policy_name: str, identity: str) -> str:
    """Name of the ScalingDecision object: the policy's name, cut where it has to be, and the id.

    >>> decision_name("checkout", "abcdefghijkl")
    'checkout-abcdefghijkl'
    """
    return f"{policy_name[: LONGEST_NAME - len(identity) - 1].rstrip('-.')}-{identity}"
