"""The programs of the control plane and of the chart, and the versions that can be used together."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

KUBERNETES_VERSION = "1.36.3"
"""The version that is built where no usable program is installed."""

Version = tuple[int, int]
"""Major and minor."""

_MAJOR, _MINOR, _ = (int(part) for part in KUBERNETES_VERSION.split("."))
_OWN = (_MAJOR, _MINOR)


class Binary(enum.Enum):
    """A program, by the name of its file."""

    ETCD = "etcd"
    API_SERVER = "kube-apiserver"
    CONTROLLER_MANAGER = "kube-controller-manager"
    KUBECTL = "kubectl"
    KWOK = "kwok"
    SCHEDULER = "kube-scheduler"
    HELM = "helm"
    HELM_DOCS = "helm-docs"


CONTROL_PLANE = (
    Binary.ETCD,
    Binary.API_SERVER,
    Binary.CONTROLLER_MANAGER,
    Binary.KUBECTL,
    Binary.KWOK,
    Binary.SCHEDULER,
)
"""In the order in which they are built."""
CHART_TOOLS = (Binary.HELM, Binary.HELM_DOCS)
"""The programs that check the Helm chart and write its README.md."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The arguments that print a program's version, and the usable versions, both ends inclusive."""

    arguments: tuple[str, ...]
    oldest: Version
    newest: Version

    def accepts(self, version: Version) -> bool:
        """Whether this version can be used."""
        return self.oldest <= version <= self.newest

    def __str__(self) -> str:
        """`1.36` or `1.35 to 1.37`."""
        ends = [f"{major}.{minor}" for major, minor in dict.fromkeys((self.oldest, self.newest))]
        return " to ".join(ends)


_SERVER = Accepted(("--version",), _OWN, _OWN)
ACCEPTED: Mapping[Binary, Accepted] = {
    # Controllers may not be newer than the API server, and the tests rely on its minor version: all three are equal.
    Binary.API_SERVER: _SERVER,
    Binary.CONTROLLER_MANAGER: _SERVER,
    Binary.SCHEDULER: _SERVER,
    Binary.KUBECTL: Accepted(("version", "--client"), (_MAJOR, _MINOR - 1), (_MAJOR, _MINOR + 1)),
    Binary.ETCD: Accepted(("--version",), (3, 5), (3, 7)),
    Binary.KWOK: Accepted(("--version",), (0, 6), (0, 8)),
    Binary.HELM: Accepted(("version",), (4, 0), (4, 9)),
    Binary.HELM_DOCS: Accepted(("--version",), (1, 14), (1, 14)),
}
