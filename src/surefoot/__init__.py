# SPDX-License-Identifier: Apache-2.0
"""Surefoot: over-the-air updates for IoT fleets."""
