# SPDX-License-Identifier: Apache-2.0
"""The lab: a virtual A/B board with a real bootloader, a real kernel and the real agent, that loses its power for real."""
