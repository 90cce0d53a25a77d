#!/usr/bin/env bash
# A line of what the second of two counts of .ci/icount.c has more, in millions: icount-less.sh WHO FIRST SECOND
set -euo pipefail
paste -d' ' <(tr ' ' '\n' < "$2") <(tr ' ' '\n' < "$3") |
  awk -F'[= ]' -v who="$1" 'BEGIN { printf "%-24s", who } { printf " %s %.1f M", $1, ($4 - $2) / 1e6 } END { print "" }'
