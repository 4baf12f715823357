"""The ``ryu-manager`` command, made to run on today's Python and eventlet.

Ryu 4.34 reads ``eventlet.wsgi.ALREADY_HANDLED``, which newer eventlet does not have. It must be a
list: Ryu returns it as a response body, and an object that cannot be iterated would end each
websocket with a 500.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn


def main() -> None:
    """Patch, then hand over to Ryu's own main, with the same arguments."""
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    # No name is looked up but those of addresses to listen on: a resolver would only take its time.
    os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")
    import eventlet

    eventlet.monkey_patch()
    import eventlet.wsgi

    if not hasattr(eventlet.wsgi, "ALREADY_HANDLED"):
        eventlet.wsgi.ALREADY_HANDLED = []
    root = str(Path(__file__).resolve().parent.parent)
    if root not in sys.path:
        sys.path.insert(0, root)
    _allow_many_files()
    from ryu.cmd import manager

    _shape_log_lines(manager)
    sys.exit(_run(manager))


def vxlan_l2() -> None:
    """The ``vxlan-l2`` command: this project's app, and those that are named besides.

    It needs no checkout: the app is the one that is installed with the command.
    """
    if sys.argv[1:] == ["--version"]:
        print(f"vxlan-l2 {version('vxlan-l2')}")
        return
    sys.argv.append("apps.vxlan_l2")
    main()


def _allow_many_files() -> None:
    """Each switch takes a file: as many as the system lets us have."""
    _now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _shape_log_lines(manager: object) -> None:
    """Time and level before each line of the log, or JSON; also before Ryu has set it up."""
    from apps import logs, options

    log = manager.log  # type: ignore[attr-defined]
    init = log.init_log

    def shape(log_format: str) -> None:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(logs.formatter(log_format))

    def init_log() -> None:
        init()
        if not log.CONF.log_config_file:
            shape(_log_format(log.CONF))

    options.register(log.CONF)
    shape("text")
    log.init_log = init_log


def _log_format(conf: Any) -> str:
    """What is asked for; text if that is nonsense, which the app refuses with a sentence."""
    with contextlib.suppress(ValueError):
        return str(conf.vxlan.log_format)
    return "text"


def _run(manager: object) -> object:
    from oslo_config import cfg

    from apps.options import explain
    from topology.errors import VxlanError

    try:
        return manager.main()  # type: ignore[attr-defined]
    except (VxlanError, cfg.Error, OSError) as error:
        _quit(explain(error))
    except ModuleNotFoundError as error:
        apps = manager.CONF.app_lists + manager.CONF.app  # type: ignore[attr-defined]
        wanted = [app for names in apps for app in names.split(",")]
        for app in wanted:
            if error.name and app.startswith(error.name):
                _quit(f"there is no app {app} in {Path.cwd()}")
        raise


def _quit(reason: str) -> NoReturn:
    logging.getLogger("vxlan_l2").error("cannot start: %s", reason)
    sys.exit(1)


if __name__ == "__main__":
    main()
