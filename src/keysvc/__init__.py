"""keysvc: merchants' API credentials, made and used inside a PKCS#11 token, over gRPC."""
