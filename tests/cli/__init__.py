"""The program: its commands, mostly as processes."""
