"""Reasons as a record has them, as plain JSON values."""

import msgspec

from dmarcmilter.reasons.recorded import recorded


def reason_values(key, reason):
    """Text, code and parameters of a reason under the keys that begin with `key`."""
    if reason is None:
        return {key: ""}
    values = msgspec.to_builtins(recorded(reason))
    parameters = {f"{key}_parameters": values["parameters"]} if "parameters" in values else {}
    return {key: str(reason), f"{key}_code": values["code"]} | parameters
