"""The commands, the settings, and the wiring of all parts in plain sight."""
