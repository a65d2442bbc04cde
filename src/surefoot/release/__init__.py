# SPDX-License-Identifier: Apache-2.0
"""Releases: from recipe to reproducible bundle."""
