"""The client. Its tests share a server whose answers a test writes down."""
