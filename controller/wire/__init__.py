"""OpenFlow 1.3 bytes <-> values, sans I/O: no socket, no clock, no Ryu."""
