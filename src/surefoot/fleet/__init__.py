# SPDX-License-Identifier: Apache-2.0
"""The fleet: devices and how they join it."""
