#!/bin/sh
# Starts a site of so many nodes in a temporary folder, runs a command against it
# (TAMV_CONTEXT says how to reach it) and stops it.
#
#   ./with-appliance.sh 1 bin/tamvctl demo -o json
set -eu
nodes=$1
shift
folder=$(mktemp -d)
bin/tamvd dev --nodes "$nodes" --data "$folder" --listen 127.0.0.1:0 >"$folder/tamvd.out" 2>&1 &
daemon=$!
trap 'kill "$daemon" 2>/dev/null; wait "$daemon" 2>/dev/null; rm -rf "$folder"' EXIT INT TERM
tries=0
until [ -s "$folder/context.json" ]; do
  tries=$((tries + 1))
  if [ "$tries" -gt 600 ] || ! kill -0 "$daemon" 2>/dev/null; then
    cat "$folder/tamvd.out" "$folder"/*/tamvd.log >&2 2>/dev/null
    echo 'tamvd did not start' >&2
    exit 1
  fi
  sleep 0.1
done
TAMV_CONTEXT="$folder/context.json" "$@"
