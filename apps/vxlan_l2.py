"""The Ryu app: ``ryu-manager apps/vxlan_l2.py``. Wiring only."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

from oslo_config import cfg
from ryu import cfg as ryu_cfg
from ryu.app.wsgi import WSGIApplication
from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.handler import MAIN_DISPATCHER, set_ev_cls
from ryu.ofproto import ofproto_v1_3

from apps.rest import mount
from controller.api.app import Api
from controller.bridges import PortNames
from controller.engine import Settings
from controller.openflow import front
from controller.runtime import Runtime
from controller.store.urls import store_at
from topology.errors import VxlanError

LOG = logging.getLogger("vxlan_l2")
CONF = ryu_cfg.CONF
DEFAULT_OPENFLOW_PORT = 6653
LOOPBACK = ("127.0.0.1", "::1", "localhost")

OPTIONS = [
    cfg.StrOpt(
        "store", help="where facts are kept: sqlite:///absolute/path, or sqlite:// in memory"
    ),
    cfg.StrOpt("patch_port", default="patch-tun", help="br-tun's port towards br-int"),
    cfg.ListOpt(
        "tunnel_ports", default=["vxlan*", "gre*", "geneve*"], help="globs of tunnel ports"
    ),
    cfg.IntOpt("learn_timeout", default=300, min=3, max=65535, help="seconds a learned MAC lives"),
    cfg.StrOpt("api_token", secret=True, help="bearer token that REST calls must present"),
    cfg.StrOpt("api_token_file", help="a file whose first line is that token"),
    cfg.BoolOpt("api_open", default=False, help="serve REST beyond loopback without a token"),
]


def _version() -> str:
    try:
        return version("vxlan-l2")
    except PackageNotFoundError:
        return "unknown"


def _token() -> str | None:
    if CONF.vxlan.api_token_file:
        text = Path(CONF.vxlan.api_token_file).read_text(encoding="utf-8")
        return text.splitlines()[0].strip() if text.strip() else None
    return CONF.vxlan.api_token or None


def _quit(reason: str) -> None:
    LOG.error("cannot start: %s", reason)
    print(f"vxlan-l2: cannot start: {reason}", file=sys.stderr)
    sys.exit(1)


class VxlanL2(app_manager.RyuApp):
    """Events in, effects out: everything else is in controller/."""

    OFP_VERSIONS: ClassVar = [ofproto_v1_3.OFP_VERSION]
    _CONTEXTS: ClassVar = {"wsgi": WSGIApplication}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        CONF.register_opts(OPTIONS, group="vxlan")
        CONF.set_default("wsapi_host", "127.0.0.1")
        if not CONF.ofp_tcp_listen_port:
            CONF.set_default("ofp_tcp_listen_port", DEFAULT_OPENFLOW_PORT)
        try:
            token = _token()
        except OSError as error:
            _quit(f"api_token_file: {error}")
        if token is None and CONF.wsapi_host not in LOOPBACK and not CONF.vxlan.api_open:
            _quit(
                f"REST on {CONF.wsapi_host} without api_token would be open to the network;"
                " set [vxlan] api_token, or api_open = true if that is meant"
            )
        url = CONF.vxlan.store or f"sqlite://{Path.cwd() / 'vxlan-l2.db'}"
        settings = Settings(
            PortNames(CONF.vxlan.patch_port, tuple(CONF.vxlan.tunnel_ports)),
            CONF.vxlan.learn_timeout,
        )
        try:
            store = store_at(url)
            self._runtime = Runtime(store, settings)
            self._runtime.start()
        except VxlanError as error:
            _quit(str(error))
        front.install(self._runtime)
        mount(kwargs["wsgi"], Api(self._runtime, _version(), token))
        LOG.info("vxlan-l2 %s", _version())
        LOG.info("store: %s", store.describe())
        LOG.info("OpenFlow: %s:%s", CONF.ofp_listen_host or "0.0.0.0", CONF.ofp_tcp_listen_port)
        LOG.info("REST: http://%s:%s", CONF.wsapi_host, CONF.wsapi_port)

    @set_ev_cls(ofp_event.EventOFPStateChange, MAIN_DISPATCHER)
    def _state_changed(self, event: Any) -> None:
        """Nothing to do: naming an OpenFlow event makes Ryu start its OpenFlow service."""

    def close(self) -> None:
        self._runtime.stop()
