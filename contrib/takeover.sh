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
none, and not secure   Open vSwitch itself flushes the flows and groups. They are dumped before and
                       put back right after, in one step: a gap of 10 ms to 30 ms.

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

address='([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9a-fA-F:.]+(%[^]]+)?\])'
if ! printf '%s\n' "$controller" | grep -Eqx "(tcp|ssl):$address(:[0-9]{1,5})?"; then
    echo "takeover: $controller is no controller: tcp:192.0.2.1:6653, ssl:192.0.2.1:6653 or" \
        "tcp:[2001:db8::1]:6653 would be one" >&2
    exit 2
fi

status=0
ovs-vsctl br-exists "$bridge" || status=$?
if [ $status -eq 2 ]; then
    echo "takeover: there is no bridge $bridge here; ovs-vsctl list-br names those that are" >&2
    exit 1
elif [ $status -ne 0 ]; then
    echo "takeover: Open vSwitch's database does not answer: is it running, are you root?" >&2
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
# Groups before the flows that use them. Heads of dumps, and the ages they count, are no part.
ovs-ofctl -O OpenFlow13 dump-groups "$bridge" >"$directory/groups"
ovs-ofctl -O OpenFlow13 dump-flows --no-stats "$bridge" >"$directory/flows"
sed -n 's/^ *group_id=/group add group_id=/p' "$directory/groups" >"$directory/all"
sed -n -e '/actions=/{' -e 's/\(idle\|hard\)_age=[0-9]*, *//g' -e 's/^ */flow add /p' -e '}' \
    "$directory/flows" >>"$directory/all"

# Started before it is needed: it waits for them.
mkfifo "$directory/now"
ovs-ofctl -O OpenFlow13 bundle "$bridge" - <"$directory/now" &
adder=$!
exec 3>"$directory/now"

# This returns when Open vSwitch has made the change, and the flush with it.
make_safe -- set-controller "$bridge" "$controller"
cat "$directory/all" >&3
exec 3>&-
# Should the controller have been faster, these do no harm beside its own: it removes them.
if ! wait $adder; then
    echo "takeover: the old flows could not be put back; the controller brings its own" >&2
    exit 1
fi

count=$(grep -c '^flow' "$directory/all" || true)
groups=$(grep -c '^group' "$directory/all" || true)
echo "takeover: $bridge points at $controller; $count flows and $groups groups were put back"
