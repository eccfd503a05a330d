"""What tests start: a real token, a real database, a real server. Nothing here asserts."""
