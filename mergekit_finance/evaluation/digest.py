"""The short hash of a key, which names the folder of its results."""

import hashlib
import json
from collections.abc import Mapping

from mergekit_finance.files import Json

NOT_HASHED = "package_version"  # recorded in key.json, and left out of its hash


def digest(key: Mapping[str, Json]) -> str:
    """Return 12 hexadecimal digits of a key's hash, the suffix of a result's folder name."""
    hashed = {name: value for name, value in key.items() if name != NOT_HASHED}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:12]
