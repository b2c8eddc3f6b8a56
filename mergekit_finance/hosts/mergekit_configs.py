"""Read the config of a model once for all of a merge, as long as its file is unchanged.

mergekit and this package ask for the configs of the models about twenty times a merge, and transformers takes
1.6 ms to read one.
"""

import copy
import functools
import os
from typing import TYPE_CHECKING

from mergekit_finance.files import file_stamp
from mergekit_finance.hosts.names import MERGEKIT

if TYPE_CHECKING:
    from mergekit.common import ModelReference
    from transformers import PretrainedConfig

MOST = 64  # configs that are kept
Stamp = tuple[int, ...]
_kept: "dict[ModelReference, tuple[Stamp, PretrainedConfig]]" = {}


def read_configs_once() -> None:
    """Let mergekit keep the configs of local folders; calling it again changes nothing.

    Every caller gets a copy. Configs with code of the model's own are read each time. Written for mergekit
    0.1.5 (`ModelReference.config`).
    """
    with MERGEKIT.imports():
        from mergekit.common import ModelReference

    original = MERGEKIT.get(ModelReference, "config")
    if getattr(original, "is_mergekit_finance", False):
        return

    @functools.wraps(original)
    def config(reference: "ModelReference", trust_remote_code: bool = False) -> "PretrainedConfig":
        stamp = file_stamp(os.path.join(reference.model.path, "config.json"))
        if trust_remote_code or not stamp:
            read: PretrainedConfig = original(reference, trust_remote_code)
            return read
        if reference not in _kept or _kept[reference][0] != stamp:
            if len(_kept) >= MOST:
                _kept.clear()
            _kept[reference] = stamp, original(reference, trust_remote_code)
        return copy.deepcopy(_kept[reference][1])

    vars(config)["is_mergekit_finance"] = True
    ModelReference.config = config
