# SPDX-License-Identifier: Apache-2.0
"""The agent: the program on the device."""
