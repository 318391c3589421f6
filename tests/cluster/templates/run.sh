#!/bin/sh
# Runs a command where the cluster can be reached: in a node's network, with Service names resolving.
# Every step replaces the one before it, so that the command gets the signals and gives the exit status.
export KUBECONFIG='@KUBECONFIG@'
export PATH='@PROGRAMS@':"$PATH"
exec nsenter --net='@NETWORK@' unshare --mount sh -c 'mount --bind "$0" /etc/resolv.conf && exec "$@"' '@RESOLVER@' "$@"
