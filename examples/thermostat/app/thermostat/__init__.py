# SPDX-License-Identifier: Apache-2.0
"""A thermostat: a small product whose firmware Surefoot updates."""
