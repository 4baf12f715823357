"""Regular expressions (ECMA-262) of what texts look like, for the API's description.

What is read is decided by topology.types; where that takes more spellings than anybody writes
(dashes in a MAC, dotted quads in IPv6), a pattern has the usual one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from topology.model import NAME_PATTERN

_OCTET: Final = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_FIRST: Final = "(22[0-3]|2[01][0-9]|12[0-689]|1[013-9][0-9]|[1-9][0-9]?)"
"""The first octet of a station's address: neither 0, loopback, nor group (RFC 1122, 3.2.1.3)."""
_GROUP: Final = "[0-9a-fA-F]{1,4}"
_HEAD: Final = "([1-9a-eA-E][0-9a-fA-F]{3}|[fF][0-9a-eA-E][0-9a-fA-F]{2})"
"""The first group of a station's IPv6 address: neither 0000::/8 nor ff00::/8 (RFC 4291, 2.4)."""

_V4: Final = rf"{_FIRST}(\.{_OCTET}){{3}}"
_V6: Final = (
    f"{_HEAD}((:{_GROUP}){{7}}|"
    + "|".join(f"(:{_GROUP}){{{at}}}::({_GROUP}(:{_GROUP}){{0,{5 - at}}})?" for at in range(6))
    + ")"
)


def _whole(pattern: str) -> str:
    return f"^({pattern})$"


def _any_of(numbers: Iterable[int]) -> str:
    """A pattern of exactly these numbers, short: those that differ in the last digit, together."""
    last_digits: dict[str, str] = {}
    for number in numbers:
        text = str(number)
        last_digits[text[:-1]] = last_digits.get(text[:-1], "") + text[-1]
    leads: dict[str, list[str]] = {}
    for lead, digits in last_digits.items():
        leads.setdefault(digits, []).append(lead)
    return "|".join(f"({'|'.join(heads)})[{digits}]" for digits, heads in leads.items())


def _v4_prefixes() -> str:
    """Prefixes without host bits: whole octets, one octet that is cut, zeros."""
    found = [r"0(\.0){3}/0"]
    for whole in range(4):
        cuts = []
        for bits in range(1, 9):
            octets = _any_of(range(0, 256, 1 << (8 - bits)))
            cuts.append(rf"({octets})(\.0){{{3 - whole}}}/{8 * whole + bits}")
        found.append(rf"({_OCTET}\.){{{whole}}}({'|'.join(cuts)})")
    return "|".join(found)


def _v6_prefixes() -> str:
    """Prefixes without host bits: groups before ``::`` which are whole, or a first one cut."""
    found = []
    for groups in range(1, 8):
        lengths = _any_of(range(16 * groups, 129))
        found.append(f"{_HEAD}(:{_GROUP}){{{groups - 1}}}::/({lengths})")
    for digits in range(1, 4):
        first = f"[1-9a-fA-F][0-9a-fA-F]{{{digits - 1}}}"
        found.append(f"{first}{'0' * (4 - digits)}::/{4 * digits}")
    return "|".join(found)


DPID: Final = "^[0-9a-fA-F]{16}$"
FINGERPRINT: Final = "^sha256:[0-9a-fA-F]{64}$"
COOKIE: Final = "^0x[0-9a-f]{16}$"
MAC: Final = "^(?!00(:00){5}$)[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}$"
SHOWN_MAC: Final = "^[0-9a-f]{2}(:[0-9a-f]{2}){5}$"
IPV4: Final = _whole(_V4)
IP: Final = _whole(f"{_V4}|{_V6}")
SUBNET: Final = _whole(f"{_v4_prefixes()}|{_v6_prefixes()}")
V4_SUBNET: Final = r"^[0-9]+\."
REMOTE: Final = _whole(f"flow|{_V4}")
_NAME: Final = NAME_PATTERN.replace("\ud800-\udfff", "")
"""JSON and most engines of patterns have no lone surrogates to speak of."""
PRINTABLE: Final = _whole(_NAME)
NAME_IN_PATH: Final = _whole(_NAME.replace("[^", "[^/"))
