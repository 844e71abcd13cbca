"""The serving certificate of the HTTP API and of the remote-write receiver, replaced without a restart."""

import hashlib
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from prometheus_client import Counter

from predictive_scaling.errors import SettingsError
from predictive_scaling.periodic_task import PeriodicTask, running

log = structlog.get_logger(__name__)

CHECK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Server:
    """What serves a certificate. name: in log events and task names. purpose: completes "cannot serve …".

    setting: common part of the names of the settings with the two files. reloads: counter of the changes of the files
    with the label `result`: loaded, or refused because certificate and key do not match.
    """

    name: str
    purpose: str
    setting: str
    reloads: Counter

    def __post_init__(self) -> None:
        for result in ("loaded", "refused"):
            self.reloads.labels(result)


class ServingCertificate:
    """context: of the listener. Each handshake uses the certificate that was loaded last; open connections stay."""

    def __init__(self, certificate: Path, key: Path, server: Server) -> None:
        """Load the PEM files. Raises SettingsError if one is missing, or does not match the other."""
        self._files = certificate, key
        self._server = server
        self._fingerprint = self._read_fingerprint()
        self._current = self._load()
        self.context = self._load()
        self.context.sni_callback = self._use_current

    async def reload_if_changed(self) -> None:
        """Load the files if they changed; if they do not match, keep the certificate in use."""
        try:
            fingerprint = self._read_fingerprint()
            if fingerprint == self._fingerprint:
                return
            self._current = self._load()
        except SettingsError as error:
            # During a rotation the key may already belong to the next certificate; the next run tries again.
            log.warning(f"{self._server.name}_certificate_refused", error=str(error))
            self._server.reloads.labels("refused").inc()
            return
        self._fingerprint = fingerprint
        self._server.reloads.labels("loaded").inc()
        log.info(f"{self._server.name}_certificate_reloaded", file=str(self._files[0]))

    @asynccontextmanager
    async def reloading(self) -> AsyncGenerator[None]:
        """Read the files again, every CHECK_SECONDS, while the block runs."""
        task = PeriodicTask(f"{self._server.name}_certificate", self.reload_if_changed, CHECK_SECONDS, on_standby=True)
        async with running(task):
            yield

    def _use_current(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: object) -> None:
        # OpenSSL calls this in every handshake, also for clients that send no server name.
        connection.context = self._current

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        certificate, key = self._files
        try:
            context.load_cert_chain(certificate, key, password=_refuse_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise SettingsError(
                f"cannot serve {self._server.purpose} with {certificate} and {key}: {error}; "
                "use a PEM certificate and its key"
            ) from None
        return context

    def _read_fingerprint(self) -> bytes:
        try:
            return hashlib.sha256(b"\0".join(file.read_bytes() for file in self._files)).digest()
        except OSError as error:
            raise SettingsError(f"cannot read {error.filename} for {self._server.purpose}: {error.strerror}") from None


def serving_certificate(certificate: Path | None, key: Path | None, server: Server) -> ServingCertificate | None:
    """Return the serving certificate; None without TLS. Raises SettingsError for files that cannot be used."""
    if certificate is not None and key is not None:
        return ServingCertificate(certificate, key, server)
    if certificate is not None or key is not None:
        raise SettingsError(f"set both {server.setting}_CERTIFICATE and {server.setting}_KEY, or neither")
    return None


def _refuse_password() -> str:
    """Raise ValueError: without this, OpenSSL would ask for the password of a key on the terminal."""
    raise ValueError("the key is encrypted; decrypt it")
