"""The serving certificate of the HTTP API, replaced without a restart."""

import hashlib
import ssl
from pathlib import Path

import structlog
from prometheus_client import Counter

from predictive_scaling.errors import SettingsError

log = structlog.get_logger(__name__)

RELOADS = Counter(
    "predictive_scaling_api_certificate_reloads_total",
    "Changes of the serving certificate by result: loaded, or refused because certificate and key do not match.",
    ["result"],
)
for _result in ("loaded", "refused"):
    RELOADS.labels(_result)


class ServingCertificate:
    """context: of the listener. Each handshake uses the certificate that was loaded last; open connections stay."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load the PEM files. Raises SettingsError if one is missing, or does not match the other."""
        self._files = certificate, key
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
            log.warning("api_certificate_refused", error=str(error))
            RELOADS.labels("refused").inc()
            return
        self._fingerprint = fingerprint
        RELOADS.labels("loaded").inc()
        log.info("api_certificate_reloaded", file=str(self._files[0]))

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
                f"cannot serve the HTTP API with {certificate} and {key}: {error}; use a PEM certificate and its key"
            ) from None
        return context

    def _read_fingerprint(self) -> bytes:
        try:
            return hashlib.sha256(b"\0".join(file.read_bytes() for file in self._files)).digest()
        except OSError as error:
            raise SettingsError(f"cannot read {error.filename} for the HTTP API: {error.strerror}") from None


def _refuse_password() -> str:
    """Raise ValueError: without this, OpenSSL would ask for the password of a key on the terminal."""
    raise ValueError("the key is encrypted; decrypt it")
