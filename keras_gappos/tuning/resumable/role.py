"""The role of a process in a search: chief, worker, or neither."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import os
import re
from collections.abc import Mapping

ID, ADDRESS, PORT = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"


@dataclasses.dataclass(frozen=True)
class Role:
    """The role of a process in a search.

    Attributes:
        name: a unique name, such as "chief" or "worker0"; a chief's contains "chief".
        address: the chief's host name or IP address.
        port: the chief's port.
    """

    name: str
    address: str
    port: int

    @property
    def is_chief(self) -> bool:
        """Whether this process assigns the trials."""
        return "chief" in self.name

    @property
    def is_local(self) -> bool:
        """Whether the chief is on this machine."""
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.address).is_loopback
        return self.address == "localhost"

    @property
    def target(self) -> str:
        """Address and port for gRPC."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of this role."""
        return {ID: self.name, ADDRESS: self.address, PORT: str(self.port)}


def find_role(environment: Mapping[str, str] = os.environ) -> Role | None:
    """The role of this process according to the environment variables.

    Args:
        environment: environment variables; empty ones count as unset.

    Returns:
        A `Role`, or `None` if none of the variables is set.

    Raises:
        ValueError: if some are missing or invalid.
    """
    given = {name: environment.get(name, "") for name in (ID, ADDRESS, PORT)}
    if not any(given.values()):
        return None
    name, address, port = given.values()
    is_port = port.isdecimal() and 0 < int(port) < 2**16
    if not (re.fullmatch(r"[\w.-]+", name) and address and is_port):
        raise ValueError(
            f"{ID}, {ADDRESS} and {PORT} must all be set: to a unique name for each process, with "
            "'chief' in the chief's, and to the chief's address and port, such as worker0, "
            f"10.0.0.5 and 8000. Received: {', '.join(f'{k}={v!r}' for k, v in given.items())}"
        )
    return Role(name, address, int(port))


def take_role() -> Role | None:
    """`find_role`; also removes empty variables, which KerasTuner would treat as set."""
    role = find_role()
    if role is None:
        for name in (ID, ADDRESS, PORT):
            os.environ.pop(name, None)
    return role
