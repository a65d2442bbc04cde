# SPDX-License-Identifier: Apache-2.0
"""What the server does, one verb a module, free of transport and storage."""
