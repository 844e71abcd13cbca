"""Which tests run in the same worker of pytest-xdist: those of a file, and all that take Kafka or AWS."""

import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadFileScheduling

_TAKES_SERVER = re.compile(r"^ *(?:async )?def \w+\([^)]*\b(?:kafka: Kafka|aws: AWS|aws_endpoint: str)\b", re.MULTILINE)


class SharedServers(LoadFileScheduling):
    """Kafka and AWS start in one worker instead of in each: start and idle time cost ten CPU seconds a worker."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "Kafka and AWS" if _takes_server(self.config.rootpath / file) else file


@cache
def _takes_server(file: Path) -> bool:
    return bool(_TAKES_SERVER.search(file.read_text()))
