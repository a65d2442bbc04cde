# SPDX-License-Identifier: Apache-2.0
"""Probes over a network: http and tcp. Each returns what is wrong, or nothing."""

import socket
from http import HTTPStatus
from pathlib import Path

import urllib3

from surefoot.agent.probes.settings import HttpProbe, TcpProbe


def ask_http(http: urllib3.PoolManager, probe: HttpProbe, folder: Path) -> str:
    """Say what is wrong with an answer."""
    url = probe.url or _local_url(probe, folder)
    if not url:
        return f"There is no port in {probe.port_file}."
    try:
        timeout = urllib3.Timeout(total=probe.timeout_s)
        answer = http.request("GET", url, timeout=timeout, retries=False, redirect=False, preload_content=False)
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        return f"{url} does not answer: {type(error).__name__}."
    answer.close()
    return "" if answer.status == HTTPStatus.OK else f"{url} answers with status {answer.status}."


def _local_url(probe: HttpProbe, folder: Path) -> str:
    try:
        port = int((folder / probe.port_file).read_text())
    except (OSError, ValueError):
        return ""
    return f"http://127.0.0.1:{port}{probe.path}"


def ask_tcp(probe: TcpProbe) -> str:
    """Say why a port takes no connection."""
    try:
        socket.create_connection((probe.host, probe.port), timeout=probe.timeout_s).close()
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return f"{probe.host}:{probe.port} takes no connection: {why}."
    return ""
