# SPDX-License-Identifier: Apache-2.0
SUMMARY = "Keys and signatures of the Secure Systems Lab"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://LICENSE;md5=e9703d169911cdb29305f88411c78717"

SRC_URI[sha256sum] = "b16e07c32bb41174c2ee2fb18f478ebe0d52e0e7c1fb085ce89c990452a35977"

inherit pypi python_hatchling

# It names the one version of hatchling that it was released with.
PEP517_BUILD_OPTS = "--skip-dependency-check"

RDEPENDS:${PN} = "python3-cryptography"
