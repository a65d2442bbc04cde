# SPDX-License-Identifier: Apache-2.0
"""Maintenance windows: when they open, whether an install may start now, and whose windows apply; the same at both ends."""
