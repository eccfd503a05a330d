"""Webhooks read and written. What is signed is made here again, from docs/webhooks.md alone."""
