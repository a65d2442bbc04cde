# SPDX-License-Identifier: Apache-2.0
"""``python IMAGE`` runs the thermostat; ``python IMAGE --self-test`` exits 0 when it is healthy."""

import sys

from thermostat.program import main

sys.exit(main(sys.argv[1:]))
