# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: each part measures one promise against a peer, a ceiling or a budget, in the same run."""
