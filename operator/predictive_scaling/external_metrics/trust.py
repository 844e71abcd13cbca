"""Who may ask: the aggregation layer of the API server, known by its client certificate."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from predictive_scaling.errors import SettingsError

AUTHENTICATION_CONFIG_MAP = ("kube-system", "extension-apiserver-authentication")
"""Namespace and name of the ConfigMap in which every API server publishes it; its role
`extension-apiserver-authentication-reader` lets one read it."""

_CA = "requestheader-client-ca-file"
_NAMES = "requestheader-allowed-names"


@dataclass(frozen=True, slots=True)
class AggregatorTrust:
    """The authority that signs the aggregator's certificate (PEM), and its allowed names; none means any name."""

    authority_pem: str
    allowed_names: tuple[str, ...] = ()

    def admits(self, certificate: Mapping[str, Any] | None) -> bool:
        """Whether a verified certificate, as ssl.SSLSocket.getpeercert gives it, is the aggregator's."""
        if certificate is None:
            return False
        return not self.allowed_names or common_name(certificate) in self.allowed_names


@dataclass(frozen=True, slots=True)
class ServingFiles:
    """What the server proves itself with: PEM files, read again when they change."""

    certificate: Path
    key: Path


def read_trust(config_map: Mapping[str, str]) -> AggregatorTrust:
    """From the ConfigMap's `data`. Raises SettingsError when the cluster has no aggregation layer configured."""
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
    """TLS that completes a handshake only with a client that the authority vouches for.

    Raises SettingsError naming the file that is missing, unreadable or does not fit the other.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(cadata=trust.authority_pem)
    except (ssl.SSLError, ValueError) as error:
        raise SettingsError(f"the aggregation layer's CA is no certificate in PEM: {error}") from None
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"cannot serve external metrics with {files.certificate} and {files.key}: {error}; "
            "name a certificate and its key in PEM"
        ) from None
    return context


def common_name(certificate: Mapping[str, Any]) -> str | None:
    """The subject's common name; None where there is none."""
    subject: tuple[tuple[tuple[str, str], ...], ...] = certificate.get("subject", ())
    return next((value for parts in subject for field, value in parts if field == "commonName"), None)
