# SPDX-License-Identifier: Apache-2.0
"""Trust: the two signed repositories, how they are made and how a device verifies them."""
