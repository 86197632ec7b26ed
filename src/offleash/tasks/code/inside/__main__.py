"""Entry of the judging interpreter (`python -I -S FOLDER`): answers jobs on standard input until it is closed."""

import os
import sys
import types

_FOLDER = os.path.dirname(os.path.abspath(__file__))
# Empty parents, so that only the modules of this folder are loaded: this interpreter has no third-party package.
for _depth, _name in enumerate(("offleash.tasks.code.inside", "offleash.tasks.code", "offleash.tasks", "offleash")):
    _module = types.ModuleType(_name)
    _module.__path__ = [os.path.normpath(os.path.join(_FOLDER, *[".."] * _depth))]
    sys.modules[_name] = _module
sys.path[:] = [path for path in sys.path if path != _FOLDER]

from offleash.tasks.code.inside.zygote import serve  # noqa: E402

serve()
