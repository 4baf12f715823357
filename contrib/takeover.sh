#!/bin/sh
# Point a bridge that carries traffic at the controller, with as short a gap as Open vSwitch allows.
set -eu

usage() {
    cat <<'EOF'
usage: takeover.sh BRIDGE CONTROLLER

Point BRIDGE (such as br-tun) at CONTROLLER (such as tcp:192.0.2.1:6653).

Open vSwitch flushes a bridge's flows when it goes from no controller to some. This dumps them
before, and puts them back at once afterwards, so that traffic goes on (a gap of some 10 ms) until
the controller takes over in one step. It also sets what a controlled bridge needs:
fail_mode=secure, other_config:disable-in-band=true, and OpenFlow13 among the protocols.

Run it again as often as you like: a bridge that has this controller already is left alone.
Needs ovs-vsctl and ovs-ofctl, and the right to use them.
EOF
}

case "${1-}" in
    -h | --help) usage; exit 0 ;;
esac
if [ $# -ne 2 ]; then
    usage >&2
    exit 2
fi
bridge=$1
controller=$2

if ! ovs-vsctl br-exists "$bridge"; then
    echo "takeover: there is no bridge $bridge here; ovs-vsctl list-br names those that are" >&2
    exit 1
fi

now=$(ovs-vsctl get-controller "$bridge")
if [ "$now" = "$controller" ]; then
    echo "takeover: $bridge has the controller $controller already"
    exit 0
fi

# Changing these keeps flows: they come first. What no protocols means depends on the version.
ovs-vsctl set-fail-mode "$bridge" secure \
    -- set bridge "$bridge" other_config:disable-in-band=true
protocols=OpenFlow13
if [ "$(ovs-vsctl get bridge "$bridge" protocols)" = "[]" ]; then
    protocols=OpenFlow10,OpenFlow11,OpenFlow12,OpenFlow13,OpenFlow14
fi
ovs-vsctl add bridge "$bridge" protocols "$protocols"

if [ -n "$now" ]; then
    # From one controller to another nothing is flushed.
    ovs-vsctl set-controller "$bridge" "$controller"
    echo "takeover: $bridge changed from $now to $controller"
    exit 0
fi

flows=$(mktemp)
trap 'rm -f "$flows"' EXIT INT TERM
# The flows alone: a dump's first line, and the ages it counts, are no part of them.
ovs-ofctl -O OpenFlow13 dump-flows --no-stats "$bridge" |
    sed -n -e '/actions=/{' -e 's/^ *//' -e 's/\(idle\|hard\)_age=[0-9]*, *//g' -e p -e '}' >"$flows"

# This returns when Open vSwitch has made the change, and the flush with it.
ovs-vsctl set-controller "$bridge" "$controller"
# Should the controller have been faster, these do no harm beside its own: it removes them.
ovs-ofctl -O OpenFlow13 --bundle add-flows "$bridge" "$flows"

echo "takeover: $bridge points at $controller; $(wc -l <"$flows") flows were put back in between"
