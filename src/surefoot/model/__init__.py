# SPDX-License-Identifier: Apache-2.0
"""The words both ends of the wire share: immutable values, no I/O."""
