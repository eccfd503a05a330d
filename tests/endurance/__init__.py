"""The tests that nothing is lost: threads, a model, kill -9, and a search for secrets. All over the wire."""
