# SPDX-License-Identifier: Apache-2.0
"""The probe of a message broker: a message goes there and comes back (MQTT 3.1.1). It returns what is wrong, or nothing."""

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surefoot.agent.clock import Clock
from surefoot.agent.probes.settings import MqttProbe

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

_TURN_S = 0.1
_QOS = 1


def ask_mqtt(probe: MqttProbe, folder: Path, clock: Clock) -> str:
    """Say how far a message did not get."""
    name = f"{probe.host}:{probe.port}"
    try:
        return _Trip(probe, folder).travel(clock)
    except ImportError:
        return f"The broker {name} cannot be asked: paho-mqtt is missing; install surefoot[mqtt]."
    except (OSError, ValueError, UnicodeError) as error:
        return f"The broker {name} cannot be reached: {getattr(error, 'strerror', None) or error}."


class _Trip:
    """One message on its way; ``_waits_for`` is what has not happened yet."""

    def __init__(self, probe: MqttProbe, folder: Path) -> None:
        from paho.mqtt.client import Client  # noqa: PLC0415  # an extra
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415  # as above

        self._probe = probe
        self._name = f"{probe.host}:{probe.port}"
        client_id = probe.client or f"surefoot-{secrets.token_hex(6)}"
        self._topic = probe.topic.replace("{client}", client_id)
        self._token = secrets.token_bytes(16)
        self._waits_for = "takes no connection"
        self._refused = ""
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        self._client.connect_timeout = probe.timeout_s
        if probe.username:
            password = (folder / probe.password_file).read_text().rstrip("\n") if probe.password_file else None
            self._client.username_pw_set(probe.username, password)
        if probe.ca_file:
            self._client.tls_set(ca_certs=str(folder / probe.ca_file))
        self._client.on_connect = self._connected
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._received

    def travel(self, clock: Clock) -> str:
        """Take the message there and back, or say what did not happen in time."""
        end_s = clock.monotonic() + self._probe.timeout_s
        try:
            self._client.connect(self._probe.host, self._probe.port)
            while self._waits_for and not self._refused and clock.monotonic() < end_s:
                if self._client.loop(_TURN_S):
                    break
        finally:
            self._client.disconnect()
            self._client.loop(_TURN_S)
        wrong = self._refused or self._waits_for
        return f"The broker {self._name} {wrong}." if wrong else ""

    def _connected(self, client: "Client", _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:  # noqa: ANN401  # paho's
        if reason.is_failure:
            self._refused = f"refuses the connection: {reason}"
            return
        self._waits_for = f"takes no subscription of {self._topic}"
        client.subscribe(self._topic, _QOS)

    def _subscribed(self, client: "Client", _data: Any, _mid: Any, reasons: list[Any], _properties: Any) -> None:  # noqa: ANN401  # paho's
        if any(reason.is_failure for reason in reasons):
            self._refused = f"refuses the subscription of {self._topic}"
            return
        self._waits_for = f"does not hand back what is published to {self._topic}"
        client.publish(self._topic, self._token, _QOS)

    def _received(self, _client: "Client", _data: Any, message: "MQTTMessage") -> None:  # noqa: ANN401  # paho's
        # Another device may use the topic too.
        if message.payload == self._token:
            self._waits_for = ""
