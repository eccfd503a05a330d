"""The use cases in this process, over a real token and a real database, with a clock that tests hold."""
