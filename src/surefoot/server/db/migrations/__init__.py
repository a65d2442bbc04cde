# SPDX-License-Identifier: Apache-2.0
"""Migrations: how a database made by an older version becomes one of this version (run at every start)."""
