"""Gymnasium environments over any rig."""


def register_envs() -> None:
    """Register the environments; Gymnasium calls this through its entry point."""
    import gymnasium

    gymnasium.register(
        id="mmdtwin/Navigate-v0", entry_point="mmdtwin.envs.navigate:NavigateEnv"
    )
