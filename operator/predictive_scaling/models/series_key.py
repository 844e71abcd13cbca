"""Which series of demand a model belongs to, and the folder that it lives in."""

import hashlib
import re
from dataclasses import dataclass

_UNSAFE = re.compile(r"[^a-z0-9]+")
_READABLE = 48


@dataclass(frozen=True, slots=True, order=True)
class SeriesKey:
    """One series of demand: what a ScalingPolicy's `spec.demand` names. aggregation: Sum, Mean or Max."""

    service: str
    metric: str
    aggregation: str

    @property
    def slug(self) -> str:
        """A folder name: readable, safe on any file system, and different for different keys.

        >>> SeriesKey("shop/checkout", "requests_per_second", "Sum").slug
        'shop-checkout-requests-per-second-sum-8164358d'
        """
        readable = _UNSAFE.sub("-", f"{self.service}-{self.metric}-{self.aggregation}".lower()).strip("-")
        digest = hashlib.sha256("\0".join((self.service, self.metric, self.aggregation)).encode()).hexdigest()
        return f"{readable[:_READABLE].strip('-')}-{digest[:8]}"

    def __str__(self) -> str:
        return f"{self.service}/{self.metric}/{self.aggregation}"


SHARED = SeriesKey("shared", "*", "*")
"""Its key among the models: no metric has such a name."""
