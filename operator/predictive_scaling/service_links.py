"""Environment variables that Kubernetes injects into every pod for each Service of its namespace.

A Service `predictive-scaling-api` injects `PREDICTIVE_SCALING_API_PORT=tcp://10.0.0.1:8000`, which is also the
name of a setting. Only the value distinguishes them.
"""

import ipaddress
import re

_NUMBER = re.compile(r"_SERVICE_PORT(?:_[A-Z0-9_]+)?$")
_ADDRESS_OR_PART = re.compile(r"_PORT(?:_[0-9]{1,5}_(?:TCP|UDP|SCTP)(?:_(?P<part>PROTO|PORT|ADDR))?)?$")
_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://(?P<host>.+):(?P<port>[0-9]{1,5})")
_MAX_NAME = 512
_MAX_PORT = 65535


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes injects `name=value` for a Service, for any name of the Service and its ports.

    >>> is_service_link("PREDICTIVE_SCALING_API_PORT", "tcp://10.0.0.1:8000")
    True
    >>> is_service_link("PREDICTIVE_SCALING_API_PORT", "8000")
    False
    """
    if len(name) > _MAX_NAME:
        return False
    # A Service may itself be named …-service: such a variable name can be parsed in several ways.
    if (name.endswith("_SERVICE_HOST") and _is_ip(value)) or (_NUMBER.search(name) and _is_port(value)):
        return True
    match = _ADDRESS_OR_PART.search(name)
    return match is not None and _is_port_value(match["part"], value)


def _is_port_value(part: str | None, value: str) -> bool:
    """Whether a value is the address of a port, or a part of that address."""
    match part:
        case "ADDR":
            return _is_ip(value)
        case "PORT":
            return _is_port(value)
        case "PROTO":
            return value in ("tcp", "udp", "sctp")
        case _:
            address = _ADDRESS.fullmatch(value)
            return address is not None and _is_ip(address["host"].strip("[]")) and _is_port(address["port"])


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_PORT)) and int(text) <= _MAX_PORT
