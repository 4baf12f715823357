"""Ryu reads what newer eventlet does not have (apps/ryu_manager.py)."""

from __future__ import annotations

import eventlet.wsgi

eventlet.wsgi.ALREADY_HANDLED = []
