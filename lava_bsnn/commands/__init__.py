"""The sub-commands of ``lava-bsnn``: each a frozen dataclass whose call does the work."""
