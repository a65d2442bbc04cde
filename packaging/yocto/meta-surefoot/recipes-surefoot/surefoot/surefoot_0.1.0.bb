# SPDX-License-Identifier: Apache-2.0
SUMMARY = "Over-the-air updates that always come back: the device's agent"
DESCRIPTION = "Polls a Surefoot server, verifies what it is offered, installs it into the slot that does not run, and keeps it only when it has proved healthy."
SECTION = "admin"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

inherit externalsrc python_hatchling systemd

# The recipe builds the clone that its layer lies in. A product pins a commit: let SRC_URI and SRCREV name it in a .bbappend, and
# EXTERNALSRC be empty.
EXTERNALSRC ?= "${@os.path.realpath(d.getVar('THISDIR') + '/../../../../..')}"
EXTERNALSRC_BUILD ?= "${WORKDIR}/build"

SYSTEMD_SERVICE:${PN} = "surefoot-agent.service"
SYSTEMD_AUTO_ENABLE = "enable"

# Names of the board, for agent.toml; see docs/board.md.
SUREFOOT_HARDWARE ?= "set-me"

do_install:append() {
    install -d ${D}${sysconfdir}/surefoot ${D}${systemd_system_unitdir}
    install -d -m 0700 ${D}${localstatedir}/lib/surefoot
    install -m 0644 ${S}/packaging/debian/agent.toml ${D}${sysconfdir}/surefoot/agent.toml
    sed -i -e 's/^hardware = "set-me"/hardware = "${SUREFOOT_HARDWARE}"/' ${D}${sysconfdir}/surefoot/agent.toml
    install -m 0644 ${S}/packaging/systemd/surefoot-agent.service ${D}${systemd_system_unitdir}/surefoot-agent.service
    # An agent loads nothing of these; what is left out need not be updated either.
    for part in server simulator release rollout store fleet; do
        rm -rf ${D}${PYTHON_SITEPACKAGES_DIR}/surefoot/$part
    done
}

CONFFILES:${PN} = "${sysconfdir}/surefoot/agent.toml"

RDEPENDS:${PN} = "\
    python3-core \
    python3-compression \
    python3-crypt \
    python3-datetime \
    python3-difflib \
    python3-email \
    python3-fcntl \
    python3-io \
    python3-json \
    python3-logging \
    python3-math \
    python3-mime \
    python3-netclient \
    python3-numbers \
    python3-resource \
    python3-shell \
    python3-stringold \
    python3-threading \
    python3-tomllib \
    python3-zoneinfo \
    python3-cryptography (>= 44) \
    python3-msgspec (>= 0.19) \
    python3-securesystemslib (>= 1.3) \
    python3-semver (>= 3.0.2) \
    python3-tuf (>= 7.0.1) \
    python3-urllib3 (>= 2.2) \
    tzdata \
"
# What a board needs besides depends on its bootloader: libubootenv-bin, grub-editenv, or rauc and python3-jeepney.
RRECOMMENDS:${PN} = "ca-certificates"
