# SPDX-License-Identifier: Apache-2.0
"""Health probes: what may be asked of a release, and how each is asked."""
