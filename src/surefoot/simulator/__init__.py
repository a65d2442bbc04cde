# SPDX-License-Identifier: Apache-2.0
"""The simulator: boards that lose power, driving the real agent."""
