# SPDX-License-Identifier: Apache-2.0
"""The console: pages for people in a browser, rendered here and kept live."""
