# SPDX-License-Identifier: Apache-2.0
"""Bootloader backends behind a port of four verbs."""
