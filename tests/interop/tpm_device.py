# SPDX-License-Identifier: Apache-2.0
"""``python tpm_device.py AGENT.TOML``: poll, renew the certificate as if five days had passed, and poll with the new one.

A process of its own, since OpenSSL reads its settings once.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from surefoot.agent.config import read_config
from surefoot.agent.enrol import read_identity
from surefoot.agent.home import DATA, storage_root
from surefoot.agent.keystore import open_keys
from surefoot.agent.posix import PosixStorage
from surefoot.agent.renewal import Renewal
from surefoot.agent.transport import HttpsServer
from surefoot.simulator.clock import VirtualClock

path = Path(sys.argv[1])
config = read_config(path)
root = storage_root(config, path.parent)
storage = PosixStorage(root)
identity = read_identity(storage, root, DATA)
server = HttpsServer(identity.device_url, identity.credentials)
server.poll("")
clock = VirtualClock(datetime.now(UTC) + timedelta(days=5))
Renewal(storage, DATA, config.device.id, server, clock, keys=open_keys(config.identity, path.parent))()
server.poll("")
