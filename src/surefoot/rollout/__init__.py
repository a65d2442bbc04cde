# SPDX-License-Identifier: Apache-2.0
"""Rollouts: what a plan allows next, from what devices have reported; pure."""
