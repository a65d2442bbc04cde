# SPDX-License-Identifier: Apache-2.0
"""The server: services, their database, and the APIs over them."""
