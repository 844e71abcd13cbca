"""A Kafka broker with a further listener that requires TLS and a password."""

from pathlib import Path

from predictive_scaling.stack.kafka import Kafka
from predictive_scaling.stack.ports import LOOPBACK, free_port
from predictive_scaling.stack.progress import Notify

USER, PASSWORD = "ingest", "hunter2-of-kafka"


class SecuredKafka(Kafka):
    """`secured_servers` is the address of the listener; `options` are the properties of its clients."""

    def __init__(self, folder: Path, notify: Notify, certificate: Path, key: Path, authority: Path) -> None:
        super().__init__(folder, notify)
        self._secured_port = free_port()
        self._certificate = certificate
        self._key = key
        self._authority = authority

    @property
    def secured_servers(self) -> str:
        return f"{LOOPBACK}:{self._secured_port}"

    def options(self, password: str = PASSWORD) -> dict[str, str]:
        return {
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self._authority),
            "sasl.mechanism": "PLAIN",
            "sasl.username": USER,
            "sasl.password": password,
        }

    def _configuration(self) -> str:
        # A keystore of Kafka is one file with the key and its certificates.
        keystore = self.folder / "keystore.pem"
        keystore.write_text(self._key.read_text() + self._certificate.read_text())
        module = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        extra = {
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": keystore.name,
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": f'{module} user_{USER}="{PASSWORD}";',
        }
        listener = f",SASL_SSL://{self.secured_servers}"
        lines = [
            line + listener if line.startswith(("listeners=", "advertised.listeners=")) else line
            for line in super()._configuration().splitlines()
        ]
        return "\n".join([*lines, *(f"{name}={value}" for name, value in extra.items())]) + "\n"
