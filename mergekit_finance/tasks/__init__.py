"""The old name of `mergekit_finance.scoring`, kept for one release.

YAMLs that contain `!function mergekit_finance.tasks.scoring.convfinqa` keep working and give a FutureWarning
with the new path. Functions are looked up in the modules into which the old module was split.
"""

import sys
import warnings
from collections.abc import Callable
from types import ModuleType

from mergekit_finance.scoring import (
    aggregate,
    answers,
    choices,
    entities,
    markers,
    matching,
    metrics,
    new_question,
    numbers,
    tatqa,
    text,
)

_MODULES = {
    "aggregate": (aggregate,),
    "answers": (answers, choices, markers, new_question, text),
    "choices": (choices,),
    "cutting": (new_question,),
    "entities": (entities,),
    "numbers": (numbers, matching, tatqa, text),
    "scoring": (metrics,),
    "spans": (tatqa,),
    "statements": (markers, text),
}
_RENAMED = {
    "SCALES": "TATQA_SCALES",
    "STATEMENT": "MAX_STATEMENT",
    "bulleted": "bulleted_items",
    "find_asked_anew": "find_unheaded_question",
    "is_computed": "tatqa_is_computed",
    "normal": "tatqa_normal",
    "normalise": "normalize",
    "undress": "strip_decoration",
}


class _OldModule(ModuleType):
    """A module whose attributes are looked up in the new modules."""

    def __init__(self, name: str, modules: tuple[ModuleType, ...]) -> None:
        super().__init__(f"{__name__}.{name}", f"Deprecated: use {', '.join(m.__name__ for m in modules)}.")
        self._modules = modules

    def __getattr__(self, name: str) -> Callable[..., object]:
        new_name = _RENAMED.get(name, name)
        for module in () if name.startswith("__") else self._modules:
            if new_name in vars(module):
                target: Callable[..., object] = vars(module)[new_name]
                new_path = f"{getattr(target, '__module__', module.__name__)}.{new_name}"
                message = f"{self.__name__}.{name} is deprecated and will be removed. Use {new_path}."
                # Not a DeprecationWarning: the caller is lm-eval, and Python would hide it from the user.
                warnings.warn(message, FutureWarning, stacklevel=2)
                return target
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


for _name, _modules in _MODULES.items():
    sys.modules[f"{__name__}.{_name}"] = _OldModule(_name, _modules)
    globals()[_name] = sys.modules[f"{__name__}.{_name}"]
