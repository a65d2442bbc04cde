#!/bin/sh
# Installs the Debian packages of a list (requirements/system.txt) that are missing; says so in one sentence when it may not.
set -eu
cd "$(dirname "$0")/.."
list="${1:-requirements/system.txt}"
missing=""
while read -r package command; do
  case "$package" in "" | "#"*) continue ;; esac
  [ -n "$command" ] && command -v "$command" >/dev/null && continue
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done < "$list"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "make system: Debian packages are missing; run as root: apt-get install$missing" >&2
  exit 2
fi
echo "Installing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # one word a package
apt-get install -y -qq --no-install-recommends $missing >/dev/null
