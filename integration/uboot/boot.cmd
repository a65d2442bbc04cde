# SPDX-License-Identifier: Apache-2.0
# Surefoot's side of U-Boot: choose a slot, remember that it was started, start it. See docs/formats.md, "Bootloaders".
#
# Make it a script image:  mkimage -A arm64 -T script -C none -d boot.cmd boot.scr
# The board sets, before it is sourced:
#   surefoot_boot   what starts the slot ${sf_slot} (A or B), with surefoot.slot=${sf_arg} on the kernel's command line
#   surefoot_state  "environment" (saved by saveenv, redundant), or "block", and then also
#   devtype, devnum            the device of the state block, as in "mmc" and "0"
#   surefoot_lba1, surefoot_lba2   first sectors of its two copies, hexadecimal
#   surefoot_addr   12 KiB of memory, hexadecimal
# Whatever cannot be read or saved starts nothing: the script ends, and U-Boot goes on with what comes behind it.

setenv sf_vars "BOOT_ORDER BOOT_LAST_GOOD BOOT_A_STATE BOOT_A_LEFT BOOT_B_STATE BOOT_B_LEFT"
setenv sf_ready no

# 1. Read.
if test "${surefoot_state}" = block; then
  setexpr sf_addr2 ${surefoot_addr} + 1000
  setexpr sf_out ${surefoot_addr} + 2000
  setenv sf_s1
  setenv sf_s2
  ${devtype} dev ${devnum}
  if ${devtype} read ${surefoot_addr} ${surefoot_lba1} 8; then
    if env import -c ${surefoot_addr} 1000 BOOT_SEQ; then setenv sf_s1 ${BOOT_SEQ}; fi
  fi
  if ${devtype} read ${sf_addr2} ${surefoot_lba2} 8; then
    if env import -c ${sf_addr2} 1000 BOOT_SEQ; then setenv sf_s2 ${BOOT_SEQ}; fi
  fi
  # The newer copy is read, the older one will be overwritten.
  setenv sf_in
  if test -n "${sf_s1}"; then setenv sf_in ${surefoot_addr}; setenv sf_older ${surefoot_lba2}; setenv sf_seq ${sf_s1}; fi
  if test -n "${sf_s2}"; then
    if test -z "${sf_in}"; then
      setenv sf_in ${sf_addr2}; setenv sf_older ${surefoot_lba1}; setenv sf_seq ${sf_s2}
    elif test 0x${sf_s2} -gt 0x${sf_s1}; then
      setenv sf_in ${sf_addr2}; setenv sf_older ${surefoot_lba1}; setenv sf_seq ${sf_s2}
    fi
  fi
  if test -n "${sf_in}"; then
    if env import -c ${sf_in} 1000 ${sf_vars}; then setenv sf_ready yes; fi
  fi
else
  if test -n "${BOOT_ORDER}"; then setenv sf_ready yes; fi
fi

# 2. Choose: the primary if it is good, or on trial with tries left; else it is bad, and the other one by the same rule.
if test "${sf_ready}" = yes; then
  setenv sf_slot
  setenv sf_changed no
  for s in ${BOOT_ORDER}; do
    if test -z "${sf_slot}"; then
      if test "${s}" = A; then
        setenv sf_other B; setenv sf_state ${BOOT_A_STATE}; setenv sf_left ${BOOT_A_LEFT}; setenv sf_other_state ${BOOT_B_STATE}
      else
        setenv sf_other A; setenv sf_state ${BOOT_B_STATE}; setenv sf_left ${BOOT_B_LEFT}; setenv sf_other_state ${BOOT_A_STATE}
      fi
      if test "${sf_state}" = good; then
        setenv sf_slot ${s}
      elif test "${sf_state}" = trying && test 0x${sf_left} -gt 0; then
        setexpr sf_left ${sf_left} - 1
        setenv BOOT_${s}_LEFT ${sf_left}
        setenv sf_slot ${s}
        setenv sf_changed yes
      else
        if test "${sf_state}" != bad; then setenv BOOT_${s}_STATE bad; setenv BOOT_${s}_LEFT 0; setenv sf_changed yes; fi
        if test "${s}" = "${BOOT_LAST_GOOD}" && test "${sf_other_state}" = good; then
          setenv BOOT_LAST_GOOD ${sf_other}; setenv sf_changed yes
        fi
      fi
    fi
  done
  # Neither will do: the one that was good last ran healthily once.
  if test -z "${sf_slot}"; then setenv sf_slot ${BOOT_LAST_GOOD}; fi
  if test "${sf_slot}" = A; then setenv sf_order "A B"; setenv sf_arg a; else setenv sf_order "B A"; setenv sf_arg b; fi
  if test "${sf_order}" != "${BOOT_ORDER}"; then setenv BOOT_ORDER "${sf_order}"; setenv sf_changed yes; fi

  # 3. Remember, before the slot runs.
  if test "${sf_changed}" = yes; then
    setenv sf_ready no
    if test "${surefoot_state}" = block; then
      setexpr BOOT_SEQ ${sf_seq} + 1
      mw.b ${sf_out} 0 1000
      if env export -c -s 1000 ${sf_out} BOOT_SEQ ${sf_vars}; then
        if ${devtype} write ${sf_out} ${sf_older} 8; then setenv sf_ready yes; fi
      fi
    else
      if saveenv; then setenv sf_ready yes; fi
    fi
  fi
fi

# 4. Start.
if test "${sf_ready}" = yes; then
  echo "surefoot: starting slot ${sf_slot}, order ${BOOT_ORDER}, A ${BOOT_A_STATE} ${BOOT_A_LEFT}, B ${BOOT_B_STATE} ${BOOT_B_LEFT}"
  run surefoot_boot
  echo "surefoot: slot ${sf_slot} cannot be loaded"
  reset
fi
echo "surefoot: the boot state cannot be read or saved; nothing is started"
