"""The rights of the demo's processes: the operator has its own, the others have none."""

import os
from datetime import UTC, datetime
from pathlib import Path

from predictive_scaling.clock import ReplayClock
from predictive_scaling.stack.certificates import CertificateFiles
from predictive_scaling.stack.demo.processes import Ports, Product
from predictive_scaling.stack.stack import Stack


async def test_only_the_operator_reaches_the_cluster_and_not_as_the_administrator(tmp_path: Path) -> None:
    clock = ReplayClock(datetime(2026, 4, 13, tzinfo=UTC), 0.0, 60)
    certificate, account = CertificateFiles(tmp_path / "tls.crt", tmp_path / "tls.key"), tmp_path / "operator-account"
    async with Stack([]) as stack:
        product = Product(stack, Ports(1, 2, 3, 4), tmp_path, certificate, account)
        assert product.operator(clock).environment["KUBECONFIG"] == str(account)
        for environment in (product.ingest(clock).environment, product.api(clock).environment):
            assert environment["KUBECONFIG"] == os.devnull
        assert product.environment(clock)["KUBECONFIG"] == os.devnull
