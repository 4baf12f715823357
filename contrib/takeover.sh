#!/bin/sh
# Point a bridge that carries traffic at the controller, with no gap where Open vSwitch allows.
set -eu

usage() {
    cat <<'EOF'
usage: takeover.sh [--primary] BRIDGE CONTROLLER

Point BRIDGE (such as br-tun) at CONTROLLER (such as tcp:192.0.2.1:6653) while it carries traffic.

It sets what a controlled bridge needs: fail_mode=secure, other_config:disable-in-band=true, and
OpenFlow13 among the protocols. What that costs depends on what the bridge has:

a controller           Nothing is flushed, and no packet lost: the old flows carry on until the
                       controller replaces them in one step.
none, and secure       The same, as the controller becomes a service controller (a type that Open
                       vSwitch 2.12 and later have), which flushes nothing. It stays one, and works
                       like any other; `ovs-vsctl set-controller` would make it a primary
                       controller, and flush once. --primary does that at once, as below.
none, and not secure   Open vSwitch itself flushes the flows. They are dumped before and put back
                       right after: a gap of 10 ms to 30 ms.

Run it as often as you like: a bridge that has this controller already keeps its flows.

Needs ovs-vsctl and ovs-ofctl, and the right to use them.
EOF
}

service=yes
case "${1-}" in
    -h | --help)
        usage
        exit 0
        ;;
    --primary)
        service=no
        shift
        ;;
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

# Changing this keeps flows. What no protocols means depends on the version.
protocols=OpenFlow13
if [ "$(ovs-vsctl get bridge "$bridge" protocols)" = "[]" ]; then
    protocols=OpenFlow10,OpenFlow11,OpenFlow12,OpenFlow13,OpenFlow14
fi
ovs-vsctl add bridge "$bridge" protocols "$protocols"

# This one flushes where there is no controller: there it goes together with set-controller.
make_safe() {
    ovs-vsctl set-fail-mode "$bridge" secure \
        -- set bridge "$bridge" other_config:disable-in-band=true "$@"
}

now=$(ovs-vsctl get-controller "$bridge")
if [ "$now" = "$controller" ]; then
    make_safe
    echo "takeover: $bridge has the controller $controller already"
    exit 0
fi
if [ -n "$now" ]; then
    make_safe -- set-controller "$bridge" "$controller"
    echo "takeover: $bridge changed from" $now "to $controller"
    exit 0
fi
if [ "$(ovs-vsctl get-fail-mode "$bridge")" = secure ] && [ $service = yes ] &&
    ovs-vsctl --columns=type list controller >/dev/null 2>&1; then
    make_safe -- --id=@new create controller "target=\"$controller\"" type=service \
        -- set bridge "$bridge" controller=@new >/dev/null
    echo "takeover: $bridge points at $controller; its flows were not touched"
    exit 0
fi

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT INT TERM
# The flows alone: a dump's first line, and the ages it counts, are no part of them.
ovs-ofctl -O OpenFlow13 dump-flows --no-stats "$bridge" |
    sed -n -e '/actions=/{' -e 's/^ *//' -e 's/\(idle\|hard\)_age=[0-9]*, *//g' -e p -e '}' \
        >"$directory/flows"

# Started before it is needed: it waits for the flows.
mkfifo "$directory/now"
ovs-ofctl -O OpenFlow13 --bundle add-flows "$bridge" - <"$directory/now" &
adder=$!
exec 3>"$directory/now"

# This returns when Open vSwitch has made the change, and the flush with it.
make_safe -- set-controller "$bridge" "$controller"
cat "$directory/flows" >&3
exec 3>&-
# Should the controller have been faster, these do no harm beside its own: it removes them.
wait $adder

count=$(wc -l <"$directory/flows")
echo "takeover: $bridge points at $controller; $count flows were put back in between"
