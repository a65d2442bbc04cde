# SPDX-License-Identifier: Apache-2.0
"""The database behind the services' ports."""
