"""Gymnasium environments over any rig.

Importing this package registers them, as Gymnasium 1.x loads no plugins by itself. Without the
import, `gymnasium.make("mmdtwin.envs:mmdtwin/Navigate-v0")` names the package in the id.
"""

import gymnasium

ENTRY_POINT = "mmdtwin.envs.navigate:NavigateEnv"  # imported when the first one is made


def register_envs() -> None:
    """Register the environments; calling it again changes nothing."""
    if "mmdtwin/Navigate-v0" in gymnasium.registry:
        return
    gymnasium.register(id="mmdtwin/Navigate-v0", entry_point=ENTRY_POINT)


register_envs()
