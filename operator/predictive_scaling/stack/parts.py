"""The servers of the stack by name, apart from their clients, which `stack down` need not import."""

import enum


class Part(enum.StrEnum):
    """A server of the stack."""

    KUBERNETES = "kubernetes"
    POSTGRESQL = "postgresql"
    REDIS = "redis"
    KAFKA = "kafka"
    AWS = "aws"
