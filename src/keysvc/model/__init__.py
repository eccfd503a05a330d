"""The pure rules: names, slots, states, secrets, records and errors.

Imports nothing of ours, and neither SQL, gRPC nor PKCS#11.
"""
