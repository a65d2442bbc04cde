# SPDX-License-Identifier: Apache-2.0
"""Blob storage: immutable bytes addressed by their digest."""
