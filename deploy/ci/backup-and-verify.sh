#!/bin/sh
# Backs up a folder, restores the backup for real into a scratch directory, compares, and keeps the report.
#
#   SOURCE=/srv/data REPORTS=reports RESTIC_REPOSITORY=… RESTIC_PASSWORD_FILE=… deploy/ci/backup-and-verify.sh
#
# SOURCE            the folder; BACKUP=off verifies the last backup alone. An empty folder is a failure: it is more
#                   often one that is not mounted
# REPORTS           where verify.json, verify.xml (JUnit) and the output go, default ./reports
# SCRATCH           an empty directory with room for the folder, default one below TMPDIR
# VOLMOVER          the program, default volmover
# MAX_AGE, MIN_FILES, SHA256SUMS, FORGET_OPTIONS     conditions and retention
#
# Ends with volmover's exit code: 0 all is well, 21 damage, 25 a condition is broken, 24 nothing to back up or to verify.
set -eu

SOURCE=${SOURCE:?the folder to back up}
REPORTS=${REPORTS:-reports}
VOLMOVER=${VOLMOVER:-volmover}
mkdir -p "$REPORTS"

own_scratch=
if [ -z "${SCRATCH:-}" ]; then
  SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/verify.XXXXXX")
  own_scratch=$SCRATCH
fi
trap '[ -z "$own_scratch" ] || rm -rf "$own_scratch"' EXIT

# The same identity for both, wherever the folder is checked out.
export DATA_DIR="$SOURCE"
export MOVER_HOST="${MOVER_HOST:-ci}"
export MOVER_PATH="${MOVER_PATH:-/data}"

status=0
if [ "${BACKUP:-on}" = on ]; then
  MOVER_ON_EMPTY="${MOVER_ON_EMPTY:-fail}" "$VOLMOVER" backup >"$REPORTS/backup.log" 2>&1 || status=$?
  cat "$REPORTS/backup.log"
  [ "$status" = 0 ] || exit "$status"
fi

MOVER_VERIFY_DIR="$SCRATCH" \
  MOVER_VERIFY_MAX_AGE="${MAX_AGE:-26h}" \
  MOVER_VERIFY_MIN_FILES="${MIN_FILES:-1}" \
  MOVER_VERIFY_SHA256SUMS="${SHA256SUMS:-}" \
  MOVER_VERIFY_REPORT="$REPORTS/verify.json" \
  MOVER_VERIFY_JUNIT="$REPORTS/verify.xml" \
  "$VOLMOVER" verify >"$REPORTS/verify.log" 2>&1 || status=$?
cat "$REPORTS/verify.log"
exit "$status"
