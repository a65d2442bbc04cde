#!/bin/sh
# An install script for '[install] kind = "script"' of agent.toml: it copies the image to a partition.
# command = ["integration/install-script/slot.sh", "/dev/disk/by-partlabel/slot-"]: the slots are slot-a and slot-b.
# Start here when an image is something else: a file system to make and fill, several partitions, another chip.
set -eu
target="$1$3"

case "$2" in
  install)
    # The digest of what was read, whatever becomes of it: the agent compares it with what it has given.
    read -r sha256 _ <<EOF
$(tee "$target" | sha256sum)
EOF
    sync "$target"
    printf '{"sha256": "%s"}\n' "$sha256"
    ;;
  digest)
    # All that matters of what lies there, from the medium if that can be had.
    dd if="$target" iflag=nocache count=0 status=none
    read -r sha256 _ <<EOF
$(sha256sum < "$target")
EOF
    printf '{"content": "%s"}\n' "$sha256"
    ;;
  *)
    echo "what is $2?" >&2
    exit 64
    ;;
esac
