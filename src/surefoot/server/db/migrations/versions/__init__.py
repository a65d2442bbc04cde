# SPDX-License-Identifier: Apache-2.0
"""One module a step, in the order of their numbers."""
