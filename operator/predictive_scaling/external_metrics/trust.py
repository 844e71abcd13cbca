"""Client authentication: only the API server's aggregation layer, identified by its certificate, is served."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from predictive_scaling.errors import SettingsError

AUTHENTICATION_CONFIG_MAP = ("kube-system", "extension-apiserver-authentication")
"""Namespace and name of the ConfigMap in which every API server publishes the authority; the role
`extension-apiserver-authentication-reader` allows reading it."""

_CA = "requestheader-client-ca-file"
_NAMES = "requestheader-allowed-names"


@dataclass(frozen=True, slots=True)
class AggregatorTrust:
    """The CA that signs the aggregator's certificate (PEM), and the allowed common names; empty: any name."""

    authority_pem: str
    allowed_names: tuple[str, ...] = ()

    def admits(self, certificate: Mapping[str, Any] | None) -> bool:
        """Whether a verified certificate, as returned by ssl.SSLSocket.getpeercert, is the aggregator's."""
        if certificate is None:
            return False
        return not self.allowed_names or common_name(certificate) in self.allowed_names


@dataclass(frozen=True, slots=True)
class ServingFiles:
    """The PEM files of the serving certificate and its key, read again when they change."""

    certificate: Path
    key: Path


def read_trust(config_map: Mapping[str, str]) -> AggregatorTrust:
    """Parse the ConfigMap's `data`. Raises SettingsError if the cluster has no aggregation layer configured."""
    authority = config_map.get(_CA, "").strip()
    if not authority:
        namespace, name = AUTHENTICATION_CONFIG_MAP
        raise SettingsError(
            f"ConfigMap {namespace}/{name} has no {_CA}: this API server has no aggregation layer; start it with "
            "--requestheader-client-ca-file, or set PREDICTIVE_SCALING_EXTERNAL_METRICS=false"
        )
    names = config_map.get(_NAMES) or "[]"
    try:
        return AggregatorTrust(authority + "\n", msgspec.json.decode(names, type=tuple[str, ...]))
    except msgspec.MsgspecError:
        raise SettingsError(f"{_NAMES} is {names!r}; a JSON list of names is expected") from None


def server_context(files: ServingFiles, trust: AggregatorTrust) -> ssl.SSLContext:
    """Return a TLS context that requires a client certificate signed by the authority.

    Raises SettingsError with the file that is missing, unreadable or does not match the other.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(cadata=trust.authority_pem)
    except (ssl.SSLError, ValueError) as error:
        raise SettingsError(f"the aggregation layer's CA is not a PEM certificate: {error}") from None
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"cannot serve external metrics with {files.certificate} and {files.key}: {error}; "
            "use a PEM certificate and its key"
        ) from None
    return context


def common_name(certificate: Mapping[str, Any]) -> str | None:
    """Return the subject's common name; None if it has none."""
    subject: tuple[tuple[tuple[str, str], ...], ...] = certificate.get("subject", ())
    return next((value for parts in subject for field, value in parts if field == "commonName"), None)
