"""The manifests for Kubernetes, as far as they can be tried without a cluster."""
