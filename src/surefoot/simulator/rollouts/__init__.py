# SPDX-License-Identifier: Apache-2.0
"""Whole rollouts on a twin of a fleet, in virtual time: millions of devices as counts, one real ``decide``."""
