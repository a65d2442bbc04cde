# SPDX-License-Identifier: Apache-2.0
"""Installers behind a port: where a download goes, and what comes to lie in a slot."""
