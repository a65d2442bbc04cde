# SPDX-License-Identifier: Apache-2.0
"""Probes as agent.toml has them, in ``[[trial.probes]]``: one record a kind, all of them in ``Probe``.

Every probe has, besides what its kind needs:

- ``interval_s``: how often it is looked at; when it does not say, at each look of a trial, and every half minute after that.
- ``timeout_s``: how long a look may take; one that takes longer has failed.
- ``failures``: so many failed looks in a row make it fail, once it has held; before that, one does.
- ``required``: whether a release must hold it to be kept. One that is not is only reported.
"""

from typing import Annotated

from msgspec import Meta

from surefoot.model.record import Record

Seconds = Annotated[float, Meta(gt=0, le=3600)]
Patience = Annotated[float, Meta(gt=0, le=60)]
Failures = Annotated[int, Meta(ge=1, le=100)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Host = Annotated[str, Meta(min_length=1, max_length=255)]
Amount = Annotated[int, Meta(ge=0, lt=2**53)]


class ProcessProbe(Record, frozen=True, kw_only=True, tag_field="kind", tag="process"):
    """A process that runs and is no zombie: the one whose number is in ``pid_file``, or any whose command has this ``name``."""

    pid_file: str = ""
    name: str = ""
    interval_s: Seconds | None = None
    timeout_s: Patience = 2.0
    failures: Failures = 1
    required: bool = True

    def __post_init__(self) -> None:
        """Refuse a probe that names no process or two; the decoder turns this into ``FormatError``."""
        _require_one("a process probe", pid_file=self.pid_file, name=self.name)


class HeartbeatProbe(Record, frozen=True, kw_only=True, tag_field="kind", tag="heartbeat"):
    """Something that the release does again and again; paths are taken from the folder of agent.toml.

    Attributes:
        path: A file that it touches; or
        socket: a Unix datagram socket that the agent makes: each datagram is a beat; or
        notify: a socket for sd_notify(3), to be given to a service as NOTIFY_SOCKET: ``WATCHDOG=1`` and ``READY=1`` are beats,
            ``WATCHDOG=trigger`` and ``STOPPING=1`` end them.
        max_age_s: How old the last beat may be.
    """

    path: str = ""
    socket: str = ""
    notify: str = ""
    max_age_s: Seconds = 5.0
    interval_s: Seconds | None = None
    timeout_s: Patience = 2.0
    failures: Failures = 1
    required: bool = True

    def __post_init__(self) -> None:
        """Refuse a probe that names no place or two."""
        _require_one("a heartbeat probe", path=self.path, socket=self.socket, notify=self.notify)


class HttpProbe(Record, frozen=True, kw_only=True, tag_field="kind", tag="http"):
    """A GET that must be answered with 200; redirects are not followed, the body is not read.

    Attributes:
        url: Where to ask; or, when the release chooses its port at run time:
        port_file: The file it writes the port to, taken from the folder of agent.toml; 127.0.0.1 is asked.
        path: The path to ask for then.
    """

    url: str = ""
    port_file: str = ""
    path: str = "/"
    interval_s: Seconds | None = None
    timeout_s: Patience = 2.0
    failures: Failures = 1
    required: bool = True

    def __post_init__(self) -> None:
        """Refuse a probe that names no place or two."""
        _require_one("an http probe", url=self.url, port_file=self.port_file)


class TcpProbe(Record, frozen=True, kw_only=True, tag_field="kind", tag="tcp"):
    """A port that takes a connection; ``broker`` says that it is a message broker's, which an outage of may not be the release's fault."""

    host: Host
    port: Port
    broker: bool = False
    interval_s: Seconds | None = None
    timeout_s: Patience = 5.0
    failures: Failures = 1
    required: bool = True


class MqttProbe(Record, frozen=True, kw_only=True, tag_field="kind", tag="mqtt"):
    """A message that a broker hands back: subscribed to, published with QoS 1, and received; needs ``surefoot[mqtt]``.

    Attributes:
        host: The broker.
        port: Its port.
        topic: Where to publish; the device must be allowed to publish and to subscribe there. ``{client}`` stands for the client id.
        client: The client id, which no other client of the broker may use; by default one is made up for each look.
        username: Who to be; nobody when it is empty.
        password_file: The file with the password, taken from the folder of agent.toml.
        ca_file: Certificates to believe, from the same folder; with one the connection is by TLS.
        broker: Whether an outage of it may not be the release's fault.
    """

    host: Host
    port: Port = 1883
    topic: Annotated[str, Meta(pattern=r"\A[^#+\x00]{1,200}\Z")] = "surefoot/probe/{client}"
    client: str = ""
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    broker: bool = True
    interval_s: Seconds | None = None
    timeout_s: Patience = 5.0
    failures: Failures = 1
    required: bool = True


class UnitProbe(Record, frozen=True, kw_only=True, tag_field="kind", tag="unit"):
    """A systemd unit that ``systemctl is-active`` finds active."""

    unit: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,254}\Z")]
    interval_s: Seconds | None = None
    timeout_s: Patience = 5.0
    failures: Failures = 1
    required: bool = True


class CommandProbe(Record, frozen=True, kw_only=True, tag_field="kind", tag="command"):
    """A command that must exit with 0 in time; run in the folder of agent.toml, its output thrown away."""

    command: Annotated[list[str], Meta(min_length=1)]
    interval_s: Seconds | None = None
    timeout_s: Patience = 5.0
    failures: Failures = 1
    required: bool = True


class DiskProbe(Record, frozen=True, kw_only=True, tag_field="kind", tag="disk"):
    """The file system that holds ``path`` must have so much left for ordinary users; one that has no inodes to count passes for them."""

    path: str = "."
    free_bytes: Amount = 0
    free_inodes: Amount = 0
    interval_s: Seconds | None = None
    timeout_s: Patience = 2.0
    failures: Failures = 1
    required: bool = True

    def __post_init__(self) -> None:
        """Refuse a probe that asks for nothing; the decoder turns this into ``FormatError``."""
        if not (self.free_bytes or self.free_inodes):
            raise ValueError("a disk probe has 'free_bytes', 'free_inodes' or both")


class MemoryProbe(Record, frozen=True, kw_only=True, tag_field="kind", tag="memory"):
    """So much memory must be available, as the kernel estimates it (MemAvailable of proc(5))."""

    available_bytes: Annotated[int, Meta(ge=1, lt=2**53)]
    interval_s: Seconds | None = None
    timeout_s: Patience = 2.0
    failures: Failures = 1
    required: bool = True


Probe = ProcessProbe | HeartbeatProbe | HttpProbe | TcpProbe | MqttProbe | UnitProbe | CommandProbe | DiskProbe | MemoryProbe


def broker_of(probe: Probe) -> str:
    """Return what a broker is called in the journal; empty for a probe that is none's."""
    match probe:
        case TcpProbe() | MqttProbe() if probe.broker:
            return f"the broker {probe.host}:{probe.port}"
        case _:
            return ""


def _require_one(what: str, **places: str) -> None:
    if sum(map(bool, places.values())) != 1:
        names = [f"'{name}'" for name in places]
        if len(names) == 2:  # noqa: PLR2004  # two are joined in another way than three
            raise ValueError(f"{what} has either {names[0]} or {names[1]}")
        raise ValueError(f"{what} has one of {', '.join(names[:-1])} and {names[-1]}")
