"""The Ryu app: ``ryu-manager apps/vxlan_l2.py``. Wiring only."""

from __future__ import annotations

import logging
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import eventlet
from ryu import cfg as ryu_cfg
from ryu.app.wsgi import WSGIApplication
from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.handler import MAIN_DISPATCHER, set_ev_cls
from ryu.ofproto import ofproto_v1_3

from apps import options, rest
from apps.notify import Notifier
from apps.rest import Serving
from apps.shutdown import end_politely
from controller.api.app import Api
from controller.bridges import PortNames
from controller.engine import Settings
from controller.learning import Limits
from controller.measures import Measures
from controller.openflow import front
from controller.openflow import listen as listening
from controller.openflow.listen import Acceptor, listen
from controller.openflow.tls import Tls
from controller.runtime import Runtime
from controller.service import About
from controller.store.base import Store
from controller.store.urls import store_at
from topology.model import Network, Topology
from topology.types import Vni

LOG = logging.getLogger("vxlan_l2")
CONF = ryu_cfg.CONF
DEFAULT_OPENFLOW_PORT = 6653


def _version() -> str:
    try:
        return version("vxlan-l2")
    except PackageNotFoundError:
        return "unknown"


def _tls() -> Tls | None:
    """What switches connect with when the controller has a key and a certificate."""
    key, cert, ca = CONF.ctl_privkey, CONF.ctl_cert, CONF.ca_certs
    if key is None and cert is None:
        if ca is not None:
            raise options.CannotStart(
                "ca_certs is for TLS, and without ctl_privkey and ctl_cert switches would connect"
                " without: set these too, or none of them"
            )
    elif key is None or cert is None:
        raise options.CannotStart("ctl_privkey and ctl_cert go together: set both, or neither")
    if ca is None and CONF.vxlan.bind_certificates:
        raise options.CannotStart(
            "bind_certificates wants TLS with certificates of switches: set ca_certs, and"
            " ctl_privkey and ctl_cert"
        )
    return None if key is None else Tls(key, cert, ca)


def _how_secure(tls: Tls | None) -> str:
    """What the log says of the OpenFlow port at start."""
    return "no TLS: whoever reaches it may connect as any switch" if tls is None else str(tls)


def _is_new(url: str) -> bool:
    """Whether a store's URL names a file that is not there yet."""
    parts = urlsplit(url)
    return parts.scheme == "sqlite" and not os.path.exists(unquote(parts.path))


def _facts(topology: Topology) -> int:
    """How many facts were loaded; network 0 as it always is was not."""
    networks = [network for network in topology.networks.values() if network != Network(Vni(0))]
    others = (topology.hosts, topology.vms, topology.vteps, topology.vips)
    return len(networks) + sum(map(len, others))


def _address(socket: Any) -> str:
    host, port = socket.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Controller(Runtime):
    """Ready when its store is loaded and switches can connect."""

    def __init__(self, store: Store, settings: Settings, about: About, switches: Acceptor) -> None:
        super().__init__(store, settings, about)
        self._switches = switches

    rest: Serving | None = None

    def ready(self) -> bool:
        return super().ready() and self._switches.listening

    def measures(self) -> Measures:
        measures = super().measures()
        measures.openflow_refused = self._switches.complaints.counts
        return measures

    def ended(self) -> list[str]:
        ended = super().ended()
        ended += ["the OpenFlow listener"] if self._switches.ended else []
        return ended + (["the REST listener"] if self.rest is not None and self.rest.ended else [])


class VxlanL2(app_manager.RyuApp):
    """Events in, effects out: everything else is in controller/."""

    OFP_VERSIONS: ClassVar = [ofproto_v1_3.OFP_VERSION]
    _CONTEXTS: ClassVar = {"wsgi": WSGIApplication}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        CONF.set_default("wsapi_host", "127.0.0.1")
        for port in ("ofp_tcp_listen_port", "ofp_ssl_listen_port"):
            if not CONF[port]:
                CONF.set_default(port, DEFAULT_OPENFLOW_PORT)
        options.check(CONF, os.environ)
        token, read_token = options.token(CONF), options.read_token(CONF)
        api_tls = options.api_tls(CONF)
        tls = _tls()
        openflow_port = CONF.ofp_tcp_listen_port if tls is None else CONF.ofp_ssl_listen_port
        openflow = listen("OpenFlow", CONF.ofp_listen_host, openflow_port)
        web = listen("REST", CONF.wsapi_host, CONF.wsapi_port)

        url = CONF.vxlan.store or f"sqlite://{Path.cwd() / 'vxlan-l2.db'}"
        store = store_at(url)
        was_new = _is_new(url)
        ports = PortNames(CONF.vxlan.patch_port, tuple(CONF.vxlan.tunnel_ports))
        listening.allow_files(CONF.vxlan.connections_max)
        switches = Acceptor(
            openflow,
            tls,
            listening.Limits(CONF.vxlan.connections_max, CONF.vxlan.connections_per_address_max),
        )
        limits = Limits(CONF.vxlan.learn_limit_host, CONF.vxlan.learn_limit_network)
        settings = Settings(
            ports,
            CONF.vxlan.learn_timeout,
            limits,
            hold_unknown=CONF.vxlan.hold_unknown,
            bind_certificates=CONF.vxlan.bind_certificates,
        )
        about = About(_version(), _address(openflow), url)
        self._runtime = _Controller(store, settings, about, switches)
        self._runtime.start()
        front.install(self._runtime, switches)
        api = Api(
            self._runtime,
            _version(),
            token,
            read_token=read_token,
            names=CONF.vxlan.api_hosts or (),
        )
        self._runtime.rest = rest.serve_on(web, self._runtime.measures().http_ended, api_tls)
        rest.mount(kwargs["wsgi"], api)
        rest.keep_up(CONF, api, api_tls)

        content = "new, empty" if was_new else f"{_facts(self._runtime.topology)} facts"
        LOG.info("vxlan-l2 %s", _version())
        LOG.info("store: %s (%s)", store.describe(), content)
        LOG.info("OpenFlow: %s (%s)", _address(openflow), _how_secure(tls))
        if tls is not None and not tls.asks:
            LOG.warning("TLS without ca_certs: whoever reaches it may connect as any switch")
        wanted = "wants a token" if token else "no token: open to whoever reaches it"
        scheme = "http" if api_tls is None else "https"
        LOG.info("REST: %s://%s (%s)", scheme, _address(web), wanted)
        self._notifier = Notifier()
        runtime = self._runtime
        eventlet.spawn(self._notifier.beat_for_ever, runtime.ready, self._in_short, runtime.ended)
        end_politely()

    def _in_short(self) -> str:
        """One line for ``systemctl status``."""
        connected, known = len(self._runtime.engine.replicas), len(self._runtime.topology.hosts)
        vms = len(self._runtime.topology.vms)
        return f"{connected} of {known} hosts connected, {vms} VMs registered"

    @set_ev_cls(ofp_event.EventOFPStateChange, MAIN_DISPATCHER)
    def _state_changed(self, event: Any) -> None:
        """Nothing to do: naming an OpenFlow event makes Ryu start its OpenFlow service."""

    def close(self) -> None:
        self._notifier.stopping()
        self._runtime.stop()
