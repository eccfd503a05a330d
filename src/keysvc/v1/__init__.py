"""Generated from protos/keysvc/v1 by `make proto`. Do not edit."""
